//! Refresh families that the database keeps.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use portcullis::{
    Clock, Store,
    cutoff::{AuthStart, Cutoffs},
    jwt::Issuer,
    refresh::{
        RefreshErrorKind, RefreshLogin, RefreshRequest, Rotation, RotationBuilder, TokenPair,
    },
    registry::{ActiveErrorKind, CutoffScope, NewLogin, Registry, Revocation},
};

use super::{Bench, Node, Seat, benches, mock::Mock};
use crate::{
    blacklist::issuer,
    means::redis::RedisServer,
    session::bench::{keys, memory},
};

impl Node {
    fn rotation(&self, set: impl FnOnce(RotationBuilder) -> RotationBuilder) -> Rotation {
        let issuer: Issuer = issuer(&self.clock);
        let builder = Rotation::builder(&self.store, &keys(), &issuer);
        set(builder).registry(&self.active).build().unwrap()
    }
}

fn seat(pair: &TokenPair) -> Seat {
    Seat {
        sid: pair.sid().to_owned(),
        token: pair.access().token().to_owned(),
    }
}

async fn rotate(rotation: &Rotation, token: &str) -> Result<TokenPair, RefreshErrorKind> {
    let rotated = rotation.rotate(token, RefreshRequest::new()).await;
    rotated.map_err(|error| error.kind())
}

/// Fails if: a family and its session are two things, a used token is taken again, or its second use ends less than all.
#[tokio::test]
async fn a_family_is_its_session_and_reuse_ends_both_everywhere() {
    let bench = Bench::of(memory().await);
    assert!(bench.one.active.ready().await && bench.two.active.ready().await);
    let (one, two) = (bench.one.rotation(|b| b), bench.two.rotation(|b| b));
    let first = one
        .issue(&RefreshLogin::new("alice").device("a phone"))
        .await
        .unwrap();
    assert_eq!(bench.two.status(&seat(&first)).await, 200);
    let devices = bench.one.active.list("", "alice", None).await.unwrap();
    assert_eq!((devices.len(), devices[0].name()), (1, Some("a phone")));
    let second = rotate(&two, first.refresh()).await.unwrap();
    let again = rotate(&one, first.refresh()).await.unwrap();
    assert_eq!(second.refresh(), again.refresh(), "within the grace time");
    let late = rotate(&one, second.refresh()).await.unwrap();
    assert_eq!(late.refresh(), second.refresh(), "a late tab");
    assert_eq!(bench.two.status(&seat(&second)).await, 200);
    bench.clock.advance(Duration::from_secs(11));
    let third = rotate(&two, second.refresh()).await.unwrap();
    assert_eq!(
        rotate(&one, first.refresh()).await.unwrap_err(),
        RefreshErrorKind::Reused
    );
    for pair in [&first, &second, &third] {
        assert_eq!(bench.one.status(&seat(pair)).await, 401);
        assert_eq!(bench.two.status(&seat(pair)).await, 401);
        assert_eq!(
            rotate(&two, pair.refresh()).await.unwrap_err(),
            RefreshErrorKind::Revoked
        );
    }
    assert!(
        bench
            .one
            .active
            .list("", "alice", None)
            .await
            .unwrap()
            .is_empty()
    );
    let session = bench.mock.session(first.sid());
    assert_eq!(session.ended.as_deref(), Some("reused"));
    assert!(!session.data.contains(third.refresh()) && !session.token.contains(third.refresh()));
}

/// Fails if: two of many parallel uses rotate, or the loser of the compare-and-set counts as a thief.
#[tokio::test]
async fn of_many_uses_at_once_one_rotates_and_all_get_the_same() {
    for bench in benches().await {
        let rotations = [bench.one.rotation(|b| b), bench.two.rotation(|b| b)];
        let first = rotations[0]
            .issue(&RefreshLogin::new("alice"))
            .await
            .unwrap();
        *bench.mock.slow.lock().unwrap() = Duration::from_millis(5);
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..12 {
            let (rotation, token) = (rotations[number % 2].clone(), first.refresh().to_owned());
            tasks.spawn(async move { rotate(&rotation, &token).await.unwrap() });
        }
        let pairs = tasks.join_all().await;
        assert!(
            pairs
                .iter()
                .all(|pair| pair.refresh() == pairs[0].refresh()),
            "{}",
            bench.name
        );
    }
}

