//! "Log out everywhere" while refreshes and logins are under way, in every order: an operation is held back before it
//! reaches the store, the other runs to its end, then the first goes on. (R22, R105, Keycloak #51312)

use portcullis::refresh::{RefreshErrorKind, RefreshLogin, TokenPair};

use super::kit::{Bench, MINUTE, Node, Seat, Settings, benches, benches_with};
use crate::session::bench::hold;

/// What ends all of alice's logins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    RevokeAll,
    User,
    Everyone,
}

const ENDS: [End; 3] = [End::RevokeAll, End::User, End::Everyone];

impl End {
    async fn on(self, node: &Node) {
        match self {
            Self::RevokeAll => drop(node.rotation.revoke_all("", "alice").await.unwrap()),
            Self::User => drop(node.cutoffs.user("", "alice").await.unwrap()),
            Self::Everyone => drop(node.cutoffs.everyone().await.unwrap()),
        }
    }

    /// What the store is asked.
    fn operation(self) -> &'static str {
        match self {
            Self::RevokeAll => "device.devices",
            Self::User | Self::Everyone => "cutoff.raise",
        }
    }
}

/// Nothing of before lives, and a login now works: session and tokens.
async fn assert_new_start(bench: &Bench, dead: &[&TokenPair], seat: Option<&Seat>, what: &str) {
    for pair in dead {
        bench.assert_dead(pair).await;
    }
    if let Some(seat) = seat {
        assert!(!seat.is_in(&bench.one).await, "{} {what}", bench.name);
    }
    let anew = bench.two.sign_in("alice").await;
    assert!(anew.is_in(&bench.one).await, "{} {what}", bench.name);
    let pair = bench.one.issue_for("alice", &anew).await;
    let pair = pair.unwrap_or_else(|kind| panic!("{} {what}: {kind:?}", bench.name));
    assert_eq!(bench.two.access(&pair).await, 200, "{} {what}", bench.name);
    let bare = bench.two.issue("alice").await;
    bench.assert_alive(&pair).await;
    bench.assert_alive(&bare).await;
}

/// R22, R105: the end is raised on one node while a refresh is on its way at the other.
///
/// Fails if: rotate.lua reads no cutoffs, or reads them before it is asked; a family marked as ended is rotated.
#[tokio::test]
async fn a_refresh_that_was_under_way_gets_nothing() {
    for end in ENDS {
        for bench in benches().await {
            let seat = bench.one.sign_in("alice").await;
            let first = bench.one.issue_for("alice", &seat).await.unwrap();
            let held = hold(&bench.one.store, "refresh.rotate");
            let (node, token) = (bench.one.clone(), first.refresh().to_owned());
            let refresh = tokio::spawn(async move { node.rotate(&token).await });
            held.reached().await;
            end.on(&bench.two).await;
            held.resume();
            let refused = refresh.await.unwrap().unwrap_err();
            assert_eq!(refused, RefreshErrorKind::Revoked, "{} {end:?}", bench.name);
            assert_new_start(&bench, &[&first], Some(&seat), &format!("{end:?}")).await;
        }
    }
}

/// The other way round: the end is on its way, the refresh overtakes it, and what it got is dead as well.
///
/// Fails if: a rotation takes a new moment of authentication, or the access token carries that of its minting.
#[tokio::test]
async fn a_refresh_that_overtakes_the_end_is_ended_with_it() {
    for end in ENDS {
        for bench in benches().await {
            let seat = bench.one.sign_in("alice").await;
            let first = bench.one.issue_for("alice", &seat).await.unwrap();
            let held = hold(&bench.two.store, end.operation());
            let node = bench.two.clone();
            let raising = tokio::spawn(async move { end.on(&node).await });
            held.reached().await;
            let next = bench.one.rotate(first.refresh()).await.unwrap();
            held.resume();
            raising.await.unwrap();
            assert_new_start(&bench, &[&first, &next], Some(&seat), &format!("{end:?}")).await;
        }
    }
}

