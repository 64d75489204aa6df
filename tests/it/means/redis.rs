//! Real `redis-server` processes, one per test if it likes, on free ports of 127.0.0.1.

use std::{
    collections::hash_map::RandomState,
    fs,
    hash::BuildHasher,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
};

use redis::{Client, FromRedisValue, RedisError, Value};
use rustix::process::Signal;

use super::{child::Child, wait};

/// A server that ends, and whose directory goes, with this value.
pub struct RedisServer {
    settings: Settings,
    port: u16,
    child: Child,
}

struct Settings {
    dir: Dir,
    args: Vec<String>,
    login: Option<(String, String)>,
    tls: Option<Tls>,
}

struct Tls {
    port: u16,
    ca: String,
}

/// A throw-away directory.
pub(super) struct Dir(pub(super) PathBuf);

impl RedisServer {
    /// A server with nothing in it, no persistence and no password.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more arguments, such as `["--maxmemory", "10mb"]`.
    pub async fn start_with(args: &[&str]) -> Self {
        Self::launch(Settings::new(args)).await
    }

    /// Only `user` with `password` may do anything. `url()` and `cli()` log in.
    pub async fn start_with_login(user: &str, password: &str) -> Self {
        let secret = format!(">{password}");
        let owner = ["--user", user, "on", &secret, "~*", "&*", "+@all"];
        let mut settings = Settings::new(&[&owner[..], &["--user", "default", "off"]].concat());
        settings.login = Some((user.to_owned(), password.to_owned()));
        Self::launch(settings).await
    }

    /// `url()` is `rediss://localhost:…` with a certificate signed by `ca_pem()`; `cli()` and `plain_url()` go without TLS.
    pub async fn start_tls() -> Self {
        let mut settings = Settings::new(&[]);
        settings.tls = Some(Tls::prepare(&settings.dir.0));
        Self::launch(settings).await
    }

    /// A free port can be taken by somebody else before the server has it: then the server ends, and another is tried.
    async fn launch(mut settings: Settings) -> Self {
        for _ in 0..20 {
            let port = free_port();
            if let Some(tls) = &mut settings.tls {
                tls.port = free_port();
            }
            let child = settings.spawn(port);
            if settings.is_up(&child, port).await {
                return Self {
                    settings,
                    port,
                    child,
                };
            }
        }
        panic!("redis-server does not start: {}", settings.log());
    }

    /// What a client connects to.
    pub fn url(&self) -> String {
        self.settings.tls.as_ref().map_or_else(
            || self.plain_url(),
            |tls| format!("rediss://localhost:{}", tls.port),
        )
    }

    /// Without TLS, also for a server that offers it.
    pub fn plain_url(&self) -> String {
        self.settings.plain_url(self.port)
    }

    /// The port without TLS; what a proxy wants as its upstream.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate authority of a TLS server, PEM.
    pub fn ca_pem(&self) -> &str {
        &self
            .settings
            .tls
            .as_ref()
            .expect("started with start_tls")
            .ca
    }

    /// The same as a file.
    pub fn ca_file(&self) -> PathBuf {
        self.settings.dir.0.join("ca.pem")
    }

    /// The server's own directory.
    pub fn dir(&self) -> &Path {
        &self.settings.dir.0
    }

    /// Stops the process where it stands: connections stay, nothing is answered.
    pub fn stop(&self) {
        self.child.signal(Signal::STOP);
    }

    /// Lets a stopped process go on.
    pub fn cont(&self) {
        self.child.signal(Signal::CONT);
    }

    /// Kills the process; connections are reset and new ones refused.
    pub fn kill(&self) {
        self.child.kill();
    }

    /// Starts an empty server on the same port, after killing what still runs.
    pub async fn restart(&mut self) {
        self.child.kill();
        self.child = self.settings.spawn(self.port);
        let up = self.settings.is_up(&self.child, self.port).await;
        assert!(
            up,
            "redis-server does not come back: {}",
            self.settings.log()
        );
    }

