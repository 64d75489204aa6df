//! Several processes on one Redis: gRPC, HTTP, and whoever writes to it by hand.

use axum::{Router, body::Body, routing::get};
use http::Request;
use portcullis::{
    Store,
    blacklist::{Blacklist, BlacklistLayer},
    jwt::{Grant, VerifiedToken},
};
use tonic::Code;
use tower::ServiceExt;

use super::{
    BAD_TOKEN, Node, SCOPE, issuer,
    tonic_client::{RustClient, refusal},
    verify,
};
use crate::means::redis::RedisServer;

fn revoked() -> (Code, String) {
    (Code::Unauthenticated, BAD_TOKEN.1.to_owned())
}

/// Fails if: the entry's key depends on the process; the answer of one question is kept for the next.
#[tokio::test]
async fn a_token_revoked_on_one_process_is_refused_on_the_other() {
    let redis = RedisServer::start().await;
    let (one, two) = (Node::start(&redis).await, Node::start(&redis).await);
    let (mut at_one, mut at_two) = (RustClient::new(&one), RustClient::new(&two));
    for (here, token) in [(&one, two.token("ALICE")), (&two, one.token("ALICE"))] {
        assert!(at_one.check(&token).await.is_ok());
        assert!(at_two.check(&token).await.is_ok());
        assert_eq!(here.logout(&token).await, 204);
        assert_eq!(refusal(at_one.check(&token).await), revoked());
        assert_eq!(refusal(at_two.check(&token).await), revoked());
    }
    let fresh = issuer().mint(&Grant::user("alice").scope(SCOPE)).unwrap();
    assert!(
        at_one.check(fresh.token()).await.is_ok(),
        "the user is not locked out"
    );
}

/// R101, R121: whoever reads the whole server cannot call with what is there.
///
/// Fails if: the token itself is what is remembered of it.
#[tokio::test]
async fn a_dump_after_a_logout_holds_no_token() {
    let redis = RedisServer::start().await;
    let node = Node::start(&redis).await;
    let token = node.token("ALICE");
    assert_eq!(node.logout(&token).await, 204);
    let keys = redis.keys("*").await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    let dump: Vec<u8> = redis.ask(&["DUMP", &keys[0]]).await;
    for part in token.split('.') {
        let held = dump
            .windows(part.len())
            .any(|window| window == part.as_bytes());
        assert!(!held && !keys[0].contains(part), "{keys:?}");
    }
}

/// The line that the example prints: what another language writes into Redis counts.
///
/// Fails if: the entry's prefix is not the bare one.
#[tokio::test]
async fn an_entry_typed_into_redis_is_honoured() {
    let redis = RedisServer::start().await;
    let node = Node::start(&redis).await;
    let mut client = RustClient::new(&node);
    let token = node.token("ALICE");
    assert!(client.check(&token).await.is_ok());
    let lines = node.app.stdout();
    let line = lines
        .iter()
        .find_map(|line| line.strip_prefix("redis-cli "));
    let command: Vec<_> = line.unwrap().split(' ').collect();
    redis.cli(&command).await;
    assert_eq!(refusal(client.check(&token).await), revoked());
}

/// A gRPC process and an HTTP router, each with its own store on the same Redis.
///
/// Fails if: the two frameworks' stacks ask for different keys.
#[tokio::test]
async fn http_and_grpc_revoke_for_each_other() {
    let redis = RedisServer::start().await;
    let node = Node::start(&redis).await;
    let mut grpc = RustClient::new(&node);
    let store = Store::connect(&redis.url()).await.unwrap();
    let blacklist = Blacklist::new(&store);
    let revoke = async move |token: VerifiedToken| {
        blacklist
            .revoke(&token)
            .await
            .map_err(portcullis::Rejection::from)
    };
    let router = Router::new()
        .route(
            "/me",
            get(async |token: VerifiedToken| token.user().unwrap_or("").to_owned()),
        )
        .route("/logout", get(revoke))
        .layer(BlacklistLayer::new(&store))
        .layer(verify());
    let http = async |path: &str, token: &str| {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        let request = request.body(Body::empty()).unwrap();
        router
            .clone()
            .oneshot(request)
            .await
            .unwrap()
            .status()
            .as_u16()
    };

    let token = node.token("ALICE");
    assert_eq!(http("/me", &token).await, 200);
    assert_eq!(node.logout(&token).await, 204);
    assert_eq!(http("/me", &token).await, 401);

    let token = issuer().mint(&Grant::user("alice").scope(SCOPE)).unwrap();
    assert!(grpc.check(token.token()).await.is_ok());
    assert_eq!(http("/logout", token.token()).await, 200);
    assert_eq!(refusal(grpc.check(token.token()).await), revoked());
}

/// A call costs one turn, and nothing if there is no token or a bad one.
///
/// Fails if: the blacklist is outside of the JWT layer; a question is asked for each key.
#[tokio::test]
async fn a_call_costs_one_turn_and_a_bad_token_none() {
    let redis = RedisServer::start().await;
    let node = Node::start(&redis).await;
    let mut client = RustClient::new(&node);
    let names = ["ALICE", "EXPIRED", "NO_SCOPE"].map(|name| node.token(name));
    let [alice, expired, no_scope] = &names;
    assert!(client.check(alice).await.is_ok(), "connected");
    let table = [
        (alice.as_str(), 1),
        (expired, 0),
        ("", 0),
        ("a.b.c", 0),
        (no_scope, 1),
    ];
    for (token, turns) in table {
        let (counted, _) = node.proxy.turns_of(client.check(token)).await;
        assert_eq!(counted, turns, "{token}");
    }
}
