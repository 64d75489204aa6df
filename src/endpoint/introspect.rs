//! RFC 7662.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Response, request};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{
    Endpoint,
    answer::{self, Fault},
    params::{Accept, Params},
    sealed::Sealed,
};
use crate::{
    blacklist::Blacklist,
    jwt::{JwtVerifyLayer, VerifiedToken, Verifier},
    store::Store,
};

/// Says whether an access token is good (RFC 7662), for gateways and services that cannot verify by themselves.
///
/// The request is a `POST` with `token`. For a token that the layer accepts and nobody revoked or cut off, which is asked in
/// one trip, the answer has `active: true`, `token_type`, and those of `iss`, `sub`, `aud`, `client_id`, `scope`, `exp`,
/// `iat`, `nbf`, `jti`, `sid`, `tenant`, `acr` and `auth_time` that the token has. For everything else it is
/// `{"active":false}` (§2.2), refresh tokens included: nothing is said about why. While the store cannot say it is 503.
///
/// **Authenticate the caller** in front (§2.1): whoever may ask can try tokens.
#[derive(Clone)]
pub struct IntrospectionEndpoint(Arc<Inner>);

struct Inner {
    blacklist: Blacklist,
    verifier: Verifier,
}

impl IntrospectionEndpoint {
    /// For access tokens that this layer accepts, and that were not revoked in this store.
    #[must_use]
    pub fn new<C, R>(store: &Store, layer: &JwtVerifyLayer<C, R>) -> Self
    where
        C: DeserializeOwned + Send + Sync + 'static,
    {
        Self(Arc::new(Inner {
            blacklist: Blacklist::new(store),
            verifier: layer.verifier(),
        }))
    }

    async fn introspect(&self, head: &request::Parts, body: &[u8]) -> Result<Value, Fault> {
        let params = Params::read(head, body, Accept::JsonOrForm)?;
        let text = params.need("token")?;
        let Ok(token) = self.0.verifier.verify(text) else {
            return Ok(inactive());
        };
        let revoked = self.0.blacklist.is_revoked(&token).await;
        Ok(match revoked.map_err(answer::unknown)? {
            true => inactive(),
            false => active(&token, audience(text)),
        })
    }
}

fn inactive() -> Value {
    json!({ "active": false })
}

fn active(token: &VerifiedToken, audience: Option<Value>) -> Value {
    let scope = token.scopes().collect::<Vec<_>>().join(" ");
    let text = |value: Option<&str>| value.filter(|text| !text.is_empty()).map(Value::from);
    let seconds = |ms: Option<u64>| ms.map(|ms| Value::from(ms / 1000));
    let members = [
        ("active", Some(true.into())),
        ("token_type", Some("Bearer".into())),
        ("iss", text(Some(token.iss()))),
        ("sub", text(token.sub())),
        ("aud", audience),
        ("client_id", text(token.client_id())),
        ("scope", text(Some(&scope))),
        ("exp", seconds(Some(token.exp_ms()))),
        ("iat", seconds(token.iat_ms())),
        ("nbf", seconds(token.nbf_ms())),
        ("jti", text(token.jti())),
        ("sid", text(token.sid())),
        ("tenant", text(token.tenant())),
        ("acr", text(token.acr())),
        ("auth_time", seconds(token.auth_time_ms())),
    ];
    let known = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(known.collect())
}

/// As it stands in a token that has been verified.
fn audience(token: &str) -> Option<Value> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let mut claims: Map<String, Value> = serde_json::from_slice(&payload).ok()?;
    claims.remove("aud")
}

impl Sealed for IntrospectionEndpoint {}

impl Endpoint for IntrospectionEndpoint {
    async fn handle(&self, head: &request::Parts, body: &[u8]) -> Response<Bytes> {
        if let Some(refusal) = answer::not_post(head) {
            return refusal;
        }
        match self.introspect(head, body).await {
            Ok(value) => answer::json(&value),
            Err(fault) => fault.into_response(),
        }
    }
}

impl fmt::Debug for IntrospectionEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectionEndpoint")
            .finish_non_exhaustive()
    }
}
