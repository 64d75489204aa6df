//! The behaviour of the crate from outside, in one binary.

mod allocations;
mod auto_traits;
mod jwt_attacks;
mod jwt_kit;
mod jwt_layer;
mod jwt_random;
mod refusals;
mod road;
