//! Access tokens: JWTs that are verified before anything inside is called.
//!
//! [`JwtVerifyLayer`] takes the token of a request, decides by itself whether it is good, and leaves a
//! [`VerifiedToken`] in the request's extensions, with the application's own [`Claims<C>`](Claims) in it. [`Issuer`] mints
//! such tokens for services that are their own authority.
//!
//! 1. A key is bound to one algorithm and to one issuer ([`JwtKey`], [`KeySet`]); nothing in a token chooses either, and
//!    no key ever comes from a token (RFC 8725 §3.1, §3.8, §3.10).
//! 2. The signature is verified before a claim is believed, over the bytes as they came.
//! 3. `iss`, `aud`, `exp` and `sub` must be there. `typ` must be `at+jwt`, so that no ID token opens an API (RFC 9068).
//! 4. A token has one spelling: strict base64url, no member twice, no padding, no extension that is not understood.
//! 5. A client is told `invalid_token` and not why; the log is told why ([`JwtErrorKind`]).
//! 6. What is missing or contradicts itself in the settings fails when the layer is built, never per request.
//! 7. A token that was verified is remembered by its hash, so that the next request is spared the signature; what depends
//!    on the time, the scopes or the keys of the moment is judged again every time.
//!
//! ```
//! use http::{Request, Response, StatusCode};
//! use portcullis::jwt::{Grant, Issuer, JwtAlgorithm, JwtVerifyLayer, NoClaims, SigningKey, VerifiedToken};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! // Usually the issuer is elsewhere, and its public keys come from `KeySet::from_jwks`.
//! let key = SigningKey::generate(JwtAlgorithm::EdDsa)?.kid("2026-11")?;
//! let layer = JwtVerifyLayer::<NoClaims>::new(key.verification_key())
//!     .issuer("https://id.example")
//!     .audience("api")
//!     .build()?;
//! let issuer = Issuer::new(key, "https://id.example").audience("api").build()?;
//!
//! let service = layer.layer(service_fn(async |request: Request<String>| {
//!     let user = request.extensions().get::<VerifiedToken>().and_then(VerifiedToken::user);
//!     Ok::<_, std::convert::Infallible>(Response::new(format!("hello {}", user.unwrap_or("client"))))
//! }));
//!
//! let minted = issuer.mint(&Grant::user("alice"))?;
//! let request = |value: String| Request::get("/").header("authorization", value).body(String::new());
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # runtime.block_on(async {
//! let response = service.clone().oneshot(request(format!("Bearer {}", minted.token()))?).await?;
//! assert_eq!(response.into_body(), "hello alice");
//!
//! let response = service.oneshot(request("Bearer forged.forged.forged".into())?).await?;
//! assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # Several issuers
//!
//! Tokens of any of several issuers: one layer with [`or_issuer`](JwtVerifyBuilder::or_issuer). A token of each of
//! several: one layer for each, looking in different places, with different claims types. `VerifiedToken` in the
//! extensions is then the one of the layer nearest to the service.
//!
//! # What this is not
//!
//! * A good token is good until it expires: whatever ends it earlier is another layer's work, which asks about its `jti`,
//!   `sid` and user.
//! * A token in a cookie is sent by browsers on their own, and so needs protection against CSRF.
//! * The text of a token is not its identity: an ECDSA signature (r, s) has a second spelling (r, n − s) that verifies as
//!   well. Remember a token by its `jti`, or by a hash of what was signed.
//! * Tokens bound to a key of their sender (DPoP, mutual TLS) are refused, since nothing here checks the proof.

mod algorithm;
mod builder;
mod cache;
mod claims;
mod error;
mod grant;
mod issuer;
mod issuer_keys;
mod json;
mod jwk;
mod key;
mod keyset;
mod layer;
mod mark;
mod members;
mod pem;
mod rules;
mod scope;
mod signing;
mod source;
mod step_up;
mod token;
mod verify;

pub use algorithm::JwtAlgorithm;
pub use builder::JwtVerifyBuilder;
pub use claims::{Claims, NoClaims};
pub use error::{JwtError, JwtErrorKind};
pub use grant::Grant;
pub use issuer::{Issuer, IssuerBuilder, MintError, MintedToken};
pub use issuer_keys::IssuerKeys;
#[cfg(feature = "refresh")]
pub(crate) use issuer_keys::PUBLISHED_BEFORE;
pub use key::JwtKey;
pub use keyset::{KeySet, KeySetHandle, SkippedKey};
#[cfg(feature = "refresh")]
pub(crate) use layer::Verifier;
pub use layer::{JwtGate, JwtVerifyLayer};
#[cfg(feature = "blacklist")]
pub(crate) use mark::JwtMark;
pub use scope::{RequireScopeLayer, ScopeGate};
pub use signing::SigningKey;
pub use step_up::{StepUpGate, StepUpLayer};
pub use token::{AuthorizationDetail, SubjectKind, VerifiedToken};
