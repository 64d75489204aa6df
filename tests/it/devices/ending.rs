//! Ending one device, the others, all: sessions, refresh tokens and access tokens alike, on every node, before the call
//! returns.

use std::collections::BTreeSet;

use portcullis::refresh::{RefreshErrorKind, TokenPair};

use crate::refresh::kit::{Bench, DAY, MINUTE, Seat, Settings, benches, proxied};

/// A device with a session and tokens, one with a session alone, one with tokens alone.
struct Three {
    both: (Seat, TokenPair),
    seat: Seat,
    pair: TokenPair,
}

impl Three {
    async fn of(bench: &Bench, user: &str) -> Self {
        let first = bench.one.sign_in(user).await;
        let of_first = bench.two.issue_for(user, &first).await.unwrap();
        Self {
            both: (first, of_first),
            seat: bench.two.sign_in(user).await,
            pair: bench.one.issue(user).await,
        }
    }

    fn sids(&self) -> BTreeSet<String> {
        [&self.both.0.sid, &self.seat.sid, self.pair.sid()]
            .map(str::to_owned)
            .into()
    }

    /// Which of them live: session and tokens of the first agree.
    async fn alive(&mut self, bench: &Bench) -> [bool; 3] {
        let mut families = [false; 2];
        for (alive, pair) in families.iter_mut().zip([&mut self.both.1, &mut self.pair]) {
            match bench.two.rotate(pair.refresh()).await {
                Ok(next) => {
                    assert_eq!(bench.one.access(&next).await, 200, "{}", bench.name);
                    (*alive, *pair) = (true, next);
                }
                Err(kind) => {
                    assert_eq!(kind, RefreshErrorKind::Revoked, "{}", bench.name);
                    bench.assert_dead(pair).await;
                }
            }
        }
        for node in bench.nodes() {
            let is_in = self.both.0.is_in(node).await;
            assert_eq!(is_in, families[0], "{}: one device", bench.name);
        }
        [families[0], self.seat.is_in(&bench.one).await, families[1]]
    }
}

/// R26, R107: one device ends, whichever kind it is, and the others stay. Again is harmless, and of another user nothing
/// happens, to access tokens either.
///
/// Fails if: devices.lua denies a sid that is not listed for the user; `kill` leaves out the session, the family or the
/// denied sid.
#[tokio::test]
async fn revoking_one_device_ends_all_of_it_and_nothing_else() {
    for ended in 0..3 {
        for bench in benches().await {
            let (mut alice, mut bob) = (
                Three::of(&bench, "alice").await,
                Three::of(&bench, "bob").await,
            );
            let sids = [&alice.both.0.sid, &alice.seat.sid, alice.pair.sid()].map(str::to_owned);
            let old_tokens = [alice.both.1.clone(), alice.pair.clone()];
            for sid in &sids {
                assert!(!bench.two.devices.revoke("", "bob", sid).await.unwrap());
                assert!(
                    !bench
                        .two
                        .devices
                        .revoke("acme", "alice", sid)
                        .await
                        .unwrap()
                );
            }
            assert_eq!(alice.alive(&bench).await, [true; 3], "{}", bench.name);
            for pair in &old_tokens {
                assert_eq!(bench.one.access(pair).await, 200, "{}", bench.name);
            }
            assert!(
                bench
                    .two
                    .devices
                    .revoke("", "alice", &sids[ended])
                    .await
                    .unwrap()
            );
            assert!(
                !bench
                    .one
                    .devices
                    .revoke("", "alice", &sids[ended])
                    .await
                    .unwrap()
            );
            let mut expected = [true; 3];
            expected[ended] = false;
            assert_eq!(alice.alive(&bench).await, expected, "{}", bench.name);
            assert_eq!(bob.alive(&bench).await, [true; 3], "{}", bench.name);
            let left: BTreeSet<_> = sids
                .iter()
                .filter(|sid| **sid != sids[ended])
                .cloned()
                .collect();
            assert_eq!(bench.one.sids("alice").await, left, "{}", bench.name);
            assert_eq!(bench.two.sids("bob").await, bob.sids());
        }
    }
}

