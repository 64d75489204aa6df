use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use redis::{TlsCertificates, Value};

use crate::means::{ROLE, child::Child, redis::RedisServer, wait};

fn exists(process: u32) -> bool {
    // A zombie is no longer a process for our purposes: it holds neither port nor memory.
    let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !(state.is_empty() || state.contains(") Z "))
}

#[tokio::test]
async fn a_server_starts_empty_answers_and_leaves_nothing_behind() {
    let server = RedisServer::start_with(&["--maxmemory", "10mb"]).await;
    assert_eq!(server.cli(&["DBSIZE"]).await, Value::Int(0));
    assert_eq!(server.info("maxmemory").await, 10 << 20);
    let process = u32::try_from(server.info("process_id").await).unwrap();
    let dir = server.dir().to_owned();
    assert!(exists(process) && dir.exists());
    server.stop();
    drop(server);
    assert!(!exists(process) && !dir.exists());
}

#[tokio::test]
async fn a_stopped_server_is_silent_until_it_goes_on() {
    let server = RedisServer::start().await;
    server.stop();
    let asked = tokio::time::timeout(Duration::from_millis(50), server.cli(&["PING"])).await;
    assert!(asked.is_err());
    server.cont();
    assert_eq!(
        server.cli(&["PING"]).await,
        Value::SimpleString("PONG".into())
    );
}

#[tokio::test]
async fn a_killed_server_comes_back_empty_on_its_port() {
    let mut server = RedisServer::start().await;
    server.cli(&["SET", "a", "1"]).await;
    let url = server.url();
    server.kill();
    assert!(server.try_cli(&["PING"]).await.is_err());
    server.restart().await;
    assert_eq!(server.url(), url);
    assert_eq!(server.ask::<Option<String>>(&["GET", "a"]).await, None);
}

#[tokio::test]
async fn a_server_with_a_login_refuses_everybody_else() {
    let server = RedisServer::start_with_login("gate", "keeper").await;
    server.cli(&["SET", "a", "1"]).await;
    assert!(server.url().contains("gate:keeper@"));
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", server.port())).unwrap();
    let mut stranger = client.get_multiplexed_async_connection().await.unwrap();
    let refused = redis::cmd("GET")
        .arg("a")
        .query_async::<Value>(&mut stranger)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Some("NOAUTH"));
}

#[tokio::test]
async fn a_tls_server_is_trusted_by_its_own_authority_alone() {
    let server = RedisServer::start_tls().await;
    let other = RedisServer::start_tls().await;
    assert_eq!(
        std::fs::read_to_string(server.ca_file()).unwrap(),
        server.ca_pem()
    );
    let connect = async |ca: &str| {
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: Some(ca.as_bytes().to_vec()),
        };
        let client = redis::Client::build_with_tls(server.url(), certificates).unwrap();
        client.get_multiplexed_async_connection().await
    };
    let mut trusting = connect(server.ca_pem()).await.unwrap();
    let pong: String = redis::cmd("PING").query_async(&mut trusting).await.unwrap();
    assert_eq!(pong, "PONG");
    assert!(connect(other.ca_pem()).await.is_err());
}

/// Runs only as the child of the next test: starts a server, says which, and dies without any `Drop`.
#[tokio::test]
async fn role_abandons_a_server() {
    if std::env::var(ROLE).as_deref() != Ok("abandon") {
        return;
    }
    let server = RedisServer::start().await;
    let process = server.info("process_id").await;
    server.stop();
    std::fs::write(
        std::env::var("REPORT").unwrap(),
        format!("{process} {}", server.dir().display()),
    )
    .unwrap();
    std::process::abort();
}

#[tokio::test]
async fn a_server_does_not_outlive_a_test_process_that_dies() {
    let report =
        std::env::temp_dir().join(format!("portcullis-test-report-{}", std::process::id()));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "means_tests::redis::role_abandons_a_server"]);
    command
        .env(ROLE, "abandon")
        .env("REPORT", &report)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = Child::spawn(&mut command, None).unwrap();
    wait::until_true("the child to die", || child.ended().is_some()).await;
    let said = std::fs::read_to_string(&report).unwrap();
    std::fs::remove_file(&report).unwrap();
    let (process, dir) = said.split_once(' ').unwrap();
    let process = process.parse().unwrap();
    wait::until_true("the watchdog", || {
        !exists(process) && !Path::new(dir).exists()
    })
    .await;
}
