//! Routes that want a recent login, and the call that ends all others.

use std::time::Duration;

use axum::{
    Extension, Router,
    routing::{get, post},
};
use portcullis::{
    KeyRing, Rejection,
    jwt::{Grant, Issuer, JwtAlgorithm, JwtVerifyLayer, NoClaims, SigningKey, StepUpLayer},
    refresh::{RefreshLogin, RefreshRequest, Rotation},
    session::{Login, RequireFreshLoginLayer, Session, SessionLayer, User},
};
use serde_json::Value;

use super::{Bench, SECRET, serve};
use crate::means::http::{Answer, Client};

async fn login(session: Session, rotation: Extension<Rotation>) -> Result<String, Rejection> {
    let user = session.login(Login::new("alice")).await?;
    let login = RefreshLogin::new(user.id())
        .of_session(user.sid(), user.auth_ms())
        .signed_in_at(user.login_ms());
    Ok(rotation.issue(&login).await?.refresh().to_owned())
}

async fn others(session: Session) -> Result<String, Rejection> {
    Ok(session.revoke_others().await?.to_string())
}

async fn me(user: User) -> String {
    user.sid().to_owned()
}

/// The address of a service whose `/secret` wants a login of the last five minutes.
async fn app(bench: &Bench) -> String {
    let keys = KeyRing::new(SECRET).unwrap();
    let sessions = SessionLayer::builder(&bench.store, &keys).insecure_plain_http();
    let fresh = RequireFreshLoginLayer::within(Duration::from_secs(300));
    let page = fresh.clone().redirect_to("/confirm").unwrap();
    let app = Router::new()
        .route("/secret", get(me).layer(fresh))
        .route("/page", get(me).layer(page))
        .route("/me", get(me))
        .route("/login", post(login))
        .route("/others", post(others))
        .route(
            "/renew",
            post(async |session: Session| session.renew().await.map_err(Rejection::from)),
        )
        .layer(Extension(bench.rotation.clone()))
        .layer(sessions.build().unwrap());
    serve(app).await
}

fn code(answer: &Answer) -> (u16, Value) {
    (
        answer.status.as_u16(),
        answer.json::<Value>()["code"].clone(),
    )
}

// Fails if: an old login passes, a renewal or a sign-out of others makes it recent, a visitor is told another reason than
// that, or a browser is not sent to the page.
#[tokio::test]
async fn an_old_login_is_asked_for_again() {
    let bench = Bench::memory_with(|rotation| rotation).await;
    let base = app(&bench).await;
    let (client, url) = (Client::new(), |path: &str| format!("{base}{path}"));
    let visitor = code(&client.get(&url("/secret")).await);
    assert_eq!(visitor, (401, "login_required".into()));
    client.post(&url("/login")).await;
    bench.clock.advance(Duration::from_secs(300));
    assert_eq!(client.get(&url("/secret")).await.status, 200);
    bench.clock.advance(Duration::from_millis(1));
    let too_old = (401, "login_too_old".into());
    assert_eq!(code(&client.get(&url("/secret")).await), too_old);
    for path in ["/renew", "/others"] {
        assert_eq!(client.post(&url(path)).await.status, 200);
        assert_eq!(code(&client.get(&url("/secret")).await), too_old, "{path}");
    }
    let html = [("accept", "text/html")];
    let sent = client.get_with(&url("/page"), &html).await;
    assert_eq!(
        (sent.status.as_u16(), sent.header("location")),
        (303, "/confirm")
    );
    assert_eq!(client.get(&url("/me")).await.status, 200);
    client.post(&url("/login")).await;
    assert_eq!(client.get(&url("/secret")).await.status, 200);
}

// Fails if: another device survives, this one does not, keeps its old id, or its refresh token dies.
#[tokio::test]
async fn signing_others_out_keeps_this_device_under_a_new_id() {
    for bench in Bench::both().await {
        let base = app(&bench).await;
        let url = |path: &str| format!("{base}{path}");
        let (here, there) = (Client::new(), Client::new());
        let mine = here.post(&url("/login")).await.text();
        let theirs = there.post(&url("/login")).await.text();
        let copy = here.clone_cookies();
        let app_only = bench.login("alice").await;
        assert_eq!(
            here.post(&url("/others")).await.text(),
            "2",
            "{}",
            bench.name
        );
        assert_ne!(here.cookie("session"), copy.cookie("session"));
        let alive = async |client: &Client| client.get(&url("/me")).await.status.as_u16();
        assert_eq!(
            (alive(&here).await, alive(&there).await, alive(&copy).await),
            (200, 401, 401)
        );
        let rotate = async |token: &str, client: &'static str| {
            let request = RefreshRequest::new().client(client);
            bench.rotation.rotate(token, request).await.is_ok()
        };
        assert!(rotate(&mine, "").await);
        assert!(!rotate(&theirs, "").await && !rotate(app_only.refresh(), "web").await);
        // Twice is fine, and so is a change in the same request.
        assert_eq!(here.post(&url("/others")).await.text(), "0");
        assert_eq!(alive(&here).await, 200);
        let nobody = Client::new().post(&url("/others")).await;
        assert_eq!(nobody.status, 401);
    }
}

