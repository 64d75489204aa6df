//! "Everything authenticated before T is dead", in the same millisecond as well: the memory store's clock stands still.

use portcullis::cutoff::Cutoffs;

use super::bench::{App, Browser, both, keys, memory};
use portcullis::session::{Login, Session, SessionLayer};

/// Fails if: a load does not compare `auth` with the user's cutoff, or login.lua takes `now` without the cutoff.
#[tokio::test]
async fn a_user_cutoff_ends_all_sessions_of_the_user_and_no_later_login() {
    for backend in both().await {
        let (app, other) = (App::new(&backend.store), App::new(&backend.other));
        let (phone, laptop, bob) = (Browser::new(&app), Browser::new(&other), Browser::new(&app));
        phone.post("/login/alice").await;
        laptop.post("/login/alice").await;
        bob.post("/login/bob").await;
        let visitor = Browser::new(&app);
        visitor.post("/set/cart/book").await;
        let cutoffs = Cutoffs::new(&backend.other);
        for _ in 0..3 {
            assert!(
                phone.is_logged_in().await && laptop.is_logged_in().await,
                "{}",
                backend.name
            );
            cutoffs.user("", "alice").await.unwrap();
            assert!(
                !phone.is_logged_in().await && !laptop.is_logged_in().await,
                "{}",
                backend.name
            );
            assert!(bob.is_logged_in().await, "{}: another user", backend.name);
            phone.post("/login/alice").await;
            laptop.post("/login/alice").await;
        }
        cutoffs.everyone().await.unwrap();
        assert!(
            !phone.is_logged_in().await && !bob.is_logged_in().await,
            "{}",
            backend.name
        );
        bob.post("/login/bob").await;
        assert!(bob.is_logged_in().await, "{}", backend.name);
        assert_eq!(
            visitor.get("/get/cart").await.text,
            "book",
            "nobody's session is not cut"
        );
    }
}

/// The clock stands still while cutoffs and logins alternate, so logins run ahead of it: a cutoff of another scope must
/// end them all the same.
///
/// Fails if: raise.lua ignores the moment ahead.
#[tokio::test]
async fn a_cutoff_of_everyone_ends_logins_that_ran_ahead_of_the_clock() {
    let backend = memory().await;
    let app = App::new(&backend.store);
    let alice = Browser::new(&app);
    let cutoffs = Cutoffs::new(&backend.store);
    for _ in 0..5 {
        cutoffs.user("", "alice").await.unwrap();
        alice.post("/login/alice").await;
    }
    assert!(alice.is_logged_in().await);
    cutoffs.everyone().await.unwrap();
    assert!(!alice.is_logged_in().await);
    alice.post("/login/alice").await;
    assert!(alice.is_logged_in().await);
    cutoffs.user("", "alice").await.unwrap();
    assert!(!alice.is_logged_in().await);
}

/// Fails if: the tenant's cutoff is not among the keys of a load (`SessionId::tenant`).
#[tokio::test]
async fn a_tenant_cutoff_ends_the_sessions_of_that_tenant() {
    for backend in both().await {
        let app = axum::Router::new()
            .route(
                "/login/{tenant}",
                axum::routing::post(
                    async |session: Session, axum::extract::Path(tenant): axum::extract::Path<String>| {
                        session.login(Login::new("alice").tenant(tenant)).await.unwrap();
                    },
                ),
            )
            .route(
                "/me",
                axum::routing::get(async |user: portcullis::session::User| user.tenant().to_owned()),
            )
            .layer(SessionLayer::new(&backend.store, &keys()));
        let app = App::of(app);
        let (acme, other) = (Browser::new(&app), Browser::new(&app));
        acme.post("/login/acme").await;
        other.post("/login/other").await;
        assert_eq!(acme.get("/me").await.text, "acme");
        Cutoffs::new(&backend.other).tenant("acme").await.unwrap();
        assert_eq!(acme.get("/me").await.status, 401, "{}", backend.name);
        assert_eq!(other.get("/me").await.text, "other", "{}", backend.name);
        acme.post("/login/acme").await;
        assert_eq!(acme.get("/me").await.text, "acme", "{}", backend.name);
    }
}