/// Tokens are asked for on the device of a session, and the end comes first: the session is dead, so there are none.
///
/// Fails if: issue.lua takes the session's word for when its user authenticated, without the cutoffs.
#[tokio::test]
async fn tokens_for_a_session_that_is_cut_off_meanwhile_are_not_issued() {
    for end in ENDS {
        for bench in benches().await {
            let seat = bench.one.sign_in("alice").await;
            let held = hold(&bench.one.store, "refresh.issue");
            let (node, copy) = (bench.one.clone(), seat.clone());
            let issue = tokio::spawn(async move { node.issue_for("alice", &copy).await });
            held.reached().await;
            end.on(&bench.two).await;
            held.resume();
            let refused = issue.await.unwrap().unwrap_err();
            assert_eq!(refused, RefreshErrorKind::Revoked, "{} {end:?}", bench.name);
            assert_new_start(&bench, &[], Some(&seat), &format!("{end:?}")).await;
        }
    }
}

/// The same with what ends one device: a logout, its revocation, reuse, another login that takes its place. A family that
/// came too late would outlive the denial of its access tokens.
///
/// Fails if: issue.lua does not look whether the device of the session is still listed.
#[tokio::test]
async fn tokens_for_a_session_that_ended_meanwhile_are_not_issued() {
    let settings = Settings {
        rotation: |builder| builder.max_devices(2),
        session: |builder| builder.max_devices(2, portcullis::session::OnLimit::EvictOldest),
        ..Settings::default()
    };
    for how in ["logout", "revoke", "others", "reuse", "evict", "next user"] {
        for bench in benches_with(&settings).await {
            let seat = bench.one.sign_in("alice").await;
            bench.advance(1_000).await;
            let used = bench.one.issue_for("alice", &seat).await.unwrap();
            bench.two.rotate(used.refresh()).await.unwrap();
            bench.advance(MINUTE).await;
            let other = bench.two.sign_in("alice").await;
            let held = hold(&bench.one.store, "refresh.issue");
            let (node, copy) = (bench.one.clone(), seat.clone());
            let auth_ms = match &bench.server {
                Some(_) => seat.auth_ms - MINUTE - 1_000,
                None => seat.auth_ms,
            };
            let issue = tokio::spawn(async move {
                let login = RefreshLogin::new("alice").of_session(&copy.sid, auth_ms);
                node.rotation
                    .issue(&login)
                    .await
                    .map_err(|error| error.kind())
            });
            held.reached().await;
            let tab = seat.browser.copy_at(&bench.two.app);
            match how {
                "logout" => drop(tab.post("/logout").await),
                "revoke" => assert!(
                    bench
                        .two
                        .devices
                        .revoke("", "alice", &seat.sid)
                        .await
                        .unwrap()
                ),
                "others" => drop(
                    bench
                        .two
                        .devices
                        .revoke_others("", "alice", &other.sid)
                        .await,
                ),
                "reuse" => drop(bench.two.rotate(used.refresh()).await.unwrap_err()),
                "evict" => drop(bench.two.sign_in("alice").await),
                _ => drop(tab.post("/login/bob").await),
            }
            held.resume();
            let refused = issue.await.unwrap().err();
            assert_eq!(
                refused,
                Some(RefreshErrorKind::Revoked),
                "{} {how}",
                bench.name
            );
            // In a day, when no denial of the device's access tokens is left, nothing has come back.
            bench.advance(24 * 60 * MINUTE).await;
            assert!(
                !bench.one.sids("alice").await.contains(&seat.sid),
                "{} {how}",
                bench.name
            );
        }
    }
}

/// A login under way when everything is ended: it comes after it, and works.
///
/// Fails if: login.lua or issue.lua takes the time alone for the moment of authentication.
#[tokio::test]
async fn a_login_that_comes_after_the_end_works() {
    for end in ENDS {
        for (bench, operation) in benches().await.into_iter().zip(["session.login"; 2]) {
            let before = bench.one.issue("alice").await;
            let held = hold(&bench.one.store, operation);
            let node = bench.one.clone();
            let login = tokio::spawn(async move { node.sign_in("alice").await });
            held.reached().await;
            end.on(&bench.two).await;
            held.resume();
            let seat = login.await.unwrap();
            assert!(seat.is_in(&bench.two).await, "{} {end:?}", bench.name);
            let held = hold(&bench.one.store, "refresh.issue");
            let node = bench.one.clone();
            let issue = tokio::spawn(async move { node.issue("alice").await });
            held.reached().await;
            end.on(&bench.two).await;
            held.resume();
            let pair = issue.await.unwrap();
            bench.assert_alive(&pair).await;
            assert_new_start(&bench, &[&before], Some(&seat), &format!("{end:?}")).await;
        }
    }
}

