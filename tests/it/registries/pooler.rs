//! PostgreSQL behind PgBouncer, which lends a connection for one transaction: what the suite for all does not ask.

use portcullis::registry::{CutoffScope, PostgresRegistry, Registry};
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;

use super::{active, created, new};
use crate::means::pgbouncer::PgBouncer;

/// Far more questions than there are connections to the server, each of another kind than the one before. Fails if: one is
/// answered with what another asked, or what a connection knows is asked of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_behind_a_pooler_gets_its_own_answers() {
    let options = PgBouncer::shared().await.database().await;
    let registry = || {
        let pool = PgPoolOptions::new().connect_lazy_with(options.clone());
        PostgresRegistry::new(pool).unprepared()
    };
    // Two processes.
    let registries = [registry(), registry()].map(std::sync::Arc::new);
    registries[0].migrate().await.unwrap();
    let mut crowd = JoinSet::new();
    for at in 0..40 {
        let registry = registries[at % 2].clone();
        crowd.spawn(async move {
            let (sid, user) = (format!("s{at}"), format!("user {at}"));
            for _ in 0..5 {
                created(&*registry, &new(&sid, &user)).await;
                let found = registry.find(&sid).await.unwrap().unwrap();
                assert_eq!(
                    (found.session.sid, found.session.user),
                    (sid.clone(), user.clone())
                );
                let listed = registry.list("", &user).await.unwrap();
                assert_eq!(listed.len(), 1);
                registry.touch(&sid).await.unwrap();
            }
            let scope = CutoffScope::User {
                tenant: String::new(),
                user,
            };
            registry.put_cutoff(&scope, None).await.unwrap();
            assert!(!active(&*registry, &sid).await);
        });
    }
    while let Some(one) = crowd.join_next().await {
        one.unwrap();
    }
}
