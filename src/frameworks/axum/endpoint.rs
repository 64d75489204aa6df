//! Ready-made endpoints.

use std::pin::Pin;

use axum_core::{
    body::Body,
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::{Rejection, RejectionKind};

/// A handler of a ready-made [`Endpoint`](crate::endpoint::Endpoint). It needs no state, and reads no more of a body than
/// [`LARGEST_BODY`](crate::endpoint::LARGEST_BODY).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, body::Body, http::Request, routing::{get, post}};
/// use portcullis::{
///     KeyRing, Store,
///     endpoint::{JwksEndpoint, RefreshEndpoint},
///     frameworks::axum::endpoint,
///     jwt::{Issuer, JwtAlgorithm, SigningKey},
///     refresh::Rotation,
/// };
/// use tower::ServiceExt;
///
/// let (store, keys) = (Store::memory(), KeyRing::new("a secret of at least thirty-two bytes")?);
/// let issuer = Issuer::new(SigningKey::generate(JwtAlgorithm::EdDsa)?, "https://id.example").audience("api").build()?;
/// let refresh = RefreshEndpoint::new(&Rotation::new(&store, &keys, &issuer)?);
/// let app: Router = Router::new()
///     .route("/.well-known/jwks.json", get(endpoint(&JwksEndpoint::new(issuer.keys()))))
///     .route("/token/refresh", post(endpoint(&refresh)))
///     .route("/token/logout", post(endpoint(&refresh.logout())));
///
/// let request = Request::post("/token/refresh")
///     .header("content-type", "application/x-www-form-urlencoded")
///     .body(Body::from("grant_type=refresh_token&refresh_token=forged"))?;
/// let response = app.oneshot(request).await?;
/// assert_eq!(response.status(), 400);
/// assert_eq!(axum::body::to_bytes(response.into_body(), 100).await?, r#"{"error":"invalid_grant"}"#);
/// # Ok(()) }
/// ```
pub fn endpoint<E: crate::endpoint::Endpoint>(
    endpoint: &E,
) -> impl Fn(http::Request<Body>) -> Pin<Box<dyn Future<Output = Response> + Send>>
+ Clone
+ Send
+ Sync
+ 'static
+ use<E> {
    let endpoint = endpoint.clone();
    move |request| {
        let endpoint = endpoint.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            match Limited::new(body, crate::endpoint::LARGEST_BODY)
                .collect()
                .await
            {
                Ok(body) => endpoint
                    .handle(&head, &body.to_bytes())
                    .await
                    .map(Body::from),
                Err(error) if error.is::<LengthLimitError>() => {
                    Rejection::new(RejectionKind::TooLarge).into_response()
                }
                Err(_) => Rejection::new(RejectionKind::InvalidRequest).into_response(),
            }
        })
    }
}
