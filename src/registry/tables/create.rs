//! Creating a session: one transaction that excludes other creates of the user and cutoffs that apply.

use sqlx::{Connection as _, Database};

use super::{
    super::{Created, NewSession, texts, truth::EVICTED},
    driver::{Arg, Driver, Lease, Lock, Row},
    int,
    statements::Statements,
};

type Conn<D> = <<D as Driver>::Database as Database>::Connection;

/// What the database says before anything is written.
struct Look {
    now: u64,
    cutoff: Option<u64>,
    /// Tenant, user, token, and when it authenticated and began.
    existing: Option<(String, String, String, u64, u64)>,
}

/// `None`: there is a session of this `sid` that is not this one.
pub(super) async fn create<D: Driver>(
    driver: &D,
    statements: &Statements,
    new: &NewSession,
) -> Result<Option<Created>, sqlx::Error> {
    let mut lease = Lease::of(driver.pool()).await?;
    let created = async {
        let begin = D::begin(Lock::User(&new.tenant, &new.user));
        let mut transaction = lease.connection.begin_with(begin).await?;
        let created = write(driver, &mut transaction, statements, new).await?;
        transaction.commit().await?;
        Ok(created)
    }
    .await;
    lease.after(created)
}

async fn write<D: Driver>(
    driver: &D,
    connection: &mut Conn<D>,
    statements: &Statements,
    new: &NewSession,
) -> Result<Option<Created>, sqlx::Error> {
    let Look {
        now,
        cutoff,
        existing,
    } = look(driver, connection, statements, new).await?;
    if let Some((tenant, user, token, auth_ms, created_ms)) = existing {
        if (tenant, user, token) != (new.tenant.clone(), new.user.clone(), new.token.clone()) {
            return Ok(None);
        }
        let evicted = evicted(driver, connection, statements, new, created_ms).await?;
        return Ok(Some(Created::Active {
            auth_ms,
            created_ms,
            evicted,
        }));
    }
    if cutoff
        .zip(new.not_before_ms)
        .is_some_and(|(at, begun)| at >= begun)
    {
        return Ok(Some(Created::Cut));
    }
    let Some(evicted) = make_room(driver, connection, statements, new, now).await? else {
        return Ok(Some(Created::Full));
    };
    let auth_ms = now
        .max(cutoff.map_or(0, |at| at + 1))
        .max(new.auth_at_least_ms);
    insert(driver, connection, statements, new, (auth_ms, now)).await?;
    Ok(Some(Created::Active {
        auth_ms,
        created_ms: now,
        evicted,
    }))
}

async fn look<D: Driver>(
    driver: &D,
    connection: &mut Conn<D>,
    statements: &Statements,
    new: &NewSession,
) -> Result<Look, sqlx::Error> {
    let args = [&new.sid, &new.tenant, &new.user].map(|text| Arg::Text(text));
    let rows = driver.fetch(connection, &statements.look, &args).await?;
    let mut row = rows.into_iter().next().ok_or(sqlx::Error::RowNotFound)?;
    let (now, cutoff) = (row.int()?, row.maybe_int()?);
    let existing = match row.maybe_text()? {
        Some(tenant) => Some((tenant, row.text()?, row.text()?, row.int()?, row.int()?)),
        None => None,
    };
    Ok(Look {
        now,
        cutoff,
        existing,
    })
}

/// The `sid`s that ended for the new session; `None` when it has no room.
async fn make_room<D: Driver>(
    driver: &D,
    connection: &mut Conn<D>,
    statements: &Statements,
    new: &NewSession,
    now: u64,
) -> Result<Option<Vec<String>>, sqlx::Error> {
    let Some(limit) = new.limit else {
        return Ok(Some(Vec::new()));
    };
    let user = [Arg::Text(&new.tenant), Arg::Text(&new.user)];
    let active = sids(driver.fetch(connection, &statements.active, &user).await?)?;
    let Some(evicted) = limit.over(active) else {
        return Ok(None);
    };
    for sid in &evicted {
        let args = [Arg::Text(EVICTED), int(now), Arg::Text(sid)];
        driver.fetch(connection, &statements.evict, &args).await?;
    }
    Ok(Some(evicted))
}

/// Those that ended for a session that is there already: in the millisecond in which it began.
async fn evicted<D: Driver>(
    driver: &D,
    connection: &mut Conn<D>,
    statements: &Statements,
    new: &NewSession,
    created_ms: u64,
) -> Result<Vec<String>, sqlx::Error> {
    let args = [
        int(created_ms),
        Arg::Text(EVICTED),
        Arg::Text(&new.tenant),
        Arg::Text(&new.user),
    ];
    sids(driver.fetch(connection, &statements.evicted, &args).await?)
}

async fn insert<D: Driver>(
    driver: &D,
    connection: &mut Conn<D>,
    statements: &Statements,
    new: &NewSession,
    (auth_ms, now): (u64, u64),
) -> Result<(), sqlx::Error> {
    let args = [
        Arg::Text(&new.sid),
        Arg::Text(&new.tenant),
        Arg::Text(&new.user),
        int(auth_ms),
        int(now),
        int(now.saturating_add(texts::lifetime(new.lifetime_ms))),
        Arg::Text(&new.token),
        Arg::Text(&new.data),
    ];
    driver.fetch(connection, &statements.insert, &args).await?;
    Ok(())
}

fn sids(rows: Vec<Row>) -> Result<Vec<String>, sqlx::Error> {
    rows.into_iter().map(|mut row| row.text()).collect()
}
