//! Redis stands still or is gone: nobody knows whether a token was revoked, and nobody calls it invalid.

use std::time::Instant;

use portcullis::jwt::Grant;
use tonic::Code;

use super::{
    AWAY, NO_TOKEN, Node, SCOPE, WELL, issuer,
    python::{Called, PythonClient},
    tonic_client::RustClient,
};
use crate::means::{proxy::Command, redis::RedisServer, wait};

/// The store's deadline is 250 ms; the rest is for a busy machine.
const IN_TIME_MS: f64 = 1000.0;

/// What a call may end with while Redis goes or comes back.
fn is_honest(called: &Called) {
    let outcome = called.outcome();
    assert!(outcome == WELL || outcome == AWAY, "{called:?}");
}

async fn refused_in_time(client: &mut PythonClient, node: &Node, token: &str) {
    for _ in 0..5 {
        let called = client.check(node, token).await;
        assert_eq!(called.outcome(), AWAY, "{called:?}");
        assert!(called.ms < IN_TIME_MS, "{called:?}");
        assert_eq!(called.metadata["grpc-retry-pushback-ms"], "1000");
        assert!(
            !called.metadata.contains_key("www-authenticate"),
            "{called:?}"
        );
    }
    // What needs no store is answered as ever.
    let called = client.call(node.target(), None).await;
    assert_eq!(called.outcome(), NO_TOKEN);
    assert!(called.ms < IN_TIME_MS, "{called:?}");
}

async fn back(client: &mut PythonClient, node: &Node, token: &str) {
    let begun = Instant::now();
    while begun.elapsed() < wait::PATIENCE {
        let called = client.check(node, token).await;
        is_honest(&called);
        if called.outcome() == WELL {
            return;
        }
    }
    panic!("Redis is back, and calls are still refused");
}

/// Fails if: the default policy lets pass; the store waits for Redis without a deadline; unknown is told as invalid; the
/// connection is not made again.
#[tokio::test]
async fn a_python_client_gets_unavailable_in_time_and_ok_again() {
    let mut redis = RedisServer::start().await;
    let node = Node::start(&redis).await;
    let mut client = PythonClient::start().await;
    let token = node.token("ALICE");
    assert_eq!(client.check(&node, &token).await.outcome(), WELL);

    redis.stop();
    refused_in_time(&mut client, &node, &token).await;
    redis.cont();
    back(&mut client, &node, &token).await;

    redis.kill();
    refused_in_time(&mut client, &node, &token).await;
    redis.restart().await;
    back(&mut client, &node, &token).await;
}

/// A logout that nobody can confirm is not confirmed, and once Redis is there it works.
///
/// Fails if: a token that cannot be checked passes, or is called invalid.
#[tokio::test]
async fn a_logout_without_redis_is_not_confirmed() {
    let mut redis = RedisServer::start().await;
    let node = Node::start(&redis).await;
    let mut client = RustClient::new(&node);
    let token = issuer().mint(&Grant::user("alice").scope(SCOPE)).unwrap();
    redis.kill();
    assert_eq!(node.logout(token.token()).await, 503);
    let refused = client.check(token.token()).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unavailable, AWAY.1)
    );
    redis.restart().await;
    let confirmed = async || (node.logout(token.token()).await == 204).then_some(());
    wait::until("the logout to be confirmed", confirmed).await;
    let refused = client.check(token.token()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

/// Redis carries the revocation out and its answer is lost: the client is told to try again, and the token is dead.
///
/// Fails if: the handler ends with 204 whatever `revoke` said; the script is sent twice without being asked to.
#[tokio::test]
async fn a_logout_whose_answer_is_lost_is_not_confirmed() {
    let redis = RedisServer::start().await;
    let node = Node::start(&redis).await;
    let mut client = RustClient::new(&node);
    let token = node.token("ALICE");
    assert!(client.check(&token).await.is_ok());
    // The one script of this process; the first time it travels as its text.
    let script = |command: &Command| command.name().starts_with("EVAL");
    let lost = node.proxy.drop_reply(script);
    assert_eq!(node.logout(&token).await, 503);
    lost.reached().await;
    let begun = Instant::now();
    let code = loop {
        let code = client.check(&token).await.unwrap_err().code();
        if code != Code::Unavailable || begun.elapsed() > wait::PATIENCE {
            break code;
        }
    };
    assert_eq!(code, Code::Unauthenticated);
}
