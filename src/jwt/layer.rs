//! The layer and its gate: find the token, verify it, tell those inside.

use std::{borrow::Cow, fmt, sync::Arc};

use http::request;
use serde::de::DeserializeOwned;
use tower_layer::Layer;

use super::{
    Claims, JwtError, JwtErrorKind, JwtVerifyBuilder, KeySetHandle, SubjectKind, VerifiedToken,
    cache::TokenCache,
    claims::Absent,
    mark,
    rules::Rules,
    source::{self, Source},
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
/// Behind it, the request's extensions hold a [`VerifiedToken`], and the application's [`Claims<C>`] in it: [`Claims::of`]
/// finds them. Nothing is asked over the network: the decision takes the time of one signature, or of one hash for a token
/// that was seen before.
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
///     let claims = Claims::<Mine>::of(extensions);
///     let email = claims.as_ref().and_then(|claims| claims.email.as_deref());
///     format!("hello {}", email.or(user).unwrap_or("visitor"))
/// }
/// # assert_eq!(greeting(&http::Extensions::new()), "hello visitor");
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
///
/// # Tokens that were seen before
///
/// A client sends the same token with every request until it expires, so a layer remembers the tokens that it verified
/// and spares them the signature and the JSON. All clones of a layer, and all services behind it, share this memory; two
/// layers share none. It decides nothing: `exp`, `nbf`, `iat` and the longest life are judged for every request, so are
/// scopes, and so is whatever stands further inside. Keys that are [replaced](KeySetHandle::replace) take every token
/// with them that they verified. Only hashes of tokens are kept, and claims.
///
/// By default 10 000 tokens and 16 MiB; see [`cache_limits`](JwtVerifyBuilder::cache_limits) and
/// [`no_cache`](JwtVerifyBuilder::no_cache).
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
    pub(super) cache: Option<TokenCache>,
    pub(super) claims_extension: bool,
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

    /// How many verified tokens are remembered at this moment; for a gauge.
    #[must_use]
    pub fn cached_tokens(&self) -> usize {
        self.shared.cache.as_ref().map_or(0, TokenCache::len)
    }
}

impl<C: DeserializeOwned + Send + Sync + 'static, R> JwtVerifyLayer<C, R> {
    /// Verifies a token that did not come in a request, as of `now_ms`, milliseconds since the Unix epoch. The scope is
    /// the caller's to check. Nothing is remembered, and nothing that was remembered is used.
    ///
    /// # Errors
    ///
    /// If the token is not accepted.
    pub fn verify_at(
        &self,
        token: &[u8],
        now_ms: u64,
    ) -> Result<(VerifiedToken, Claims<C>), JwtError> {
        let (token, claims, _) = self.shared.verify_at(token, now_ms)?;
        Ok((token, claims))
    }
}

impl<C: DeserializeOwned + Send + Sync + 'static, R> JwtVerifyLayer<C, R> {
    /// The rules of this layer, without the type of its claims.
    #[cfg(feature = "refresh")]
    pub(crate) fn verifier(&self) -> Verifier {
        let shared = Arc::clone(&self.shared);
        Verifier(Arc::new(move |token| {
            let verified = shared.verify_at(token, shared.clock.now_millis());
            verified.map(|(token, ..)| token)
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

impl<C: DeserializeOwned + Send + Sync + 'static> Shared<C> {
    /// The token of a request, as of now.
    fn recognise(&self, text: &[u8]) -> Result<VerifiedToken, JwtError> {
        let now_ms = self.clock.now_millis();
        // What is too long to be a token is not even hashed.
        let fits = text.len() <= self.rules.max_size;
        let Some(cache) = self.cache.as_ref().filter(|_| fits) else {
            return Ok(self.verify_at(text, now_ms)?.0);
        };
        // Here, before anything is verified: see rule 3 of the cache.
        let name = cache.name(text, self.rules.generations());
        if let Some(token) = cache.get(&name) {
            let in_time = token.times().check(&self.rules, now_ms);
            if in_time == Err(JwtErrorKind::Expired) {
                cache.remove(&name);
            }
            return Ok(in_time.map(|()| token)?);
        }
        let (token, _, claims_len) = self.verify_at(text, now_ms)?;
        let weight = token.weight::<C>().saturating_add(claims_len);
        cache.insert(&name, token.clone(), weight);
        Ok(token)
    }

    /// Also says how long the text of the claims is.
    fn verify_at(
        &self,
        token: &[u8],
        now_ms: u64,
    ) -> Result<(VerifiedToken, Claims<C>, usize), JwtError> {
        let mut verified = verify_at(token, &self.rules, now_ms)?;
        let claims: C =
            serde_json::from_slice(&verified.payload).map_err(|_| JwtErrorKind::ClaimsShape)?;
        if let Some(kind_of) = &self.kind_of {
            verified.parts.kind = kind_of(&claims);
        }
        let claims = Claims::new(claims);
        let token = VerifiedToken::new(verified.parts, claims.clone());
        Ok((token, claims, verified.payload.len()))
    }

    /// Puts what it finds into the extensions, or says why the request must not pass.
    fn admit(&self, head: &mut request::Parts) -> Result<(), Rejection> {
        let found = source::find(&self.sources, head)
            .map_err(|_| self.refusal(RejectionKind::InvalidRequest))?;
        let Some(token) = found else {
            return self.admit_without(head);
        };
        let token = self
            .recognise(&token)
            .map_err(|error| self.bad_token(error))?;
        if let Some(scope) = self
            .scope
            .as_deref()
            .filter(|scope| !token.has_scopes(scope))
        {
            return Err(self.refusal(RejectionKind::InsufficientScope).scope(scope));
        }
        if self.claims_extension {
            let claims = token.claims::<C>();
            claims.map(|claims| head.extensions.insert(claims));
        }
        mark::leave(&mut head.extensions, token);
        Ok(())
    }

    fn admit_without(&self, head: &mut request::Parts) -> Result<(), Rejection> {
        if !self.optional {
            return Err(self.refusal(RejectionKind::MissingCredentials));
        }
        mark::leave_none(&mut head.extensions, self.realm.as_ref());
        head.extensions.insert(Absent::<C>::new());
        Ok(())
    }

    fn bad_token(&self, error: JwtError) -> Rejection {
        event_info!(event = "jwt.refused", reason = ?error.kind(), "access token refused");
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
