//! The registry in a database through sqlx: what the operations do, in the same words for both databases.

mod create;
mod driver;
mod error;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statements;
#[cfg(feature = "postgres")]
mod unprepared;

#[cfg(feature = "postgres")]
pub use postgres::PostgresRegistry;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteRegistry;

use std::{fmt, time::Duration};

use driver::{Arg, Driver, Lock, Row};
use sqlx::Connection as _;
use statements::Statements;

use super::{
    Created, CutoffScope, Found, NewSession, Registered, RegistryError, Rotated, Which, texts,
};
use crate::clock::millis;

/// How long a question may take, waiting for a connection included.
const DEADLINE: Duration = Duration::from_secs(2);

/// Whether anybody answers.
const PING: &str = "SELECT CAST(1 AS bigint)";

/// A database with its statements.
struct Sql<D> {
    driver: D,
    statements: Statements,
    deadline: Duration,
}

impl<D: Driver> Sql<D> {
    fn new(driver: D) -> Self {
        Self {
            driver,
            statements: Statements::new(&D::DIALECT),
            deadline: DEADLINE,
        }
    }

    async fn read(&self, statement: &str, args: &[Arg<'_>]) -> Result<Vec<Row>, RegistryError> {
        let question = driver::single(&self.driver, statement, args);
        driver::within(self.deadline, question).await
    }

    async fn write(&self, statement: &str, args: &[Arg<'_>]) -> Result<Vec<Row>, RegistryError> {
        let question = async {
            let _turn = self.driver.turn().await;
            driver::single(&self.driver, statement, args).await
        };
        driver::within(self.deadline, question).await
    }

    async fn find(&self, sid: &str) -> Result<Option<Found>, RegistryError> {
        texts::name(sid)?;
        let rows = self.read(&self.statements.find, &[Arg::Text(sid)]).await?;
        let found = |mut row: Row| {
            Ok(Found {
                session: session(&mut row)?,
                now_ms: row.int()?,
                cutoff_ms: row.maybe_int()?,
            })
        };
        let found = rows.into_iter().next().map(found).transpose();
        found.map_err(error::registry)
    }

    async fn create(&self, new: &NewSession) -> Result<Created, RegistryError> {
        texts::session(new)?;
        let question = async {
            let _turn = self.driver.turn().await;
            create::create(&self.driver, &self.statements, new).await
        };
        let created = driver::within(self.deadline, question).await?;
        created.ok_or_else(|| texts::refused("there is another session of this sid"))
    }

    async fn list(&self, tenant: &str, user: &str) -> Result<Vec<Registered>, RegistryError> {
        texts::name(tenant)?;
        texts::name(user)?;
        let args = [Arg::Text(tenant), Arg::Text(user)];
        let rows = self.read(&self.statements.list, &args).await?;
        each(rows, |mut row| session(&mut row))
    }

    async fn revoke(&self, which: &Which, reason: &str) -> Result<Vec<String>, RegistryError> {
        texts::which(which)?;
        texts::name(reason)?;
        let all = &self.statements;
        let (statement, texts): (_, &[&str]) = match which {
            Which::Sid(sid) => (&all.revoke_sid, &[reason, sid]),
            Which::One { tenant, user, sid } => (&all.revoke_one, &[reason, tenant, user, sid]),
            Which::Others { tenant, user, keep } => {
                (&all.revoke_others, &[reason, tenant, user, keep])
            }
            Which::All { tenant, user } => (&all.revoke_all, &[reason, tenant, user]),
        };
        let args: Vec<_> = texts.iter().map(|text| Arg::Text(text)).collect();
        let mut sids = each(self.write(statement, &args).await?, |mut row| row.text())?;
        if let Which::Others { tenant, user, keep } = which {
            match self.ended_lately(tenant, user, keep).await {
                Ok(lately) => sids.extend(lately),
                // Whom this call has ended has to be told of, whether or not the rest is known.
                Err(_) if !sids.is_empty() => {}
                Err(error) => return Err(error),
            }
            sids.sort();
            sids.dedup();
        }
        Ok(sids)
    }

    /// By itself and afterwards: it locks nothing, so that those who end the same sessions lock them in one order.
    async fn ended_lately(
        &self,
        tenant: &str,
        user: &str,
        keep: &str,
    ) -> Result<Vec<String>, RegistryError> {
        let args = [tenant, user, keep].map(Arg::Text);
        let rows = self.read(&self.statements.ended_lately, &args).await?;
        each(rows, |mut row| row.text())
    }

    async fn touch(&self, sid: &str) -> Result<(), RegistryError> {
        texts::name(sid)?;
        self.write(&self.statements.touch, &[Arg::Text(sid)])
            .await?;
        Ok(())
    }

    async fn rotate(
        &self,
        sid: &str,
        expected: &str,
        next: &Rotated,
    ) -> Result<bool, RegistryError> {
        texts::rotated(sid, expected, next)?;
        let args = [
            Arg::Text(sid),
            Arg::Text(expected),
            Arg::Text(&next.token),
            Arg::Text(&next.data),
            int(texts::lifetime(next.lifetime_ms)),
        ];
        let rows = self.write(&self.statements.rotate, &args).await?;
        Ok(!rows.is_empty())
    }

    async fn auth_start(&self) -> Result<u64, RegistryError> {
        let rows = self.read(&self.statements.auth_start, &[]).await?;
        let starts = each(rows, |mut row| row.int())?;
        let none = || error::registry(sqlx::Error::RowNotFound);
        starts.first().copied().ok_or_else(none)
    }

    async fn put_cutoff(
        &self,
        scope: &CutoffScope,
        moment: Option<u64>,
    ) -> Result<u64, RegistryError> {
        texts::scope(scope)?;
        texts::moment(moment.unwrap_or(0))?;
        let (kind, tenant, user) = match scope {
            CutoffScope::Everyone => (0, "", ""),
            CutoffScope::Tenant(tenant) => (1, tenant.as_str(), ""),
            CutoffScope::User { tenant, user } => (2, tenant.as_str(), user.as_str()),
        };
        let mut args = vec![Arg::Int(kind), Arg::Text(tenant), Arg::Text(user)];
        args.extend(moment.map(int));
        let statement = match moment {
            Some(_) => &self.statements.note_cutoff,
            None => &self.statements.raise_cutoff,
        };
        let question = async {
            let _turn = self.driver.turn().await;
            let mut lease = driver::Lease::of(self.driver.pool()).await?;
            let put = async {
                let begin = D::begin(Lock::Cutoff(scope));
                let mut transaction = lease.connection.begin_with(begin).await?;
                let rows = self
                    .driver
                    .fetch(&mut transaction, statement, &args)
                    .await?;
                transaction.commit().await?;
                Ok(rows)
            }
            .await;
            lease.after(put)
        };
        let rows = driver::within(self.deadline, question).await?;
        let at = rows.into_iter().next().map(|mut row| row.int());
        let at = at.unwrap_or(Err(sqlx::Error::RowNotFound));
        at.map_err(error::registry)
    }

    async fn recent_cutoffs(&self, age_ms: u64) -> Result<Vec<(CutoffScope, u64)>, RegistryError> {
        let rows = self
            .read(&self.statements.recent_cutoffs, &[int(age_ms)])
            .await?;
        each(rows, |mut row| {
            let (kind, tenant, user) = (row.int()?, row.text()?, row.text()?);
            let scope = match kind {
                0 => CutoffScope::Everyone,
                1 => CutoffScope::Tenant(tenant),
                _ => CutoffScope::User { tenant, user },
            };
            Ok((scope, row.int()?))
        })
    }

    async fn recently_ended(&self, age_ms: u64) -> Result<Vec<String>, RegistryError> {
        let rows = self
            .read(&self.statements.recently_ended, &[int(age_ms)])
            .await?;
        each(rows, |mut row| row.text())
    }

    /// Page by page, so that no statement takes long and none holds locks that others wait for.
    async fn sweep(&self, older_than: Duration) -> Result<u64, RegistryError> {
        let age = int(millis(older_than));
        let (mut after, mut swept) = (String::new(), 0);
        loop {
            let page = self
                .read(&self.statements.page, &[Arg::Text(&after)])
                .await?;
            let last = each(page, |mut row| row.maybe_text())?.pop().flatten();
            let Some(last) = last else {
                return Ok(swept);
            };
            let args = [Arg::Text(&after), Arg::Text(&last), age];
            let rows = self.write(&self.statements.sweep, &args).await?;
            swept += rows.len() as u64;
            after = last;
        }
    }

    /// Statements separated by semicolons.
    async fn migrate(&self, sql: &str) -> Result<(), RegistryError> {
        let question = async {
            let _turn = self.driver.turn().await;
            let mut lease = driver::Lease::of(self.driver.pool()).await?;
            let done = async {
                let begin = D::begin(Lock::Tables);
                let mut transaction = lease.connection.begin_with(begin).await?;
                D::run(&mut transaction, sql).await?;
                transaction.commit().await
            }
            .await;
            lease.after(done)
        };
        // Another process may be building an index.
        driver::within(self.deadline * 15, question).await
    }
}

impl<D> fmt::Debug for Sql<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sql")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

fn session(row: &mut Row) -> Result<Registered, sqlx::Error> {
    Ok(Registered {
        sid: row.text()?,
        tenant: row.text()?,
        user: row.text()?,
        auth_ms: row.int()?,
        created_ms: row.int()?,
        last_used_ms: row.int()?,
        expires_ms: row.int()?,
        ended: row.maybe_text()?,
        token: row.text()?,
        data: row.text()?,
    })
}

fn each<T>(
    rows: Vec<Row>,
    read: impl FnMut(Row) -> Result<T, sqlx::Error>,
) -> Result<Vec<T>, RegistryError> {
    let read: Result<_, _> = rows.into_iter().map(read).collect();
    read.map_err(error::registry)
}

/// What is too large for the database is larger than any moment in it.
fn int(number: u64) -> Arg<'static> {
    Arg::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// The trait by the methods of the same names of `self.sql`.
macro_rules! registry_by_sql {
    ($registry:ty) => {
        impl $crate::registry::Registry for $registry {
            fn find<'a>(&'a self, sid: &'a str) -> RegistryFuture<'a, Option<Found>> {
                Box::pin(self.sql.find(sid))
            }

            fn create<'a>(&'a self, session: &'a NewSession) -> RegistryFuture<'a, Created> {
                Box::pin(self.sql.create(session))
            }

            fn list<'a>(
                &'a self,
                tenant: &'a str,
                user: &'a str,
            ) -> RegistryFuture<'a, Vec<Registered>> {
                Box::pin(self.sql.list(tenant, user))
            }

            fn revoke<'a>(
                &'a self,
                which: &'a Which,
                reason: &'a str,
            ) -> RegistryFuture<'a, Vec<String>> {
                Box::pin(self.sql.revoke(which, reason))
            }

            fn touch<'a>(&'a self, sid: &'a str) -> RegistryFuture<'a, ()> {
                Box::pin(self.sql.touch(sid))
            }

            fn rotate<'a>(
                &'a self,
                sid: &'a str,
                expected: &'a str,
                next: &'a Rotated,
            ) -> RegistryFuture<'a, bool> {
                Box::pin(self.sql.rotate(sid, expected, next))
            }

            fn auth_start(&self) -> RegistryFuture<'_, u64> {
                Box::pin(self.sql.auth_start())
            }

            fn put_cutoff<'a>(
                &'a self,
                scope: &'a CutoffScope,
                moment: Option<u64>,
            ) -> RegistryFuture<'a, u64> {
                Box::pin(self.sql.put_cutoff(scope, moment))
            }

            fn recent_cutoffs(&self, age_ms: u64) -> RegistryFuture<'_, Vec<(CutoffScope, u64)>> {
                Box::pin(self.sql.recent_cutoffs(age_ms))
            }

            fn recently_ended(&self, age_ms: u64) -> RegistryFuture<'_, Vec<String>> {
                Box::pin(self.sql.recently_ended(age_ms))
            }
        }
    };
}
pub(super) use registry_by_sql;
