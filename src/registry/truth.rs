//! What a database must be able to do to be the truth about who is signed in.
//!
//! 1. The database decides. What stands in Redis and on nodes is a copy that may be lost or late, and is never believed
//!    against the database.
//! 2. Every operation is one statement ([`create`](Registry::create) and [`put_cutoff`](Registry::put_cutoff) one
//!    transaction each; a second one may read what [`revoke`](Registry::revoke) is to tell again), by the database's own
//!    clock: nodes' clocks differ.
//! 3. An ended session never becomes active again: no operation clears [`ended`](Registered::ended), and
//!    [`rotate`](Registry::rotate) changes only a session that is active.

#![expect(
    clippy::exhaustive_structs,
    clippy::exhaustive_enums,
    reason = "implementations build these structs and must decide about every variant"
)]

use std::{error::Error as StdError, fmt, pin::Pin, sync::Arc};

/// Why a session ended that made room for another.
pub(super) const EVICTED: &str = "evicted";

/// How long a session is told of again that was ended before, to who ends all others.
pub(super) const TOLD_AGAIN_MS: u64 = 60_000;

/// What an operation of a [`Registry`] returns.
pub type RegistryFuture<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, RegistryError>> + Send + 'a>>;

/// The application's database, as the truth about who is signed in.
///
/// All moments are milliseconds since the Unix epoch, by the database's clock. `tenant` is empty where there are no
/// tenants. An operation that may have happened although it answered with an error is tried again: all are idempotent.
///
/// Texts are kept byte for byte, and compared so: `Alice` is not `alice`. What cannot be kept, such as a NUL in PostgreSQL
/// or a text that is too long, is [`RegistryErrorKind::Failed`], never cut or changed.
///
/// A call can be dropped half-way; nothing stays locked then. None takes for ever: an answer that does not come is
/// [`RegistryErrorKind::Unavailable`].
///
#[doc = include_str!("own_table.md")]
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
    /// more. Sessions that end to make room end with the word `evicted`.
    ///
    /// A second call with the same `sid`, user and `token` answers as the first did, and writes nothing, also when the
    /// session has ended since; with another user or token it is [`RegistryErrorKind::Failed`].
    ///
    /// It and a [`put_cutoff`](Self::put_cutoff) that applies exclude each other: otherwise the cutoff of a changed password
    /// could miss a session that is being written, and the session the cutoff.
    fn create<'a>(&'a self, session: &'a NewSession) -> RegistryFuture<'a, Created>;

    /// The active sessions of a user, by [`created_ms`](Registered::created_ms) and then `sid`: not ended, not expired,
    /// authenticated after every cutoff.
    fn list<'a>(&'a self, tenant: &'a str, user: &'a str) -> RegistryFuture<'a, Vec<Registered>>;

    /// Ends sessions, with a word that says why; returns the `sid`s of those that were not ended before, in any order.
    /// What has expired counts as not ended.
    ///
    /// Of [`Which::Others`], those that were ended at most a minute before, by whatever, are returned as well: who tries again
    /// because an answer was lost has to know whom the first try ended.
    fn revoke<'a>(&'a self, which: &'a Which, reason: &'a str) -> RegistryFuture<'a, Vec<String>>;

    /// Notes that the session was used now; nothing if it has ended, or is none. Its expiry stays.
    fn touch<'a>(&'a self, sid: &'a str) -> RegistryFuture<'a, ()>;

    /// Replaces token, data and expiry of an active session whose token is still `expected`, and notes its use; says
    /// whether it was. The compare-and-set that makes rotation atomic.
    fn rotate<'a>(
        &'a self,
        sid: &'a str,
        expected: &'a str,
        next: &'a Rotated,
    ) -> RegistryFuture<'a, bool>;

    /// What a cutoff reaches that is raised after somebody began to authenticate, and none that was raised before: one more
    /// than the largest of all cutoffs, whosever they are. It comes back as [`NewSession::not_before_ms`].
    ///
    /// No clock is asked, and nothing is written: were it now, a clock that is set back between it and a cutoff would let the
    /// login through.
    fn auth_start(&self) -> RegistryFuture<'_, u64>;

    /// Raises a cutoff and returns what it is then.
    ///
    /// Without a moment: to the largest of now, one more than the largest of all cutoffs, and the largest `auth_ms` of all
    /// sessions, so that it ends whatever began before it, and is not before any [`auth_start`](Self::auth_start) that was
    /// answered before. With one: to that moment, unless the old one is later, and no further. So a cutoff that is known
    /// elsewhere is noted, and ends nothing that it had not ended before; logins under way to which it applies are refused.
    fn put_cutoff<'a>(
        &'a self,
        scope: &'a CutoffScope,
        moment: Option<u64>,
    ) -> RegistryFuture<'a, u64>;

    /// The cutoffs whose moment is at most this many milliseconds before the database's now, or after it; in any order.
    ///
    /// What was begun before a moment can become visible after it: whoever asks again and again asks for an overlap of as
    /// long as an operation may take. The same holds for [`recently_ended`](Self::recently_ended).
    fn recent_cutoffs(&self, age_ms: u64) -> RegistryFuture<'_, Vec<(CutoffScope, u64)>>;

    /// The `sid`s of sessions that were ended at most this many milliseconds before the database's now, evicted ones too; in
    /// any order.
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
    /// When checking the user's password began ([`Registry::auth_start`]): a cutoff since then refuses the session. `None`
    /// to accept it.
    pub not_before_ms: Option<u64>,
    /// How many active sessions the user may have, this one included; `None` for any number.
    pub limit: Option<Limit>,
}

/// How many active sessions a user may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// At most so many.
    pub most: u32,
    /// Whether the first of [`Registry::list`] end to make room; otherwise the new one is refused.
    pub evict: bool,
}

impl Limit {
    /// Of the active ones, oldest first, those that end so that one more is within the limit; `None` when none is to end.
    pub(super) fn over(self, mut active: Vec<String>) -> Option<Vec<String>> {
        let most = usize::try_from(self.most).unwrap_or(usize::MAX);
        let surplus = (active.len() + 1).saturating_sub(most);
        if surplus > 0 && (!self.evict || most == 0) {
            return None;
        }
        active.truncate(surplus);
        Some(active)
    }
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
