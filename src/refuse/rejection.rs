//! The one error of requests: what is wrong, said so that a client may read it.

use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

use http::StatusCode;

use super::table::{Format, row};

/// Why a request was refused.
///
/// A rejection carries only text that a client may see: a kind, which fixes the status, a reason code for machines and
/// one sentence for people. The responder ([`Refuse`](crate::Refuse)) turns it into a response, and every refused
/// response carries it in its extensions, where logging and metrics find it:
///
/// ```
/// use portcullis::{Rejection, RejectionKind};
///
/// let mut response = http::Response::new(());
/// response.extensions_mut().insert(Rejection::new(RejectionKind::Csrf).code("csrf.origin"));
///
/// let reason = response.extensions().get::<Rejection>().map(Rejection::reason_code);
/// assert_eq!(reason, Some("csrf.origin"));
/// ```
///
/// The causing error, if there is one, is reachable by [`source`](Error::source) for logs on this side; no responder of
/// this crate sends it.
#[derive(Clone, Debug)]
pub struct Rejection {
    kind: RejectionKind,
    code: &'static str,
    detail: &'static str,
    // Boxed, because most rejections have none and every refusal moves the rejection several times.
    extra: Option<Box<Extra>>,
}

#[derive(Clone, Debug, Default)]
struct Extra {
    realm: Option<Cow<'static, str>>,
    resource_metadata: Option<Cow<'static, str>>,
    scope: Option<String>,
    acr_values: Option<String>,
    max_age: Option<Duration>,
    dpop_nonce: Option<String>,
    dpop_algs: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// The condition behind a [`Rejection`]; it fixes the HTTP status, the challenge and the gRPC code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// No credentials at all: 401 with a challenge that has no `error` (RFC 6750 section 3.1), gRPC 16.
    MissingCredentials,
    /// Malformed credentials, or more than one way of sending them: 400 `invalid_request` (RFC 6750 section 3.1),
    /// gRPC 16.
    InvalidRequest,
    /// A token that is expired, revoked, or wrong in signature, issuer, audience or type: 401 `invalid_token` (RFC 6750
    /// section 3.1), gRPC 16. Which of them it was is better not told: keep one detail for revoked and unknown.
    InvalidToken,
    /// A valid token without the scope: 403 `insufficient_scope` (RFC 6750 section 3.1), gRPC 7.
    InsufficientScope,
    /// The user authenticated too long ago or too weakly: 401 `insufficient_user_authentication` (RFC 9470 section 3),
    /// gRPC 16.
    InsufficientUserAuthentication,
    /// No DPoP proof where the token needs one, or a wrong one: 401 `DPoP error="invalid_dpop_proof"` (RFC 9449 section
    /// 7.1), gRPC 16.
    InvalidDpopProof,
    /// The DPoP proof lacks the nonce of the server: 401 `DPoP error="use_dpop_nonce"` (RFC 9449 section 9), gRPC 16.
    UseDpopNonce,
    /// No session, or one that is no longer valid: 401, gRPC 16. There is no registered challenge for cookies, so the
    /// response has none, although RFC 9110 section 15.5.2 wants one on each 401.
    LoginRequired,
    /// A role or a predicate said no: 403, gRPC 7.
    Forbidden,
    /// A request that may have been made by another site: 403, gRPC 7.
    Csrf,
    /// A content type that is not accepted: 415, gRPC 3.
    UnsupportedMediaType,
    /// More than is allowed to be stored or carried: 413, gRPC 8.
    TooLarge,
    /// A request that is malformed, as one that is addressed to two hosts: 400, gRPC 3.
    BadRequest,
    /// A refresh token or code that is expired, revoked, used or unknown: 400 `{"error":"invalid_grant"}` (RFC 6749
    /// section 5.2), gRPC 16.
    InvalidGrant,
    /// A scope beyond what was granted: 400 `{"error":"invalid_scope"}` (RFC 6749 section 5.2), gRPC 3.
    InvalidScope,
    /// The limit of sessions is reached: 409, gRPC 8.
    Conflict,
    /// The store cannot be asked, so nobody knows: 503 with `Retry-After`, 1 s by default, gRPC 14.
    Unavailable,
    /// A fault of this side, as a layer that is missing or in the wrong place: 500, gRPC 13.
    Internal,
}

impl Rejection {
    /// A rejection with the reason code and the detail that its kind has by default.
    #[must_use]
    pub const fn new(kind: RejectionKind) -> Self {
        let row = row(kind);
        Self {
            kind,
            code: row.code,
            detail: row.detail,
            extra: None,
        }
    }

    /// The reason for machines, stable and in lower case, as `csrf.origin`. Clients see it as the member `code`.
    #[must_use]
    pub const fn code(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }

    /// One sentence for people, lower case and without a full stop. Clients see it: it must not tell of internals.
    #[must_use]
    pub const fn detail(mut self, detail: &'static str) -> Self {
        self.detail = detail;
        self
    }

