//! What reviewers tried: a device against another's, a revocation against one in flight, a clock against the past.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, Response, header},
    routing::{get, post},
};
use portcullis::{
    Clock, Rejection, Store,
    blacklist::{Blacklist, BlacklistLayer, BlacklistLayerBuilder},
    cutoff::Cutoffs,
    device::Devices,
    jwt::{Grant, Issuer, JwtAlgorithm, JwtKey, JwtVerifyLayer, NoClaims, SigningKey},
    refresh::{Adoption, RefreshErrorKind, RefreshLogin, RefreshRequest, Rotation},
    session::{Login, SaveOutcome, Session, SessionLayer, User},
};
use tokio::sync::Notify;
use tower::ServiceExt;

use crate::session::bench::{App, Backend, Browser, both, hold, keys, memory, redis};

const SECRET: [u8; 32] = [7; 32];
const ISS: &str = "https://id.example";

fn issuer(clock: &Clock) -> Issuer {
    let key = SigningKey::secret(JwtAlgorithm::Hs256, SECRET).unwrap();
    let issuer = Issuer::new(key, ISS).audience("api").clock(clock.clone());
    issuer.build().unwrap()
}

fn api(layer: BlacklistLayerBuilder, clock: &Clock) -> App {
    let verify =
        JwtVerifyLayer::<NoClaims>::new(JwtKey::secret(JwtAlgorithm::Hs256, SECRET).unwrap())
            .issuer(ISS)
            .audience("api")
            .clock(clock.clone())
            .build()
            .unwrap();
    App::of(
        Router::new()
            .route("/", get(async || "in"))
            .layer(layer.build().unwrap())
            .layer(verify),
    )
}

async fn status(app: &App, token: &str) -> u16 {
    let request = Request::get("/").header(header::AUTHORIZATION, format!("Bearer {token}"));
    let answer = app.call(request.body(Body::empty()).unwrap()).await;
    answer.status.as_u16()
}

/// A `sid` is no secret, and `Devices::revoke` is given whatever a client asks to be signed out.
///
/// Fails if: a sid is denied before it is known to be one of the user's.
#[tokio::test]
async fn a_sid_of_somebody_else_ends_nothing_of_theirs() {
    for backend in both().await {
        let browser = Browser::new(&App::new(&backend.store));
        let sid = browser.post("/login/alice").await.text;
        let api = api(BlacklistLayer::builder(&backend.store), &backend.clock);
        let grant = Grant::user("alice").sid(&*sid);
        let token = issuer(&backend.clock).mint(&grant).unwrap();
        let devices = Devices::new(&backend.other);
        let ended = devices.revoke("", "mallory", &sid).await.unwrap();
        assert!(!ended, "{}", backend.name);
        assert_eq!(status(&api, token.token()).await, 200, "{}", backend.name);
        assert!(browser.is_logged_in().await, "{}", backend.name);
        assert!(devices.revoke("", "alice", &sid).await.unwrap());
        assert!(!devices.revoke("", "alice", &sid).await.unwrap());
        assert_eq!(status(&api, token.token()).await, 401, "{}", backend.name);
    }
}

/// A service with a tenant, and a browser that is signed in there.
async fn of_a_tenant(store: &Store) -> (Browser, String) {
    let login = async |session: Session| -> Result<String, Rejection> {
        let login = Login::new("alice").tenant("acme");
        Ok(session.login(login).await?.sid().to_owned())
    };
    let router = Router::new()
        .route("/login", post(login))
        .route("/me", get(async |user: User| user.id().to_owned()))
        .layer(SessionLayer::new(store, &keys()));
    let browser = Browser::new(&App::of(router));
    let sid = browser.post("/login").await.text;
    (browser, sid)
}

/// "Sign out the others", which came in before a cutoff and goes on after it.
async fn others_around_a_cutoff(backend: &Backend, which: &str, sid: &str) {
    let devices = Devices::new(&backend.store);
    let held = hold(&backend.store, "device.devices");
    let mine = sid.to_owned();
    let asked = tokio::spawn(async move { devices.revoke_others("acme", "alice", &mine).await });
    held.reached().await;
    let cutoffs = Cutoffs::new(&backend.other);
    let cutoff = match which {
        "user" => cutoffs.user("acme", "alice").await,
        "tenant" => cutoffs.tenant("acme").await,
        _ => cutoffs.everyone().await,
    };
    cutoff.unwrap();
    held.resume();
    asked.await.unwrap().unwrap();
}

