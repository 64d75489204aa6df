//! What the other layers and the handlers read of a verified token.

use std::{any::Any, fmt, sync::Arc};

use http::Extensions;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{Claims, mark::JwtMark};
use crate::refuse::Rejection;

/// A token that was verified, without the application's own claims: those are in [`Claims`](super::Claims).
///
/// The identity is the pair of [`iss`](Self::iss) and [`sub`](Self::sub) (OpenID Connect Core §5.7): neither an e-mail
/// address nor the subject alone. A handler that acts for a user asks [`user`](Self::user), which a client that merely
/// has the name of a user cannot satisfy.
///
/// In the request's extensions behind a [`JwtVerifyLayer`](super::JwtVerifyLayer); a clone costs a counter.
///
/// ```
/// use http::{Request, StatusCode};
/// use portcullis::jwt::VerifiedToken;
///
/// fn close_account<B>(request: &Request<B>) -> StatusCode {
///     match request.extensions().get::<VerifiedToken>() {
///         Some(token) if token.user().is_some() && token.has_scopes("account:close") => StatusCode::OK,
///         _ => StatusCode::FORBIDDEN,
///     }
/// }
/// # assert_eq!(close_account(&Request::new(())), StatusCode::FORBIDDEN);
/// ```
#[derive(Clone)]
pub struct VerifiedToken(Arc<Whole>);

/// One allocation with a counter, however many requests share the token.
struct Whole {
    parts: Parts,
    /// The `C` of the layer that verified the token.
    claims: Arc<dyn Any + Send + Sync>,
}

/// Whom a token speaks for (RFC 9700 §4.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubjectKind {
    /// A user, perhaps through a client.
    User,
    /// A client on its own behalf: its `sub` is its `client_id` (RFC 9068 §2.2), or there is none.
    Client,
}

/// All strings of a token in one allocation.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) text: Box<str>,
    pub(super) iss: Option<Span>,
    pub(super) sub: Option<Span>,
    pub(super) jti: Option<Span>,
    pub(super) sid: Option<Span>,
    pub(super) client_id: Option<Span>,
    pub(super) tenant: Option<Span>,
    pub(super) acr: Option<Span>,
    pub(super) amr: Option<Span>,
    pub(super) scope: Option<Span>,
    pub(super) times: Times,
    pub(super) auth_ms: Option<u64>,
    pub(super) auth_time_ms: Option<u64>,
    pub(super) leeway_ms: u64,
    pub(super) kind: SubjectKind,
    pub(super) issuer_index: usize,
    pub(super) authorization_details: Option<Box<[AuthorizationDetail]>>,
}

/// What of a token depends on the time, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) exp_ms: u64,
    pub(super) nbf_ms: Option<u64>,
    pub(super) iat_ms: Option<u64>,
}

