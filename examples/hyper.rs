//! The same service as `axum.rs` on plain hyper: `cargo run --example hyper`, then run the `curl` lines it prints.
//!
//! The layer is any Tower layer around any Tower service. Without extractors the session comes from the request's
//! extensions, and a refusal becomes a response through `DefaultRefuse`.

#[path = "shared/mod.rs"]
mod shared;

use std::{convert::Infallible, error::Error, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION},
    http::request,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use portcullis::{
    DefaultRefuse, Refuse, Rejection, RejectionKind,
    csrf::CsrfToken,
    endpoint::{Endpoint, LARGEST_BODY},
    jwt::VerifiedToken,
    session::{Session, SessionError, User},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shared::{
    Credentials, Key, LONGEST_DELAY_MS, Transfer, Write,
    tokens::{self, Caller, Tokens},
};
use tokio::net::TcpListener;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

type Reply = Response<Full<Bytes>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    shared::log();
    let listener = shared::listener().await?;
    let address = listener.local_addr()?;
    let store = shared::store().await?;
    let keys = shared::keys()?;
    let sessions = shared::sessions(&store, &keys, address)?;
    let tokens = Tokens::new(&store, &keys, None)?;

    let for_pages = tokens.clone();
    let pages = service_fn(move |request| pages(request, for_pages.clone()));
    let pages = sessions.clone().layer(pages);
    // A real service puts the CSRF layer around everything that changes something; here, the lines for curl stay short.
    let csrf = shared::csrf(&keys, address)?;
    let guarded = ServiceBuilder::new()
        .layer(sessions.clone())
        .layer(csrf.clone())
        .service(service_fn(guarded));
    // For both: whoever sends an access token and no cookie needs no further proof, browsers do.
    let for_devices = tokens.clone();
    let devices = ServiceBuilder::new()
        .layer(sessions)
        .layer(tokens.verify_if_any.clone())
        .layer(tokens.not_revoked.clone())
        .layer(csrf)
        .service(service_fn(move |request| {
            devices(request, for_devices.clone())
        }));
    // For programs: an access token in every request, and no cookies.
    let api = ServiceBuilder::new()
        .layer(tokens.verify.clone())
        .layer(tokens.not_revoked.clone())
        .service(service_fn(move |request| api(request, tokens.clone())));
    let app = service_fn(move |request: Request<Incoming>| {
        let (pages, guarded, api) = (pages.clone(), guarded.clone(), api.clone());
        let devices = devices.clone();
        async move {
            match request.uri().path() {
                "/csrf" | "/transfer" => guarded.oneshot(request).await,
                path if path.starts_with("/api/") => api.oneshot(request).await,
                "/devices/logout-others" => pages.oneshot(request).await,
                path if path.starts_with("/devices") => devices.oneshot(request).await,
                _ => pages.oneshot(request).await,
            }
        }
    });
    let app = TowerToHyperService::new(app);

    shared::announce(address);
    serve(listener, app).await;
    Ok(())
}

async fn serve<S>(listener: TcpListener, app: S)
where
    S: hyper::service::Service<Request<Incoming>, Response = Reply, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    let server = auto::Builder::new(TokioExecutor::new());
    let graceful = GracefulShutdown::new();
    let mut end = std::pin::pin!(shared::asked_to_end());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, mostly: without the pause this would spin until some are free.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let connection = server.serve_connection(TokioIo::new(stream), app.clone());
        let connection = graceful.watch(connection.into_owned());
        // A client that hangs up in the middle is its own affair.
        tokio::spawn(async move { drop(connection.await) });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// Why there is no ordinary answer.
enum Fault {
    Refused(Rejection),
    /// The request makes no sense.
    Bad(String),
}

async fn pages(request: Request<Incoming>, tokens: Tokens) -> Result<Reply, Infallible> {
    let (head, body) = request.into_parts();
    let answer = page(&head, body, &tokens).await;
    Ok(answer.unwrap_or_else(|fault| fault.answer(head)))
}

async fn guarded(request: Request<Incoming>) -> Result<Reply, Infallible> {
    let (head, body) = request.into_parts();
    let answer = of_this_site(&head, body).await;
    Ok(answer.unwrap_or_else(|fault| fault.answer(head)))
}

async fn devices(request: Request<Incoming>, tokens: Tokens) -> Result<Reply, Infallible> {
    let (head, _) = request.into_parts();
    let answer = device(&head, &tokens).await;
    Ok(answer.unwrap_or_else(|fault| fault.answer(head)))
}

async fn api(request: Request<Incoming>, tokens: Tokens) -> Result<Reply, Infallible> {
    let (head, _) = request.into_parts();
    let answer = program(&head, &tokens).await;
    Ok(answer.unwrap_or_else(|fault| fault.answer(head)))
}

