//! Extractors for axum handlers.
//!
//! | argument | without the layer | visitor | store away |
//! |---|---|---|---|
//! | [`Session`] | 500, the log names the layer | the session of a visitor | 503 when it is asked something |
//! | `Option<Session>` | 500 | `None` without a session | 503 |
//! | [`User`] | 500 | 401 | 503 |
//! | `Option<User>` | 500 | `None` | 503 |
//! | [`CsrfToken`](crate::csrf::CsrfToken) | 500 | a token of the visitor | 503 for [stored](crate::csrf::CsrfLayerBuilder::stored) tokens, when one is asked for |
//!
//! `None` always means *not*, never *unknown*: while the store cannot say, the request is refused with 503.
//!
//! axum's `Router::layer` puts each layer around those before it, so the session layer is added last:
//!
//! ```
//! use axum::{Router, routing::{get, post}};
//! use portcullis::{KeyRing, Rejection, Store, session::{Login, RequireLoginLayer, Session, SessionLayer, User}};
//!
//! async fn login(session: Session) -> Result<(), Rejection> {
//!     session.login(Login::new("alice")).await?; // after checking a password
//!     Ok(())
//! }
//!
//! async fn me(user: User) -> String {
//!     user.id().to_owned()
//! }
//!
//! let keys = KeyRing::new("a secret of at least thirty-two bytes")?;
//! let app: Router = Router::new()
//!     .route("/account", get(me))
//!     .layer(RequireLoginLayer::redirect_to("/")?)
//!     .route("/me", get(me))
//!     .route("/login", post(login))
//!     .layer(SessionLayer::new(&Store::memory(), &keys));
//! # use tower::ServiceExt;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # let request = axum::http::Request::get("/me").body(axum::body::Body::empty())?;
//! # let response = runtime.block_on(app.oneshot(request))?;
//! assert_eq!(response.status(), 401);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use axum_core::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::request::Parts;

use crate::{
    DefaultRefuse, Rejection, RejectionKind,
    refuse::{Protocol, Refused, respond},
    session::{Session, User},
};

/// A refusal of an extractor: as [`DefaultRefuse`] writes it, in the protocol of the request.
#[derive(Debug)]
pub struct Denied(Box<(Refused, Rejection)>);

impl Denied {
    fn new(parts: &Parts, rejection: impl Into<Rejection>) -> Self {
        let refused = Refused::from(Protocol::of(&parts.headers));
        Self(Box::new((refused, rejection.into())))
    }

    /// Why the request was refused.
    #[must_use]
    pub fn rejection(&self) -> &Rejection {
        &self.0.1
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let (refused, rejection) = *self.0;
        respond(&DefaultRefuse::new(), refused, rejection)
    }
}

/// A handler can end with `?` on errors of this crate; the answer is that of [`DefaultRefuse`] over HTTP.
impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let response: Response<Body> =
            respond(&DefaultRefuse::new(), Refused::from(Protocol::Http), self);
        response
    }
}

fn session(parts: &Parts) -> Result<Session, Denied> {
    parts.extensions.get::<Session>().cloned().ok_or_else(|| {
        crate::trace::event_error!(
            event = "session.missing",
            "an extractor found no session: add SessionLayer to the router"
        );
        let rejection = Rejection::new(RejectionKind::Internal)
            .code("session_layer_missing")
            .detail("the service is set up wrongly");
        Denied::new(parts, rejection)
    })
}

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Denied> {
        session(parts)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Denied> {
        let session = session(parts)?;
        let exists = session.exists().await;
        match exists {
            Ok(exists) => Ok(exists.then_some(session)),
            Err(error) => Err(Denied::new(parts, error)),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Denied> {
        let user = <Self as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await?;
        user.ok_or_else(|| Denied::new(parts, Rejection::new(RejectionKind::LoginRequired)))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for User {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Denied> {
        let user = session(parts)?.user().await;
        user.map_err(|error| Denied::new(parts, error))
    }
}

#[cfg(feature = "csrf")]
impl<S: Sync> FromRequestParts<S> for crate::csrf::CsrfToken {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Denied> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            crate::trace::event_error!(
                event = "csrf.missing",
                "an extractor found no CSRF token: add CsrfLayer to the router"
            );
            let rejection = Rejection::new(RejectionKind::Internal)
                .code("csrf_layer_missing")
                .detail("the service is set up wrongly");
            Denied::new(parts, rejection)
        })
    }
}
