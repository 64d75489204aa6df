//! What a client with the most widespread implementation of gRPC sees.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use portcullis::jwt::Grant;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout},
};

use super::{BAD_TOKEN, NO_SCOPE, NO_TOKEN, Node, SCOPE, WELL, issuer};
use crate::means::{redis::RedisServer, wait};

/// `tests/grpc_client.py` in a process of its own, which ends when its standard input does: with this value, or with the
/// whole test.
pub struct PythonClient {
    _process: Child,
    calls: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// What became of a call.
#[derive(Debug, Deserialize)]
pub struct Called {
    pub code: String,
    pub message: String,
    pub metadata: BTreeMap<String, String>,
    pub trailers_only: bool,
    pub answer: Value,
    pub ms: f64,
}

impl Called {
    pub fn outcome(&self) -> (&str, &str) {
        (&self.code, &self.message)
    }
}

impl PythonClient {
    pub async fn start() -> Self {
        let python = tokio::task::spawn_blocking(interpreter);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grpc_client.py");
        let mut process = tokio::process::Command::new(python.await.expect("see tests/python_env"))
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python runs");
        Self {
            calls: process.stdin.take().expect("piped"),
            answers: BufReader::new(process.stdout.take().expect("piped")).lines(),
            _process: process,
        }
    }

    /// Calls with this value of `authorization`, or without any.
    pub async fn call(&mut self, target: &str, authorization: Option<&str>) -> Called {
        self.send(json!({ "target": target, "metadata": metadata(authorization) }))
            .await
    }

    /// A method of the service in `examples/auth`, with this access token if there is one.
    pub async fn auth(
        &mut self,
        node: &Node,
        method: &str,
        message: Value,
        token: Option<&str>,
    ) -> Called {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let metadata = metadata(bearer.as_deref());
        let (target, call) = (node.target(), method);
        self.send(
            json!({ "target": target, "metadata": metadata, "method": call, "message": message }),
        )
        .await
    }

    async fn send(&mut self, call: Value) -> Called {
        let call = format!("{call}\n");
        wait::within("an answer of the Python client", async {
            self.calls
                .write_all(call.as_bytes())
                .await
                .expect("the client listens");
            let answer = self
                .answers
                .next_line()
                .await
                .expect("the client speaks UTF-8");
            serde_json::from_str(&answer.expect("the client is alive")).expect("see grpc_client.py")
        })
        .await
    }

    pub async fn check(&mut self, node: &Node, token: &str) -> Called {
        self.call(node.target(), Some(&format!("Bearer {token}")))
            .await
    }
}

fn metadata(authorization: Option<&str>) -> Vec<(&str, &str)> {
    let value = authorization.map(|value| ("authorization", value));
    value.into_iter().collect()
}

/// Made once, by the script that `tests/run` uses as well.
fn interpreter() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let test = env::current_exe().expect("this program has a path");
        // `<target>/<profile>/deps/it-…`
        let target = test.ancestors().nth(3).expect("built by cargo");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python_env");
        let made = Command::new(script)
            .arg(target.join("python"))
            .stderr(Stdio::inherit())
            .output();
        let made = made.expect("bash is installed");
        assert!(
            made.status.success(),
            "no Python with grpcio: run tests/run once"
        );
        PathBuf::from(String::from_utf8_lossy(&made.stdout).trim())
    };
    MADE.get_or_init(make).clone()
}

/// Fails if: refusals are HTTP statuses (401 becomes UNAUTHENTICATED by the fallback table, with another text, and 400
/// INTERNAL); the scope layer is not there, or outside of the JWT layer; expired and forged are told apart.
#[tokio::test]
async fn a_python_client_is_told_what_is_wrong_with_its_token() {
    let redis = RedisServer::start().await;
    let node = Node::start(&redis).await;
    let mut client = PythonClient::start().await;

    let called = client.check(&node, &node.token("ALICE")).await;
    assert_eq!(called.outcome(), WELL);
    assert_eq!(
        called.metadata["caller"], "alice",
        "the method read the token"
    );

    let called = client.call(node.target(), None).await;
    assert_eq!(called.outcome(), NO_TOKEN);
    assert_eq!(called.metadata["www-authenticate"], r#"Bearer realm="api""#);

    let called = client.check(&node, &node.token("NO_SCOPE")).await;
    assert_eq!(called.outcome(), NO_SCOPE);
    let challenge = r#"Bearer realm="api", error="insufficient_scope", scope="health:read""#;
    assert_eq!(called.metadata["www-authenticate"], challenge);

    let good = issuer().mint(&Grant::user("alice").scope(SCOPE)).unwrap();
    let (unsigned, _) = good.token().rsplit_once('.').unwrap();
    let challenge = format!(
        r#"Bearer realm="api", error="invalid_token", error_description="{}""#,
        BAD_TOKEN.1
    );
    for bad in [
        node.token("EXPIRED"),
        format!("{unsigned}."),
        "a.b.c".into(),
    ] {
        let called = client.check(&node, &bad).await;
        assert_eq!(called.outcome(), BAD_TOKEN, "{bad}");
        assert_eq!(called.metadata["www-authenticate"], challenge);
    }
    // HTTP 400, which a client would call INTERNAL.
    let called = client.call(node.target(), Some("Bearer")).await;
    assert_eq!(called.code, "UNAUTHENTICATED");
    assert!(called.metadata["www-authenticate"].contains("invalid_request"));
}

/// Fails if: `revoke` writes to the memory of its process only; the layer is missing or asks before it is too late.
#[tokio::test]
async fn a_python_client_is_refused_once_its_token_was_revoked_on_another_process() {
    let redis = RedisServer::start().await;
    let (one, two) = (Node::start(&redis).await, Node::start(&redis).await);
    let mut client = PythonClient::start().await;
    let token = one.token("ALICE");
    assert_eq!(client.check(&one, &token).await.outcome(), WELL);
    assert_eq!(client.check(&two, &token).await.outcome(), WELL);
    assert_eq!(two.logout(&token).await, 204);
    assert_eq!(client.check(&one, &token).await.outcome(), BAD_TOKEN);
    assert_eq!(client.check(&two, &token).await.outcome(), BAD_TOKEN);
    assert_eq!(
        client.check(&one, &two.token("ALICE")).await.outcome(),
        WELL
    );
}
