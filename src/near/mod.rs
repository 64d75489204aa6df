//! A replica of revocations and cutoffs in every process, so that checking them costs no trip.
//!
//! [`Store::near`](crate::Store::near) turns it on, with one call, for all layers over the store:
//! [`BlacklistLayer`](crate::blacklist::BlacklistLayer) then decides without asking, and sessions are read without
//! their cutoffs.
//!
//! 1. **A node refuses, or knows that it does not know.** What was acknowledged `max_staleness` ago is refused here, or
//!    the replica calls itself stale and the store is asked, as without a replica. If the store cannot say either, the
//!    policy of the layer decides.
//! 2. **What is known to be revoked is refused, even when stale.** There is no un-revoke: neither a deletion on the
//!    server nor a lost connection takes back what a node has seen before its time is over, and cutoffs only rise.
//! 3. **A node that revokes knows at once**, before the store does. What the store does not acknowledge is written when
//!    it can be.
//! 4. **What the server lost is written again** by every node that knows it: after a restart without persistence, a
//!    flush, a failover to a replica that lagged. Nothing is lowered or shortened by that.
//! 5. **Bounded.** Past [`max_entries`](NearBuilder::max_entries), what is not known here is a question to the store.
//!    Nothing is evicted.
//! 6. **Where the server does not announce changes** (a proxy, missing permissions, RESP2 only), every request asks; an
//!    event and [`NearState::Refused`] say so.
//!
//! Other programs' `SETEX jwt:blacklist:<jti> 60 x` arrives the same way.
//!
//! # How it knows
//!
//! A connection of its own asks the server to announce every change below three prefixes (`CLIENT TRACKING ON BCAST`).
//! Announcements and answers come in order, so that the answer to a heartbeat sent at *t* proves that every change
//! acknowledged before *t* has been applied; a heartbeat goes out at a quarter of `max_staleness`. A new connection first
//! asks for announcements, then loads what is there, and is used when that has ended. Announcements do not say what
//! happened: an id counts as revoked from then on, and until when is fetched at once; a cutoff is asked for until its
//! value has come. An id without anything to fetch, because it was deleted or lies in another database of the server,
//! counts for a minute.
//!
//! # Sessions as well
//!
//! [`NearBuilder::sessions`] holds the records of sessions too, over a second connection that tracks each record it reads
//! (`CLIENT TRACKING ON`). It is off by default, for it weakens one promise: a logout or a change on another node is seen
//! here within `max_staleness`, where otherwise it is seen by the next request. What this node writes it reads at once;
//! due uses are still recorded; writes never go by what is held; whatever cannot be known here is asked for. Everything
//! held is dropped when the connection is lost and when the server was emptied.
//!
//! # What it cannot do
//!
//! A node knows what the server it is connected to knows. While a failover is under way, two servers may answer, and the
//! bound is `max_staleness` and the time that the failover takes. What a server acknowledged and lost before any other
//! node had heard of it is known elsewhere when the node that revoked it has written it again, or not at all if that
//! node is gone too. Ages are measured by the machine's monotonic clock and, in case it slept, by its wall clock;
//! expiries are taken from the server as time left, so that its clock need not agree with this node's.
//!
//! The load walks over all keys of the database, a thousand at a time: give revocations a database of their own where it
//! holds many millions of other keys. The server needs `maxmemory-policy noeviction`, and its user
//! `+client|tracking +scan +pttl +time +set +pexpire +persist +eval`.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use portcullis::{Store, blacklist::{Blacklist, BlacklistLayer}, near::{Near, NearState}};
//!
//! let store = Store::memory(); // or Store::connect("redis://127.0.0.1").await?
//! let near = store.near().max_staleness(Duration::from_millis(500)).start()?;
//! assert!(near.ready().await);
//!
//! let layer = BlacklistLayer::new(&store); // decides by the replica
//! let strict = BlacklistLayer::builder(&store).strict().build()?; // asks on every request
//! Blacklist::new(&store).revoke_session("a-sid").await?;
//!
//! // For metrics, wherever there is a handle of the store.
//! let status = Near::of(&store).expect("turned on above").status();
//! assert_eq!(status.state, NearState::Fresh);
//! # drop((layer, strict));
//! # Ok(()) }
//! ```

#![cfg_attr(
    not(all(feature = "session", feature = "blacklist")),
    allow(
        dead_code,
        unused_imports,
        reason = "read by several layers, each by its part"
    )
)]

mod bound;
mod cutoffs;
mod handle;
mod heal;
mod held;
mod keeper;
mod lease;
mod line;
mod names;
mod own;
#[cfg(test)]
mod part_tests;
mod replica;
mod set;
mod shelf;
#[cfg(test)]
mod tests;

pub use handle::{Near, NearBuilder, NearState, NearStatus};

pub(crate) use held::Held;
pub(crate) use names::{List, Scope};
pub(crate) use own::Pledge;
pub(crate) use replica::{Replica, View};
pub(crate) use shelf::HeldName;

use crate::store::Store;

/// The replica of a store, where it has one that is not the store itself.
pub(crate) fn of(store: &Store) -> Option<&Replica> {
    store.companion::<Near>().and_then(Near::replica)
}

/// The session records that this node holds, where that is turned on.
pub(crate) fn held(store: &Store) -> Option<&Held> {
    store.companion::<Near>().and_then(Near::held)
}
