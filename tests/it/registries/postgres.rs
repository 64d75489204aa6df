//! What is PostgreSQL's alone: forced orders, plans, errors.

use std::{sync::Arc, time::Duration};

use portcullis::registry::{
    CutoffScope, PostgresRegistry, Registry, RegistryErrorKind, Rotated, SqliteRegistry, Which,
};
use sqlx::{Connection, Executor};

use super::{FUTURE, HOUR, active, created, new, outages::waiting};
use crate::means::postgres::{PostgresServer, connect};

async fn database() -> (String, Arc<dyn Registry>) {
    let url = PostgresServer::shared().await.database().await;
    let registry = PostgresRegistry::connect(&url).await.unwrap();
    registry.migrate().await.unwrap();
    (url, Arc::new(registry))
}

fn alice() -> CutoffScope {
    CutoffScope::User {
        tenant: String::new(),
        user: "alice".to_owned(),
    }
}

/// The cutoff has its moment and is not committed yet, held there by a row of the same key that somebody else has not
/// committed either. A login that does not wait would see no cutoff, take a later moment and survive it.
#[tokio::test]
async fn a_cutoff_under_way_is_waited_for() {
    for (scope, key) in [
        (alice(), "2, '', 'alice'"),
        (CutoffScope::Tenant(String::new()), "1, '', ''"),
        (CutoffScope::Everyone, "0, '', ''"),
    ] {
        let (url, registry) = database().await;
        let mut admin = connect(&url).await.unwrap();
        let mut row = admin.begin().await.unwrap();
        let insert = format!("INSERT INTO portcullis_cutoffs VALUES ({key}, 0)");
        row.execute(insert.as_str()).await.unwrap();
        let cutting = tokio::spawn({
            let registry = registry.clone();
            async move { registry.put_cutoff(&scope, None).await }
        });
        waiting(&url, 1).await;
        let creating = tokio::spawn({
            let registry = registry.clone();
            async move {
                let mut session = new("s", "alice");
                session.not_before_ms = Some(0);
                registry.create(&session).await
            }
        });
        // A login that does not wait is done by then, and its session is there.
        let waits = tokio::time::timeout(Duration::from_millis(500), waiting(&url, 2)).await;
        row.rollback().await.unwrap();
        cutting.await.unwrap().unwrap();
        creating.await.unwrap().unwrap();
        assert!(!active(&*registry, "s").await);
        assert!(waits.is_ok());
    }
}

/// The login has looked and not written yet, and its moment is ahead of the clock: a cutoff that does not wait would not
/// know of it.
#[tokio::test]
async fn a_login_under_way_is_waited_for() {
    for scope in [
        alice(),
        CutoffScope::Tenant(String::new()),
        CutoffScope::Everyone,
    ] {
        let (url, registry) = database().await;
        let mut admin = connect(&url).await.unwrap();
        let mut table = admin.begin().await.unwrap();
        table
            .execute("LOCK TABLE portcullis_sessions IN SHARE MODE")
            .await
            .unwrap();
        let creating = tokio::spawn({
            let registry = registry.clone();
            async move {
                let mut session = new("s", "alice");
                session.auth_at_least_ms = FUTURE;
                registry.create(&session).await
            }
        });
        waiting(&url, 1).await;
        let cutting = tokio::spawn({
            let registry = registry.clone();
            async move { registry.put_cutoff(&scope, None).await }
        });
        let waits = tokio::time::timeout(Duration::from_millis(500), waiting(&url, 2)).await;
        table.rollback().await.unwrap();
        creating.await.unwrap().unwrap();
        cutting.await.unwrap().unwrap();
        assert!(!active(&*registry, "s").await);
        assert!(waits.is_ok());
    }
}

/// A rotation that waits for the row of a session that is being revoked does not bring it back.
#[tokio::test]
async fn a_rotation_behind_a_revocation_changes_nothing() {
    let (url, registry) = database().await;
    created(&*registry, &new("s", "alice")).await;
    let mut admin = connect(&url).await.unwrap();
    let mut row = admin.begin().await.unwrap();
    let revoke = "UPDATE portcullis_sessions SET ended = 'logout', ended_ms = 1 WHERE sid = 's'";
    row.execute(revoke).await.unwrap();
    let rotating = tokio::spawn({
        let registry = registry.clone();
        async move {
            let next = Rotated {
                lifetime_ms: HOUR,
                ..Rotated::default()
            };
            registry.rotate("s", "token of s", &next).await
        }
    });
    waiting(&url, 1).await;
    row.commit().await.unwrap();
    assert!(!rotating.await.unwrap().unwrap());
    let found = registry.find("s").await.unwrap().unwrap();
    assert_eq!(found.session.token, "token of s");
}

const FILL: &str = "
    INSERT INTO portcullis_sessions
    SELECT md5(n::text), 't' || n % 10, 'user' || n % 20000, n, n, n, 4102444800000,
        CASE WHEN n % 4 = 0 THEN 'logout' END, CASE WHEN n % 4 = 0 THEN n END, md5(n::text || 'token'), '{}'
    FROM generate_series(1, 100000) AS n;
    INSERT INTO portcullis_cutoffs SELECT 2, 't' || n % 10, 'user' || n, n FROM generate_series(1, 20000) AS n;
    INSERT INTO portcullis_cutoffs VALUES (0, '', '', 0), (1, 't7', '', 0);
    ANALYZE";

