//! What makes the layers natural in tonic services: claims, tokens and sessions from `tonic::Request`, and refusals as
//! `tonic::Status`.
//!
//! A method asks its request by [`RequestExt`] and ends with `?`, also on errors of this crate:
//!
//! ```
//! use portcullis::{frameworks::tonic::RequestExt, jwt::NoClaims};
//! use tonic::{Request, Response, Status};
//!
//! async fn greet(request: Request<()>) -> Result<Response<String>, Status> {
//!     let token = request.verified_token()?;
//!     Ok(Response::new(format!("hello {}", token.user().unwrap_or("client"))))
//! }
//!
//! // Outside of the layer it is the service that is at fault, and not the caller.
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! let refused = runtime.block_on(greet(Request::new(()))).unwrap_err();
//! assert_eq!(refused.code(), tonic::Code::Internal);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | method | without the layer | caller without credentials |
//! |---|---|---|
//! | [`verified_token`](RequestExt::verified_token) | `INTERNAL`, the log names the layer | `UNAUTHENTICATED` |
//! | [`optional_verified_token`](RequestExt::optional_verified_token) | `INTERNAL` | `None` |
//! | [`claims`](RequestExt::claims) | `INTERNAL`, also if the layer's claims are of another type | `UNAUTHENTICATED` |
//! | [`optional_claims`](RequestExt::optional_claims) | `INTERNAL`, likewise | `None` |
//! | [`session`](RequestExt::session) | `INTERNAL`, the log names the layer | the session of a visitor |
//!
//! Refusals are statuses with a message for people, and what a client needs to mend its credentials as metadata: the
//! challenge in `www-authenticate` names a missing scope, `grpc-retry-pushback-ms` says when to try again. A layer's own
//! refusal and one that a method returns look the same.
//!
//! # The order of layers
//!
//! tonic's `Server::builder().layer(..)` stacks as `tower::ServiceBuilder` does: **the first layer is the outermost**, the
//! order is that in which a call meets them. (axum's `Router::layer` is the other way round.) What only one service needs
//! goes around that service; it keeps its name, and so its place.
//!
//! ```
//! use portcullis::{
//!     Store,
//!     blacklist::BlacklistLayer,
//!     jwt::{JwtAlgorithm, JwtKey, JwtVerifyLayer, NoClaims, RequireScopeLayer},
//! };
//! use tonic::transport::Server;
//! use tower::{Layer, ServiceBuilder};
//!
//! let store = Store::memory();
//! let jwt = JwtVerifyLayer::<NoClaims>::new(JwtKey::secret(JwtAlgorithm::Hs256, [7; 32])?)
//!     .issuer("https://id.example")
//!     .audience("api")
//!     .build()?;
//!
//! let (_, health) = tonic_health::server::health_reporter();
//! let health = RequireScopeLayer::new("health:read")?.layer(health);
//! let server = Server::builder()
//!     .layer(jwt.clone()) // 1. whose token is it?
//!     .layer(BlacklistLayer::new(&store)) // 2. is it revoked?
//!     .add_service(health.clone()); // 3. is it good enough for this service?
//! # drop(server);
//!
//! // The same as one stack, here called without a network.
//! let service = ServiceBuilder::new()
//!     .layer(jwt)
//!     .layer(BlacklistLayer::new(&store))
//!     .service(tonic::service::Routes::new(health));
//! # use tower::ServiceExt;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! let call = http::Request::post("/grpc.health.v1.Health/Check")
//!     .header("content-type", "application/grpc")
//!     .body(tonic::body::Body::empty())?;
//! let response = runtime.block_on(service.oneshot(call))?;
//! assert_eq!(response.status(), 200);
//! assert_eq!(response.headers()["grpc-status"], "16");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Caveats
//!
//! - Interceptors run inside of all layers: they see what the layers found, and only calls that passed.
//! - A call is judged when it begins. A stream that is open goes on when its token expires or is revoked; close long ones
//!   from within after the time in [`VerifiedToken::exp_ms`](crate::jwt::VerifiedToken::exp_ms).
//! - Only callers with a gRPC content type are answered in gRPC; HTTP routes on the same port get HTTP.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use tonic::{Code, Request, Status};

#[cfg(feature = "jwt")]
use crate::jwt::{Claims, VerifiedToken};
#[cfg(feature = "session")]
use crate::session::{Session, SessionError};
use crate::{DefaultRefuse, Refuse, Refused, Rejection, RejectionKind};

