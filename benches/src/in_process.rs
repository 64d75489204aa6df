//! Stacks that are called without a socket or a router between.

use std::{
    convert::Infallible,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use criterion::{BatchSize, BenchmarkGroup, measurement::WallTime};
use http::{Request, Response, header};
use portcullis::{
    KeyRing, Store,
    blacklist::BlacklistLayer,
    csrf::CsrfLayer,
    jwt::{Grant, Issuer, JwtVerifyLayer, NoClaims},
    session::{Login, Session, SessionLayer},
};
use tokio::runtime::Runtime;
use tower::{Layer, Service, service_fn};

use crate::ours::{AUDIENCE, DEADLINE, ISSUER, rsa_key};

/// Where sessions and revocations are kept.
pub enum Where {
    Memory,
    Redis(String),
    /// Redis, and a replica of its revocations in the process.
    Near(String),
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Redis(_) => "Redis",
            Self::Near(_) => "near replica",
        })
    }
}

impl Where {
    pub async fn store(&self) -> Store {
        let (Self::Redis(url) | Self::Near(url)) = self else {
            return Store::memory();
        };
        let store = Store::builder().deadline(DEADLINE).connect(url).await;
        let store = store.expect("Redis");
        if let Self::Near(_) = self {
            let near = store.near().max_staleness(Duration::from_millis(500));
            assert!(near.start().expect("a replica").ready().await);
        }
        store
    }
}

/// All layers, and one user who is signed in.
pub struct App {
    pub sessions: SessionLayer,
    pub jwt: JwtVerifyLayer<NoClaims>,
    pub blacklist: BlacklistLayer,
    pub csrf: CsrfLayer,
    headers: Vec<(&'static str, String)>,
}

impl App {
    /// `fields`: how many fields the session has.
    pub async fn new(place: &Where, fields: usize) -> Self {
        let store = place.store().await;
        let keys = KeyRing::new("a secret of at least thirty-two bytes").expect("long enough");
        let sessions = SessionLayer::builder(&store, &keys).insecure_plain_http();
        let sessions = sessions.build().expect("settings");
        let issuer = Issuer::new(rsa_key(), ISSUER).audience(AUDIENCE).build();
        let issuer = issuer.expect("settings");
        let jwt = JwtVerifyLayer::new(issuer.keys().verification_keys())
            .issuer(ISSUER)
            .audience(AUDIENCE);
        let csrf = CsrfLayer::builder(&keys).insecure_plain_http();
        let (pair, sid) = sign_in(&sessions, "alice", fields).await;
        let grant = Grant::user("alice")
            .sid(sid)
            .scope("orders:read orders:write");
        let minted = issuer.mint(&grant).expect("a token");
        Self {
            sessions,
            jwt: jwt.build().expect("settings"),
            blacklist: BlacklistLayer::new(&store),
            csrf: csrf.build().expect("settings"),
            headers: vec![
                ("host", "localhost".to_owned()),
                ("cookie", pair),
                ("authorization", format!("Bearer {}", minted.token())),
                ("sec-fetch-site", "same-origin".to_owned()),
            ],
        }
    }

    /// The request of the user.
    pub fn request(&self) -> Request<String> {
        request("POST", &self.headers)
    }
}

pub fn request(method: &str, headers: &[(&'static str, String)]) -> Request<String> {
    let request = Request::builder().method(method).uri("/");
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, value)
    });
    request.body(String::new()).expect("a request")
}

/// Signs a user in and gives session cookie and `sid`.
pub async fn sign_in(sessions: &SessionLayer, user: &str, fields: usize) -> (String, String) {
    let mut service = sessions.layer(service_fn(async |request: Request<String>| {
        let session = Session::clone(request.extensions().get().expect("behind the layer"));
        let user = session.login(Login::new(request.body().clone())).await;
        session.insert("count", &0_u64).await.expect("the store");
        for field in 1..fields {
            let name = format!("field-{field}");
            session
                .insert(&name, &"x".repeat(48))
                .await
                .expect("the store");
        }
        let sid = user.expect("the store").sid().to_owned();
        Ok::<_, Infallible>(Response::new(sid))
    }));
    let request = Request::post("/").body(user.to_owned()).expect("a request");
    let response = service.call(request).await.expect("an answer");
    assert_eq!(response.status(), 200);
    let cookie = response.headers()[header::SET_COOKIE]
        .to_str()
        .expect("text");
    let pair = cookie.split(';').next().unwrap_or_default().to_owned();
    (pair, response.into_body())
}

/// The handler that everything is compared with.
pub async fn answer(_: Request<String>) -> Result<Response<String>, Infallible> {
    Ok(Response::new(String::new()))
}

pub async fn read_count(request: Request<String>) -> Result<Response<String>, Infallible> {
    let session: &Session = request.extensions().get().expect("behind the layer");
    let count = session.get::<u64>("count").await.expect("the store");
    assert!(count.is_some());
    answer(request).await
}

pub async fn write_count(request: Request<String>) -> Result<Response<String>, Infallible> {
    let session: &Session = request.extensions().get().expect("behind the layer");
    let count = session.get::<u64>("count").await.expect("the store");
    let next = count.expect("a session") + 1;
    session.insert("count", &next).await.expect("a number");
    answer(request).await
}

pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_millis() as u64
}

/// Measures `service`, with requests that are made beforehand.
pub fn bench<S>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    name: &str,
    service: S,
    request: impl Fn() -> Request<String>,
) where
    S: Service<Request<String>, Response = Response<String>, Error = Infallible> + Clone,
{
    group.bench_function(name, |bencher| {
        let make = || (service.clone(), request());
        let call = async |(mut service, request): (S, _)| {
            let response = service.call(request).await.expect("an answer");
            assert_eq!(response.status(), 200);
        };
        bencher
            .to_async(runtime)
            .iter_batched(make, call, BatchSize::SmallInput);
    });
}