    /// One raw command on a connection of its own; the test fails on an error reply.
    pub async fn cli(&self, args: &[&str]) -> Value {
        self.try_cli(args)
            .await
            .unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    /// The same, with the error reply for the caller.
    pub async fn try_cli(&self, args: &[&str]) -> Result<Value, RedisError> {
        wait::within(
            "an answer of redis-server",
            self.settings.ask(self.port, args),
        )
        .await
    }

    /// The same, converted: `let n: usize = server.ask(&["DBSIZE"]).await`.
    pub async fn ask<T: FromRedisValue>(&self, args: &[&str]) -> T {
        let reply = self.cli(args).await;
        redis::from_redis_value(reply).unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    /// All keys that match a pattern, sorted.
    pub async fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys: Vec<String> = self.ask(&["KEYS", pattern]).await;
        keys.sort();
        keys
    }

    /// One number of `INFO`, such as `total_connections_received`.
    pub async fn info(&self, field: &str) -> u64 {
        let info: String = self.ask(&["INFO"]).await;
        info_field(&info, field).unwrap_or_else(|| panic!("no number {field} in INFO"))
    }
}

impl Settings {
    fn new(args: &[&str]) -> Self {
        Self {
            dir: Dir::new(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            login: None,
            tls: None,
        }
    }

    fn spawn(&self, port: u16) -> Child {
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command
            .args(["--daemonize", "no", "--logfile", "log"])
            .arg("--dir")
            .arg(&self.dir.0);
        if let Some(tls) = &self.tls {
            command.args([
                "--tls-port",
                &tls.port.to_string(),
                "--tls-auth-clients",
                "no",
            ]);
            for (option, file) in [
                ("cert", "cert.pem"),
                ("key", "key.pem"),
                ("ca-cert", "ca.pem"),
            ] {
                command
                    .arg(format!("--tls-{option}-file"))
                    .arg(self.dir.0.join(file));
            }
        }
        command
            .args(&self.args)
            .current_dir(&self.dir.0)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Child::spawn(&mut command, Some(&self.dir.0))
            .expect("redis-server is installed, see tests/run")
    }

    /// True when *this* process answers on the port, false when it has ended.
    async fn is_up(&self, child: &Child, port: u16) -> bool {
        let id = Some(u64::from(child.id()));
        wait::until("redis-server to answer", async || {
            if child.ended().is_some() {
                return Some(false);
            }
            let info = self.ask(port, &["INFO", "server"]).await.ok()?;
            let info: String = redis::from_redis_value(info).ok()?;
            // Another server on the port: ours is about to find its port taken and to end.
            (info_field(&info, "process_id") == id).then_some(true)
        })
        .await
    }

    async fn ask(&self, port: u16, args: &[&str]) -> Result<Value, RedisError> {
        let client = Client::open(self.plain_url(port))?;
        // Longer than any test's patience: the caller's deadline decides.
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        redis::cmd(args[0])
            .arg(&args[1..])
            .query_async(&mut connection)
            .await
    }

    fn plain_url(&self, port: u16) -> String {
        let login = self
            .login
            .as_ref()
            .map(|(user, password)| format!("{user}:{password}@"));
        format!("redis://{}127.0.0.1:{port}", login.unwrap_or_default())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.0.join("log")).unwrap_or_default()
    }
}

impl Tls {
    fn prepare(dir: &Path) -> Self {
        let ca = certificates(dir);
        Self { port: 0, ca }
    }
}

/// An authority and a certificate for `localhost` and `127.0.0.1`, as files in `dir`; returns the authority.
pub(super) fn certificates(dir: &Path) -> String {
    let mut authority = rcgen::CertificateParams::new([]).expect("no names to refuse");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().expect("a key");
    let authority = rcgen::CertifiedIssuer::self_signed(authority, key).expect("an authority");
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let key = rcgen::KeyPair::generate().expect("a key");
    let server = rcgen::CertificateParams::new(names).expect("two names");
    let server = server.signed_by(&key, &authority).expect("a certificate");
    let files = [
        ("ca.pem", authority.pem()),
        ("cert.pem", server.pem()),
        ("key.pem", key.serialize_pem()),
    ];
    for (file, pem) in files {
        fs::write(dir.join(file), pem).expect("the directory is ours");
    }
    authority.pem()
}

impl Dir {
    pub(super) fn new() -> Self {
        let name = format!(
            "portcullis-test-{}-{:016x}",
            std::process::id(),
            RandomState::new().hash_one(0)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("the name is new");
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // Best effort: a leftover empty directory must not turn a passed test into an abort.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Below the range from which the system hands out ports by itself: the port stays free while a server is down and
/// `restart` can have it again.
pub(super) fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Different test processes start at different places.
    let offset = (std::process::id().wrapping_mul(7919) % u32::from(COUNT)) as u16;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (offset + step % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn info_field(info: &str, field: &str) -> Option<u64> {
    let value = |line: &str| {
        line.strip_prefix(field)?
            .strip_prefix(':')?
            .trim()
            .parse()
            .ok()
    };
    info.lines().find_map(value)
}
