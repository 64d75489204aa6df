//! The layer and its settings.

use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{gate::BlacklistGate, ops};
use crate::{
    clock::millis, error::ConfigError, gate::Gated, recent::Recent, refuse::DefaultRefuse,
    store::Store,
};

/// Refuses verified tokens that were revoked. It belongs inside of [`JwtVerifyLayer`](crate::jwt::JwtVerifyLayer):
/// without it around, every request is refused with an internal error.
pub struct BlacklistLayer<R = DefaultRefuse> {
    config: Arc<Config>,
    responder: R,
}

/// What happens to a token while the store cannot say whether it was revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outage {
    /// It is refused with 503, gRPC `UNAVAILABLE`: nobody knows whether it was revoked. The default.
    #[default]
    Closed,
    /// It passes if this node was told by the store, at most this long ago, that it was not revoked. A revocation made
    /// meanwhile elsewhere works that much later, during an outage.
    Stale(Duration),
}

pub(super) struct Config {
    pub(super) store: Store,
    pub(super) policy: Policy,
    /// When the store last said that a token was not revoked, by this node's clock.
    pub(super) clear: Recent<16>,
    /// Tokens that the store said were revoked: they stay so whatever the policy.
    pub(super) dead: Recent<16>,
    pub(super) unidentified: bool,
    pub(super) strict: bool,
}

/// What two settings come to, for every layer that has both.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Closed,
    Stale(u64),
    Open,
}

impl Policy {
    pub(crate) fn of(outage: Outage, open: bool) -> Result<Self, ConfigError> {
        match (outage, open) {
            (Outage::Closed, false) => Ok(Self::Closed),
            (Outage::Closed, true) => Ok(Self::Open),
            (Outage::Stale(_), true) => Err(ConfigError::new(
                "outage",
                "is Stale and insecure_open at once: choose one",
            )),
            (Outage::Stale(life), false) => {
                if life.is_zero() || life > Duration::from_secs(24 * 60 * 60) {
                    return Err(ConfigError::new(
                        "outage",
                        "the stale time must be above zero and at most a day",
                    ));
                }
                Ok(Self::Stale(millis(life)))
            }
        }
    }
}

impl BlacklistLayer {
    /// Checks the list and the cutoffs in `store`: once per request, or at no cost where the store has a
    /// [replica](crate::near) nearby. Refuses while it cannot.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self::builder(store)
            .build()
            .expect("the default settings can be used")
    }

    /// Settings first.
    pub fn builder(store: &Store) -> BlacklistLayerBuilder {
        BlacklistLayerBuilder {
            store: store.clone(),
            outage: Outage::Closed,
            open: false,
            unidentified: false,
            strict: false,
        }
    }
}

impl<R> BlacklistLayer<R> {
    /// Makes refusals with another responder.
    #[must_use]
    pub fn refuse_with<Other>(self, responder: Other) -> BlacklistLayer<Other> {
        BlacklistLayer {
            config: self.config,
            responder,
        }
    }
}

impl<S, R: Clone> Layer<S> for BlacklistLayer<R> {
    type Service = Gated<S, BlacklistGate, R>;

    fn layer(&self, inner: S) -> Self::Service {
        let gate = BlacklistGate::new(Arc::clone(&self.config));
        Gated::new(inner, gate, self.responder.clone())
    }
}

impl<R: Clone> Clone for BlacklistLayer<R> {
    fn clone(&self) -> Self {
        Self {
            config: Arc::clone(&self.config),
            responder: self.responder.clone(),
        }
    }
}

impl<R> fmt::Debug for BlacklistLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlacklistLayer")
            .field("store", &self.config.store)
            .finish_non_exhaustive()
    }
}

/// Settings of a [`BlacklistLayer`], checked when it is built.
#[derive(Clone, Debug)]
#[must_use]
pub struct BlacklistLayerBuilder {
    store: Store,
    outage: Outage,
    open: bool,
    unidentified: bool,
    strict: bool,
}

impl BlacklistLayerBuilder {
    /// What happens while the store cannot say. Default [`Outage::Closed`].
    pub fn outage(mut self, outage: Outage) -> Self {
        self.outage = outage;
        self
    }

    /// Lets every verified token pass while the store cannot say, revoked ones included, but for those that this node
    /// was told about before.
    pub fn insecure_open(mut self) -> Self {
        self.open = true;
        self
    }

    /// Lets tokens pass that have neither `jti` nor `sid`. Only cutoffs can end them.
    pub fn insecure_allow_unidentified(mut self) -> Self {
        self.unidentified = true;
        self
    }

    /// Asks the store on every request, also where it has a [replica](crate::near): a revocation counts the moment it
    /// is acknowledged, for one trip a request. What the replica knows to be revoked is refused without asking.
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Checks the settings and makes the layer.
    ///
    /// # Errors
    ///
    /// For a stale time of zero or of more than a day, or one beside [`insecure_open`](Self::insecure_open).
    pub fn build(self) -> Result<BlacklistLayer, ConfigError> {
        let policy = Policy::of(self.outage, self.open)?;
        self.store.register(&ops::ALL);
        Ok(BlacklistLayer {
            config: Arc::new(Config {
                store: self.store,
                policy,
                clear: Recent::new(),
                dead: Recent::new(),
                unidentified: self.unidentified,
                strict: self.strict,
            }),
            responder: DefaultRefuse::new(),
        })
    }
}
