//! What is measured under load: one row of the table each.

/// A stack of layers around one handler.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What `server` is called with.
    pub name: &'static str,
    /// What the table calls it.
    pub label: &'static str,
    pub whose: Whose,
    /// What the crate wants to stay below, as a multiple of the bare handler.
    pub target: Option<Target>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Bare,
    Ours,
    Peers,
}

#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub ratio: f64,
    pub trips: f64,
    /// Above the bare handler.
    pub allocations: Option<f64>,
}

const fn target(ratio: f64, trips: f64) -> Option<Target> {
    Some(Target {
        ratio,
        trips,
        allocations: None,
    })
}

const fn row(name: &'static str, label: &'static str, whose: Whose) -> Row {
    Row {
        name,
        label,
        whose,
        target: None,
    }
}

const fn ours(name: &'static str, label: &'static str, target: Option<Target>) -> Row {
    Row {
        name,
        label,
        whose: Whose::Ours,
        target,
    }
}

/// The handler that everything is a multiple of.
pub const BARE: &str = "bare";

/// The same read with and without gathering, at these numbers of connections.
pub const GATHERING: [&str; 2] = ["session_read", "session_read_handed_in"];
pub const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];

/// In the order of the table. A new row needs a line here, and a stack of this name in `ours.rs` or `peers.rs`.
pub const ROWS: &[Row] = &[
    row(
        "bare_heavy",
        "bare handler, sent a cookie and an RS256 token",
        Whose::Bare,
    ),
    row(
        "bare_layer",
        "bare handler in a layer that does nothing, which axum boxes",
        Whose::Bare,
    ),
    ours(
        "session_unused",
        "session layer present, unused",
        target(1.05, 0.0),
    ),
    ours("session_read", "session read", target(1.65, 1.0)),
    ours("session_read_near", "session read, near replica", None),
    ours(
        "session_read_near_sessions",
        "session read, sessions kept in the process",
        None,
    ),
    ours("session_write", "session read + write", target(2.6, 2.0)),
    ours(
        "jwt_near",
        "JWT (RS256, seen before) + revocation, near replica",
        Some(Target {
            ratio: 1.15,
            trips: 0.0,
            allocations: Some(2.0),
        }),
    ),
    ours(
        "jwt_strict",
        "JWT (RS256, seen before) + revocation, strict",
        None,
    ),
    ours("jwt_uncached", "JWT (RS256, verified each time)", None),
    ours("csrf", "session layer unused + CSRF, a POST", None),
    ours(
        "full_strict",
        "full stack: session read + JWT + revocation + CSRF, strict",
        target(1.8, 1.0),
    ),
    ours(
        "full_near",
        "full stack: session read + JWT + revocation + CSRF, near replica",
        target(1.8, 1.0),
    ),
    ours(
        "full_near_sessions",
        "full stack, sessions kept in the process",
        target(1.3, 0.0),
    ),
    row(
        "peer_session_unused",
        "tower-sessions + Redis store, unused",
        Whose::Peers,
    ),
    row(
        "peer_session_read",
        "tower-sessions + Redis store, read",
        Whose::Peers,
    ),
    row(
        "peer_session_write",
        "tower-sessions + Redis store, read + write",
        Whose::Peers,
    ),
    row("peer_csrf", "tower-http csrf, a POST", Whose::Peers),
    row("peer_get", "by hand: GET, redis-rs, no layer", Whose::Peers),
    row(
        "peer_mget",
        "by hand: one MGET for all that are ready, no layer",
        Whose::Peers,
    ),
    row(
        "peer_local",
        "by hand: what the full stack has to compute without a trip, in one function",
        Whose::Peers,
    ),
    row(
        "peer_raw",
        "by hand: all that are ready in one write to a bare socket, no driver, no layer",
        Whose::Peers,
    ),
    row(
        "peer_exists",
        "by hand: HS256 + EXISTS, redis-rs",
        Whose::Peers,
    ),
    row(
        "peer_exists_rs256",
        "by hand: RS256 + EXISTS, redis-rs",
        Whose::Peers,
    ),
    row(
        "peer_full",
        "assembled today: tower-sessions read + HS256 + EXISTS + tower-http csrf",
        Whose::Peers,
    ),
];
