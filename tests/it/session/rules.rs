//! The life of a session: REQUIREMENTS 15 to 21, 28, 35, and what handlers may rely on.

use std::time::Duration;

use axum::http::StatusCode;
use portcullis::session::{SaveOutcome, SessionLayer};

use super::bench::{App, Browser, both, keys, memory};

/// R15, R16: a login takes a new id, the old one is dead, data carries over; an id that no session has is not adopted.
///
/// Fails if: login.lua keeps the old key; the handle creates under the id of the cookie.
#[tokio::test]
async fn a_login_takes_over_the_visitors_session_under_a_new_id() {
    for backend in both().await {
        let app = App::new(&backend.store);
        let browser = Browser::new(&app);
        browser.post("/set/cart/book").await;
        let before = browser.copy_at(&app);
        browser.post("/login/alice").await;
        assert_ne!(before.cookie_header(), browser.cookie_header());
        assert_eq!(
            browser.get("/get/cart").await.text,
            "book",
            "{}",
            backend.name
        );
        assert!(!before.is_logged_in().await);
        assert_eq!(before.get("/get/cart").await.text, "", "{}", backend.name);
        let dead = before.cookie_header();
        assert_eq!(
            before.post("/set/x/1").await.outcome,
            Some(SaveOutcome::Created)
        );
        assert_ne!(
            before.cookie_header(),
            dead,
            "a validly signed, unknown id is not adopted"
        );
    }
}

/// Fails if: login.lua carries fields over whoever they belong to.
#[tokio::test]
async fn another_users_fields_never_carry_over() {
    for backend in both().await {
        let app = App::new(&backend.store);
        let browser = Browser::new(&app);
        let first = browser.post("/login/alice").await.text;
        browser.post("/set/draft/secret").await;
        let again = browser.post("/login/alice").await.text;
        assert_eq!(first, again, "{}: the same device", backend.name);
        assert_eq!(
            browser.get("/get/draft").await.text,
            "secret",
            "the same user"
        );
        let alice = browser.copy_at(&app);
        let other = browser.post("/login/bob").await.text;
        assert_ne!(first, other);
        assert_eq!(browser.get("/get/draft").await.text, "", "{}", backend.name);
        assert!(!alice.is_logged_in().await, "{}", backend.name);
    }
}

/// R17, on the clock: one millisecond before the limit and exactly at it.
///
/// Fails if: `now >= expiry` is written `>`, or a use is not recorded.
#[tokio::test]
async fn the_idle_timeout_ends_a_session_exactly_and_use_extends_it() {
    let backend = memory().await;
    let layer = SessionLayer::builder(&backend.store, &keys())
        .idle_timeout(Duration::from_secs(60))
        .touch_interval(Duration::ZERO);
    let browser = Browser::new(&App::with(layer));
    browser.post("/login/alice").await;
    for _ in 0..5 {
        backend.clock.advance(Duration::from_millis(59_999));
        assert!(browser.is_logged_in().await);
    }
    backend.clock.advance(Duration::from_millis(60_000));
    assert!(!browser.is_logged_in().await);
}

/// R18.
#[tokio::test]
async fn the_absolute_timeout_ends_a_session_in_use() {
    let backend = memory().await;
    let layer = SessionLayer::builder(&backend.store, &keys())
        .idle_timeout(Duration::from_secs(60))
        .absolute_timeout(Duration::from_secs(600));
    let browser = Browser::new(&App::with(layer));
    browser.post("/login/alice").await;
    for _ in 0..19 {
        backend.clock.advance(Duration::from_secs(30));
        assert!(browser.is_logged_in().await);
        browser.post("/renew").await;
    }
    backend.clock.advance(Duration::from_millis(29_999));
    assert!(browser.is_logged_in().await, "renewals do not shorten it");
    backend.clock.advance(Duration::from_millis(1));
    assert!(!browser.is_logged_in().await, "and do not extend it");
}

/// Idle counts from the recorded use: up to the interval early, never late; a fixed expiry ignores use.
#[tokio::test]
async fn throttled_uses_end_a_session_early_and_never_late() {
    let backend = memory().await;
    let layer = SessionLayer::builder(&backend.store, &keys())
        .idle_timeout(Duration::from_secs(100))
        .touch_interval(Duration::from_secs(10));
    let browser = Browser::new(&App::with(layer));
    browser.post("/login/alice").await;
    backend.clock.advance(Duration::from_millis(9_999));
    assert!(browser.is_logged_in().await, "used, not recorded");
    backend.clock.advance(Duration::from_millis(90_000));
    assert!(browser.is_logged_in().await, "recorded now, at 99.999 s");
    backend.clock.advance(Duration::from_millis(99_999));
    assert!(browser.is_logged_in().await);

    let fixed = SessionLayer::builder(&backend.store, &keys())
        .no_idle_timeout()
        .absolute_timeout(Duration::from_secs(50));
    let browser = Browser::new(&App::with(fixed));
    browser.post("/login/alice").await;
    backend.clock.advance(Duration::from_millis(49_999));
    assert!(browser.is_logged_in().await);
    backend.clock.advance(Duration::from_millis(1));
    assert!(!browser.is_logged_in().await);
}

