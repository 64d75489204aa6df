//! What Redis loses, the database brings back.

use std::time::Duration;

use portcullis::{
    Clock, Store,
    blacklist::{BlacklistLayer, Outage},
    cutoff::Cutoffs,
    registry::{ActiveSessionLayer, CutoffScope, Revocation},
    testing,
};

use super::{Bench, Node, benches, mock::Mock};
use crate::{
    blacklist::{app as listed_only, status},
    means::{proxy::Proxy, redis::RedisServer, wait},
    session::bench::{hold, memory},
};

/// Fails if: a node believes Redis before it told it what ended: a flush and a restart of everything would bring back
/// tokens of users who signed out everywhere, and of single sessions.
#[tokio::test]
async fn a_flush_and_a_restart_of_everything_lose_nothing() {
    let server = RedisServer::start().await;
    let (mock, clock) = (Mock::new(&Clock::system()), Clock::system());
    let node = Node::connect(&server.url(), &mock).await;
    let (all, one, kept) = (
        node.sign_in("alice").await,
        node.sign_in("bob").await,
        node.sign_in("carol").await,
    );
    let ended = node.active.revoke_all("", "alice").await.unwrap();
    assert_eq!(ended, Revocation::Everywhere);
    node.revoke(&one).await;
    drop(node);
    server.cli(&["FLUSHALL"]).await;
    let node = Node::connect(&server.url(), &mock).await;
    // Where nobody asks the database as well.
    let other = Store::connect(&server.url()).await.unwrap();
    let app = listed_only(BlacklistLayer::builder(&other), &clock);
    assert_eq!(status(&app, &all.token).await, 401);
    assert_eq!(status(&app, &one.token).await, 401);
    assert_eq!(status(&app, &kept.token).await, 200);
    assert_eq!(node.status(&kept).await, 200);
    let again = node.sign_in("alice").await;
    assert_eq!(status(&app, &again.token).await, 200);
}

/// Fails if: what a node could not tell Redis before it died is never told.
#[tokio::test]
async fn what_ended_in_the_database_alone_is_told_by_whoever_connects_next() {
    for bench in benches().await {
        let seat = bench.one.sign_in("alice").await;
        assert_eq!(bench.two.status(&seat).await, 200);
        bench.mock.end_by_hand(&seat.sid);
        assert_eq!(
            bench.two.status(&seat).await,
            200,
            "cached: within the bound"
        );
        // Another node starts: it tells Redis before it is ready.
        let next = Node::new(&bench.one.store, &bench.mock, &bench.clock);
        assert!(next.active.ready().await);
        assert_eq!(bench.two.status(&seat).await, 401, "{}", bench.name);
        assert_eq!(next.status(&seat).await, 401);
    }
}

/// Fails if: after a lost connection Redis is believed before it was told: it may be another server, which lost something.
#[tokio::test]
async fn after_a_reconnect_redis_is_told_before_it_is_believed() {
    let server = RedisServer::start().await;
    let mock = Mock::new(&Clock::system());
    let proxy = Proxy::start(server.port());
    let node = Node::connect(&proxy.url(), &mock).await;
    let seat = node.sign_in("alice").await;
    assert_eq!(node.status(&seat).await, 200);
    mock.end_by_hand(&seat.sid);
    assert_eq!(node.status(&seat).await, 200, "cached");
    proxy.reset_all().await;
    wait::until_true("the loss to be noticed", || proxy.connections() > 1).await;
    // The new connection works, and Redis still holds what was cached.
    let works = || async { node.store.check().await.is_ok().then_some(()) };
    wait::until("the new connection", works).await;
    assert_eq!(server.keys("*active:{*}").await.len(), 1);
    assert_eq!(node.status(&seat).await, 401);
}

/// A cutoff that somebody raised in Redis alone is noted in the database, and ends no login made since.
#[tokio::test]
async fn the_larger_cutoff_wins_on_both_sides() {
    for bench in benches().await {
        let one = &bench.one;
        let first = one.sign_in("alice").await;
        let _ = one.active.revoke_all("", "alice").await.unwrap();
        let scope = CutoffScope::User {
            tenant: String::new(),
            user: "alice".to_owned(),
        };
        let in_database = bench.mock.cutoff(&scope).unwrap();
        let raised = Cutoffs::new(&one.store).user("", "alice").await.unwrap();
        assert!(raised > in_database);
        let second = one.sign_in("alice").await;
        assert!(one.active.ready().await);
        assert_eq!(bench.mock.cutoff(&scope), Some(raised), "{}", bench.name);
        assert_eq!(bench.two.status(&first).await, 401);
        assert_eq!(bench.two.status(&second).await, 200, "{}", bench.name);
    }
}