// Fails if: an access token says that the user has just signed in because it was refreshed, or because other devices were
// signed out (RFC 9470).
#[tokio::test]
async fn the_age_of_a_login_survives_refreshes_and_signing_others_out() {
    let key = SigningKey::generate(JwtAlgorithm::EdDsa).unwrap();
    let keys = KeyRing::new(SECRET).unwrap();
    for bench in Bench::both().await {
        let now = bench.clock.now_millis();
        let issuer = Issuer::new(key.clone(), "https://id.example").audience("api");
        let issuer = issuer.clock(bench.clock.clone()).build().unwrap();
        let layer = JwtVerifyLayer::<NoClaims>::new(key.verification_key())
            .issuer("https://id.example")
            .audience("api")
            .clock(bench.clock.clone())
            .build()
            .unwrap();
        let rotation = Rotation::new(&bench.store, &keys, &issuer).unwrap();
        let old = RefreshLogin::new("alice").signed_in_at(now - 3_600_000);
        let pair = rotation.issue(&old).await.unwrap();
        let devices = portcullis::device::Devices::new(&bench.store);
        devices
            .revoke_others("", "alice", pair.sid())
            .await
            .unwrap();
        let next = rotation
            .rotate(pair.refresh(), RefreshRequest::new())
            .await
            .unwrap();
        for token in [pair.access(), next.access()] {
            let (token, _) = layer.verify_at(token.token().as_bytes(), now).unwrap();
            let age = now - token.auth_time_ms().unwrap();
            assert!(
                (3_600_000..3_601_000).contains(&age),
                "{age} on {}",
                bench.name
            );
        }
    }
}

// Fails if: a method that was not used is taken for used, or the words of one are found in another.
#[test]
fn a_route_can_want_methods() {
    use http::{Request, Response};
    use tower::{Layer, ServiceExt, service_fn};
    let key = SigningKey::generate(JwtAlgorithm::EdDsa).unwrap();
    let layer = JwtVerifyLayer::<NoClaims>::new(key.verification_key())
        .issuer("https://id.example")
        .audience("api")
        .build()
        .unwrap();
    let issuer = Issuer::new(key, "https://id.example")
        .audience("api")
        .build()
        .unwrap();
    let wanted = StepUpLayer::within(Duration::from_secs(300))
        .amr("pwd otp")
        .unwrap();
    let inner = service_fn(async |_: Request<()>| {
        Ok::<_, std::convert::Infallible>(Response::new(String::new()))
    });
    let service = layer.layer(wanted.layer(inner));
    for (amr, expected) in [
        (serde_json::json!(["otp", "pwd", "face"]), 200),
        (serde_json::json!("pwd"), 401),
        (serde_json::json!(["pwd", "otpx"]), 401),
        (Value::Null, 401),
    ] {
        let grant = Grant::user("alice");
        let grant = if amr.is_null() {
            grant
        } else {
            grant.claim("amr", amr.clone())
        };
        let bearer = format!("Bearer {}", issuer.mint(&grant).unwrap().token());
        let request = Request::get("/")
            .header("authorization", bearer)
            .body(())
            .unwrap();
        let answer = crate::jwt_kit::now(service.clone().oneshot(request));
        assert_eq!(answer.unwrap().status(), expected, "{amr}");
    }
    assert!(StepUpLayer::within(Duration::ZERO).amr("a  b").is_err());
}

// Fails if: without the layer that it needs it lets requests pass.
#[tokio::test]
async fn without_sessions_nothing_passes() {
    let fresh = RequireFreshLoginLayer::within(Duration::from_secs(300));
    let base = serve(Router::new().route("/", get(async || "in")).layer(fresh)).await;
    assert_eq!(Client::new().get(&base).await.status, 500);
}
