//! Redis goes away under traffic and comes back: nobody hangs, nobody is logged out, nobody restarts anything.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{COOKIE, Node, Pair, signed_in};
use crate::means::{
    http::{Answer, Client},
    wait,
};

/// The default deadline of the store, and what a busy machine may add.
const DEADLINE: Duration = Duration::from_millis(250);
const SLACK: Duration = Duration::from_millis(250);
const BACK_WITHIN: Duration = Duration::from_secs(1);

/// How the server goes away.
#[derive(Clone, Copy, Debug)]
enum Outage {
    Stopped,
    Killed,
    BlackHoled,
}

impl Outage {
    fn begin(self, pair: &Pair) {
        match self {
            Self::Stopped => pair.redis.stop(),
            Self::Killed => pair.redis.kill(),
            Self::BlackHoled => black_hole(pair, true),
        }
    }

    async fn end(self, pair: &mut Pair) {
        match self {
            Self::Stopped => pair.redis.cont(),
            Self::Killed => pair.redis.restart().await,
            Self::BlackHoled => black_hole(pair, false),
        }
    }
}

fn black_hole(pair: &Pair, on: bool) {
    for node in pair.nodes() {
        node.proxy.blackhole(on);
    }
}

/// One request of the traffic.
struct Seen {
    at: Instant,
    took: Duration,
    answer: Answer,
}

/// Requests that do not stop, and what became of them.
struct Traffic {
    anonymous: Arc<Mutex<Vec<Seen>>>,
    sessions: Arc<Mutex<Vec<Seen>>>,
    ended: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Traffic {
    /// On each process two visitors, and two users who read and write.
    async fn start(pair: &Pair) -> Self {
        let mut traffic = Self {
            anonymous: Arc::default(),
            sessions: Arc::default(),
            ended: Arc::default(),
            tasks: JoinSet::new(),
        };
        for node in pair.nodes() {
            for path in ["/me", "/healthz"] {
                let log = Arc::clone(&traffic.anonymous);
                traffic.add(Client::new(), node.app.url(path), log);
            }
            for path in ["/me", "/counter"] {
                let log = Arc::clone(&traffic.sessions);
                traffic.add(signed_in(node, "alice").await, node.app.url(path), log);
            }
        }
        traffic
    }

    fn add(&mut self, client: Client, url: String, log: Arc<Mutex<Vec<Seen>>>) {
        let ended = Arc::clone(&self.ended);
        let id = client.cookie(COOKIE);
        self.tasks.spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                let at = Instant::now();
                let answer = client.get(&url).await;
                let took = at.elapsed();
                log.lock().unwrap().push(Seen { at, took, answer });
            }
            assert_eq!(client.cookie(COOKIE), id, "{url}: the cookie is kept");
        });
    }

    /// Waits for this many more of both kinds.
    async fn flows(&self, requests: usize) {
        let count = || {
            self.anonymous
                .lock()
                .unwrap()
                .len()
                .min(self.sessions.lock().unwrap().len())
        };
        let goal = count() + requests;
        wait::until_true("traffic", || count() >= goal).await;
    }

    async fn end(mut self) -> (Vec<Seen>, Vec<Seen>) {
        self.ended.store(true, Ordering::Relaxed);
        while let Some(task) = self.tasks.join_next().await {
            task.unwrap();
        }
        let take = |log: &Mutex<Vec<Seen>>| std::mem::take(&mut *log.lock().unwrap());
        (take(&self.anonymous), take(&self.sessions))
    }
}

/// How long all but one in a hundred took: a busy machine stops a process now and then.
fn usual(seen: &[Seen]) -> Duration {
    let mut took: Vec<_> = seen.iter().map(|seen| seen.took).collect();
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

fn slowest<'a>(seen: impl IntoIterator<Item = &'a Seen>) -> Duration {
    seen.into_iter()
        .map(|seen| seen.took)
        .max()
        .unwrap_or_default()
}

/// How long until a user's request works, on the slower of both processes.
async fn time_until_it_works(pair: &Pair, client: &Client, since: Instant) -> Duration {
    let works = async |node: &Node| {
        wait::until("the service to work again", async || {
            (node.me(client).await == 200).then_some(())
        })
        .await;
    };
    tokio::join!(works(&pair.one), works(&pair.two));
    since.elapsed()
}

fn check_visitors(outage: Outage, seen: &[Seen]) {
    let odd = seen
        .iter()
        .find(|seen| !matches!(seen.answer.status.as_u16(), 200 | 401));
    assert!(
        odd.is_none(),
        "{outage:?}: {:?}",
        odd.map(|seen| &seen.answer)
    );
    check_waits(outage, seen, DEADLINE);
}

fn check_waits(outage: Outage, seen: &[Seen], most: Duration) {
    assert!(usual(seen) < most, "{outage:?}: usually {:?}", usual(seen));
    assert!(
        slowest(seen) < 4 * most,
        "{outage:?}: up to {:?}",
        slowest(seen)
    );
}

