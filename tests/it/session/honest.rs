//! What cannot be done is said, and costs no trip where that can be known before.

use std::time::Duration;

use ::redis::Value;
use axum::{Router, extract::Path, routing::post};
use portcullis::{
    Clock, Rejection, Store,
    blacklist::Blacklist,
    cutoff::Cutoffs,
    device::Devices,
    jwt::{Grant, Issuer, JwtAlgorithm, JwtKey, JwtVerifyLayer, NoClaims, SigningKey},
    refresh::{RefreshErrorKind, RefreshLogin},
    session::{Login, Session, SessionErrorKind, SessionLayer},
    store::StoreErrorKind,
};

use super::bench::{App, Browser, both, keys};
use crate::{
    means::{proxy::Proxy, redis::RedisServer},
    refresh::kit::{Events, Settings, benches, benches_with},
};

/// Fails if: an empty name is taken for one that somebody has.
#[tokio::test]
async fn an_empty_name_is_refused() {
    for bench in benches().await {
        let (cutoffs, devices) = (
            Cutoffs::new(&bench.one.store),
            Devices::new(&bench.one.store),
        );
        let refused = [
            cutoffs.user("", "").await.err(),
            cutoffs.user("acme", "").await.err(),
            cutoffs.tenant("").await.err(),
            cutoffs.subject("", "", "alice").await.err(),
            cutoffs.subject("https://other.example", "", "").await.err(),
            devices.revoke_all("", "").await.err(),
            devices.revoke_others("", "", "sid").await.err(),
            devices.revoke("", "", "sid").await.err(),
            devices.list("", "", None).await.err(),
        ];
        for (at, error) in refused.into_iter().enumerate() {
            let error = error.unwrap_or_else(|| panic!("{}: {at}", bench.name));
            assert_eq!(
                error.kind(),
                StoreErrorKind::Invalid,
                "{}: {at}",
                bench.name
            );
            assert_eq!(error.to_string(), "a user, tenant or issuer is empty");
            assert!(!error.is_outage());
            assert_eq!(Rejection::from(error).status(), 500);
        }
        for login in [RefreshLogin::new(""), RefreshLogin::new("alice").tenant("")] {
            let error = bench.one.rotation.issue(&login).await.unwrap_err();
            assert_eq!(error.kind(), RefreshErrorKind::Invalid, "{}", bench.name);
        }
        if let Some(server) = &bench.server {
            assert!(server.keys("*").await.is_empty(), "nothing was written");
        }
    }
    for backend in both().await {
        let login = async |session: Session, Path(tenant): Path<String>| {
            let tenant = tenant.trim_start_matches('-');
            let outcome = session.login(Login::new("alice").tenant(tenant)).await;
            outcome
                .map(|_| ())
                .map_err(|error| error.kind())
                .err()
                .map_or_else(|| "in".to_owned(), |kind| format!("{kind:?}"))
        };
        let router = Router::new().route("/login/{tenant}", post(login));
        let app = App::of(router.layer(SessionLayer::new(&backend.store, &keys())));
        let answer = Browser::new(&app).post("/login/-").await;
        assert_eq!(
            answer.text,
            format!("{:?}", SessionErrorKind::Invalid),
            "{}",
            backend.name
        );
        assert_eq!(
            Browser::new(&app).post("/login/-acme").await.text,
            "in",
            "{}",
            backend.name
        );
    }
}

/// Fails if: changes that are too long by themselves are sent to be refused.
#[tokio::test]
async fn what_is_too_long_by_itself_does_not_travel() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let store = Store::connect(&proxy.url()).await.unwrap();
    let set = async |session: Session, Path(length): Path<usize>| -> Result<(), Rejection> {
        Ok(session.insert("a", &"x".repeat(length)).await?)
    };
    let login = async |session: Session, Path(length): Path<usize>| -> Result<(), Rejection> {
        session.insert("a", &"x".repeat(length)).await?;
        session.login(Login::new("alice")).await?;
        Ok(())
    };
    let router = Router::new()
        .route("/set/{length}", post(set))
        .route("/login/{length}", post(login));
    let layer = SessionLayer::builder(&store, &keys())
        .max_size(2_048)
        .build()
        .unwrap();
    let browser = Browser::new(&App::of(router.layer(layer)));
    for path in ["/set/3000", "/login/3000"] {
        let (turns, answer) = proxy.turns_of(browser.post(path)).await;
        assert_eq!((turns, answer.status.as_u16()), (0, 413), "{path}");
    }
    let (turns, answer) = proxy.turns_of(browser.post("/set/1000")).await;
    assert_eq!((turns, answer.status.as_u16()), (1, 200));
    // To be merged, it is looked for first.
    let (turns, answer) = proxy.turns_of(browser.post("/set/3000")).await;
    assert_eq!((turns, answer.status.as_u16()), (1, 413));
    assert_eq!(browser.post("/login/100").await.status, 200);
}

