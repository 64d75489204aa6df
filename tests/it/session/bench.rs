//! An application in this process, over each kind of store, and a browser in front of it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Path,
    http::{HeaderMap, Method, Request, Response, StatusCode, header},
    routing::{get, post},
};
use portcullis::{
    Clock, KeyRing, Rejection, Store,
    session::{Login, SaveOutcome, Session, SessionLayer, SessionLayerBuilder, User},
};
use tokio::sync::Notify;
use tower::ServiceExt;

use crate::means::redis::RedisServer;

pub const SECRET: &str = "a secret of at least thirty-two bytes";

pub fn keys() -> KeyRing {
    KeyRing::new(SECRET).unwrap()
}

/// A store of each kind, with what keeps it alive.
pub struct Backend {
    pub name: &'static str,
    pub store: Store,
    /// The second node of the same service.
    pub other: Store,
    pub server: Option<RedisServer>,
    /// The in-memory store's time.
    pub clock: Clock,
}

pub async fn memory() -> Backend {
    let clock = Clock::settable(1_700_000_000_000);
    let store = Store::builder().clock(clock.clone()).memory();
    Backend {
        name: "memory",
        other: store.clone(),
        store,
        server: None,
        clock,
    }
}

pub async fn redis() -> Backend {
    let server = RedisServer::start().await;
    let store = Store::connect(&server.url()).await.unwrap();
    let other = Store::connect(&server.url()).await.unwrap();
    Backend {
        name: "redis",
        store,
        other,
        server: Some(server),
        clock: Clock::system(),
    }
}

pub async fn both() -> [Backend; 2] {
    [memory().await, redis().await]
}

/// The service of one node.
#[derive(Clone)]
pub struct App(Router);

async fn login(session: Session, Path(user): Path<String>) -> Result<String, Rejection> {
    Ok(session.login(Login::new(user)).await?.sid().to_owned())
}

async fn me(user: Option<User>) -> (StatusCode, String) {
    match user {
        Some(user) => (StatusCode::OK, user.id().to_owned()),
        None => (StatusCode::UNAUTHORIZED, String::new()),
    }
}

async fn set(
    session: Session,
    Path((name, value)): Path<(String, String)>,
) -> Result<(), Rejection> {
    Ok(session.insert(&name, &value).await?)
}

async fn read(session: Session, Path(name): Path<String>) -> Result<String, Rejection> {
    Ok(session.get::<String>(&name).await?.unwrap_or_default())
}

async fn unset(session: Session, Path(name): Path<String>) -> Result<String, Rejection> {
    Ok(session.remove(&name).await?.to_string())
}

async fn logout(session: Session) -> Result<(), Rejection> {
    Ok(session.destroy().await?)
}

async fn renew(session: Session) -> Result<(), Rejection> {
    Ok(session.renew().await?)
}

async fn clear(session: Session) -> Result<(), Rejection> {
    Ok(session.clear().await?)
}

/// Reads, so that the save of what follows is of a session that was there.
async fn slow(
    session: Session,
    Path((name, value)): Path<(String, String)>,
) -> Result<(), Rejection> {
    let _ = session.exists().await?;
    Ok(session.insert(&name, &value).await?)
}

async fn fail(session: Session) -> Result<StatusCode, Rejection> {
    session.insert("failed", &true).await?;
    Ok(StatusCode::INTERNAL_SERVER_ERROR)
}

async fn in_and_out(session: Session) -> Result<(), Rejection> {
    session.login(Login::new("alice")).await?;
    Ok(session.destroy().await?)
}

async fn out_and_flash(session: Session) -> Result<(), Rejection> {
    session.destroy().await?;
    Ok(session.insert("flash", "good bye").await?)
}

async fn remember(session: Session) -> Result<(), Rejection> {
    session.login(Login::new("alice").remember_me(true)).await?;
    Ok(())
}

impl App {
    pub fn new(store: &Store) -> Self {
        Self::with(SessionLayer::builder(store, &keys()))
    }

    pub fn with(layer: SessionLayerBuilder) -> Self {
        Self::behind(layer.build().unwrap())
    }

