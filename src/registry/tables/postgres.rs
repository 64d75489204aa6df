//! PostgreSQL.

use std::{fmt, str::FromStr, time::Duration};

use sha2::{Digest, Sha256};
use sqlx::{
    Executor as _, PgConnection, PgPool, Postgres,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::MutexGuard;

use super::{
    super::{
        Created, CutoffScope, Found, NewSession, Registered, RegistryError, RegistryFuture,
        Rotated, Which,
    },
    DEADLINE, PING, Sql,
    driver::{Arg, Driver, Lock, Row},
    error, registry_by_sql,
    statements::Dialect,
    unprepared::with_values,
};

/// The registry in PostgreSQL 12 or newer, in two tables of its own.
///
/// Handles are cheap to make of one pool: [`new`](Self::new) takes a clone of the application's.
///
/// 1. A revocation must not be undone by the database itself: keep `synchronous_commit` on, and fail over to a replica only
///    if it is synchronous. Point it at the primary.
/// 2. A question takes at most [`deadline`](Self::deadline), waiting for a connection included; what takes longer is
///    [`Unavailable`](super::super::RegistryErrorKind::Unavailable), and its connection is closed.
/// 3. Behind a pooler that lends a connection for one transaction it works with [`unprepared`](Self::unprepared), and not
///    without; behind one that lends it for a session as it is. Tested with PgBouncer 1.18. Newer ones can keep track of
///    prepared statements (`max_prepared_statements`); whether that is enough is not tested.
///
/// ```no_run
/// # async fn start() -> Result<(), portcullis::registry::RegistryError> {
/// use portcullis::registry::PostgresRegistry;
///
/// let registry = PostgresRegistry::connect("postgres://app:password@db.example/app").await?;
/// registry.migrate().await?;
/// # Ok(()) }
/// ```
pub struct PostgresRegistry {
    sql: Sql<Pg>,
}

struct Pg {
    pool: PgPool,
    prepares: bool,
}

impl PostgresRegistry {
    /// What [`migrate`](Self::migrate) runs, for the application's own migrations.
    pub const MIGRATION: &'static str = include_str!("../sql/postgres.sql");

    /// Connects by an address such as `postgres://user:password@host/database`, with at most ten connections.
    ///
    /// The server ends a statement after two seconds, and a transaction whose client is silent, so that no process that
    /// stands still keeps others waiting.
    ///
    /// TLS needs the feature `tls` (or one of sqlx's own) and `?sslmode=verify-full`. That trusts the authorities of the web, not
    /// those of the system; one's own is named with `&sslrootcert=/path/ca.pem`, a client's certificate with `&sslcert=` and
    /// `&sslkey=`. A self-signed certificate can be its own `sslrootcert` unless it says that it is an authority (`CA:TRUE`).
    /// The other modes promise less: `require` encrypts and trusts whoever answers, also with a `sslrootcert`; `prefer`, the
    /// default, goes without TLS where the server has none, and always where the feature is off.
    ///
    /// # Errors
    ///
    /// [`Failed`](super::super::RegistryErrorKind::Failed) when the address is none, the login is refused, or TLS is asked for and
    /// cannot be had, by this build or by the server;
    /// [`Unavailable`](super::super::RegistryErrorKind::Unavailable) when nobody answers within two seconds.
    pub async fn connect(url: &str) -> Result<Self, RegistryError> {
        let registry = Self::connect_lazy(url)?;
        registry.sql.read(PING, &[]).await?;
        Ok(registry)
    }

    /// As [`connect`](Self::connect), but with the first question: the service starts while the database is away.
    ///
    /// # Errors
    ///
    /// When the address is none.
    pub fn connect_lazy(url: &str) -> Result<Self, RegistryError> {
        let options = PgConnectOptions::from_str(url).map_err(|_| error::address())?;
        // Poolers refuse it, and no statement has a number with a fraction in its answer.
        let options = options.extra_float_digits(None);
        let limits = format!(
            "SET statement_timeout = {0}; SET lock_timeout = {0}; SET idle_in_transaction_session_timeout = {0}",
            DEADLINE.as_millis()
        );
        let pool = PgPoolOptions::new().after_connect(move |connection, _| {
            let limits = limits.clone();
            Box::pin(async move {
                connection.execute(limits.as_str()).await?;
                Ok(())
            })
        });
        Ok(Self::new(pool.connect_lazy_with(options)))
    }

    /// On a pool of the application's. Its sessions should have a `statement_timeout` and an
    /// `idle_in_transaction_session_timeout`, as those of [`connect`](Self::connect) do.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self {
            sql: Sql::new(Pg {
                pool,
                prepares: true,
            }),
        }
    }

    /// Prepares no statements: for a pooler that lends a connection for one transaction, such as PgBouncer with
    /// `pool_mode = transaction`. There the next statement may be on another connection, which knows nothing of what was
    /// prepared, or knows something else by that name; `statement_cache_capacity(0)` of the pool's options does not help.
    ///
    /// With a pool of the application's, made with `extra_float_digits(None)`, which PgBouncer refuses otherwise. What
    /// [`connect`](Self::connect) sets on its connections would there be set for everybody: set the timeouts for the role.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use portcullis::registry::PostgresRegistry;
    /// use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
    ///
    /// // ALTER ROLE app SET statement_timeout = '2s';
    /// // ALTER ROLE app SET lock_timeout = '2s';
    /// // ALTER ROLE app SET idle_in_transaction_session_timeout = '2s';
    /// let pooler: PgConnectOptions = "postgres://app:password@pgbouncer.example:6432/app".parse()?;
    /// let pool = PgPoolOptions::new().connect_lazy_with(pooler.extra_float_digits(None));
    /// let registry = PostgresRegistry::new(pool).unprepared();
    /// # drop(registry);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn unprepared(mut self) -> Self {
        self.sql.driver.prepares = false;
        self
    }

    /// How long a question may take instead of two seconds, waiting for a connection included. More than two seconds
    /// matters on a pool of the application's only.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.sql.deadline = deadline;
        self
    }

    /// Makes the tables and indexes that are not there yet, in the first schema of the search path. Several processes may
    /// do so at once.
    ///
    /// # Errors
    ///
    /// When the database cannot be reached, or the user may not create tables: [`MIGRATION`](Self::MIGRATION) is what
    /// somebody else has to run then.
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
    /// When the database does not answer; what was removed until then is.
    pub async fn sweep(&self, older_than: Duration) -> Result<u64, RegistryError> {
        self.sql.sweep(older_than).await
    }
}

