//! Time passes for what is stored without anybody waiting, on Redis as in memory.

use std::{collections::BTreeSet, time::Duration};

use portcullis::{
    KeyRing, Store,
    cutoff::Cutoffs,
    session::{SessionLayer, SessionLayerBuilder},
    testing::{age_everything, change_everything},
};

use crate::{
    means::{proxy::Proxy, redis::RedisServer},
    session::bench::{App, Backend, Browser, both},
};

const MINUTE: Duration = Duration::from_secs(60);

fn layer(store: &Store) -> SessionLayerBuilder {
    let keys = KeyRing::new("a secret of at least thirty-two bytes").unwrap();
    SessionLayer::builder(store, &keys)
        .idle_timeout(10 * MINUTE)
        .absolute_timeout(60 * MINUTE)
}

async fn signed_in(backend: &Backend) -> Browser {
    let browser = Browser::new(&App::with(layer(&backend.store).touch_interval(MINUTE)));
    assert_eq!(browser.post("/login/alice").await.status, 200);
    browser
}

/// With Redis the present goes on by itself: a second is left for the test to run in.
const SECOND: Duration = Duration::from_secs(1);

/// Fails if: any of the stored moments is not set back (the expiry of the key, `touched`, the score in the index).
#[tokio::test]
async fn the_idle_timeout_counts_from_the_last_use() {
    for backend in both().await {
        let browser = signed_in(&backend).await;
        for _ in 0..3 {
            age_everything(&backend.store, 10 * MINUTE - SECOND)
                .await
                .unwrap();
            assert!(
                browser.is_logged_in().await,
                "{}: a second before the limit",
                backend.name
            );
        }
        age_everything(&backend.store, 10 * MINUTE).await.unwrap();
        assert!(
            !browser.is_logged_in().await,
            "{}: at the limit",
            backend.name
        );
    }
}

/// Fails if: `deadline` is not set back, or a use extends the life past it.
#[tokio::test]
async fn the_absolute_timeout_ends_a_session_that_is_used_each_minute() {
    for backend in both().await {
        let browser = signed_in(&backend).await;
        for minute in 1..60 {
            age_everything(&backend.store, MINUTE).await.unwrap();
            assert!(
                browser.is_logged_in().await,
                "{}: minute {minute}",
                backend.name
            );
        }
        age_everything(&backend.store, MINUTE).await.unwrap();
        assert!(!browser.is_logged_in().await, "{}", backend.name);
        if let Some(server) = &backend.server {
            let mut left = server.keys("*").await;
            left.retain(|key| key != "portcullis:cutoff:latest");
            assert!(left.is_empty(), "the index ends with it: {left:?}");
        }
    }
}

/// Fails if: cutoffs keep their moment while sessions grow older, or the other way round.
#[tokio::test]
async fn a_cutoff_and_the_logins_around_it_keep_their_order() {
    for backend in both().await {
        let cutoffs = Cutoffs::new(&backend.store);
        let before = signed_in(&backend).await;
        cutoffs.everyone().await.unwrap();
        let after = signed_in(&backend).await;
        age_everything(&backend.store, 5 * MINUTE).await.unwrap();
        assert!(!before.is_logged_in().await, "{}", backend.name);
        assert!(after.is_logged_in().await, "{}", backend.name);
        cutoffs.user("", "alice").await.unwrap();
        assert!(!after.is_logged_in().await, "{}", backend.name);
    }
}

/// A use is recorded once a minute; in between a read is a plain read. Every one is one turn.
///
/// Fails if: the record of a use is not throttled, or this node takes an old use for a fresh one.
#[tokio::test]
async fn a_use_is_recorded_once_a_minute() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let store = Store::connect(&proxy.url()).await.unwrap();
    let browser = Browser::new(&App::with(layer(&store).touch_interval(MINUTE)));
    browser.post("/login/alice").await;
    for _ in 0..3 {
        let mut reads = Vec::new();
        for _ in 0..4 {
            let (turns, alive) = proxy.turns_of(browser.is_logged_in()).await;
            assert!(alive);
            assert_eq!(turns, 1);
            reads.extend(proxy.log().iter().map(|command| command.name()));
            age_everything(&store, MINUTE / 4).await.unwrap();
        }
        // The first of the four is due from the second round on.
        reads.sort();
        // The record, the user's cutoff and everyone's.
        let plain = reads.iter().filter(|name| *name == "GET").count() / 3;
        assert!((3..=4).contains(&plain), "{reads:?}");
    }
    let (_, alive) = proxy.turns_of(browser.is_logged_in()).await;
    assert!(alive);
    assert_eq!(
        proxy
            .log()
            .iter()
            .filter(|command| command.name() == "GET")
            .count(),
        0,
        "due"
    );
}

/// Another program's value under the prefix stays what it is.
#[tokio::test]
async fn foreign_values_stay() {
    let server = RedisServer::start().await;
    let store = Store::connect(&server.url()).await.unwrap();
    server.cli(&["RPUSH", "portcullis:list", "a"]).await;
    server.cli(&["SET", "portcullis:note", "123"]).await;
    server.cli(&["SET", "elsewhere", "1", "PX", "60000"]).await;
    server
        .cli(&["SETEX", "jwt:blacklist:some-id", "600", "stolen"])
        .await;
    age_everything(&store, 5 * MINUTE).await.unwrap();
    let text: String = server.ask(&["GET", "portcullis:note"]).await;
    assert_eq!(text, "123");
    assert_eq!(
        server.keys("*").await,
        [
            "elsewhere",
            "jwt:blacklist:some-id",
            "portcullis:list",
            "portcullis:note"
        ]
    );
    let left: i64 = server.ask(&["TTL", "jwt:blacklist:some-id"]).await;
    assert!((200..=300).contains(&left), "{left}");
    age_everything(&store, 5 * MINUTE).await.unwrap();
    assert_eq!(server.keys("jwt:*").await, [""; 0]);
}

/// Fails if: what is stored is not handed over whole, or what a test put in its place is not what is read from then on.
#[tokio::test]
async fn what_is_stored_can_be_changed_behind_everybodys_back() {
    for backend in both().await {
        let browser = signed_in(&backend).await;
        let (mut keys, mut parts) = (BTreeSet::new(), 0);
        change_everything(&backend.store, |key, _| {
            keys.insert(key.split('{').next().map(str::to_owned));
            parts += 1;
        })
        .await
        .unwrap();
        // The record, and in the index its member, the name and the value.
        assert!(keys.len() >= 2 && parts >= 4, "{}: {keys:?}", backend.name);
        assert!(browser.is_logged_in().await, "{}", backend.name);
        let spoil = |key: &str, text: &mut Vec<u8>| {
            if key.contains("session:") {
                text.truncate(10);
            }
        };
        change_everything(&backend.store, spoil).await.unwrap();
        let answer = browser.get("/me").await;
        assert_eq!(answer.status, 500, "{}: {answer:?}", backend.name);
    }
}
