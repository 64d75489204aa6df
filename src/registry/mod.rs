//! The database is the truth about who is signed in; the store, and nodes, only make it fast.
//!
//! A team keeps the sessions of its users in a database, and implements [`Registry`] over it. [`ActiveSessionLayer`] then
//! refuses every verified token whose session is not active. The question goes to this node's memory where a
//! [replica](crate::near) is fresh (no trip), else to the store (one trip, with what else the request asks), else to the
//! database, which the answer is kept of.
//!
//! 1. **The store may be emptied, restarted or dead, and nobody is signed out.** Without it the database is asked directly.
//! 2. **Who was signed out stays out.** When a revocation has returned [`Everywhere`](Revocation::Everywhere), no later check
//!    on any node finds the session active (on a node with a replica, within its `max_staleness`), whatever readers were
//!    doing meanwhile: a reader writes only while the store still holds its own lease under an unchanged generation, which
//!    a revocation deletes and raises; and nobody joins a question that was asked before they came.
//! 3. **A revocation is written in the database first.** What the store could not be told is [`Pending`](Revocation::Pending),
//!    holds on this node at once, and is told later, by this node or by any that connects.
//! 4. **No node believes a store that it has just met.** On every new connection the node first tells it what the database
//!    ended since the mark that it finds there, and goes by the database until then. So neither a flush, nor a failover to a
//!    server that lagged, nor a restart of everything loses a revocation.
//! 5. **The database is never stampeded.** However many nodes and requests want to know about a session, one asks; no more
//!    than [`max_concurrent`](ActiveSessionsBuilder::max_concurrent) questions of a node are under way; past it requests get
//!    503 and when to come again. That there is no such session is remembered for a moment as well, an error never.
//! 6. **Unknown is not no.** If neither can say, the policy of the layer decides: 503 by default. If only the database is away,
//!    sessions that the store knows go on for [`database_outage`](ActiveSessionsBuilder::database_outage).
//! 7. **A token is its user's.** Its `sub` and tenant must be those of the session, and its issuer the first of the JWT layer.
//!
//! # What it cannot do
//!
//! The store alone knows single tokens that were revoked by their `jti`, cutoffs raised through
//! [`Cutoffs`](crate::cutoff::Cutoffs) instead of here, and what [`SessionLayer`](crate::session) and
//! [`Devices`](crate::device::Devices) keep. While it is away, such a token passes as long as its session is active, unless
//! the replica of the node knows better or
//! [`require_revocation_list`](ActiveSessionLayerBuilder::require_revocation_list) was chosen; after a flush they are lost unless some replica knew them. End sessions through
//! [`ActiveSessions`], which ends what the store has of them too.
//!
//! A session that somebody ends in the database with a statement of their own is noticed when what is cached of it is no
//! longer fresh ([`cache_time`](ActiveSessionsBuilder::cache_time)), or when a node next tells the store
//! ([`sync_every`](ActiveSessionsBuilder::sync_every)). A generation that the store lost (it is kept longer than any lease) is
//! harmless by itself, since the lease goes with a revocation as well. If a failover loses a revocation that the old server
//! acknowledged, the new one is told before it is believed; a node that still talks to the old server goes by it, for
//! [`cache_time`](ActiveSessionsBuilder::cache_time) at most. A connection that the application made
//! ([`from_redis`](crate::store::StoreBuilder::from_redis)) does not show that it was made anew: a flush is noticed, a
//! failover only by the next [`sync_every`](ActiveSessionsBuilder::sync_every). Where the database's clock is set forward by more
//! than a minute, as by a failover to a server whose clock is ahead, what ended before and was not told to the store yet may
//! not be found among what ended since: it goes unnoticed for `cache_time`, too.
//!
//! # Example
//!
//! ```
//! # use std::sync::Arc;
//! use portcullis::{
//!     Store,
//!     jwt::{Grant, Issuer, JwtAlgorithm, JwtVerifyLayer, KeySet, NoClaims, SigningKey},
//!     registry::{ActiveSessionLayer, ActiveSessions, ActiveSessionsBuilder, NewLogin, Registry, Revocation},
//! };
//!
//! async fn service(store: &Store, database: Arc<dyn Registry>) -> Result<(), Box<dyn std::error::Error>> {
//!     let key = SigningKey::generate(JwtAlgorithm::EdDsa)?;
//!     let keys = KeySet::new([key.verification_key()])?;
//!     let issuer = Issuer::new(key, "https://id.example").audience("api").build()?;
//!     let jwt = JwtVerifyLayer::<NoClaims>::new(keys).issuer("https://id.example").audience("api").build()?;
//!
//!     let active = ActiveSessions::new(store, database)?;
//!     active.ready().await; // tells the store what ended without it; otherwise the first request waits for that
//!     let layers = tower::ServiceBuilder::new().layer(jwt).layer(ActiveSessionLayer::new(&active));
//!     # drop(layers);
//!
//!     // A login, once the password is checked.
//!     let session = active.create(&NewLogin::new("alice").device("Firefox on Linux")).await?;
//!     let token = issuer.mint(&Grant::user("alice").sid(&*session.sid).auth_ms(session.auth_ms))?;
//!     # drop(token);
//!
//!     // A logout.
//!     match active.revoke(&session.sid).await? {
//!         Revocation::Everywhere => println!("signed out"),
//!         Revocation::Pending { bound } => println!("signed out everywhere in {bound:?} at most"),
//!         _ => {}
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Refresh tokens live in the same row: `RotationBuilder::registry` of the feature `refresh`. A refresh then needs the
//! database and not the store.

mod check;
mod database;
mod error;
#[cfg(feature = "refresh")]
mod family;
mod flight;
mod gate;
mod handle;
mod inner;
mod known;
mod layer;
mod login;
mod memory;
mod ops;
mod outbox;
mod revoke;
mod settings;
mod standing;
mod sync;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod tables;
#[cfg(test)]
mod tests;
mod texts;
mod truth;
mod twins;

pub use error::{ActiveError, ActiveErrorKind};
#[cfg(feature = "refresh")]
pub(crate) use family::RegistryFamily;
pub use gate::ActiveSessionGate;
pub use handle::ActiveSessions;
#[cfg(feature = "refresh")]
pub(crate) use handle::began;
pub use layer::{ActiveSessionLayer, ActiveSessionLayerBuilder};
pub use login::{NewLogin, SignedIn};
pub use memory::MemoryRegistry;
pub use revoke::Revocation;
pub use settings::ActiveSessionsBuilder;
#[cfg(feature = "postgres")]
pub use tables::PostgresRegistry;
#[cfg(feature = "sqlite")]
pub use tables::SqliteRegistry;
pub use truth::{
    Created, CutoffScope, Found, Limit, NewSession, Registered, Registry, RegistryError,
    RegistryErrorKind, RegistryFuture, Rotated, Which,
};
