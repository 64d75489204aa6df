//! Pairs of tokens over gRPC, with a Python client, between two processes on one Redis.

use serde_json::{Value, json};

use super::{
    AWAY, BAD_TOKEN, NO_TOKEN, Node, WELL,
    python::{Called, PythonClient},
};
use crate::means::redis::RedisServer;

const BAD_GRANT: (&str, &str) = (
    "UNAUTHENTICATED",
    "the refresh token is expired, revoked or invalid",
);

/// Two processes, a client, and a pair of tokens now and then.
struct Bench {
    redis: RedisServer,
    one: Node,
    two: Node,
    client: PythonClient,
}

#[derive(Clone, Debug, PartialEq)]
struct Pair {
    access: String,
    refresh: String,
}

impl Pair {
    fn of(called: &Called) -> Self {
        assert_eq!(called.outcome(), WELL, "{called:?}");
        assert_eq!(called.answer["expires_in"], "3600", "{called:?}");
        let text = |name: &str| called.answer[name].as_str().unwrap().to_owned();
        Self {
            access: text("access_token"),
            refresh: text("refresh_token"),
        }
    }
}

impl Bench {
    async fn start() -> Self {
        let redis = RedisServer::start().await;
        let (one, two) = (Node::start(&redis).await, Node::start(&redis).await);
        let client = PythonClient::start().await;
        Self {
            redis,
            one,
            two,
            client,
        }
    }

    /// At the first process or at the second.
    async fn call(&mut self, at: usize, method: &str, message: Value, token: &str) -> Called {
        let node = [&self.one, &self.two][at];
        let token = Some(token).filter(|token| !token.is_empty());
        self.client.auth(node, method, message, token).await
    }

    async fn login(&mut self, at: usize, user: &str, password: &str) -> Called {
        let message = json!({ "username": user, "password": password });
        self.call(at, "Login", message, "").await
    }

    async fn alice(&mut self, at: usize) -> Pair {
        Pair::of(&self.login(at, "alice", "wonderland").await)
    }

    async fn refresh(&mut self, at: usize, pair: &Pair) -> Called {
        let message = json!({ "refresh_token": pair.refresh });
        self.call(at, "Refresh", message, "").await
    }

    async fn devices(&mut self, at: usize, pair: &Pair) -> Vec<Value> {
        let called = self.call(at, "ListDevices", json!({}), &pair.access).await;
        assert_eq!(called.outcome(), WELL, "{called:?}");
        called.answer["devices"].as_array().unwrap().clone()
    }

