//! CSRF tokens.

use axum_core::extract::FromRequestParts;
use http::request::Parts;

use super::Denied;
use crate::{Rejection, RejectionKind, csrf::CsrfToken};

impl<S: Sync> FromRequestParts<S> for CsrfToken {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Denied> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            crate::trace::event_error!(
                event = "csrf.missing",
                "an extractor found no CSRF token: add CsrfLayer to the router"
            );
            let rejection = Rejection::new(RejectionKind::Internal).code("csrf_layer_missing");
            Denied::new(parts, rejection)
        })
    }
}
