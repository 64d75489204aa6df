//! A real database and a real Redis that fail together, in every order, and come back in every order.

use std::{sync::Arc, time::Duration};

use portcullis::{
    Clock, Store,
    blacklist::Outage,
    registry::{ActiveSessionLayer, Registry, Revocation},
};

use super::{Node, Seat};
use crate::{
    blacklist::status,
    means::{postgres::PostgresServer, proxy::Proxy, redis::RedisServer, wait},
    registries,
    session::bench::App,
};

/// What becomes of what Redis holds while nobody reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Nothing,
    All,
    /// It still holds what it held, and not the mark that says up to when it was told.
    Mark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Database,
    Redis,
}

struct Both {
    database: PostgresServer,
    registry: Arc<dyn Registry>,
    redis: RedisServer,
    proxy: Proxy,
    node: Node,
    stale: App,
}

impl Both {
    async fn start() -> Self {
        let database = PostgresServer::start().await;
        let registry = registries::on(&database).await;
        let redis = RedisServer::start().await;
        let proxy = Proxy::start(redis.port());
        let node = node(&proxy, &registry).await;
        let layer = ActiveSessionLayer::builder(&node.active)
            .outage(Outage::Stale(Duration::from_secs(600)))
            .build()
            .unwrap();
        Self {
            database,
            registry,
            redis,
            proxy,
            stale: super::app(layer, &Clock::system()),
            node,
        }
    }

    fn break_redis(&self) -> impl Future<Output = ()> + '_ {
        self.proxy.refuse(true);
        self.proxy.reset_all()
    }

    async fn lose(&self, loss: Loss) {
        match loss {
            Loss::Nothing => {}
            Loss::All => drop(self.redis.cli(&["FLUSHALL"]).await),
            Loss::Mark => {
                for key in self.redis.keys("*synced*").await {
                    self.redis.cli(&["DEL", &key]).await;
                }
            }
        }
    }

    async fn back(&self, what: First) {
        match what {
            First::Database => {
                self.database.cont();
                let answers = async || self.registry.find("nobody").await.ok();
                wait::until("the database", answers).await;
            }
            First::Redis => {
                self.proxy.refuse(false);
                let works = async || self.node.store.check().await.ok();
                wait::until("the new connection", works).await;
            }
        }
    }
}

async fn node(proxy: &Proxy, registry: &Arc<dyn Registry>) -> Node {
    let store = Store::connect(&proxy.url()).await.unwrap();
    let deadline = Duration::from_millis(300);
    let settings =
        |builder: portcullis::registry::ActiveSessionsBuilder| builder.database_deadline(deadline);
    let node = Node::over(&store, Arc::clone(registry), &Clock::system(), settings);
    told(&node).await;
    node
}

/// On a busy machine the database may be late now and then.
async fn told(node: &Node) {
    let ready = async || node.active.ready().await.then_some(());
    wait::until("Redis to be told", ready).await;
}

/// Each of the statuses that may be, several times.
async fn may_be(node: &Node, seat: &Seat, statuses: &[u16], when: &str) {
    for _ in 0..3 {
        let status = node.status(seat).await;
        assert!(statuses.contains(&status), "{when}: {status}");
    }
}

async fn becomes(node: &Node, seat: &Seat, end: u16, when: &str) {
    let is = async || match node.status(seat).await {
        503 => None,
        status => Some(status),
    };
    assert_eq!(wait::until(when, is).await, end, "{when}");
}

/// Fails if: a new connection to Redis is believed while the database cannot say what ended meanwhile; or, once both are
/// back, a session that ended while nobody told Redis is let in, or one that did not is refused.
#[tokio::test]
async fn a_database_and_a_new_connection_to_redis_that_fail_together_are_unknown() {
    let both = Both::start().await;
    for (first, loss) in [
        (First::Redis, Loss::Nothing),
        (First::Redis, Loss::Mark),
        (First::Redis, Loss::All),
        (First::Database, Loss::Nothing),
        (First::Database, Loss::Mark),
        (First::Database, Loss::All),
    ] {
        let when = |what: &str| format!("{what}; back first: {first:?}, lost: {loss:?}");
        let node = &both.node;
        let [stays, out, cut, lost] = [
            node.sign_in("alice").await,
            node.sign_in("bob").await,
            node.sign_in("bobby").await,
            node.sign_in("carol").await,
        ];
        for seat in [&stays, &out, &cut, &lost] {
            assert_eq!(node.status(seat).await, 200);
            assert_eq!(status(&both.stale, &seat.token).await, 200);
        }
        node.revoke(&out).await;
        let all = node.active.revoke_all("", "bobby").await.unwrap();
        assert_eq!(all, Revocation::Everywhere);
        // A node that ends a session, cannot tell Redis, and is no more.
        let dying = self::node(&both.proxy, &both.registry).await;
        both.break_redis().await;
        let pending = dying.active.revoke(&lost.sid).await.unwrap();
        assert!(matches!(pending, Revocation::Pending { .. }));
        drop(dying);
        both.database.stop();
        may_be(node, &stays, &[503], &when("both away")).await;
        may_be(node, &lost, &[503], &when("both away")).await;
        may_be(node, &out, &[401, 503], &when("both away")).await;
        assert_eq!(status(&both.stale, &stays.token).await, 200, "the policy");
        for seat in [&out, &cut] {
            let status = status(&both.stale, &seat.token).await;
            assert_eq!(
                status, 503,
                "ended by this node, which nobody has asked since"
            );
        }
        both.lose(loss).await;

        both.back(first).await;
        match first {
            First::Redis => {
                // What it holds of these sessions says that they are active.
                may_be(node, &stays, &[503], &when("one back")).await;
                may_be(node, &lost, &[503], &when("one back")).await;
                may_be(node, &out, &[401, 503], &when("one back")).await;
                may_be(node, &cut, &[401, 503], &when("one back")).await;
                both.back(First::Database).await;
            }
            First::Database => {
                becomes(node, &stays, 200, &when("one back")).await;
                becomes(node, &lost, 401, &when("one back")).await;
                becomes(node, &out, 401, &when("one back")).await;
                both.back(First::Redis).await;
            }
        }
        for _ in 0..2 {
            becomes(node, &stays, 200, &when("both back")).await;
            becomes(node, &lost, 401, &when("both back")).await;
            becomes(node, &out, 401, &when("both back")).await;
            becomes(node, &cut, 401, &when("both back")).await;
            told(node).await;
        }
        // Nor by another way to the same Redis.
        let next = self::node(&both.proxy, &both.registry).await;
        may_be(&next, &stays, &[200], &when("a new node")).await;
        may_be(&next, &lost, &[401], &when("a new node")).await;
        may_be(&next, &out, &[401], &when("a new node")).await;
    }
}