/// A cutoff of another kind of value is unknown, and not missing: 500 for sessions, 503 for tokens, neither the cookie nor
/// the token is called bad, and somebody is told.
///
/// Fails if: cutoffs are read with `MGET`.
#[tokio::test]
async fn a_cutoff_of_another_kind_lets_nobody_in() {
    let [_, bench] = benches_with(&Settings::default()).await;
    let server = bench.server();
    let seat = bench.one.sign_in("alice").await;
    let pair = bench.one.issue_for("alice", &seat).await.unwrap();
    let user = server.keys("portcullis:session:*").await[0].clone();
    let tag = user.split(['{', '}']).nth(1).unwrap();
    // The use is recorded, so that what follows are plain reads and loads in turn.
    assert!(seat.is_in(&bench.one).await);
    for key in [
        format!("portcullis:cutoff:{{{tag}}}"),
        "portcullis:cutoff:global".to_owned(),
    ] {
        server.cli(&["RPUSH", &key, "x"]).await;
        for node in bench.nodes() {
            let events = Events::capture();
            let browser = seat.browser.copy_at(&node.app);
            let answer = browser.get("/me").await;
            assert_eq!(answer.status, 500, "{key}: {answer:?}");
            assert!(answer.set_cookies().is_empty());
            assert_eq!(node.access(&pair).await, 503, "{key}");
            let refused = node.rotate(pair.refresh()).await.unwrap_err();
            assert_eq!(refused, RefreshErrorKind::Store, "{key}");
            assert!(events.count("store.corrupt") >= 3, "{}", events.text());
        }
        server.cli(&["DEL", &key]).await;
    }
    assert!(seat.is_in(&bench.one).await);
    bench.assert_alive(&pair).await;
}

/// The store's clock is ten minutes ahead of the node's: by it the token has expired, while this node goes on accepting it. Or
/// it is behind: then other nodes may be so, too.
///
/// Fails if: an entry ends before the token does, by either clock, or was never written.
#[tokio::test]
async fn a_revocation_lasts_by_the_node_s_clock_and_by_the_store_s() {
    let server = RedisServer::start().await;
    let store = Store::connect(&server.url()).await.unwrap();
    let blacklist = Blacklist::new(&store);
    for (behind_s, life) in [(0, 60), (600, 60), (600, 900), (-600, 60)] {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let now_ms = now.as_millis() as i64;
        let of_node = u64::try_from(now_ms - behind_s * 1_000).unwrap();
        let clock = Clock::settable(of_node);
        let store = Store::builder()
            .clock(clock.clone())
            .connect(&server.url())
            .await
            .unwrap();
        let signing = SigningKey::secret(JwtAlgorithm::Hs256, [7; 32]).unwrap();
        let issuer = Issuer::new(signing.kid("7").unwrap(), "https://id.example").audience("api");
        let issuer = issuer
            .lifetime(Duration::from_secs(life))
            .clock(clock.clone());
        let token = issuer.build().unwrap().mint(&Grant::user("alice")).unwrap();
        let key = JwtKey::secret(JwtAlgorithm::Hs256, [7; 32])
            .unwrap()
            .kid("7")
            .unwrap();
        let layer: JwtVerifyLayer<NoClaims> = JwtVerifyLayer::new(key)
            .issuer("https://id.example")
            .audience("api")
            .clock(clock.clone())
            .build()
            .unwrap();
        let (token, _) = layer.verify_at(token.token().as_bytes(), of_node).unwrap();
        Blacklist::new(&store).revoke(&token).await.unwrap();
        assert!(blacklist.is_revoked(&token).await.unwrap());
        let key = format!("jwt:blacklist:{}", token.jti().unwrap());
        let Value::Int(left) = server.cli(&["PTTL", &key]).await else {
            panic!("{key} has no end");
        };
        let by_both = life as i64 + (-behind_s).max(0);
        assert!(
            left >= by_both * 1_000,
            "{behind_s} s behind: {left} ms of {life} s"
        );
    }
}
