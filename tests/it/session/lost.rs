//! Steps that the store carried out and whose reply was lost, and steps after them that fail.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, routing::post};
use portcullis::{
    Clock, Rejection, Store,
    device::Devices,
    session::{Login, Session, SessionLayer, SessionLayerBuilder},
};

use super::bench::{App, Backend, Browser, both, keys};
use crate::means::{
    proxy::{Command, Proxy, mentions},
    redis::RedisServer,
    wait,
};

/// A store behind a proxy, on a connection that has proved itself: one that breaks at once counts as an outage.
async fn proxied() -> (Backend, Proxy) {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let patient = || Store::builder().deadline(Duration::from_secs(10));
    let store = patient().connect(&proxy.url()).await.unwrap();
    let other = patient().connect(&server.url()).await.unwrap();
    let backend = Backend {
        name: "redis behind a proxy",
        store,
        other,
        server: Some(server),
        clock: Clock::system(),
    };
    (backend, proxy)
}

async fn settled() {
    let since = Instant::now();
    wait::until_true("the connection to be an old one", || {
        since.elapsed() > Duration::from_millis(120)
    })
    .await;
}

fn a_script() -> impl FnMut(&Command) -> bool + Send + 'static {
    |command| command.name().starts_with("EVAL")
}

async fn sessions(backend: &Backend) -> Vec<String> {
    backend
        .server
        .as_ref()
        .unwrap()
        .keys("portcullis:session:*")
        .await
}

/// Fails if: a login is not sent again, or with another id; or login.lua does not know its own repetition.
#[tokio::test]
async fn a_login_whose_reply_was_lost_is_through() {
    let (backend, proxy) = proxied().await;
    for (round, visits) in [false, true, true].into_iter().enumerate() {
        let browser = Browser::new(&App::new(&backend.store));
        if visits {
            browser.post("/set/cart/book").await;
        }
        let before = sessions(&backend).await.len();
        settled().await;
        let user = format!("alice{round}");
        let lost = proxy.drop_reply(mentions(user.clone()));
        let answer = browser.post(&format!("/login/{user}")).await;
        assert!(lost.is_reached(), "the reply was lost");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(browser.is_logged_in().await);
        assert_eq!(browser.get("/get/cart").await.text == "book", visits);
        let devices = Devices::new(&backend.other);
        let list = devices.list("", &user, None).await.unwrap();
        assert_eq!(list.len(), 1, "one login, one device");
        assert_eq!(list[0].sid(), answer.text);
        let after = sessions(&backend).await.len();
        assert_eq!(after, if visits { before } else { before + 1 });
        // The same on the device again: its session moves, and the device stays one.
        settled().await;
        let lost = proxy.drop_reply(mentions(user.clone()));
        let again = browser.post(&format!("/login/{user}")).await;
        assert!(lost.is_reached());
        assert_eq!((again.status, &again.text), (StatusCode::OK, &answer.text));
        assert!(browser.is_logged_in().await);
        assert_eq!(devices.list("", &user, None).await.unwrap().len(), 1);
    }
}

/// Between the login and its repetition everything was ended: the repetition does not bring it back.
///
/// Fails if: login.lua takes the mark of a session that was ended, or one that a cutoff has ended, for its own success; or
/// starts it anew.
#[tokio::test]
async fn a_repeated_login_does_not_undo_an_end_in_between() {
    let (backend, proxy) = proxied().await;
    for by_cutoff in [false, true] {
        let browser = Browser::new(&App::new(&backend.store));
        browser.post("/set/cart/book").await;
        settled().await;
        let held = proxy.pause_reply(mentions("alice"));
        let tab = browser.clone();
        let slow = tokio::spawn(async move { tab.post("/login/alice").await });
        held.reached().await;
        if by_cutoff {
            let cutoffs = portcullis::cutoff::Cutoffs::new(&backend.other);
            cutoffs.user("", "alice").await.unwrap();
        } else {
            let devices = Devices::new(&backend.other);
            assert_eq!(devices.revoke_all("", "alice").await.unwrap(), 1);
        }
        proxy.reset_all().await;
        assert_eq!(slow.await.unwrap().status, 401, "by cutoff: {by_cutoff}");
        assert!(!browser.is_logged_in().await);
        let list = Devices::new(&backend.other).list("", "alice", None).await;
        assert!(list.unwrap().is_empty());
    }
}

