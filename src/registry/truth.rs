//! What a database must be able to do to be the truth about who is signed in.
//!
//! 1. The database decides. What stands in Redis and on nodes is a copy that may be lost or late, and is never believed
//!    against the database.
//! 2. Every operation is one statement (a limited [`create`](Registry::create) one transaction), by the database's own
//!    clock: nodes' clocks differ.
//! 3. An ended session never becomes active again: no operation clears [`ended`](Registered::ended), and
//!    [`rotate`](Registry::rotate) changes only a session that is active.

#![expect(
    clippy::exhaustive_structs,
    clippy::exhaustive_enums,
    reason = "implementations build these structs and must decide about every variant"
)]

use std::{error::Error as StdError, fmt, pin::Pin, sync::Arc};

/// What an operation of a [`Registry`] returns.
pub type RegistryFuture<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, RegistryError>> + Send + 'a>>;

/// The application's database, as the truth about who is signed in.
///
/// All moments are milliseconds since the Unix epoch, by the database's clock. `tenant` is empty where there are no
/// tenants. An operation that may have happened although it answered with an error is tried again: all are idempotent.
pub trait Registry: fmt::Debug + Send + Sync + 'static {
    /// The session of this `sid`, ended or not; `None` when there was never one, or it was swept away.
    ///
    /// Read from the primary: a replica that lags could bring back what was revoked.
    fn find<'a>(&'a self, sid: &'a str) -> RegistryFuture<'a, Option<Found>>;

    /// Writes a session that begins now.
    ///
    /// Its `auth_ms` is the largest of now, one more than each cutoff that applies to it, and
    /// [`NewSession::auth_at_least_ms`]. Where [`NewSession::not_before_ms`] is given and a cutoff that applies is at or
    /// after it, nothing is written and the answer is [`Created::Cut`]. The limit holds under parallel calls: never one
    /// more. A second call with the same `sid` and the same `token` answers as the first did.
    fn create<'a>(&'a self, session: &'a NewSession) -> RegistryFuture<'a, Created>;

    /// The active sessions of a user, oldest first: not ended, not expired, authenticated after every cutoff.
    fn list<'a>(&'a self, tenant: &'a str, user: &'a str) -> RegistryFuture<'a, Vec<Registered>>;

    /// Ends sessions, with a word that says why; returns the `sid`s of those that were not ended before.
    fn revoke<'a>(&'a self, which: &'a Which, reason: &'a str) -> RegistryFuture<'a, Vec<String>>;

    /// Notes that the session was used now.
    fn touch<'a>(&'a self, sid: &'a str) -> RegistryFuture<'a, ()>;

    /// Replaces token, data and expiry of an active session whose token is still `expected`, and notes its use; says
    /// whether it was. The compare-and-set that makes rotation atomic.
    fn rotate<'a>(
        &'a self,
        sid: &'a str,
        expected: &'a str,
        next: &'a Rotated,
    ) -> RegistryFuture<'a, bool>;

    /// Raises a cutoff and returns what it is then.
    ///
    /// Without a moment: to the largest of now, one more than the old one, and the largest `auth_ms` of all sessions, so
    /// that it ends whatever began before it. With one: to that moment, unless the old one is later, and no further. So a
    /// cutoff that is known elsewhere is noted, and ends nothing that it had not ended before.
    fn put_cutoff<'a>(
        &'a self,
        scope: &'a CutoffScope,
        moment: Option<u64>,
    ) -> RegistryFuture<'a, u64>;

    /// The cutoffs whose moment is at most this many milliseconds before the database's now, or after it.
    fn recent_cutoffs(&self, age_ms: u64) -> RegistryFuture<'_, Vec<(CutoffScope, u64)>>;

    /// The `sid`s of sessions that were ended at most this many milliseconds before the database's now.
    fn recently_ended(&self, age_ms: u64) -> RegistryFuture<'_, Vec<String>>;
}

/// One sign-in of one user on one device, as the database holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// The identifier that access tokens carry in their `sid` claim. The primary key.
    pub sid: String,
    /// The tenant, or empty.
    pub tenant: String,
    /// The user: the `sub` of access tokens.
    pub user: String,
    /// When the user authenticated.
    pub auth_ms: u64,
    /// When the session began.
    pub created_ms: u64,
    /// When it was last used, as far as it was noted.
    pub last_used_ms: u64,
    /// When it ends if nobody uses it.
    pub expires_ms: u64,
    /// Why it ended; `None` while it has not.
    pub ended: Option<String>,
    /// SHA-256 of the current refresh token, in Base64url; empty when it has none.
    pub token: String,
    /// What this crate keeps with it: JSON, to be stored and returned as it is.
    pub data: String,
}

