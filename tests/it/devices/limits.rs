//! At most so many devices: the oldest goes, or nobody may come; never one more, whoever signs in at the same time.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use portcullis::{
    Rejection, RejectionKind,
    refresh::{RefreshErrorKind, RefreshLogin},
    session::OnLimit,
};
use tokio::task::JoinSet;

use crate::{
    refresh::kit::{Bench, DAY, MINUTE, SECOND, Settings, benches_with, proxied},
    session::bench::Browser,
};

fn at_most_3() -> Settings {
    Settings {
        rotation: |builder| builder.max_devices(3),
        session: |builder| builder.max_devices(3, OnLimit::EvictOldest),
        ..Settings::default()
    }
}

fn at_most_3_or_refuse() -> Settings {
    Settings {
        rotation: |builder| builder.max_devices_or_refuse(3),
        session: |builder| builder.max_devices(3, OnLimit::Refuse),
        ..Settings::default()
    }
}

/// Who signed in first goes, whether session or tokens, and is told that it was another login, not that it expired.
///
/// Fails if: the order is that of expiry or of sids; the mark is missing, or reads as an expiry.
#[tokio::test]
async fn the_device_that_signed_in_first_goes_and_is_told_why() {
    for bench in benches_with(&at_most_3()).await {
        let first = bench.one.sign_in("alice").await;
        bench.advance(SECOND).await;
        let second = bench.two.issue("alice").await;
        bench.advance(SECOND).await;
        let third = bench.one.sign_in("alice").await;
        bench.one.issue_for("alice", &third).await.unwrap();
        assert!(first.is_in(&bench.two).await, "{}: three", bench.name);
        bench.advance(SECOND).await;
        let fourth = bench.two.issue("alice").await;
        for node in bench.nodes() {
            let guarded = first.browser.copy_at(&node.app).get("/guarded").await;
            assert_eq!(guarded.status, 401);
            assert!(
                guarded.text.contains("signed_in_elsewhere"),
                "{}: {guarded:?}",
                bench.name
            );
        }
        assert_eq!(bench.two.access(&second).await, 200, "{}", bench.name);
        bench.advance(SECOND).await;
        let fifth = bench.one.sign_in("alice").await;
        for node in bench.nodes() {
            let refused = node.rotate(second.refresh()).await.unwrap_err();
            assert_eq!(refused, RefreshErrorKind::Elsewhere, "{}", bench.name);
            assert_eq!(node.access(&second).await, 401, "{}", bench.name);
        }
        let left = [&*third.sid, fourth.sid(), &*fifth.sid].map(str::to_owned);
        assert_eq!(bench.two.sids("alice").await, left.into(), "{}", bench.name);
        assert!(third.is_in(&bench.two).await && fifth.is_in(&bench.two).await);
        bench.assert_alive(&fourth).await;
        // Signed out by the user, it is told something else; expired, nothing.
        bench
            .one
            .devices
            .revoke("", "alice", &third.sid)
            .await
            .unwrap();
        let guarded = third.browser.get("/guarded").await;
        assert!(
            guarded.text.contains("signed_out"),
            "{}: {guarded:?}",
            bench.name
        );
        bench.advance(DAY).await;
        let guarded = fifth.browser.get("/guarded").await;
        assert!(
            !guarded.text.contains("signed_"),
            "{}: {guarded:?}",
            bench.name
        );
    }
}

/// N = 1: signing in anywhere signs out everywhere else; again on the same device nobody goes.
///
/// Fails if: a login on a device that is listed already makes room for itself.
#[tokio::test]
async fn a_single_login_moves_from_device_to_device() {
    let settings = Settings {
        session: |builder| builder.max_devices(1, OnLimit::EvictOldest),
        ..Settings::default()
    };
    for bench in benches_with(&settings).await {
        let mut before = bench.one.sign_in("alice").await;
        let bob = bench.one.sign_in("bob").await;
        for _ in 0..4 {
            let tokens = bench.one.issue_for("alice", &before).await.unwrap();
            let again = before.browser.post("/login/alice").await;
            assert!(
                again.text.starts_with(&before.sid),
                "{}: the same device",
                bench.name
            );
            let tokens = bench.two.rotate(tokens.refresh()).await.unwrap();
            bench.advance(SECOND).await;
            let next = bench.two.sign_in("alice").await;
            assert!(!before.is_in(&bench.one).await, "{}", bench.name);
            let refused = bench.one.rotate(tokens.refresh()).await.unwrap_err();
            assert_eq!(refused, RefreshErrorKind::Elsewhere, "{}", bench.name);
            assert_eq!(bench.two.access(&tokens).await, 401, "{}", bench.name);
            assert!(next.is_in(&bench.one).await, "{}", bench.name);
            before = next;
        }
        assert!(bob.is_in(&bench.two).await, "{}: another user", bench.name);
    }
}

