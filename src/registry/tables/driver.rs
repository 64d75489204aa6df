//! What the two databases do differently, and how a statement is run without anything hanging.

use std::{future::Future, time::Duration};

use sqlx::{
    ColumnIndex, Database, Decode, Pool, Type, TypeInfo as _, ValueRef as _, pool::PoolConnection,
};

use super::{
    super::{CutoffScope, RegistryError},
    error,
    statements::Dialect,
};

/// What goes into a statement.
#[derive(Clone, Copy)]
pub(super) enum Arg<'a> {
    Text(&'a str),
    Int(i64),
}

/// What comes out.
pub(super) enum Cell {
    Null,
    Text(String),
    Int(i64),
}

/// The cells of a row, taken from the left.
pub(super) struct Row(std::vec::IntoIter<Cell>);

/// Who excludes whom while a transaction lasts.
#[derive(Clone, Copy)]
pub(super) enum Lock<'a> {
    /// A cutoff of this scope is put: no session that it applies to is created meanwhile.
    Cutoff(&'a CutoffScope),
    /// A session of this tenant and user is created: no other of the user, and no cutoff that applies.
    User(&'a str, &'a str),
    /// The tables are made.
    Tables,
}

/// One of the two databases.
pub(super) trait Driver: Send + Sync + 'static {
    type Database: Database;
    const DIALECT: Dialect;

    fn pool(&self) -> &Pool<Self::Database>;

    /// Waits for the turn to write, where there is only one writer at a time.
    fn turn(&self) -> impl Future<Output = Option<tokio::sync::MutexGuard<'_, ()>>> + Send;

    /// What begins a transaction that holds the lock. What is read after it is as of then or later.
    fn begin(lock: Lock<'_>) -> String;

    /// Runs statements that are separated by semicolons.
    fn run<'a>(
        connection: &'a mut <Self::Database as Database>::Connection,
        statements: &'a str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send + 'a;

    fn fetch<'a>(
        &'a self,
        connection: &'a mut <Self::Database as Database>::Connection,
        statement: &'a str,
        args: &'a [Arg<'a>],
    ) -> impl Future<Output = Result<Vec<Row>, sqlx::Error>> + Send + 'a;
}

/// A connection that goes back into the pool only if its last answer was read; whoever drops a call half-way drops the
/// connection with it. The pool would ask it whether it is well, and wait for as long as the server is silent.
pub(super) struct Lease<D: Database> {
    pub(super) connection: PoolConnection<D>,
    pub(super) well: bool,
}

impl<D: Database> Lease<D> {
    pub(super) async fn of(pool: &Pool<D>) -> Result<Self, sqlx::Error> {
        let connection = pool.acquire().await?;
        Ok(Self {
            connection,
            well: false,
        })
    }

    /// A database that says what is wrong is well.
    pub(super) fn after<T>(mut self, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        self.well = matches!(result, Ok(_) | Err(sqlx::Error::Database(_)));
        result
    }
}

impl<D: Database> Drop for Lease<D> {
    fn drop(&mut self) {
        if !self.well {
            self.connection.close_on_drop();
        }
    }
}

/// Runs a question to the database within the deadline, waiting for a connection included.
pub(super) async fn within<T>(
    deadline: Duration,
    question: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, RegistryError> {
    match tokio::time::timeout(deadline, question).await {
        Ok(answer) => answer.map_err(error::registry),
        Err(_) => Err(error::deadline()),
    }
}

/// A statement by itself.
pub(super) async fn single<D: Driver>(
    driver: &D,
    statement: &str,
    args: &[Arg<'_>],
) -> Result<Vec<Row>, sqlx::Error> {
    let mut lease = Lease::of(driver.pool()).await?;
    let rows = driver.fetch(&mut lease.connection, statement, args).await;
    lease.after(rows)
}

impl Row {
    /// The row of any database whose numbers and texts sqlx can read.
    pub(super) fn read<'r, R: sqlx::Row>(row: &'r R) -> Result<Self, sqlx::Error>
    where
        usize: ColumnIndex<R>,
        i64: Decode<'r, R::Database> + Type<R::Database>,
        String: Decode<'r, R::Database> + Type<R::Database>,
    {
        let cell = |at| {
            let value = row.try_get_raw(at)?;
            Ok(if value.is_null() {
                Cell::Null
            } else if value.type_info().name() == "TEXT" {
                Cell::Text(row.try_get(at)?)
            } else {
                Cell::Int(row.try_get(at)?)
            })
        };
        let cells: Result<Vec<_>, sqlx::Error> = (0..row.len()).map(cell).collect();
        Ok(Self(cells?.into_iter()))
    }

    pub(super) fn text(&mut self) -> Result<String, sqlx::Error> {
        self.maybe_text()?.ok_or_else(unreadable)
    }

    pub(super) fn maybe_text(&mut self) -> Result<Option<String>, sqlx::Error> {
        match self.0.next() {
            Some(Cell::Text(text)) => Ok(Some(text)),
            Some(Cell::Null) => Ok(None),
            _ => Err(unreadable()),
        }
    }

    pub(super) fn int(&mut self) -> Result<u64, sqlx::Error> {
        self.maybe_int()?.ok_or_else(unreadable)
    }

    pub(super) fn maybe_int(&mut self) -> Result<Option<u64>, sqlx::Error> {
        match self.0.next() {
            Some(Cell::Int(int)) => u64::try_from(int).map(Some).map_err(|_| unreadable()),
            Some(Cell::Null) => Ok(None),
            _ => Err(unreadable()),
        }
    }
}

fn unreadable() -> sqlx::Error {
    sqlx::Error::Decode("not what was written".into())
}
