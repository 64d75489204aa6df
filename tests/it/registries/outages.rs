//! Databases that are away, silent or taken: the answer is "cannot say", in time, and all is well once they are back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use portcullis::registry::{
    CutoffScope, PostgresRegistry, Registry, RegistryErrorKind, SqliteRegistry, Which,
};
use sqlx::{Connection, Executor, SqliteConnection};

use super::{File, active, created, new, sids};
use crate::means::{postgres::PostgresServer, wait};

/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_secs(3);

async fn all_are_unavailable(registry: &Arc<dyn Registry>, deadline: Duration) {
    let ask = |at: usize| {
        let registry = registry.clone();
        async move {
            let begun = Instant::now();
            let kind = match at % 4 {
                0 => registry.find("s").await.err(),
                1 => registry
                    .revoke(&Which::Sid("s".to_owned()), "x")
                    .await
                    .err(),
                2 => registry
                    .put_cutoff(&CutoffScope::Everyone, None)
                    .await
                    .err(),
                _ => registry.create(&new("t", "alice")).await.err(),
            };
            (kind.map(|error| error.kind()), begun.elapsed())
        }
    };
    // More than there are connections.
    let asked: Vec<_> = (0..40).map(|at| tokio::spawn(ask(at))).collect();
    for question in asked {
        let (kind, took) = question.await.unwrap();
        assert_eq!(kind, Some(RegistryErrorKind::Unavailable));
        assert!(took < deadline + SLACK, "{took:?}");
    }
}

async fn postgres() -> (PostgresServer, Arc<dyn Registry>) {
    let server = PostgresServer::start().await;
    let registry = PostgresRegistry::connect(&server.database().await)
        .await
        .unwrap();
    registry.migrate().await.unwrap();
    created(&registry, &new("s", "alice")).await;
    (server, Arc::new(registry))
}

/// Fails if: a question waits for a silent server, or its connection is handed out again, or its place in the pool is
/// never had back.
#[tokio::test]
async fn a_silent_server_is_unavailable_in_time_and_well_when_it_goes_on() {
    let (server, registry) = postgres().await;
    server.stop();
    all_are_unavailable(&registry, Duration::from_secs(2)).await;
    server.cont();
    // The 40 creates and revocations may have happened after all: they were sent.
    wait::until("the server to be asked again", async || {
        registry.find("s").await.ok().flatten()
    })
    .await;
    let tries: Vec<_> = (0..20)
        .map(|at| {
            let registry = registry.clone();
            tokio::spawn(async move { registry.find(&format!("s{at}")).await })
        })
        .collect();
    for answer in tries {
        assert!(answer.await.unwrap().unwrap().is_none());
    }
}

/// The server goes on, but whoever serves the connections of the pool never answers again: as behind a network that drops
/// packets. Fails if: connections without an answer keep their places in the pool.
#[tokio::test]
async fn connections_that_never_answer_are_replaced() {
    let server = PostgresServer::start().await;
    let url = server.database().await;
    let registry = PostgresRegistry::connect(&url).await.unwrap();
    registry.migrate().await.unwrap();
    let registry: Arc<dyn Registry> = Arc::new(registry.deadline(Duration::from_millis(300)));
    let ask = || {
        let registry = registry.clone();
        tokio::spawn(async move { registry.find("s").await })
    };
    let busy: Vec<_> = (0..40).map(|_| ask()).collect();
    for question in busy {
        let _ = question.await.unwrap();
    }
    server.freeze_clients_of(&url).await;
    let silent: Vec<_> = (0..40).map(|_| ask()).collect();
    for question in silent {
        assert!(question.await.unwrap().is_err());
    }
    wait::until("other connections", async || registry.find("s").await.ok()).await;
    server.cont();
}

#[tokio::test]
async fn a_killed_server_is_unavailable_at_once() {
    let (server, registry) = postgres().await;
    server.kill();
    all_are_unavailable(&registry, Duration::from_secs(2)).await;
    let lazy = PostgresRegistry::connect_lazy("postgres://127.0.0.1:1/none").unwrap();
    assert_eq!(
        lazy.find("s").await.unwrap_err().kind(),
        RegistryErrorKind::Unavailable
    );
    let eager = PostgresRegistry::connect("postgres://127.0.0.1:1/none").await;
    assert_eq!(eager.unwrap_err().kind(), RegistryErrorKind::Unavailable);
}

