//! The layer and its settings.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{
    binding::Binding,
    config::{Config, OnGone, OnLimit},
    gate::SessionGate,
    handle::Session,
    ops::{self, Life},
};
use crate::{
    clock::millis,
    cookie::{CookieConfig, SameSite},
    device::MOST_DEVICES,
    error::ConfigError,
    gate::Gated,
    keyring::{KeyRing, Purpose},
    recent::Recent,
    refuse::DefaultRefuse,
    store::Store,
};

const NAME: &str = "__Host-session";
const PLAIN_NAME: &str = "session";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const LIMIT: usize = 64 * 1024;

/// Sessions for the services inside: puts a [`Session`](super::Session) into the extensions of every request.
///
/// It belongs outermost of the layers of this crate, so that the others find the session. Defaults:
///
/// | setting | default |
/// |---|---|
/// | cookie | `__Host-session`, `Secure`, `HttpOnly`, `SameSite=Lax`, `Path=/`, until the browser closes |
/// | idle timeout | 1 hour |
/// | absolute timeout | 24 hours |
/// | a use is recorded | at most once a minute |
/// | remember me | idle 14 days, absolute 30 days, cookie for the absolute timeout |
/// | size of a session | 64 KiB |
/// | devices per user | 1000; on one more, whoever signed in first is signed out |
///
/// The timeouts are those of NIST SP 800-63B-4 for AAL2 (1 hour of inactivity, 24 hours overall) and, for remembered
/// logins, AAL1 (30 days overall).
pub struct SessionLayer<R = DefaultRefuse> {
    config: Arc<Config>,
    responder: R,
}

impl SessionLayer {
    /// Sessions in `store` with the default settings, in cookies signed by `keys`.
    #[must_use]
    pub fn new(store: &Store, keys: &KeyRing) -> Self {
        SessionLayerBuilder::new(store, keys)
            .build()
            .expect("the default settings can be used")
    }

    /// Settings first.
    pub fn builder(store: &Store, keys: &KeyRing) -> SessionLayerBuilder {
        SessionLayerBuilder::new(store, keys)
    }
}

impl<R> SessionLayer<R> {
    /// Makes refusals with another responder.
    #[must_use]
    pub fn refuse_with<Other>(self, responder: Other) -> SessionLayer<Other> {
        SessionLayer {
            config: self.config,
            responder,
        }
    }
}

impl<S, R: Clone> Layer<S> for SessionLayer<R> {
    type Service = Gated<S, SessionGate, R>;

    fn layer(&self, inner: S) -> Self::Service {
        let gate = SessionGate::new(Arc::clone(&self.config));
        Gated::new(inner, gate, self.responder.clone())
    }
}

impl<R: Clone> Clone for SessionLayer<R> {
    fn clone(&self) -> Self {
        Self {
            config: Arc::clone(&self.config),
            responder: self.responder.clone(),
        }
    }
}

impl<R> fmt::Debug for SessionLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayer")
            .field("cookie", &self.config.cookie.name)
            .field("life", &self.config.life)
            .finish_non_exhaustive()
    }
}

/// Settings of a [`SessionLayer`], checked when it is built.
#[derive(Clone, Debug)]
#[must_use]
pub struct SessionLayerBuilder {
    store: Store,
    keys: KeyRing,
    cookie: CookieConfig,
    named: bool,
    life: Life,
    remembered: Life,
    touch_interval: Option<Duration>,
    limit: usize,
    on_gone: OnGone,
    most_devices: u32,
    on_limit: OnLimit,
    pub(super) binding: Binding,
}

impl SessionLayerBuilder {
    fn new(store: &Store, keys: &KeyRing) -> Self {
        let longest = store.longest_credential();
        let life = |idle: Duration, absolute: Duration, persistent| Life {
            idle: Some(idle.min(longest)),
            absolute: absolute.min(longest),
            persistent,
        };
        Self {
            store: store.clone(),
            keys: keys.clone(),
            cookie: CookieConfig::new(NAME),
            named: false,
            life: life(HOUR, DAY, false),
            remembered: life(14 * DAY, 30 * DAY, true),
            touch_interval: None,
            limit: LIMIT,
            on_gone: OnGone::Pass,
            most_devices: MOST_DEVICES,
            on_limit: OnLimit::EvictOldest,
            binding: Binding::default(),
        }
    }