/// Fails if: a refresh needs Redis, or a flush signs anybody out.
#[tokio::test]
async fn no_loss_of_redis_costs_a_login() {
    let mut server = RedisServer::start().await;
    let mock = Mock::new(&Clock::system());
    let node = Node::connect(&server.url(), &mock).await;
    let rotation = node.rotation(RotationBuilder::strict);
    let mut pair = rotation.issue(&RefreshLogin::new("alice")).await.unwrap();
    for what in ["flush", "kill", "back", "stop"] {
        match what {
            "flush" => drop(server.cli(&["FLUSHALL"]).await),
            "kill" => server.kill(),
            "back" => server.restart().await,
            _ => server.stop(),
        }
        pair = rotate(&rotation, pair.refresh()).await.unwrap();
        assert_eq!(node.status(&seat(&pair)).await, 200, "{what}");
    }
    // Ended without Redis: dead at once, for the layer and for the next refresh.
    rotation.revoke(pair.refresh()).await.unwrap();
    assert_eq!(node.status(&seat(&pair)).await, 401);
    assert_eq!(
        rotate(&rotation, pair.refresh()).await.unwrap_err(),
        RefreshErrorKind::Revoked
    );
    server.cont();
    // The database away: nobody knows, and nobody is signed out.
    let pair = rotation.issue(&RefreshLogin::new("bob")).await.unwrap();
    mock.down.store(true, SeqCst);
    assert_eq!(
        rotate(&rotation, pair.refresh()).await.unwrap_err(),
        RefreshErrorKind::Store
    );
    mock.down.store(false, SeqCst);
    rotate(&rotation, pair.refresh()).await.unwrap();
}

