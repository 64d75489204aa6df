//! `DATABASE_URL`: with a database that knows who is signed in, an empty or dead Redis signs no program out.

use std::{env, error::Error, sync::Arc};

use portcullis::{
    Store,
    registry::{ActiveSessions, PostgresRegistry, Registry, SqliteRegistry},
};

/// `sqlite:sessions.db` or `postgres://…`; `None` without it. The tables are made if they are missing.
pub(crate) async fn active_sessions(
    store: &Store,
) -> Result<Option<ActiveSessions>, Box<dyn Error>> {
    let Ok(url) = env::var("DATABASE_URL") else {
        return Ok(None);
    };
    let registry: Arc<dyn Registry> = if url.starts_with("sqlite:") {
        let registry = SqliteRegistry::connect(&url).await?;
        registry.migrate().await?;
        Arc::new(registry)
    } else {
        let registry = PostgresRegistry::connect(&url).await?;
        registry.migrate().await?;
        Arc::new(registry)
    };
    let active = ActiveSessions::new(store, registry)?;
    // Before the first request, so that a revocation that Redis has lost holds from the start.
    if !active.ready().await {
        eprintln!("Redis is away: the database is asked about every session until it is back");
    }
    Ok(Some(active))
}