async fn page(head: &request::Parts, body: Incoming, tokens: &Tokens) -> Result<Reply, Fault> {
    let session = head.extensions.get::<Session>();
    let session = session.expect("SessionLayer is around this service");
    match (&head.method, head.uri.path()) {
        (&Method::GET, "/") => Ok(status(
            StatusCode::OK,
            "the curl lines are in the terminal\n",
        )),
        (&Method::GET, "/healthz") => Ok(status(StatusCode::OK, "ok\n")),
        (&Method::POST, "/login") => login(session, head, body).await,
        (&Method::GET, "/me") => Ok(json(&json!({ "user": user(session).await?.id() }))),
        (&Method::POST, "/logout") => {
            session.destroy().await?;
            Ok(home_or(&head.headers, no_content()))
        }
        (&Method::POST, "/logout-everywhere") => {
            let user = user(session).await?;
            tokens.logout_everywhere(user.tenant(), user.id()).await?;
            session.destroy().await?;
            Ok(home_or(&head.headers, no_content()))
        }
        (&Method::POST, "/devices/logout-others") => {
            let ended = session.revoke_others().await?;
            Ok(home_or(&head.headers, json(&json!({ "ended": ended }))))
        }
        (&Method::POST, "/token") => {
            let credentials: Credentials = read_body(head, body).await?;
            let pair = tokens.login(&credentials, &head.headers).await?;
            Ok(pair.map(Full::new))
        }
        (&Method::POST, "/token/refresh") => {
            let body = Limited::new(body, LARGEST_BODY).collect().await;
            let body = body.map_err(|error| Fault::Bad(format!("{error}\n")))?;
            let answer = tokens.refresh.handle(head, &body.to_bytes()).await;
            Ok(answer.map(Full::new))
        }
        (&Method::GET, "/.well-known/jwks.json") => {
            Ok(tokens.jwks.handle(head, b"").await.map(Full::new))
        }
        (&Method::GET, "/counter") => counter(session).await,
        (&Method::POST, "/set") => set(session, read_body(head, body).await?).await,
        (&Method::GET, "/get") => get(session, head.uri.query().unwrap_or_default()).await,
        _ => Ok(status(StatusCode::NOT_FOUND, "not found\n")),
    }
}

/// Behind the CSRF layer: what changes something is only reached by requests of this site.
async fn of_this_site(head: &request::Parts, body: Incoming) -> Result<Reply, Fault> {
    let (session, token) = (
        head.extensions.get::<Session>(),
        head.extensions.get::<CsrfToken>(),
    );
    let session = session.expect("SessionLayer is around this service");
    let token = token.expect("CsrfLayer is around this service");
    match (&head.method, head.uri.path()) {
        (&Method::GET, "/csrf") => {
            let text = token.token().await.map_err(Rejection::from)?;
            let (header, field) = (token.header_name(), token.field_name());
            Ok(json(
                &json!({ "token": text, "header": header, "field": field }),
            ))
        }
        (&Method::POST, "/transfer") => {
            let user = user(session).await?;
            let Transfer { to, amount } = read_body(head, body).await?;
            Ok(json(
                &json!({ "from": user.id(), "to": to, "amount": amount }),
            ))
        }
        _ => Ok(status(StatusCode::NOT_FOUND, "not found\n")),
    }
}

/// Behind the layers that ask for a good access token.
async fn program(head: &request::Parts, tokens: &Tokens) -> Result<Reply, Fault> {
    let token = head.extensions.get::<VerifiedToken>();
    let token = token.expect("JwtVerifyLayer is around this service");
    let user = tokens::of(token)?;
    match (&head.method, head.uri.path()) {
        (&Method::GET, "/api/me") => Ok(json(&json!({ "sub": user, "jti": token.jti() }))),
        (&Method::POST, "/api/logout") => {
            tokens.logout(token).await?;
            Ok(no_content())
        }
        (&Method::POST, "/api/logout-everywhere") => {
            let tenant = token.tenant().unwrap_or_default();
            tokens.logout_everywhere(tenant, user).await?;
            Ok(no_content())
        }
        _ => Ok(status(StatusCode::NOT_FOUND, "not found\n")),
    }
}

