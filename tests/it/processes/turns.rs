//! The budget of round trips, counted between a process and the server.

use serde_json::{Value, json};

use super::{COOKIE, Node, Pair, signed_in};
use crate::means::http::{Answer, Client};

/// Turns and status.
async fn turns(node: &Node, action: impl Future<Output = Answer>) -> (usize, u16) {
    let (turns, answer) = node.proxy.turns_of(action).await;
    (turns, answer.status.as_u16())
}

/// Moves the moment of the last recorded use of the only session back, as if time had passed.
async fn age(pair: &Pair, milliseconds: i64) -> i64 {
    let [key] = &pair.sessions().await[..] else {
        panic!("one session");
    };
    let record: String = pair.redis.ask(&["GET", key]).await;
    let touched = touched(&record);
    let aged = format!(
        "{}{:015}{}",
        &record[..41],
        touched - milliseconds,
        &record[56..]
    );
    pair.redis.cli(&["SET", key, &aged, "KEEPTTL"]).await;
    touched
}

/// The place of the last recorded use in a record.
fn touched(record: &str) -> i64 {
    record[41..56].parse().expect("15 digits")
}

async fn last_use(pair: &Pair) -> i64 {
    let record: String = pair.redis.ask(&["GET", &pair.sessions().await[0]]).await;
    touched(&record)
}

// Fails if: the session were loaded in `SessionGate::enter`, or an id were looked up before its signature is checked.
#[tokio::test]
async fn visitors_and_forged_cookies_never_reach_the_server() {
    let pair = Pair::of("axum", "hyper", &[]).await;
    let alice = signed_in(&pair.one, "alice").await;
    let real = alice.cookie(COOKIE).unwrap();
    let other_end = if real.ends_with('A') { "B" } else { "A" };
    let forged = format!("{}{other_end}", &real[..real.len() - 1]);
    for node in pair.nodes() {
        for (path, status) in [
            ("/", 200),
            ("/healthz", 200),
            ("/me", 401),
            ("/get?key=a", 200),
        ] {
            for cookie in [None, Some("nonsense"), Some(&forged[..])] {
                let client = Client::new();
                if let Some(cookie) = cookie {
                    client.set_cookie(COOKIE, cookie);
                }
                let counted = turns(node, node.get(&client, path)).await;
                assert_eq!(counted, (0, status), "{path} {cookie:?}");
            }
        }
        // Nor does a session that the answer does not depend on.
        assert_eq!(turns(node, node.get(&alice, "/healthz")).await, (0, 200));
    }
}

// Fails if: the cutoffs were read in a trip of their own, or `Config::load_call` touched by a second command, or
// `Session::merge` loaded again before it saves.
#[tokio::test]
async fn a_read_is_one_turn_and_a_read_with_a_write_two() {
    let pair = Pair::of("axum", "hyper", &[]).await;
    let client = signed_in(&pair.one, "bob").await;
    for (node, value) in pair.nodes().into_iter().zip(["b", "c"]) {
        // The first read on a process asks whether a touch is due, the second one knows.
        for _ in 0..2 {
            assert_eq!(turns(node, node.get(&client, "/me")).await, (1, 200));
        }
        assert_eq!(
            turns(node, node.set(&client, "a", value, 0)).await,
            (2, 200)
        );
        // An equal value is no change.
        assert_eq!(
            turns(node, node.set(&client, "a", value, 0)).await,
            (1, 200)
        );
        assert_eq!(turns(node, node.get(&client, "/counter")).await, (2, 200));
    }
}

// Fails if: a due touch were not recorded (`load.lua` without its `SET`), or recorded in a trip of its own.
#[tokio::test]
async fn a_due_touch_rides_in_the_read() {
    let pair = Pair::start().await;
    let client = signed_in(&pair.one, "alice").await;
    let at_login = age(&pair, 10 * 60_000).await;
    assert_eq!(
        turns(&pair.two, pair.two.get(&client, "/me")).await,
        (1, 200)
    );
    assert!(last_use(&pair).await >= at_login, "the use is recorded");
    age(&pair, 1_000).await;
    let recorded = last_use(&pair).await;
    assert_eq!(
        turns(&pair.two, pair.two.get(&client, "/me")).await,
        (1, 200)
    );
    assert_eq!(last_use(&pair).await, recorded, "no touch is due");
}

// Fails if: login deleted the old session, or wrote the device index, by a command of its own; or logout read first.
#[tokio::test]
async fn login_and_logout_are_one_turn_each() {
    let pair = Pair::of("axum", "hyper", &[]).await;
    // Both ask for the moment first, before they look at the password.
    let moment = 1;
    for node in pair.nodes() {
        let client = Client::new();
        assert_eq!(
            turns(node, node.get(&client, "/counter")).await,
            (1, 200),
            "made"
        );
        for user in ["alice", "alice", "bob"] {
            let counted = turns(node, node.login(&client, user)).await;
            assert_eq!(counted, (moment + 1, 200));
        }
        assert_eq!(turns(node, node.logout(&client)).await, (1, 204));
        assert_eq!(
            turns(node, node.logout(&client)).await,
            (0, 204),
            "nothing left"
        );
        // A wrong password asks nobody more.
        let body = json!({ "username": "alice", "password": "builder" });
        let url = node.app.url("/login");
        let wrong = client.post_json(&url, &body);
        let (turns, answer) = node.proxy.turns_of(wrong).await;
        assert_eq!((turns, answer.status.as_u16()), (moment, 401));
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.json::<Value>()["code"], "wrong_password");
        assert!(answer.set_cookies().is_empty());
    }
}