/// Fails if: a renewal is not sent again, or renew.lua does not know its own repetition.
#[tokio::test]
async fn a_renewal_whose_reply_was_lost_is_through() {
    let (backend, proxy) = proxied().await;
    for user in [true, false] {
        let browser = Browser::new(&App::new(&backend.store));
        browser.post("/set/cart/book").await;
        if user {
            browser.post("/login/alice").await;
        }
        let before = browser.cookie_header();
        let thief = browser.copy_at(&browser.app);
        settled().await;
        let lost = proxy.drop_reply(a_script());
        let answer = browser.post("/renew").await;
        assert!(lost.is_reached());
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_ne!(browser.cookie_header(), before);
        assert_eq!(
            browser.get("/get/cart").await.text,
            "book",
            "it moved along"
        );
        assert_eq!(browser.is_logged_in().await, user);
        assert_eq!(thief.get("/get/cart").await.text, "", "the old id is dead");
    }
}

/// Never the same: what is stored already is no change.
fn another() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    "x".repeat(2_000) + &COUNT.fetch_add(1, Ordering::Relaxed).to_string()
}

async fn renew_and_set(session: Session) -> Result<(), Rejection> {
    session.renew().await?;
    Ok(session.insert("afterwards", &another()).await?)
}

async fn login_and_set(session: Session) -> Result<(), Rejection> {
    session.login(Login::new("alice")).await?;
    Ok(session.insert("afterwards", &another()).await?)
}

fn setting(store: &Store, max_size: usize) -> App {
    let layer: SessionLayerBuilder = SessionLayer::builder(store, &keys()).max_size(max_size);
    let router = Router::new()
        .route(
            "/login/alice",
            post(async |session: Session| -> Result<(), Rejection> {
                session.login(Login::new("alice")).await?;
                Ok(())
            }),
        )
        .route("/renew-and-set", post(renew_and_set))
        .route("/login-and-set", post(login_and_set))
        .route(
            "/me",
            axum::routing::get(async |user: Option<portcullis::session::User>| {
                user.map_or(StatusCode::UNAUTHORIZED, |_| StatusCode::OK)
            }),
        );
    App::of(router.layer(layer.build().unwrap()))
}

async fn fails_and_stays(browser: &Browser, path: &str, status: u16, what: &str) {
    let before = browser.cookie_header();
    let answer = browser.post(path).await;
    assert_eq!(answer.status, status, "{what} {path}: {answer:?}");
    let [cookie] = &answer.set_cookies()[..] else {
        panic!("{what} {path}: one cookie: {answer:?}");
    };
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("Secure"),
        "{cookie}"
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_ne!(browser.cookie_header(), before);
    assert!(
        browser.is_logged_in().await,
        "{what} {path}: signed out by an error"
    );
}

/// The session has moved, what was to be saved after that could not be: the answer is an error, and carries the cookie all
/// the same, since the old id is dead.
///
/// Fails if: a refusal on the way out forgets what the session wants the browser to know.
#[tokio::test]
async fn a_save_that_fails_after_the_session_moved_signs_nobody_out() {
    for backend in both().await {
        let browser = Browser::new(&setting(&backend.store, 1_024));
        browser.post("/login/alice").await;
        for path in ["/renew-and-set", "/login-and-set", "/renew-and-set"] {
            fails_and_stays(&browser, path, 413, backend.name).await;
        }
    }
    let (backend, proxy) = proxied().await;
    let browser = Browser::new(&setting(&backend.store, 10_000));
    browser.post("/login/alice").await;
    for path in ["/renew-and-set", "/login-and-set"] {
        settled().await;
        let lost = proxy.drop_reply(mentions("afterwards"));
        fails_and_stays(&browser, path, 503, backend.name).await;
        assert!(lost.is_reached());
    }
}