/// Fails if: a revocation with Redis away claims to hold everywhere, this node goes on accepting the session, or the rest is
/// not made good when Redis is back.
#[tokio::test]
async fn a_revocation_without_redis_is_pending_and_finished_later() {
    let mut server = RedisServer::start().await;
    let (mock, clock) = (Mock::new(&Clock::system()), Clock::system());
    let one = Node::connect(&server.url(), &mock).await;
    let two = Node::connect(&server.url(), &mock).await;
    let (seat, all) = (one.sign_in("alice").await, one.sign_in("bob").await);
    assert_eq!(
        (one.status(&seat).await, two.status(&seat).await),
        (200, 200)
    );
    server.stop();
    let pending = one.active.revoke(&seat.sid).await.unwrap();
    let bound = Duration::from_secs(120);
    assert_eq!(pending, Revocation::Pending { bound });
    assert!(matches!(
        one.active.revoke_all("", "bob").await.unwrap(),
        Revocation::Pending { .. }
    ));
    assert_eq!(one.status(&seat).await, 401, "known here");
    assert_eq!(two.status(&seat).await, 401, "the database is asked");
    assert_eq!(two.status(&all).await, 401);
    assert!(one.active.unfinished() > 0);
    server.cont();
    wait::until_true("the rest", || one.active.unfinished() == 0).await;
    let store = Store::connect(&server.url()).await.unwrap();
    let app = listed_only(BlacklistLayer::builder(&store), &clock);
    for seat in [&seat, &all] {
        assert_eq!(status(&app, &seat.token).await, 401);
        assert_eq!(two.status(seat).await, 401);
    }
    // More than this node remembers: it asks the database about everybody until Redis was told.
    let small = Node::with(&store, &mock, &clock, |builder| builder.max_unfinished(1));
    assert!(small.active.ready().await);
    let seats = [small.sign_in("carol").await, small.sign_in("carol").await];
    assert_eq!(two.status(&seats[1]).await, 200);
    server.kill();
    let ended = small.active.revoke_all("", "carol").await.unwrap();
    assert!(matches!(ended, Revocation::Pending { .. }));
    assert_eq!(small.status(&seats[1]).await, 401);
    server.restart().await;
    wait::until_true("the rest", || small.active.unfinished() == 0).await;
    for seat in &seats {
        assert_eq!(two.status(seat).await, 401);
        let told = || async { (status(&app, &seat.token).await == 401).then_some(()) };
        wait::until("Redis to be told", told).await;
    }
}

/// Fails if: a node that ended a session accepts it until the store has been told.
#[tokio::test]
async fn who_ends_a_session_refuses_it_before_the_store_knows() {
    for bench in benches().await {
        let seat = bench.one.sign_in("alice").await;
        assert_eq!(bench.one.status(&seat).await, 200);
        let held = hold(&bench.one.store, "registry.forget");
        let (node, sid) = (std::sync::Arc::clone(&bench.one), seat.sid.clone());
        let revoking = tokio::spawn(async move { node.active.revoke(&sid).await });
        held.reached().await;
        assert_eq!(bench.one.active.unfinished(), 1);
        assert_eq!(bench.one.status(&seat).await, 401, "{}", bench.name);
        // Whoever asked for it goes away: it is finished all the same.
        revoking.abort();
        held.resume();
        wait::until_true("the rest", || bench.one.active.unfinished() == 0).await;
        assert_eq!(bench.two.status(&seat).await, 401);
    }
}

/// Fails if: sessions that are known end with the database, go on for longer than stated, or an outage is told to a client as
/// the end of its session.
#[tokio::test]
async fn a_database_that_is_away_ends_nobody_for_a_stated_time() {
    use std::sync::atomic::Ordering::SeqCst;
    let backend = memory().await;
    let bench = Bench::of(backend);
    assert!(bench.one.active.ready().await && bench.two.active.ready().await);
    let (known, cold) = (
        bench.one.sign_in("alice").await,
        bench.one.sign_in("bob").await,
    );
    assert_eq!(bench.one.status(&known).await, 200);
    bench.mock.down.store(true, SeqCst);
    assert_eq!(bench.one.status(&cold).await, 503);
    assert_eq!(bench.one.status(&known).await, 200, "still fresh");
    testing::age_everything(&bench.one.store, Duration::from_secs(61))
        .await
        .unwrap();
    assert_eq!(
        bench.one.status(&known).await,
        200,
        "no more fresh, and the database is away"
    );
    testing::age_everything(&bench.one.store, Duration::from_secs(61))
        .await
        .unwrap();
    assert_eq!(bench.one.status(&known).await, 503);
    // By the policies of the layer.
    let stale = |builder: portcullis::registry::ActiveSessionLayerBuilder| {
        super::app(builder.build().unwrap(), &bench.clock)
    };
    let open = stale(ActiveSessionLayer::builder(&bench.one.active).insecure_open());
    assert_eq!(status(&open, &cold.token).await, 200);
    let outage = Outage::Stale(Duration::from_secs(600));
    let stale = stale(ActiveSessionLayer::builder(&bench.one.active).outage(outage));
    assert_eq!(
        status(&stale, &cold.token).await,
        503,
        "never known to this layer"
    );
    bench.mock.down.store(false, SeqCst);
    let back = || async { (bench.one.status(&known).await == 200).then_some(()) };
    wait::until("the breaker", back).await;
    assert_eq!(status(&stale, &cold.token).await, 200);
    bench.mock.down.store(true, SeqCst);
    testing::age_everything(&bench.one.store, Duration::from_secs(300))
        .await
        .unwrap();
    assert_eq!(status(&stale, &cold.token).await, 200);
    assert_eq!(bench.one.status(&cold).await, 503);
    bench.mock.down.store(false, SeqCst);
}

