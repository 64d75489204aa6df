//! Sessions in an axum service: `cargo run --example axum`, then open the page or run the `curl` lines it prints.
//!
//! | variable | default |
//! |---|---|
//! | `BIND` | `127.0.0.1:3000` |
//! | `REDIS_URL` | none: sessions in the memory of the process |
//! | `PORTCULLIS_SECRET` | a random one, for this process alone |

#[path = "shared/mod.rs"]
mod shared;

use std::{error::Error, time::Duration};

use axum::{
    Form, Json, Router,
    extract::{FromRequest, Query, Request, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use portcullis::{
    Rejection, RejectionKind,
    cutoff::Cutoffs,
    session::{Session, SessionError, User},
};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{Credentials, Key, LONGEST_DELAY_MS, Write};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    shared::log();
    let listener = shared::listener().await?;
    let address = listener.local_addr()?;
    let store = shared::store().await?;
    let sessions = shared::sessions(&store, &shared::keys()?, address)?;

    let app = Router::new()
        .route("/", get(page))
        .route("/login", post(login))
        .route("/me", get(me))
        .route("/logout", post(logout))
        .route("/logout-everywhere", post(logout_everywhere))
        .route("/counter", get(counter))
        .route("/set", post(set))
        .route("/get", get(read))
        .with_state(Cutoffs::new(&store))
        // Around the routes added so far.
        .layer(sessions)
        .route("/healthz", get(|| async { "ok\n" }));

    shared::announce(address);
    axum::serve(listener, app)
        .with_graceful_shutdown(shared::asked_to_end())
        .await?;
    Ok(())
}

/// The password first, then `session.login`: it moves the session to a new id, so an id that somebody planted before is
/// worth nothing afterwards.
async fn login(
    session: Session,
    Input { form, value }: Input<Credentials>,
) -> Result<Response, Rejection> {
    let Some(login) = value.check() else {
        let text = "wrong user name or password";
        if form {
            return Ok((StatusCode::UNAUTHORIZED, html(&sign_in(text))).into_response());
        }
        let rejection = Rejection::new(RejectionKind::LoginRequired);
        return Err(rejection.code("wrong_password").detail(text));
    };
    let user = session.login(login).await?;
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

/// The cutoff ends all sessions of the user, this one too; `destroy` also removes its cookie.
async fn logout_everywhere(
    State(cutoffs): State<Cutoffs>,
    user: User,
    session: Session,
    headers: HeaderMap,
) -> Result<Response, Rejection> {
    let cut = cutoffs.user(user.tenant(), user.id()).await;
    cut.map_err(SessionError::from)?;
    session.destroy().await?;
    Ok(home_or(is_form(&headers), StatusCode::NO_CONTENT))
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
