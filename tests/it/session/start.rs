//! Logins whose authentication began before a cutoff and ends after it.

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::post,
};
use portcullis::{
    Rejection, RejectionKind, Store,
    cutoff::{AuthStart, Cutoffs},
    device::Devices,
    session::{Login, Session, SessionErrorKind, SessionLayer, User},
};

use super::bench::{App, Browser, both, hold, keys, memory};

async fn login(
    session: Session,
    Path((tenant, user)): Path<(String, String)>,
    State(began): State<AuthStart>,
) -> Result<(), Rejection> {
    let login = Login::new(user).not_before(began);
    let login = if tenant == "-" {
        login
    } else {
        login.tenant(tenant)
    };
    let outcome = session.login(login).await;
    if let Err(error) = &outcome {
        assert_eq!(error.kind(), SessionErrorKind::Outdated);
        let rejection = Rejection::from(error.clone());
        assert_eq!(rejection.kind(), RejectionKind::LoginRequired);
        assert_eq!(rejection.reason_code(), "authentication_outdated");
    }
    Ok(outcome.map(|_| ())?)
}

async fn me(user: Option<User>) -> StatusCode {
    user.map_or(StatusCode::UNAUTHORIZED, |_| StatusCode::OK)
}

fn app(store: &Store, began: AuthStart) -> App {
    let router = Router::new()
        .route("/login/{tenant}/{user}", post(login))
        .route("/me", axum::routing::get(me))
        .with_state(began);
    App::of(router.layer(SessionLayer::new(store, &keys())))
}

/// What ends everything of carol of acme, or of somebody else.
#[derive(Clone, Copy, Debug)]
enum End {
    User,
    Tenant,
    Everyone,
    AllDevices,
    OtherDevices,
    AnotherUser,
    AnotherTenant,
}

impl End {
    async fn on(self, store: &Store) {
        let (cutoffs, devices) = (Cutoffs::new(store), Devices::new(store));
        let _: u64 = match self {
            Self::User => cutoffs.user("acme", "carol").await,
            Self::Tenant => cutoffs.tenant("acme").await,
            Self::Everyone => cutoffs.everyone().await,
            Self::AllDevices => devices.revoke_all("acme", "carol").await,
            Self::OtherDevices => devices.revoke_others("acme", "carol", "x").await,
            Self::AnotherUser => cutoffs.user("", "carol").await,
            Self::AnotherTenant => cutoffs.tenant("zeta").await,
        }
        .unwrap();
    }

    const TOUCHING: [Self; 5] = [
        Self::User,
        Self::Tenant,
        Self::Everyone,
        Self::AllDevices,
        Self::OtherDevices,
    ];
}

/// The clock of the memory stands still: everything happens in one millisecond, and the order counts all the same.
///
/// Fails if: login.lua does not look at when the authentication began; the moment is not later than a cutoff of the same
/// millisecond (raise.lua does not note it as the largest); or a later cutoff is not at least the moment (start.lua does not).
#[tokio::test]
async fn a_login_that_began_before_a_cutoff_is_refused() {
    for backend in both().await {
        let cutoffs = Cutoffs::new(&backend.store);
        for end in End::TOUCHING {
            for _ in 0..3 {
                let before = cutoffs.auth_start().await.unwrap();
                end.on(&backend.other).await;
                let after = cutoffs.auth_start().await.unwrap();
                let stale = Browser::new(&app(&backend.store, before));
                let answer = stale.post("/login/acme/carol").await;
                assert_eq!(answer.status, 401, "{} {end:?}", backend.name);
                assert!(
                    answer.text.contains("authentication_outdated"),
                    "{answer:?}"
                );
                assert!(answer.set_cookies().is_empty(), "{} {end:?}", backend.name);
                let fresh = Browser::new(&app(&backend.store, after));
                let answer = fresh.post("/login/acme/carol").await;
                assert_eq!(answer.status, 200, "{} {end:?}: {answer:?}", backend.name);
                assert_eq!(fresh.get("/me").await.status, 200);
            }
        }
        for end in [End::AnotherUser, End::AnotherTenant] {
            let before = cutoffs.auth_start().await.unwrap();
            end.on(&backend.other).await;
            let browser = Browser::new(&app(&backend.store, before));
            let answer = browser.post("/login/acme/carol").await;
            assert_eq!(answer.status, 200, "{} {end:?}", backend.name);
        }
    }
}

/// The cutoff comes when the password has been checked and the login is on its way: nothing is written, and the session that
/// the browser had is what it was.
///
/// Fails if: the moment is compared anywhere but in the script, or after a write of it.
#[tokio::test]
async fn a_refused_login_writes_nothing_and_leaves_the_old_session() {
    for backend in both().await {
        let began = Cutoffs::new(&backend.store).auth_start().await.unwrap();
        let node = app(&backend.store, began);
        let bob = Browser::new(&node);
        bob.post("/login/-/bob").await;
        let held = hold(&backend.store, "session.login");
        let (tab, cookie) = (bob.clone(), bob.cookie_header());
        let slow = tokio::spawn(async move { tab.post("/login/-/alice").await });
        held.reached().await;
        let other = if backend.server.is_some() {
            &backend.other
        } else {
            &backend.store
        };
        Cutoffs::new(other).user("", "alice").await.unwrap();
        let before = match &backend.server {
            Some(server) => server.keys("*").await,
            None => Vec::new(),
        };
        held.resume();
        assert_eq!(slow.await.unwrap().status, 401, "{}", backend.name);
        if let Some(server) = &backend.server {
            assert_eq!(server.keys("*").await, before);
        }
        assert_eq!(bob.cookie_header(), cookie);
        assert_eq!(bob.get("/me").await.status, 200, "{}: bob", backend.name);
        let devices = Devices::new(&backend.store);
        assert!(devices.list("", "alice", None).await.unwrap().is_empty());
    }
}