    /// The name of the cookie. Default `__Host-session`. The name is part of what is signed: give every application of a
    /// host its own name and its own secret, because neither ports nor paths keep cookies apart (RFC 6265bis §8.5).
    pub fn cookie_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.cookie.name = name.into();
        self.named = true;
        self
    }

    /// The path of the cookie. Default `/`, which a `__Host-` name demands.
    pub fn cookie_path(mut self, path: impl Into<Cow<'static, str>>) -> Self {
        self.cookie.path = path.into();
        self
    }

    /// The domain of the cookie, which then goes to all its subdomains as well: each of them can read and overwrite it.
    /// Default none. A `__Host-` name excludes it.
    pub fn insecure_cookie_domain(mut self, domain: impl Into<Cow<'static, str>>) -> Self {
        self.cookie.domain = Some(domain.into());
        self
    }

    /// Which requests from other sites carry the cookie. Default [`SameSite::Lax`]. It is no protection against CSRF by
    /// itself: sibling subdomains are the same site.
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.cookie.same_site = same_site;
        self
    }

    /// Whether a page embedded in another site has a cookie of its own there (CHIPS). Default no.
    pub fn partitioned(mut self, yes: bool) -> Self {
        self.cookie.partitioned = yes;
        self
    }

    /// A cookie without `Secure`, which browsers send over plain http, where everybody on the way reads it: for
    /// development on a loopback address. The name becomes `session` unless another is set.
    pub fn insecure_plain_http(mut self) -> Self {
        self.cookie.secure = false;
        if !self.named {
            self.cookie.name = Cow::Borrowed(PLAIN_NAME);
        }
        self
    }

    /// The session ends this long after its last recorded use. Default 1 hour.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.life.idle = Some(timeout);
        self
    }

    /// Sessions end at the absolute timeout, used or not: a fixed expiry instead of a sliding one. Also for remembered
    /// logins.
    pub fn no_idle_timeout(mut self) -> Self {
        self.life.idle = None;
        self.remembered.idle = None;
        self
    }

    /// The session ends this long after it was made or the user signed in, however much it is used. Default 24 hours.
    pub fn absolute_timeout(mut self, timeout: Duration) -> Self {
        self.life.absolute = timeout;
        self
    }

    /// The timeouts of logins with [`Login::remember_me`](super::Login::remember_me); their cookie outlives the
    /// browser. Default 14 days idle, 30 days absolute.
    pub fn remember_me(mut self, idle: Duration, absolute: Duration) -> Self {
        self.remembered.idle = Some(idle);
        self.remembered.absolute = absolute;
        self
    }

    /// Whether all cookies outlive the browser, up to the absolute timeout. Default no.
    pub fn persistent(mut self, yes: bool) -> Self {
        self.life.persistent = yes;
        self
    }

    /// A use is recorded when the last recorded one is this long ago. The idle timeout counts from the recorded use: a
    /// session may end up to this much early, never late. Default a twentieth of the idle timeout, at most a minute.
    pub fn touch_interval(mut self, interval: Duration) -> Self {
        self.touch_interval = Some(interval);
        self
    }

    /// The largest session, in bytes as stored. Default 64 KiB. What exceeds it is refused, nothing is cut.
    pub fn max_size(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// What happens to a response whose changes found the session ended. Default [`OnGone::Pass`].
    pub fn on_gone(mut self, what: OnGone) -> Self {
        self.on_gone = what;
        self
    }

    /// On how many devices a user may be signed in at once, and what happens to a login on one more. 1 is a single login.
    /// Default 1000, and whoever signed in first goes. It holds under parallel logins on every instance. A login of a user
    /// who has so many looks at each of them, while the server does nothing else.
    pub fn max_devices(mut self, most: u32, on_limit: OnLimit) -> Self {
        self.most_devices = most;
        self.on_limit = on_limit;
        self
    }

    /// Checks the settings and makes the layer.
    ///
    /// # Errors
    ///
    /// For a cookie that browsers would drop, timeouts that contradict each other or exceed what cutoffs of the store
    /// can end ([`StoreBuilder::longest_credential`](crate::store::StoreBuilder::longest_credential)).
    pub fn build(self) -> Result<SessionLayer, ConfigError> {
        self.cookie.check()?;
        self.binding.check()?;
        let longest = self.store.longest_credential();
        check_life("idle_timeout", "absolute_timeout", &self.life, longest)?;
        check_life("remember_me", "remember_me", &self.remembered, longest)?;
        if !(1024..=8 * 1024 * 1024).contains(&self.limit) {
            return Err(ConfigError::new(
                "max_size",
                "must be between 1 KiB and 8 MiB",
            ));
        }
        if self.most_devices == 0 {
            return Err(ConfigError::new(
                "max_devices",
                "must be at least 1, or nobody could sign in",
            ));
        }
        let touch_interval = self.checked_touch_interval()?;
        self.store.register(&ops::ALL);
        self.store.take_along(Session::rider_in);
        Ok(SessionLayer {
            config: Arc::new(Config {
                keys: self.keys.mac(Purpose::SessionCookie),
                store: self.store,
                cookie: self.cookie,
                life: self.life,
                remembered: self.remembered,
                touch_interval,
                limit: self.limit as u64,
                on_gone: self.on_gone,
                most_devices: u64::from(self.most_devices),
                on_limit: self.on_limit,
                binding: self.binding.is_on().then_some(self.binding),
                memo: Recent::new(),
            }),
            responder: DefaultRefuse::new(),
        })
    }

    fn checked_touch_interval(&self) -> Result<u64, ConfigError> {
        let idle = self.life.idle.into_iter().chain(self.remembered.idle).min();
        let shortest = idle.unwrap_or(DAY);
        let interval = self
            .touch_interval
            .unwrap_or_else(|| (shortest / 20).min(MINUTE));
        if interval > shortest / 2 {
            return Err(ConfigError::new(
                "touch_interval",
                "must be at most half of the idle timeout, or sessions in use would expire",
            ));
        }
        Ok(millis(interval))
    }
}

fn check_life(
    idle_field: &'static str,
    absolute_field: &'static str,
    life: &Life,
    longest: Duration,
) -> Result<(), ConfigError> {
    if life.absolute < Duration::from_secs(1) || life.absolute > longest {
        return Err(ConfigError::new(
            absolute_field,
            "must be at least a second and at most the store's longest_credential, or no cutoff could end the session",
        ));
    }
    match life.idle {
        Some(idle) if idle < Duration::from_secs(1) || idle > life.absolute => {
            Err(ConfigError::new(
                idle_field,
                "the idle timeout must be at least a second and at most the absolute timeout",
            ))
        }
        _ => Ok(()),
    }
}
