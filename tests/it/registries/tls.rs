//! TLS to PostgreSQL: what each `sslmode` promises, and what is said where it cannot be kept.

use std::error::Error;

use portcullis::registry::{PostgresRegistry, Registry, RegistryError, RegistryErrorKind};

use crate::means::postgres::PostgresServer;

/// A new database of the server by this host name, with these parameters.
async fn connect(
    server: &PostgresServer,
    host: &str,
    parameters: &str,
) -> Result<PostgresRegistry, RegistryError> {
    let url = server.database().await.replace("127.0.0.1", host);
    let url = url.replace("sslmode=disable", parameters);
    PostgresRegistry::connect(&url).await
}

fn said(error: &RegistryError) -> String {
    error.source().expect("a reason").to_string()
}

/// Fails if: the build has no TLS, one's own authority cannot be named, or a server that nobody vouches for is trusted.
#[tokio::test]
async fn a_verified_server_is_one_that_the_named_authority_vouches_for() {
    let server = PostgresServer::start_tls().await;
    let ca = server.ca_file().display().to_string();
    let verified = format!("sslmode=verify-full&sslrootcert={ca}");
    let registry = connect(&server, "localhost", &verified).await.unwrap();
    registry.migrate().await.unwrap();
    assert!(registry.find("s").await.unwrap().is_none());
    // Encrypted, and with whoever it is.
    connect(&server, "localhost", "sslmode=require")
        .await
        .unwrap();

    let unknown = connect(&server, "localhost", "sslmode=verify-full").await;
    let unknown = unknown.unwrap_err();
    assert!(
        said(&unknown).contains("TLS to the database failed"),
        "{unknown:?}"
    );
    assert!(said(&unknown).contains("UnknownIssuer"), "{unknown:?}");
    let other_name = connect(&server, "127.0.0.2", &verified).await.unwrap_err();
    assert!(
        said(&other_name).contains("not valid for name"),
        "{other_name:?}"
    );
    let no_file = connect(&server, "localhost", "sslmode=verify-full&sslcert=/nowhere").await;
    assert_eq!(no_file.unwrap_err().kind(), RegistryErrorKind::Failed);
    let no_file = "sslmode=verify-full&sslrootcert=/nowhere";
    let no_file = connect(&server, "localhost", no_file).await.unwrap_err();
    assert!(said(&no_file).contains("no such file"), "{no_file:?}");
}

/// Fails if: a server without TLS is spoken to in the clear although TLS was asked for, or the error does not say why.
#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let server = PostgresServer::shared().await;
    for mode in ["require", "verify-ca", "verify-full"] {
        let refused = connect(server, "127.0.0.1", &format!("sslmode={mode}")).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), RegistryErrorKind::Failed, "{mode}");
        assert!(
            said(&refused).contains("server does not support TLS"),
            "{refused:?}"
        );
    }
    connect(server, "127.0.0.1", "sslmode=prefer")
        .await
        .unwrap();
}