/// "Sign out my other devices", sent by a device that is cut off meanwhile, was its way back in.
///
/// Fails if: `others` takes a device past the cutoff that is dead already, by whichever cutoff.
#[tokio::test]
async fn signing_out_the_others_does_not_bring_back_what_was_cut_off() {
    for backend in both().await {
        for which in ["user", "tenant", "everyone"] {
            let (browser, sid) = of_a_tenant(&backend.store).await;
            others_around_a_cutoff(&backend, which, &sid).await;
            assert!(!browser.is_logged_in().await, "{} {which}", backend.name);

            let rotation = Rotation::new(&backend.store, &keys(), &issuer(&backend.clock));
            let rotation = rotation.unwrap();
            let login = RefreshLogin::new("alice").tenant("acme");
            let family = rotation.issue(&login).await.unwrap();
            others_around_a_cutoff(&backend, which, family.sid()).await;
            let rotated = rotation.rotate(family.refresh(), RefreshRequest::new());
            let kind = rotated.await.unwrap_err().kind();
            assert_eq!(kind, RefreshErrorKind::Revoked, "{} {which}", backend.name);

            let ((browser, sid), (other, _)) = (
                of_a_tenant(&backend.store).await,
                of_a_tenant(&backend.store).await,
            );
            let devices = Devices::new(&backend.other);
            let ended = devices.revoke_others("acme", "alice", &sid).await.unwrap();
            assert_eq!(ended, 1, "{} {which}", backend.name);
            assert!(browser.is_logged_in().await, "the living one stays");
            assert!(!other.is_logged_in().await, "{} {which}", backend.name);
        }
    }
}

/// Signing out other devices is no authentication: what asks for a recent one must not take it for one.
///
/// Fails if: the moment that takes the kept device past the cutoff is handed on as that of its login.
#[tokio::test]
async fn signing_out_the_others_does_not_make_a_login_recent() {
    let backend = memory().await;
    let clock = backend.clock.clone();
    let rotation = Rotation::new(&backend.store, &keys(), &issuer(&clock)).unwrap();
    let pair = rotation.issue(&RefreshLogin::new("alice")).await.unwrap();
    clock.advance(Duration::from_secs(3600));
    let devices = Devices::new(&backend.store);
    devices
        .revoke_others("", "alice", pair.sid())
        .await
        .unwrap();
    let pair = rotation
        .rotate(pair.refresh(), RefreshRequest::new())
        .await
        .unwrap();
    let verify =
        JwtVerifyLayer::<NoClaims>::new(JwtKey::secret(JwtAlgorithm::Hs256, SECRET).unwrap())
            .issuer(ISS)
            .audience("api")
            .clock(clock.clone())
            .build()
            .unwrap();
    let step_up = portcullis::jwt::StepUpLayer::within(Duration::from_secs(300)).clock(clock);
    let service = tower::ServiceBuilder::new()
        .layer(verify)
        .layer(step_up)
        .service_fn(async |_: Request<String>| Ok::<_, Infallible>(Response::new(String::new())));
    let bearer = format!("Bearer {}", pair.access().token());
    let request = Request::get("/").header(header::AUTHORIZATION, bearer);
    let response = service.oneshot(request.body(String::new()).unwrap()).await;
    assert_eq!(response.unwrap().status(), 401);
}

/// Fails if: a token without ids makes a question without keys, which the server refuses.
#[tokio::test]
async fn a_token_without_ids_is_checked_where_it_is_allowed() {
    for backend in both().await {
        let api = api(
            BlacklistLayer::builder(&backend.store).insecure_allow_unidentified(),
            &backend.clock,
        );
        let exp = backend.clock.now_millis() / 1_000 + 60;
        let claims = format!(r#"{{"iss":"{ISS}","aud":"api","sub":"alice","exp":{exp}}}"#);
        let signer = crate::jwt_kit::Signer::Hmac("HS256", SECRET.to_vec());
        let bare = signer.token(&signer.header(""), &claims);
        assert_eq!(status(&api, &bare).await, 200, "{}", backend.name);
        Cutoffs::new(&backend.store).everyone().await.unwrap();
        assert_eq!(status(&api, &bare).await, 401, "{}", backend.name);
    }
}

/// Fails if: ending a device writes its denial over one that lasts longer.
#[tokio::test]
async fn a_logout_does_not_shorten_a_revocation() {
    let backend = redis().await;
    let browser = Browser::new(&App::new(&backend.store));
    let sid = browser.post("/login/alice").await.text;
    let blacklist = Blacklist::new(&backend.store);
    blacklist.revoke_session(&sid).await.unwrap();
    browser.post("/logout").await;
    let server = backend.server.as_ref().unwrap();
    let left: i64 = server
        .ask(&["TTL", &format!("jwt:blacklist-sid:{sid}")])
        .await;
    assert!(left > 80 * 24 * 60 * 60, "{left}");

    let backend = memory().await;
    let browser = Browser::new(&App::new(&backend.store));
    let sid = browser.post("/login/alice").await.text;
    let blacklist = Blacklist::new(&backend.store);
    blacklist.revoke_session(&sid).await.unwrap();
    browser.post("/logout").await;
    backend.clock.advance(Duration::from_secs(2 * 60 * 60));
    let api = api(BlacklistLayer::builder(&backend.store), &backend.clock);
    let token = issuer(&backend.clock)
        .mint(&Grant::user("alice").sid(&*sid))
        .unwrap();
    assert_eq!(status(&api, token.token()).await, 401);
}

/// The server's clock was set back after a rotation: a family without grace takes a used token no more than before.
///
/// Fails if: a negative age is below a grace of nothing.
#[tokio::test]
async fn a_clock_that_was_set_back_is_no_grace() {
    let backend = redis().await;
    let rotation = Rotation::builder(&backend.store, &keys(), &issuer(&backend.clock));
    let rotation = rotation.strict().build().unwrap();
    let first = rotation.issue(&RefreshLogin::new("alice")).await.unwrap();
    rotation
        .rotate(first.refresh(), RefreshRequest::new())
        .await
        .unwrap();
    let server = backend.server.as_ref().unwrap();
    let family = server.keys("portcullis:refresh:*").await.remove(0);
    let rotated: u64 = server.ask(&["HGET", &family, "rot"]).await;
    server
        .cli(&["HSET", &family, "rot", &(rotated + 5_000).to_string()])
        .await;
    let error = rotation
        .rotate(first.refresh(), RefreshRequest::new())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), RefreshErrorKind::Reused);
}

