//! The settings of a rotation.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    Adoption, adopt, ops,
    rotation::{Inner, Rotation},
};
use crate::{
    device::{Devices, MOST_DEVICES},
    error::ConfigError,
    jwt::Issuer,
    keyring::{KeyRing, Purpose},
    store::Store,
};

const GRACE: Duration = Duration::from_secs(10);
const LONGEST_GRACE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) grace: Duration,
    pub(super) idle: Duration,
    pub(super) absolute: Duration,
    pub(super) most_devices: u32,
    pub(super) evict: bool,
}

/// Settings of a [`Rotation`], checked when it is built.
#[derive(Clone)]
#[must_use]
pub struct RotationBuilder {
    store: Store,
    keys: KeyRing,
    issuer: Issuer,
    adoption: Option<Adoption>,
    #[cfg(feature = "registry")]
    registry: Option<crate::registry::ActiveSessions>,
    settings: Settings,
}

impl RotationBuilder {
    pub(super) fn new(store: &Store, keys: &KeyRing, issuer: &Issuer) -> Self {
        let longest = store.longest_credential();
        Self {
            store: store.clone(),
            keys: keys.clone(),
            issuer: issuer.clone(),
            adoption: None,
            #[cfg(feature = "registry")]
            registry: None,
            settings: Settings {
                grace: GRACE,
                idle: (14 * DAY).min(longest),
                absolute: (60 * DAY).min(longest),
                most_devices: MOST_DEVICES,
                evict: true,
            },
        }
    }

    /// How long after a rotation the token of before still leads to the same successor. Default 10 s, at most 60 s. It
    /// is what keeps two tabs, and a client that lost an answer, signed in; a thief who is that quick is found out at the
    /// next rotation of either.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// No grace: every second use of a token ends its family, by whomever (the letter of ASVS 10.4.5). Browsers with
    /// several tabs, and clients on bad networks, will be signed out.
    pub fn strict(self) -> Self {
        self.grace(Duration::ZERO)
    }

    /// A family ends when it was not used for this long. Default 14 days.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.settings.idle = timeout;
        self
    }

    /// A family ends this long after the login, however much it is used (ASVS 10.4.8). Default 60 days.
    pub fn absolute_timeout(mut self, timeout: Duration) -> Self {
        self.settings.absolute = timeout;
        self
    }

    /// On how many devices a user may be signed in at once; whoever signed in first goes. Default 1000. Sessions and
    /// families count together: set the same for the layer of the sessions. At least 1; a login of a user who has so many
    /// looks at each of them, while the server does nothing else.
    pub fn max_devices(mut self, most: u32) -> Self {
        self.settings.most_devices = most;
        self.settings.evict = true;
        self
    }

    /// On how many devices a user may be signed in at once; a login on one more is refused.
    pub fn max_devices_or_refuse(mut self, most: u32) -> Self {
        self.settings.most_devices = most;
        self.settings.evict = false;
        self
    }

    /// Takes refresh tokens of another system, once each. Default none.
    pub fn adopt(mut self, adoption: Adoption) -> Self {
        self.adoption = Some(adoption);
        self
    }

    /// Keeps families in a database instead of the store, so that a store that is emptied or away signs nobody out: a refresh
    /// needs the database alone. A family is then the session of its `sid`, which
    /// [`ActiveSessionLayer`](crate::registry::ActiveSessionLayer) checks; end it there, or here.
    ///
    /// Families that the store has from before move to the database with their next use, so nobody has to sign in again; until
    /// then their access tokens have no active session, and are refused there with 401, after which clients refresh. A token
    /// that the database does not know is therefore a question to the store: while that is away, 503. Switch it on at all nodes
    /// before a flush of the store: what has not moved by then is lost with it.
    #[cfg(feature = "registry")]
    pub fn registry(mut self, active: &crate::registry::ActiveSessions) -> Self {
        self.registry = Some(active.clone());
        self
    }

    /// Checks the settings and makes the rotation.
    ///
    /// # Errors
    ///
    /// For timeouts that contradict each other or exceed the store's
    /// [`longest_credential`](crate::store::StoreBuilder::longest_credential), a grace above a minute, no device at all, or
    /// access tokens that live longer than the store's [`access_token_life`](crate::store::StoreBuilder::access_token_life).
    pub fn build(self) -> Result<Rotation, ConfigError> {
        let Settings {
            grace,
            idle,
            absolute,
            ..
        } = self.settings;
        if grace > LONGEST_GRACE {
            return Err(ConfigError::new("grace", "must be at most a minute"));
        }
        if absolute < Duration::from_secs(60) || absolute > self.store.longest_credential() {
            return Err(ConfigError::new(
                "absolute_timeout",
                "must be at least a minute and at most the store's longest_credential, or no cutoff could end the family",
            ));
        }
        if idle < Duration::from_secs(60) || idle > absolute {
            return Err(ConfigError::new(
                "idle_timeout",
                "must be at least a minute and at most the absolute timeout",
            ));
        }
        if self.settings.most_devices == 0 {
            return Err(ConfigError::new(
                "max_devices",
                "must be at least 1, or nobody could sign in",
            ));
        }
        if self.issuer.lifetime() > self.store.longest_access_token() {
            return Err(ConfigError::new(
                "access_token_life",
                "access tokens of the issuer live longer than the store denies them after a logout: raise it, or shorten the issuer's lifetime",
            ));
        }
        self.store.register(&ops::ALL);
        if self.adoption.is_some() {
            self.store.register(&[&adopt::TAKE]);
        }
        Ok(Rotation(Arc::new(Inner {
            keys: self.keys.mac(Purpose::Refresh),
            devices: Devices::new(&self.store),
            store: self.store,
            issuer: self.issuer,
            adoption: self.adoption,
            #[cfg(feature = "registry")]
            registry: self.registry,
            settings: self.settings,
        })))
    }
}

impl fmt::Debug for RotationBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotationBuilder").finish_non_exhaustive()
    }
}
