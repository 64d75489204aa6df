//! Sessions and tokens in an axum service: `cargo run --example axum`, then open the page or run the `curl` lines it prints.
//!
//! | variable | default |
//! |---|---|
//! | `BIND` | `127.0.0.1:3000` |
//! | `REDIS_URL` | none: sessions in the memory of the process |
//! | `PORTCULLIS_SECRET` | a random one, for this process alone |
//! | `JWT_KEY` | a file with the key of the access tokens; a random one |

#[path = "shared/mod.rs"]
mod shared;

use std::{error::Error, time::Duration};

use axum::{
    Extension, Form, Json, Router,
    body::Body,
    extract::{FromRequest, Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{delete, get, post},
};
use portcullis::{
    Rejection, RejectionKind,
    csrf::CsrfToken,
    frameworks::axum::endpoint,
    jwt::VerifiedToken,
    session::{Session, User},
};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    Credentials, Key, LONGEST_DELAY_MS, Transfer, Write,
    tokens::{self, Caller, Tokens},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    shared::log();
    let listener = shared::listener().await?;
    let address = listener.local_addr()?;
    let store = shared::store().await?;
    let keys = shared::keys()?;
    let sessions = shared::sessions(&store, &keys, address)?;
    let tokens = Tokens::new(&store, &keys)?;

    // For programs: an access token in every request, and no cookies.
    let api = Router::new()
        .route("/me", get(api_me))
        .route("/logout", post(api_logout))
        .route("/logout-everywhere", post(api_logout_everywhere))
        .layer(tokens.not_revoked.clone())
        .layer(tokens.verify.clone());

    // A real service puts this layer around everything that changes something; here, the lines for curl stay short.
    let guarded = Router::new()
        .route("/csrf", get(csrf))
        .route("/transfer", post(transfer))
        .layer(shared::csrf(&keys, address)?);

    // For both: whoever sends an access token and no cookie needs no further proof, browsers do.
    let devices = Router::new()
        .route("/devices", get(devices))
        .route("/devices/{id}", delete(revoke_device))
        .layer(shared::csrf(&keys, address)?)
        .layer(tokens.not_revoked.clone())
        .layer(tokens.verify_if_any.clone());

    let app = Router::new()
        .route("/", get(page))
        .route("/login", post(login))
        .route("/me", get(me))
        .route("/logout", post(logout))
        .route("/logout-everywhere", post(logout_everywhere))
        .route("/counter", get(counter))
        .route("/set", post(set))
        .route("/get", get(read))
        .route("/devices/logout-others", post(logout_others))
        .merge(guarded)
        .merge(devices)
        // Around the routes added so far.
        .layer(sessions)
        .route("/token", post(token))
        .route("/token/refresh", post(endpoint(&tokens.refresh)))
        .route("/.well-known/jwks.json", get(endpoint(&tokens.jwks)))
        .nest("/api", api)
        .with_state(tokens)
        .route("/healthz", get(|| async { "ok\n" }));

    shared::announce(address);
    axum::serve(listener, app)
        .with_graceful_shutdown(shared::asked_to_end())
        .await?;
    Ok(())
}

/// The password first, then `session.login`: it moves the session to a new id, so an id that somebody planted before is
/// worth nothing afterwards. A password that is changed while it is being checked signs nobody in.
async fn login(
    session: Session,
    Input { form, value }: Input<Credentials>,
) -> Result<Response, Rejection> {
    let began = session.auth_start().await?;
    let Some(login) = value.check() else {
        let text = "wrong user name or password";
        if form {
            return Ok((StatusCode::UNAUTHORIZED, html(&sign_in(text))).into_response());
        }
        let rejection = Rejection::new(RejectionKind::LoginRequired);
        return Err(rejection.code("wrong_password").detail(text));
    };
    let user = session.login(login.not_before(began)).await?;
    let answer = Json(json!({ "user": user.id() }));
    Ok(home_or(form, answer))
}

