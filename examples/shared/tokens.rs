//! Tokens for programs beside sessions for browsers. Both are devices of the same user: whoever signs out everywhere ends
//! both.

use std::{env, error::Error, fs};

use bytes::Bytes;
use http::{HeaderMap, Response, header::USER_AGENT};
use portcullis::{
    KeyRing, Rejection, RejectionKind, Store,
    blacklist::BlacklistLayer,
    device::{Device, Devices},
    endpoint::{JwksEndpoint, RefreshEndpoint},
    jwt::{Issuer, JwtAlgorithm, JwtVerifyLayer, NoClaims, SigningKey, VerifiedToken},
    refresh::Rotation,
    session::{Session, User},
};
use serde_json::{Value, json};

use super::Credentials;

const ISSUER: &str = "https://portcullis.example";

/// What handlers and routes need; cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    rotation: Rotation,
    devices: Devices,
    /// `POST /token/refresh`
    pub refresh: RefreshEndpoint,
    /// `GET /.well-known/jwks.json`
    pub jwks: JwksEndpoint,
    /// Around routes that want an access token: is it good, and has nobody revoked it?
    pub verify: JwtVerifyLayer<NoClaims>,
    /// The same around routes for browsers as well: a request may come without a token, but not with a bad one.
    pub verify_if_any: JwtVerifyLayer<NoClaims>,
    pub not_revoked: BlacklistLayer,
}

impl Tokens {
    /// Signed with the key in the file that `JWT_KEY` names (`openssl genpkey -algorithm ed25519`), or with a random one.
    pub fn new(store: &Store, keys: &KeyRing) -> Result<Self, Box<dyn Error>> {
        let key = match env::var_os("JWT_KEY") {
            Some(path) => SigningKey::from_pem(JwtAlgorithm::EdDsa, fs::read(path)?)?,
            None => {
                eprintln!("JWT_KEY is not set: a random key signs the access tokens");
                SigningKey::generate(JwtAlgorithm::EdDsa)?
            }
        };
        let issuer = Issuer::new(key, ISSUER).audience("api").build()?;
        let verify = || {
            let layer = JwtVerifyLayer::new(issuer.keys().verification_keys());
            layer.issuer(ISSUER).audience("api")
        };
        let rotation = Rotation::new(store, keys, &issuer)?;
        Ok(Self {
            refresh: RefreshEndpoint::new(&rotation),
            rotation,
            devices: Devices::new(store),
            jwks: JwksEndpoint::new(issuer.keys()),
            verify: verify().build()?,
            verify_if_any: verify().optional().build()?,
            not_revoked: BlacklistLayer::new(store),
        })
    }

    /// The first pair of a login, for `POST /token`.
    pub async fn login(
        &self,
        credentials: &Credentials,
        headers: &HeaderMap,
    ) -> Result<Response<Bytes>, Rejection> {
        // RFC 6749 §5.2 has this one name for everything that is wrong with a password.
        let wrong = || Rejection::new(RejectionKind::InvalidGrant).code("wrong_password");
        let began = self.rotation.auth_start().await?;
        let login = credentials.for_tokens().ok_or_else(wrong)?;
        let agent = headers
            .get(USER_AGENT)
            .and_then(|value| value.to_str().ok());
        let login = login
            .user_agent(agent.unwrap_or("unknown"))
            .not_before(began);
        Ok(self.refresh.answer(&self.rotation.issue(&login).await?))
    }

    /// Ends the login of an access token: its refresh token and all its access tokens.
    pub async fn logout(&self, token: &VerifiedToken) -> Result<(), Rejection> {
        let (tenant, user) = (token.tenant().unwrap_or_default(), of(token)?);
        let device = token.sid().ok_or(RejectionKind::Forbidden)?;
        self.devices.revoke(tenant, user, device).await?;
        Ok(())
    }

    /// Ends all logins of the user, by sessions and by tokens.
    pub async fn logout_everywhere(&self, tenant: &str, user: &str) -> Result<(), Rejection> {
        self.devices.revoke_all(tenant, user).await?;
        Ok(())
    }

    /// Where the user is signed in.
    pub async fn devices(&self, caller: &Caller) -> Result<Value, Rejection> {
        let Caller { tenant, user, sid } = caller;
        let devices = self.devices.list(tenant, user, sid.as_deref()).await?;
        Ok(devices.iter().map(describe).collect())
    }

    /// Ends one device of the user; says whether it was one.
    pub async fn revoke(&self, caller: &Caller, device: &str) -> Result<bool, Rejection> {
        let Caller { tenant, user, .. } = caller;
        Ok(self.devices.revoke(tenant, user, device).await?)
    }
}

/// Whoever asks about their devices: a program by its access token, or else a browser by its session.
pub struct Caller {
    tenant: String,
    user: String,
    sid: Option<String>,
}

impl Caller {
    /// A token that was sent counts, whoever the cookie beside it belongs to. A real service may also want a scope of it.
    pub async fn new(token: Option<&VerifiedToken>, session: &Session) -> Result<Self, Rejection> {
        if let Some(token) = token {
            return Ok(Self {
                tenant: token.tenant().unwrap_or_default().to_owned(),
                user: of(token)?.to_owned(),
                sid: token.sid().map(str::to_owned),
            });
        }
        let user: Option<User> = session.user().await?;
        let user = user.ok_or(RejectionKind::LoginRequired)?;
        Ok(Self {
            tenant: user.tenant().to_owned(),
            user: user.id().to_owned(),
            sid: Some(user.sid().to_owned()),
        })
    }

    /// Whether this is the device that asks.
    pub fn is_on(&self, device: &str) -> bool {
        self.sid.as_deref() == Some(device)
    }
}

/// The user of a token: a client that acts on its own behalf is none, whatever its name (RFC 9700 §4.15).
pub fn of(token: &VerifiedToken) -> Result<&str, Rejection> {
    token.user().ok_or_else(|| RejectionKind::Forbidden.into())
}

fn describe(device: &Device) -> Value {
    json!({
        "id": device.sid(),
        "user_agent": device.user_agent(),
        "signed_in_ms": device.created_ms(),
        "last_used_ms": device.last_used_ms(),
        "current": device.is_current(),
    })
}
