//! What the other layers and the handlers read of a verified token.

use std::{fmt, sync::Arc};

use http::request;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::refuse::{Rejection, RejectionKind};

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
pub struct VerifiedToken(Arc<Parts>);

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
    pub(super) exp_ms: u64,
    pub(super) nbf_ms: Option<u64>,
    pub(super) iat_ms: Option<u64>,
    pub(super) auth_ms: Option<u64>,
    pub(super) auth_time_ms: Option<u64>,
    pub(super) leeway_ms: u64,
    pub(super) kind: SubjectKind,
    pub(super) issuer_index: usize,
    pub(super) authorization_details: Option<Box<[AuthorizationDetail]>>,
}

/// A part of [`Parts::text`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl VerifiedToken {
    pub(super) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Who issued the token; empty only under
    /// [`insecure_any_issuer`](super::JwtVerifyBuilder::insecure_any_issuer), for a token that does not say.
    #[must_use]
    pub fn iss(&self) -> &str {
        self.get(self.0.iss).unwrap_or_default()
    }

    /// Whom the token speaks for, unique per issuer only.
    #[must_use]
    pub fn sub(&self) -> Option<&str> {
        self.get(self.0.sub)
    }

    /// The subject if it is a user, `None` for a client.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.sub().filter(|_| self.0.kind == SubjectKind::User)
    }

    /// Whether the subject is a user or a client.
    #[must_use]
    pub fn kind(&self) -> SubjectKind {
        self.0.kind
    }

    /// The id of the token (RFC 7519 §4.1.7), never empty.
    #[must_use]
    pub fn jti(&self) -> Option<&str> {
        self.get(self.0.jti)
    }

    /// The session that the token belongs to, never empty.
    #[must_use]
    pub fn sid(&self) -> Option<&str> {
        self.get(self.0.sid)
    }

    /// The client that the token was issued to: `client_id` (RFC 9068 §2.2) or else `azp`.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.get(self.0.client_id)
    }

    /// The tenant, from the claim that [`tenant_claim`](super::JwtVerifyBuilder::tenant_claim) names.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.get(self.0.tenant)
    }

    /// The authentication context class (OpenID Connect Core §2).
    #[must_use]
    pub fn acr(&self) -> Option<&str> {
        self.get(self.0.acr)
    }

    /// How the user authenticated (`amr`, RFC 8176): `pwd`, `otp`, `hwk`, ...
    pub fn amr(&self) -> impl Iterator<Item = &str> {
        self.words(self.0.amr)
    }

    /// The scopes of `scope` (RFC 8693 §4.2) or, without that claim, of `scp`.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.words(self.0.scope)
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
        self.0.exp_ms
    }

    /// When the token stops being accepted here: [`exp_ms`](Self::exp_ms) plus the layer's leeway.
    #[must_use]
    pub fn accepted_until_ms(&self) -> u64 {
        self.0.exp_ms.saturating_add(self.0.leeway_ms)
    }

    /// Before when the token must not be accepted, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn nbf_ms(&self) -> Option<u64> {
        self.0.nbf_ms
    }

    /// When the token was issued, in milliseconds since the Unix epoch. Most issuers know whole seconds only.
    #[must_use]
    pub fn iat_ms(&self) -> Option<u64> {
        self.0.iat_ms
    }

    /// When the user authenticated, in milliseconds since the Unix epoch, from the claim `auth_ms` of this crate's own
    /// tokens: it stays the same while tokens are refreshed.
    #[must_use]
    pub fn auth_ms(&self) -> Option<u64> {
        self.0.auth_ms
    }

    /// When the user proved who they are, as far as anybody says: the earlier of [`auth_ms`](Self::auth_ms) and the
    /// `auth_time` of OpenID Connect, in milliseconds since the Unix epoch. `auth_ms` alone may be later: it moves when the
    /// user signs all other devices out.
    #[must_use]
    pub fn auth_time_ms(&self) -> Option<u64> {
        let claims = [self.0.auth_ms, self.0.auth_time_ms];
        claims.into_iter().flatten().min()
    }

    /// The rich authorization requests that were granted (RFC 9396 §9.1). `None` is a token without the claim: nothing is
    /// said. An empty list says that nothing was granted.
    #[must_use]
    pub fn authorization_details(&self) -> Option<&[AuthorizationDetail]> {
        self.0.authorization_details.as_deref()
    }

    /// The place of the token's issuer among the layer's: 0 is the one of
    /// [`issuer`](super::JwtVerifyBuilder::issuer), then those of [`or_issuer`](super::JwtVerifyBuilder::or_issuer).
    #[must_use]
    pub fn issuer_index(&self) -> usize {
        self.0.issuer_index
    }

    fn words(&self, span: Option<Span>) -> impl Iterator<Item = &str> {
        let words = self.get(span).unwrap_or_default().split(' ');
        words.filter(|word| !word.is_empty())
    }

    fn get(&self, span: Option<Span>) -> Option<&str> {
        let Span { start, end } = span?;
        self.0.text.get(start as usize..end as usize)
    }
}

