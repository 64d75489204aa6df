//! Examples as separate operating-system processes.
//!
//! **The contract of an example:** it listens where `BIND` says (port 0 included), and once it does, the line
//! `listening on http://127.0.0.1:<port>` stands alone on its standard output, with the port it really has. Lines
//! before and after are its own affair.

use std::{
    collections::BTreeSet,
    env,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use rustix::process::Signal;

use super::{child::Child, wait};

/// How to start one.
pub struct Example {
    name: String,
    env: Vec<(String, String)>,
}

/// A running one; it ends with this value.
pub struct Running {
    name: String,
    child: Child,
    stdout: Output,
    stderr: Output,
    base_url: String,
}

/// What a process has printed so far, and who reads it.
struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
}

impl Example {
    /// `examples/<name>.rs`
    pub fn named(name: &str) -> Self {
        let mut example = Self {
            name: name.to_owned(),
            env: Vec::new(),
        };
        example.set("BIND", "127.0.0.1:0");
        example
    }

    /// One more environment variable. Of the test's own environment the example sees nothing that is named like a
    /// setting of the examples: a developer's `REDIS_URL` must not change what is tested.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    fn set(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Builds it if need be, starts it and waits until it listens.
    pub async fn start(self) -> Running {
        let name = self.name.clone();
        let binary = tokio::task::spawn_blocking(move || built(&name))
            .await
            .expect("the example builds");
        self.start_command(Command::new(binary)).await
    }

    /// The same for any program that keeps the contract.
    pub async fn start_command(self, mut command: Command) -> Running {
        for setting in ["REDIS_URL", "PORTCULLIS_SECRET", "RUST_LOG"] {
            command.env_remove(setting);
        }
        command
            .envs(self.env)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = Child::spawn(&mut command, None).expect("the program is there");
        let (stdout, stderr) = child.take_output();
        let mut running = Running {
            name: self.name,
            child,
            stdout: collect(stdout.expect("piped")),
            stderr: collect(stderr.expect("piped")),
            base_url: String::new(),
        };
        running.base_url = running.wait_until_listening().await;
        running
    }
}

impl Running {
    /// `http://127.0.0.1:<port>`
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// `path` begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }

    /// The lines so far.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.lines.lock().unwrap().clone()
    }

    /// The lines so far.
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.lines.lock().unwrap().clone()
    }

    /// Waits until a line on either output contains `part`.
    pub async fn printed(&self, part: &str) {
        let all = || [self.stdout(), self.stderr()].concat();
        wait::until_true(part, || all().iter().any(|line| line.contains(part))).await;
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn stop(&self) {
        self.child.signal(Signal::STOP);
    }

    pub fn cont(&self) {
        self.child.signal(Signal::CONT);
    }

    /// Asks it to end, as an operator would.
    pub fn terminate(&self) {
        self.child.signal(Signal::TERM);
    }

    pub fn kill(&self) {
        self.child.kill();
    }

    pub fn is_running(&self) -> bool {
        self.child.ended().is_none()
    }

    async fn wait_until_listening(&self) -> String {
        let address = || {
            self.stdout()
                .iter()
                .find_map(|line| line.strip_prefix("listening on ").map(str::to_owned))
        };
        wait::until("an example to listen", async || {
            // Asked before the output is looked at: nothing can come after it.
            let silent = self.stdout.reader.is_finished() && self.stderr.reader.is_finished();
            let found = address();
            if silent && found.is_none() {
                let last_words = self.stderr().join("\n");
                panic!(
                    "example {} ended before it listened: {last_words}",
                    self.name
                );
            }
            found
        })
        .await
    }
}

/// The binary of an example, built by cargo once per run of the tests: never missing, never older than its source.
fn built(name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let Place { profile, target } = place();
    // A failed build of another example poisons nothing that matters here.
    let mut done = BUILT
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if done.insert(name.to_owned()) {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(["build", "--quiet", "--example", name, "--target-dir"])
            .arg(&target);
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile == "release" {
            cargo.arg("--release");
        }
        assert!(
            cargo.status().expect("cargo runs").success(),
            "example {name} does not build"
        );
    }
    target.join(profile).join("examples").join(name)
}

struct Place {
    profile: String,
    target: PathBuf,
}

/// Where cargo put this test: `<target>/<profile>/deps/it-…`.
fn place() -> Place {
    let test = env::current_exe().expect("this program has a path");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("built by cargo");
    let target = profile.parent().expect("built by cargo").to_owned();
    let profile = profile.file_name().expect("a directory has a name");
    Place {
        profile: profile.to_string_lossy().into_owned(),
        target,
    }
}

/// Reads to the end on a thread of its own, so that a process never waits for somebody to read what it prints.
fn collect(output: impl Read + Send + 'static) -> Output {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            sink.lock()
                .unwrap()
                .push(String::from_utf8_lossy(&line).into_owned());
        }
    });
    Output { lines, reader }
}
