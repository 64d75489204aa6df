//! Crowds: one token presented by everybody at once, to two operating-system processes over many connections.

use std::{collections::BTreeSet, process::Command};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use portcullis::{Clock, refresh::RefreshErrorKind};
use tokio::task::JoinSet;

use super::kit::{Node, Settings, benches_with, connect};
use crate::means::{
    ROLE,
    http::Client,
    process::{Example, Running},
    redis::RedisServer,
};

/// A process of the service: this program once more, as one test that does nothing but serve.
async fn process(redis: &RedisServer, role: &str) -> Running {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "refresh::crowd::serves_when_told_to",
        "--nocapture",
    ]);
    command.args(["--test-threads", "1"]);
    Example::named(role)
        .env(ROLE, role)
        .env("REFRESH_REDIS", &redis.url())
        .start_command(command)
        .await
}

async fn rotate(State(node): State<Node>, token: String) -> (StatusCode, String) {
    match node.rotate(&token).await {
        Ok(pair) => (
            StatusCode::OK,
            format!("{} {}", pair.refresh(), pair.access().token()),
        ),
        Err(kind) => (StatusCode::BAD_REQUEST, format!("{kind:?}")),
    }
}

async fn issue(State(node): State<Node>, user: String) -> String {
    let pair = node.issue(&user).await;
    format!("{} {}", pair.refresh(), pair.access().token())
}

async fn access(State(node): State<Node>, token: String) -> String {
    node.bearer(&token).await.0.to_string()
}

async fn devices(State(node): State<Node>, user: String) -> String {
    node.sids(&user).await.len().to_string()
}

async fn revoke_all(State(node): State<Node>, user: String) -> String {
    let ended = node.devices.revoke_all("", &user).await.unwrap();
    ended.to_string()
}

/// The other half of [`process`]; for everybody else it is no test.
#[tokio::test]
async fn serves_when_told_to() {
    let settings = match std::env::var(ROLE).as_deref() {
        Ok("graceful") => Settings::default(),
        Ok("strict") => Settings::strict(),
        Ok("three") => Settings::rotating(|builder| builder.max_devices(3)),
        _ => return,
    };
    let store = connect(&std::env::var("REFRESH_REDIS").unwrap()).await;
    let router = Router::new()
        .route("/", get(async || ""))
        .route("/rotate", post(rotate))
        .route("/issue", post(issue))
        .route("/access", post(access))
        .route("/devices", post(devices))
        .route("/revoke-all", post(revoke_all))
        .with_state(Node::new(&store, &Clock::system(), &settings));
    let listener = tokio::net::TcpListener::bind(std::env::var("BIND").unwrap())
        .await
        .unwrap();
    // On a line of its own: the harness has begun one with the name of the test.
    println!("\nlistening on http://{}", listener.local_addr().unwrap());
    axum::serve(listener, router).await.unwrap();
}

/// Two processes of one role.
struct Pair {
    redis: RedisServer,
    nodes: [Running; 2],
    client: Client,
}

impl Pair {
    async fn of(role: &str) -> Self {
        let redis = RedisServer::start().await;
        let nodes = [process(&redis, role).await, process(&redis, role).await];
        Self {
            redis,
            nodes,
            client: Client::new(),
        }
    }

    async fn ask(&self, node: usize, path: &str, body: &str) -> (u16, String) {
        ask(&self.client, &self.nodes[node].url(path), body).await
    }

    /// A new family: refresh and access token.
    async fn issue(&self, user: &str) -> (String, String) {
        two(&self.ask(0, "/issue", user).await.1)
    }

    /// Everybody at once, each over a connection of its own, half of them at each process.
    async fn crowd(&self, token: &str, size: usize) -> Vec<(u16, String)> {
        let mut crowd = JoinSet::new();
        for index in 0..size {
            let (url, token) = (self.nodes[index % 2].url("/rotate"), token.to_owned());
            crowd.spawn(async move { ask(&Client::new(), &url, &token).await });
        }
        crowd.join_all().await
    }

    async fn generation(&self) -> u64 {
        let keys = self.redis.keys("portcullis:refresh:*").await;
        let [key] = &keys[..] else {
            panic!("one family: {keys:?}");
        };
        self.redis.ask(&["HGET", key, "gen"]).await
    }
}

async fn ask(client: &Client, url: &str, body: &str) -> (u16, String) {
    let method = http::Method::POST;
    let answer = client
        .request(method, url, &[], body.to_owned().into())
        .await;
    (answer.status.as_u16(), answer.text())
}

fn two(text: &str) -> (String, String) {
    let (one, other) = text.split_once(' ').unwrap_or_else(|| panic!("{text}"));
    (one.to_owned(), other.to_owned())
}

/// R94: 200 parallel uses, two processes, 200 connections: one rotation, one successor, everybody served, family alive.
///
/// Fails if: the nonce that counts is not the stored one, or the rotation is two commands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_grace_200_parallel_uses_are_one_rotation() {
    let pair = Pair::of("graceful").await;
    let (mut token, _) = pair.issue("alice").await;
    for round in 1..=2 {
        let answers = pair.crowd(&token, 200).await;
        let mut successors = BTreeSet::new();
        for (status, text) in &answers {
            assert_eq!(*status, 200, "{text}");
            successors.insert(two(text).0);
        }
        assert_eq!((answers.len(), successors.len()), (200, 1));
        assert_eq!(pair.generation().await, round, "one rotation");
        token = successors.pop_first().unwrap();
        for node in [0, 1] {
            for (_, text) in &answers[..4] {
                assert_eq!(pair.ask(node, "/access", &two(text).1).await.1, "200");
            }
        }
        // A minute later, or the next crowd would be one of late tabs.
        let keys = pair.redis.keys("portcullis:refresh:*").await;
        let rotated: u64 = pair.redis.ask(&["HGET", &keys[0], "rot"]).await;
        pair.redis
            .cli(&["HSET", &keys[0], "rot", &(rotated - 60_000).to_string()])
            .await;
    }
    assert_eq!(pair.crowd(&token, 1).await[0].0, 200, "the family is alive");
}

