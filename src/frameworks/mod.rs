//! What makes the crate natural in one framework. Uses public items only.
//!
//! The layers are the same everywhere; what differs is how a handler reads what they found, and in which order a
//! framework stacks them.

#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "tonic")]
pub mod tonic;

/// The session of a request, or the refusal of a router without its layer.
#[cfg(all(feature = "session", any(feature = "axum", feature = "tonic")))]
fn session(extensions: &http::Extensions) -> Result<crate::session::Session, crate::Rejection> {
    extensions
        .get::<crate::session::Session>()
        .cloned()
        .ok_or_else(|| {
            crate::trace::event_error!(
                event = "session.missing",
                "a handler found no session: add SessionLayer around it"
            );
            crate::Rejection::new(crate::RejectionKind::Internal)
                .code("session_layer_missing")
                .detail("the service is set up wrongly")
        })
}
