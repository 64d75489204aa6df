//! The server goes away in every way a server can, under traffic, and comes back.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use portcullis::{Store, StoreErrorKind, cutoff::Cutoffs};
use tokio::{task::JoinSet, time::Instant};

use super::{ask, in_time, works_within_a_second};
use crate::{
    means::{
        proxy::{Proxy, mentions},
        redis::RedisServer,
        wait,
    },
    session::bench::{App, Browser},
};

/// Callers that go on asking while the server is away.
const CALLERS: usize = 64;
/// Attempts of one node in a second, at most: the pauses between them grow from 10 to 200 ms.
const MOST_CONNECTIONS: usize = 16;

struct Site {
    server: RedisServer,
    proxy: Proxy,
    store: Store,
    /// Signed in before the outage.
    alice: Browser,
}

impl Site {
    async fn start() -> Self {
        let server = RedisServer::start().await;
        let proxy = Proxy::start(server.port());
        let store = Store::connect(&proxy.url()).await.unwrap();
        let alice = Browser::new(&App::new(&store));
        assert_eq!(alice.post("/login/alice").await.status, 200);
        Self {
            server,
            proxy,
            store,
            alice,
        }
    }

    /// What requests see while the server is away: those that do not ask for their session nothing, the others 503 in
    /// time, with the cookie left alone.
    async fn is_a_choice(&self) {
        let cookies = self.alice.cookie_header();
        for path in ["/", "/get/x", "/me"] {
            let visitor = Browser::new(&self.alice.app);
            let answer = in_time("a visitor's request", visitor.get(path)).await;
            assert_eq!(
                answer.status,
                if path == "/me" { 401 } else { 200 },
                "{path}"
            );
        }
        assert_eq!(
            in_time("a page without session", self.alice.get("/"))
                .await
                .status,
            200
        );
        for path in ["/me", "/get/x"] {
            let answer = in_time("a request that asks", self.alice.get(path)).await;
            assert_eq!(answer.status, 503, "{path}");
            assert!(answer.header("retry-after").is_some());
            assert!(answer.set_cookies().is_empty());
        }
        for path in ["/set/a/b", "/renew", "/logout", "/login/bob"] {
            let answer = in_time("a request that writes", self.alice.post(path)).await;
            assert_eq!(answer.status, 503, "{path}");
            assert!(answer.set_cookies().is_empty());
        }
        assert_eq!(self.alice.cookie_header(), cookies);
    }

    /// Many callers for a second; says how often each kind of error came. No call may work or take too long.
    async fn hammer(&self) -> BTreeMap<String, usize> {
        let kinds = Arc::new(Mutex::new(BTreeMap::new()));
        let end = Instant::now() + Duration::from_secs(1);
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (store, kinds) = (self.store.clone(), Arc::clone(&kinds));
            callers.spawn(async move {
                let mut pace = tokio::time::interval(Duration::from_millis(5));
                while Instant::now() < end {
                    pace.tick().await;
                    let kind = ask(&store).await.expect_err("the server is away");
                    *kinds
                        .lock()
                        .unwrap()
                        .entry(format!("{kind:?}"))
                        .or_insert(0) += 1;
                }
            });
        }
        callers.join_all().await;

        kinds.lock().unwrap().clone()
    }

    /// An outage from its first moment to the last, and back.
    async fn goes_away(
        &mut self,
        how: &str,
        away: impl AsyncFnOnce(&mut Self),
        back: impl AsyncFnOnce(&mut Self),
    ) {
        self.proxy.reset_counts();
        away(self).await;
        let kinds = self.hammer().await;
        let connections = self.proxy.connections();
        eprintln!("{how}: {connections} connections, {kinds:?}");
        assert!(
            connections <= MOST_CONNECTIONS,
            "{how}: a storm of {connections} connections"
        );
        let only = |kind: &String| kind == "Unavailable" || kind == "Timeout";
        assert!(kinds.keys().all(only), "{how}: {kinds:?}");
        // Only the first callers wait for their deadline; then it is known, and the others are told at once.
        let of = |kind| kinds.get(kind).copied().unwrap_or(0);
        assert!(of("Timeout") < of("Unavailable"), "{how}: {kinds:?}");
        self.is_a_choice().await;
        back(self).await;
        works_within_a_second(&self.store).await;
    }
}

/// Fails if: a call waits for a connection without end, or a lost connection is never replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_again() {
    let mut site = Site::start().await;
    site.goes_away(
        "kill -9",
        async |site| site.server.kill(),
        async |site| site.server.restart().await,
    )
    .await;
    // Its memory is gone, and so is the session; that is an answer.
    assert!(!site.alice.is_logged_in().await);
    assert_eq!(site.alice.post("/login/alice").await.status, 200);
    assert!(site.alice.is_logged_in().await);
}