/// The extractor refuses visitors with 401, and with 503 while the store cannot say who it is.
async fn me(user: User) -> Json<Value> {
    Json(json!({ "user": user.id() }))
}

/// When `destroy` has returned, no instance takes the session any more, and no request under way brings it back.
async fn logout(session: Session, headers: HeaderMap) -> Result<Response, Rejection> {
    session.destroy().await?;
    Ok(home_or(is_form(&headers), StatusCode::NO_CONTENT))
}

/// Ends all sessions and tokens of the user, this session too; `destroy` also removes its cookie.
async fn logout_everywhere(
    State(tokens): State<Tokens>,
    user: User,
    session: Session,
    headers: HeaderMap,
) -> Result<Response, Rejection> {
    tokens.logout_everywhere(user.tenant(), user.id()).await?;
    session.destroy().await?;
    Ok(home_or(is_form(&headers), StatusCode::NO_CONTENT))
}

/// For scripts: what to send, and in which header or form field.
async fn csrf(token: CsrfToken) -> Result<Json<Value>, Rejection> {
    let text = token.token().await?;
    Ok(Json(
        json!({ "token": text, "header": token.header_name(), "field": token.field_name() }),
    ))
}

/// Only reached by requests of this site.
async fn transfer(user: User, Json(transfer): Json<Transfer>) -> Json<Value> {
    Json(json!({ "from": user.id(), "to": transfer.to, "amount": transfer.amount }))
}

/// Browsers and programs alike.
async fn devices(
    State(tokens): State<Tokens>,
    token: Option<VerifiedToken>,
    session: Session,
) -> Result<Json<Value>, Rejection> {
    let caller = Caller::new(token.as_ref(), &session).await?;
    Ok(Json(tokens.devices(&caller).await?))
}

