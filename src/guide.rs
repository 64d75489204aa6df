//! Which to use: sessions, JWT with a revocation list, or JWT with a registry.
//!
//! All three say for every request who it is from, and all three can be ended before they expire. They differ in where the
//! truth is, and so in what is lost with what.
//!
//! | | sessions | JWT + revocation list | JWT + registry |
//! |---|---|---|---|
//! | for | browsers, one site | programs, several services, other languages | the same, where losing Redis must log nobody out |
//! | layer | [`SessionLayer`](crate::session::SessionLayer) | [`JwtVerifyLayer`](crate::jwt::JwtVerifyLayer), [`BlacklistLayer`](crate::blacklist::BlacklistLayer) | [`JwtVerifyLayer`](crate::jwt::JwtVerifyLayer), [`ActiveSessionLayer`](crate::registry::ActiveSessionLayer) |
//! | the client holds | a cookie with a signed random id | a signed access token, and a refresh token | the same |
//! | who is signed in is known by | Redis | nobody: a good token that is not on the list is enough | the database |
//! | Redis holds | the truth | what was revoked, and refresh tokens | a cache, and what was revoked |
//! | refresh tokens are kept in | | Redis | the database, with [`RotationBuilder::registry`](crate::refresh::RotationBuilder::registry) |
//! | trips per request | 1, if it asks for its session | 1; 0 with a [replica](crate::near) | 1; 0 with a replica; the database once in a while |
//! | data with the login | yes, any fields | claims, until the next refresh | claims |
//! | needs | Redis | Redis, keys | Redis, keys, a database |
//!
//! Begin with sessions when browsers are all there is. Take tokens when other services or programs have to know who it is
//! without asking the one that knows. Take the registry when it must be told from the database who is signed in, when an
//! empty Redis must be a slow minute and not a logout of everybody, or when what ends a session is a row that somebody
//! changes.
//!
//! They go together: a browser's session and a program's tokens are devices of one user ([`Devices`](crate::device::Devices)),
//! and ending one ends all that belongs to it.
//!
//! # Sessions
//!
//! ```text
//! request ──► signature of the cookie ──► Redis: session and cutoffs ──► handler
//!              bad: a visitor, no trip     none: a visitor
//!                                          cannot say: 503, the cookie stays
//! logout  ──► Redis: deleted ──► holds on every node
//! ```
//!
//! # JWT and a revocation list
//!
//! ```text
//! request ──► signature, times, audience ──► replica, or Redis: revoked? ──► handler
//!              bad: 401, no trip              revoked: 401
//!                                             cannot say: the policy, 503 by default
//! revoke  ──► Redis: listed until the token expires ──► announced to the replicas
//! refresh ──► Redis: one step takes the old token and gives the new one
//! ```
//!
//! # JWT and a registry
//!
//! ```text
//! request ──► signature, times, audience ──► replica, Redis: revoked? known to be active? ──► handler
//!              bad: 401, no trip              │ revoked: 401
//!                                             ▼ not known, or Redis is away
//!                                            database, once for all who ask ──► handler
//!                                             │ ended, or none: 401        └──► Redis, unless it was revoked meanwhile
//!                                             ▼ cannot say, or too many ask: 503
//! login   ──► database
//! revoke  ──► database ──► Redis ──► announced to the replicas
//!                           └ away: told when it is back, Pending until then
//! ```
//!
//! # What holds when something is away
//!
//! By the default settings. *Unknown* is 503 with `Retry-After`, within the deadline, and never a logout.
//!
//! | | sessions | JWT + revocation list | JWT + registry |
//! |---|---|---|---|
//! | Redis away | requests that ask for their session: unknown; all others go on | unknown; by choice ([`Outage::Stale`](crate::blacklist::Outage)) tokens that were good a moment ago go on. No refresh | the database is asked, as many at once as it may be; past that unknown. Logins go on; revocations are [`Pending`](crate::registry::Revocation::Pending) |
//! | database away | not asked | not asked | sessions that the cache knows go on for `cache_time` and `database_outage`, 60 s each; then unknown. No login, no revocation |
//! | both away | as Redis | as Redis | unknown |
//! | Redis empty (`FLUSHALL`, a restart without persistence) | **everybody is logged out** | **revoked access tokens are good again until they expire**, unless a node with a [replica](crate::near) lives to write its list again. Refresh tokens are gone: a login at the next refresh | nobody is logged out, nothing revoked comes back: the database is asked anew, behind the same bound |
//! | database restored from a backup | not asked | not asked | **sessions that ended after the backup are active again**: raise a cutoff for everyone ([`revoke_everyone`](crate::registry::ActiveSessions::revoke_everyone)) |
//!
//! Beside a registry, too, Redis alone knows single tokens that were revoked by their `jti`, cutoffs raised through
//! [`Cutoffs`](crate::cutoff::Cutoffs), and sessions of cookies: an empty Redis has forgotten those. A
//! [`Rotation`](crate::refresh::Rotation) that is built without the registry keeps its refresh tokens in Redis as well.
//!
//! # How soon a revocation holds
//!
//! | | when the call has returned | when Redis could not be told |
//! |---|---|---|
//! | sessions | on every node, for requests under way as well; within `max_staleness` on nodes that hold sessions ([`NearBuilder::sessions`](crate::near::NearBuilder::sessions)), and a cutoff on nodes with a replica | the call fails: it did not happen, or nobody knows |
//! | JWT + revocation list | on every node; within `max_staleness` (500 ms unless set) on nodes with a replica | the call fails; on the node that was asked it holds |
//! | JWT + registry | the same: [`Everywhere`](crate::registry::Revocation::Everywhere) | [`Pending`](crate::registry::Revocation::Pending) with its bound: on this node at once, on others when their cache has run out at the latest |
//!
//! # The database of a registry
//!
//! [`Registry`](crate::registry::Registry) is a small trait; it can stand on the tables that a service has already.
//!
//! | | what for | feature |
//! |---|---|---|
//! | [`PostgresRegistry`](crate::registry::PostgresRegistry) | production | `postgres` |
//! | [`SqliteRegistry`](crate::registry::SqliteRegistry) | one machine, no server to run | `sqlite` |
//! | [`MemoryRegistry`](crate::registry::MemoryRegistry) | tests | `registry` |
//! | an own one | the tables that are there | `registry` |
//!
//! Both databases are reached through sqlx 0.8, which builds with this crate's oldest Rust. `sqlite` compiles SQLite, and a
//! program can have only one: another crate that brings SQLite has to agree on `libsqlite3-sys` 0.30.
