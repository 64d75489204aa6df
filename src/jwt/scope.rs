//! Scopes for single routes.

use std::sync::Arc;

use http::request;
use tower_layer::Layer;

use super::{mark::JwtMark, rules::checked_scopes};
use crate::{
    error::ConfigError,
    gate::{Entry, Gated, Step, Steps},
    refuse::{DefaultRefuse, Rejection, RejectionKind},
};

/// Lets only requests pass whose verified token has the scopes (RFC 6750 §3.1, RFC 9700 §2.3).
///
/// It belongs inside a [`JwtVerifyLayer`](super::JwtVerifyLayer), optional or not; of several, the nearest one that found
/// a token counts. Without any such layer around it, it refuses everything with an internal error.
///
/// ```
/// use portcullis::jwt::RequireScopeLayer;
///
/// let layer = RequireScopeLayer::new("orders:read orders:write")?;
/// assert!(RequireScopeLayer::new("two  spaces").is_err());
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing before it is added to a service"]
pub struct RequireScopeLayer<R = DefaultRefuse> {
    gate: ScopeGate,
    responder: R,
}

impl RequireScopeLayer {
    /// Requires all of these scopes, separated by single spaces.
    ///
    /// # Errors
    ///
    /// If the text is not a list of scopes (RFC 6749 §3.3).
    pub fn new(scopes: impl AsRef<str>) -> Result<Self, ConfigError> {
        Ok(Self {
            gate: ScopeGate {
                scopes: checked_scopes(scopes.as_ref())?,
            },
            responder: DefaultRefuse,
        })
    }
}

impl<R> RequireScopeLayer<R> {
    /// Answers refused requests with another responder.
    pub fn refuse_with<R2>(self, responder: R2) -> RequireScopeLayer<R2> {
        RequireScopeLayer {
            gate: self.gate,
            responder,
        }
    }
}

impl<R: Clone, S> Layer<S> for RequireScopeLayer<R> {
    type Service = Gated<S, ScopeGate, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Gated::new(inner, self.gate.clone(), self.responder.clone())
    }
}

/// The decision of a [`RequireScopeLayer`].
#[derive(Clone, Debug)]
pub struct ScopeGate {
    scopes: Arc<str>,
}

impl ScopeGate {
    fn check(&self, head: &request::Parts) -> Result<(), Rejection> {
        if JwtMark::nearest(&head.extensions, "RequireScopeLayer")?.has_scopes(&self.scopes) {
            return Ok(());
        }
        Err(Rejection::new(RejectionKind::InsufficientScope).scope(&*self.scopes))
    }
}

impl Steps for ScopeGate {
    type Exit = ();

    fn enter(&self, head: request::Parts) -> Step<()> {
        Step::Now(match self.check(&head) {
            Ok(()) => Entry::Pass(head, ()),
            Err(rejection) => Entry::Refuse(head, rejection),
        })
    }
}
