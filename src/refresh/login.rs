//! Who signs in, and what the family is bound to.

use std::fmt;

use crate::{cutoff::AuthStart, device::About};

/// How far a moment of authentication may lie ahead of this node's clock: the store's may be ahead, or was before it was set
/// back.
const FARTHEST_AHEAD_MS: u64 = 24 * 60 * 60 * 1_000;

/// What an application says about a login for which it wants tokens.
///
/// ```
/// use portcullis::refresh::RefreshLogin;
///
/// let login = RefreshLogin::new("alice").client("web").scope("orders:read orders:write").device("Firefox on Linux");
/// # let _ = login;
/// ```
#[derive(Clone)]
#[must_use]
pub struct RefreshLogin {
    pub(super) user: String,
    pub(super) tenant: Option<String>,
    pub(super) client: String,
    pub(super) scope: String,
    pub(super) resource: String,
    pub(super) sid: Option<String>,
    pub(super) auth_ms: u64,
    pub(super) login_ms: u64,
    pub(super) started: Option<AuthStart>,
    pub(super) device: About,
}

impl RefreshLogin {
    /// A login of this user, now.
    pub fn new(user: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            tenant: None,
            client: String::new(),
            scope: String::new(),
            resource: String::new(),
            sid: None,
            auth_ms: 0,
            login_ms: 0,
            started: None,
            device: About::default(),
        }
    }

    /// The tenant the user belongs to, for services that have tenants. Default: none; an empty one is refused.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// The client the tokens are for; no other can use them (RFC 9700 §4.14.2).
    pub fn client(mut self, client: impl Into<String>) -> Self {
        self.client = client.into();
        self
    }

    /// What the tokens allow, separated by spaces. A refresh can narrow it and never widen it.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = scope.into();
        self
    }

    /// The resources the tokens are for, separated by spaces (RFC 8707): the `aud` of their access tokens, instead of the
    /// issuer's audiences. A refresh can narrow them and never widen them. Check what a client asks for: whoever trusts the
    /// issuer under one of these names accepts the tokens.
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = resource.into();
        self
    }

    /// The session that the tokens belong to: its `sid`, and when its user authenticated. Both are one device, and end
    /// together. Take them from [`User`](crate::session::User).
    pub fn of_session(mut self, sid: impl Into<String>, auth_ms: u64) -> Self {
        self.sid = Some(sid.into());
        self.auth_ms = auth_ms;
        self
    }

    /// When the user proved who they are, if that was earlier than this login: the claim `auth_time` of the access tokens.
    /// Of a session it is [`User::login_ms`](crate::session::User::login_ms).
    pub fn signed_in_at(mut self, login_ms: u64) -> Self {
        self.login_ms = login_ms;
        self
    }

    /// When the authentication began, taken with [`Rotation::auth_start`](super::Rotation::auth_start) before the credentials
    /// were looked up: if everything of the user was ended since, this login is refused
    /// ([`Outdated`](super::RefreshErrorKind::Outdated)) and nothing is written. Without it, a password that was still being
    /// checked while it was changed signs in. Over a registry one that was taken elsewhere is
    /// [`Invalid`](super::RefreshErrorKind::Invalid): it says nothing about the database's cutoffs.
    pub fn not_before(mut self, began: AuthStart) -> Self {
        self.started = Some(began);
        self
    }

    /// A name for the device, for the user's list of devices. Cut to 256 bytes.
    pub fn device(mut self, name: impl Into<String>) -> Self {
        self.device.set_name(name);
        self
    }

    /// The address the login came from, for the user's list of devices.
    pub fn ip(mut self, ip: impl fmt::Display) -> Self {
        self.device.set_ip(ip);
        self
    }

    /// The `User-Agent` of the login, for the user's list of devices. Cut to 256 bytes.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.device.set_user_agent(user_agent);
        self
    }

    /// The user that signs in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether it names somebody, and moments that have been. The latest moment of anybody decides what the next cutoff is: one
    /// of the far future would be everybody's.
    pub(super) fn can_be(&self, now_ms: u64) -> bool {
        let is_named = !self.user.is_empty() && self.tenant.as_deref() != Some("");
        let last = now_ms.saturating_add(FARTHEST_AHEAD_MS);
        is_named && self.auth_ms.max(self.login_ms) <= last
    }
}

// The user is personal data.
impl fmt::Debug for RefreshLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshLogin")
            .field("client", &self.client)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}
