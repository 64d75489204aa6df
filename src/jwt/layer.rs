//! The layer and its gate: find the token, verify it, tell those inside.

use std::{borrow::Cow, fmt, sync::Arc};

use http::request;
use serde::de::DeserializeOwned;
use tower_layer::Layer;

use super::{
    Claims, JwtError, JwtErrorKind, JwtVerifyBuilder, KeySetHandle, SubjectKind, VerifiedToken,
    rules::Rules,
    source::{self, Source},
    token::JwtMark,
    verify::verify_at,
};
use crate::{
    clock::Clock,
    gate::{Entry, Gated, Step, Steps},
    refuse::{DefaultRefuse, Rejection, RejectionKind},
    trace::event_info,
};

/// Lets only requests with a good access token pass, and tells the services inside whose it is.
///
/// Behind it, the request's extensions hold a [`VerifiedToken`] and the application's [`Claims<C>`]. Nothing is asked
/// over the network: the decision takes the time of one signature.
///
/// | request | answer |
/// |---|---|
/// | no token | 401, a challenge without `error`; passes if [`optional`](JwtVerifyBuilder::optional) |
/// | two tokens, or `Bearer` without one | 400 `invalid_request` |
/// | a bad token, for whatever reason | 401 `invalid_token`; the [`JwtError`] is the rejection's source |
/// | a good one without the [`scope`](JwtVerifyBuilder::scope) | 403 `insufficient_scope` |
///
/// A service that verifies its identity provider's tokens, for signed-in users and visitors alike:
///
/// ```
/// use portcullis::jwt::{Claims, JwtVerifyLayer, KeySet, VerifiedToken};
///
/// #[derive(serde::Deserialize)]
/// struct Mine {
///     email: Option<String>,
/// }
///
/// # let jwks = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
/// let layer = JwtVerifyLayer::<Mine>::new(KeySet::from_jwks(jwks)?)
///     .issuer("https://id.example")
///     .audience("api")
///     .typ("JWT") // an issuer that does not know `at+jwt` yet
///     .optional()
///     .build()?;
///
/// fn greeting(extensions: &http::Extensions) -> String {
///     let user = extensions.get::<VerifiedToken>().and_then(VerifiedToken::user);
///     let email = extensions.get::<Claims<Mine>>().and_then(|claims| claims.email.as_deref());
///     format!("hello {}", email.or(user).unwrap_or("visitor"))
/// }
/// # assert_eq!(greeting(&http::Extensions::new()), "hello visitor");
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
pub struct JwtVerifyLayer<C, R = DefaultRefuse> {
    shared: Arc<Shared<C>>,
    responder: R,
}

pub(super) struct Shared<C> {
    pub(super) rules: Rules,
    pub(super) fingerprint: [u8; 32],
    pub(super) sources: Vec<Source>,
    pub(super) optional: bool,
    pub(super) scope: Option<Arc<str>>,
    pub(super) realm: Option<Cow<'static, str>>,
    pub(super) clock: Clock,
    pub(super) kind_of: Option<Arc<dyn Fn(&C) -> SubjectKind + Send + Sync>>,
}

impl<C> JwtVerifyLayer<C> {
    /// Begins a layer whose tokens are signed by these keys: a [`JwtKey`](super::JwtKey), a [`KeySet`](super::KeySet) or
    /// a [`KeySetHandle`], through which the keys can be exchanged later.
    #[allow(
        clippy::new_ret_no_self,
        reason = "a layer exists only when its settings were checked"
    )]
    pub fn new(keys: impl Into<KeySetHandle>) -> JwtVerifyBuilder<C> {
        JwtVerifyBuilder::new(keys.into())
    }

    pub(super) fn of(shared: Shared<C>) -> Self {
        Self {
            shared: Arc::new(shared),
            responder: DefaultRefuse,
        }
    }
}

impl<C, R> JwtVerifyLayer<C, R> {
    pub(super) fn gate(&self) -> JwtGate<C> {
        JwtGate(Arc::clone(&self.shared))
    }

    /// Answers refused requests with another responder.
    #[must_use]
    pub fn refuse_with<R2>(self, responder: R2) -> JwtVerifyLayer<C, R2> {
        JwtVerifyLayer {
            shared: self.shared,
            responder,
        }
    }

    /// A hash of all rules and of the claims' type: layers with the same fingerprint and
    /// [`generations`](Self::key_generations) accept the same tokens. What is remembered about a token for one layer says
    /// nothing to a layer with another fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        self.shared.fingerprint
    }

    /// The generation of each issuer's keys.
    pub fn key_generations(&self) -> impl Iterator<Item = u64> {
        self.shared.rules.generations()
    }
}

impl<C: DeserializeOwned, R> JwtVerifyLayer<C, R> {
    /// Verifies a token that did not come in a request, as of `now_ms`, milliseconds since the Unix epoch. The scope is
    /// the caller's to check.
    ///
    /// # Errors
    ///
    /// If the token is not accepted.
    pub fn verify_at(
        &self,
        token: &[u8],
        now_ms: u64,
    ) -> Result<(VerifiedToken, Claims<C>), JwtError> {
        self.shared.verify_at(token, now_ms)
    }
}

