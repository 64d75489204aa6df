//! `trait Registry`: one suite for all that implement it, in memory, in SQLite files, in a real PostgreSQL, and in one
//! behind a real PgBouncer.

mod conformance;
mod crowds;
mod example;
mod hostile;
mod model;
mod outages;
mod pooler;
mod postgres;
mod tls;

use std::{path::PathBuf, sync::Arc};

use portcullis::registry::{
    Created, MemoryRegistry, NewSession, PostgresRegistry, Registry, SqliteRegistry,
};

use sqlx::postgres::PgPoolOptions;

use crate::means::{pgbouncer::PgBouncer, postgres::PostgresServer};

pub const HOUR: u64 = 3_600_000;
/// 2100: no clock comes near, so what is computed from it is the same everywhere.
pub const FUTURE: u64 = 4_102_444_800_000;

/// A registry with nothing in it, and what it stands on.
pub struct Bench {
    pub registry: Arc<dyn Registry>,
    _file: Option<File>,
}

/// A throw-away SQLite file, with those that SQLite puts beside it.
pub struct File(PathBuf);

impl File {
    pub fn new() -> Self {
        let name = format!("portcullis-registry-{:032x}", rand());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    pub fn url(&self) -> String {
        format!("sqlite:{}", self.0.join("registry.db").display())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn rand() -> u128 {
    use std::{collections::hash_map::RandomState, hash::BuildHasher};
    let half = || u128::from(RandomState::new().hash_one(0));
    half() << 64 | half()
}

impl Bench {
    pub async fn memory() -> Self {
        std::future::ready(Self {
            registry: Arc::new(MemoryRegistry::new()),
            _file: None,
        })
        .await
    }

    pub async fn sqlite() -> Self {
        let file = File::new();
        let registry = SqliteRegistry::connect(&file.url()).await.unwrap();
        registry.migrate().await.unwrap();
        Self {
            registry: Arc::new(registry),
            _file: Some(file),
        }
    }

    /// PostgreSQL behind a pooler that lends a connection for one transaction.
    pub async fn pooled() -> Self {
        let options = PgBouncer::shared().await.database().await;
        let pool = PgPoolOptions::new().connect_lazy_with(options);
        let registry = PostgresRegistry::new(pool).unprepared();
        registry.migrate().await.unwrap();
        Self {
            registry: Arc::new(registry),
            _file: None,
        }
    }

    pub async fn postgres() -> Self {
        let url = PostgresServer::shared().await.database().await;
        let registry = PostgresRegistry::connect(&url).await.unwrap();
        registry.migrate().await.unwrap();
        Self {
            registry: Arc::new(registry),
            _file: None,
        }
    }
}

/// A registry in a new database of this server, whose deadline is short.
pub async fn on(server: &PostgresServer) -> Arc<dyn Registry> {
    let url = server.database().await;
    let registry = PostgresRegistry::connect(&url).await.unwrap();
    registry.migrate().await.unwrap();
    Arc::new(registry.deadline(std::time::Duration::from_millis(250)))
}

/// Each function as a test on each registry.
macro_rules! on_all {
    ($($test:ident)*) => {
        crate::registries::on_all!(memory: $($test)*);
        crate::registries::on_all!(sqlite: $($test)*);
        crate::registries::on_all!(postgres: $($test)*);
        crate::registries::on_all!(pooled: $($test)*);
    };
    ($registry:ident: $($test:ident)*) => {
        mod $registry {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let bench = crate::registries::Bench::$registry().await;
                    super::$test(bench.registry.clone()).await;
                }
            )*
        }
    };
}
use on_all;

/// A session of a user, for an hour.
pub fn new(sid: &str, user: &str) -> NewSession {
    NewSession {
        sid: sid.to_owned(),
        user: user.to_owned(),
        token: format!("token of {sid}"),
        data: format!("{{\"of\":\"{sid}\"}}"),
        lifetime_ms: HOUR,
        ..NewSession::default()
    }
}

/// `auth_ms`, `created_ms` and who was evicted.
pub async fn created(registry: &dyn Registry, new: &NewSession) -> (u64, u64, Vec<String>) {
    match registry.create(new).await.unwrap() {
        Created::Active {
            auth_ms,
            created_ms,
            evicted,
        } => (auth_ms, created_ms, evicted),
        other => panic!("{other:?}"),
    }
}

pub async fn sids(registry: &dyn Registry, tenant: &str, user: &str) -> Vec<String> {
    let list = registry.list(tenant, user).await.unwrap();
    list.into_iter().map(|session| session.sid).collect()
}

pub async fn active(registry: &dyn Registry, sid: &str) -> bool {
    let found = registry.find(sid).await.unwrap();
    found.is_some_and(|found| found.is_active())
}

pub fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}
