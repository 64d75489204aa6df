//! One session, two processes.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{COOKIE, Node, Pair, signed_in};
use crate::means::{http::Client, wait};

/// Logs in on the first, uses the session on the second, logs out there.
async fn one_session(pair: &Pair) {
    let client = signed_in(&pair.one, "alice").await;
    assert_eq!(pair.me(&client).await, [200, 200]);
    let old = client.clone_cookies();
    let answer = pair.two.logout(&client).await;
    assert_eq!(answer.status, 204);
    assert_eq!(client.cookie(COOKIE), None, "the cookie is removed");
    assert_eq!(pair.me(&old).await, [401, 401], "the old cookie is dead");
    assert!(pair.sessions().await.is_empty());
}

// Fails if: `Store::connect` were `Store::memory`, or `Session::destroy` only removed the cookie (`destroy.lua` without
// its `DEL`), or a node answered from what it remembers of the session.
#[tokio::test]
async fn login_on_one_process_and_logout_on_the_other_hold_on_both_at_once() {
    one_session(&Pair::start().await).await;
}

// Fails if: the record, the id or the signature depended on the framework.
#[tokio::test]
async fn axum_and_hyper_share_sessions() {
    let pair = Pair::of("axum", "hyper", &[]).await;
    one_session(&pair).await;
    // And the other way round.
    let client = signed_in(&pair.two, "bob").await;
    assert_eq!(pair.me(&client).await, [200, 200]);
    fifty_fields(&pair).await;
}

/// 50 requests at once, every other one on the other process; all have read the session before the first one writes.
async fn fifty_fields(pair: &Pair) {
    let client = Arc::new(signed_in(&pair.one, "alice").await);
    let mut writes = JoinSet::new();
    for n in 0..50 {
        let url = pair.nodes()[n % 2].app.url("/set");
        let client = Arc::clone(&client);
        let body = json!({ "key": format!("field-{n}"), "value": n, "delay_ms": 300 });
        writes.spawn(async move { client.post_json(&url, &body).await.status });
    }
    while let Some(status) = writes.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    for n in 0..50 {
        for node in pair.nodes() {
            assert_eq!(node.field(&client, &format!("field-{n}")).await, json!(n));
        }
    }
}

// Fails if: `save.lua` wrote what the request had read together with its own change (start from `names, values = {}, {}`
// instead of `fields_of`).
#[tokio::test]
async fn fifty_parallel_writes_over_two_processes_leave_fifty_fields() {
    fifty_fields(&Pair::start().await).await;
}

// Fails if: `login.lua` dropped the fields of the visitor, or kept them for another user.
#[tokio::test]
async fn what_a_visitor_left_moves_along_to_the_user_and_to_nobody_else() {
    let pair = Pair::start().await;
    let client = Client::new();
    for (node, count) in [(&pair.one, 1), (&pair.two, 2)] {
        let answer = node.get(&client, "/counter").await;
        assert_eq!(answer.json::<Value>(), json!({ "counter": count }));
    }
    let visitor = client.cookie(COOKIE).unwrap();
    pair.two.login(&client, "alice").await;
    assert_ne!(client.cookie(COOKIE).unwrap(), visitor, "a new id");
    assert_eq!(pair.one.field(&client, "counter").await, json!(2));
    pair.one.login(&client, "bob").await;
    assert_eq!(pair.two.field(&client, "counter").await, Value::Null);
}

// Fails if: `SessionId::hash` returned the id itself.
#[tokio::test]
async fn a_dump_of_the_server_signs_nobody_in() {
    let pair = Pair::start().await;
    let client = signed_in(&pair.one, "alice").await;
    let cookie = client.cookie(COOKIE).unwrap();
    let (id, mac) = cookie.split_once('.').unwrap();
    // Otherwise a dump could hold the text without showing it.
    pair.redis
        .cli(&["CONFIG", "SET", "rdbcompression", "no"])
        .await;
    let keys = pair.redis.keys("*").await;
    assert!(!keys.is_empty());
    for key in keys {
        let dump: Vec<u8> = pair.redis.ask(&["DUMP", &key]).await;
        let found = [key.as_bytes(), &dump].concat();
        // Not even the random half of the id, whatever stands around it.
        for part in [id, &id[id.len() - 20..], mac] {
            let part = part.as_bytes();
            assert!(
                !found.windows(part.len()).any(|window| window == part),
                "{key}"
            );
        }
        let thief = Client::new();
        let hash = key.rsplit(':').next().unwrap();
        thief.set_cookie(COOKIE, &format!("{hash}.{mac}"));
        assert_eq!(pair.me(&thief).await, [401, 401]);
    }
}

// Fails if: a process dropped the connections it has when it is asked to end.
#[tokio::test]
async fn a_process_that_is_asked_to_end_finishes_its_requests() {
    let pair = Pair::of("axum", "hyper", &[]).await;
    for (node, other) in [(&pair.one, &pair.two), (&pair.two, &pair.one)] {
        if !other.app.is_running() {
            continue;
        }
        let client = signed_in(node, "alice").await;
        let held = node.proxy.pause_before(super::races::is_write);
        let write = node.set(&client, "colour", "red", 0);
        let (answer, ()) = tokio::join!(write, async {
            held.reached().await;
            node.app.terminate();
            held.resume();
        });
        assert_eq!(answer.status, 200);
        assert_eq!(other.field(&client, "colour").await, json!("red"));
        wait::until_true("the process to end", || !node.app.is_running()).await;
    }
}

// Fails if: a cookie signed with another secret were taken.
#[tokio::test]
async fn a_process_with_another_secret_takes_no_cookies_of_these() {
    let pair = Pair::start().await;
    let client = signed_in(&pair.one, "alice").await;
    let proxy = crate::means::proxy::Proxy::start(pair.redis.port());
    let app = crate::means::process::Example::named("axum")
        .env("REDIS_URL", &proxy.url())
        .start()
        .await;
    app.printed("PORTCULLIS_SECRET is not set").await;
    let stranger = Node { app, proxy };
    let (turns, status) = stranger.proxy.turns_of(stranger.me(&client)).await;
    assert_eq!((turns, status), (0, 401));
    assert_eq!(pair.me(&client).await, [200, 200]);
}