/// Fails if: only errors of the connection count, and deadlines that pass do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_and_continued() {
    let mut site = Site::start().await;
    site.goes_away(
        "SIGSTOP",
        async |site| site.server.stop(),
        async |site| site.server.cont(),
    )
    .await;
    assert!(site.alice.is_logged_in().await, "an outage is no logout");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_and_back() {
    let mut site = Site::start().await;
    site.goes_away(
        "black hole",
        async |site| site.proxy.blackhole(true),
        async |site| site.proxy.blackhole(false),
    )
    .await;
    assert!(site.alice.is_logged_in().await, "an outage is no logout");
}

/// Fails if: an attempt follows the one before without a pause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_reset_as_soon_as_they_are_there() {
    let mut site = Site::start().await;
    let away = async |site: &mut Site| {
        site.proxy.refuse(true);
        site.proxy.reset_all().await;
    };
    site.goes_away("reset at once", away, async |site| site.proxy.refuse(false))
        .await;
    assert!(site.alice.is_logged_in().await, "an outage is no logout");
}

/// A server that answers, but later than anybody waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slower_than_the_deadline() {
    let mut site = Site::start().await;
    let away = async |site: &mut Site| site.proxy.delay(Duration::from_millis(300));
    site.goes_away("slow", away, async |site| site.proxy.delay(Duration::ZERO))
        .await;
    assert!(site.alice.is_logged_in().await, "an outage is no logout");
}

/// Connections that live just long enough to be used are lost again and again.
///
/// Fails if: a connection that broke at once is not counted as a failed attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_at_their_first_use_cause_no_storm() {
    let site = Site::start().await;
    site.proxy.reset_counts();
    let going_on = Arc::new(AtomicBool::new(true));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (store, going_on) = (site.store.clone(), Arc::clone(&going_on));
        callers.spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(5));
            while going_on.load(Ordering::Relaxed) {
                pace.tick().await;
                let _ = ask(&store).await;
            }
        });
    }
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        // Every call on a new connection is lost with it.
        let lost = site.proxy.drop_reply(|command| !command.is_housekeeping());
        let mut pace = tokio::time::interval(Duration::from_millis(1));
        while !lost.is_reached() && Instant::now() < end {
            pace.tick().await;
        }
    }
    let connections = site.proxy.connections();
    going_on.store(false, Ordering::Relaxed);
    callers.join_all().await;
    eprintln!("broken at first use: {connections} connections");
    assert!(
        connections <= MOST_CONNECTIONS,
        "a storm of {connections} connections"
    );
    works_within_a_second(&site.store).await;
}

/// Fails if: `connect` waits longer than twice the deadline, or `connect_lazy` connects.
#[tokio::test]
async fn nothing_to_connect_to() {
    let mut server = RedisServer::start().await;
    server.kill();
    let refused = in_time("connecting", Store::connect(&server.url()))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Unavailable);
    let lazy = Store::connect_lazy(&server.url()).unwrap();
    assert_eq!(ask(&lazy).await, Err(StoreErrorKind::Unavailable));
    assert_eq!(ask(&lazy).await, Err(StoreErrorKind::Unavailable));
    server.restart().await;
    works_within_a_second(&lazy).await;
    // Somebody who takes the connection and says nothing.
    server.stop();
    let silent = in_time("connecting", Store::connect(&server.url()))
        .await
        .unwrap_err();
    assert!(silent.is_outage(), "{silent:?}");
    server.cont();
}

/// Fails if: it connects before the first call.
#[tokio::test]
async fn a_lazy_store_connects_at_its_first_call_and_once() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let store = Store::connect_lazy(&proxy.url()).unwrap();
    let _layers = (App::new(&store), Cutoffs::new(&store));
    assert_eq!(proxy.connections(), 0);
    let asked: JoinSet<_> = (0..CALLERS)
        .map(|_| {
            let store = store.clone();
            async move { ask(&store).await }
        })
        .collect();
    assert!(asked.join_all().await.iter().all(Result::is_ok));
    assert_eq!(proxy.connections(), 1);
    assert!(
        proxy.log().iter().all(|command| command.name() != "EVAL"),
        "scripts were loaded before"
    );
}

