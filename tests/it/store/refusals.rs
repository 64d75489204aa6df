//! A server that is there and says no.

use std::time::Duration;

use portcullis::{Store, StoreErrorKind, cutoff::Cutoffs, session::SessionLayer};
use tokio::{task::JoinSet, time::Instant};

use super::{ask, in_time, works_within_a_second};
use crate::{
    means::{proxy::Proxy, redis::RedisServer, wait},
    session::bench::{App, Browser, keys},
};

/// Records every use: the strictest reader there is.
fn app(store: &Store) -> App {
    App::with(SessionLayer::builder(store, &keys()).touch_interval(Duration::ZERO))
}

/// Fails if: a refused login to the server is not told apart from an outage, or never tried again.
#[tokio::test]
async fn a_wrong_password_until_it_is_mended() {
    let server = RedisServer::start_with_login("gate", "keeper").await;
    let proxy = Proxy::start(server.port());
    for url in [
        format!("redis://gate:wrong@127.0.0.1:{}", proxy.port()),
        proxy.url(),
    ] {
        let error = in_time("connecting", Store::connect(&url))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Denied, "{error:?}");
        assert!(!error.is_outage());
    }
    let store =
        Store::connect_lazy(&format!("redis://gate:wrong@127.0.0.1:{}", proxy.port())).unwrap();
    proxy.reset_counts();
    let end = Instant::now() + Duration::from_secs(1);
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    while Instant::now() < end {
        pace.tick().await;
        assert_eq!(ask(&store).await, Err(StoreErrorKind::Denied));
    }
    eprintln!("wrong password: {} connections", proxy.connections());
    assert!(proxy.connections() <= 16, "{}", proxy.connections());
    server.cli(&["ACL", "SETUSER", "gate", ">wrong"]).await;
    works_within_a_second(&store).await;
}

#[tokio::test]
async fn no_permission_for_scripts_until_it_is_granted() {
    let server = RedisServer::start().await;
    let rules = [
        "ACL",
        "SETUSER",
        "limited",
        "on",
        ">secret",
        "~*",
        "&*",
        "+@all",
        "-@scripting",
    ];
    server.cli(&rules).await;
    let store = Store::connect(&format!(
        "redis://limited:secret@127.0.0.1:{}",
        server.port()
    ))
    .await
    .unwrap();
    assert_eq!(ask(&store).await, Err(StoreErrorKind::Denied));
    let alice = Browser::new(&app(&store));
    let answer = in_time("a login", alice.post("/login/alice")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.set_cookies().len()),
        (503, 0)
    );
    server
        .cli(&["ACL", "SETUSER", "limited", "+@scripting"])
        .await;
    assert!(ask(&store).await.is_ok(), "on the same connection");
    // Scripts may run, but not touch these keys.
    server
        .cli(&["ACL", "SETUSER", "limited", "resetkeys", "~other:*"])
        .await;
    assert_eq!(ask(&store).await, Err(StoreErrorKind::Denied));
}

/// Fails if: a value of another kind is taken for an outage, or for none.
#[tokio::test]
async fn a_key_that_holds_something_else() {
    let server = RedisServer::start().await;
    let store = Store::connect(&server.url()).await.unwrap();
    let alice = Browser::new(&app(&store));
    alice.post("/login/alice").await;
    server
        .cli(&["RPUSH", "portcullis:cutoff:global", "x"])
        .await;
    let error = Cutoffs::new(&store).everyone().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert!(!error.is_outage());
    assert_eq!(
        alice.get("/me").await.status,
        500,
        "no cutoff can be read: nobody is let in, nobody logged out"
    );
    assert!(ask(&store).await.is_ok(), "others are not affected");
    server.cli(&["DEL", "portcullis:cutoff:global"]).await;
    assert!(alice.is_logged_in().await);
}

