//! A real PgBouncer in front of a PostgreSQL server, which lends its few connections for one transaction each.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use sqlx::{ConnectOptions, Executor, PgConnection, Row, postgres::PgConnectOptions};
use tokio::sync::OnceCell;

use super::{
    child::Child,
    postgres::{Owner, PostgresServer},
    redis::{Dir, free_port},
    wait,
};

/// A pooler that ends with this value.
pub struct PgBouncer {
    port: u16,
    _child: Child,
    _dir: Dir,
}

impl PgBouncer {
    /// The one that tests share, in front of the server that they share.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<PgBouncer> = OnceCell::const_new();
        let start = || async { Self::start(PostgresServer::shared().await).await };
        SHARED.get_or_init(start).await
    }

    /// With three connections to the server for each database.
    async fn start(server: &PostgresServer) -> Self {
        let owner = Owner::find();
        for _ in 0..20 {
            let dir = Dir::new();
            owner.give(&dir.0);
            let port = free_port();
            let settings = dir.0.join("pgbouncer.ini");
            fs::write(&settings, ini(port, server.port())).expect("the directory is ours");
            let mut command = owner.run(installed());
            command.arg(&settings).current_dir(&dir.0);
            let log = fs::File::create(dir.0.join("log")).expect("the directory is ours");
            command.stdout(Stdio::null()).stderr(log);
            let child = Child::spawn(&mut command, Some(&dir.0))
                .expect("pgbouncer is installed, see tests/run");
            if is_up(&child, port, server).await {
                return Self {
                    port,
                    _child: child,
                    _dir: dir,
                };
            }
        }
        panic!("pgbouncer does not start");
    }

    /// A new database of the server, by way of the pooler.
    pub async fn database(&self) -> PgConnectOptions {
        let url = PostgresServer::shared().await.database().await;
        options(&url, self.port)
    }
}

/// Debian keeps it out of the path of those who are not root.
fn installed() -> PathBuf {
    let debian = Path::new("/usr/sbin/pgbouncer");
    if debian.exists() {
        debian
    } else {
        Path::new("pgbouncer")
    }
    .to_owned()
}

fn ini(port: u16, server: u16) -> String {
    format!(
        "[databases]\n\
         * = host=127.0.0.1 port={server} user=postgres\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = any\n\
         pool_mode = transaction\n\
         default_pool_size = 3\n\
         max_client_conn = 1000\n"
    )
}

/// The address of a database of the server, by way of the pooler on this port.
fn options(url: &str, port: u16) -> PgConnectOptions {
    let options: PgConnectOptions = url.parse().expect("an address");
    options.port(port).extra_float_digits(None)
}

async fn is_up(child: &Child, port: u16, server: &PostgresServer) -> bool {
    let url = server.url("postgres");
    wait::until("pgbouncer to answer", async || {
        if child.ended().is_some() {
            return Some(false);
        }
        let mut connection: PgConnection = options(&url, port).connect().await.ok()?;
        let row = connection.fetch_one("SHOW data_directory").await.ok()?;
        let data: String = row.get(0);
        // Another pooler on the port: ours is about to find its port taken and to end.
        (Path::new(&data) == server.data()).then_some(true)
    })
    .await
}
