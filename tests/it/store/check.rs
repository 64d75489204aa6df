//! The self-check finds what is wrong with a real server, and nothing where nothing is wrong.

use portcullis::{
    Clock, Store, StoreErrorKind,
    store::{Finding, FindingKind},
};

use crate::means::redis::RedisServer;

async fn findings(url: &str) -> Vec<Finding> {
    Store::connect(url).await.unwrap().check().await.unwrap()
}

fn kinds(findings: &[Finding]) -> Vec<FindingKind> {
    findings.iter().map(Finding::kind).collect()
}

/// The findings of a user who may do everything but this.
async fn without(rule: &str) -> Vec<Finding> {
    let server = RedisServer::start().await;
    server
        .cli(&[
            "ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", rule,
        ])
        .await;
    findings(
        &server
            .plain_url()
            .replace("redis://", "redis://limited:secret@"),
    )
    .await
}

#[tokio::test]
async fn a_server_as_it_should_be_has_no_finding() {
    let server = RedisServer::start().await;
    for protocol in ["", "/?protocol=resp2", "/?protocol=resp3"] {
        let found = findings(&format!("{}{protocol}", server.url())).await;
        assert!(found.is_empty(), "{protocol}: {found:?}");
    }
}

/// Fails if: the answer to `INFO` is not understood in one of the protocols.
#[tokio::test]
async fn a_server_that_may_evict_is_found() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]).await;
    for protocol in ["", "/?protocol=resp2"] {
        let found = findings(&format!("{}{protocol}", server.url())).await;
        assert_eq!(kinds(&found), [FindingKind::Eviction], "{protocol}");
        assert!(!found[0].is_fatal());
        let text = found[0].to_string();
        assert!(
            text.contains("allkeys-lru") && text.contains("no maxmemory"),
            "{text}"
        );
    }
    server.cli(&["CONFIG", "SET", "maxmemory", "100mb"]).await;
    let text = findings(&server.url()).await[0].to_string();
    assert!(
        text.contains("noeviction") && !text.contains("no maxmemory"),
        "{text}"
    );
}

#[tokio::test]
async fn a_user_who_may_not_run_scripts_is_found() {
    let found = without("-@scripting").await;
    assert_eq!(kinds(&found), [FindingKind::Scripts]);
    assert!(found[0].is_fatal() && found[0].to_string().contains("+@scripting"));
    assert!(!found[0].to_string().contains("secret"));
}

/// Fails if: another permission than that for `CLIENT TRACKING` itself is looked at.
#[tokio::test]
async fn a_user_who_may_not_track_is_found() {
    for rule in ["-client|tracking", "-client"] {
        let found = without(rule).await;
        assert_eq!(kinds(&found), [FindingKind::Tracking], "{rule}");
        assert!(!found[0].is_fatal());
    }
    assert!(without("-client|trackinginfo").await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_asked_is_not_found() {
    assert!(without("-info").await.is_empty());
}

#[tokio::test]
async fn clocks_that_differ_are_found() {
    let server = RedisServer::start().await;
    let clock = Clock::settable(1_000_000_000_000);
    let store = Store::builder()
        .clock(clock)
        .connect(&server.url())
        .await
        .unwrap();
    assert_eq!(
        kinds(&store.check().await.unwrap()),
        [FindingKind::ClockSkew]
    );
}

#[tokio::test]
async fn the_in_memory_store_says_what_it_is() {
    let found = Store::memory().check().await.unwrap();
    assert_eq!(kinds(&found), [FindingKind::InMemory]);
    assert!(!found[0].is_fatal());
}

#[tokio::test]
async fn without_a_server_there_is_no_check() {
    let server = RedisServer::start().await;
    let store = Store::connect_lazy(&server.url()).unwrap();
    server.kill();
    assert_eq!(
        store.check().await.unwrap_err().kind(),
        StoreErrorKind::Unavailable
    );
}
