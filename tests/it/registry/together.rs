//! A real database and a real Redis that fail together, in every order, and come back in every order.

use std::{sync::Arc, time::Duration};

use portcullis::{
    Clock, Store,
    blacklist::Outage,
    registry::{ActiveSessionLayer, Registry, Revocation},
};

use tokio::task::JoinSet;

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

/// How far somebody's leaving got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    No,
    /// It may have been written.
    Unsure,
    /// As far as this node knows; another may go by what Redis says for a while.
    Here,
    Everywhere,
}

/// What the nodes answered.
#[derive(Debug, Default)]
struct Tally {
    ok: usize,
    unknown: usize,
    gone: usize,
}

async fn visits(nodes: &[Arc<Node>; 2], seats: &[(Seat, Left)], tally: &mut Tally, when: &str) {
    let mut tasks = JoinSet::new();
    for (at, (seat, left)) in seats.iter().enumerate() {
        for (number, node) in nodes.iter().enumerate() {
            let (node, seat, left) = (Arc::clone(node), seat.clone(), *left);
            let told = format!("{when}, user {at} ({left:?}) on node {number}");
            let out = left == Left::Everywhere || (left == Left::Here && number == 0);
            tasks.spawn(async move { (node.status(&seat).await, left, out, told) });
        }
    }
    for (status, left, out, told) in tasks.join_all().await {
        match status {
            200 => {
                assert!(!out, "let in: {told}");
                tally.ok += 1;
            }
            401 => {
                assert_ne!(left, Left::No, "signed out: {told}");
                tally.gone += 1;
            }
            503 => tally.unknown += 1,
            other => panic!("{other}: {told}"),
        }
    }
}

/// Fails if: in any order of both failing and coming back, of one node or of both, somebody who was signed out is let in, or
/// somebody who was not is refused as signed out.
#[tokio::test]
async fn no_order_of_failures_lets_in_or_signs_out() {
    let both = Both::start().await;
    let other = Proxy::start(both.redis.port());
    let nodes = [
        Arc::new(node(&both.proxy, &both.registry).await),
        Arc::new(node(&other, &both.registry).await),
    ];
    let proxies = [&both.proxy, &other];
    let mut tally = Tally::default();
    for seed in 1..=4_u64 {
        let mut seats = Vec::new();
        for user in 0..6 {
            let seat = nodes[0].sign_in(&format!("user {user} of {seed}")).await;
            seats.push((seat, Left::No));
        }
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut next = move |most: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % most
        };
        let mut story = format!("seed {seed}:");
        for _ in 0..10 {
            let (step, which) = (next(8), next(2) as usize);
            story += &format!(" {step}.{which}");
            match step {
                0 => both.database.stop(),
                1 => both.database.cont(),
                2 | 3 => {
                    proxies[which].refuse(true);
                    proxies[which].reset_all().await;
                }
                4 => proxies[which].refuse(false),
                5 => drop(both.redis.cli(&["FLUSHALL"]).await),
                _ => {
                    // One of those who are to leave, and who have not everywhere.
                    let at = next(3) as usize;
                    let (seat, left) = &mut seats[at];
                    match nodes[0].active.revoke(&seat.sid).await {
                        Ok(Revocation::Everywhere) => *left = Left::Everywhere,
                        Ok(_) if *left != Left::Everywhere => *left = Left::Here,
                        Err(_) if *left == Left::No => *left = Left::Unsure,
                        _ => {}
                    }
                }
            }
            visits(&nodes, &seats, &mut tally, &story).await;
        }
        both.database.cont();
        for proxy in proxies {
            proxy.refuse(false);
        }
        for node in &nodes {
            told(node).await;
        }
        for (seat, left) in &mut seats[..3] {
            let again = async || nodes[0].active.revoke(&seat.sid).await.ok();
            let _ = wait::until("the revocation", again).await;
            *left = Left::Here;
        }
        wait::until_true("the rest", || nodes[0].active.unfinished() == 0).await;
        for (at, (seat, _)) in seats.iter().enumerate() {
            for node in &nodes {
                becomes(node, seat, if at < 3 { 401 } else { 200 }, &story).await;
            }
        }
    }
    println!("{tally:?}");
    assert!(
        tally.ok > 0 && tally.unknown > 0 && tally.gone > 0,
        "{tally:?}"
    );
}
