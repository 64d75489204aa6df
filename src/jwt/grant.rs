//! What a token says, before it is one.

use std::fmt;

use serde_json::{Map, Value};

use super::MintError;

/// Whom a token is minted for, and what it allows.
///
/// ```
/// use portcullis::jwt::Grant;
///
/// let login = Grant::user("alice").client_id("web").sid("a7f3").scope("orders:read orders:write");
/// let job = Grant::client("nightly-export").scope("orders:read").claim("region", "eu");
/// # let _ = (login, job);
/// ```
#[derive(Clone)]
#[must_use = "a grant is not a token yet"]
pub struct Grant {
    pub(super) sub: Box<str>,
    pub(super) client_id: Option<Box<str>>,
    pub(super) sid: Option<Box<str>>,
    pub(super) auth_ms: Option<u64>,
    pub(super) login_ms: Option<u64>,
    pub(super) tenant: Option<Box<str>>,
    pub(super) scope: Option<Box<str>>,
    pub(super) audiences: Vec<Box<str>>,
    pub(super) more: Map<String, Value>,
}

impl Grant {
    /// For a user.
    pub fn user(sub: impl Into<Box<str>>) -> Self {
        Self {
            sub: sub.into(),
            client_id: None,
            sid: None,
            auth_ms: None,
            login_ms: None,
            tenant: None,
            scope: None,
            audiences: Vec::new(),
            more: Map::new(),
        }
    }

    /// For a client on its own behalf: `sub` and `client_id` are the same (RFC 9068 §2.2).
    pub fn client(client_id: impl Into<Box<str>>) -> Self {
        let client_id = client_id.into();
        Self::user(client_id.clone()).client_id(client_id)
    }

    /// The client that the user acts through.
    pub fn client_id(mut self, client_id: impl Into<Box<str>>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// The session that the token belongs to: revoking it revokes the token. Such a token may live no longer than the
    /// store's [`access_token_life`](crate::store::StoreBuilder::access_token_life), or the blacklist refuses it.
    pub fn sid(mut self, sid: impl Into<Box<str>>) -> Self {
        self.sid = Some(sid.into());
        self
    }

    /// When the user authenticated, in milliseconds since the Unix epoch; by default when the token is minted. Keep it
    /// while a login is only continued, so that "log out everywhere" ends that login.
    ///
    /// Cutoffs are moments of the store's clock, and compared with it to the millisecond: take it from what the store said, as
    /// a session's [`User::auth_ms`](crate::session::User::auth_ms) or [`Rotation`](crate::refresh::Rotation), which does so
    /// itself. The default is of this node's clock. If that is ahead, a token of shortly before a cutoff outlives it; if it is
    /// behind, one of shortly after is refused.
    pub fn auth_ms(mut self, auth_ms: u64) -> Self {
        self.auth_ms = Some(auth_ms);
        self
    }

    /// When the user proved who they are, in milliseconds since the Unix epoch, for those who ask for a recent login
    /// ([`StepUpLayer`](super::StepUpLayer)): the claim `auth_time`, in seconds. By default it is not written, and
    /// [`auth_ms`](Self::auth_ms) counts. They differ where a user has signed all other devices out: what is left of the
    /// login counts as of then, and the user has proved nothing.
    pub fn login_ms(mut self, login_ms: u64) -> Self {
        self.login_ms = Some(login_ms);
        self
    }

    /// The tenant of the subject.
    pub fn tenant(mut self, tenant: impl Into<Box<str>>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// What the token allows, separated by spaces (RFC 6749 §3.3).
    pub fn scope(mut self, scope: impl Into<Box<str>>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// A service that the token is for, instead of the issuer's audiences: whoever else receives it cannot use it elsewhere
    /// (RFC 8707). Named several times, it is for all of them. Never take it from a client unchecked: whoever trusts the
    /// issuer under that name accepts the token.
    pub fn audience(mut self, aud: impl Into<Box<str>>) -> Self {
        self.audiences.push(aud.into());
        self
    }

    /// One claim of the application's own. Names that this crate writes, or that make the token one of another kind
    /// (`cnf`, `events`, `at_hash`, `c_hash`), are refused when it is minted.
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.more.insert(name.into(), value.into());
        self
    }

    pub(super) fn check(&self) -> Result<(), MintError> {
        const WRITTEN: [&str; 13] = [
            "iss",
            "sub",
            "aud",
            "iat",
            "exp",
            "nbf",
            "jti",
            "auth_ms",
            "auth_time",
            "sid",
            "client_id",
            "tenant",
            "scope",
        ];
        // These make something else of a token than a bearer's access token.
        const OTHER_KINDS: [&str; 4] = ["cnf", "events", "at_hash", "c_hash"];
        let ids = [&self.client_id, &self.sid, &self.tenant];
        let ids = ids.into_iter().flatten().chain(&self.audiences);
        if self.sub.is_empty() || ids.into_iter().any(|id| id.is_empty()) {
            return Err(MintError::new("an id is empty"));
        }
        let taken = |name: &String| {
            WRITTEN
                .iter()
                .chain(&OTHER_KINDS)
                .any(|taken| taken == name)
        };
        if self.more.keys().any(taken) {
            return Err(MintError::new(
                "a claim has a name that means something already",
            ));
        }
        Ok(())
    }
}

/// Nothing of it is shown: a grant names a person and a session.
impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").finish_non_exhaustive()
    }
}