/// Refused is 409, and nobody is signed out by it; a logout makes room.
///
/// Fails if: somebody is evicted before the refusal; the refusal is another status.
#[tokio::test]
async fn a_login_too_many_is_refused_and_nobody_goes() {
    for bench in benches_with(&at_most_3_or_refuse()).await {
        let seats = [
            bench.one.sign_in("alice").await,
            bench.two.sign_in("alice").await,
        ];
        let pair = bench.one.issue("alice").await;
        for node in bench.nodes() {
            let login = Browser::new(&node.app).post("/login/alice").await;
            assert_eq!(login.status, 409, "{}", bench.name);
            assert!(login.set_cookies().is_empty());
            let error = node
                .rotation
                .issue(&RefreshLogin::new("alice"))
                .await
                .unwrap_err();
            assert_eq!(
                error.kind(),
                RefreshErrorKind::TooManyDevices,
                "{}",
                bench.name
            );
            assert_eq!(Rejection::from(error).kind(), RejectionKind::Conflict);
        }
        for seat in &seats {
            assert!(seat.is_in(&bench.one).await, "{}", bench.name);
            let again = seat.browser.post("/login/alice").await;
            assert_eq!(again.status, 200, "{}: on the same device", bench.name);
            bench.two.issue_for("alice", seat).await.unwrap();
        }
        bench.assert_alive(&pair).await;
        seats[0].browser.post("/logout").await;
        bench.two.sign_in("alice").await;
        assert_eq!(bench.one.sids("alice").await.len(), 3, "{}", bench.name);
    }
}

/// What is dead takes no place: expired, cut off, logged out; and cut-off devices are not evicted instead of a living one.
///
/// Fails if: the limit counts entries at or below the cutoff, or expired ones.
#[tokio::test]
async fn dead_devices_take_no_place() {
    for bench in benches_with(&at_most_3_or_refuse()).await {
        for round in ["expired", "cut", "tenantless everyone", "revoked", "logout"] {
            let mut seats = Vec::new();
            for _ in 0..3 {
                bench.advance(SECOND).await;
                seats.push(bench.one.sign_in("alice").await);
            }
            match round {
                "expired" => bench.advance(2 * 60 * MINUTE).await,
                "cut" => drop(bench.two.cutoffs.user("", "alice").await.unwrap()),
                "revoked" => drop(bench.two.devices.revoke_all("", "alice").await.unwrap()),
                "logout" => {
                    for seat in &seats {
                        seat.browser.post("/logout").await;
                    }
                }
                _ => drop(bench.two.cutoffs.everyone().await.unwrap()),
            }
            let mut pairs = Vec::new();
            for _ in 0..3 {
                pairs.push(bench.two.issue("alice").await);
            }
            let error = bench
                .two
                .rotation
                .issue(&RefreshLogin::new("alice"))
                .await
                .unwrap_err();
            assert_eq!(
                error.kind(),
                RefreshErrorKind::TooManyDevices,
                "{} {round}",
                bench.name
            );
            for pair in pairs {
                bench.assert_alive(&pair).await;
            }
            bench.one.devices.revoke_all("", "alice").await.unwrap();
        }
    }
}

/// A device whose login was long once and is short now does not take its place for as long as the first.
///
/// Fails if: the limit believes the expiry in the index, which is only ever raised.
#[tokio::test]
async fn a_shorter_login_on_the_same_device_does_not_hold_its_place() {
    for bench in benches_with(&at_most_3_or_refuse()).await {
        let mut pairs = Vec::new();
        for _ in 0..3 {
            let seat = bench.one.sign_in("alice").await;
            let pair = bench.one.issue_for("alice", &seat).await.unwrap();
            pairs.push((seat, pair));
        }
        // The family would have kept the device for two weeks, but it is gone, and the session is soon.
        if let Some(server) = &bench.server {
            for key in server.keys("portcullis:refresh:*").await {
                server.cli(&["DEL", &key]).await;
            }
            bench.advance(2 * 60 * MINUTE).await;
            for _ in 0..3 {
                bench.two.issue("alice").await;
            }
            assert_eq!(bench.one.sids("alice").await.len(), 3);
        }
    }
}