    /// The protection space of the challenge (RFC 9110 section 11.5); `api` by default.
    #[must_use]
    pub fn realm(mut self, realm: impl Into<Cow<'static, str>>) -> Self {
        self.extra().realm = Some(realm.into());
        self
    }

    /// Where the metadata of this resource is, told in the challenge (RFC 9728 section 5.1); by default it is not.
    #[must_use]
    pub fn resource_metadata(mut self, url: impl Into<Cow<'static, str>>) -> Self {
        self.extra().resource_metadata = Some(url.into());
        self
    }

    /// The scopes that the request needs, separated by spaces (RFC 6750 section 3).
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.extra().scope = Some(scope.into());
        self
    }

    /// The authentication contexts of which one is needed, separated by spaces (RFC 9470 section 3).
    #[must_use]
    pub fn acr_values(mut self, acr_values: impl Into<String>) -> Self {
        self.extra().acr_values = Some(acr_values.into());
        self
    }

    /// How old the authentication of the user may be, in whole seconds (RFC 9470 section 3).
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.extra().max_age = Some(max_age);
        self
    }

    /// The nonce that the next DPoP proof must carry, sent as `DPoP-Nonce` (RFC 9449 section 9).
    #[must_use]
    pub fn dpop_nonce(mut self, nonce: impl Into<String>) -> Self {
        self.extra().dpop_nonce = Some(nonce.into());
        self
    }

    /// The signature algorithms that a DPoP proof may use, separated by spaces (RFC 9449 section 7.1).
    #[must_use]
    pub fn dpop_algs(mut self, algs: impl Into<Cow<'static, str>>) -> Self {
        self.extra().dpop_algs = Some(algs.into());
        self
    }

    /// When to try again, sent as `Retry-After` in seconds, rounded up; by default 1 s for
    /// [`Unavailable`](RejectionKind::Unavailable) and nothing for the other kinds.
    #[must_use]
    pub fn retry_after(mut self, retry_after: Duration) -> Self {
        self.extra().retry_after = Some(retry_after);
        self
    }

    /// The error behind the rejection, for logs on this side; it is never sent.
    // Without a caller until the first layer asks a store.
    #[allow(dead_code)]
    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.extra().source = Some(Arc::from(source.into()));
        self
    }

    /// The condition behind this rejection.
    #[must_use]
    pub const fn kind(&self) -> RejectionKind {
        self.kind
    }

    /// The reason for machines.
    #[must_use]
    pub const fn reason_code(&self) -> &'static str {
        self.code
    }

    /// The HTTP status of the refusal.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        row(self.kind).status
    }

    /// The gRPC status code of the refusal, as `grpc-status` has it.
    #[must_use]
    pub const fn grpc_code(&self) -> i32 {
        row(self.kind).grpc
    }

    fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }
}

/// What the responders read.
impl Rejection {
    /// The detail as clients see it. For OAuth errors it is that of the kind: reused, revoked and unknown look the same.
    pub(super) fn detail_text(&self) -> &'static str {
        let row = row(self.kind);
        match row.format {
            Format::Problem => self.detail,
            Format::OAuth => row.detail,
        }
    }

    /// Nothing but a kind: all texts are those of the table.
    pub(super) fn is_plain(&self) -> bool {
        let row = row(self.kind);
        self.code == row.code && self.detail == row.detail
    }

    /// The challenge of the table holds, nothing was added to it.
    pub(super) fn has_plain_challenge(&self) -> bool {
        let row = row(self.kind);
        self.extra.is_none()
            && (self.kind != RejectionKind::InvalidToken || self.detail == row.detail)
    }

    pub(super) fn parameters(&self) -> Parameters<'_> {
        let Some(extra) = self.extra.as_deref() else {
            return Parameters::default();
        };
        Parameters {
            realm: extra.realm.as_deref(),
            resource_metadata: extra.resource_metadata.as_deref(),
            scope: extra.scope.as_deref(),
            acr_values: extra.acr_values.as_deref(),
            max_age: extra.max_age,
            dpop_algs: extra.dpop_algs.as_deref(),
        }
    }

    pub(super) fn nonce(&self) -> Option<&str> {
        self.extra.as_deref()?.dpop_nonce.as_deref()
    }

    pub(super) fn retry(&self) -> Option<Duration> {
        let stated = self.extra.as_deref().and_then(|extra| extra.retry_after);
        match self.kind {
            RejectionKind::Unavailable => Some(stated.unwrap_or(Duration::from_secs(1))),
            _ => stated,
        }
    }
}

/// The parameters of a challenge that a rejection may add.
#[derive(Default)]
pub(super) struct Parameters<'a> {
    pub(super) realm: Option<&'a str>,
    pub(super) resource_metadata: Option<&'a str>,
    pub(super) scope: Option<&'a str>,
    pub(super) acr_values: Option<&'a str>,
    pub(super) max_age: Option<Duration>,
    pub(super) dpop_algs: Option<&'a str>,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl Error for Rejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.extra.as_deref()?.source.as_deref()?;
        Some(source as _)
    }
}

impl From<RejectionKind> for Rejection {
    fn from(kind: RejectionKind) -> Self {
        Self::new(kind)
    }
}