    /// Whether the access token opens the health service and its own, at both; no half answers.
    async fn is_good(&mut self, pair: &Pair) -> bool {
        let mut outcomes = Vec::new();
        for at in 0..2 {
            let node = [&self.one, &self.two][at];
            outcomes.push(self.client.check(node, &pair.access).await);
            outcomes.push(self.call(at, "ListDevices", json!({}), &pair.access).await);
        }
        let good = outcomes[0].outcome() == WELL;
        for called in &outcomes {
            if good {
                assert_eq!(called.outcome(), WELL, "{outcomes:?}");
            } else {
                assert_eq!(called.outcome(), BAD_TOKEN, "{outcomes:?}");
                assert!(called.trailers_only, "{called:?}");
                let challenge = &called.metadata["www-authenticate"];
                assert!(challenge.contains(r#"error="invalid_token""#), "{called:?}");
            }
        }
        good
    }

    /// Neither of its tokens is good for anything, at either process.
    async fn is_over(&mut self, pair: &Pair) {
        assert!(!self.is_good(pair).await);
        for at in 0..2 {
            let called = self.refresh(at, pair).await;
            assert_eq!(called.outcome(), BAD_GRANT, "{called:?}");
        }
    }

    /// Makes every family 11 s older than it is: the grace time of the last rotation is over.
    async fn age(&self) {
        let script = "for _, key in ipairs(redis.call('KEYS', '*:refresh:*')) do
            redis.call('HINCRBY', key, 'rot', -11000) end";
        self.redis.cli(&["EVAL", script, "0"]).await;
    }
}

/// R92, R95: a stolen token that is used two generations later ends the login, wherever it is used.
///
/// Fails if: a process decides by its own memory; reuse leaves the access tokens alone; the layers are not around the
/// service; a refusal has a body or another status than 200.
#[tokio::test]
async fn the_replay_of_a_grandparent_at_one_process_ends_the_login_at_both() {
    let mut bench = Bench::start().await;
    let first = bench.alice(0).await;
    let others = bench.alice(1).await;
    assert!(bench.is_good(&first).await);

    let second = Pair::of(&bench.refresh(0, &first).await);
    let retried = Pair::of(&bench.refresh(1, &first).await);
    assert_eq!(
        retried.refresh, second.refresh,
        "the answer was lost, perhaps"
    );
    bench.age().await;
    let third = Pair::of(&bench.refresh(0, &second).await);
    assert_ne!(third.refresh, second.refresh);
    for pair in [&first, &second, &third] {
        assert!(bench.is_good(pair).await, "a login has one life");
    }

    let replayed = bench.refresh(1, &first).await;
    assert_eq!(replayed.outcome(), BAD_GRANT, "{replayed:?}");
    for pair in [&first, &second, &third] {
        bench.is_over(pair).await;
    }
    assert!(bench.is_good(&others).await, "another device of hers");
    assert!(bench.is_good(&bench.one.token("ALICE").into()).await);
}

/// A token without a refresh token beside it.
impl From<String> for Pair {
    fn from(access: String) -> Self {
        Self {
            access,
            refresh: String::new(),
        }
    }
}

/// Fails if: a wrong password or a forged token has tokens; an expired access token, which clients send with every call,
/// keeps them from the next one; a method of the user's works without an access token.
#[tokio::test]
async fn who_may_call_what() {
    let mut bench = Bench::start().await;
    for (user, password) in [
        ("alice", "looking glass"),
        ("mallory", "wonderland"),
        ("", ""),
    ] {
        let called = bench.login(0, user, password).await;
        let expected = ("UNAUTHENTICATED", "wrong user name or password");
        assert_eq!(called.outcome(), expected);
    }
    let pair = bench.alice(0).await;
    let expired = bench.one.token("EXPIRED");
    let message = json!({ "refresh_token": pair.refresh });
    let next = bench.call(1, "Refresh", message, &expired).await;
    Pair::of(&next);
    for bad in ["", "forged", &pair.access] {
        let called = bench
            .refresh(
                0,
                &Pair {
                    access: String::new(),
                    refresh: bad.to_owned(),
                },
            )
            .await;
        assert_eq!(called.outcome(), BAD_GRANT, "{bad}");
    }
    for method in [
        "ListDevices",
        "RevokeDevice",
        "LogoutOthers",
        "LogoutEverywhere",
    ] {
        for (token, expected) in [
            ("", NO_TOKEN),
            (&*expired, BAD_TOKEN),
            (&*pair.refresh, BAD_TOKEN),
        ] {
            let called = bench.call(1, method, json!({}), token).await;
            assert_eq!(called.outcome(), expected, "{method}");
            assert!(called.trailers_only, "{called:?}");
        }
    }
    assert!(bench.is_good(&pair).await);
}

/// Fails if: the list lacks a device or shows another user's; the wrong one is ended, or not everything of it.
#[tokio::test]
async fn devices_are_listed_and_ended() {
    let mut bench = Bench::start().await;
    let (here, there) = (bench.alice(0).await, bench.alice(1).await);
    let bob = Pair::of(&bench.login(0, "bob", "builder").await);
    let list = bench.devices(1, &here).await;
    let current: Vec<_> = list.iter().filter(|d| d["current"] == true).collect();
    assert_eq!((list.len(), current.len()), (2, 1), "{list:?}");
    let agent = current[0]["user_agent"].as_str().unwrap();
    assert!(agent.starts_with("grpc-python"), "{agent}");
    assert_eq!(bench.devices(0, &bob).await.len(), 1);

    let id = |list: &[Value], current: bool| {
        let device = list.iter().find(|d| (d["current"] == true) == current);
        json!({ "id": device.unwrap()["id"] })
    };
    let bobs = id(&bench.devices(0, &bob).await, true);
    let called = bench.call(0, "RevokeDevice", bobs, &here.access).await;
    assert_eq!(called.code, "NOT_FOUND", "{called:?}");
    assert!(bench.is_good(&bob).await);

    let called = bench
        .call(0, "RevokeDevice", id(&list, false), &here.access)
        .await;
    assert_eq!(
        (called.outcome(), &called.answer["devices"]),
        (WELL, &json!("1"))
    );
    bench.is_over(&there).await;
    assert!(bench.is_good(&here).await);
    assert_eq!(bench.devices(1, &here).await.len(), 1);
}

/// Fails if: "others" ends this device or leaves one of the others; "everywhere" leaves any; another user is hit.
#[tokio::test]
async fn a_user_logs_out_elsewhere_and_everywhere() {
    let mut bench = Bench::start().await;
    let here = bench.alice(0).await;
    let there = [bench.alice(0).await, bench.alice(1).await];
    let bob = Pair::of(&bench.login(1, "bob", "builder").await);
    let called = bench.call(1, "LogoutOthers", json!({}), &here.access).await;
    assert_eq!(
        (called.outcome(), &called.answer["devices"]),
        (WELL, &json!("2"))
    );
    for pair in &there {
        bench.is_over(pair).await;
    }
    assert!(!bench.is_good(&here).await, "as the proto says");
    let here = Pair::of(&bench.refresh(0, &here).await);
    assert!(bench.is_good(&here).await);

    let there = bench.alice(1).await;
    let called = bench
        .call(0, "LogoutEverywhere", json!({}), &there.access)
        .await;
    assert_eq!(
        (called.outcome(), &called.answer["devices"]),
        (WELL, &json!("2"))
    );
    for pair in [&here, &there] {
        bench.is_over(pair).await;
    }
    let again = bench.alice(0).await;
    assert!(bench.is_good(&again).await, "a login right after it");
    assert!(bench.is_good(&bob).await);
}

/// Nobody can say, and nobody is told that a token is bad; the same token works afterwards.
///
/// Fails if: an error of the store is UNAUTHENTICATED or INTERNAL to the client.
#[tokio::test]
async fn an_outage_is_unavailable_and_costs_no_token() {
    let mut bench = Bench::start().await;
    let pair = bench.alice(0).await;
    bench.redis.stop();
    let refused = [
        bench.refresh(0, &pair).await,
        bench.login(0, "alice", "wonderland").await,
        bench.call(1, "ListDevices", json!({}), &pair.access).await,
    ];
    bench.redis.cont();
    for called in refused {
        assert_eq!(called.outcome(), AWAY, "{called:?}");
        assert_eq!(called.metadata["grpc-retry-pushback-ms"], "1000");
    }
    let begun = std::time::Instant::now();
    let next = loop {
        let called = bench.refresh(0, &pair).await;
        if called.outcome() == WELL || begun.elapsed() > crate::means::wait::PATIENCE {
            break Pair::of(&called);
        }
        assert_eq!(called.outcome(), AWAY, "{called:?}");
    };
    assert_ne!(next.refresh, pair.refresh);
}