/// Fails if: a call that was dropped half-way leaves a lock behind.
#[tokio::test]
async fn a_call_dropped_half_way_holds_nothing() {
    let (server, registry) = postgres().await;
    let url = server.database().await;
    let other = PostgresRegistry::connect(&url).await.unwrap();
    other.migrate().await.unwrap();
    let other: Arc<dyn Registry> = Arc::new(other);
    let mut admin = crate::means::postgres::connect(&url).await.unwrap();
    let mut table = admin.begin().await.unwrap();
    table
        .execute("LOCK TABLE portcullis_sessions IN SHARE MODE")
        .await
        .unwrap();
    let creating = tokio::spawn({
        let other = other.clone();
        async move { other.create(&new("t", "alice")).await }
    });
    waiting(&url, 1).await;
    creating.abort();
    assert!(creating.await.unwrap_err().is_cancelled());
    table.rollback().await.unwrap();
    // The user's lock, everyone's, and the connections.
    created(&*other, &new("u", "alice")).await;
    other
        .put_cutoff(&CutoffScope::Everyone, None)
        .await
        .unwrap();
    assert!(!active(&*other, "u").await);
    drop(registry);
}

/// Until as many statements wait for a lock.
pub async fn waiting(url: &str, statements: i64) {
    use sqlx::Row;
    let mut connection = crate::means::postgres::connect(url).await.unwrap();
    let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let connection = tokio::sync::Mutex::new(&mut connection);
    wait::until("statements to wait for a lock", async || {
        let row = connection.lock().await.fetch_one(count).await.ok()?;
        (row.get::<i64, _>(0) >= statements).then_some(())
    })
    .await;
}

/// Fails if: a writer waits for ever for another process, or the registry is of no use afterwards.
#[tokio::test]
async fn a_sqlite_file_that_another_writes_is_unavailable_in_time() {
    let file = File::new();
    let deadline = Duration::from_millis(300);
    let registry = SqliteRegistry::connect(&file.url())
        .await
        .unwrap()
        .deadline(deadline);
    registry.migrate().await.unwrap();
    created(&registry, &new("s", "alice")).await;
    let registry: Arc<dyn Registry> = Arc::new(registry);
    let mut other = SqliteConnection::connect(&file.url()).await.unwrap();
    let writing = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let which = Which::Sid("s".to_owned());
    let write = registry.revoke(&which, "x");
    let begun = Instant::now();
    assert_eq!(
        write.await.unwrap_err().kind(),
        RegistryErrorKind::Unavailable
    );
    assert!(begun.elapsed() < deadline + SLACK);
    // Readers do not notice.
    assert!(active(&*registry, "s").await);
    writing.rollback().await.unwrap();
    drop(other);
    wait::until("the file to be free", async || {
        registry.revoke(&Which::Sid("s".to_owned()), "x").await.ok()
    })
    .await;
    assert!(!active(&*registry, "s").await);
}

#[tokio::test]
async fn a_sqlite_file_outlives_its_handle() {
    let file = File::new();
    for at in 0..2 {
        let registry = SqliteRegistry::connect(&file.url()).await.unwrap();
        registry.migrate().await.unwrap();
        assert_eq!(sids(&registry, "", "alice").await.len(), at);
        created(&registry, &new(&format!("s{at}"), "alice")).await;
    }
    let nowhere = SqliteRegistry::connect("sqlite:/nonexistent/dir/x.db").await;
    assert_eq!(nowhere.unwrap_err().kind(), RegistryErrorKind::Unavailable);
    assert!(
        SqliteRegistry::connect("postgres://somewhere")
            .await
            .is_err()
    );
}

/// Fails if: processes that start together trip over one another's tables.
#[tokio::test]
async fn many_may_make_the_tables_at_once() {
    let url = PostgresServer::shared().await.database().await;
    let file = File::new();
    let starts = (0..10).map(|_| {
        let (url, file) = (url.clone(), file.url());
        tokio::spawn(async move {
            let registry = PostgresRegistry::connect(&url).await.unwrap();
            registry.migrate().await.unwrap();
            let registry = SqliteRegistry::connect(&file).await.unwrap();
            registry.migrate().await.unwrap();
        })
    });
    for start in starts.collect::<Vec<_>>() {
        start.await.unwrap();
    }
}
