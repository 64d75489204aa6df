//! The service of `auth.proto`, by hand, so that nothing has to be generated: a real one lets tonic-prost-build write the
//! messages and the routing.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request as HttpRequest,
    routing::{MethodRouter, post},
};
use portcullis::{
    ConfigError, KeyRing, Rejection, RejectionKind, Store, device,
    frameworks::tonic::RequestExt,
    jwt::{Issuer, VerifiedToken},
    refresh::{RefreshLogin, RefreshRequest, Rotation, TokenPair},
};
use prost::Message;
use tonic::{Request, Response, Status, server::Grpc};
use tonic_prost::ProstCodec;
use tower::service_fn;

const ACCOUNTS: [(&str, &str); 2] = [("alice", "wonderland"), ("bob", "builder")];

type Answer<T> = Result<Response<T>, Status>;

/// Pairs of tokens, and the devices on which they are used.
#[derive(Clone)]
pub(super) struct Auth(Arc<Inner>);

struct Inner {
    rotation: Rotation,
    devices: device::Devices,
    scope: &'static str,
}

impl Auth {
    /// Hands out tokens with this scope.
    pub(super) fn new(
        store: &Store,
        keys: &KeyRing,
        issuer: &Issuer,
        scope: &'static str,
    ) -> Result<Self, ConfigError> {
        Ok(Self(Arc::new(Inner {
            rotation: Rotation::new(store, keys, issuer)?,
            devices: device::Devices::new(store),
            scope,
        })))
    }

    /// For whoever has no access token yet, or none that is good any more.
    pub(super) fn open(&self) -> Router {
        let router = Router::new();
        let router = router.route("/portcullis.example.Auth/Login", self.unary(Self::login));
        router.route(
            "/portcullis.example.Auth/Refresh",
            self.unary(Self::refresh),
        )
    }

    /// Behind the layers that look at the access token.
    pub(super) fn guarded(&self) -> Router {
        Router::new()
            .route(
                "/portcullis.example.Auth/ListDevices",
                self.unary(Self::list),
            )
            .route(
                "/portcullis.example.Auth/RevokeDevice",
                self.unary(Self::revoke),
            )
            .route(
                "/portcullis.example.Auth/LogoutOthers",
                self.unary(Self::logout_others),
            )
            .route(
                "/portcullis.example.Auth/LogoutEverywhere",
                self.unary(Self::logout_everywhere),
            )
    }

    async fn login(self, request: Request<Credentials>) -> Answer<Tokens> {
        let agent = request.metadata().get("user-agent");
        let agent = agent.and_then(|agent| agent.to_str().ok());
        let agent = agent.unwrap_or("unknown").to_owned();
        let Credentials { username, password } = request.into_inner();
        // A password that is changed while it is being checked signs nobody in.
        let began = self.0.rotation.auth_start().await?;
        if !ACCOUNTS.contains(&(&username, &password)) {
            let wrong = Rejection::new(RejectionKind::LoginRequired).code("wrong_password");
            return Err(wrong.detail("wrong user name or password").into());
        }
        let login = RefreshLogin::new(username)
            .scope(self.0.scope)
            .user_agent(agent)
            .not_before(began);
        let pair = self.0.rotation.issue(&login).await?;
        Ok(Response::new(pair.into()))
    }

    async fn refresh(self, request: Request<RefreshToken>) -> Answer<Tokens> {
        let presented = &request.get_ref().refresh_token;
        let next = self.0.rotation.rotate(presented, RefreshRequest::new());
        Ok(Response::new(next.await?.into()))
    }

    async fn list(self, request: Request<Nothing>) -> Answer<Devices> {
        let token = request.verified_token()?;
        let (tenant, user) = owner(&token)?;
        let devices = self.0.devices.list(tenant, user, token.sid()).await?;
        let devices = devices.iter().map(Device::from).collect();
        Ok(Response::new(Devices { devices }))
    }

    async fn revoke(self, request: Request<DeviceId>) -> Answer<Ended> {
        let token = request.verified_token()?;
        let (tenant, user) = owner(&token)?;
        let id = &request.get_ref().id;
        match self.0.devices.revoke(tenant, user, id).await? {
            true => Ok(Response::new(Ended { devices: 1 })),
            false => Err(Status::not_found("no such device of yours")),
        }
    }

    async fn logout_others(self, request: Request<Nothing>) -> Answer<Ended> {
        let token = request.verified_token()?;
        let (tenant, user) = owner(&token)?;
        let this = token.sid().ok_or(RejectionKind::Forbidden)?;
        let devices = self.0.devices.revoke_others(tenant, user, this).await?;
        Ok(Response::new(Ended { devices }))
    }

    async fn logout_everywhere(self, request: Request<Nothing>) -> Answer<Ended> {
        let token = request.verified_token()?;
        let (tenant, user) = owner(&token)?;
        let devices = self.0.devices.revoke_all(tenant, user).await?;
        Ok(Response::new(Ended { devices }))
    }

    /// One message in, one message out.
    fn unary<In, Out, F>(
        &self,
        method: impl Fn(Self, Request<In>) -> F + Clone + Send + Sync + 'static,
    ) -> MethodRouter
    where
        In: Message + Default + 'static,
        Out: Message + 'static,
        F: Future<Output = Answer<Out>> + Send + 'static,
    {
        let auth = self.clone();
        let method = service_fn(move |request| method(auth.clone(), request));
        post(async move |request: HttpRequest| {
            let mut grpc = Grpc::new(ProstCodec::<Out, In>::default());
            grpc.unary(method, request).await
        })
    }
}

/// Tenant and name of the user: a client that acts on its own behalf has no devices.
fn owner(token: &VerifiedToken) -> Result<(&str, &str), Status> {
    let user = token.user().ok_or(RejectionKind::Forbidden)?;
    Ok((token.tenant().unwrap_or_default(), user))
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct Credentials {
    #[prost(string, tag = "1")]
    username: String,
    #[prost(string, tag = "2")]
    password: String,
}

#[derive(Clone, PartialEq, Message)]
struct RefreshToken {
    #[prost(string, tag = "1")]
    refresh_token: String,
}

#[derive(Clone, PartialEq, Message)]
struct Tokens {
    #[prost(string, tag = "1")]
    access_token: String,
    #[prost(string, tag = "2")]
    refresh_token: String,
    #[prost(uint64, tag = "3")]
    expires_in: u64,
}

#[derive(Clone, PartialEq, Message)]
struct DeviceId {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Device {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    user_agent: String,
    #[prost(uint64, tag = "3")]
    signed_in_ms: u64,
    #[prost(uint64, tag = "4")]
    last_used_ms: u64,
    #[prost(bool, tag = "5")]
    current: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Devices {
    #[prost(message, repeated, tag = "1")]
    devices: Vec<Device>,
}

#[derive(Clone, PartialEq, Message)]
struct Ended {
    #[prost(uint64, tag = "1")]
    devices: u64,
}

impl From<TokenPair> for Tokens {
    fn from(pair: TokenPair) -> Self {
        Self {
            access_token: pair.access().token().to_owned(),
            refresh_token: pair.refresh().to_owned(),
            expires_in: pair.access().expires_in(),
        }
    }
}

impl From<&device::Device> for Device {
    fn from(device: &device::Device) -> Self {
        Self {
            id: device.sid().to_owned(),
            user_agent: device.user_agent().unwrap_or_default().to_owned(),
            signed_in_ms: device.created_ms(),
            last_used_ms: device.last_used_ms(),
            current: device.is_current(),
        }
    }
}