/// Without the moment a login works as ever: right after a cutoff, in the same millisecond as well.
#[tokio::test]
async fn a_login_that_says_nothing_of_its_beginning_works_after_a_cutoff() {
    for backend in both().await {
        let node = App::new(&backend.store);
        for _ in 0..3 {
            Cutoffs::new(&backend.other)
                .user("", "alice")
                .await
                .unwrap();
            let browser = Browser::new(&node);
            browser.post("/login/alice").await;
            assert!(browser.is_logged_in().await, "{}", backend.name);
        }
    }
}

/// After a failover to a server whose clock is an hour behind: what the store still knows counts, and what it has lost is
/// no reason to let somebody in.
///
/// Fails if: start.lua does not note its moment, so that a cutoff by the slower clock is before it; or a moment that the
/// store knows nothing of is taken.
#[tokio::test]
async fn a_clock_that_goes_back_lets_nobody_in() {
    let backend = super::bench::redis().await;
    let server = backend.server.as_ref().unwrap();
    let latest = "portcullis:cutoff:latest";
    let cutoffs = Cutoffs::new(&backend.store);
    cutoffs.auth_start().await.unwrap();
    let ahead: u64 = server.ask(&["GET", latest]).await;
    // As a server knows it whose clock is an hour behind that of the one before.
    let ahead = (ahead + 3_600_000).to_string();
    server.cli(&["SET", latest, &ahead]).await;
    let before = cutoffs.auth_start().await.unwrap();
    let node = app(&backend.store, before);
    assert_eq!(Browser::new(&node).post("/login/-/alice").await.status, 200);
    cutoffs.user("", "alice").await.unwrap();
    assert_eq!(Browser::new(&node).post("/login/-/alice").await.status, 401);
    let after = cutoffs.auth_start().await.unwrap();
    let again = Browser::new(&app(&backend.store, after));
    assert_eq!(again.post("/login/-/alice").await.status, 200);
    // Lost: nobody can say whether there was a cutoff.
    server.cli(&["DEL", latest]).await;
    assert_eq!(
        Browser::new(&app(&backend.store, after))
            .post("/login/-/bob")
            .await
            .status,
        401
    );
    let now = cutoffs.auth_start().await.unwrap();
    assert_eq!(
        Browser::new(&app(&backend.store, now))
            .post("/login/-/bob")
            .await
            .status,
        200
    );
}

/// Fails if: a moment is good for longer than the cutoffs that could speak against it are kept.
#[tokio::test]
async fn a_beginning_is_good_as_long_as_cutoffs_are_kept() {
    let backend = memory().await;
    let began = Cutoffs::new(&backend.store).auth_start().await.unwrap();
    let kept = std::time::Duration::from_secs(90 * 24 * 60 * 60);
    backend
        .clock
        .advance(kept - std::time::Duration::from_secs(1));
    let node = app(&backend.store, began);
    assert_eq!(Browser::new(&node).post("/login/-/alice").await.status, 200);
    backend.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(Browser::new(&node).post("/login/-/alice").await.status, 401);
}

/// An authentication that takes several requests keeps its moment in the session of the visitor.
#[test]
fn a_beginning_can_be_kept() {
    let began: AuthStart = serde_json::from_str("1700000000000").unwrap();
    assert_eq!(serde_json::to_string(&began).unwrap(), "1700000000000");
    assert!(
        serde_json::from_str::<AuthStart>("0").is_err(),
        "which would be none"
    );
    assert!(!format!("{began:?}").contains('7'));
}

/// Ending everything of many users one by one, in one millisecond, does not run ahead of the clock: what foreign issuers
/// issue later is not refused for it, and no login is said to have been in the future.
///
/// Fails if: each cutoff is later than the one of another user before it.
#[tokio::test]
async fn many_cutoffs_do_not_run_ahead_of_the_clock() {
    let backend = memory().await;
    let cutoffs = Cutoffs::new(&backend.store);
    let first = cutoffs.user("", "user-0").await.unwrap();
    for at in 1..1_000 {
        let moment = cutoffs.user("", &format!("user-{at}")).await.unwrap();
        assert_eq!(moment, first, "the clock stands still");
    }
    let devices = Devices::new(&backend.store);
    for at in 0..1_000 {
        devices
            .revoke_all("", &format!("other-{at}"))
            .await
            .unwrap();
    }
    assert_eq!(cutoffs.tenant("acme").await.unwrap(), first);
    for _ in 0..1_000 {
        cutoffs.auth_start().await.unwrap();
    }
    assert_eq!(cutoffs.tenant("zeta").await.unwrap(), first + 1);
}