/// Fails if: a question reads a table from end to end, with 100 000 sessions and 20 000 cutoffs in it.
#[tokio::test]
async fn every_statement_finds_its_rows_by_an_index() {
    all_by_an_index(|registry| registry).await;
}

/// The same where the values are in the text of the statements.
#[tokio::test]
async fn every_unprepared_statement_finds_its_rows_by_an_index() {
    all_by_an_index(PostgresRegistry::unprepared).await;
}

async fn all_by_an_index(prepares: fn(PostgresRegistry) -> PostgresRegistry) {
    let server = PostgresServer::start_with(&[
        "session_preload_libraries=auto_explain",
        "auto_explain.log_min_duration=0",
        "auto_explain.log_analyze=on",
    ])
    .await;
    let url = server.database().await;
    let registry = prepares(PostgresRegistry::connect(&url).await.unwrap());
    registry.migrate().await.unwrap();
    connect(&url).await.unwrap().execute(FILL).await.unwrap();
    let (tenant, user) = ("t7".to_owned(), "user7".to_owned());
    // MD5 of "7" and "20007", of the same user.
    let sid = "8f14e45fceea167a5a36dedd4bea2543";
    let mut session = new("fresh", &user);
    session.tenant.clone_from(&tenant);
    session.limit = Some(portcullis::registry::Limit {
        most: 2,
        evict: true,
    });

    let mut seen = server.log().len();
    let mut plan = |what: &str, indexes: &[&str]| {
        let log = server.log();
        let plans = log[seen..].to_owned();
        seen = log.len();
        println!("== {what}\n{plans}");
        assert!(plans.contains("plan:"), "{what}: no plan in the log");
        assert!(!plans.contains("Seq Scan"), "{what}:\n{plans}");
        for index in indexes {
            assert!(
                plans.contains(index),
                "{what} does not use {index}:\n{plans}"
            );
        }
    };
    let key = "portcullis_sessions_pkey";
    let cutoffs = "portcullis_cutoffs_pkey";
    registry.find(sid).await.unwrap().unwrap();
    plan("find", &[key, cutoffs]);
    assert!(!registry.list(&tenant, &user).await.unwrap().is_empty());
    plan("list", &["portcullis_sessions_user", cutoffs]);
    registry.touch(sid).await.unwrap();
    plan("touch", &[key]);
    let next = Rotated {
        lifetime_ms: HOUR,
        ..Rotated::default()
    };
    registry.rotate(sid, "x", &next).await.unwrap();
    plan("rotate", &[key]);
    created(&registry, &session).await;
    plan("create", &[key, cutoffs, "portcullis_sessions_user"]);
    created(&registry, &session).await;
    plan("create again", &[key, cutoffs, "portcullis_sessions_ended"]);
    registry
        .put_cutoff(&CutoffScope::Tenant(tenant.clone()), None)
        .await
        .unwrap();
    plan("put_cutoff", &["portcullis_sessions_auth"]);
    let of = |sid: &str| (tenant.clone(), user.clone(), sid.to_owned());
    let (tenant, user, sid) = of(sid);
    registry
        .revoke(&Which::Sid(sid.clone()), "x")
        .await
        .unwrap();
    plan("revoke one", &[key]);
    let others = Which::Others {
        tenant: tenant.clone(),
        user: user.clone(),
        keep: sid,
    };
    registry.revoke(&others, "x").await.unwrap();
    plan("revoke others", &["portcullis_sessions_user"]);
    registry
        .revoke(&Which::All { tenant, user }, "x")
        .await
        .unwrap();
    plan("revoke all", &["portcullis_sessions_user"]);
    // What this test has ended, not the 25 000 of long ago.
    assert!(registry.recently_ended(HOUR).await.unwrap().len() < 20);
    plan("recently_ended", &["portcullis_sessions_ended"]);
    assert_eq!(registry.recent_cutoffs(HOUR).await.unwrap().len(), 1);
    plan("recent_cutoffs", &["portcullis_cutoffs_at"]);
    assert!(registry.sweep(Duration::from_secs(3_600)).await.unwrap() >= 24_000);
    plan("sweep", &[key]);
}

