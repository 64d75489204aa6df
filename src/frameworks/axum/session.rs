//! Sessions and users.

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use super::Denied;
use crate::{
    Rejection, RejectionKind,
    session::{Session, User},
};

fn session(parts: &Parts) -> Result<Session, Denied> {
    crate::frameworks::session(&parts.extensions).map_err(|missing| Denied::new(parts, missing))
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