/// Fails if: where Redis answers and takes no writes, what a node ended goes on working on that node: a cutoff of everyone,
/// or more sessions than it can remember. Both with what the node itself remembers of active sessions.
#[tokio::test]
async fn what_redis_would_not_take_holds_on_this_node_at_once() {
    let server = RedisServer::start().await;
    let (mock, clock) = (Mock::new(&Clock::system()), Clock::system());
    // With one of these missing the server answers and takes no writes.
    let need_replicas = async |count: &str| {
        let set = ["CONFIG", "SET", "min-replicas-to-write", count];
        server.cli(&set).await;
    };
    for with_replica in [false, true] {
        let store = Store::connect(&server.url()).await.unwrap();
        let replica = match with_replica {
            true => Some(super::near(&store).await),
            false => None,
        };
        let fresh = async || {
            if let Some(replica) = &replica {
                wait::until_true("a fresh replica", || replica.is_fresh()).await;
            }
        };
        let node = Node::with(&store, &mock, &clock, |builder| builder.max_unfinished(1));
        assert!(node.active.ready().await);
        let sign_in = async || {
            let seats = [node.sign_in("alice").await, node.sign_in("bob").await];
            for seat in &seats {
                fresh().await;
                assert_eq!(node.status(seat).await, 200);
            }
            seats
        };
        let seats = sign_in().await;
        need_replicas("1").await;
        fresh().await;
        assert_eq!(node.status(&seats[0]).await, 200, "what is known is read");
        let pending = node.active.revoke_everyone().await.unwrap();
        assert!(matches!(pending, Revocation::Pending { .. }));
        fresh().await;
        assert_eq!(node.status(&seats[0]).await, 401, "{with_replica}");
        need_replicas("0").await;
        wait::until_true("the rest", || node.active.unfinished() == 0).await;
        assert_eq!(node.status(&seats[1]).await, 401);

        let seats = sign_in().await;
        need_replicas("1").await;
        for seat in &seats {
            let pending = node.active.revoke(&seat.sid).await.unwrap();
            assert!(matches!(pending, Revocation::Pending { .. }));
            fresh().await;
            assert_eq!(node.status(seat).await, 401, "{with_replica}");
        }
        assert_eq!(node.active.unfinished(), 1);
        need_replicas("0").await;
        wait::until_true("the rest", || node.active.unfinished() == 0).await;
    }
}

/// Fails if: whoever closes the page right after signing out stays signed in for as long as Redis knows the session.
#[tokio::test]
async fn who_goes_away_while_the_database_is_asked_is_signed_out_all_the_same() {
    for bench in benches().await {
        let seat = bench.one.sign_in("alice").await;
        assert_eq!(bench.two.status(&seat).await, 200);
        *bench.mock.slow.lock().unwrap() = Duration::from_millis(100);
        let revoking = bench.one.active.revoke(&seat.sid);
        let gone = tokio::time::timeout(Duration::from_millis(20), revoking).await;
        assert!(gone.is_err(), "the caller went away");
        *bench.mock.slow.lock().unwrap() = Duration::ZERO;
        let out = || async { (bench.two.status(&seat).await == 401).then_some(()) };
        wait::until(bench.name, out).await;
    }
}

