//! Who signs in, and who is signed in.

use std::fmt;

use crate::{cutoff::AuthStart, device::About};

/// What a handler says about a login, once it has checked the credentials.
///
/// ```
/// use portcullis::session::Login;
///
/// let login = Login::new("alice").tenant("acme").remember_me(true).device("Firefox on Linux");
/// ```
#[derive(Clone)]
#[must_use]
pub struct Login {
    pub(super) user: String,
    pub(super) tenant: Option<String>,
    pub(super) remember: bool,
    pub(super) started: Option<AuthStart>,
    pub(super) device: About,
}

impl Login {
    /// A login of this user: the identifier by which the application knows the account, at most 256 bytes. Take one
    /// that never changes hands; an e-mail address does.
    pub fn new(user: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            tenant: None,
            remember: false,
            started: None,
            device: About::default(),
        }
    }

    /// The tenant the user belongs to, for services that have tenants. Default: none; an empty one is refused.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Whether the user asked to stay signed in on this device: the timeouts and the cookie are then those of
    /// [`SessionLayerBuilder::remember_me`](super::SessionLayerBuilder::remember_me). Default: no.
    pub fn remember_me(mut self, yes: bool) -> Self {
        self.remember = yes;
        self
    }

    /// When the authentication began, taken with [`Session::auth_start`](super::Session::auth_start) before the credentials
    /// were looked up: if everything of the user was ended since, this login is refused
    /// ([`Outdated`](super::SessionErrorKind::Outdated)) and nothing is written. Without it, a password that was still being
    /// checked while it was changed signs in.
    ///
    /// ```
    /// # use portcullis::{Rejection, session::{Login, Session}};
    /// # async fn check(_: &str) -> Option<String> { None }
    /// async fn login(session: Session, password: String) -> Result<(), Rejection> {
    ///     let began = session.auth_start().await?;
    ///     if let Some(user) = check(&password).await {
    ///         session.login(Login::new(user).not_before(began)).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn not_before(mut self, began: AuthStart) -> Self {
        self.started = Some(began);
        self
    }

    /// A name for the device, for the user's list of devices. Cut to 256 bytes.
    pub fn device(mut self, name: impl Into<String>) -> Self {
        self.device.set_name(name);
        self
    }

    /// The address the login came from, for the user's list of devices. Take it from the connection, or from a header
    /// that only your own proxy can set.
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
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("remember", &self.remember)
            .finish_non_exhaustive()
    }
}

/// Who is signed in.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    pub(super) tenant: String,
    pub(super) id: String,
    pub(super) sid: String,
    pub(super) auth_ms: u64,
    pub(super) login_ms: u64,
}

impl User {
    /// The identifier given to [`Login::new`].
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The tenant given to [`Login::tenant`]; empty if none was.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Names this login on this device: the same after a renewal or a repeated login on the device, another after
    /// every logout. It is the `sid` of tokens that belong to the login, and no secret.
    #[must_use]
    pub fn sid(&self) -> &str {
        &self.sid
    }

    /// When the user proved who they are on this device, in milliseconds since the Unix epoch by the store's clock.
    #[must_use]
    pub fn login_ms(&self) -> u64 {
        self.login_ms
    }

    /// The moment that cutoffs are compared with: that of the login, or of the last time that this device signed all
    /// others out. Hand it on to whatever belongs to the session and is to end with it; for "how long ago was the login"
    /// take [`login_ms`](Self::login_ms).
    #[must_use]
    pub fn auth_ms(&self) -> u64 {
        self.auth_ms
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("auth_ms", &self.auth_ms)
            .finish_non_exhaustive()
    }
}