/// Ids of tokens and sessions are left out: a session is found by its id.
impl fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedToken")
            .field("iss", &self.iss())
            .field("kind", &self.0.kind)
            .field("exp_ms", &self.0.exp_ms)
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

/// What the [`JwtVerifyLayer`](super::JwtVerifyLayer)s outside of here found: their mark that they were there at all.
///
/// A layer that needs a verified token and finds no mark is misplaced; that is not the same as no token.
#[derive(Clone, Debug)]
pub(crate) enum JwtMark {
    /// A layer was passed, and no token was there.
    None,
    /// The usual case.
    One(VerifiedToken),
    /// Several layers each verified a token of their own, outermost first.
    Many(Vec<VerifiedToken>),
}

impl JwtMark {
    /// All verified tokens of the request, outermost layer first. Whoever revokes must ask about each of them.
    pub(crate) fn tokens(&self) -> &[VerifiedToken] {
        match self {
            Self::None => &[],
            Self::One(token) => std::slice::from_ref(token),
            Self::Many(tokens) => tokens,
        }
    }

    /// The token of the nearest layer that found one, for `layer`, which needs it.
    pub(super) fn nearest<'h>(
        head: &'h request::Parts,
        layer: &str,
    ) -> Result<&'h VerifiedToken, Rejection> {
        let Some(mark) = head.extensions.get::<Self>() else {
            let fix = format!("{layer} found no JwtVerifyLayer around it: add one outside of it");
            let misplaced = Rejection::new(RejectionKind::Internal).code("jwt.misplaced_layer");
            return Err(misplaced.caused_by(fix));
        };
        let nearest = mark.tokens().last();
        nearest.ok_or_else(|| RejectionKind::MissingCredentials.into())
    }

    /// With what one more layer found.
    pub(super) fn and(self, token: VerifiedToken) -> Self {
        match self {
            Self::None => Self::One(token),
            Self::One(first) => Self::Many(vec![first, token]),
            Self::Many(mut tokens) => {
                tokens.push(token);
                Self::Many(tokens)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;

    use super::*;
    use crate::{
        gate::{Entry, Step, Steps},
        jwt::{Grant, Issuer, JwtAlgorithm, JwtVerifyLayer, NoClaims, SigningKey},
    };

    fn pass(layer: &JwtVerifyLayer<NoClaims>, head: request::Parts) -> request::Parts {
        match layer.gate().enter(head) {
            Step::Now(Entry::Pass(head, ())) => head,
            _ => panic!("refused"),
        }
    }

    fn marked(head: &request::Parts) -> Vec<&str> {
        let mark = head.extensions.get::<JwtMark>().expect("a mark");
        mark.tokens().iter().map(VerifiedToken::iss).collect()
    }

    #[test]
    fn every_layer_leaves_its_mark() {
        let parties = [
            "https://a.example",
            "https://b.example",
            "https://c.example",
        ]
        .map(|iss| {
            let key = SigningKey::generate(JwtAlgorithm::EdDsa).expect("a key");
            let layer = JwtVerifyLayer::<NoClaims>::new(key.verification_key())
                .issuer(iss)
                .audience("api")
                .header(&iss[8..9])
                .optional()
                .build()
                .expect("a layer");
            let issuer = Issuer::new(key, iss)
                .audience("api")
                .lifetime(Duration::from_secs(60))
                .build();
            (
                layer,
                issuer
                    .expect("an issuer")
                    .mint(&Grant::user("u"))
                    .expect("a token"),
            )
        });
        let head = |with: &[usize]| {
            let request = with.iter().fold(Request::builder(), |request, &at| {
                request.header(["a", "b", "c"][at], parties[at].1.token())
            });
            let head = request.body(()).expect("a request").into_parts().0;
            parties
                .iter()
                .fold(head, |head, (layer, _)| pass(layer, head))
        };
        assert!(marked(&head(&[])).is_empty());
        assert_eq!(marked(&head(&[1])), ["https://b.example"]);
        // All of them, outermost first; the nearest is the one in the extensions. A layer without a token takes nothing away.
        let all = head(&[0, 1, 2]);
        assert_eq!(
            marked(&all),
            [
                "https://a.example",
                "https://b.example",
                "https://c.example"
            ]
        );
        let two = head(&[0, 1]);
        assert_eq!(marked(&two), ["https://a.example", "https://b.example"]);
        assert_eq!(
            two.extensions
                .get::<VerifiedToken>()
                .map(VerifiedToken::iss),
            Some("https://b.example")
        );
    }
}
