//! The lines that the examples print are a script, and it does what it says.

use std::{fs, process::Command};

use super::SECRET;
use crate::means::{process::Example, redis::RedisServer};

async fn run_printed_lines(example: Example) -> (Vec<String>, String) {
    let running = example.start().await;
    running.printed("cargo run --example").await;
    let lines = running.stdout();
    let listening = lines
        .iter()
        .position(|line| line.starts_with("listening on "));
    let script = lines[listening.unwrap() + 1..].join("\n");
    let dir = std::env::temp_dir().join(format!("portcullis-curl-{}", running.id()));
    fs::create_dir(&dir).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-ec", &script]).current_dir(&dir);
    let output = tokio::task::spawn_blocking(move || shell.output())
        .await
        .unwrap();
    fs::remove_dir_all(&dir).unwrap();
    let output = output.expect("a shell");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "is curl installed? see tests/run: {errors}"
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let statuses = text
        .lines()
        .filter_map(|line| line.strip_prefix("HTTP/1.1 "));
    (statuses.map(|line| line[..3].to_owned()).collect(), text)
}

fn check((statuses, text): &(Vec<String>, String)) {
    let expected = "200 401 200 200 200 200 200 403 200 204 200 401 303 204 200 \
        303 200 200 204 200 200 200 404 204 401 400 200";
    assert_eq!(statuses.join(" "), expected, "{text}");
    for part in [
        r#"{"counter":1}"#,
        r#"{"user":"alice"}"#,
        r#"{"counter":2}"#,
        r#""value":"red"}"#,
        r#""amount":10"#,
        r#""current":true"#,
        r#""sub":"alice""#,
        r#"{"error":"invalid_grant"}"#,
        r#"{"keys":[{"#,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

// Fails if: a printed line has a wrong path, body, port or quote, or a cookie is not one that curl sends back.
#[tokio::test]
async fn the_printed_lines_work_with_nothing_configured() {
    let (axum, hyper) = tokio::join!(
        run_printed_lines(Example::named("axum")),
        run_printed_lines(Example::named("hyper"))
    );
    check(&axum);
    check(&hyper);
}

// Fails if: as above, or `REDIS_URL` is ignored.
#[tokio::test]
async fn the_printed_lines_work_with_redis() {
    let redis = RedisServer::start().await;
    let example = Example::named("axum").env("REDIS_URL", &redis.url());
    check(&run_printed_lines(example.env("PORTCULLIS_SECRET", SECRET)).await);
    assert!(!redis.keys("portcullis:*").await.is_empty());
}
