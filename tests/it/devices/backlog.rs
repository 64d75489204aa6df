//! Nothing leaks when logins expire: whatever the index holds goes when it is next written, and with its last member.

use portcullis::session::OnLimit;

use crate::refresh::kit::{Bench, DAY, MINUTE, Settings, benches_with};

/// One key for all users: the latest moment of authentication ever handed out.
const LATEST: &str = "portcullis:cutoff:latest";

/// Expired entries, as if that many devices had signed in long ago.
const FILL: &str = r"
for from = 1, tonumber(ARGV[1]), 1000 do
  local members, metas = {}, {}
  for i = from, from + 999 do
    members[#members + 1], members[#members + 2] = i, 'device' .. i
    metas[#metas + 1], metas[#metas + 2] = 'device' .. i, string.rep('.', 43) .. string.format('%015.0f', i) .. '{}'
  end
  redis.call('ZADD', KEYS[1], unpack(members))
  redis.call('HSET', KEYS[2], unpack(metas))
end
return redis.call('ZCARD', KEYS[1])";

async fn fill(bench: &Bench, count: u64) -> [String; 2] {
    let server = bench.server.as_ref().unwrap();
    let keys = server.keys("portcullis:devices:*").await;
    let [zset, meta] = &keys[..] else {
        panic!("one index: {keys:?}");
    };
    let filled: u64 = server
        .ask(&["EVAL", FILL, "2", zset, meta, &count.to_string()])
        .await;
    assert!(filled > count);
    [zset.clone(), meta.clone()]
}

fn refusing() -> Settings {
    Settings {
        rotation: |builder| builder.max_devices_or_refuse(2),
        session: |builder| builder.max_devices(2, OnLimit::Refuse),
        ..Settings::default()
    }
}

/// A hundred thousand expired devices: each write drops a bounded part of them, none of them is listed, counted or kept,
/// and in the end there is no key.
///
/// Fails if: `index_trim` is left out, or unbounded; expired entries that are still there count as devices; the keys of the
/// index have no expiry.
#[tokio::test]
async fn a_hundred_thousand_expired_devices_leave_nothing_behind() {
    let [_, bench] = benches_with(&refusing()).await;
    let server = bench.server.as_ref().unwrap();
    bench.one.sign_in("alice").await;
    let [zset, meta] = fill(&bench, 100_000).await;
    let second = bench.two.issue("alice").await;
    let left: u64 = server.ask(&["ZCARD", &zset]).await;
    assert!(left > 2, "one write does not do all of it: {left}");
    assert_eq!(bench.one.sids("alice").await.len(), 2);
    let refused = bench
        .one
        .rotation
        .issue(&portcullis::refresh::RefreshLogin::new("alice"))
        .await;
    assert!(refused.is_err(), "two are alive");
    for _ in 0..40 {
        bench.one.devices.list("", "alice", None).await.unwrap();
    }
    assert_eq!(server.ask::<u64>(&["ZCARD", &zset]).await, 2);
    assert_eq!(server.ask::<u64>(&["HLEN", &meta]).await, 2);
    for key in [&zset, &meta] {
        let left: u64 = server.ask(&["PTTL", key]).await;
        assert!(
            (13 * DAY..=14 * DAY).contains(&left),
            "{left}: as long as the longest"
        );
    }
    bench.assert_alive(&second).await;
    bench.advance(14 * DAY + MINUTE).await;
    assert_eq!(server.keys("*").await, [LATEST]);
}

/// Nobody looks, and it goes all the same: the keys expire with their last member.
///
/// Fails if: the index has no expiry of its own, or one that is not raised with its members.
#[tokio::test]
async fn an_index_that_nobody_asks_about_expires_by_itself() {
    for bench in benches_with(&Settings::default()).await {
        for user in ["alice", "bob"] {
            let seat = bench.one.sign_in(user).await;
            let pair = bench.one.issue_for(user, &seat).await.unwrap();
            bench.one.sign_in(user).await;
            bench.advance(MINUTE).await;
            bench.two.rotate(pair.refresh()).await.unwrap();
        }
        if let Some(server) = &bench.server {
            for key in server.keys("*").await {
                assert!(server.ask::<i64>(&["PTTL", &key]).await > 0, "{key}");
            }
            bench.advance(14 * DAY + MINUTE).await;
            assert_eq!(server.keys("*").await, [LATEST]);
        }
    }
}

/// Each call drops a bounded part of the backlog, and does what it is for all the same. (50 000 entries took the server
/// about 30 ms; a store waits 250 ms by default.)
///
/// Fails if: a call drops everything there is to drop, or sees the expired.
#[tokio::test]
async fn a_call_drops_a_bounded_part_of_a_huge_backlog() {
    const BACKLOG: u64 = 120_000;
    const MOST: u64 = 50_000;
    let [_, bench] = benches_with(&Settings::default()).await;
    let seat = bench.one.sign_in("alice").await;
    let pair = bench.one.issue_for("alice", &seat).await.unwrap();
    for what in [
        "list", "revoke", "rotate", "others", "login", "issue", "all",
    ] {
        let [zset, _] = fill(&bench, BACKLOG).await;
        match what {
            "list" => assert_eq!(bench.one.sids("alice").await.len(), 1),
            "revoke" => drop(bench.one.devices.revoke("", "alice", "x").await.unwrap()),
            "rotate" => drop(bench.one.rotate(pair.refresh()).await.unwrap()),
            "others" => {
                let ended = bench
                    .one
                    .devices
                    .revoke_others("", "alice", &seat.sid)
                    .await;
                assert_eq!(ended.unwrap(), 0);
            }
            "login" => drop(bench.one.sign_in("alice").await),
            "issue" => drop(bench.one.issue("alice").await),
            _ => assert_eq!(bench.one.devices.revoke_all("", "alice").await.unwrap(), 3),
        }
        let left: u64 = bench.server.as_ref().unwrap().ask(&["ZCARD", &zset]).await;
        assert!(left >= BACKLOG - MOST, "{what}: {left}");
    }
}