/// R93: without grace exactly one of 200 succeeds, one is told that it is reuse, and the family is dead on both processes.
///
/// Fails if: `now - rotated < grace` is written `<=`; two commands decide.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_grace_exactly_one_of_200_parallel_uses_succeeds() {
    let pair = Pair::of("strict").await;
    for round in 0..3 {
        let (token, access) = pair.issue(&format!("alice{round}")).await;
        let answers = pair.crowd(&token, 200).await;
        let count = |wanted: &str| answers.iter().filter(|(_, text)| text == wanted).count();
        let winners: Vec<_> = answers
            .iter()
            .filter(|(status, _)| *status == 200)
            .collect();
        assert_eq!(winners.len(), 1, "{round}");
        assert_eq!((count("Reused"), count("Revoked")), (1, 198), "{round}");
        let (refresh, winners_access) = two(&winners[0].1);
        for node in [0, 1] {
            assert_eq!(pair.ask(node, "/rotate", &refresh).await.1, "Revoked");
            for access in [&access, &winners_access] {
                assert_eq!(pair.ask(node, "/access", access).await.1, "401", "{round}");
            }
        }
    }
}

/// R93, within one millisecond: the in-memory clock stands still, and so do all uses.
///
/// Fails if: as above.
#[tokio::test]
async fn without_grace_one_of_many_uses_in_the_same_millisecond_succeeds() {
    let [bench, _] = benches_with(&Settings::strict()).await;
    for _ in 0..20 {
        let first = bench.one.issue("alice").await;
        let mut crowd = JoinSet::new();
        for _ in 0..50 {
            let (node, token) = (bench.two.clone(), first.refresh().to_owned());
            crowd.spawn(async move { node.rotate(&token).await.map(drop) });
        }
        let answers = crowd.join_all().await;
        let count = |wanted| answers.iter().filter(|answer| **answer == wanted).count();
        let kinds = [
            Ok(()),
            Err(RefreshErrorKind::Reused),
            Err(RefreshErrorKind::Revoked),
        ];
        assert_eq!(kinds.map(count), [1, 1, 48]);
    }
}

/// R22, across processes: reuse and "log out everywhere" on one process are effective on the other when the call returns.
///
/// Fails if: anything of it is remembered in a process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_ends_the_other_refuses() {
    let pair = Pair::of("graceful").await;
    let (token, access) = pair.issue("alice").await;
    assert_eq!(pair.ask(1, "/access", &access).await.1, "200");
    assert_eq!(pair.ask(0, "/revoke-all", "alice").await.1, "1");
    assert_eq!(pair.ask(1, "/access", &access).await.1, "401");
    assert_eq!(pair.ask(1, "/rotate", &token).await.1, "Revoked");
    let (token, access) = pair.issue("alice").await;
    assert_eq!(
        pair.ask(1, "/access", &access).await.1,
        "200",
        "a login right after"
    );
    let second = two(&pair.ask(1, "/rotate", &token).await.1);
    let keys = pair.redis.keys("portcullis:refresh:*").await;
    for key in &keys {
        if let Some(rotated) = pair.redis.ask::<Option<u64>>(&["HGET", key, "rot"]).await {
            let before = (rotated - 60_000).to_string();
            pair.redis.cli(&["HSET", key, "rot", &before]).await;
        }
    }
    let third = two(&pair.ask(0, "/rotate", &second.0).await.1);
    assert_eq!(
        pair.ask(1, "/rotate", &token).await.1,
        "Reused",
        "the grandparent"
    );
    for access in [&access, &second.1, &third.1] {
        assert_eq!(pair.ask(0, "/access", access).await.1, "401");
    }
    for token in [&second.0, &third.0] {
        assert_eq!(pair.ask(0, "/rotate", token).await.1, "Revoked");
    }
}

/// At most three devices, fifty logins over two processes: never four, whatever moment one looks at, and three in the end.
///
/// Fails if: the limit is read in one command and the login written in another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_parallel_logins_over_two_processes_leave_three_devices() {
    let pair = Pair::of("three").await;
    let mut logins = JoinSet::new();
    for index in 0..50 {
        let url = pair.nodes[index % 2].url("/issue");
        logins.spawn(async move { two(&ask(&Client::new(), &url, "alice").await.1).0 });
    }
    let mut tokens = Vec::new();
    while let Some(token) = logins.join_next().await {
        tokens.push(token.unwrap());
        let alive = crate::devices::limits::living(&pair.redis).await;
        assert!(alive <= 3, "{alive}");
    }
    assert_eq!(pair.ask(1, "/devices", "alice").await.1, "3");
    let mut alive = 0;
    for token in &tokens {
        match pair.ask(0, "/rotate", token).await {
            (200, _) => alive += 1,
            (_, kind) => assert_eq!(kind, "Elsewhere"),
        }
    }
    assert_eq!(alive, 3);
}
