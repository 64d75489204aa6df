//! The layer and its settings.

use std::{fmt, sync::Arc};

use tower_layer::Layer;

use super::{gate::ActiveSessionGate, handle::ActiveSessions};
use crate::{
    blacklist::{Outage, Policy},
    error::ConfigError,
    gate::Gated,
    recent::Recent,
    refuse::DefaultRefuse,
};

/// Refuses verified tokens whose session is not active, or that were revoked. It belongs inside of
/// [`JwtVerifyLayer`](crate::jwt::JwtVerifyLayer): without it around, every request is refused with an internal error.
///
/// It asks what a [`BlacklistLayer`](crate::blacklist::BlacklistLayer) asks as well, in the same trip: this one alone is
/// enough.
pub struct ActiveSessionLayer<R = DefaultRefuse> {
    config: Arc<Config>,
    responder: R,
}

pub(super) struct Config {
    pub(super) active: ActiveSessions,
    pub(super) policy: Policy,
    /// When a session was last known to be active, by this node's clock.
    pub(super) good: Recent<16>,
    pub(super) sessionless: bool,
    pub(super) list_required: bool,
    pub(super) notes_use: bool,
}

impl ActiveSessionLayer {
    /// Refuses also while nobody can say, and tokens without a `sid`.
    #[must_use]
    pub fn new(active: &ActiveSessions) -> Self {
        Self::builder(active)
            .build()
            .expect("the default settings can be used")
    }

    /// Settings first.
    pub fn builder(active: &ActiveSessions) -> ActiveSessionLayerBuilder {
        ActiveSessionLayerBuilder {
            active: active.clone(),
            outage: Outage::Closed,
            open: false,
            sessionless: false,
            list_required: false,
            notes_use: false,
        }
    }
}

impl<R> ActiveSessionLayer<R> {
    /// Makes refusals with another responder.
    #[must_use]
    pub fn refuse_with<Other>(self, responder: Other) -> ActiveSessionLayer<Other> {
        ActiveSessionLayer {
            config: self.config,
            responder,
        }
    }
}

impl<S, R: Clone> Layer<S> for ActiveSessionLayer<R> {
    type Service = Gated<S, ActiveSessionGate, R>;

    fn layer(&self, inner: S) -> Self::Service {
        let gate = ActiveSessionGate::new(Arc::clone(&self.config));
        Gated::new(inner, gate, self.responder.clone())
    }
}

impl<R: Clone> Clone for ActiveSessionLayer<R> {
    fn clone(&self) -> Self {
        Self {
            config: Arc::clone(&self.config),
            responder: self.responder.clone(),
        }
    }
}

impl<R> fmt::Debug for ActiveSessionLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveSessionLayer")
            .field("active", &self.config.active)
            .finish_non_exhaustive()
    }
}

/// Settings of an [`ActiveSessionLayer`], checked when it is built.
#[derive(Clone, Debug)]
#[must_use]
pub struct ActiveSessionLayerBuilder {
    active: ActiveSessions,
    outage: Outage,
    open: bool,
    sessionless: bool,
    list_required: bool,
    notes_use: bool,
}

impl ActiveSessionLayerBuilder {
    /// What happens while neither the store nor the database can say. Default [`Outage::Closed`]. With
    /// [`Outage::Stale`] a session passes that this layer knew to be active so long ago, and that this node has not ended since.
    pub fn outage(mut self, outage: Outage) -> Self {
        self.outage = outage;
        self
    }

    /// Lets every verified token pass while nobody can say, also of ended sessions, but for those of which this node knows
    /// that they have ended.
    pub fn insecure_open(mut self) -> Self {
        self.open = true;
        self
    }

    /// Lets tokens pass that have no `sid`, as those of clients on their own behalf, or are of another issuer than the JWT
    /// layer's first: they are checked as by a
    /// [`BlacklistLayer`](crate::blacklist::BlacklistLayer), and no database knows them.
    pub fn insecure_allow_sessionless(mut self) -> Self {
        self.sessionless = true;
        self
    }

    /// Takes it for unknown whether a token was revoked while the store cannot say, though its session is active:
    /// [`outage`](Self::outage) decides about it then.
    ///
    /// By default the session decides, so that an outage of the store signs nobody out. What the store alone knows does not
    /// hold meanwhile: single tokens revoked by their `jti`, and cutoffs raised through
    /// [`Cutoffs`](crate::cutoff::Cutoffs). With this setting they hold always, and an outage of the store is one of the service.
    pub fn require_revocation_list(mut self) -> Self {
        self.list_required = true;
        self
    }

    /// Notes in the database that sessions are used, for the list of devices: of one session, and on one node, once in
    /// [`touch_every`](super::ActiveSessionsBuilder::touch_every). No request waits for it, and while the database is busy it
    /// is left out. Default: not noted; a refresh notes it as well.
    pub fn note_use(mut self) -> Self {
        self.notes_use = true;
        self
    }

    /// Checks the settings and makes the layer.
    ///
    /// # Errors
    ///
    /// For a stale time of zero or of more than a day, or one beside [`insecure_open`](Self::insecure_open).
    pub fn build(self) -> Result<ActiveSessionLayer, ConfigError> {
        let policy = Policy::of(self.outage, self.open)?;
        Ok(ActiveSessionLayer {
            config: Arc::new(Config {
                active: self.active,
                policy,
                good: Recent::new(),
                sessionless: self.sessionless,
                list_required: self.list_required,
                notes_use: self.notes_use,
            }),
            responder: DefaultRefuse::new(),
        })
    }
}