/// 200 or 503, nothing else, and during the outage 503 alone.
fn check_users(outage: Outage, seen: &[Seen], from: Instant, until: Instant) {
    for Seen { at, took, answer } in seen {
        assert!(answer.set_cookies().is_empty(), "{outage:?}: {answer:?}");
        let lasted_within = *at > from && *at + *took < until;
        match answer.status.as_u16() {
            200 => assert!(!lasted_within, "{outage:?}: {answer:?} without a server"),
            503 => {
                assert_eq!(answer.header("retry-after"), "1");
                assert_eq!(answer.header("content-type"), "application/problem+json");
            }
            _ => panic!("{outage:?}: {answer:?}"),
        }
    }
    check_waits(outage, seen, DEADLINE + SLACK);
}

/// Everything works again: nobody is told at once that there is no store. On a busy machine a request may run into the
/// deadline all the same, one in four at the most.
fn check_afterwards(outage: Outage, users: &[Seen], fine_from: Instant) {
    let after: Vec<_> = users.iter().filter(|seen| seen.at > fine_from).collect();
    let failed = after.iter().filter(|seen| seen.answer.status != 200);
    let (slow, told): (Vec<&Seen>, Vec<&Seen>) =
        failed.copied().partition(|seen| seen.took >= DEADLINE);
    assert!(
        told.is_empty() && slow.len() <= after.len() / 4,
        "{outage:?}: {:?}, and {} of {} too late",
        told.first().map(|seen| &seen.answer),
        slow.len(),
        after.len()
    );
}

/// What a test saw of an outage.
struct Course {
    began: Instant,
    ended: Instant,
    /// From when on everything is expected to work.
    fine_from: Instant,
    recovery: Duration,
    /// Connections that each process tried to make meanwhile.
    attempts: [usize; 2],
    visitors: Vec<Seen>,
    users: Vec<Seen>,
}

async fn live_through(outage: Outage, pair: &mut Pair) -> Course {
    let client = signed_in(&pair.two, "bob").await;
    let traffic = Traffic::start(pair).await;
    traffic.flows(50).await;

    outage.begin(pair);
    let began = Instant::now();
    for node in pair.nodes() {
        node.proxy.reset_counts();
    }
    traffic.flows(500).await;
    wait::until_true("an outage that lasts", || began.elapsed() > 4 * DEADLINE).await;
    let attempts = pair.nodes().map(|node| node.proxy.connections());

    let ended = Instant::now();
    outage.end(pair).await;
    let recovery = time_until_it_works(pair, &client, Instant::now()).await;
    traffic.flows(50).await;
    let fine_from = Instant::now();
    traffic.flows(50).await;
    let (visitors, users) = traffic.end().await;
    Course {
        began,
        ended,
        fine_from,
        recovery,
        attempts,
        visitors,
        users,
    }
}

async fn survive(outage: Outage) {
    // Sessions outlive the process that holds them, so that what is tested is the outage and not a loss of data.
    let durable = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut pair = Pair::of("axum", "hyper", &durable).await;
    let course = live_through(outage, &mut pair).await;
    let Course {
        began,
        ended,
        fine_from,
        recovery,
        attempts,
        visitors,
        users,
    } = &course;
    let lasted = *ended - *began;
    eprintln!(
        "{outage:?} for {lasted:?}: {} requests of users, the slowest took {:?}; visitors {:?}; \
         connections {attempts:?}; back after {recovery:?}",
        users.len(),
        slowest(users),
        slowest(visitors)
    );
    check_visitors(outage, visitors);
    check_users(outage, users, *began, *ended);
    check_afterwards(outage, users, *fine_from);
    assert!(
        *recovery < BACK_WITHIN,
        "{outage:?}: back after {recovery:?}"
    );
    // One attempt at a time and a pause after each: at most ten a second, however many requests come.
    let most = 2 + lasted.as_millis() as usize / 100;
    assert!(
        attempts.iter().all(|attempts| *attempts <= most),
        "{attempts:?} in {lasted:?}"
    );
    let client = signed_in(&pair.one, "alice").await;
    assert_eq!(pair.me(&client).await, [200, 200], "new logins work");
}

// Each fails if: `Store::trip` had no deadline of its own, `SessionError` became a 401 or removed the cookie, the layer
// loaded sessions nobody asks for, or `Link` did not look for the server by itself (`lost` without `spawn_attempts`).

#[tokio::test]
async fn a_stopped_server() {
    survive(Outage::Stopped).await;
}

// Fails besides if: `Attempts` connected again without a pause.
#[tokio::test]
async fn a_killed_server() {
    survive(Outage::Killed).await;
}

#[tokio::test]
async fn a_black_hole() {
    survive(Outage::BlackHoled).await;
}

// Fails if: the example connected with `Store::connect(..).await?` at its start.
#[tokio::test]
async fn a_process_starts_while_redis_is_away() {
    let mut redis = crate::means::redis::RedisServer::start().await;
    redis.kill();
    let node = Node::start("axum", &redis).await;
    node.app.printed("the store is not reachable").await;
    assert_eq!(node.me(&Client::new()).await, 401);
    let answer = node.login(&Client::new(), "alice").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (503, "1")
    );
    assert!(answer.set_cookies().is_empty());
    redis.restart().await;
    let back = Instant::now();
    wait::until("a login", async || {
        (node.login(&Client::new(), "alice").await.status == 200).then_some(())
    })
    .await;
    assert!(back.elapsed() < BACK_WITHIN, "{:?}", back.elapsed());
}