/// Browsers and programs alike.
async fn device(head: &request::Parts, tokens: &Tokens) -> Result<Reply, Fault> {
    let session = head.extensions.get::<Session>();
    let session = session.expect("SessionLayer is around this service");
    let token = head.extensions.get::<VerifiedToken>();
    let caller = Caller::new(token, session).await?;
    match (&head.method, head.uri.path().strip_prefix("/devices")) {
        (&Method::GET, Some("")) => Ok(json(&tokens.devices(&caller).await?)),
        (&Method::DELETE, Some(path)) => {
            let id = path.trim_start_matches('/');
            // Also removes the cookie.
            if token.is_none() && caller.is_on(id) {
                session.destroy().await?;
                return Ok(no_content());
            }
            Ok(match tokens.revoke(&caller, id).await? {
                true => no_content(),
                false => status(StatusCode::NOT_FOUND, "not found\n"),
            })
        }
        _ => Ok(status(StatusCode::NOT_FOUND, "not found\n")),
    }
}

/// Whoever is signed in. `?` on an error of the session is 503: that the store cannot say is no logout.
async fn user(session: &Session) -> Result<User, Fault> {
    let nobody = || Rejection::new(RejectionKind::LoginRequired);
    Ok(session.user().await?.ok_or_else(nobody)?)
}

/// A password that is changed while it is being checked signs nobody in.
async fn login(session: &Session, head: &request::Parts, body: Incoming) -> Result<Reply, Fault> {
    let credentials: Credentials = read_body(head, body).await?;
    let began = session.auth_start().await?;
    let Some(login) = credentials.check() else {
        let rejection = Rejection::new(RejectionKind::LoginRequired).code("wrong_password");
        return Err(rejection.detail("wrong user name or password").into());
    };
    let user = session.login(login.not_before(began)).await?;
    let answer = json(&json!({ "user": user.id() }));
    Ok(home_or(&head.headers, answer))
}

async fn counter(session: &Session) -> Result<Reply, Fault> {
    // `/set` may have put anything here.
    let before: Option<Value> = session.get("counter").await?;
    let count = before.and_then(|count| count.as_u64()).unwrap_or(0);
    let count = count.saturating_add(1);
    session.insert("counter", &count).await?;
    Ok(json(&json!({ "counter": count })))
}

/// Reads, waits and writes, for trying races; the layer saves when this has returned.
async fn set(session: &Session, write: Write) -> Result<Reply, Fault> {
    let Key(key) = write.key;
    let before: Option<Value> = session.get(&key).await?;
    let delay = write.delay_ms.min(LONGEST_DELAY_MS);
    tokio::time::sleep(Duration::from_millis(delay)).await;
    session.insert(&key, &write.value).await?;
    Ok(json(
        &json!({ "key": key, "value": write.value, "before": before }),
    ))
}

async fn get(session: &Session, query: &str) -> Result<Reply, Fault> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let Some((_, key)) = pairs.find(|(name, _)| name == "key") else {
        return Err(Fault::Bad("which key?\n".to_owned()));
    };
    let value: Option<Value> = session.get(&key).await?;
    Ok(json(&json!({ "key": key, "value": value })))
}

/// A body in JSON or as a form; a megabyte is more than anybody here has to say.
async fn read_body<T: DeserializeOwned>(head: &request::Parts, body: Incoming) -> Result<T, Fault> {
    let body = Limited::new(body, 1 << 20).collect().await;
    let body = body.map_err(|error| Fault::Bad(format!("{error}\n")))?;
    let body = body.to_bytes();
    let value = if is_form(&head.headers) {
        let field = |(name, value)| (String::from(name), Value::String(String::from(value)));
        serde_json::from_value(form_urlencoded::parse(&body).map(field).collect())
    } else {
        serde_json::from_slice(&body)
    };
    value.map_err(|error| Fault::Bad(format!("{error}\n")))
}

fn is_form(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        value
            .as_bytes()
            .starts_with(b"application/x-www-form-urlencoded")
    })
}

/// Browsers that sent a form go back to the start, and with GET (303); programs get the answer.
fn home_or(headers: &HeaderMap, answer: Reply) -> Reply {
    if !is_form(headers) {
        return answer;
    }
    let mut reply = status(StatusCode::SEE_OTHER, "");
    let home = HeaderValue::from_static("/");
    reply.headers_mut().insert(LOCATION, home);
    reply
}

fn no_content() -> Reply {
    status(StatusCode::NO_CONTENT, "")
}

fn json(value: &Value) -> Reply {
    let mut reply = status(StatusCode::OK, value.to_string());
    let json = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(CONTENT_TYPE, json);
    reply
}

fn status(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(text.into()));
    *reply.status_mut() = status;
    reply
}

impl Fault {
    fn answer(self, head: request::Parts) -> Reply {
        match self {
            Self::Refused(rejection) => DefaultRefuse::new().refuse(head.into(), &rejection),
            Self::Bad(text) => status(StatusCode::BAD_REQUEST, text),
        }
    }
}

impl From<Rejection> for Fault {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

impl From<SessionError> for Fault {
    fn from(error: SessionError) -> Self {
        Self::Refused(error.into())
    }
}
