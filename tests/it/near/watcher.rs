//! Whoever is asked what it makes of revoked logins: a node in this process, or one in a process of its own.

use std::{process::Command, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};

use super::{Node, chaos::sid};
use crate::means::{
    process::{Example, Running},
    wait,
};

/// No login has it.
const NOBODY: usize = 999_999_999;

pub(super) enum Watcher {
    Here(Arc<Node>),
    Elsewhere {
        line: Mutex<BufReader<TcpStream>>,
        process: Box<Running>,
    },
}

impl Watcher {
    /// A process of its own, with its own connections and replica.
    pub(super) async fn elsewhere(url: &str, max_staleness: Duration) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new(program);
        command.args([
            "near::watcher::process",
            "--exact",
            "--ignored",
            "--nocapture",
        ]);
        let process = Example::named("a watcher")
            .env("WATCHED", url)
            .env("MAX_STALENESS_MS", &max_staleness.as_millis().to_string())
            .start_command(command)
            .await;
        let address = process.base_url().strip_prefix("http://").unwrap();
        let line = TcpStream::connect(address).await.unwrap();
        line.set_nodelay(true).unwrap();
        Self::Elsewhere {
            line: Mutex::new(BufReader::new(line)),
            process: Box::new(process),
        }
    }

    /// For each: revoked, clear, or not known here. The answers are of a moment after the call.
    pub(super) async fn probe(&self, numbers: &[usize]) -> Vec<Option<bool>> {
        match self {
            Self::Here(node) => numbers.iter().map(|n| node.near.probe(&sid(*n))).collect(),
            Self::Elsewhere { line, .. } => {
                let mut line = line.lock().await;
                let question: Vec<_> = numbers.iter().map(ToString::to_string).collect();
                let question = question.join(" ") + "\n";
                line.write_all(question.as_bytes()).await.unwrap();
                let mut answer = String::new();
                line.read_line(&mut answer).await.unwrap();
                let answer: Vec<_> = answer.trim_end().bytes().map(verdict).collect();
                assert_eq!(answer.len(), numbers.len());
                answer
            }
        }
    }

    pub(super) async fn fresh(&self) {
        wait::until("a fresh replica", async || {
            (self.probe(&[NOBODY]).await == [Some(false)]).then_some(())
        })
        .await;
    }

    pub(super) fn process(&self) -> Option<&Running> {
        match self {
            Self::Here(_) => None,
            Self::Elsewhere { process, .. } => Some(process),
        }
    }
}

fn verdict(letter: u8) -> Option<bool> {
    match letter {
        b'r' => Some(true),
        b'c' => Some(false),
        b'?' => None,
        other => panic!("{other}"),
    }
}

fn letter(verdict: Option<bool>) -> u8 {
    match verdict {
        Some(true) => b'r',
        Some(false) => b'c',
        None => b'?',
    }
}

/// What the other process runs: it answers a line of numbers with a line of letters.
#[tokio::test]
#[ignore = "started by other tests, as a process of its own"]
async fn process() {
    let var = |name| std::env::var(name).unwrap();
    let max_staleness = Duration::from_millis(var("MAX_STALENESS_MS").parse().unwrap());
    let node = Node::with(&var("WATCHED"), max_staleness).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // A line of its own, whatever the harness has printed before.
    println!("\nlistening on http://{}", listener.local_addr().unwrap());
    let (line, _) = listener.accept().await.unwrap();
    line.set_nodelay(true).unwrap();
    let mut line = BufReader::new(line);
    let mut question = String::new();
    while line.read_line(&mut question).await.unwrap() > 0 {
        let numbers = question.split_whitespace().map(|n| n.parse().unwrap());
        let verdicts = numbers.map(|n: usize| letter(node.near.probe(&sid(n))));
        let mut answer: Vec<u8> = verdicts.collect();
        answer.push(b'\n');
        line.write_all(&answer).await.unwrap();
        question.clear();
    }
}
