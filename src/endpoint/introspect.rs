//! RFC 7662.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Response, request};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{
    Client, Endpoint,
    answer::{self, Fault},
    params::{Accept, Params},
    sealed::Sealed,
};
use crate::{
    blacklist::Blacklist,
    jwt::{JwtVerifyLayer, VerifiedToken, Verifier},
    refresh::{Inspected, Rotation},
    store::Store,
};

/// Says whether a token is good (RFC 7662), for gateways and services that cannot verify by themselves.
///
/// The request is a `POST` with `token`. For a token that the layer accepts and nobody revoked or cut off, which is asked in
/// one trip, the answer has `active: true`, `token_type`, and those of `iss`, `sub`, `aud`, `client_id`, `scope`, `exp`,
/// `iat`, `nbf`, `jti`, `sid`, `tenant`, `acr` and `auth_time` that the token has. For everything else it is
/// `{"active":false}` (§2.2): nothing is said about why. While the store cannot say it is 503.
///
/// # Refresh tokens
///
/// They are not active, unless the endpoint [knows](Self::refresh_tokens) their rotation and the request says
/// `token_type_hint=refresh_token`: a gateway that asks about whatever came behind `Bearer` is never told that a refresh
/// token is good. Asking is no use of the token: it is neither rotated nor used up, and the one of before the last rotation
/// is active for as long as its grace time lasts. The answer has `active`, `sub`, `exp`, `sid`, `auth_time` and, where there
/// are any, `client_id`, `scope`, `tenant` and `iat` (not of the token of before); it has no `token_type`. Where there is a
/// [`Client`] in the request's extensions, tokens of other clients are not active.
///
/// **Authenticate the caller** in front (§2.1): whoever may ask can try tokens.
#[derive(Clone)]
pub struct IntrospectionEndpoint(Arc<Inner>);

struct Inner {
    blacklist: Blacklist,
    verifier: Verifier,
    rotation: Option<Rotation>,
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
            rotation: None,
        }))
    }

    /// Says it of this rotation's refresh tokens as well, to who asks for them by `token_type_hint`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use http::Request;
    /// use portcullis::{
    ///     KeyRing, Store,
    ///     endpoint::{Endpoint, IntrospectionEndpoint},
    ///     jwt::{Issuer, JwtAlgorithm, JwtVerifyLayer, NoClaims, SigningKey},
    ///     refresh::{RefreshLogin, Rotation},
    /// };
    ///
    /// let (store, keys) = (Store::memory(), KeyRing::new("a secret of at least thirty-two bytes")?);
    /// let key = SigningKey::generate(JwtAlgorithm::EdDsa)?;
    /// let layer = JwtVerifyLayer::<NoClaims>::new(key.verification_key()).issuer("https://id.example").audience("api").build()?;
    /// let issuer = Issuer::new(key, "https://id.example").audience("api").build()?;
    /// let rotation = Rotation::new(&store, &keys, &issuer)?;
    /// let introspection = IntrospectionEndpoint::new(&store, &layer).refresh_tokens(&rotation);
    ///
    /// let pair = rotation.issue(&RefreshLogin::new("alice")).await?;
    /// let ask = Request::post("/introspect").header("content-type", "application/x-www-form-urlencoded");
    /// let (head, ()) = ask.body(())?.into_parts();
    /// let body = format!("token={}&token_type_hint=refresh_token", pair.refresh());
    /// let answer = introspection.handle(&head, body.as_bytes()).await;
    /// let told: serde_json::Value = serde_json::from_slice(answer.body())?;
    /// assert_eq!((&told["active"], &told["sub"]), (&true.into(), &"alice".into()));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn refresh_tokens(self, rotation: &Rotation) -> Self {
        rotation.will_inspect();
        Self(Arc::new(Inner {
            blacklist: self.0.blacklist.clone(),
            verifier: self.0.verifier.clone(),
            rotation: Some(rotation.clone()),
        }))
    }

    async fn introspect(&self, head: &request::Parts, body: &[u8]) -> Result<Value, Fault> {
        let params = Params::read(head, body, Accept::JsonOrForm)?;
        let text = params.need("token")?;
        let Ok(token) = self.0.verifier.verify(text) else {
            let hint = params.get("token_type_hint");
            return match &self.0.rotation {
                Some(rotation) if hint == Some("refresh_token") => {
                    refresh_token(rotation, text, head.extensions.get()).await
                }
                _ => Ok(inactive()),
            };
        };
        let revoked = self.0.blacklist.is_revoked(&token).await;
        Ok(match revoked.map_err(answer::unknown)? {
            true => inactive(),
            false => active(&token, audience(text)),
        })
    }
}

async fn refresh_token(
    rotation: &Rotation,
    token: &str,
    client: Option<&Client>,
) -> Result<Value, Fault> {
    let found = rotation.inspect(token).await.map_err(answer::unknown)?;
    let theirs = |found: &Inspected| client.is_none_or(|client| found.client == client.id());
    Ok(found
        .filter(theirs)
        .map_or_else(inactive, |found| active_refresh(&found)))
}

fn active_refresh(token: &Inspected) -> Value {
    let text = |value: &str| Some(value).filter(|text| !text.is_empty()).map(Value::from);
    object([
        ("active", Some(true.into())),
        ("sub", text(&token.user)),
        ("client_id", text(&token.client)),
        ("scope", text(&token.scope)),
        ("exp", Some((token.until_ms / 1000).into())),
        ("iat", token.since_ms.map(|ms| (ms / 1000).into())),
        ("sid", text(&token.sid)),
        ("tenant", text(&token.tenant)),
        ("auth_time", Some((token.login_ms / 1000).into())),
    ])
}

/// The members that are known.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let known = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(known.collect())
}

fn inactive() -> Value {
    json!({ "active": false })
}

fn active(token: &VerifiedToken, audience: Option<Value>) -> Value {
    let scope = token.scopes().collect::<Vec<_>>().join(" ");
    let text = |value: Option<&str>| value.filter(|text| !text.is_empty()).map(Value::from);
    let seconds = |ms: Option<u64>| ms.map(|ms| Value::from(ms / 1000));
    object([
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
    ])
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
