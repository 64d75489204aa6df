//! What tests are made of: real servers, a proxy that counts and breaks, example processes, a browser, an allocator.

// Written for every issue, used as the issues come.
#![allow(dead_code)]

pub mod alloc;
pub mod child;
pub mod http;
pub mod pgbouncer;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod relay;
pub mod resp;
pub mod traps;
pub mod wait;

/// Runs in a child process that is told by this variable which part it plays; see `means_tests`.
pub const ROLE: &str = "PORTCULLIS_TEST_ROLE";