/// Fails if: limits, joined sessions or cutoffs are forgotten where the database keeps families.
#[tokio::test]
async fn limits_sessions_and_cutoffs_hold() {
    for bench in benches().await {
        let rotation = bench.one.rotation(|builder| builder.max_devices(1));
        let login = RefreshLogin::new("alice").client("web").scope("a b");
        let first = rotation.issue(&login).await.unwrap();
        let second = rotation.issue(&login).await.unwrap();
        let web = || RefreshRequest::new().client("web");
        let kind = async |token: &TokenPair, request: RefreshRequest<'_>| {
            rotation
                .rotate(token.refresh(), request)
                .await
                .map_err(|error| error.kind())
                .err()
        };
        assert_eq!(
            kind(&first, web()).await,
            Some(RefreshErrorKind::Elsewhere),
            "{}",
            bench.name
        );
        let other = RefreshRequest::new().client("app");
        assert_eq!(kind(&second, other).await, Some(RefreshErrorKind::Client));
        let more = web().scope("a c");
        assert_eq!(kind(&second, more).await, Some(RefreshErrorKind::Scope));
        assert_eq!(kind(&second, web().scope("a")).await, None);
        // On the device of a session that is there already.
        let signed = bench.one.sign_in("carol").await;
        let at = bench.mock.session(&signed.sid).auth_ms;
        let login = RefreshLogin::new("carol").of_session(&*signed.sid, at);
        let pair = rotation.issue(&login).await.unwrap();
        assert_eq!(pair.sid(), signed.sid);
        assert_eq!(kind(&pair, RefreshRequest::new()).await, None);
        let _ = bench.two.active.revoke_all("", "carol").await.unwrap();
        assert_eq!(
            kind(&pair, RefreshRequest::new()).await,
            Some(RefreshErrorKind::Revoked)
        );
        assert_eq!(
            rotation.issue(&login).await.unwrap_err().kind(),
            RefreshErrorKind::Revoked
        );
        let again = rotation.issue(&RefreshLogin::new("carol")).await.unwrap();
        assert_eq!(bench.two.status(&seat(&again)).await, 200);
        assert_eq!(rotation.revoke_all("", "carol").await.unwrap(), 1);
        assert_eq!(bench.two.status(&seat(&again)).await, 401);
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Both kinds of place answer alike, step by step.
///
/// Fails if: they decide differently about any token, or derive another successor.
#[tokio::test]
async fn store_and_database_decide_alike() {
    use std::hash::{BuildHasher, RandomState};
    let seed = RandomState::new().hash_one(0);
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    for round in 0..40 {
        let clock = Clock::settable(1_700_000_000_000 + round);
        let store = || Store::builder().clock(clock.clone()).memory();
        let mock = Mock::new(&clock);
        let node = Arc::new(Node::new(&store(), &mock, &clock));
        let settings = |builder: RotationBuilder| {
            let builder = builder.idle_timeout(Duration::from_secs(600));
            builder.absolute_timeout(Duration::from_secs(3_600))
        };
        let in_database = node.rotation(settings);
        let in_store = settings(Rotation::builder(&store(), &keys(), &issuer(&clock)));
        let in_store = in_store.build().unwrap();
        let login = RefreshLogin::new("alice").client("web").scope("a b");
        let mut known: Vec<[String; 2]> = Vec::new();
        for step in 0..60 {
            clock.advance(Duration::from_millis(match random.below(10) {
                0..6 => 1 + random.below(50),
                6..9 => random.below(15_000),
                _ => random.below(400_000),
            }));
            if known.is_empty() || random.below(15) == 0 {
                let pairs = [
                    in_store.issue(&login).await.unwrap(),
                    in_database.issue(&login).await.unwrap(),
                ];
                known.push(pairs.map(|pair| pair.refresh().to_owned()));
                continue;
            }
            // Mostly one of the last.
            let back = random.below(3.min(known.len() as u64)) as usize;
            let at = if random.below(8) == 0 {
                random.below(known.len() as u64) as usize
            } else {
                known.len() - 1 - back
            };
            let tokens = known[at].clone();
            if random.below(25) == 0 {
                in_store.revoke(&tokens[0]).await.unwrap();
                in_database.revoke(&tokens[1]).await.unwrap();
                continue;
            }
            let client = if random.below(12) == 0 { "app" } else { "web" };
            let scope = *["", "a", "b a", "c"]
                .get(random.below(20) as usize)
                .unwrap_or(&"");
            let request = RefreshRequest::new().client(client).scope(scope);
            let answers = [
                in_store.rotate(&tokens[0], request).await,
                in_database.rotate(&tokens[1], request).await,
            ];
            let when = format!("seed {seed:#x}, round {round}, step {step}");
            match &answers {
                [Ok(one), Ok(two)] => {
                    let place = |side: usize, token: &str| {
                        known.iter().position(|pair| pair[side] == token)
                    };
                    let places = [place(0, one.refresh()), place(1, two.refresh())];
                    assert_eq!(places[0], places[1], "{when}");
                    assert_eq!(one.scope(), two.scope(), "{when}");
                    assert_eq!(one.ends_ms(), two.ends_ms(), "{when}");
                    if places[0].is_none() {
                        known.push([one.refresh().to_owned(), two.refresh().to_owned()]);
                    }
                }
                [Err(one), Err(two)] => {
                    // The store has dropped what has expired, and cannot note its end any more.
                    let gone = [
                        RefreshErrorKind::Unknown,
                        RefreshErrorKind::Expired,
                        RefreshErrorKind::Revoked,
                    ];
                    let dropped = one.kind() == RefreshErrorKind::Unknown;
                    let alike = dropped && gone.contains(&two.kind());
                    assert!(
                        alike || one.kind() == two.kind(),
                        "{when}: {one:?}, {two:?}"
                    );
                }
                _ => panic!("{when}: {answers:?}"),
            }
        }
    }
}

/// Fails if: the moment at which a login began is compared with cutoffs of another clock: with Redis a minute ahead of the
/// database a password that was changed meanwhile would sign in, and with it a minute behind, or a cutoff that the database
/// was only told of, a login right after the change would be refused.
#[tokio::test]
async fn when_a_login_began_is_told_by_the_clock_of_each_cutoff() {
    const NOW: u64 = 1_700_000_000_000;
    for (redis, database) in [(NOW, NOW), (NOW + 60_000, NOW), (NOW, NOW + 60_000)] {
        let (redis, database) = (Clock::settable(redis), Clock::settable(database));
        let store = Store::builder().clock(redis.clone()).memory();
        let mock = Mock::new(&database);
        let node = Node::new(&store, &mock, &redis);
        assert!(node.active.ready().await);
        let rotation = node.rotation(|b| b);
        let tick = || {
            redis.advance(Duration::from_millis(7));
            database.advance(Duration::from_millis(7));
        };
        for raise in ["database", "by hand", "store"] {
            let first = rotation.issue(&RefreshLogin::new("alice")).await.unwrap();
            tick();
            let before = rotation.auth_start().await.unwrap();
            let text = serde_json::to_string(&before).unwrap();
            assert_eq!(
                serde_json::from_str::<AuthStart>(&text).unwrap(),
                before,
                "it can be kept"
            );
            tick();
            let scope = CutoffScope::User {
                tenant: String::new(),
                user: "alice".to_owned(),
            };
            match raise {
                "database" => {
                    let ended = node.active.revoke_all("", "alice").await.unwrap();
                    assert_eq!(ended, Revocation::Everywhere);
                }
                "by hand" => drop(mock.put_cutoff(&scope, None).await.unwrap()),
                _ => drop(Cutoffs::new(&store).user("", "alice").await.unwrap()),
            }
            tick();
            let stale = RefreshLogin::new("alice").not_before(before);
            let refused = rotation.issue(&stale).await.unwrap_err().kind();
            assert_eq!(refused, RefreshErrorKind::Outdated, "{raise}");
            let stale = NewLogin::new("alice").not_before(before);
            let refused = node.active.create(&stale).await.unwrap_err().kind();
            assert_eq!(refused, ActiveErrorKind::Cut, "{raise}");
            let after = rotation.auth_start().await.unwrap();
            let fresh = RefreshLogin::new("alice").not_before(after);
            let second = rotation.issue(&fresh).await.unwrap();
            assert_eq!(node.status(&seat(&second)).await, 200, "{raise}");
            let _ = node.active.revoke(first.sid()).await.unwrap();
            let _ = node.active.revoke(second.sid()).await.unwrap();
        }
        let elsewhere = Cutoffs::new(&store).auth_start().await.unwrap();
        let unknown = RefreshLogin::new("alice").not_before(elsewhere);
        let refused = rotation.issue(&unknown).await.unwrap_err().kind();
        assert_eq!(refused, RefreshErrorKind::Invalid);
    }
}

/// Fails if: a login over a registry needs Redis to say when it began.
#[tokio::test]
async fn a_login_that_says_when_it_began_works_while_redis_is_away() {
    let server = RedisServer::start().await;
    let mock = Mock::new(&Clock::system());
    let node = Node::connect(&server.url(), &mock).await;
    let rotation = node.rotation(|b| b);
    server.kill();
    let began = rotation.auth_start().await.unwrap();
    let login = RefreshLogin::new("alice").not_before(began);
    let pair = rotation.issue(&login).await.unwrap();
    assert_eq!(node.status(&seat(&pair)).await, 200);
    let _ = node.active.revoke_all("", "alice").await.unwrap();
    let late = rotation.issue(&login).await.unwrap_err().kind();
    assert_eq!(late, RefreshErrorKind::Outdated);
}

/// Fails if: whoever holds a refresh token from before there was a registry has to sign in again, its uses at once end its
/// login, its family moves without what ends it, or a revocation in the database is undone by what Redis still holds.
#[tokio::test]
async fn families_of_redis_move_to_the_database_with_their_next_use() {
    for bench in benches().await {
        let issuer: Issuer = issuer(&bench.clock);
        let before = Rotation::new(&bench.one.store, &keys(), &issuer).unwrap();
        let login = |user| RefreshLogin::new(user).client("web").device("a phone");
        let old = before.issue(&login("alice")).await.unwrap();
        assert_eq!(bench.one.status(&seat(&old)).await, 401, "no session yet");
        let rotations = [bench.one.rotation(|b| b), bench.two.rotation(|b| b)];
        let by_web = || RefreshRequest::new().client("web");
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..8 {
            let (rotation, old) = (rotations[number % 2].clone(), old.refresh().to_owned());
            tasks.spawn(async move {
                let by_web = RefreshRequest::new().client("web");
                rotation.rotate(&old, by_web).await.unwrap()
            });
        }
        let pairs = tasks.join_all().await;
        let next = &pairs[0];
        assert!(pairs.iter().all(|pair| pair.refresh() == next.refresh()));
        assert_eq!(next.sid(), old.sid());
        assert_eq!(bench.one.status(&seat(next)).await, 200, "{}", bench.name);
        assert_eq!(bench.two.status(&seat(next)).await, 200);
        assert!(next.ends_ms() <= old.ends_ms() + 5_000);
        let devices = bench.one.active.list("", "alice", None).await.unwrap();
        assert_eq!((devices.len(), devices[0].name()), (1, Some("a phone")));
        // From here on Redis may forget.
        let third = rotations[1].rotate(next.refresh(), by_web()).await.unwrap();
        if let Some(server) = &bench.server {
            server.cli(&["FLUSHALL"]).await;
        }
        rotations[0]
            .rotate(third.refresh(), by_web())
            .await
            .unwrap();

        let stays = before.issue(&login("bob")).await.unwrap();
        let wrong = RefreshRequest::new().client("other");
        let refused = rotations[0]
            .rotate(stays.refresh(), wrong)
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), RefreshErrorKind::Client);
        let moved = rotations[0]
            .rotate(stays.refresh(), by_web())
            .await
            .unwrap();
        let _ = bench.one.active.revoke(moved.sid()).await.unwrap();
        for token in [stays.refresh(), moved.refresh()] {
            let refused = rotations[1].rotate(token, by_web()).await.unwrap_err();
            assert_eq!(refused.kind(), RefreshErrorKind::Revoked);
        }
        let cut = before.issue(&login("carol")).await.unwrap();
        let _ = bench.one.active.revoke_all("", "carol").await.unwrap();
        let refused = rotations[0]
            .rotate(cut.refresh(), by_web())
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), RefreshErrorKind::Revoked);
        assert_eq!(bench.two.status(&seat(&cut)).await, 401);
    }
}

/// Fails if: of two uses at once of such a token the one that looked before the other wrote is told that there is no such
/// family, which ends a login.
#[tokio::test]
async fn who_looked_before_a_family_moved_is_given_the_same() {
    let bench = Bench::of(memory().await);
    assert!(bench.one.active.ready().await && bench.two.active.ready().await);
    let issuer: Issuer = issuer(&bench.clock);
    let before = Rotation::new(&bench.one.store, &keys(), &issuer).unwrap();
    let old = before.issue(&RefreshLogin::new("alice")).await.unwrap();
    let (slow, quick) = (bench.one.rotation(|b| b), bench.two.rotation(|b| b));
    let stop = bench.mock.stop_at(super::mock::Point::AfterFind);
    let token = old.refresh().to_owned();
    let late = tokio::spawn(async move { rotate(&slow, &token).await });
    stop.reached().await;
    let first = rotate(&quick, old.refresh()).await.unwrap();
    stop.resume();
    let second = late.await.unwrap().unwrap();
    assert_eq!(first.refresh(), second.refresh());
}