/// A part of [`Parts::text`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl VerifiedToken {
    pub(super) fn new<C: Send + Sync + 'static>(parts: Parts, claims: Claims<C>) -> Self {
        let claims = claims.into_inner();
        Self(Arc::new(Whole { parts, claims }))
    }

    /// The application's own claims, if `C` is the claims type of the layer that verified the token.
    ///
    /// ```
    /// use portcullis::jwt::VerifiedToken;
    ///
    /// struct Mine {
    ///     email: String,
    /// }
    ///
    /// fn greeting(token: &VerifiedToken) -> Option<String> {
    ///     Some(format!("hello {}", token.claims::<Mine>()?.email))
    /// }
    /// ```
    #[must_use]
    pub fn claims<C: Send + Sync + 'static>(&self) -> Option<Claims<C>> {
        let claims = Arc::clone(&self.0.claims).downcast().ok()?;
        Some(Claims::shared(claims))
    }

    pub(super) fn times(&self) -> Times {
        self.0.parts.times
    }

    /// About how many bytes the token holds, without what its claims hold outside of `C`.
    pub(super) fn weight<C>(&self) -> usize {
        let details = self.authorization_details().unwrap_or_default().iter();
        let details: usize = details
            .map(|entry| {
                size_of::<AuthorizationDetail>() + entry.name.len() + entry.json.get().len()
            })
            .sum();
        size_of::<Whole>() + self.0.parts.text.len() + details + size_of::<C>()
    }

    /// The token of a request, for handlers that act for somebody; axum's and tonic's have shorter ways.
    ///
    /// ```
    /// use portcullis::{Rejection, RejectionKind, jwt::VerifiedToken};
    ///
    /// fn hello(request: &http::Request<()>) -> Result<String, Rejection> {
    ///     let token = VerifiedToken::required(request.extensions())?;
    ///     Ok(format!("hello {}", token.user().unwrap_or("client")))
    /// }
    ///
    /// // A handler without the layer is a fault of this side, not of the client.
    /// let refused = hello(&http::Request::new(())).unwrap_err();
    /// assert_eq!((refused.kind(), refused.reason_code()), (RejectionKind::Internal, "jwt_layer_missing"));
    /// ```
    ///
    /// # Errors
    ///
    /// [`MissingCredentials`](crate::RejectionKind::MissingCredentials) without a token, which an
    /// [`optional`](super::JwtVerifyBuilder::optional) layer lets pass; [`Internal`](crate::RejectionKind::Internal) without a
    /// layer.
    pub fn required(extensions: &Extensions) -> Result<Self, Rejection> {
        JwtMark::nearest(extensions, "a handler").cloned()
    }

    /// The same for handlers that serve visitors as well: `None` without a token.
    ///
    /// # Errors
    ///
    /// [`Internal`](crate::RejectionKind::Internal) without a layer.
    pub fn optional(extensions: &Extensions) -> Result<Option<Self>, Rejection> {
        let mark = JwtMark::of(extensions).ok_or_else(|| JwtMark::missing("a handler"))?;
        Ok(mark.tokens().last().cloned())
    }

    /// Who issued the token; empty only under
    /// [`insecure_any_issuer`](super::JwtVerifyBuilder::insecure_any_issuer), for a token that does not say.
    #[must_use]
    pub fn iss(&self) -> &str {
        self.get(self.0.parts.iss).unwrap_or_default()
    }

    /// Whom the token speaks for, unique per issuer only.
    #[must_use]
    pub fn sub(&self) -> Option<&str> {
        self.get(self.0.parts.sub)
    }

    /// The subject if it is a user, `None` for a client.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.sub()
            .filter(|_| self.0.parts.kind == SubjectKind::User)
    }

    /// Whether the subject is a user or a client.
    #[must_use]
    pub fn kind(&self) -> SubjectKind {
        self.0.parts.kind
    }

    /// The id of the token (RFC 7519 §4.1.7), never empty.
    #[must_use]
    pub fn jti(&self) -> Option<&str> {
        self.get(self.0.parts.jti)
    }

    /// The session that the token belongs to, never empty.
    #[must_use]
    pub fn sid(&self) -> Option<&str> {
        self.get(self.0.parts.sid)
    }

    /// The client that the token was issued to: `client_id` (RFC 9068 §2.2) or else `azp`.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.get(self.0.parts.client_id)
    }

    /// The tenant, from the claim that [`tenant_claim`](super::JwtVerifyBuilder::tenant_claim) names.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.get(self.0.parts.tenant)
    }

    /// The authentication context class (OpenID Connect Core §2).
    #[must_use]
    pub fn acr(&self) -> Option<&str> {
        self.get(self.0.parts.acr)
    }

    /// How the user authenticated (`amr`, RFC 8176): `pwd`, `otp`, `hwk`, ...
    pub fn amr(&self) -> impl Iterator<Item = &str> {
        self.words(self.0.parts.amr)
    }

    /// The scopes of `scope` (RFC 8693 §4.2) or, without that claim, of `scp`.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.words(self.0.parts.scope)
    }

    /// Whether every one of these scopes, separated by spaces, was granted. Scopes are compared as they are.
    #[must_use]
    pub fn has_scopes(&self, scopes: &str) -> bool {
        scopes
            .split(' ')
            .filter(|scope| !scope.is_empty())
            .all(|scope| self.scopes().any(|granted| granted == scope))
    }

    /// When the token expires, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn exp_ms(&self) -> u64 {
        self.0.parts.times.exp_ms
    }

    /// When the token stops being accepted here: [`exp_ms`](Self::exp_ms) plus the layer's leeway.
    #[must_use]
    pub fn accepted_until_ms(&self) -> u64 {
        self.0
            .parts
            .times
            .exp_ms
            .saturating_add(self.0.parts.leeway_ms)
    }

    /// How far its issuer's clock may be off, by the layer's word.
    #[cfg(feature = "blacklist")]
    pub(crate) fn leeway_ms(&self) -> u64 {
        self.0.parts.leeway_ms
    }

    /// Before when the token must not be accepted, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn nbf_ms(&self) -> Option<u64> {
        self.0.parts.times.nbf_ms
    }

    /// When the token was issued, in milliseconds since the Unix epoch. Most issuers know whole seconds only.
    #[must_use]
    pub fn iat_ms(&self) -> Option<u64> {
        self.0.parts.times.iat_ms
    }

    /// When the user authenticated, in milliseconds since the Unix epoch, from the claim `auth_ms` of this crate's own
    /// tokens: it stays the same while tokens are refreshed.
    #[must_use]
    pub fn auth_ms(&self) -> Option<u64> {
        self.0.parts.auth_ms
    }

    /// When the user proved who they are, as far as anybody says: the earlier of [`auth_ms`](Self::auth_ms) and the
    /// `auth_time` of OpenID Connect, in milliseconds since the Unix epoch. `auth_ms` alone may be later: it moves when the
    /// user signs all other devices out.
    #[must_use]
    pub fn auth_time_ms(&self) -> Option<u64> {
        let claims = [self.0.parts.auth_ms, self.0.parts.auth_time_ms];
        claims.into_iter().flatten().min()
    }

    /// The rich authorization requests that were granted (RFC 9396 §9.1). `None` is a token without the claim: nothing is
    /// said. An empty list says that nothing was granted.
    #[must_use]
    pub fn authorization_details(&self) -> Option<&[AuthorizationDetail]> {
        self.0.parts.authorization_details.as_deref()
    }

    /// The place of the token's issuer among the layer's: 0 is the one of
    /// [`issuer`](super::JwtVerifyBuilder::issuer), then those of [`or_issuer`](super::JwtVerifyBuilder::or_issuer).
    #[must_use]
    pub fn issuer_index(&self) -> usize {
        self.0.parts.issuer_index
    }

    /// All that is kept of the token, in clear.
    #[cfg(test)]
    pub(super) fn dump(&self) -> String {
        format!("{:?}", self.0.parts)
    }

    fn words(&self, span: Option<Span>) -> impl Iterator<Item = &str> {
        let words = self.get(span).unwrap_or_default().split(' ');
        words.filter(|word| !word.is_empty())
    }

    fn get(&self, span: Option<Span>) -> Option<&str> {
        let Span { start, end } = span?;
        self.0.parts.text.get(start as usize..end as usize)
    }
}

/// Ids of tokens and sessions are left out: a session is found by its id.
impl fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedToken")
            .field("iss", &self.iss())
            .field("kind", &self.0.parts.kind)
            .field("exp_ms", &self.0.parts.times.exp_ms)
            .finish_non_exhaustive()
    }
}

/// One granted authorization detail (RFC 9396 §2).
#[derive(Clone, Debug)]
pub struct AuthorizationDetail {
    pub(super) name: Box<str>,
    pub(super) json: Box<RawValue>,
}

impl AuthorizationDetail {
    /// The member `type`, which every entry has.
    #[must_use]
    pub fn type_name(&self) -> &str {
        &self.name
    }

    /// The whole entry, `type` included, as the application's own type.
    ///
    /// # Errors
    ///
    /// If the entry does not have the shape of `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.json.get())
    }
}
