//! Routes that want a user who proved who they are lately, or well enough (RFC 9470).

use std::{sync::Arc, time::Duration};

use http::request;
use tower_layer::Layer;

use super::{VerifiedToken, mark::JwtMark, rules::checked_scopes};
use crate::{
    clock::{Clock, millis},
    error::ConfigError,
    gate::{Entry, Gated, Step, Steps},
    refuse::{DefaultRefuse, Rejection, RejectionKind},
};

/// Lets only requests pass whose verified token comes from a recent, or a strong enough, authentication of the user.
/// Others are refused with 401 `insufficient_user_authentication`, which tells the client what to ask the user for
/// (RFC 9470 §3).
///
/// It belongs inside a [`JwtVerifyLayer`](super::JwtVerifyLayer), as [`RequireScopeLayer`](super::RequireScopeLayer) does.
/// A token that does not say when or how the user authenticated is refused.
///
/// ```
/// # use std::time::Duration;
/// use portcullis::jwt::StepUpLayer;
///
/// let layer = StepUpLayer::within(Duration::from_secs(300)).acr_values("urn:example:mfa")?;
/// # let _ = layer;
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing before it is added to a service"]
pub struct StepUpLayer<R = DefaultRefuse> {
    gate: StepUpGate,
    responder: R,
}

impl StepUpLayer {
    /// Requires an authentication that is at most this old, by the claims `auth_ms` and `auth_time`, of which the earlier
    /// counts. That is the age of the login, whatever the age of the token. The moment comes from the issuer's store or clock
    /// and is compared with this node's: keep clocks in step to within what the age allows.
    pub fn within(max_age: Duration) -> Self {
        let gate = StepUpGate {
            max_age,
            acr_values: None,
            amr: None,
            clock: Clock::system(),
        };
        Self {
            gate,
            responder: DefaultRefuse::new(),
        }
    }
}

impl<R> StepUpLayer<R> {
    /// Requires one of these authentication contexts as well (`acr`), separated by single spaces.
    ///
    /// # Errors
    ///
    /// If the text is not such a list.
    pub fn acr_values(mut self, values: impl AsRef<str>) -> Result<Self, ConfigError> {
        let not_a_list =
            |_| ConfigError::new("acr_values", "one or more, separated by single spaces");
        self.gate.acr_values = Some(checked_scopes(values.as_ref()).map_err(not_a_list)?);
        Ok(self)
    }

    /// Requires all of these authentication methods as well (`amr`, RFC 8176), separated by single spaces: `"otp"`, or
    /// `"mfa"` where the issuer says so. No challenge can ask for a method (RFC 9470 has contexts for that): the client
    /// learns that a stronger login is needed, not which.
    ///
    /// # Errors
    ///
    /// If the text is not such a list.
    pub fn amr(mut self, methods: impl AsRef<str>) -> Result<Self, ConfigError> {
        let not_a_list = |_| ConfigError::new("amr", "one or more, separated by single spaces");
        self.gate.amr = Some(checked_scopes(methods.as_ref()).map_err(not_a_list)?);
        Ok(self)
    }

    /// The clock; default the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.gate.clock = clock;
        self
    }

    /// Answers refused requests with another responder.
    pub fn refuse_with<R2>(self, responder: R2) -> StepUpLayer<R2> {
        StepUpLayer {
            gate: self.gate,
            responder,
        }
    }
}

impl<R: Clone, S> Layer<S> for StepUpLayer<R> {
    type Service = Gated<S, StepUpGate, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Gated::new(inner, self.gate.clone(), self.responder.clone())
    }
}

/// The decision of a [`StepUpLayer`].
#[derive(Clone, Debug)]
pub struct StepUpGate {
    max_age: Duration,
    acr_values: Option<Arc<str>>,
    amr: Option<Arc<str>>,
    clock: Clock,
}

impl StepUpGate {
    fn check(&self, head: &request::Parts) -> Result<(), Rejection> {
        let token = JwtMark::nearest(&head.extensions, "StepUpLayer")?;
        if self.is_recent(token) && self.is_strong(token) {
            return Ok(());
        }
        let rejection = Rejection::new(RejectionKind::InsufficientUserAuthentication);
        let rejection = rejection.max_age(self.max_age);
        Err(match &self.acr_values {
            Some(values) => rejection.acr_values(&**values),
            None => rejection,
        })
    }

    /// An authentication in the future is one of a clock that runs ahead: it is new.
    fn is_recent(&self, token: &VerifiedToken) -> bool {
        let age = |auth_ms| self.clock.now_millis().saturating_sub(auth_ms);
        token
            .auth_time_ms()
            .is_some_and(|auth_ms| age(auth_ms) <= millis(self.max_age))
    }

    fn is_strong(&self, token: &VerifiedToken) -> bool {
        let methods = self.amr.as_deref().unwrap_or_default().split(' ');
        let used = |method: &str| method.is_empty() || token.amr().any(|used| used == method);
        if !methods.into_iter().all(used) {
            return false;
        }
        let Some(values) = &self.acr_values else {
            return true;
        };
        token
            .acr()
            .is_some_and(|acr| values.split(' ').any(|value| value == acr))
    }
}

impl Steps for StepUpGate {
    type Exit = ();

    fn enter(&self, head: request::Parts) -> Step<()> {
        Step::Now(match self.check(&head) {
            Ok(()) => Entry::Pass(head, ()),
            Err(rejection) => Entry::Refuse(head, rejection),
        })
    }
}