#[tokio::test]
async fn sweeping_removes_what_is_long_over_and_nothing_else() {
    let url = PostgresServer::shared().await.database().await;
    let postgres = PostgresRegistry::connect(&url).await.unwrap();
    postgres.migrate().await.unwrap();
    let file = super::File::new();
    let sqlite = SqliteRegistry::connect(&file.url()).await.unwrap();
    sqlite.migrate().await.unwrap();
    // Ended, expired and living ones, of long ago and of now.
    let age = "UPDATE portcullis_sessions SET expires_ms = CASE sid WHEN 'expired' THEN 5 ELSE expires_ms END,
        ended_ms = CASE sid WHEN 'ended' THEN 5 ELSE ended_ms END, created_ms = 1, auth_ms = 1, last_used_ms = 1";
    for registry in [&postgres as &dyn Registry, &sqlite] {
        for sid in ["ended", "ended now", "expired", "living"] {
            created(registry, &new(sid, "alice")).await;
        }
        created(
            registry,
            &portcullis::registry::NewSession {
                lifetime_ms: 0,
                ..new("expired now", "alice")
            },
        )
        .await;
        for sid in ["ended", "ended now"] {
            registry
                .revoke(&Which::Sid(sid.to_owned()), "logout")
                .await
                .unwrap();
        }
    }
    connect(&url).await.unwrap().execute(age).await.unwrap();
    let mut connection = sqlx::SqliteConnection::connect(&file.url()).await.unwrap();
    connection.execute(age).await.unwrap();
    let day = Duration::from_secs(86_400);
    assert_eq!(postgres.sweep(day).await.unwrap(), 2);
    assert_eq!(sqlite.sweep(day).await.unwrap(), 2);
    assert_eq!(postgres.sweep(Duration::MAX).await.unwrap(), 0);
    assert_eq!(sqlite.sweep(Duration::MAX).await.unwrap(), 0);
    for registry in [&postgres as &dyn Registry, &sqlite] {
        for (sid, there) in [
            ("ended", false),
            ("expired", false),
            ("ended now", true),
            ("expired now", true),
            ("living", true),
        ] {
            assert_eq!(registry.find(sid).await.unwrap().is_some(), there, "{sid}");
        }
    }
}

/// Fails if: a sweep of more than a page stops after the first, or skips one.
#[tokio::test]
async fn sweeping_goes_through_all_pages() {
    let (url, _) = database().await;
    let fill = "INSERT INTO portcullis_sessions SELECT md5(n::text), '', 'u', 1, 1, 1,
        CASE WHEN n % 3 = 0 THEN 4102444800000 ELSE 1 END, NULL, NULL, '', '' FROM generate_series(1, 3500) AS n";
    connect(&url).await.unwrap().execute(fill).await.unwrap();
    let registry = PostgresRegistry::connect(&url).await.unwrap();
    assert_eq!(
        registry.sweep(Duration::from_secs(60)).await.unwrap(),
        3_500 - 1_166
    );
    assert_eq!(registry.sweep(Duration::from_secs(60)).await.unwrap(), 0);
}

/// Fails if: an error does not say what is missing, or says a password or a value.
#[tokio::test]
async fn errors_say_what_to_do_and_no_secret() {
    let url = PostgresServer::shared().await.database().await;
    let registry = PostgresRegistry::connect(&url).await.unwrap();
    let error = registry.find("the sid").await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Failed);
    let text = format!("{error:?} {error} {registry:?}");
    assert!(
        text.contains("portcullis_sessions\\\" does not exist"),
        "{text}"
    );
    assert!(!text.contains("the sid"), "{text}");

    let error = PostgresRegistry::connect("postgres://me:hunter2@host:port/x")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Failed);
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    let lazy = PostgresRegistry::connect_lazy("postgres://me:hunter2@127.0.0.1:1/x").unwrap();
    assert!(!format!("{lazy:?}").contains("hunter2"));
}

/// Fails if: a login by an old password goes through because the database's clock was set back between its beginning and the
/// cutoff of the change, and has caught up since.
#[tokio::test]
async fn a_clock_that_is_set_back_hides_no_cutoff_from_a_login() {
    let (url, _) = database().await;
    // In front of the server's own clock in the path.
    let clock = "CREATE SCHEMA fake; CREATE TABLE fake.moment (at timestamptz); INSERT INTO fake.moment VALUES (now());
        CREATE FUNCTION fake.statement_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT at FROM fake.moment'";
    let mut admin = connect(&url).await.unwrap();
    admin.execute(clock).await.unwrap();
    let url = format!("{url}&options=-csearch_path%3Dfake,public,pg_catalog");
    let registry = PostgresRegistry::connect(&url).await.unwrap();
    created(&registry, &new("before", "alice")).await;
    let mut login = new("s", "alice");
    login.not_before_ms = Some(registry.auth_start().await.unwrap());
    let ahead = created(&registry, &new("beside", "bob")).await.0;
    let step = |hours: i32| format!("UPDATE fake.moment SET at = at + interval '{hours} hours'");
    // Nothing but the login under way says that there ever was a later moment.
    let mut forget = String::from("DELETE FROM portcullis_sessions; ");
    forget += &step(-1);
    admin.execute(forget.as_str()).await.unwrap();
    let cutoff = registry.put_cutoff(&alice(), None).await.unwrap();
    assert!(cutoff < ahead, "the clock was set back");
    admin.execute(step(2).as_str()).await.unwrap();
    let refused = registry.create(&login).await.unwrap();
    assert_eq!(refused, portcullis::registry::Created::Cut);
    login.not_before_ms = Some(registry.auth_start().await.unwrap());
    created(&registry, &login).await;
}
