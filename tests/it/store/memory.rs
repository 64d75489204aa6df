//! The in-memory store expires, is bounded and forgets nothing that it has not let go.

use std::time::Duration;

use portcullis::{Clock, Store, StoreErrorKind, cutoff::Cutoffs};

use crate::session::bench::{App, Browser};

/// Fails if: entries without a reader stay for ever (the room of what expired is never had back).
#[tokio::test]
async fn what_expires_makes_room() {
    let clock = Clock::settable(1_700_000_000_000);
    let life = Duration::from_secs(3_600);
    let store = Store::builder()
        .clock(clock.clone())
        .longest_credential(life)
        .memory_limit(64 * 1024)
        .memory();
    let cutoffs = Cutoffs::new(&store);
    let mut full = 0;
    for round in 0..5 {
        let mut held = 0;
        while cutoffs
            .user("", &format!("user-{round}-{held}"))
            .await
            .is_ok()
        {
            held += 1;
        }
        assert!(
            held > 100 && (full == 0 || held == full),
            "{held} in round {round}"
        );
        full = held;
        clock.advance(life);
    }
}

/// Fails if: an entry is evicted to make room, or a write past the limit is answered as done.
#[tokio::test]
async fn past_the_limit_writes_fail_and_nothing_is_lost() {
    let store = Store::builder().memory_limit(256 * 1024).memory();
    let app = App::new(&store);
    let mut inside = Vec::new();
    let refused = loop {
        let browser = Browser::new(&app);
        let answer = browser.post(&format!("/login/user-{}", inside.len())).await;
        if answer.status != 200 {
            break answer;
        }
        inside.push(browser);
    };
    assert_eq!(refused.status, 503);
    assert!(refused.set_cookies().is_empty());
    assert!(inside.len() > 100, "{}", inside.len());
    let full = Cutoffs::new(&store).user("", &"long".repeat(60)).await;
    assert!(full.is_ok() || full.unwrap_err().kind() == StoreErrorKind::Full);
    for (at, browser) in inside.iter().enumerate() {
        assert_eq!(
            browser.get("/me").await.text,
            format!("user-{at}"),
            "read, and its use recorded"
        );
    }
    // A logout is always possible, and makes room.
    for browser in inside.drain(..4) {
        assert_eq!(browser.post("/logout").await.status, 200);
    }
    assert_eq!(Browser::new(&app).post("/login/late").await.status, 200);
}

/// A login for which there is no room leaves the visitor what he had: the operation is carried out or it is not.
///
/// Fails if: the limit is looked at in the middle of an operation.
#[tokio::test]
async fn an_operation_is_carried_out_whole_or_not_at_all() {
    // Every size in this range ends at another step of some login.
    for limit in (1_500..6_000).step_by(13) {
        let store = Store::builder().memory_limit(limit).memory();
        let app = App::new(&store);
        let mut before = Vec::new();
        loop {
            let browser = Browser::new(&app);
            if browser.post("/set/cart/full").await.status != 200 {
                break;
            }
            before.push(browser);
            if before.len() < 4 {
                continue;
            }
            let visitor = before.last().unwrap();
            if visitor.post("/login/alice").await.status != 200 {
                break;
            }
            assert!(visitor.is_logged_in().await);
        }
        for browser in before {
            assert_eq!(browser.get("/get/cart").await.text, "full", "limit {limit}");
        }
    }
}

/// Fails if: overhead is not counted. What the allocator and the maps need comes on top of what is counted, but not a
/// multiple of it.
#[tokio::test]
async fn most_of_a_million_entries_stay_within_the_limit() {
    const LIMIT: usize = 256 * 1024 * 1024;
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let before = resident();
    let store = Store::builder().memory_limit(LIMIT).memory();
    let cutoffs = Cutoffs::new(&store);
    let mut held = 0_usize;
    let full = loop {
        match cutoffs.user("", &held.to_string()).await {
            Ok(_) => held += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), StoreErrorKind::Full);
    let grown = resident().saturating_sub(before);
    eprintln!("{held} entries, {} MiB", grown >> 20);
    assert!(held >= 700_000, "{held}");
    assert!(
        grown < LIMIT + LIMIT / 2,
        "{grown} bytes for {held} entries"
    );
}
