//! The one integration binary: everything that needs a real server, a real process or the public face of the crate.
//!
//! Linked once, with one `mod` line per subject. `means/` holds what the tests use, `means_tests/` shows that it works.

// Tests name their invariants by failing; a panic with a line number is the report that is wanted here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Figures that a test measures are printed with it.
#![allow(clippy::print_stdout)]
// A binary has no outside: `pub` in here means "for the other modules of the tests".
#![allow(unreachable_pub, missing_docs, missing_debug_implementations)]

mod allocations;
mod auto_traits;
mod blacklist;
mod blacklist_issuers;
mod csrf;
mod devices;
mod endpoints;
mod events;
mod frameworks;
mod grpc;
mod hostile;
mod hot_path;
mod house;
mod jwt_attacks;
mod jwt_budget;
mod jwt_cache;
mod jwt_kit;
mod jwt_layer;
mod jwt_random;
mod means;
mod means_tests;
mod near;
mod processes;
mod refresh;
mod refusals;
mod registries;
mod registry;
mod requirements;
mod review;
mod road;
mod session;
mod store;