/// One part of a handler saves while another goes on changing: the later change is merged as well.
///
/// Fails if: a session that has to be read again counts as none, and its change makes a visitor's session of it.
#[tokio::test]
async fn a_change_beside_a_save_is_merged_into_the_same_session() {
    for backend in both().await {
        let (go_on, changed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let told = (Arc::clone(&go_on), Arc::clone(&changed));
        let both = move |session: Session| {
            let (go_on, changed) = told.clone();
            async move {
                session.insert("a", "1").await?;
                let saving = session.clone();
                let saved = tokio::spawn(async move { saving.save().await });
                go_on.notified().await;
                session.insert("b", "2").await?;
                changed.notify_one();
                assert_eq!(saved.await.unwrap()?, SaveOutcome::Saved);
                Ok::<_, Rejection>(())
            }
        };
        let app = App::of(
            Router::new()
                .route("/both", post(both))
                .layer(SessionLayer::new(&backend.store, &keys())),
        );
        let browser = Browser::new(&App::new(&backend.store));
        browser.post("/login/alice").await;
        let tab = browser.copy_at(&app);
        let held = hold(&backend.store, "session.save");
        let asked = tokio::spawn(async move { tab.post("/both").await });
        held.reached().await;
        go_on.notify_one();
        changed.notified().await;
        held.resume();
        let answer = asked.await.unwrap();
        assert_eq!(answer.outcome, Some(SaveOutcome::Saved), "{}", backend.name);
        assert!(answer.set_cookies().is_empty(), "{}", backend.name);
        assert_eq!(browser.get("/get/b").await.text, "2", "{}", backend.name);
    }
}

/// A service without access tokens of logins saves the key that denies them, and nothing else.
///
/// Fails if: a denial of no life is written, which the server refuses in the middle of the script.
#[tokio::test]
async fn a_logout_works_where_no_tokens_are_denied() {
    let backend = redis().await;
    let server = backend.server.as_ref().unwrap();
    let store = Store::builder().access_token_life(Duration::ZERO);
    let store = store.connect(&server.url()).await.unwrap();
    let browser = Browser::new(&App::new(&store));
    browser.post("/login/alice").await;
    assert_eq!(browser.post("/logout").await.status, 200);
    let sid = browser.post("/login/alice").await.text;
    let devices = Devices::new(&store);
    assert!(devices.revoke("", "alice", &sid).await.unwrap());
    assert!(!browser.is_logged_in().await);
    assert!(server.keys("jwt:*").await.is_empty());
}

/// A moment of authentication is compared with everybody's: the latest one decides what the next cutoff is.
///
/// Fails if: one that is no moment of now or before, such as microseconds, is stored, and from then on nobody can sign in; or
/// an adopted token says so.
#[tokio::test]
async fn a_moment_in_the_wrong_unit_is_refused_and_breaks_nobodys_login() {
    for backend in both().await {
        let app = App::new(&backend.store);
        let sid = Browser::new(&app).post("/login/alice").await.text;
        let now = backend.clock.now_millis();
        let issuer = issuer(&backend.clock);
        let adoption = Adoption::opaque(
            |token| format!("old:{token}"),
            |text| Some(RefreshLogin::new("carol").signed_in_at(text.parse().ok()?)),
        );
        let rotation = Rotation::builder(&backend.store, &keys(), &issuer).adopt(adoption);
        let rotation = rotation.build().unwrap();
        for wrong in [now * 1_000, now + 2 * 86_400_000, u64::MAX] {
            let login = RefreshLogin::new("alice").of_session(&*sid, wrong);
            let error = rotation.issue(&login).await.unwrap_err();
            assert_eq!(error.kind(), RefreshErrorKind::Invalid, "{}", backend.name);
            let login = RefreshLogin::new("alice").signed_in_at(wrong);
            let error = rotation.issue(&login).await.unwrap_err();
            assert_eq!(error.kind(), RefreshErrorKind::Invalid, "{}", backend.name);
        }
        Cutoffs::new(&backend.store).user("", "bob").await.unwrap();
        let bob = Browser::new(&app);
        assert_eq!(bob.post("/login/bob").await.status, 200, "{}", backend.name);
        assert!(bob.is_logged_in().await, "{}", backend.name);
    }
}
