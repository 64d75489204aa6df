//! Verified tokens and the application's claims.

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use super::Denied;
use crate::jwt::{Claims, VerifiedToken};

impl<S: Sync> FromRequestParts<S> for VerifiedToken {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Denied> {
        Self::required(&parts.extensions).map_err(|refusal| Denied::new(parts, refusal))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for VerifiedToken {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Denied> {
        Self::optional(&parts.extensions).map_err(|refusal| Denied::new(parts, refusal))
    }
}

impl<S: Sync, C: Send + Sync + 'static> FromRequestParts<S> for Claims<C> {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Denied> {
        Self::required(&parts.extensions).map_err(|refusal| Denied::new(parts, refusal))
    }
}

impl<S: Sync, C: Send + Sync + 'static> OptionalFromRequestParts<S> for Claims<C> {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Denied> {
        Self::optional(&parts.extensions).map_err(|refusal| Denied::new(parts, refusal))
    }
}
