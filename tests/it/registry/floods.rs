//! Many at once.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use portcullis::Clock;
use tokio::task::JoinSet;

use super::{Node, Seat, benches, mock::Mock};
use crate::means::{proxy::Proxy, redis::RedisServer};

async fn all(tasks: JoinSet<u16>) -> [usize; 4] {
    let mut counts = [0; 4];
    for status in tasks.join_all().await {
        let at = [200, 401, 503].iter().position(|known| *known == status);
        counts[at.unwrap_or(3)] += 1;
    }
    counts
}

/// R110: fails if nodes or requests do not wait for one another, or an error is remembered as an end.
#[tokio::test]
async fn r110_two_hundred_cold_requests_on_two_nodes_cost_one_read() {
    for bench in benches().await {
        *bench.mock.slow.lock().unwrap() = Duration::from_millis(50);
        let seat = bench.one.sign_in("alice").await;
        let before = bench.mock.finds();
        let mut tasks = JoinSet::new();
        for number in 0..200 {
            let node = Arc::clone(if number % 2 == 0 {
                &bench.one
            } else {
                &bench.two
            });
            let seat = seat.clone();
            tasks.spawn(async move { node.status(&seat).await });
        }
        assert_eq!(all(tasks).await, [200, 0, 0, 0], "{}", bench.name);
        assert_eq!(bench.mock.finds() - before, 1, "{}", bench.name);
        // An error is an outage for everybody, and is forgotten.
        let seat = bench.one.sign_in("bob").await;
        bench.mock.down.store(true, SeqCst);
        assert_eq!(bench.one.status(&seat).await, 503);
        bench.mock.down.store(false, SeqCst);
        assert_eq!(bench.two.status(&seat).await, 200, "{}", bench.name);
    }
}

/// R110: fails if a leader that goes away, in any of its steps, keeps the others waiting for its lease.
#[tokio::test]
async fn r110_a_leader_that_goes_away_strands_nobody() {
    use super::mock::Point;
    for bench in benches().await {
        for point in [Point::BeforeFind, Point::AfterFind] {
            let seat = bench.one.sign_in("alice").await;
            let stop = bench.mock.stop_at(point);
            let (node, asking) = (Arc::clone(&bench.one), seat.clone());
            let leader = tokio::spawn(async move { node.status(&asking).await });
            stop.reached().await;
            leader.abort();
            let mut tasks = JoinSet::new();
            for node in [&bench.one, &bench.two] {
                let (node, seat) = (Arc::clone(node), seat.clone());
                tasks.spawn(async move { node.status(&seat).await });
            }
            stop.resume();
            let start = Instant::now();
            assert_eq!(all(tasks).await[0], 2, "{} {point:?}", bench.name);
            assert!(
                start.elapsed() < Duration::from_millis(900),
                "nobody waited in vain"
            );
        }
    }
}

/// R111, R112: fails if unknown sids reach the database without bound, or forged tokens reach anybody.
#[tokio::test]
async fn r111_unknown_and_forged_sids_do_not_reach_the_database_without_bound() {
    const REQUESTS: usize = 10_000;
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let (clock, start) = (Clock::system(), Instant::now());
    let mock = Mock::new(&clock);
    let node = Arc::new(Node::connect(&proxy.url(), &mock).await);
    proxy.reset_counts();
    let seat = Seat::unknown("forged", &clock);
    for number in 0..REQUESTS {
        let mut forged = seat.clone();
        forged.token.truncate(forged.token.len() - 6);
        forged.token.push_str(&format!("{number:06}"));
        assert_eq!(node.status(&forged).await, 401);
    }
    assert_eq!((mock.finds(), proxy.turns()), (0, 0));
    println!(
        "forged: {REQUESTS} in {:?}, no read, no trip",
        start.elapsed()
    );

    *mock.slow.lock().unwrap() = Duration::from_millis(10);
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..REQUESTS {
        let (node, seat) = (
            Arc::clone(&node),
            Seat::unknown(&format!("sid-{}", number % 2_000), &clock),
        );
        tasks.spawn(async move { node.status(&seat).await });
    }
    let [ok, gone, unknown, other] = all(tasks).await;
    let (reads, took) = (mock.finds(), start.elapsed());
    let most = mock.most_open.load(SeqCst);
    println!(
        "unknown: {REQUESTS} of 2000 sids in {took:?}: {reads} reads, {most} at once; {gone} × 401, {unknown} × 503"
    );
    assert_eq!((ok, other), (0, 0));
    assert!(most <= 16, "{most} at once");
    assert!(reads <= 2_000 + 100, "{reads} reads");
    // Remembered as none.
    *mock.slow.lock().unwrap() = Duration::ZERO;
    let seat = Seat::unknown("again", &clock);
    for _ in 0..100 {
        assert_eq!(node.status(&seat).await, 401);
    }
    assert_eq!(mock.finds(), reads + 1);
}

/// R112: fails if an empty Redis, or none, lets more questions through to the database than are allowed.
#[tokio::test]
async fn r112_a_redis_that_is_empty_or_away_does_not_stampede_the_database() {
    let mut server = RedisServer::start().await;
    let clock = Clock::system();
    let mock = Mock::new(&clock);
    let node = Arc::new(Node::connect(&server.url(), &mock).await);
    let mut seats = Vec::new();
    for number in 0..500 {
        seats.push(node.sign_in(&format!("user-{number}")).await);
    }
    *mock.slow.lock().unwrap() = Duration::from_millis(20);
    for what in ["empty", "away", "back"] {
        match what {
            "empty" => drop(server.cli(&["FLUSHALL"]).await),
            "away" => server.kill(),
            _ => server.restart().await,
        }
        mock.most_open.store(0, SeqCst);
        let (before, start) = (mock.finds(), Instant::now());
        let mut tasks = JoinSet::new();
        for number in 0..2_000 {
            let (node, seat) = (Arc::clone(&node), seats[number % seats.len()].clone());
            tasks.spawn(async move { node.status(&seat).await });
        }
        let [ok, gone, unknown, other] = all(tasks).await;
        let most = mock.most_open.load(SeqCst);
        println!(
            "{what}: 2000 requests of 500 sessions in {:?}: {ok} × 200, {unknown} × 503, {} reads, {most} at once",
            start.elapsed(),
            mock.finds() - before,
        );
        assert_eq!((gone, other), (0, 0), "{what}");
        assert!(most <= 16, "{what}: {most} at once");
        assert!(ok > 0, "{what}");
    }
}
