use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::means::{
    process::{Example, Running},
    wait,
};

/// Keeps the contract of an example and nothing more.
const SCRIPT: &str = r#"
echo "welcome, $GREETED"
echo "a warning" >&2
echo "listening on http://$BIND"
trap 'echo "good bye"; exit 0' TERM
while :; do sleep 0.01; done
"#;

async fn run(script: &str) -> Running {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]);
    Example::named("script")
        .env("GREETED", "guest")
        .start_command(shell)
        .await
}

#[tokio::test]
async fn a_process_gets_its_settings_and_is_heard() {
    let running = run(SCRIPT).await;
    assert_eq!(running.base_url(), "http://127.0.0.1:0");
    assert_eq!(running.url("/me"), "http://127.0.0.1:0/me");
    assert_eq!(running.stdout()[0], "welcome, guest");
    running.printed("a warning").await;
    running.terminate();
    running.printed("good bye").await;
    wait::until_true("the end", || !running.is_running()).await;
}

#[tokio::test]
async fn a_process_ends_with_its_handle_even_when_stopped() {
    let running = run(SCRIPT).await;
    let process = PathBuf::from(format!("/proc/{}", running.id()));
    running.stop();
    assert!(process.exists());
    drop(running);
    assert!(!process.exists());
}

#[tokio::test]
#[should_panic(expected = "ended before it listened: no such key")]
async fn a_process_that_ends_before_it_listens_fails_the_test_with_its_last_words() {
    run("echo 'no such key' >&2; exit 1").await;
}

/// Every file in `examples/` keeps the contract: it starts with nothing configured and answers.
#[tokio::test]
async fn every_example_starts_and_answers() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for entry in fs::read_dir(examples).into_iter().flatten() {
        let path = entry.unwrap().path();
        // A folder is an example too, or what examples share; neither has a source of its own.
        let source = fs::read_to_string(&path).unwrap_or_default();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if source.contains("fn main") {
            let running = Example::named(name).start().await;
            let answer = first_bytes(running.base_url(), source.contains("tonic::")).await;
            assert!(!answer.is_empty(), "{name} hangs up");
            assert!(
                !answer.starts_with(b"HTTP/1.1 5"),
                "{name}: {}",
                String::from_utf8_lossy(&answer)
            );
            assert!(
                running.is_running(),
                "{name} does not survive its first request"
            );
        }
    }
}

/// What a server says to a first request, in HTTP/1.1 or, for gRPC, to the opening of HTTP/2.
async fn first_bytes(base_url: &str, grpc: bool) -> Vec<u8> {
    let address = base_url.trim_start_matches("http://");
    let http1 = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let settings = "\0\0\0\x04\0\0\0\0\0";
    let request = if grpc {
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{settings}")
    } else {
        http1
    };
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 64];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut answer));
    let length = read.await.expect("an answer").unwrap();
    answer.truncate(length);
    answer
}
