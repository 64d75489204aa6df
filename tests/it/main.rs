//! The behaviour of the crate from outside, in one binary.

mod allocations;
mod auto_traits;
mod refusals;
mod road;