/// A login that overtakes the end is ended with it.
///
/// Fails if: the cutoff is a time that the caller's node read when it was asked, or ignores logins ahead of the clock.
#[tokio::test]
async fn a_login_that_overtakes_the_end_is_ended_with_it() {
    for end in ENDS {
        for bench in benches().await {
            for _ in 0..3 {
                let held = hold(&bench.two.store, end.operation());
                let node = bench.two.clone();
                let raising = tokio::spawn(async move { end.on(&node).await });
                held.reached().await;
                let seat = bench.one.sign_in("alice").await;
                let pair = bench.one.issue_for("alice", &seat).await.unwrap();
                let bare = bench.one.issue("alice").await;
                held.resume();
                raising.await.unwrap();
                // The clock of the memory stands still: each round runs one more millisecond ahead of it.
                let what = format!("{end:?}");
                assert_new_start(&bench, &[&pair, &bare], Some(&seat), &what).await;
            }
        }
    }
}

/// "Log out my other devices" from a device that was itself signed out while the request was under way: it does not come
/// back to life.
///
/// Fails if: devices.lua takes the current device past the cutoff without asking whether it lives.
#[tokio::test]
async fn a_dead_device_that_ends_the_others_stays_dead() {
    for end in ENDS {
        for bench in benches().await {
            let (thief, owner) = (
                bench.one.sign_in("alice").await,
                bench.two.sign_in("alice").await,
            );
            let stolen = bench.one.issue_for("alice", &thief).await.unwrap();
            let held = hold(&bench.one.store, "device.devices");
            let (node, sid) = (bench.one.clone(), thief.sid.clone());
            let others =
                tokio::spawn(async move { node.devices.revoke_others("", "alice", &sid).await });
            held.reached().await;
            // On memory both nodes are one store, and the pause has caught its one call already.
            end.on(&bench.two).await;
            held.resume();
            others.await.unwrap().unwrap();
            let what = format!("{end:?}");
            assert!(!owner.is_in(&bench.one).await, "{} {what}", bench.name);
            assert_new_start(&bench, &[&stolen], Some(&thief), &what).await;
        }
    }
}

/// Two refreshes and an end that pass each other in all ways: whatever the order, the end wins.
///
/// Fails if: any of the scripts is two.
#[tokio::test]
async fn many_refreshes_and_logins_beside_the_end_leave_nothing_behind() {
    for end in ENDS {
        for bench in benches().await {
            let mut families = Vec::new();
            for _ in 0..8 {
                families.push(bench.one.issue("alice").await);
            }
            let mut tasks = tokio::task::JoinSet::new();
            for (index, family) in families.iter().enumerate() {
                let (node, token) = (
                    bench.nodes()[index % 2].clone(),
                    family.refresh().to_owned(),
                );
                tasks.spawn(async move {
                    let mut got = Vec::new();
                    let mut token = token;
                    while let Ok(next) = node.rotate(&token).await {
                        token = next.refresh().to_owned();
                        let done = got.len() > 40;
                        got.push(next);
                        if done {
                            break;
                        }
                        tokio::task::yield_now().await;
                    }
                    got
                });
            }
            tokio::task::yield_now().await;
            end.on(&bench.two).await;
            let mut seen = families;
            while let Some(got) = tasks.join_next().await {
                seen.extend(got.unwrap().into_iter().rev().take(2));
            }
            for pair in &seen {
                bench.assert_dead(pair).await;
            }
            assert!(
                bench.one.sids("alice").await.is_empty(),
                "{} {end:?}",
                bench.name
            );
        }
    }
}