/// Fails if: "everyone" ends nothing of what Redis dates, because its clock is ahead of the database's; or a login right after
/// it is ended too.
#[tokio::test]
async fn a_cutoff_ends_what_redis_dates_ahead_of_the_database() {
    const NOW: u64 = 1_700_000_000_000;
    let (redis, database) = (Clock::settable(NOW + 60_000), Clock::settable(NOW));
    let store = Store::builder().clock(redis.clone()).memory();
    let mock = Mock::new(&database);
    let node = Node::new(&store, &mock, &redis);
    assert!(node.active.ready().await);
    let of_store = portcullis::jwt::Grant::user("alice").auth_ms(redis.now_millis() - 5);
    let token = crate::blacklist::issuer(&redis).mint(&of_store).unwrap();
    let app = listed_only(BlacklistLayer::builder(&store), &redis);
    assert_eq!(status(&app, token.token()).await, 200);
    let ended = node.active.revoke_everyone().await.unwrap();
    assert_eq!(ended, Revocation::Everywhere);
    assert_eq!(status(&app, token.token()).await, 401);
    let next = node.sign_in("alice").await;
    assert_eq!(node.status(&next).await, 200);
    assert_eq!(status(&app, &next.token).await, 200);
}

/// Fails if: a single token that was revoked by its `jti` passes while Redis is away although the application asked for a
/// refusal, or is refused by default, which would sign everybody out with Redis.
#[tokio::test]
async fn whether_a_token_may_be_unlisted_while_redis_is_away_is_a_choice() {
    let server = RedisServer::start().await;
    let (mock, clock) = (Mock::new(&Clock::system()), Clock::system());
    let node = Node::connect(&server.url(), &mock).await;
    let seat = node.sign_in("alice").await;
    let strict = |outage| {
        let builder = ActiveSessionLayer::builder(&node.active).require_revocation_list();
        super::app(builder.outage(outage).build().unwrap(), &clock)
    };
    let closed = strict(Outage::Closed);
    let stale = strict(Outage::Stale(Duration::from_secs(600)));
    let cold = strict(Outage::Stale(Duration::from_secs(600)));
    for app in [&closed, &stale] {
        assert_eq!(status(app, &seat.token).await, 200);
    }
    assert_eq!(node.status(&seat).await, 200);
    server.kill();
    assert_eq!(
        node.status(&seat).await,
        200,
        "by default the session decides"
    );
    assert_eq!(status(&closed, &seat.token).await, 503);
    assert_eq!(status(&stale, &seat.token).await, 200);
    assert_eq!(status(&cold, &seat.token).await, 503);
    node.active.revoke(&seat.sid).await.map(drop).unwrap();
    for app in [&closed, &stale, &cold] {
        assert_eq!(status(app, &seat.token).await, 401, "its session has ended");
    }
}

/// Fails if: the use of a session is not noted where that was asked for, is noted at every request, or without being asked for.
#[tokio::test]
async fn a_use_is_noted_once_in_a_while_where_that_was_asked_for() {
    let bench = Bench::of(memory().await);
    assert!(bench.one.active.ready().await);
    let seat = bench.one.sign_in("alice").await;
    let began = bench.mock.session(&seat.sid).last_used_ms;
    let layer = ActiveSessionLayer::builder(&bench.one.active).note_use();
    let app = super::app(layer.build().unwrap(), &bench.clock);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.one.status(&seat).await, 200);
    tokio::task::yield_now().await;
    assert_eq!(bench.mock.session(&seat.sid).last_used_ms, began);
    let noted = async |at: u64| {
        let is_at = || bench.mock.session(&seat.sid).last_used_ms == at;
        wait::until_true("the note", is_at).await;
    };
    assert_eq!(status(&app, &seat.token).await, 200);
    noted(began + 1_000).await;
    let calls = bench.mock.calls.load(std::sync::atomic::Ordering::SeqCst);
    for _ in 0..10 {
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(status(&app, &seat.token).await, 200);
    }
    tokio::task::yield_now().await;
    let after = bench.mock.calls.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(after, calls, "once a minute");
    bench.clock.advance(Duration::from_secs(60));
    assert_eq!(status(&app, &seat.token).await, 200);
    noted(began + 71_000).await;
}

/// Fails if: whoever signs out their other devices again, because the database's answer was lost after it had ended them, is
/// told that it holds everywhere while Redis still says that they are active.
#[tokio::test]
async fn a_second_try_to_end_the_others_finishes_what_the_first_began() {
    for bench in benches().await {
        let (one, two) = (&bench.one, &bench.two);
        let seats = [one.sign_in("alice").await, one.sign_in("alice").await];
        for seat in &seats {
            assert_eq!(two.status(seat).await, 200);
        }
        bench
            .mock
            .loses_answer
            .store(true, std::sync::atomic::Ordering::SeqCst);
        let first = one.active.revoke_others("", "alice", &seats[0].sid).await;
        assert!(first.is_err(), "nobody can say");
        let second = two.active.revoke_others("", "alice", &seats[0].sid).await;
        assert_eq!(second.unwrap(), Revocation::Everywhere);
        for node in [one, two] {
            assert_eq!(node.status(&seats[1]).await, 401, "{}", bench.name);
            assert_eq!(node.status(&seats[0]).await, 200);
        }
    }
}