/// A session, and what the database said with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The session.
    pub session: Registered,
    /// The database's clock when it answered.
    pub now_ms: u64,
    /// The largest cutoff that applies to the session, of user, tenant and everyone; `None` without any.
    pub cutoff_ms: Option<u64>,
}

impl Found {
    /// Whether the session is good: not ended, not expired, authenticated after every cutoff.
    #[must_use]
    pub fn is_active(&self) -> bool {
        let after = |cutoff| self.session.auth_ms > cutoff;
        self.session.ended.is_none()
            && self.now_ms < self.session.expires_ms
            && self.cutoff_ms.is_none_or(after)
    }
}

/// A session that is to begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSession {
    /// See [`Registered::sid`].
    pub sid: String,
    /// See [`Registered::tenant`].
    pub tenant: String,
    /// See [`Registered::user`].
    pub user: String,
    /// See [`Registered::token`].
    pub token: String,
    /// See [`Registered::data`].
    pub data: String,
    /// For how long from now it is good without use, in milliseconds.
    pub lifetime_ms: u64,
    /// A moment that its `auth_ms` must not be before; 0 for none.
    pub auth_at_least_ms: u64,
    /// When checking the user's password began: a cutoff since then refuses the session. `None` to accept it.
    pub not_before_ms: Option<u64>,
    /// How many active sessions the user may have, this one included; `None` for any number.
    pub limit: Option<Limit>,
}

/// How many active sessions a user may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// At most so many.
    pub most: u32,
    /// Whether the oldest end to make room; otherwise the new one is refused.
    pub evict: bool,
}

/// What became of a [`Registry::create`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is written.
    Active {
        /// When the user authenticated, as written.
        auth_ms: u64,
        /// When it began, as written.
        created_ms: u64,
        /// The `sid`s of sessions that ended to make room.
        evicted: Vec<String>,
    },
    /// The user has as many as may be, and none was to end for it. Nothing is written.
    Full,
    /// A cutoff came while the user was authenticating. Nothing is written.
    Cut,
}

/// Which sessions end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one with this `sid`, whosever it is.
    Sid(String),
    /// The one with this `sid`, if it is the user's.
    One {
        /// The tenant, or empty.
        tenant: String,
        /// The user.
        user: String,
        /// The session.
        sid: String,
    },
    /// All of the user's but one.
    Others {
        /// The tenant, or empty.
        tenant: String,
        /// The user.
        user: String,
        /// The session that stays.
        keep: String,
    },
    /// All of the user's.
    All {
        /// The tenant, or empty.
        tenant: String,
        /// The user.
        user: String,
    },
}

/// What a rotation writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    /// See [`Registered::token`].
    pub token: String,
    /// See [`Registered::data`].
    pub data: String,
    /// For how long from now the session is good without use, in milliseconds.
    pub lifetime_ms: u64,
}

/// Whose sessions a cutoff ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CutoffScope {
    /// Everybody's.
    Everyone,
    /// Those of one tenant.
    Tenant(String),
    /// Those of one user.
    User {
        /// The tenant, or empty.
        tenant: String,
        /// The user.
        user: String,
    },
}

/// Why a database did not answer.
#[derive(Clone, Debug)]
pub struct RegistryError {
    kind: RegistryErrorKind,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The kinds of [`RegistryError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryErrorKind {
    /// It cannot be reached, is too slow, or refuses to work now. Trying later may help.
    Unavailable,
    /// It answered with something that cannot be understood, or refused the statement. Trying later does not help.
    Failed,
}

impl RegistryError {
    /// The database cannot be reached, is too slow, or refuses to work now.
    #[must_use]
    pub fn unavailable(source: impl StdError + Send + Sync + 'static) -> Self {
        Self {
            kind: RegistryErrorKind::Unavailable,
            source: Some(Arc::new(source)),
        }
    }

    /// The database refused a statement, or what it answered cannot be understood.
    #[must_use]
    pub fn failed(source: impl StdError + Send + Sync + 'static) -> Self {
        Self {
            kind: RegistryErrorKind::Failed,
            source: Some(Arc::new(source)),
        }
    }

    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> RegistryErrorKind {
        self.kind
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            RegistryErrorKind::Unavailable => "the registry cannot be reached",
            RegistryErrorKind::Failed => "the registry failed",
        })
    }
}

impl StdError for RegistryError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}