/// Fails if: memory that has run out makes reading impossible, because a use cannot be recorded.
#[tokio::test]
async fn a_server_whose_memory_is_full() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]).await;
    let store = Store::connect(&server.url()).await.unwrap();
    let alice = Browser::new(&app(&store));
    let bob = Browser::new(&alice.app);
    alice.post("/login/alice").await;
    bob.post("/login/bob").await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(ask(&store).await, Err(StoreErrorKind::Server));
    let answer = alice.post("/set/a/b").await;
    assert_eq!(
        (answer.status.as_u16(), answer.set_cookies().len()),
        (503, 0)
    );
    assert!(alice.is_logged_in().await, "what is there can be read");
    assert_eq!(bob.post("/logout").await.status, 200, "and ended");
    let late = Browser::new(&alice.app).post("/login/late").await;
    assert_eq!(late.status, 503);
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert!(ask(&store).await.is_ok());
    assert!(alice.is_logged_in().await);
}

/// A primary that became a replica, under traffic, and became one again.
///
/// Fails if: `READONLY` is not taken for a reason to connect anew, or each one starts a connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_demoted() {
    let (server, primary) = (
        RedisServer::start().await,
        RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]).await,
    );
    let proxy = Proxy::start(server.port());
    let store = Store::connect(&proxy.url()).await.unwrap();
    ask(&store).await.unwrap();
    server
        .cli(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()])
        .await;
    proxy.reset_counts();
    let end = Instant::now() + Duration::from_secs(1);
    let mut callers = JoinSet::new();
    for _ in 0..64 {
        let store = store.clone();
        callers.spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(5));
            while Instant::now() < end {
                pace.tick().await;
                let kind = ask(&store).await.expect_err("a replica takes no writes");
                assert!(
                    [StoreErrorKind::Server, StoreErrorKind::Unavailable].contains(&kind),
                    "{kind:?}"
                );
            }
        });
    }
    callers.join_all().await;
    eprintln!("demoted: {} connections", proxy.connections());
    assert!(
        (1..=16).contains(&proxy.connections()),
        "{}",
        proxy.connections()
    );
    server.cli(&["REPLICAOF", "NO", "ONE"]).await;
    works_within_a_second(&store).await;
}

/// A server that is reading its data after a start.
#[tokio::test]
async fn a_server_that_is_loading() {
    let slow = [
        "--enable-debug-command",
        "yes",
        "--key-load-delay",
        "10000",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    let server = RedisServer::start_with(&slow).await;
    let store = Store::connect(&server.url()).await.unwrap();
    let alice = Browser::new(&app(&store));
    alice.post("/login/alice").await;
    let many = "for i = 1, 150 do redis.call('SET', 'other:' .. i, string.rep('x', 2048)) end";
    server.cli(&["EVAL", many, "0"]).await;
    let reload = server.cli(&["DEBUG", "RELOAD"]);
    let meanwhile = async {
        // Until the loading begins the server may be busy with saving, and late.
        let refused = async || {
            ask(&store)
                .await
                .err()
                .filter(|kind| *kind == StoreErrorKind::Server)
        };
        wait::until("the loading to begin", refused).await;
        let answer = in_time("a request", alice.get("/me")).await;
        assert_eq!(answer.status, 503);
        wait::until("the loading to end", async || ask(&store).await.ok()).await;
        assert!(alice.is_logged_in().await);
    };
    tokio::join!(reload, meanwhile);
}

/// Fails if: `NOSCRIPT` reaches the caller, or the next call pays for it again.
#[tokio::test]
async fn flushed_scripts_cost_one_more_turn_once() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let store = Store::connect(&proxy.url()).await.unwrap();
    let app = app(&store);
    let login = async |user: &str| {
        let browser = Browser::new(&app);
        let (turns, answer) = proxy
            .turns_of(browser.post(&format!("/login/{user}")))
            .await;
        assert_eq!(answer.status, 200);
        turns
    };
    assert_eq!(login("first").await, 1);
    assert_eq!(login("second").await, 1);
    server.cli(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(login("third").await, 2, "refused, then sent whole");
    assert_eq!(login("fourth").await, 1);
    let names: Vec<_> = proxy.log().iter().map(|command| command.name()).collect();
    assert_eq!(names, ["EVALSHA"]);
}