impl Driver for Pg {
    type Database = Postgres;
    // As of the statement's start, which is after the lock was had: `now()` would be before.
    const DIALECT: Dialect = Dialect {
        now: "CAST(floor(extract(epoch FROM statement_timestamp()) * 1000) AS bigint)",
        greatest: "greatest",
    };

    fn pool(&self) -> &PgPool {
        &self.pool
    }

    async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        None
    }

    /// Read committed, whatever the default is: each statement sees what was there when it began, after the lock.
    /// One trip; the numbers are ours.
    fn begin(lock: Lock<'_>) -> String {
        let one = |mode: &str, key: i64| format!("pg_advisory_xact_lock{mode}({key})");
        let locks = match lock {
            Lock::Tables => one("", key(&["tables"])),
            Lock::Cutoff(scope) => one("", scope_key(scope)),
            Lock::User(tenant, user) => [
                one("_shared", everyone_key()),
                one("_shared", tenant_key(tenant)),
                one("", user_key(tenant, user)),
            ]
            .join(", "),
        };
        format!("BEGIN ISOLATION LEVEL READ COMMITTED; SELECT {locks}")
    }

    async fn run<'a>(
        connection: &'a mut PgConnection,
        statements: &'a str,
    ) -> Result<(), sqlx::Error> {
        connection.execute(statements).await?;
        Ok(())
    }

    async fn fetch<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        statement: &'a str,
        args: &'a [Arg<'a>],
    ) -> Result<Vec<Row>, sqlx::Error> {
        if !self.prepares {
            let text = with_values(statement, args);
            let rows = connection.fetch_all(text.as_str()).await?;
            return rows.iter().map(Row::read).collect();
        }
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

fn scope_key(scope: &CutoffScope) -> i64 {
    match scope {
        CutoffScope::Everyone => everyone_key(),
        CutoffScope::Tenant(tenant) => tenant_key(tenant),
        CutoffScope::User { tenant, user } => user_key(tenant, user),
    }
}

fn everyone_key() -> i64 {
    key(&["everyone"])
}

fn tenant_key(tenant: &str) -> i64 {
    key(&["tenant", tenant])
}

fn user_key(tenant: &str, user: &str) -> i64 {
    key(&["user", tenant, user])
}

/// The key of an advisory lock, the same in all versions; each part ends with a byte that none has in it.
fn key(parts: &[&str]) -> i64 {
    let mut hash = Sha256::new();
    for part in [&["portcullis registry"], parts].concat() {
        hash.update(part);
        hash.update([0]);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    i64::from_be_bytes(first)
}

/// Without the pool's options, which have a password in them.
impl fmt::Debug for PostgresRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresRegistry")
            .field("sql", &self.sql)
            .finish()
    }
}

registry_by_sql!(PostgresRegistry);
