//! The public keys.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
    request,
};

use super::{Endpoint, answer, sealed::Sealed};
use crate::{
    error::ConfigError,
    jwt::{IssuerKeys, PUBLISHED_BEFORE},
};

/// Publishes the keys that verify an issuer's tokens, as a JWKS document (RFC 7517 §5): usually at
/// `/.well-known/jwks.json`. It follows every change of the keys. Nothing private is in it, and secrets are left out.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use http::Request;
/// use portcullis::{endpoint::{Endpoint, JwksEndpoint}, jwt::{IssuerKeys, JwtAlgorithm, SigningKey}};
///
/// let keys = IssuerKeys::new(SigningKey::generate(JwtAlgorithm::Es256)?.kid("2026-11")?)?;
/// let (head, ()) = Request::get("/.well-known/jwks.json").body(())?.into_parts();
/// let response = JwksEndpoint::new(&keys).handle(&head, b"").await;
/// assert_eq!(response.headers()["cache-control"], "public, max-age=600");
/// assert!(response.body().starts_with(br#"{"keys":[{"kid":"2026-11","use":"sig","alg":"ES256","kty":"EC","#));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct JwksEndpoint {
    keys: IssuerKeys,
    max_age: u64,
}

impl JwksEndpoint {
    /// The keys of an [`Issuer`](crate::jwt::Issuer); caches may keep the document for 10 minutes.
    #[must_use]
    pub fn new(keys: impl Into<IssuerKeys>) -> Self {
        Self {
            keys: keys.into(),
            max_age: 600,
        }
    }

    /// How long caches may keep the document. A key that was removed goes on being trusted for that long.
    ///
    /// # Errors
    ///
    /// For more than half an hour: a new key signs an hour after it was published, and caches are kept by caches.
    pub fn max_age(mut self, max_age: Duration) -> Result<Self, ConfigError> {
        if max_age > PUBLISHED_BEFORE / 2 {
            return Err(ConfigError::new("max_age", "must be at most half an hour"));
        }
        self.max_age = max_age.as_secs();
        Ok(self)
    }
}

impl Sealed for JwksEndpoint {}

impl Endpoint for JwksEndpoint {
    #[allow(clippy::unused_async, reason = "others have to wait")]
    async fn handle(&self, head: &request::Parts, _: &[u8]) -> Response<Bytes> {
        let allowed = [Method::GET, Method::HEAD];
        if let Some(refusal) = answer::wrong_method(head, &allowed, "GET, HEAD") {
            return refusal;
        }
        let mut response = answer::empty(StatusCode::OK);
        *response.body_mut() = self.keys.jwks().into();
        let headers = response.headers_mut();
        let media_type = HeaderValue::from_static("application/jwk-set+json");
        headers.insert(CONTENT_TYPE, media_type);
        let cached = format!("public, max-age={}", self.max_age);
        let cached = HeaderValue::try_from(cached).expect("a number is visible ASCII");
        headers.insert(CACHE_CONTROL, cached);
        response
    }
}
