//! `RequireLoginLayer`, `RequireLayer`, and layers in the wrong order.

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
    routing::{get, post},
};
use portcullis::{
    Rejection, RejectionKind, Store,
    session::{Login, RequireLayer, RequireLoginLayer, Session, SessionLayer},
};
use tower::ServiceExt;

use super::bench::{App, Browser, keys, memory};
use crate::means::{redis::RedisServer, wait::until};

async fn login(session: Session) -> Result<(), Rejection> {
    session.insert("role", "admin").await?;
    session.login(Login::new("alice")).await?;
    Ok(())
}

async fn login_plain(session: Session) -> Result<(), Rejection> {
    session.login(Login::new("bob")).await?;
    Ok(())
}

fn app(store: &Store) -> App {
    let members = Router::new()
        .route("/page", get(async || "page"))
        .layer(RequireLoginLayer::redirect_to("/login").unwrap());
    let admins = Router::new()
        .route("/admin", get(async || "admin"))
        .layer(RequireLayer::new(|view| {
            view.get::<String>("role").as_deref() == Some("admin")
        }));
    let router = Router::new()
        .route("/login", post(login))
        .route("/login/plain", post(login_plain))
        .merge(members)
        .merge(admins)
        .layer(SessionLayer::new(store, &keys()));
    App::of(router)
}

/// Fails if: the predicate is not asked, or visitors and users are confused.
#[tokio::test]
async fn visitors_get_401_users_without_the_role_403() {
    let app = app(&memory().await.store);
    let (admin, plain, visitor) = (Browser::new(&app), Browser::new(&app), Browser::new(&app));
    admin.post("/login").await;
    plain.post("/login/plain").await;
    assert_eq!(visitor.get("/admin").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(plain.get("/admin").await.status, StatusCode::FORBIDDEN);
    assert_eq!(admin.get("/admin").await.text, "admin");
    assert_eq!(visitor.get("/page").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(plain.get("/page").await.text, "page");
}

/// R123: browsers on their way to a page are sent to the login with 303; scripts and gRPC get their own refusal.
#[tokio::test]
async fn pages_redirect_and_everything_else_is_refused() {
    let app = app(&memory().await.store);
    let send = async |accept: &str, content_type: &str| {
        let request = Request::get("/page")
            .header(header::ACCEPT, accept)
            .header(header::CONTENT_TYPE, content_type);
        app.call(request.body(Body::empty()).unwrap()).await
    };
    let page = send("text/html,application/xhtml+xml", "").await;
    assert_eq!(
        (page.status, page.header("location")),
        (StatusCode::SEE_OTHER, Some("/login"))
    );
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let script = send("application/json", "").await;
    assert_eq!(script.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        script.header("content-type"),
        Some("application/problem+json")
    );
    let grpc = send("text/html", "application/grpc").await;
    assert_eq!(
        (grpc.status, grpc.header("grpc-status")),
        (StatusCode::OK, Some("16"))
    );
}

/// A layer that is missing or in the wrong order refuses loudly, and never passes.
#[tokio::test]
async fn a_missing_session_layer_is_an_internal_error() {
    for router in [
        Router::new()
            .route("/", get(async || "reached"))
            .layer(RequireLoginLayer::new()),
        Router::new().route("/", get(async |_: Session| "reached")),
        Router::new().route(
            "/",
            get(async |_: Option<portcullis::session::User>| "reached"),
        ),
        // axum adds layers from the inside out: here the guard is outside.
        Router::new()
            .route("/", get(async || "reached"))
            .layer(SessionLayer::new(&memory().await.store, &keys()))
            .layer(RequireLoginLayer::new()),
    ] {
        let request = Request::get("/").body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let rejection = response
            .extensions()
            .get::<Rejection>()
            .expect("its reason");
        assert_eq!(rejection.kind(), RejectionKind::Internal);
        assert_eq!(rejection.reason_code(), "session_layer_missing");
    }
}

/// An outage is no logout: 503 for those who ask, the cookie stays, everybody else is served.
///
/// Fails if: a guard or an optional extractor takes "could not say" for "nobody".
#[tokio::test]
async fn an_outage_is_neither_a_logout_nor_a_pass() {
    let mut server = RedisServer::start().await;
    let store = Store::connect(&server.url()).await.unwrap();
    let guarded = app(&store);
    let plain = App::new(&store);
    let (admin, user) = (Browser::new(&guarded), Browser::new(&plain));
    admin.post("/login").await;
    user.post("/login/alice").await;
    server.kill();
    for answer in [
        admin.get("/admin").await,
        admin.get("/page").await,
        user.get("/me").await,
        user.get("/get/x").await,
        user.post("/set/x/1").await,
        user.post("/login/alice").await,
        user.post("/renew").await,
        user.post("/logout").await,
    ] {
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(answer.set_cookies().is_empty());
        assert!(
            !answer.text.contains("127.0.0.1") && !answer.text.to_lowercase().contains("redis")
        );
    }
    assert_eq!(user.get("/").await.status, StatusCode::OK);
    assert_eq!(
        Browser::new(&plain).get("/me").await.status,
        StatusCode::UNAUTHORIZED
    );
    assert!(user.cookie_header().is_some());
    server.restart().await;
    until("the store works again", || async {
        let status = user.post("/login/alice").await.status;
        (status == StatusCode::OK).then_some(())
    })
    .await;
}
