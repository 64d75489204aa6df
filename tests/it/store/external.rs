//! Connections that the application made: the deadline and the breaker are ours.

use std::time::Duration;

use portcullis::{Store, StoreErrorKind, cutoff::Cutoffs};
use redis::{
    Client,
    aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
};
use tokio::{task::JoinSet, time::Instant};

use super::{ask, in_time};
use crate::{
    means::{proxy::Proxy, redis::RedisServer, wait},
    session::bench::{App, Browser},
};

const CALLERS: usize = 64;

async fn multiplexed(url: &str) -> MultiplexedConnection {
    // The driver's own patience is longer than ours: ours decides.
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let client = Client::open(url).unwrap();
    client
        .get_multiplexed_async_connection_with_config(&patient)
        .await
        .unwrap()
}

/// With its own defaults it makes callers wait for its reconnects, far beyond any deadline.
async fn manager(url: &str) -> ConnectionManager {
    let config = ConnectionManagerConfig::new().set_response_timeout(Some(Duration::from_secs(30)));
    ConnectionManager::new_with_config(Client::open(url).unwrap(), config)
        .await
        .unwrap()
}

async fn both(url: &str) -> [(&'static str, Store); 2] {
    let multiplexed = Store::builder().from_redis(multiplexed(url).await).unwrap();
    let manager = Store::builder().from_redis(manager(url).await).unwrap();
    [("multiplexed", multiplexed), ("manager", manager)]
}

/// Many callers for a second, each call in time; how many calls there were.
async fn hammer(store: &Store) -> usize {
    let end = Instant::now() + Duration::from_secs(1);
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let store = store.clone();
        callers.spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(5));
            let mut calls = 0;
            while Instant::now() < end {
                pace.tick().await;
                let kind = ask(&store).await.expect_err("the server is away");
                assert!(
                    [StoreErrorKind::Timeout, StoreErrorKind::Unavailable].contains(&kind),
                    "{kind:?}"
                );
                calls += 1;
            }
            calls
        });
    }
    callers.join_all().await.into_iter().sum()
}

#[tokio::test]
async fn sessions_work_over_either() {
    let server = RedisServer::start().await;
    for (name, store) in both(&server.url()).await {
        let alice = Browser::new(&App::new(&store));
        assert_eq!(alice.post("/login/alice").await.status, 200, "{name}");
        assert!(alice.is_logged_in().await, "{name}");
        Cutoffs::new(&store).user("", "alice").await.unwrap();
        assert!(!alice.is_logged_in().await, "{name}");
        assert!(store.check().await.unwrap().is_empty(), "{name}");
    }
}

/// Fails if: the breaker never opens (every call is then sent into the black hole), or never closes again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_and_the_breaker_hold_in_a_black_hole() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    for (name, store) in both(&proxy.url()).await {
        ask(&store).await.unwrap();
        proxy.blackhole(true);
        proxy.reset_counts();
        let calls = hammer(&store).await;
        let sent = proxy.commands().len();
        eprintln!("{name}: {sent} of {calls} calls were sent");
        // One per caller before the first failures are known, then one in 50 ms.
        assert!(
            sent <= CALLERS + 25,
            "{name}: {sent} of {calls} calls were sent"
        );
        proxy.blackhole(false);
        wait::until("the store to answer", async || ask(&store).await.ok()).await;
        wait::until_true("late replies", || proxy.is_idle()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_reconnects_is_never_waited_for() {
    let mut server = RedisServer::start().await;
    let store = Store::builder()
        .from_redis(manager(&server.url()).await)
        .unwrap();
    ask(&store).await.unwrap();
    server.kill();
    hammer(&store).await;
    server.restart().await;
    wait::until("the manager to reconnect", async || ask(&store).await.ok()).await;
}

/// Fails if: a call that its caller gave up counts as a failure, and the breaker opens for everybody.
#[tokio::test]
async fn callers_who_go_away_do_not_open_the_breaker() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    for (name, store) in both(&proxy.url()).await {
        let cutoffs = Cutoffs::new(&store);
        for _ in 0..8 {
            let gone = tokio::time::timeout(Duration::ZERO, cutoffs.user("", "alice")).await;
            assert!(
                gone.is_err(),
                "{name}: answered at once, the breaker is open"
            );
        }
        assert!(ask(&store).await.is_ok(), "{name}");
    }
}

/// Scripts that the server has lost are sent again in the same call.
#[tokio::test]
async fn lost_scripts_are_healed() {
    let server = RedisServer::start().await;
    for (name, store) in both(&server.url()).await {
        for _ in 0..2 {
            server.cli(&["SCRIPT", "FLUSH"]).await;
            assert!(in_time("a call", ask(&store)).await.is_ok(), "{name}");
        }
    }
}