/// Fails if: the connection that was cut is kept, or the call is sent a second time.
#[tokio::test]
async fn cut_while_a_call_is_under_way() {
    let site = Site::start().await;
    let held = site.proxy.pause_before(mentions("cutoff"));
    let asked = async { Cutoffs::new(&site.store).user("", "alice").await };
    let cut = async {
        held.reached().await;
        site.proxy.reset_all().await;
    };
    let (answer, ()) = in_time("a call that is cut", async { tokio::join!(asked, cut) }).await;
    assert_eq!(answer.unwrap_err().kind(), StoreErrorKind::Unavailable);
    drop(held);
    works_within_a_second(&site.store).await;
    assert!(site.alice.is_logged_in().await, "the cutoff never arrived");
}

/// The reply of a login is lost: it failed for the user, who has the cookie of before and may try again.
///
/// Fails if: a write is sent again by itself.
#[tokio::test]
async fn a_lost_reply_is_an_error_and_nothing_is_sent_twice() {
    let site = Site::start().await;
    let visitor = Browser::new(&site.alice.app);
    visitor.post("/set/cart/full").await;
    let cookie = visitor.cookie_header();
    site.proxy.reset_counts();
    let lost = site.proxy.drop_reply(mentions("bob"));
    let answer = in_time("a login", visitor.post("/login/bob")).await;
    lost.reached().await;
    assert_eq!(answer.status, 503);
    assert_eq!(visitor.cookie_header(), cookie);
    let sent = site.proxy.commands();
    let logins = sent
        .iter()
        .filter(|command| command.iter().any(|arg| arg == b"bob"));
    assert_eq!(logins.count(), 1);
    works_within_a_second(&site.store).await;
    assert_eq!(visitor.post("/login/bob").await.status, 200);
    assert!(visitor.is_logged_in().await);
}

/// A read whose connection breaks is sent again, once: nobody notices.
///
/// Fails if: reads are not repeated.
#[tokio::test]
async fn a_read_survives_a_broken_connection() {
    let site = Site::start().await;
    // A connection that breaks in its first moments counts as an attempt that failed: this one is older.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(150) {
        assert!(site.alice.is_logged_in().await);
    }
    let lost = site.proxy.drop_reply(|command| command.name() == "GET");
    assert!(site.alice.is_logged_in().await);
    assert!(lost.is_reached());
}

/// The connection breaks while nobody asks; the next call finds a new one, with the scripts.
///
/// Fails if: scripts are not loaded when a connection is made.
#[tokio::test]
async fn a_new_connection_has_the_scripts() {
    let site = Site::start().await;
    let before = site.proxy.connections();
    site.server.cli(&["SCRIPT", "FLUSH"]).await;
    site.proxy.reset_all().await;
    // No call is needed to notice.
    wait::until_true("a new connection", || site.proxy.connections() > before).await;
    works_within_a_second(&site.store).await;
    let visitor = Browser::new(&site.alice.app);
    let (turns, answer) = site.proxy.turns_of(visitor.post("/login/bob")).await;
    assert_eq!((turns, answer.status.as_u16()), (1, 200));
    let names: Vec<_> = site
        .proxy
        .log()
        .iter()
        .map(|command| command.name())
        .collect();
    assert_eq!(names, ["EVALSHA"]);
}

/// Callers that go away while their question is under way: everybody else gets the answer to their own question.
///
/// Fails if: a reply is handed to whoever waits first (a driver that forgets cancelled questions), or a cancelled call
/// counts as a failure of the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_callers_disturb_nobody() {
    let site = Site::start().await;
    site.proxy.delay(Duration::from_millis(2));
    let before = site.proxy.connections();
    let mut callers = JoinSet::new();
    for own in 0..32_usize {
        let browser = Browser::new(&site.alice.app);
        callers.spawn(async move {
            assert_eq!(browser.post(&format!("/set/own/value-{own}")).await.status, 200);
            let mut answered = 0;
            for round in 0..60 {
                let patience = (own * 7 + round * 13) % 24;
                let request = browser.get("/get/own");
                let impatient = async {
                    for _ in 0..patience * patience {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! {
                    answer = request => {
                        answered += 1;
                        assert_eq!((answer.status.as_u16(), answer.text), (200, format!("value-{own}")));
                    }
                    () = impatient => {}
                }
            }
            let answer = browser.get("/get/own").await;
            assert_eq!((answer.status.as_u16(), answer.text), (200, format!("value-{own}")));
            answered
        });
    }
    let answered: usize = callers.join_all().await.into_iter().sum();
    eprintln!("{answered} of {} waited for their answer", 32 * 60);
    assert_eq!(
        site.proxy.connections(),
        before,
        "nobody gave up the connection"
    );
}
