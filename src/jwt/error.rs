//! Why a token is not accepted. For logs and tests: a client learns `invalid_token` and nothing else.

use std::{error::Error, fmt};

/// A token that is not accepted. It contains nothing of the token.
///
/// ```
/// use portcullis::jwt::{JwtErrorKind, JwtKey, JwtAlgorithm, JwtVerifyLayer, NoClaims};
///
/// let layer = JwtVerifyLayer::<NoClaims>::new(JwtKey::secret(JwtAlgorithm::Hs256, [7; 32])?)
///     .issuer("https://id.example")
///     .audience("api")
///     .build()?;
/// let error = layer.verify_at(b"not.a.token", 0).unwrap_err();
/// assert_eq!(error.kind(), JwtErrorKind::Malformed);
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JwtError(JwtErrorKind);

/// What was wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JwtErrorKind {
    /// Longer than the configured size.
    TooLarge,
    /// Not three parts of strict base64url with JSON objects in the first two (RFC 7515 §7.1).
    Malformed,
    /// The header or the claims name a member twice (RFC 8725 §2.6).
    DuplicateMember,
    /// The header asks for something that is not supported: `crit`, `b64`, `zip`, encryption.
    UnsupportedHeader,
    /// The `typ` header is missing or another one (RFC 8725 §3.11).
    WrongType,
    /// No key, or more than one, fits the `kid` and `alg` of the header.
    UnknownKey,
    /// The signature is not one of this key over this text.
    BadSignature,
    /// A claim has a type or value that it must not have.
    InvalidClaim,
    /// A required claim is missing.
    MissingClaim,
    /// The issuer is not the one that the key belongs to.
    WrongIssuer,
    /// None of the configured audiences is among those of the token.
    WrongAudience,
    /// `exp` plus leeway is over.
    Expired,
    /// `nbf` minus leeway is still to come.
    NotYetValid,
    /// `iat` lies in the future by more than the leeway.
    IssuedInTheFuture,
    /// `exp` is further away than the configured longest life.
    LivesTooLong,
    /// An ID token, logout token or security event, by the claims it carries.
    NotAnAccessToken,
    /// Bound to a key of the sender (`cnf`), whose proof this layer cannot check.
    SenderConstrained,
    /// The claims do not fit the application's claims type.
    ClaimsShape,
}

impl JwtError {
    /// What was wrong.
    #[must_use]
    pub const fn kind(&self) -> JwtErrorKind {
        self.0
    }
}

impl From<JwtErrorKind> for JwtError {
    fn from(kind: JwtErrorKind) -> Self {
        Self(kind)
    }
}

impl fmt::Display for JwtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            JwtErrorKind::TooLarge => "the token is too large",
            JwtErrorKind::Malformed => "the token is malformed",
            JwtErrorKind::DuplicateMember => "the token names a member twice",
            JwtErrorKind::UnsupportedHeader => "the token's header asks for an unsupported feature",
            JwtErrorKind::WrongType => "the token is of another type",
            JwtErrorKind::UnknownKey => "no single key fits the token",
            JwtErrorKind::BadSignature => "the signature is wrong",
            JwtErrorKind::InvalidClaim => "a claim has an invalid value",
            JwtErrorKind::MissingClaim => "a required claim is missing",
            JwtErrorKind::WrongIssuer => "the token comes from another issuer",
            JwtErrorKind::WrongAudience => "the token is meant for another audience",
            JwtErrorKind::Expired => "the token has expired",
            JwtErrorKind::NotYetValid => "the token is not valid yet",
            JwtErrorKind::IssuedInTheFuture => "the token was issued in the future",
            JwtErrorKind::LivesTooLong => "the token lives too long",
            JwtErrorKind::NotAnAccessToken => "the token is not an access token",
            JwtErrorKind::SenderConstrained => "the token is bound to its sender",
            JwtErrorKind::ClaimsShape => "the claims do not have the expected shape",
        })
    }
}

impl Error for JwtError {}
