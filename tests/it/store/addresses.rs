//! Every way to name a server, and names that are none.

use portcullis::{ConfigError, Store, StoreErrorKind, cutoff::Cutoffs};
use redis::Value;

use super::{all_of, ask};
use crate::means::redis::RedisServer;

/// Fails if: the given authorities are not the only ones trusted.
#[tokio::test]
async fn tls_with_an_authority_of_ones_own() {
    let server = RedisServer::start_tls().await;
    let other = RedisServer::start_tls().await;
    let trusting = |pem: &str| Store::builder().tls_root_certificates(pem);
    let store = trusting(server.ca_pem())
        .connect(&server.url())
        .await
        .unwrap();
    assert!(ask(&store).await.is_ok());
    assert!(store.check().await.unwrap().is_empty());
    for distrusting in [trusting(other.ca_pem()), Store::builder()] {
        let refused = distrusting.connect(&server.url()).await.unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Unavailable, "{refused:?}");
    }
}

#[tokio::test]
async fn certificates_that_are_none_or_not_needed_are_refused() {
    let wrong = Store::builder().tls_root_certificates("no certificate");
    let error = wrong.connect_lazy("rediss://localhost").unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Config, "{error:?}");
    let pointless = Store::builder().tls_root_certificates("-----BEGIN CERTIFICATE-----");
    let error = pointless.connect_lazy("redis://localhost").unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Config);
    assert!(all_of(&error).contains("rediss://"));
}

#[tokio::test]
async fn user_and_password_are_taken_from_the_address() {
    let server = RedisServer::start().await;
    let rules = ["on", ">kee/per", "~portcullis:*", "+@all"];
    server
        .cli(&[&["ACL", "SETUSER", "gate"], &rules[..]].concat())
        .await;
    let url = format!("redis://gate:kee%2Fper@127.0.0.1:{}", server.port());
    let store = Store::connect(&url).await.unwrap();
    assert!(ask(&store).await.is_ok());
    assert!(!format!("{store:?}").contains("kee"));
}

/// Fails if: keys land in another database than the address says, also after a new connection.
#[tokio::test]
async fn the_database_is_taken_from_the_address() {
    let server = RedisServer::start().await;
    let store = Store::connect(&format!("{}/3", server.url()))
        .await
        .unwrap();
    ask(&store).await.unwrap();
    let keyspace: String = server.ask(&["INFO", "keyspace"]).await;
    assert!(
        keyspace.contains("db3:keys=") && !keyspace.contains("db0"),
        "{keyspace}"
    );
    server
        .cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
        .await;
    super::works_within_a_second(&store).await;
    Cutoffs::new(&store).everyone().await.unwrap();
    let keyspace: String = server.ask(&["INFO", "keyspace"]).await;
    assert!(
        keyspace.contains("db3:keys=") && !keyspace.contains("db0"),
        "{keyspace}"
    );
}

#[tokio::test]
async fn a_unix_socket() {
    let server = RedisServer::start_with(&["--unixsocket", "socket"]).await;
    let path = server.dir().join("socket").display().to_string();
    for scheme in ["redis+unix", "unix"] {
        let store = Store::connect(&format!("{scheme}://{path}?db=2"))
            .await
            .unwrap();
        assert!(ask(&store).await.is_ok());
    }
    assert_eq!(server.cli(&["DBSIZE"]).await, Value::Int(0));
    assert!(
        Store::connect("redis+unix:///nowhere/at/all")
            .await
            .unwrap_err()
            .is_outage()
    );
}

/// Fails if: the driver's own message, or the address, is kept as the cause.
#[tokio::test]
async fn bad_addresses_are_named_without_the_password() {
    let bad = [
        "",
        "localhost",
        "127.0.0.1:6379",
        "http://u:hunter2@host",
        "redis://u:hunter2@host:port",
        "redis://u:hunter2@host:99999",
        "redis://u:hunter2@host/db",
        "redis://u:hunter2@",
        "redis://u:hunter2@host/1/2",
        "redis://:hunter2@[::1",
        "rediss://u:hunter2@host/x",
        "unix:",
        "redis://u:hunter2@host/?protocol=9",
    ];
    for url in bad {
        for error in [
            Store::connect_lazy(url).err(),
            Store::connect(url).await.err(),
        ] {
            let error = error.unwrap_or_else(|| panic!("{url:?} is taken for an address"));
            assert_eq!(error.kind(), StoreErrorKind::Config, "{url}: {error:?}");
            let source = std::error::Error::source(&error).unwrap();
            assert_eq!(source.downcast_ref::<ConfigError>().unwrap().field(), "url");
            assert!(source.to_string().contains("expected redis://"), "{source}");
            assert!(!all_of(&error).contains("hunt"), "{}", all_of(&error));
        }
    }
}

/// Fails if: an error of the connection carries the address.
#[tokio::test]
async fn a_password_is_never_printed() {
    let server = RedisServer::start_with_login("gate", "keeper").await;
    let wrong = format!("redis://gate:hunter2@127.0.0.1:{}", server.port());
    let error = Store::connect(&wrong).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Denied);
    assert!(!all_of(&error).contains("hunter2"), "{}", all_of(&error));
    let store = Store::connect_lazy(&wrong).unwrap();
    assert_eq!(ask(&store).await, Err(StoreErrorKind::Denied));
    assert!(!format!("{store:?} {:?}", Store::builder()).contains("hunter2"));
    let gone = "redis://gate:hunter2@127.0.0.1:1";
    let error = Store::connect(gone).await.unwrap_err();
    assert!(!all_of(&error).contains("hunter2"), "{}", all_of(&error));
}

#[test]
fn settings_out_of_range_are_named() {
    use std::time::Duration;
    let field = |builder: portcullis::store::StoreBuilder| {
        let error = builder.try_memory().unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Config);
        let source = std::error::Error::source(&error).unwrap();
        source.downcast_ref::<ConfigError>().unwrap().field()
    };
    assert_eq!(field(Store::builder().deadline(Duration::ZERO)), "deadline");
    assert_eq!(
        field(Store::builder().deadline(Duration::from_secs(61))),
        "deadline"
    );
    assert_eq!(
        field(Store::builder().longest_credential(Duration::ZERO)),
        "longest_credential"
    );
    assert_eq!(
        field(Store::builder().longest_credential(Duration::MAX)),
        "longest_credential"
    );
    assert_eq!(field(Store::builder().prefix("a{b}")), "prefix");
    assert_eq!(
        field(Store::builder().blacklist_prefix("")),
        "blacklist_prefix"
    );
}
