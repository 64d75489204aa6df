//! Who signs in.

use std::{fmt, time::Duration};

use super::truth::Limit;
use crate::{cutoff::AuthStart, device::About};

/// What an application says about a login that is to be an active session.
///
/// ```
/// use portcullis::registry::NewLogin;
///
/// let login = NewLogin::new("alice").device("Firefox on Linux").max_devices(5);
/// # let _ = login;
/// ```
#[derive(Clone)]
#[must_use]
pub struct NewLogin {
    pub(super) user: String,
    pub(super) tenant: String,
    pub(super) sid: Option<String>,
    pub(super) lifetime: Option<Duration>,
    pub(super) limit: Option<Limit>,
    pub(super) started: Option<AuthStart>,
    pub(super) device: About,
}

/// A session that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignedIn {
    /// What access tokens carry in their `sid` claim.
    pub sid: String,
    /// When the user authenticated: what access tokens carry in their `auth_ms` claim.
    pub auth_ms: u64,
    /// When the session began.
    pub created_ms: u64,
}

impl NewLogin {
    /// A login of this user, now.
    pub fn new(user: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            tenant: String::new(),
            sid: None,
            lifetime: None,
            limit: None,
            started: None,
            device: About::default(),
        }
    }

    /// The tenant the user belongs to, for services that have tenants.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// The `sid` of a session that there is already, as of [`Session`](crate::session::Session): both end together. By
    /// default one is made.
    pub fn sid(mut self, sid: impl Into<String>) -> Self {
        self.sid = Some(sid.into());
        self
    }

    /// For how long it is good without use. By default what the handle's settings say.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// On how many devices the user may be signed in at once; whoever signed in first goes.
    pub fn max_devices(mut self, most: u32) -> Self {
        self.limit = Some(Limit { most, evict: true });
        self
    }

    /// On how many devices the user may be signed in at once; a login on one more is refused.
    pub fn max_devices_or_refuse(mut self, most: u32) -> Self {
        self.limit = Some(Limit { most, evict: false });
        self
    }

    /// When checking the password began, taken with [`ActiveSessions::auth_start`](super::ActiveSessions::auth_start) before
    /// the credentials were looked up: if all sessions of the user were ended since, the login is refused
    /// ([`Cut`](super::ActiveErrorKind::Cut)). Without it, a password that was still being checked while it was changed
    /// signs in.
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
}

// The user is personal data.
impl fmt::Debug for NewLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewLogin").finish_non_exhaustive()
    }
}
