//! Extractors for axum handlers.
//!
//! | argument | without the layer | visitor | store away |
//! |---|---|---|---|
//! | [`Session`](crate::session::Session) | 500, the log names the layer | the session of a visitor | 503 when it is asked something |
//! | `Option<Session>` | 500 | `None` without a session | 503 |
//! | [`User`](crate::session::User) | 500 | 401 | 503 |
//! | `Option<User>` | 500 | `None` | 503 |
//! | [`CsrfToken`](crate::csrf::CsrfToken) | 500 | a token of the visitor | 503 for [stored](crate::csrf::CsrfLayerBuilder::stored) tokens, when one is asked for |
//! | [`VerifiedToken`](crate::jwt::VerifiedToken) | 500, the log names the layer | 401 with a `Bearer` challenge | no store is asked |
//! | `Option<VerifiedToken>` | 500 | `None` | no store is asked |
//! | [`Claims<C>`](crate::jwt::Claims) | 500, also if the layer's claims are of another type | 401 with a `Bearer` challenge | no store is asked |
//! | `Option<Claims<C>>` | 500, likewise | `None` | no store is asked |
//!
//! `None` always means *not*, never *unknown*: while the store cannot say, the request is refused with 503. A token that is
//! there and bad never reaches a handler, and a visitor only gets past a
//! [`JwtVerifyLayer`](crate::jwt::JwtVerifyLayer) that is
//! [`optional`](crate::jwt::JwtVerifyBuilder::optional). The extractors of sessions need the feature `session`, those of
//! tokens the feature `jwt`.
//!
//! # The order of layers
//!
//! axum's `Router::layer` puts each layer around those before it: **the last one is the outermost**, and so the order is
//! the reverse of how a request meets them. First the session and the token must be known, then what asks about them.
//!
//! ```
//! use axum::{Router, routing::{get, post}};
//! use portcullis::{
//!     KeyRing, Rejection, Store,
//!     blacklist::BlacklistLayer,
//!     jwt::{JwtAlgorithm, JwtKey, JwtVerifyLayer, NoClaims, RequireScopeLayer, VerifiedToken},
//!     session::{Login, Session, SessionLayer, User},
//! };
//!
//! async fn login(session: Session) -> Result<(), Rejection> {
//!     session.login(Login::new("alice")).await?; // after checking a password
//!     Ok(())
//! }
//!
//! async fn account(user: User) -> String {
//!     user.id().to_owned()
//! }
//!
//! async fn orders(token: VerifiedToken) -> String {
//!     format!("the orders of {}", token.user().unwrap_or("nobody"))
//! }
//!
//! async fn hello(token: Option<VerifiedToken>) -> String {
//!     format!("hello {}", token.as_ref().and_then(VerifiedToken::user).unwrap_or("visitor"))
//! }
//!
//! let store = Store::memory();
//! let keys = KeyRing::new("a secret of at least thirty-two bytes")?;
//! let jwt = JwtVerifyLayer::<NoClaims>::new(JwtKey::secret(JwtAlgorithm::Hs256, [7; 32])?)
//!     .issuer("https://id.example")
//!     .audience("api")
//!     .optional()
//!     .build()?;
//!
//! let app: Router = Router::new()
//!     .route("/api/orders", get(orders))
//!     .route_layer(RequireScopeLayer::new("orders:read")?) // 4. is the token good enough for the routes so far?
//!     .route("/account", get(account))
//!     .route("/login", post(login))
//!     .route("/", get(hello))
//!     .layer(BlacklistLayer::new(&store)) // 3. is it revoked?
//!     .layer(jwt) // 2. whose token is it?
//!     .layer(SessionLayer::new(&store, &keys)); // 1. whose session is it?
//!
//! # use axum::{body::Body, http::{Request, StatusCode}};
//! # use tower::ServiceExt;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! let status = |path: &str| {
//!     let request = Request::get(path).body(Body::empty()).expect("a request");
//!     runtime.block_on(app.clone().oneshot(request)).map(|response| response.status())
//! };
//! assert_eq!(status("/")?, StatusCode::OK);
//! assert_eq!(status("/account")?, StatusCode::UNAUTHORIZED);
//! assert_eq!(status("/api/orders")?, StatusCode::UNAUTHORIZED);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`endpoint`] makes a handler of a ready-made endpoint.
//!
//! A `tower::ServiceBuilder` as *one* argument of `Router::layer` reads the other way round, outermost first; so does
//! [tonic](crate::frameworks#modules).

#[cfg(feature = "csrf")]
mod csrf;
#[cfg(feature = "refresh")]
mod endpoint;
#[cfg(feature = "jwt")]
mod jwt;
#[cfg(feature = "session")]
mod session;

#[cfg(feature = "refresh")]
pub use endpoint::endpoint;

use axum_core::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Request, header::CONTENT_TYPE};

use crate::{DefaultRefuse, Refuse, Rejection};

/// A refusal of an extractor: as [`DefaultRefuse`] writes it, in the protocol of the request.
#[derive(Debug)]
pub struct Denied {
    /// The content type of the request, which says how the caller speaks.
    content_type: Option<HeaderValue>,
    rejection: Rejection,
}

impl Denied {
    #[cfg(any(feature = "jwt", feature = "session", feature = "csrf"))]
    fn new(parts: &http::request::Parts, rejection: impl Into<Rejection>) -> Self {
        Self {
            content_type: parts.headers.get(CONTENT_TYPE).cloned(),
            rejection: rejection.into(),
        }
    }

    /// Why the request was refused.
    #[must_use]
    pub fn rejection(&self) -> &Rejection {
        &self.rejection
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        respond(self.content_type, self.rejection)
    }
}

/// A handler can end with `?` on errors of this crate; the answer is that of [`DefaultRefuse`] over HTTP.
impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        respond(None, self)
    }
}

/// The head of the request still belongs to the router: a responder is told as much of it as decides the protocol.
fn respond(content_type: Option<HeaderValue>, rejection: Rejection) -> Response {
    let (mut head, ()) = Request::new(()).into_parts();
    let content_type = content_type.map(|value| (CONTENT_TYPE, value));
    head.headers.extend(content_type);
    let mut response: Response<Body> = DefaultRefuse::new().refuse(head.into(), &rejection);
    response.extensions_mut().insert(rejection);
    response
}
