//! RFC 7009.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{Response, StatusCode, request};
use serde::de::DeserializeOwned;

use super::{
    Client, Endpoint,
    answer::{self, Fault},
    params::{Accept, Params},
    sealed::Sealed,
};
use crate::{
    blacklist::{Blacklist, RevokeErrorKind},
    jwt::{JwtVerifyLayer, Verifier},
    refresh::Rotation,
    refuse::RejectionKind,
};

/// Revokes a token (RFC 7009): a refresh token ends its login, with session and access tokens; an access token ends alone.
///
/// The request is a `POST` with `token`; `token_type_hint` may be there and changes nothing, since a token says by itself
/// of which kind it is. The answer is 200, also for a token that is unknown, expired or revoked already (§2.2): what the
/// client wanted is so. While the store cannot confirm it the answer is 503 with `Retry-After`.
///
/// **Authenticate the caller** in front (§2.1). Where the layer that does so leaves a [`Client`] in the extensions, tokens
/// of other clients are refused with 400 `invalid_grant`.
#[derive(Clone)]
pub struct RevocationEndpoint(Arc<Inner>);

struct Inner {
    rotation: Rotation,
    blacklist: Blacklist,
    verifier: Verifier,
}

impl RevocationEndpoint {
    /// For refresh tokens of this rotation, and access tokens that this layer accepts.
    #[must_use]
    pub fn new<C, R>(rotation: &Rotation, layer: &JwtVerifyLayer<C, R>) -> Self
    where
        C: DeserializeOwned + Send + Sync + 'static,
    {
        Self(Arc::new(Inner {
            rotation: rotation.clone(),
            blacklist: Blacklist::new(rotation.store()),
            verifier: layer.verifier(),
        }))
    }

    async fn revoke(&self, head: &request::Parts, body: &[u8]) -> Result<(), Fault> {
        let params = Params::read(head, body, Accept::JsonOrForm)?;
        let token = params.need("token")?;
        let client = head.extensions.get::<Client>().map(Client::id);
        let Ok(access) = self.0.verifier.verify(token) else {
            return self.revoke_login(token, client).await;
        };
        if client.is_some_and(|client| access.client_id() != Some(client)) {
            return Err(RejectionKind::InvalidGrant.into());
        }
        match self.0.blacklist.revoke(&access).await {
            // There is nothing to revoke it by, and that is not the client's fault.
            Err(error) if error.kind() == RevokeErrorKind::NoId => {
                Err(Fault::bad("unsupported_token_type"))
            }
            outcome => Ok(outcome?),
        }
    }

    async fn revoke_login(&self, token: &str, client: Option<&str>) -> Result<(), Fault> {
        if let Some(client) = client {
            let of = self.0.rotation.client_of(token).await?;
            if of.is_some_and(|of| of != client) {
                return Err(RejectionKind::InvalidGrant.into());
            }
        }
        Ok(self.0.rotation.revoke(token).await?)
    }
}

impl Sealed for RevocationEndpoint {}

impl Endpoint for RevocationEndpoint {
    async fn handle(&self, head: &request::Parts, body: &[u8]) -> Response<Bytes> {
        if let Some(refusal) = answer::not_post(head) {
            return refusal;
        }
        match self.revoke(head, body).await {
            Ok(()) => answer::empty(StatusCode::OK),
            Err(fault) => fault.into_response(),
        }
    }
}

impl fmt::Debug for RevocationEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationEndpoint").finish_non_exhaustive()
    }
}
