//! A small site behind the layers, on axum and on plain hyper, on loopback.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use portcullis::{
    KeyRing, Store,
    csrf::{CsrfFormLayer, CsrfLayer, CsrfToken},
    session::{Login, Session, SessionLayer},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tower::{Layer, Service, service_fn};

pub const SECRET: &str = "the secret of these tests, thirty-two bytes";

pub fn keys() -> KeyRing {
    KeyRing::new(SECRET).unwrap()
}

/// A running server; it ends with this value.
pub struct Site {
    pub url: String,
    pub port: u16,
    calls: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

/// The framework and the layer that a site is made with.
#[derive(Clone, Copy, Debug)]
pub enum On {
    Axum,
    AxumForms,
    Hyper,
    HyperForms,
}

pub const EVERYWHERE: [On; 4] = [On::Axum, On::AxumForms, On::Hyper, On::HyperForms];

impl Site {
    pub async fn start(on: On, csrf: CsrfLayer, store: &Store) -> Self {
        Self::start_with(on, csrf, store, &keys()).await
    }

    pub async fn start_with(on: On, csrf: CsrfLayer, store: &Store, keys: &KeyRing) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let calls = Arc::new(AtomicUsize::new(0));
        let sessions = SessionLayer::new(store, keys);
        let server = match on {
            On::Axum => axum_site(listener, csrf, sessions, &calls),
            On::AxumForms => axum_site(listener, csrf.form(), sessions, &calls),
            On::Hyper => hyper_site(listener, &csrf, &sessions, &calls),
            On::HyperForms => hyper_form_site(listener, &csrf.form(), &sessions, &calls),
        };
        Self {
            url: format!("http://127.0.0.1:{port}"),
            port,
            calls,
            server,
        }
    }

    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// How often the inner service was called.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn axum_site<L>(
    listener: TcpListener,
    csrf: L,
    sessions: SessionLayer,
    calls: &Arc<AtomicUsize>,
) -> JoinHandle<()>
where
    L: Layer<axum::routing::Route> + Clone + Send + Sync + 'static,
    L::Service: Service<axum::extract::Request, Response = axum::response::Response, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    <L::Service as Service<axum::extract::Request>>::Future: Send + 'static,
{
    let calls = Arc::clone(calls);
    let handler = move |token: CsrfToken, request: axum::extract::Request| {
        calls.fetch_add(1, Ordering::SeqCst);
        async move { answer(token, request).await.map(axum::body::Body::new) }
    };
    let app = axum::Router::new()
        .fallback(handler)
        .layer(csrf)
        .layer(sessions);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() })
}

fn hyper_site(
    listener: TcpListener,
    csrf: &CsrfLayer,
    sessions: &SessionLayer,
    calls: &Arc<AtomicUsize>,
) -> JoinHandle<()> {
    let inner = counted::<Incoming>(calls);
    serve(listener, sessions.layer(csrf.layer(inner)))
}

fn hyper_form_site(
    listener: TcpListener,
    csrf: &CsrfFormLayer,
    sessions: &SessionLayer,
    calls: &Arc<AtomicUsize>,
) -> JoinHandle<()> {
    let inner = counted::<portcullis::csrf::FormBody<Incoming>>(calls);
    serve(listener, sessions.layer(csrf.layer(inner)))
}

fn counted<B>(
    calls: &Arc<AtomicUsize>,
) -> impl Service<
    Request<B>,
    Response = Response<Full<Bytes>>,
    Error = Infallible,
    Future = impl Future + Send,
> + Clone
+ Send
+ 'static
where
    B: Body<Data = Bytes, Error: std::fmt::Debug> + Send + 'static,
{
    let calls = Arc::clone(calls);
    service_fn(move |request: Request<B>| {
        calls.fetch_add(1, Ordering::SeqCst);
        let token = request.extensions().get::<CsrfToken>().unwrap().clone();
        async move { Ok::<_, Infallible>(answer(token, request).await) }
    })
}

fn serve<S>(listener: TcpListener, service: S) -> JoinHandle<()>
where
    S: Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    })
}

/// The pages of the site. Everything that needs protection is a POST.
async fn answer<B>(token: CsrfToken, request: Request<B>) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let session = request.extensions().get::<Session>().unwrap().clone();
    let path = request.uri().path().to_owned();
    let text = match path.as_str() {
        "/token" => token.token().await.unwrap(),
        "/names" => format!("{} {}", token.header_name(), token.field_name()),
        "/visit" => visit(&session).await,
        "/visit-token" => visit(&session).await + &token.token().await.unwrap(),
        "/token-visit" => token.token().await.unwrap() + &visit(&session).await,
        "/login" => login(&session).await,
        "/login-token" => login(&session).await + &token.token().await.unwrap(),
        "/token-login" => token.token().await.unwrap() + &login(&session).await,
        "/renew" => session.renew().await.map(|()| String::new()).unwrap(),
        "/logout" => session.destroy().await.map(|()| String::new()).unwrap(),
        "/who" => format!(
            "{:?}",
            session
                .user()
                .await
                .unwrap()
                .map(|user| user.id().to_owned())
        ),
        "/echo" => return echo(request.into_body()).await,
        _ => "inner".to_owned(),
    };
    let mut response = Response::new(Full::from(text));
    if path.ends_with(".js") {
        let script = HeaderValue::from_static("text/javascript");
        response.headers_mut().insert(CONTENT_TYPE, script);
    }
    response
}

async fn visit(session: &Session) -> String {
    session.insert("visited", &true).await.unwrap();
    String::new()
}

async fn login(session: &Session) -> String {
    session.login(Login::new("alice")).await.unwrap();
    String::new()
}

/// The bytes of the request; its trailers come back as headers.
async fn echo<B: Body<Data = Bytes, Error: std::fmt::Debug>>(body: B) -> Response<Full<Bytes>> {
    let hint = body.size_hint().exact();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_else(HeaderMap::new);
    let mut response = Response::new(Full::new(collected.to_bytes()));
    response.headers_mut().extend(trailers);
    if let Some(length) = hint {
        response.headers_mut().insert("x-exact", length.into());
    }
    response
}
