//! What needs the operations themselves: on a real server, and on the in-memory twin.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// Calls of other rooms are among those that these know.
#[cfg(all(feature = "csrf", feature = "refresh"))]
mod conformance;
mod healing;
#[cfg(all(feature = "csrf", feature = "refresh"))]
mod others;
mod races;
#[cfg(all(feature = "csrf", feature = "refresh"))]
mod slots;
#[cfg(all(feature = "csrf", feature = "refresh"))]
mod steps;

mod unreadable;

use std::time::Duration;

use super::ops::{Life, NewUser};

const LIMIT: u64 = 2_048;
const KEPT: u64 = 90 * 24 * 60 * 60 * 1_000;
const META: &str = r#"{"name":"a laptop"}"#;

fn life(idle: Option<u64>, absolute: u64, persistent: bool) -> Life {
    Life {
        idle: idle.map(Duration::from_millis),
        absolute: Duration::from_millis(absolute),
        persistent,
    }
}

fn new_user<'a>(tenant: &'a str, user: &'a str, sid: &'a str, life: Life) -> NewUser<'a> {
    NewUser {
        tenant,
        user,
        sid,
        life,
        meta: META,
        ahead_kept: KEPT,
        most_devices: 1_000,
        started: 0,
        evict: true,
    }
}
