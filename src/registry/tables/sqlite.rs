//! SQLite.

use std::{fmt, str::FromStr, time::Duration};

use sqlx::{
    Executor as _, Sqlite, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{Mutex, MutexGuard};

use super::{
    super::{
        Created, CutoffScope, Found, NewSession, Registered, RegistryError, RegistryFuture,
        Rotated, Which,
    },
    PING, Sql,
    driver::{Arg, Driver, Lock, Row},
    error, registry_by_sql,
    statements::Dialect,
};

/// How long a writer waits for another process: less than the deadline, so that SQLite says it and the connection stays.
const BUSY: Duration = Duration::from_millis(1_500);

/// The registry in a SQLite file (3.35 or newer; this crate's build brings its own): for one machine, whose processes may
/// share the file. The clock is the machine's.
///
/// One writes at a time, in the order in which they ask within a process; reading goes on meanwhile (WAL). A commit is on
/// the disk before it is answered, so that a revocation survives a power failure.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), portcullis::registry::RegistryError> {
/// use portcullis::registry::{NewSession, Registry, SqliteRegistry};
///
/// let registry = SqliteRegistry::connect("sqlite::memory:").await?; // or sqlite:sessions.db, made if missing
/// registry.migrate().await?;
/// let login = NewSession { sid: "s1".into(), user: "alice".into(), lifetime_ms: 60_000, ..NewSession::default() };
/// registry.create(&login).await?;
/// assert_eq!(registry.list("", "alice").await?.len(), 1);
/// # Ok(()) }
/// ```
pub struct SqliteRegistry {
    sql: Sql<File>,
}

struct File {
    pool: SqlitePool,
    /// SQLite lets writers try again and again, in no order; within the process they stand in line.
    writer: Mutex<()>,
}

impl SqliteRegistry {
    /// What [`migrate`](Self::migrate) runs, for the application's own migrations.
    pub const MIGRATION: &'static str = include_str!("../sql/sqlite.sql");

    /// Opens the file of an address such as `sqlite:sessions.db` or `sqlite:///var/lib/app/sessions.db`, and makes it if it
    /// is missing. `sqlite::memory:` is a database of this handle alone, gone with it.
    ///
    /// # Errors
    ///
    /// [`Failed`](super::super::RegistryErrorKind::Failed) when the address is none or the file no database,
    /// [`Unavailable`](super::super::RegistryErrorKind::Unavailable) when it cannot be opened.
    pub async fn connect(url: &str) -> Result<Self, RegistryError> {
        let options = SqliteConnectOptions::from_str(url).map_err(|_| error::address())?;
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY);
        let mut pool = SqlitePoolOptions::new().max_connections(5);
        if url.contains(":memory:") || url.contains("mode=memory") {
            // It lives as long as its one connection.
            pool = pool
                .max_connections(1)
                .idle_timeout(None)
                .max_lifetime(None);
        }
        let registry = Self::new(pool.connect_lazy_with(options));
        registry.sql.read(PING, &[]).await?;
        Ok(registry)
    }

    /// On a pool of the application's, which should use WAL, `synchronous = FULL` and a busy timeout, as
    /// [`connect`](Self::connect) does.
    #[must_use]
    pub fn new(pool: SqlitePool) -> Self {
        let writer = Mutex::new(());
        Self {
            sql: Sql::new(File { pool, writer }),
        }
    }

    /// How long a question may take instead of two seconds, waiting in line included.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.sql.deadline = deadline;
        self
    }

    /// Makes the tables and indexes that are not there yet. Several processes may do so at once.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub async fn migrate(&self) -> Result<(), RegistryError> {
        self.sql.migrate(Self::MIGRATION).await
    }

    /// Removes sessions that ended or expired longer ago than `older_than`, a thousand rows at a time; returns how many.
    ///
    /// For a job that runs once a day. `older_than` is longer than any access token lives, than anybody is shown in a list
    /// why a session ended, and than the longest outage of Redis whose revocations are to be made up for: thirty days, for
    /// instance. Cutoffs stay.
    ///
    /// # Errors
    ///
    /// When the file cannot be written; what was removed until then is.
    pub async fn sweep(&self, older_than: Duration) -> Result<u64, RegistryError> {
        self.sql.sweep(older_than).await
    }
}

impl Driver for File {
    type Database = Sqlite;
    const DIALECT: Dialect = Dialect {
        // SQLite keeps whole milliseconds; the fraction of a day that it hands out is rounded back to them.
        now: "CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)",
        greatest: "max",
    };

    fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        Some(self.writer.lock().await)
    }

    /// The one lock there is excludes all other writers.
    fn begin(_: Lock<'_>) -> String {
        "BEGIN IMMEDIATE".to_owned()
    }

    async fn run<'a>(
        connection: &'a mut SqliteConnection,
        statements: &'a str,
    ) -> Result<(), sqlx::Error> {
        connection.execute(statements).await?;
        Ok(())
    }

    async fn fetch<'a>(
        &'a self,
        connection: &'a mut SqliteConnection,
        statement: &'a str,
        args: &'a [Arg<'a>],
    ) -> Result<Vec<Row>, sqlx::Error> {
        let mut query = sqlx::query(statement);
        for arg in args {
            query = match *arg {
                Arg::Text(text) => query.bind(text),
                Arg::Int(int) => query.bind(int),
            };
        }
        let rows = query.fetch_all(connection).await?;
        rows.iter().map(Row::read).collect()
    }
}

impl fmt::Debug for SqliteRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteRegistry")
            .field("sql", &self.sql)
            .finish()
    }
}

registry_by_sql!(SqliteRegistry);
