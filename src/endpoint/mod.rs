//! Ready-made endpoints: what OAuth clients send and expect, over [`Rotation`](crate::refresh::Rotation) and
//! [`Blacklist`](crate::blacklist::Blacklist).
//!
//! | endpoint | what it is | who may call it |
//! |---|---|---|
//! | [`RefreshEndpoint`] | the next pair for a refresh token (RFC 6749 §6), in bodies or with a cookie | whoever has the token |
//! | [`LogoutEndpoint`] | ends the login of a refresh token | whoever has the token |
//! | [`RevocationEndpoint`] | revokes a refresh or access token (RFC 7009) | clients you authenticate |
//! | [`IntrospectionEndpoint`] | says whether a token is good (RFC 7662) | gateways you authenticate |
//! | [`JwksEndpoint`] | the public keys (RFC 7517 §5) | everybody |
//!
//! 1. An endpoint is a function from the head and the body of a request to a response ([`Endpoint::handle`]); it is no
//!    layer and needs no framework. With the feature `axum`, `frameworks::axum::endpoint` makes a handler of it.
//! 2. Bodies are JSON or forms, and never longer than [`LARGEST_BODY`].
//! 3. What is wrong with a token is not told: forged, expired, used and revoked ones are all `invalid_grant`, or not
//!    `active`. The [`Rejection`](crate::Rejection) in the response's extensions knows, for logs.
//! 4. While the store cannot say, the answer is 503 with `Retry-After`: clients keep their token, browsers their cookie.
//! 5. Every answer but the public keys is `Cache-Control: no-store` (RFC 6749 §5.1).
//! 6. None of them authenticates its caller: put the layer that does around revocation and introspection, and let it
//!    leave a [`Client`] in the request's extensions where callers may use their own tokens only. Introspection of access
//!    tokens does not look at it: who serves a token asks about those of others.
//!
//! On hyper, with a body that was collected before:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use portcullis::{
//!     KeyRing, Store,
//!     endpoint::{Endpoint, RefreshEndpoint},
//!     jwt::{Issuer, JwtAlgorithm, SigningKey},
//!     refresh::{RefreshLogin, Rotation},
//! };
//!
//! let (store, keys) = (Store::memory(), KeyRing::new("a secret of at least thirty-two bytes")?);
//! let issuer = Issuer::new(SigningKey::generate(JwtAlgorithm::EdDsa)?, "https://id.example").audience("api").build()?;
//! let rotation = Rotation::new(&store, &keys, &issuer)?;
//! let refresh = RefreshEndpoint::new(&rotation);
//!
//! async fn route(refresh: &RefreshEndpoint, request: Request<Bytes>) -> Response<Bytes> {
//!     let (head, body) = request.into_parts();
//!     match head.uri.path() {
//!         "/token/refresh" => refresh.handle(&head, &body).await,
//!         _ => Response::default(),
//!     }
//! }
//!
//! let pair = rotation.issue(&RefreshLogin::new("alice")).await?;
//! let body = format!(r#"{{"refresh_token":"{}"}}"#, pair.refresh());
//! let request = Request::post("/token/refresh").header("content-type", "application/json").body(Bytes::from(body))?;
//! let response = route(&refresh, request).await;
//! assert_eq!(response.status(), StatusCode::OK);
//! # Ok(()) }
//! ```

mod answer;
mod introspect;
mod jwks;
mod params;
mod refresh;
mod revoke;

use bytes::Bytes;
use http::{Response, request};

pub use introspect::IntrospectionEndpoint;
pub use jwks::JwksEndpoint;
pub use refresh::{LogoutEndpoint, RefreshCookieBuilder, RefreshEndpoint};
pub use revoke::RevocationEndpoint;

/// Longer bodies are refused: no token of this crate, or of anybody else, fills it. Read no more than this.
pub const LARGEST_BODY: usize = 32 * 1024;

/// What answers requests by itself. Sealed.
pub trait Endpoint: sealed::Sealed + Clone + Send + Sync + 'static {
    /// The answer to a request. There is always one: refusals and outages are answers.
    fn handle(
        &self,
        head: &request::Parts,
        body: &[u8],
    ) -> impl Future<Output = Response<Bytes>> + Send;
}

mod sealed {
    /// Held by the endpoints of this room.
    pub trait Sealed {}
}

/// The client that the application has authenticated, for the request's extensions: an endpoint that finds one lets it use
/// its own tokens only, and takes no other word for who it is. Only about access tokens may every caller of
/// [`IntrospectionEndpoint`] ask.
///
/// ```
/// use http::Request;
/// use portcullis::endpoint::Client;
///
/// let mut request = Request::post("/token/revoke").body(())?;
/// request.extensions_mut().insert(Client::new("web")); // once its secret was checked
/// # Ok::<_, http::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client(Box<str>);

impl Client {
    /// The client of this id.
    #[must_use]
    pub fn new(id: impl Into<Box<str>>) -> Self {
        Self(id.into())
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0
    }
}