/// R28: reading, and changing nothing, makes no session.
#[tokio::test]
async fn a_visitor_who_changes_nothing_gets_no_session() {
    for backend in both().await {
        let browser = Browser::new(&App::new(&backend.store));
        for path in ["/", "/me", "/get/x"] {
            assert!(browser.get(path).await.set_cookies().is_empty(), "{path}");
        }
        for path in ["/unset/x", "/clear", "/renew", "/logout"] {
            assert!(browser.post(path).await.set_cookies().is_empty(), "{path}");
        }
        if let Some(server) = &backend.server {
            assert!(server.keys("*").await.is_empty());
        }
    }
}

/// Fails if: the response of an untouched session says `Vary`, or that of a read one does not.
#[tokio::test]
async fn only_responses_that_depend_on_the_session_vary() {
    let backend = memory().await;
    let browser = Browser::new(&App::new(&backend.store));
    browser.post("/login/alice").await;
    assert_eq!(browser.get("/").await.header("vary"), None);
    let me = browser.get("/me").await;
    assert_eq!(
        (me.header("vary"), me.header("cache-control")),
        (Some("cookie"), None)
    );
}

/// Fails if: a 5xx saves.
#[tokio::test]
async fn a_failed_request_saves_nothing() {
    for backend in both().await {
        let browser = Browser::new(&App::new(&backend.store));
        browser.post("/login/alice").await;
        let answer = browser.post("/fail").await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.outcome, Some(SaveOutcome::Skipped));
        assert_eq!(browser.get("/get/failed").await.text, "");
        assert!(browser.is_logged_in().await, "{}", backend.name);
    }
}

/// Fields come and go; `clear` leaves the login alone.
#[tokio::test]
async fn fields_are_set_removed_and_cleared() {
    for backend in both().await {
        let app = App::new(&backend.store);
        let browser = Browser::new(&app);
        browser.post("/login/alice").await;
        for (name, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
            browser.post(&format!("/set/{name}/{value}")).await;
        }
        assert_eq!(browser.post("/unset/b").await.text, "true");
        assert_eq!(browser.post("/unset/b").await.text, "false");
        assert_eq!(browser.get("/get/a").await.text, "1");
        assert_eq!(browser.get("/get/b").await.text, "");
        assert_eq!(browser.post("/renew").await.set_cookies().len(), 1);
        assert_eq!(browser.get("/get/c").await.text, "3", "{}", backend.name);
        browser.post("/clear").await;
        assert_eq!(browser.get("/get/a").await.text, "");
        assert!(browser.is_logged_in().await, "{}", backend.name);
    }
}

/// Fails if: the limit is not passed to a script that writes.
#[tokio::test]
async fn a_session_that_would_be_too_large_is_refused_and_keeps_what_it_held() {
    for backend in both().await {
        let layer = SessionLayer::builder(&backend.store, &keys()).max_size(2_000);
        let browser = Browser::new(&App::with(layer));
        browser.post("/login/alice").await;
        browser.post("/set/a/1").await;
        let big = "x".repeat(2_000);
        assert_eq!(
            browser.post(&format!("/set/b/{big}")).await.status,
            413,
            "{}",
            backend.name
        );
        assert_eq!(browser.get("/get/a").await.text, "1");
        assert!(browser.is_logged_in().await);
    }
}

/// R24: one login is one entry of the user's index, and logouts leave nothing behind.
#[tokio::test]
async fn a_logout_leaves_no_key_behind() {
    let backend = super::bench::redis().await;
    let server = backend.server.as_ref().unwrap();
    let app = App::new(&backend.store);
    let (phone, laptop) = (Browser::new(&app), Browser::new(&app));
    phone.post("/login/alice").await;
    laptop.post("/login/alice").await;
    phone.post("/renew").await;
    let devices = server.keys("portcullis:devices:{*}").await;
    assert_eq!(devices.len(), 1, "{devices:?}");
    assert_eq!(server.ask::<u64>(&["ZCARD", &devices[0]]).await, 2);
    let slots: std::collections::HashSet<_> = server
        .keys("*")
        .await
        .iter()
        .filter(|key| *key != "portcullis:cutoff:latest")
        .map(|key| key.split(['{', '}']).nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(slots.len(), 1, "all keys of a user share a hash tag");
    phone.post("/logout").await;
    assert_eq!(server.ask::<u64>(&["ZCARD", &devices[0]]).await, 1);
    laptop.post("/logout").await;
    // What is left: the mark of the renewal for a minute, the denied tokens of both logins for an hour, and the moment
    // of the latest login.
    for key in server.keys("*").await {
        let most = if key.starts_with("portcullis:session:") {
            60_000
        } else if key == "portcullis:cutoff:latest" {
            // Kept as long as a cutoff would be.
            90 * 24 * 3_600_000
        } else {
            assert!(key.starts_with("jwt:blacklist-sid:"), "{key}");
            3_721_000
        };
        let left = server.ask::<i64>(&["PTTL", &key]).await;
        assert!((1..=most).contains(&left), "{key} {left}");
    }
}