    pub fn behind(layer: SessionLayer) -> Self {
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/login/{user}", post(login))
            .route("/me", get(me))
            .route("/set/{name}/{value}", post(set))
            .route("/slow/{name}/{value}", post(slow))
            .route("/get/{name}", get(read))
            .route("/unset/{name}", post(unset))
            .route("/logout", post(logout))
            .route("/renew", post(renew))
            .route("/clear", post(clear))
            .route("/fail", post(fail))
            .route("/in-and-out", post(in_and_out))
            .route("/out-and-flash", post(out_and_flash))
            .route("/remember", post(remember))
            .layer(layer);
        Self(router)
    }

    pub fn of(router: Router) -> Self {
        Self(router)
    }

    pub async fn call(&self, request: Request<Body>) -> Answer {
        Answer::of(self.0.clone().oneshot(request).await.unwrap()).await
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub outcome: Option<SaveOutcome>,
    pub text: String,
}

impl Answer {
    async fn of(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, 1 << 20).await.unwrap();
        Self {
            status: head.status,
            headers: head.headers,
            outcome: head.extensions.get().copied(),
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub fn set_cookies(&self) -> Vec<String> {
        let lines = self.headers.get_all(header::SET_COOKIE).iter();
        lines
            .map(|line| line.to_str().unwrap().to_owned())
            .collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A browser: keeps cookies; clones are other tabs, or thieves.
#[derive(Clone)]
pub struct Browser {
    pub app: App,
    jar: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Browser {
    pub fn new(app: &App) -> Self {
        Self {
            app: app.clone(),
            jar: Arc::default(),
        }
    }

    /// With the cookies of now, and its own from then on, at another node.
    pub fn copy_at(&self, app: &App) -> Self {
        Self {
            app: app.clone(),
            jar: Arc::new(Mutex::new(self.jar.lock().unwrap().clone())),
        }
    }

    pub fn cookie_header(&self) -> Option<String> {
        let jar = self.jar.lock().unwrap();
        let pairs: Vec<_> = jar
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path).await
    }

    pub async fn post(&self, path: &str) -> Answer {
        self.send(Method::POST, path).await
    }

    pub async fn post_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send_with(Method::POST, path, headers).await
    }

    async fn send(&self, method: Method, path: &str) -> Answer {
        self.send_with(method, path, &[]).await
    }

    async fn send_with(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(cookies) = self.cookie_header() {
            request = request.header(header::COOKIE, cookies);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.app.call(request.body(Body::empty()).unwrap()).await;
        for line in answer.set_cookies() {
            self.keep(&line);
        }
        answer
    }

    fn keep(&self, line: &str) {
        let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
        let (name, value) = pair.split_once('=').unwrap();
        let mut jar = self.jar.lock().unwrap();
        if attributes.contains("Max-Age=0") {
            jar.remove(name);
        } else {
            jar.insert(name.to_owned(), value.to_owned());
        }
    }

    pub async fn is_logged_in(&self) -> bool {
        let answer = self.get("/me").await;
        assert!([200, 401].contains(&answer.status.as_u16()), "{answer:?}");
        answer.status == StatusCode::OK
    }
}

/// Holds back the first call of an operation until told to go on.
pub struct Held {
    state: Arc<HeldState>,
}

#[derive(Default)]
struct HeldState {
    caught: AtomicBool,
    reached: Notify,
    resume: Notify,
}

pub fn hold(store: &Store, operation: &'static str) -> Held {
    let state = Arc::new(HeldState::default());
    let shared = Arc::clone(&state);
    store.pause_before(move |name| {
        let state = Arc::clone(&shared);
        async move {
            if name == operation && !state.caught.swap(true, Ordering::SeqCst) {
                state.reached.notify_one();
                state.resume.notified().await;
            }
        }
    });
    Held { state }
}

impl Held {
    pub async fn reached(&self) {
        tokio::time::timeout(Duration::from_secs(10), self.state.reached.notified())
            .await
            .expect("the operation is sent");
    }

    pub fn resume(&self) {
        self.state.resume.notify_one();
    }
}