mod sealed {
    pub trait Sealed {}
    impl<T> Sealed for tonic::Request<T> {}
}

/// What the layers found out about a call. Sealed: it is there for `tonic::Request`.
pub trait RequestExt: sealed::Sealed {
    /// The application's claims of the call's token.
    ///
    /// # Errors
    ///
    /// `UNAUTHENTICATED` without a token, `INTERNAL` without a [`JwtVerifyLayer<C>`](crate::jwt::JwtVerifyLayer).
    #[cfg(feature = "jwt")]
    fn claims<C: Send + Sync + 'static>(&self) -> Result<Claims<C>, Status>;

    /// The same where calls without a token are served as well.
    ///
    /// # Errors
    ///
    /// `INTERNAL` without a [`JwtVerifyLayer<C>`](crate::jwt::JwtVerifyLayer).
    #[cfg(feature = "jwt")]
    fn optional_claims<C: Send + Sync + 'static>(&self) -> Result<Option<Claims<C>>, Status>;

    /// The call's token.
    ///
    /// # Errors
    ///
    /// `UNAUTHENTICATED` without a token, `INTERNAL` without a [`JwtVerifyLayer`](crate::jwt::JwtVerifyLayer).
    #[cfg(feature = "jwt")]
    fn verified_token(&self) -> Result<VerifiedToken, Status>;

    /// The same where calls without a token are served as well.
    ///
    /// # Errors
    ///
    /// `INTERNAL` without a [`JwtVerifyLayer`](crate::jwt::JwtVerifyLayer).
    #[cfg(feature = "jwt")]
    fn optional_verified_token(&self) -> Result<Option<VerifiedToken>, Status>;

    /// The session of the browser that calls, with its cookie; that of a visitor has nobody in it.
    ///
    /// # Errors
    ///
    /// `INTERNAL` without a [`SessionLayer`](crate::session::SessionLayer).
    #[cfg(feature = "session")]
    fn session(&self) -> Result<Session, Status>;
}

impl<T> RequestExt for Request<T> {
    #[cfg(feature = "jwt")]
    fn claims<C: Send + Sync + 'static>(&self) -> Result<Claims<C>, Status> {
        Ok(Claims::required(self.extensions())?)
    }

    #[cfg(feature = "jwt")]
    fn optional_claims<C: Send + Sync + 'static>(&self) -> Result<Option<Claims<C>>, Status> {
        Ok(Claims::optional(self.extensions())?)
    }

    #[cfg(feature = "jwt")]
    fn verified_token(&self) -> Result<VerifiedToken, Status> {
        Ok(VerifiedToken::required(self.extensions())?)
    }

    #[cfg(feature = "jwt")]
    fn optional_verified_token(&self) -> Result<Option<VerifiedToken>, Status> {
        Ok(VerifiedToken::optional(self.extensions())?)
    }

    #[cfg(feature = "session")]
    fn session(&self) -> Result<Session, Status> {
        Ok(super::session(self.extensions())?)
    }
}

/// The status as a layer would refuse with it: code, message and metadata, with the rejection as its source.
impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Self {
        // The one writer of gRPC refusals writes this one too, so that the two cannot differ.
        let response = DefaultRefuse::new().refuse(grpc_call(), &rejection);
        let (mut head, ()) = http::Response::into_parts(response);
        head.headers.remove(CONTENT_TYPE);
        let status = Self::from_header_map(&head.headers);
        let mut status = status.unwrap_or_else(|| Self::new(Code::Internal, ""));
        status.set_source(Arc::new(rejection));
        status
    }
}

/// What a responder is told of a call whose head is elsewhere.
fn grpc_call() -> Refused {
    let (mut head, ()) = http::Request::new(()).into_parts();
    let grpc = http::HeaderValue::from_static("application/grpc");
    head.headers.insert(CONTENT_TYPE, grpc);
    head.into()
}

macro_rules! as_rejection {
    ($($(#[$gate:meta])* $error:ty,)*) => {$(
        $(#[$gate])*
        impl From<$error> for Status {
            fn from(error: $error) -> Self {
                Rejection::from(error).into()
            }
        }
    )*};
}

as_rejection! {
    RejectionKind,
    #[cfg(feature = "session")]
    SessionError,
    #[cfg(feature = "blacklist")]
    crate::blacklist::RevokeError,
    #[cfg(feature = "refresh")]
    crate::refresh::RefreshError,
    crate::StoreError,
}