/// Hashes under which sessions are stored begin with any letter: each session that is ended is dead.
///
/// Fails if: what stands for "no session" in the index can be the beginning of a hash (it once was '-': one session in 64
/// outlived its revocation).
#[tokio::test]
async fn every_session_that_is_revoked_is_dead() {
    for bench in benches().await {
        for round in 0..400 {
            let user = format!("user{round}");
            let seat = bench.one.sign_in(&user).await;
            assert_eq!(
                bench.one.sids(&user).await.len(),
                1,
                "{} {round}",
                bench.name
            );
            if round % 2 == 0 {
                bench
                    .two
                    .devices
                    .revoke("", &user, &seat.sid)
                    .await
                    .unwrap();
            } else {
                bench
                    .two
                    .devices
                    .revoke_others("", &user, &seat.sid)
                    .await
                    .unwrap();
                assert!(seat.is_in(&bench.two).await, "{} {round}", bench.name);
                bench.two.devices.revoke_all("", &user).await.unwrap();
            }
            assert!(!seat.is_in(&bench.two).await, "{} {round}", bench.name);
        }
    }
}

/// R23: the others end, the current one stays, session and tokens; access tokens it holds end, and new ones come by
/// refresh. Nothing that was under way brings an ended one back, and the next "log out everywhere" ends this one too.
///
/// Fails if: 'others' leaves the current session or family below the cutoff, or the moment ahead unwritten.
#[tokio::test]
async fn revoking_the_others_keeps_the_current_device() {
    for kept in 0..3 {
        for bench in benches().await {
            let (mut alice, mut bob) = (
                Three::of(&bench, "alice").await,
                Three::of(&bench, "bob").await,
            );
            let sids = [&alice.both.0.sid, &alice.seat.sid, alice.pair.sid()].map(str::to_owned);
            let old_tokens = [alice.both.1.clone(), alice.pair.clone()];
            let ended = bench
                .two
                .devices
                .revoke_others("", "alice", &sids[kept])
                .await;
            assert_eq!(ended.unwrap(), 2, "{}", bench.name);
            for pair in &old_tokens {
                assert_eq!(bench.one.access(pair).await, 401, "{}", bench.name);
            }
            let mut expected = [false; 3];
            expected[kept] = true;
            assert_eq!(alice.alive(&bench).await, expected, "{}", bench.name);
            bench.advance(MINUTE).await;
            assert_eq!(alice.alive(&bench).await, expected, "{}", bench.name);
            assert_eq!(bench.one.sids("alice").await, [sids[kept].clone()].into());
            assert_eq!(bob.alive(&bench).await, [true; 3], "{}", bench.name);
            // It gets a new id.
            let seat = [&alice.both.0, &alice.seat][kept % 2].clone();
            if kept < 2 {
                let before = seat.browser.copy_at(&bench.one.app);
                assert_eq!(seat.browser.post("/renew").await.status, 200);
                assert_eq!(before.get("/me").await.status, 401, "{}", bench.name);
                assert!(seat.is_in(&bench.two).await, "{}", bench.name);
            }
            bench.two.cutoffs.everyone().await.unwrap();
            assert_eq!(alice.alive(&bench).await, [false; 3], "{}", bench.name);
        }
    }
}

/// R23: a current device that nobody knows keeps nothing alive.
///
/// Fails if: the moment of authentication of any session or family moves that is not listed for the user.
#[tokio::test]
async fn revoking_the_others_of_an_unknown_device_ends_all() {
    for bench in benches().await {
        let (mut alice, mut bob) = (
            Three::of(&bench, "alice").await,
            Three::of(&bench, "bob").await,
        );
        let ended = bench
            .one
            .devices
            .revoke_others("", "alice", &bob.seat.sid)
            .await
            .unwrap();
        assert_eq!(ended, 3, "{}", bench.name);
        assert_eq!(alice.alive(&bench).await, [false; 3], "{}", bench.name);
        assert_eq!(bob.alive(&bench).await, [true; 3], "{}", bench.name);
    }
}