/// Fifty logins at once over two stores, sessions and families mixed, while a monitor counts: never one more than three,
/// and in the end exactly three of which the index, the sessions and the families know the same.
///
/// Fails if: the limit is read in one step and the login written in another, or counts sessions and families apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_parallel_logins_leave_exactly_three_devices() {
    for bench in [
        benches_with(&at_most_3()).await.into_iter().collect(),
        vec![proxied(&at_most_3()).await],
    ]
    .into_iter()
    .flatten()
    {
        let bench = Arc::new(bench);
        let done = Arc::new(AtomicBool::new(false));
        let monitor = tokio::spawn(watch(Arc::clone(&bench), Arc::clone(&done)));
        let mut logins = JoinSet::new();
        for index in 0..50 {
            let node = bench.nodes()[index % 2].clone();
            logins.spawn(async move {
                match index % 3 {
                    0 => (Some(node.sign_in("alice").await), None),
                    1 => (None, Some(node.issue("alice").await)),
                    _ => {
                        let seat = node.sign_in("alice").await;
                        // It may have been evicted meanwhile.
                        let pair = node.issue_for("alice", &seat).await.ok();
                        (Some(seat), pair)
                    }
                }
            });
        }
        let all = logins.join_all().await;
        done.store(true, Ordering::SeqCst);
        assert!(monitor.await.unwrap() > 0, "the monitor looked");
        let listed = bench.one.sids("alice").await;
        assert_eq!(listed.len(), 3, "{}", bench.name);
        let mut alive = std::collections::BTreeSet::new();
        for (seat, pair) in &all {
            let sid = seat
                .as_ref()
                .map_or_else(|| pair.as_ref().unwrap().sid(), |seat| &seat.sid);
            let session = match seat {
                Some(seat) => Some(seat.is_in(&bench.one).await),
                None => None,
            };
            let family = match pair {
                Some(pair) => Some(bench.two.rotate(pair.refresh()).await.is_ok()),
                None => None,
            };
            if let (Some(session), Some(family)) = (session, family) {
                assert_eq!(session, family, "{}: one device", bench.name);
            }
            if session == Some(true) || family == Some(true) {
                alive.insert(sid.to_owned());
            }
        }
        assert_eq!(alive, listed, "{}", bench.name);
    }
}

/// Counts devices until told to stop; how often it did.
async fn watch(bench: Arc<Bench>, done: Arc<AtomicBool>) -> usize {
    let mut looks = 0;
    while !done.load(Ordering::SeqCst) {
        let count = bench.nodes()[looks % 2].sids("alice").await.len();
        assert!(count <= 3, "{}: {count} devices", bench.name);
        if let Some(server) = &bench.server {
            let stored = living(server).await;
            assert!(stored <= 3, "{}: {stored} alive in the store", bench.name);
        }
        looks += 1;
        tokio::task::yield_now().await;
    }
    looks
}

/// How many devices live, counted in one step past the index: sids of sessions and families that are no marks.
pub async fn living(server: &crate::means::redis::RedisServer) -> usize {
    const COUNT: &str = r"
        local sids, count = {}, 0
        for _, key in ipairs(redis.call('KEYS', 'portcullis:session:*')) do
          local raw = redis.call('GET', key)
          if string.sub(raw, 1, 1) == '1' then
            sids[string.match(raw, '22:([%w_-]+)')] = true
          end
        end
        for _, key in ipairs(redis.call('KEYS', 'portcullis:refresh:*')) do
          if redis.call('HEXISTS', key, 'cur') == 1 then sids[string.match(key, '}:(.*)$')] = true end
        end
        for _ in pairs(sids) do count = count + 1 end
        return count";
    server.ask(&["EVAL", COUNT, "0"]).await
}

/// Nobody said how many devices there may be: a program that signs in again and again fills the index to its bound and no
/// further, and nobody else is refused.
///
/// Fails if: there is no default bound, it refuses, or the newest goes.
#[tokio::test]
async fn an_index_is_bounded_by_default() {
    const BOUND: usize = 1_000;
    for bench in benches_with(&Settings::default()).await {
        let first = bench.one.sign_in("alice").await;
        bench.advance(SECOND).await;
        for at in 0..BOUND + 20 {
            bench.nodes()[at % 2].issue("alice").await;
        }
        let sids = bench.two.sids("alice").await;
        assert_eq!(sids.len(), BOUND, "{}", bench.name);
        if let Some(server) = &bench.server {
            let keys = server.keys("portcullis:devices:*").await;
            assert_eq!(server.ask::<usize>(&["ZCARD", &keys[0]]).await, BOUND);
            assert_eq!(server.ask::<usize>(&["HLEN", &keys[1]]).await, BOUND);
        }
        assert!(!first.is_in(&bench.two).await, "{}: the oldest", bench.name);
        let last = bench.one.sign_in("alice").await;
        assert!(last.is_in(&bench.two).await, "{}", bench.name);
        assert_eq!(
            bench.one.devices.revoke_all("", "alice").await.unwrap(),
            BOUND as u64
        );
    }
}
