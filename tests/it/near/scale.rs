//! A million revocations: how long the load takes, what an entry costs, and what requests notice meanwhile.
//!
//! `NEAR_ENTRIES=1000000 cargo test --release --test it near::scale -- --nocapture`; ten thousand without.

use std::time::{Duration, Instant};

use portcullis::{Clock, Store, blacklist::BlacklistLayer, near::NearState};

use super::{STALENESS, mint};
use crate::{
    blacklist::{app, status},
    means::{redis::RedisServer, wait},
};

fn entries() -> usize {
    let entries = std::env::var("NEAR_ENTRIES").ok();
    entries.map_or(10_000, |n| n.parse().expect("a number"))
}

fn sid(number: usize) -> String {
    format!("5f0c1d9a-7c1e-4b1e-9d52-{number:012}")
}

/// What this process has in memory, in bytes, where the system says so.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kib.unwrap_or(0) * 1_024
}

/// Fails if: an entry is missed by the scan, or the bound is counted wrongly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_revocations_are_loaded_beside_the_traffic() {
    let server = RedisServer::start().await;
    let count = entries();
    let fill = "for i = 0, tonumber(ARGV[1]) - 1 do \
        redis.call('SET', string.format('jwt:blacklist-sid:5f0c1d9a-7c1e-4b1e-9d52-%012d', i), 'x', 'EX', 3600) end";
    server.cli(&["EVAL", fill, "0", &count.to_string()]).await;
    let store = Store::connect(&server.url()).await.unwrap();
    let app = app(BlacklistLayer::builder(&store), &Clock::system());
    let (token, _) = mint();
    assert_eq!(status(&app, &token).await, 200);
    let before = resident();
    let started = Instant::now();
    let near = store
        .near()
        .max_staleness(STALENESS)
        .max_entries(count + 10)
        .start()
        .unwrap();
    let mut requests = Vec::new();
    while near.status().state != NearState::Fresh {
        let sent = Instant::now();
        assert_eq!(status(&app, &token).await, 200);
        requests.push(sent.elapsed());
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "{:?}",
            near.status()
        );
    }
    let took = started.elapsed();
    let grown = resident().saturating_sub(before);
    requests.sort();
    assert_eq!(near.status().entries, count);
    let looked = Instant::now();
    for number in 0..count {
        assert_eq!(near.probe(&sid(number)), Some(true), "{number}");
    }
    let hit = looked.elapsed() / u32::try_from(count).unwrap();
    let looked = Instant::now();
    for number in 0..count {
        assert_ne!(near.probe(&sid(number + count)), Some(true), "{number}");
    }
    let miss = looked.elapsed() / u32::try_from(count).unwrap();
    let at = |part: usize| requests[(requests.len() - 1) * part / 100];
    println!(
        "{count} entries: loaded in {took:?}, {} bytes each, lookup with its name {hit:?} hit, {miss:?} miss; \
         {} requests meanwhile, p50 {:?}, p99 {:?}, max {:?}",
        grown / count,
        requests.len(),
        at(50),
        at(99),
        at(100),
    );
    wait::until_true("fresh", || near.is_fresh()).await;
}
