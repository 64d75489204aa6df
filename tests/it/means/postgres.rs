//! Real PostgreSQL servers on free ports of 127.0.0.1, with data of their own that goes with them.
//!
//! It refuses to run as root: root starts it as the user that its package made, or as `nobody`.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use sqlx::{Connection, Executor, PgConnection, Row};
use tokio::sync::OnceCell;

use super::{
    child::Child,
    redis::{Dir, certificates, free_port},
    wait,
};

/// A server that ends, and whose data goes, with this value.
pub struct PostgresServer {
    dir: Dir,
    port: u16,
    child: Child,
}

/// Who runs it: user and group, where this process is root.
#[derive(Clone, Copy)]
pub(super) struct Owner(Option<(u32, u32)>);

impl PostgresServer {
    /// The one that tests share, each with a [`database`](Self::database) of its own. It ends with the process.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<PostgresServer> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// One with nothing in it.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more settings, such as `["log_statement=all"]`.
    pub async fn start_with(settings: &[&str]) -> Self {
        let (owner, dir) = (Owner::find(), Dir::new());
        Self::start_in(owner, dir, settings).await
    }

    /// One that offers TLS, with a certificate for `localhost` of an authority of its own, [`ca_file`](Self::ca_file).
    pub async fn start_tls() -> Self {
        let (owner, dir) = (Owner::find(), Dir::new());
        certificates(&dir.0);
        let key = dir.0.join("key.pem");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("it is ours");
        owner.give(&key);
        let file = |option: &str, name: &str| format!("{option}={}", dir.0.join(name).display());
        let [cert, key] = [
            file("ssl_cert_file", "cert.pem"),
            file("ssl_key_file", "key.pem"),
        ];
        // By an address of this machine that the certificate does not name, too.
        let addresses = "listen_addresses=127.0.0.1,127.0.0.2";
        Self::start_in(owner, dir, &["ssl=on", &cert, &key, addresses]).await
    }

    async fn start_in(owner: Owner, dir: Dir, settings: &[&str]) -> Self {
        owner.give(&dir.0);
        let data = dir.0.join("data");
        let mut initdb = owner.command("initdb");
        initdb.args(["--username=postgres", "--auth=trust", "--no-sync"]);
        initdb.args(["--encoding=UTF8", "--locale=C", "--pgdata"]);
        let output = initdb.arg(&data).current_dir(&dir.0).output();
        let output = output.expect("PostgreSQL is installed, see tests/run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "initdb: {said}");
        for _ in 0..20 {
            let port = free_port();
            let child = spawn(owner, &dir.0, port, settings);
            if is_up(&child, port, &data).await {
                return Self { dir, port, child };
            }
        }
        panic!("postgres does not start: {}", log(&dir.0));
    }

    /// A new database, as an address.
    pub async fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut connection = connect(&self.url("postgres")).await.unwrap();
        let create = format!("CREATE DATABASE {name}");
        connection.execute(create.as_str()).await.unwrap();
        self.url(&name)
    }

    pub(super) fn url(&self, database: &str) -> String {
        url(self.port, database)
    }

    /// Where its data lies.
    pub(super) fn data(&self) -> PathBuf {
        self.dir.0.join("data")
    }

    /// Who signed the certificate of [`start_tls`](Self::start_tls), as a file.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.0.join("ca.pem")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        log(&self.dir.0)
    }

    /// Stops all its processes where they stand: connections stay, nothing is answered.
    pub fn stop(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Lets them go on.
    pub fn cont(&self) {
        self.signal_all(Signal::CONT);
    }

    /// Stops the processes that serve the connections to a database as of now; new ones are served.
    pub async fn freeze_clients_of(&self, url: &str) {
        let mut connection = connect(&self.url("postgres")).await.unwrap();
        let name = url.rsplit('/').next().unwrap().split('?').next().unwrap();
        let pids = format!("SELECT pid FROM pg_stat_activity WHERE datname = '{name}'");
        for row in connection.fetch_all(pids.as_str()).await.unwrap() {
            let pid = rustix::process::Pid::from_raw(row.get(0)).unwrap();
            rustix::process::kill_process(pid, Signal::STOP).unwrap();
        }
    }

    /// Connections are reset and new ones refused.
    pub fn kill(&self) {
        self.end();
    }

    fn signal_all(&self, signal: Signal) {
        self.child.signal(signal);
        let main = self.child.id();
        let children = fs::read_to_string(format!("/proc/{main}/task/{main}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            let pid = rustix::process::Pid::from_raw(child.parse().unwrap());
            // One that has just ended is stopped as well.
            let _ = rustix::process::kill_process(pid.unwrap(), signal);
        }
    }

    /// At once, but with its shared memory given back, which a killed one leaves behind.
    fn end(&self) {
        self.cont();
        self.child.signal(Signal::QUIT);
        let patience = Instant::now() + Duration::from_secs(5);
        while self.child.ended().is_none() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.kill();
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.end();
    }
}

impl Owner {
    pub(super) fn find() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self(None);
        }
        let users = fs::read_to_string("/etc/passwd").expect("users");
        let numbers = |name: &str| {
            let line = users.lines().find(|line| line.starts_with(name))?;
            let mut fields = line.split(':').skip(2).map(str::parse);
            Some((fields.next()?.ok()?, fields.next()?.ok()?))
        };
        Self(Some(
            numbers("postgres:")
                .or_else(|| numbers("nobody:"))
                .expect("an unprivileged user"),
        ))
    }

    pub(super) fn give(self, dir: &Path) {
        if let Some((user, group)) = self.0 {
            chown(dir, Some(user), Some(group)).expect("root may");
        }
    }

    /// A program of the server, which Debian keeps out of the path.
    fn command(self, program: &str) -> Command {
        self.run(installed().join(program))
    }

    /// Any program, as this user.
    pub(super) fn run(self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
        command.env_clear().env("LC_ALL", "C");
        command
    }
}

/// The directory of the newest version, or none: then the path decides.
fn installed() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("bin/initdb").exists())
        .max_by_key(number);
    newest.map_or_else(PathBuf::new, |path| path.join("bin"))
}

fn spawn(owner: Owner, dir: &Path, port: u16, settings: &[&str]) -> Child {
    let mut command = owner.command("postgres");
    command.arg("-D").arg(dir.join("data"));
    let port = format!("port={port}");
    let usual = [
        &port[..],
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=200",
        // Nothing here outlives the server.
        "fsync=off",
        "full_page_writes=off",
        // In files of the data directory, not in the machine's shared memory.
        "dynamic_shared_memory_type=mmap",
    ];
    for setting in usual.iter().chain(settings) {
        command.args(["-c", setting]);
    }
    let log = fs::File::create(dir.join("log")).expect("the directory is ours");
    command.current_dir(dir).stdout(Stdio::null()).stderr(log);
    Child::spawn_ended_by(&mut command, "QUIT", Some(dir)).expect("initdb was there")
}

/// True when *this* server answers on the port, false when it has ended.
async fn is_up(child: &Child, port: u16, data: &Path) -> bool {
    wait::until("postgres to answer", async || {
        if child.ended().is_some() {
            return Some(false);
        }
        let mut connection = connect(&url(port, "postgres")).await.ok()?;
        let row = connection.fetch_one("SHOW data_directory").await.ok()?;
        (Path::new(&row.get::<String, _>(0)) == data).then_some(true)
    })
    .await
}

fn url(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}?sslmode=disable")
}

/// A connection of the test's own.
pub async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    PgConnection::connect(url).await
}

fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join("log")).unwrap_or_default()
}
