//! The devices of a user from outside: REQUIREMENTS 22 to 24, 26 and 107, over the in-memory store and over Redis.
//!
//! Every test names a mutation of the code against which it fails.

mod backlog;
mod ending;
pub mod limits;
mod lists;