/// R22: all of it, and a login in the same millisecond works: the in-memory clock stands still.
///
/// Fails if: login.lua or issue.lua takes the time alone for the moment of authentication; `kill` is left out for any.
#[tokio::test]
async fn revoking_all_ends_all_and_a_login_right_after_works() {
    for bench in benches().await {
        let mut bob = Three::of(&bench, "bob").await;
        for round in 0..4 {
            let mut alice = Three::of(&bench, "alice").await;
            assert_eq!(
                alice.alive(&bench).await,
                [true; 3],
                "{} {round}",
                bench.name
            );
            assert_eq!(bench.one.sids("alice").await, alice.sids());
            let ended = bench.two.devices.revoke_all("", "alice").await.unwrap();
            assert_eq!(ended, 3, "{}", bench.name);
            assert_eq!(
                alice.alive(&bench).await,
                [false; 3],
                "{} {round}",
                bench.name
            );
            assert!(bench.one.sids("alice").await.is_empty());
            assert_eq!(bench.two.devices.revoke_all("", "alice").await.unwrap(), 0);
        }
        assert_eq!(bob.alive(&bench).await, [true; 3], "{}", bench.name);
    }
}

/// A login whose tokens somebody denied for longer, or for good, stays denied for as long.
///
/// Fails if: `kill` sets the entry without looking at how long it lasts.
#[tokio::test]
async fn ending_a_device_does_not_shorten_an_earlier_denial() {
    for bench in benches().await {
        let pair = bench.one.issue("alice").await;
        let blacklist = portcullis::blacklist::Blacklist::new(&bench.two.store);
        blacklist.revoke_session(pair.sid()).await.unwrap();
        bench
            .one
            .devices
            .revoke("", "alice", pair.sid())
            .await
            .unwrap();
        if let Some(server) = &bench.server {
            let key = format!("jwt:blacklist-sid:{}", pair.sid());
            assert!(server.ask::<u64>(&["PTTL", &key]).await > 80 * DAY);
            let other = bench.one.issue("alice").await;
            let key = format!("jwt:blacklist-sid:{}", other.sid());
            server.cli(&["SET", &key, "for good"]).await;
            bench.one.devices.revoke_all("", "alice").await.unwrap();
            assert_eq!(server.ask::<i64>(&["PTTL", &key]).await, -1);
        } else {
            bench.advance(2 * 60 * MINUTE).await;
            let grant = portcullis::jwt::Grant::user("alice").sid(pair.sid());
            let later = crate::refresh::kit::issuer(&bench.clock)
                .mint(&grant)
                .unwrap();
            assert_eq!(bench.two.bearer(later.token()).await.0, 401);
        }
    }
}

/// R91: the cutoffs of "all" and of "others", and the latest moment, outlive everything that they end.
///
/// Fails if: they are kept for the life of a session, or of an access token.
#[tokio::test]
async fn a_cutoff_is_kept_as_long_as_anything_that_it_ends() {
    let [_, bench] = benches().await;
    let server = bench.server.as_ref().unwrap();
    let seat = bench.one.sign_in("alice").await;
    bench
        .one
        .devices
        .revoke_others("", "alice", &seat.sid)
        .await
        .unwrap();
    bench.one.devices.revoke_all("", "bob").await.unwrap();
    bench.one.cutoffs.everyone().await.unwrap();
    bench.one.cutoffs.tenant("acme").await.unwrap();
    let keys = server.keys("portcullis:cutoff*").await;
    assert_eq!(keys.len(), 6, "{keys:?}");
    for key in keys {
        let left: u64 = server.ask(&["PTTL", &key]).await;
        assert!(left > 90 * DAY - MINUTE, "{key}: {left}");
    }
}

/// The budget: each of them is one trip, whatever there is to end.
///
/// Fails if: anything is read first, or ended by a command of its own.
#[tokio::test]
async fn each_is_one_trip() {
    let bench = proxied(&Settings::default()).await;
    for _ in 0..2 {
        let alice = Three::of(&bench, "alice").await;
        let (proxy, devices) = (bench.proxy(), &bench.one.devices);
        assert_eq!(proxy.turns_of(devices.list("", "alice", None)).await.0, 1);
        assert_eq!(
            proxy
                .turns_of(devices.revoke("", "alice", alice.pair.sid()))
                .await
                .0,
            1
        );
        assert_eq!(
            proxy
                .turns_of(devices.revoke_others("", "alice", &alice.seat.sid))
                .await
                .0,
            1
        );
        let seat = alice.seat.browser.copy_at(&bench.one.app);
        let logout = proxy.turns_of(seat.post("/logout")).await;
        assert_eq!((logout.0, logout.1.status.as_u16()), (1, 200), "logout");
        Three::of(&bench, "alice").await;
        assert_eq!(proxy.turns_of(devices.revoke_all("", "alice")).await.0, 1);
    }
}