async fn revoke_device(
    State(tokens): State<Tokens>,
    token: Option<VerifiedToken>,
    session: Session,
    Path(id): Path<String>,
) -> Result<StatusCode, Rejection> {
    let caller = Caller::new(token.as_ref(), &session).await?;
    // Also removes the cookie.
    if token.is_none() && caller.is_on(&id) {
        session.destroy().await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    Ok(match tokens.revoke(&caller, &id).await? {
        true => StatusCode::NO_CONTENT,
        false => StatusCode::NOT_FOUND,
    })
}

/// This session goes on, under a new id.
async fn logout_others(session: Session, headers: HeaderMap) -> Result<Response, Rejection> {
    let ended = session.revoke_others().await?;
    Ok(home_or(is_form(&headers), Json(json!({ "ended": ended }))))
}

/// A pair of tokens for a password. Everything after it is `POST /token/refresh`, which is ready-made.
async fn token(
    State(tokens): State<Tokens>,
    headers: HeaderMap,
    Json(credentials): Json<Credentials>,
) -> Result<Response, Rejection> {
    let pair = tokens.login(&credentials, &headers).await?;
    Ok(pair.map(Body::from))
}

async fn api_me(Extension(token): Extension<VerifiedToken>) -> Result<Json<Value>, Rejection> {
    Ok(Json(
        json!({ "sub": tokens::of(&token)?, "jti": token.jti() }),
    ))
}

/// When this has returned, no instance takes the token any more, nor any other of its login.
async fn api_logout(
    State(tokens): State<Tokens>,
    Extension(token): Extension<VerifiedToken>,
) -> Result<StatusCode, Rejection> {
    tokens.logout(&token).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn api_logout_everywhere(
    State(tokens): State<Tokens>,
    Extension(token): Extension<VerifiedToken>,
) -> Result<StatusCode, Rejection> {
    let tenant = token.tenant().unwrap_or_default();
    tokens
        .logout_everywhere(tenant, tokens::of(&token)?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A visitor gets a session with the first field that is set, not before.
async fn counter(session: Session) -> Result<Json<Value>, Rejection> {
    // `/set` may have put anything here.
    let before: Option<Value> = session.get("counter").await?;
    let count = before.and_then(|count| count.as_u64()).unwrap_or(0);
    let count = count.saturating_add(1);
    session.insert("counter", &count).await?;
    Ok(Json(json!({ "counter": count })))
}

/// Reads, waits and writes, for trying races. Only `key` is written when the handler has answered, into whatever the
/// session holds by then; if it has been ended meanwhile, nothing is.
async fn set(session: Session, Json(write): Json<Write>) -> Result<Json<Value>, Rejection> {
    let Key(key) = write.key;
    let before: Option<Value> = session.get(&key).await?;
    let delay = write.delay_ms.min(LONGEST_DELAY_MS);
    tokio::time::sleep(Duration::from_millis(delay)).await;
    session.insert(&key, &write.value).await?;
    Ok(Json(
        json!({ "key": key, "value": write.value, "before": before }),
    ))
}

#[derive(Deserialize)]
struct Lookup {
    key: String,
}

async fn read(
    session: Session,
    Query(Lookup { key }): Query<Lookup>,
) -> Result<Json<Value>, Rejection> {
    let value: Option<Value> = session.get(&key).await?;
    Ok(Json(json!({ "key": key, "value": value })))
}

/// Three answers, not two: somebody, nobody, and "the store cannot say", which is no logout.
async fn page(session: Session) -> Response {
    match session.user().await {
        Ok(Some(user)) => html(&greeting(&user)).into_response(),
        Ok(None) => html(&sign_in("")).into_response(),
        Err(_) => {
            let text =
                "<p>The session store is away. You are not logged out: come back in a moment.</p>";
            (StatusCode::SERVICE_UNAVAILABLE, html(text)).into_response()
        }
    }
}

fn html(state: &str) -> Html<String> {
    Html(include_str!("page.html").replace("{state}", state))
}

fn greeting(user: &User) -> String {
    // The name is one of our own accounts; names that people chose would have to be escaped.
    let name = user.id();
    format!(
        r#"<p>Signed in as <strong>{name}</strong>.</p>
<form method="post" action="/logout"><button>Log out</button></form>
<form method="post" action="/devices/logout-others"><button>Log out other devices</button></form>
<form method="post" action="/logout-everywhere"><button>Log out on all devices</button></form>"#
    )
}

fn sign_in(problem: &str) -> String {
    format!(
        r#"<p>Not signed in: alice/wonderland and bob/builder are welcome. <strong>{problem}</strong></p>
<form method="post" action="/login">
  <input name="username" placeholder="user name" aria-label="user name" autocomplete="username" required autofocus>
  <input name="password" placeholder="password" aria-label="password" type="password" autocomplete="current-password" required>
  <button>Log in</button>
</form>"#
    )
}

/// Browsers that sent a form go back to the page, and with GET (303); programs get the answer.
fn home_or(form: bool, answer: impl IntoResponse) -> Response {
    if form {
        Redirect::to("/").into_response()
    } else {
        answer.into_response()
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        value
            .as_bytes()
            .starts_with(b"application/x-www-form-urlencoded")
    })
}

/// A body in JSON or as a form.
struct Input<T> {
    form: bool,
    value: T,
}

impl<S, T> FromRequest<S> for Input<T>
where
    S: Send + Sync,
    Form<T>: FromRequest<S, Rejection: IntoResponse>,
    Json<T>: FromRequest<S, Rejection: IntoResponse>,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let form = is_form(request.headers());
        let value = if form {
            let read = Form::from_request(request, state).await;
            read.map(|Form(value)| value)
                .map_err(IntoResponse::into_response)?
        } else {
            let read = Json::from_request(request, state).await;
            read.map(|Json(value)| value)
                .map_err(IntoResponse::into_response)?
        };
        Ok(Self { form, value })
    }
}
