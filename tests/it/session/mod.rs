//! Sessions from outside, over the in-memory store and over Redis.

pub mod bench;
mod cookies;
mod cutoffs;
mod guards;
mod honest;
mod lost;
mod races;
mod rules;
mod start;
