//! The ready-made endpoints, over HTTP on a loopback address, on both stores.

mod adopt;
mod binding;
mod cookie;
mod examples;
mod fresh;
mod introspect;
mod introspect_refresh;
mod jwks;
mod readme;
mod refresh;
mod revoke;
mod strip;

use axum::{
    Extension, Router,
    routing::{any, get},
};
use portcullis::{
    Clock, KeyRing, Store,
    endpoint::{
        Client as KnownClient, IntrospectionEndpoint, JwksEndpoint, RefreshEndpoint,
        RevocationEndpoint,
    },
    frameworks::axum::endpoint,
    jwt::{Issuer, IssuerKeys, JwtAlgorithm, JwtVerifyLayer, NoClaims, SigningKey},
    refresh::{RefreshLogin, Rotation, RotationBuilder, TokenPair},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::means::{
    http::{Answer, Client},
    proxy::Proxy,
    redis::RedisServer,
};

/// One service with all endpoints, and what is behind it.
pub struct Bench {
    pub name: &'static str,
    pub store: Store,
    pub rotation: Rotation,
    pub keys: IssuerKeys,
    pub clock: Clock,
    base: String,
    proxy: Option<Proxy>,
    server: Option<RedisServer>,
}

const SECRET: &str = "a secret of at least thirty-two bytes";

impl Bench {
    pub async fn both() -> [Self; 2] {
        Self::both_with(|rotation| rotation).await
    }

    pub async fn both_with(settings: impl Fn(RotationBuilder) -> RotationBuilder) -> [Self; 2] {
        [
            Self::memory_with(&settings).await,
            Self::redis_with(&settings).await,
        ]
    }

    pub async fn memory_with(settings: impl Fn(RotationBuilder) -> RotationBuilder) -> Self {
        let clock = Clock::settable(Clock::system().now_millis());
        let store = Store::builder().clock(clock.clone()).memory();
        Self::of("memory", store, clock, settings, None).await
    }

    pub async fn redis_with(settings: impl Fn(RotationBuilder) -> RotationBuilder) -> Self {
        let server = RedisServer::start().await;
        let proxy = Proxy::start(server.port());
        let store = Store::connect(&proxy.url()).await.unwrap();
        Self::of(
            "redis",
            store,
            Clock::system(),
            settings,
            Some((proxy, server)),
        )
        .await
    }

    async fn of(
        name: &'static str,
        store: Store,
        clock: Clock,
        settings: impl Fn(RotationBuilder) -> RotationBuilder,
        server: Option<(Proxy, RedisServer)>,
    ) -> Self {
        let key = SigningKey::generate(JwtAlgorithm::Es256).unwrap();
        let keys = IssuerKeys::new(key.kid("first").unwrap()).unwrap();
        let issuer = Issuer::new(&keys, "https://id.example").audience("api");
        let issuer = issuer.clock(clock.clone()).build().unwrap();
        let layer = JwtVerifyLayer::<NoClaims>::new(keys.verification_keys())
            .issuer("https://id.example")
            .audience("api")
            .audience("https://a.example")
            .audience("https://b.example")
            .clock(clock.clone())
            .build()
            .unwrap();
        let ring = KeyRing::new(SECRET).unwrap();
        let rotation = settings(Rotation::builder(&store, &ring, &issuer)).build();
        let rotation = rotation.unwrap();
        let base = serve(app(&store, &rotation, &layer, &keys)).await;
        let (proxy, server) = server.unzip();
        Self {
            name,
            store,
            rotation,
            keys,
            clock,
            base,
            proxy,
            server,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub async fn login(&self, user: &str) -> TokenPair {
        let login = RefreshLogin::new(user)
            .client("web")
            .scope("read write")
            .resource("https://a.example https://b.example");
        self.rotation.issue(&login).await.unwrap()
    }

    pub async fn refresh(&self, body: &Value) -> Answer {
        let url = self.url("/token/refresh");
        Client::new().post_json(&url, body).await
    }

    pub async fn refresh_token(&self, token: &str) -> Answer {
        let body = json!({ "refresh_token": token, "client_id": "web" });
        self.refresh(&body).await
    }

    pub async fn introspect(&self, token: &str) -> Value {
        let url = self.url("/introspect");
        let answer = Client::new().post_form(&url, &[("token", token)]).await;
        assert_eq!(answer.status, 200, "{}", self.name);
        assert_eq!(answer.header("cache-control"), "no-store");
        answer.json()
    }

    pub async fn is_active(&self, token: &str) -> bool {
        self.introspect(token).await["active"] == true
    }

    pub fn server(&self) -> &RedisServer {
        self.server.as_ref().expect("on Redis")
    }

    /// Nobody answers any more; `false` if there is nobody who could.
    pub async fn outage(&self) -> bool {
        let Some(proxy) = &self.proxy else {
            return false;
        };
        proxy.refuse(true);
        proxy.reset_all().await;
        true
    }

    pub fn end_outage(&self) {
        if let Some(proxy) = &self.proxy {
            proxy.refuse(false);
        }
    }

    /// How many turns with the server it takes; `None` without one.
    pub async fn turns<T>(&self, action: impl Future<Output = T>) -> (Option<usize>, T) {
        match &self.proxy {
            Some(proxy) => {
                let (turns, outcome) = proxy.turns_of(action).await;
                (Some(turns), outcome)
            }
            None => (None, action.await),
        }
    }
}

fn app(
    store: &Store,
    rotation: &Rotation,
    layer: &JwtVerifyLayer<NoClaims>,
    keys: &IssuerKeys,
) -> Router {
    let refresh = RefreshEndpoint::new(rotation);
    let cookie = RefreshEndpoint::in_cookie(rotation);
    let cookie = cookie.insecure_plain_http().build().unwrap();
    let introspection = IntrospectionEndpoint::new(store, layer).refresh_tokens(rotation);
    let revocation = RevocationEndpoint::new(rotation, layer);
    let logins = (rotation.clone(), cookie.clone());
    // `any`, so that the endpoints' own word on methods is heard.
    Router::new()
        .route("/token/refresh", any(endpoint(&refresh)))
        .route("/token/logout", any(endpoint(&refresh.logout())))
        .route("/cookie/refresh", any(endpoint(&cookie)))
        .route("/cookie/logout", any(endpoint(&cookie.logout())))
        .route(
            "/cookie/login",
            any(async move || {
                let (rotation, cookie) = logins;
                let pair = rotation.issue(&RefreshLogin::new("alice")).await.unwrap();
                cookie.answer(&pair).map(axum::body::Body::from)
            }),
        )
        .route("/revoke", any(endpoint(&revocation)))
        .route(
            "/revoke/as/mobile",
            any(endpoint(&revocation)).layer(Extension(KnownClient::new("mobile"))),
        )
        .route(
            "/revoke/as/web",
            any(endpoint(&revocation)).layer(Extension(KnownClient::new("web"))),
        )
        .route(
            "/token/refresh/as/web",
            any(endpoint(&refresh)).layer(Extension(KnownClient::new("web"))),
        )
        .route("/introspect", any(endpoint(&introspection)))
        .route(
            "/introspect/access",
            any(endpoint(&IntrospectionEndpoint::new(store, layer))),
        )
        .route(
            "/introspect/as/mobile",
            any(endpoint(&introspection)).layer(Extension(KnownClient::new("mobile"))),
        )
        .route(
            "/introspect/as/web",
            any(endpoint(&introspection)).layer(Extension(KnownClient::new("web"))),
        )
        .route("/jwks", get(endpoint(&JwksEndpoint::new(keys))))
}

/// The address of a server that lives as long as the test.
pub async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

fn error(answer: &Answer) -> (u16, Value) {
    assert_eq!(answer.header("cache-control"), "no-store");
    (answer.status.as_u16(), answer.json())
}

fn refused(name: &str) -> (u16, Value) {
    (400, json!({ "error": name }))
}