impl<C: DeserializeOwned + Send + Sync + 'static, R> JwtVerifyLayer<C, R> {
    /// The rules of this layer, without the type of its claims.
    #[cfg(feature = "refresh")]
    pub(crate) fn verifier(&self) -> Verifier {
        let shared = Arc::clone(&self.shared);
        Verifier(Arc::new(move |token| {
            let verified = shared.verify_at(token, shared.clock.now_millis());
            verified.map(|(token, _)| token)
        }))
    }
}

/// Verifies tokens that did not come in a request, as some [`JwtVerifyLayer`] does.
#[cfg(feature = "refresh")]
#[derive(Clone)]
pub(crate) struct Verifier(Arc<Verify>);

#[cfg(feature = "refresh")]
type Verify = dyn Fn(&[u8]) -> Result<VerifiedToken, JwtError> + Send + Sync;

#[cfg(feature = "refresh")]
impl Verifier {
    pub(crate) fn verify(&self, token: &str) -> Result<VerifiedToken, JwtError> {
        (self.0)(token.as_bytes())
    }
}

impl<C: DeserializeOwned> Shared<C> {
    fn verify_at(&self, token: &[u8], now_ms: u64) -> Result<(VerifiedToken, Claims<C>), JwtError> {
        let mut verified = verify_at(token, &self.rules, now_ms)?;
        let claims: C =
            serde_json::from_slice(&verified.payload).map_err(|_| JwtErrorKind::ClaimsShape)?;
        if let Some(kind_of) = &self.kind_of {
            verified.parts.kind = kind_of(&claims);
        }
        Ok((VerifiedToken::new(verified.parts), Claims::new(claims)))
    }
}

impl<C: DeserializeOwned + Send + Sync + 'static> Shared<C> {
    /// Puts what it finds into the extensions, or says why the request must not pass.
    fn admit(&self, head: &mut request::Parts) -> Result<(), Rejection> {
        let found = source::find(&self.sources, head)
            .map_err(|_| self.refusal(RejectionKind::InvalidRequest))?;
        let Some(token) = found else {
            return self.admit_without(head);
        };
        let (token, claims) = self
            .verify_at(&token, self.clock.now_millis())
            .map_err(|error| self.bad_token(error))?;
        if let Some(scope) = self
            .scope
            .as_deref()
            .filter(|scope| !token.has_scopes(scope))
        {
            return Err(self.refusal(RejectionKind::InsufficientScope).scope(scope));
        }
        let mark = head.extensions.remove::<JwtMark>().unwrap_or(JwtMark::None);
        head.extensions.insert(mark.and(token.clone()));
        head.extensions.insert(token);
        head.extensions.insert(claims);
        Ok(())
    }

    fn admit_without(&self, head: &mut request::Parts) -> Result<(), Rejection> {
        if !self.optional {
            return Err(self.refusal(RejectionKind::MissingCredentials));
        }
        head.extensions.get_or_insert_with(|| JwtMark::None);
        Ok(())
    }

    fn bad_token(&self, error: JwtError) -> Rejection {
        event_info!(reason = ?error.kind(), "access token refused");
        self.refusal(RejectionKind::InvalidToken).caused_by(error)
    }

    fn refusal(&self, kind: RejectionKind) -> Rejection {
        let rejection = Rejection::new(kind);
        match &self.realm {
            Some(realm) => rejection.realm(realm.clone()),
            None => rejection,
        }
    }
}

impl<C, R: Clone, S> Layer<S> for JwtVerifyLayer<C, R> {
    type Service = Gated<S, JwtGate<C>, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Gated::new(inner, self.gate(), self.responder.clone())
    }
}

// Not derived: that would ask for `C: Clone`.
impl<C, R: Clone> Clone for JwtVerifyLayer<C, R> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            responder: self.responder.clone(),
        }
    }
}

impl<C, R> fmt::Debug for JwtVerifyLayer<C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtVerifyLayer")
            .field("rules", &self.shared.rules)
            .field("sources", &self.shared.sources)
            .field("optional", &self.shared.optional)
            .finish_non_exhaustive()
    }
}

/// The decision of a [`JwtVerifyLayer`].
pub struct JwtGate<C>(Arc<Shared<C>>);

impl<C: DeserializeOwned + Send + Sync + 'static> Steps for JwtGate<C> {
    type Exit = ();

    fn enter(&self, mut head: request::Parts) -> Step<()> {
        Step::Now(match self.0.admit(&mut head) {
            Ok(()) => Entry::Pass(head, ()),
            Err(rejection) => Entry::Refuse(head, rejection),
        })
    }
}

impl<C> Clone for JwtGate<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> fmt::Debug for JwtGate<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtGate(..)")
    }
}
