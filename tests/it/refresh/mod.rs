//! Refresh-token rotation from outside: REQUIREMENTS 92 to 105, 121 and 127, over the in-memory store and over Redis.
//!
//! Every test names a mutation of the code against which it fails.

mod audience;
mod crowd;
mod dump;
mod keys;
pub mod kit;
mod losses;
mod model;
mod races;
mod reuse;
mod rotation;
mod start;
