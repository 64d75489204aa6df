//! What becomes of a presented token: the table of behaviours, one by one.

use std::time::Duration;

use portcullis::{
    Rejection, RejectionKind,
    refresh::{RefreshErrorKind, RefreshLogin, RefreshRequest, Rotation},
};

use super::kit::{
    Bench, DAY, MINUTE, Node, SECOND, Settings, benches, benches_with, connect, proxied,
};

/// The same service after a restart: nothing is left but the store and the secret.
async fn restarted(bench: &Bench) -> Node {
    let store = match &bench.server {
        Some(server) => connect(&server.url()).await,
        None => bench.two.store.clone(),
    };
    Node::new(&store, &bench.clock, &Settings::default())
}

/// R92: each token leads to the next, on any node; the device stays the same, and so does the moment of authentication.
///
/// Fails if: rotate.lua does not store the successor's hash, or the family's `gen`.
#[tokio::test]
async fn each_token_leads_to_the_next_on_any_node() {
    for bench in benches().await {
        let first = bench.one.issue("alice").await;
        let mut pair = first.clone();
        for round in 0..6 {
            let node = bench.nodes()[round % 2];
            let next = node.rotate(pair.refresh()).await.unwrap();
            assert_ne!(next.refresh(), pair.refresh(), "{}", bench.name);
            assert_ne!(next.access().jti(), pair.access().jti());
            assert_eq!(next.sid(), first.sid());
            for node in bench.nodes() {
                assert_eq!(node.access(&next).await, 200, "{}", bench.name);
            }
            pair = next;
            bench.advance(MINUTE).await;
        }
        assert_eq!(
            bench
                .family(&pair, "gen")
                .await
                .unwrap_or_else(|| "6".into()),
            "6"
        );
    }
}

/// R94, R102: a lost answer is asked for again, anywhere, and by a process that was started since.
///
/// Fails if: the nonce is not stored, the successor is random, or derived with a key of the process.
#[tokio::test]
async fn a_retry_in_grace_gets_the_same_successor_on_every_node_and_after_a_restart() {
    for bench in benches().await {
        let first = bench.one.issue("alice").await;
        let next = bench.one.rotate(first.refresh()).await.unwrap();
        bench.advance(9 * SECOND).await;
        for node in [&bench.one, &bench.two, &restarted(&bench).await] {
            let again = node.rotate(first.refresh()).await.unwrap();
            assert_eq!(again.refresh(), next.refresh(), "{}", bench.name);
            assert_eq!(node.access(&again).await, 200);
            assert_eq!(
                bench
                    .family(&first, "gen")
                    .await
                    .unwrap_or_else(|| "1".into()),
                "1"
            );
        }
        bench.assert_alive(&next).await;
    }
}

/// R92, to the millisecond: the last one of the grace time is a retry, the next one is reuse.
///
/// Fails if: `now - rotated < grace` is written `<=`.
#[tokio::test]
async fn the_grace_time_ends_exactly() {
    for late in [false, true] {
        let [bench, _] = benches().await;
        let first = bench.one.issue("alice").await;
        let next = bench.one.rotate(first.refresh()).await.unwrap();
        bench.advance(10 * SECOND - u64::from(!late)).await;
        let outcome = bench.two.rotate(first.refresh()).await;
        if late {
            assert_eq!(outcome.unwrap_err(), RefreshErrorKind::Reused);
            bench.assert_dead(&next).await;
        } else {
            assert_eq!(outcome.unwrap().refresh(), next.refresh());
            bench.assert_alive(&next).await;
        }
    }
}

/// A retry does not open the window anew.
///
/// Fails if: `rot` is written for a replayed token.
#[tokio::test]
async fn retries_do_not_prolong_the_grace_time() {
    for bench in benches().await {
        let first = bench.one.issue("alice").await;
        bench.one.rotate(first.refresh()).await.unwrap();
        for _ in 0..3 {
            bench.advance(3 * SECOND).await;
            bench.two.rotate(first.refresh()).await.unwrap();
        }
        bench.advance(3 * SECOND).await;
        let refused = bench.two.rotate(first.refresh()).await.unwrap_err();
        assert_eq!(refused, RefreshErrorKind::Reused, "{}", bench.name);
    }
}

/// A tab that comes late has the new token already: it keeps it, and gets an access token.
///
/// Fails if: rotate.lua rotates the current token whatever its age; the text of the token changes on its way.
#[tokio::test]
async fn a_late_tab_gets_its_token_back_and_a_new_access_token() {
    for bench in benches().await {
        let first = bench.one.issue("alice").await;
        let next = bench.one.rotate(first.refresh()).await.unwrap();
        bench.advance(9 * SECOND).await;
        let late = bench.two.rotate(next.refresh()).await.unwrap();
        assert_eq!(late.refresh(), next.refresh(), "{}", bench.name);
        assert_ne!(late.access().jti(), next.access().jti());
        assert_eq!(bench.one.access(&late).await, 200);
        assert_eq!(
            bench
                .family(&first, "gen")
                .await
                .unwrap_or_else(|| "1".into()),
            "1"
        );
        let again = bench.one.rotate(first.refresh()).await.unwrap();
        assert_eq!(again.refresh(), next.refresh(), "the window is still open");
        bench.advance(2 * SECOND).await;
        let third = bench.two.rotate(next.refresh()).await.unwrap();
        assert_ne!(third.refresh(), next.refresh(), "{}", bench.name);
    }
}

/// R95: the token of two rotations ago is reuse, also while that of one ago is in its grace time. R92: everything of the
/// login is dead on both nodes.
///
/// Fails if: `prev` is compared without its generation and kept from before, or `kill` leaves out the denied sid, or the
/// family.
#[tokio::test]
async fn a_grandparent_is_reuse_inside_the_grace_time_of_its_child() {
    for bench in benches().await {
        let other = bench.one.issue("alice").await;
        let first = bench.one.issue("alice").await;
        let second = bench.one.rotate(first.refresh()).await.unwrap();
        bench.advance(11 * SECOND).await;
        let third = bench.one.rotate(second.refresh()).await.unwrap();
        assert_eq!(bench.two.access(&third).await, 200);
        let refused = bench.one.rotate(first.refresh()).await.unwrap_err();
        assert_eq!(refused, RefreshErrorKind::Reused, "{}", bench.name);
        for pair in [&first, &second, &third] {
            bench.assert_dead(pair).await;
        }
        bench.assert_alive(&other).await;
        let anew = bench.two.issue("alice").await;
        bench.assert_alive(&anew).await;
    }
}

/// R93: without grace every second use ends the family, in the same millisecond as well: the in-memory clock stands
/// still.
///
/// Fails if: `now - rotated < grace` is written `<=`.
#[tokio::test]
async fn in_strict_mode_every_second_use_is_reuse() {
    for bench in benches_with(&Settings::strict()).await {
        let first = bench.one.issue("alice").await;
        let next = bench.one.rotate(first.refresh()).await.unwrap();
        let third = bench.one.rotate(next.refresh()).await.unwrap();
        assert_ne!(third.refresh(), next.refresh(), "no late tabs either");
        let refused = bench.two.rotate(next.refresh()).await.unwrap_err();
        assert_eq!(refused, RefreshErrorKind::Reused, "{}", bench.name);
        bench.assert_dead(&third).await;
    }
}

/// A server whose clock was set back, or a failover to one that is behind, opens no window in strict mode.
///
/// Fails if: rotate.lua compares `now - rotated` without a floor of 0.
#[tokio::test]
async fn a_clock_that_goes_back_opens_no_window_in_strict_mode() {
    let [_, bench] = benches_with(&Settings::strict()).await;
    let first = bench.one.issue("alice").await;
    bench.one.rotate(first.refresh()).await.unwrap();
    let rotated: u64 = bench.family(&first, "rot").await.unwrap().parse().unwrap();
    let ahead = (rotated + MINUTE).to_string();
    bench.set_family(&first, &[("rot", &ahead)]).await;
    let refused = bench.two.rotate(first.refresh()).await.unwrap_err();
    assert_eq!(refused, RefreshErrorKind::Reused);
}

/// R96, R127: nothing that was tampered with reaches the store, whatever part of it, and the family lives.
///
/// Fails if: the tag does not cover family, generation or secret, or is checked after the store was asked.
#[tokio::test]
async fn forged_tokens_cost_no_command_and_end_nothing() {
    let bench = proxied(&Settings::default()).await;
    let (alice, bob) = (bench.one.issue("alice").await, bench.one.issue("bob").await);
    let alice = bench.one.rotate(alice.refresh()).await.unwrap();
    let parts: Vec<_> = alice.refresh().split('.').collect();
    let others: Vec<_> = bob.refresh().split('.').collect();
    let mut forged = vec![String::new(), "....".to_owned(), "x".repeat(10_000)];
    for at in 0..4 {
        let mut mixed = parts.clone();
        mixed[at] = if at == 1 { "0" } else { others[at] };
        forged.push(mixed.join("."));
        for (index, _) in parts[at].char_indices() {
            let mut part = parts[at].as_bytes().to_vec();
            part[index] = if part[index] == b'A' { b'B' } else { b'A' };
            let part = String::from_utf8(part).unwrap();
            let mut parts = parts.clone();
            parts[at] = &part;
            forged.push(parts.join("."));
        }
    }
    bench.proxy().reset_counts();
    for text in &forged {
        let error = bench
            .one
            .rotation
            .rotate(text, RefreshRequest::new())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), RefreshErrorKind::Forged, "{text}");
        assert_eq!(Rejection::from(error).kind(), RejectionKind::InvalidGrant);
        bench.one.rotation.revoke(text).await.unwrap();
    }
    assert_eq!(bench.proxy().commands().len(), 0);
    bench.assert_alive(&alice).await;
    bench.assert_alive(&bob).await;
}

/// R98, R127: another client gets nothing, and the family lives.
///
/// Fails if: rotate.lua does not compare the client.
#[tokio::test]
async fn a_token_is_of_its_client_alone() {
    for bench in benches().await {
        let login = RefreshLogin::new("alice").client("web");
        let first = bench.one.rotation.issue(&login).await.unwrap();
        for request in [
            RefreshRequest::new(),
            RefreshRequest::new().client("mobile"),
            RefreshRequest::new().client("web "),
        ] {
            let error = bench
                .one
                .rotation
                .rotate(first.refresh(), request)
                .await
                .unwrap_err();
            assert_eq!(error.kind(), RefreshErrorKind::Client, "{}", bench.name);
            assert_eq!(Rejection::from(error).kind(), RejectionKind::InvalidGrant);
        }
        let web = RefreshRequest::new().client("web");
        let next = bench
            .two
            .rotation
            .rotate(first.refresh(), web)
            .await
            .unwrap();
        assert_eq!(bench.one.access(&next).await, 200);
    }
}

/// R98: a refresh narrows scope and resource for one access token and never widens them; who asks for more gets nothing,
/// and the token is not used up.
///
/// Fails if: `within` finds parts of words, or the narrowed scope is stored.
#[tokio::test]
async fn scope_and_resource_are_narrowed_and_never_widened() {
    for bench in benches().await {
        let login = RefreshLogin::new("alice")
            .scope("orders:read orders:write")
            .resource("https://a.example https://b.example");
        let first = bench.one.rotation.issue(&login).await.unwrap();
        assert_eq!(first.scope(), "orders:read orders:write");
        for scope in [
            "admin",
            "orders",
            "orders:read admin",
            "orders:readorders:write",
            "ORDERS:READ",
        ] {
            let request = RefreshRequest::new().scope(scope);
            let error = bench
                .one
                .rotation
                .rotate(first.refresh(), request)
                .await
                .unwrap_err();
            assert_eq!(
                error.kind(),
                RefreshErrorKind::Scope,
                "{} {scope}",
                bench.name
            );
            assert_eq!(Rejection::from(error).kind(), RejectionKind::InvalidScope);
        }
        let request = RefreshRequest::new().resource("https://c.example");
        let error = bench
            .one
            .rotation
            .rotate(first.refresh(), request)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), RefreshErrorKind::Resource, "{}", bench.name);
        let narrow = RefreshRequest::new()
            .scope("orders:read")
            .resource("https://b.example");
        let next = bench
            .one
            .rotation
            .rotate(first.refresh(), narrow)
            .await
            .unwrap();
        assert_eq!(next.scope(), "orders:read");
        let (_, said) = bench.two.bearer(next.access().token()).await;
        assert_eq!(said, "alice orders:read", "{}", bench.name);
        let retried = bench.one.rotate(first.refresh()).await.unwrap();
        assert_eq!(
            (retried.refresh(), retried.scope()),
            (next.refresh(), "orders:read orders:write"),
            "what was granted stays granted"
        );
        bench.advance(MINUTE).await;
        let whole = bench.two.rotate(next.refresh()).await.unwrap();
        let (_, said) = bench.one.bearer(whole.access().token()).await;
        assert_eq!(said, "alice orders:read orders:write", "{}", bench.name);
    }
}

fn ended(outcome: Result<portcullis::refresh::TokenPair, RefreshErrorKind>) -> bool {
    // A family at its end is gone from the store; which of the two is said depends on who looks first.
    matches!(
        outcome.map(drop),
        Err(RefreshErrorKind::Expired | RefreshErrorKind::Unknown)
    )
}

/// R97: idle counts from the last rotation; one millisecond before the limit, and exactly at it.
///
/// Fails if: a rotation does not move the expiry of the family, or moves it wrongly.
#[tokio::test]
async fn the_idle_timeout_ends_a_family_exactly() {
    let settings = Settings::rotating(|builder| builder.idle_timeout(Duration::from_secs(3_600)));
    let [bench, redis] = benches_with(&settings).await;
    let hour = 60 * MINUTE;
    let mut pair = bench.one.issue("alice").await;
    for _ in 0..3 {
        bench.advance(hour - 1).await;
        pair = bench.two.rotate(pair.refresh()).await.unwrap();
    }
    bench.advance(hour).await;
    assert!(ended(bench.one.rotate(pair.refresh()).await));
    let mut pair = redis.one.issue("alice").await;
    for _ in 0..3 {
        redis.advance(hour - MINUTE).await;
        pair = redis.two.rotate(pair.refresh()).await.unwrap();
    }
    redis.advance(hour).await;
    assert!(ended(redis.one.rotate(pair.refresh()).await));
}

/// Redis may hold a key a little longer than its expiry, and a replica's clock may be behind: the script decides.
///
/// Fails if: rotate.lua trusts the expiry of the key.
#[tokio::test]
async fn an_expired_family_that_is_still_stored_is_refused() {
    let [_, bench] = benches().await;
    let now = bench.clock.now_millis();
    let old = (now - 15 * DAY).to_string();
    let past = (now - 1).to_string();
    for fields in [[("rot", &*old)], [("abs", &*past)]] {
        let pair = bench.one.issue("alice").await;
        bench.set_family(&pair, &fields).await;
        let refused = bench.two.rotate(pair.refresh()).await.unwrap_err();
        assert_eq!(refused, RefreshErrorKind::Expired);
    }
}

/// R97: the absolute timeout counts from the login, however often the token is rotated.
///
/// Fails if: a rotation writes `abs`, or the key's expiry without its limit.
#[tokio::test]
async fn the_absolute_timeout_ends_a_family_in_use() {
    let settings = Settings::rotating(|builder| {
        let day = Duration::from_secs(86_400);
        builder.idle_timeout(day).absolute_timeout(2 * day)
    });
    for bench in benches_with(&settings).await {
        let mut pair = bench.one.issue("alice").await;
        let ends = pair.ends_ms();
        for _ in 0..7 {
            bench.advance(DAY / 4).await;
            pair = bench.two.rotate(pair.refresh()).await.unwrap();
            if bench.server.is_none() {
                assert_eq!(pair.ends_ms(), ends);
            }
        }
        if bench.server.is_none() {
            bench.advance(DAY / 4 - 1).await;
            pair = bench.two.rotate(pair.refresh()).await.unwrap();
            bench.advance(1).await;
        } else {
            bench.advance(DAY / 4).await;
        }
        assert!(
            ended(bench.one.rotate(pair.refresh()).await),
            "{}",
            bench.name
        );
    }
}

/// R99, and a logout is of everything on the device: with the session go the tokens, with the tokens the session.
///
/// Fails if: destroy.lua does not `kill`, or `revoke` ends the family alone.
#[tokio::test]
async fn a_logout_ends_the_tokens_of_the_device_and_a_revoked_token_its_session() {
    for bench in benches().await {
        let (phone, laptop) = (
            bench.one.sign_in("alice").await,
            bench.one.sign_in("alice").await,
        );
        let of_phone = bench.one.issue_for("alice", &phone).await.unwrap();
        let of_laptop = bench.two.issue_for("alice", &laptop).await.unwrap();
        assert_eq!(of_phone.sid(), phone.sid);
        phone.browser.post("/logout").await;
        bench.assert_dead(&of_phone).await;
        assert!(laptop.is_in(&bench.two).await, "{}", bench.name);
        let of_laptop = bench.assert_alive(&of_laptop).await;
        bench
            .two
            .rotation
            .revoke(of_laptop.refresh())
            .await
            .unwrap();
        bench.assert_dead(&of_laptop).await;
        assert!(!laptop.is_in(&bench.one).await, "{}", bench.name);
        bench
            .two
            .rotation
            .revoke(of_laptop.refresh())
            .await
            .unwrap();
        assert!(bench.one.sids("alice").await.is_empty(), "{}", bench.name);
    }
}

/// An old token of a device on which new tokens were issued since is of nobody: neither taken, nor reuse, nor a logout.
///
/// Fails if: rotate.lua or the revocation does not compare the epoch.
#[tokio::test]
async fn tokens_of_an_earlier_issue_on_the_device_end_nothing() {
    for bench in benches().await {
        let seat = bench.one.sign_in("alice").await;
        let before = bench.one.issue_for("alice", &seat).await.unwrap();
        let since = bench.one.issue_for("alice", &seat).await.unwrap();
        let refused = bench.two.rotate(before.refresh()).await.unwrap_err();
        assert_eq!(refused, RefreshErrorKind::Unknown, "{}", bench.name);
        bench.two.rotation.revoke(before.refresh()).await.unwrap();
        bench.assert_alive(&since).await;
        assert!(seat.is_in(&bench.two).await, "{}", bench.name);
    }
}

/// Fails if: an argument reaches the store that cannot name a family.
#[tokio::test]
async fn logins_that_cannot_be_are_refused_and_so_are_settings() {
    for bench in benches().await {
        for login in [
            RefreshLogin::new(""),
            RefreshLogin::new("alice").of_session("", 1),
            RefreshLogin::new("alice").of_session("not a sid", 1),
        ] {
            let error = bench.one.rotation.issue(&login).await.unwrap_err();
            assert_eq!(error.kind(), RefreshErrorKind::Invalid, "{}", bench.name);
        }
        let builder = || {
            let issuer = super::kit::issuer(&bench.clock);
            Rotation::builder(&bench.one.store, &Settings::default().keys, &issuer)
        };
        let minute = Duration::from_secs(60);
        for (wrong, field) in [
            (builder().grace(minute + Duration::from_millis(1)), "grace"),
            (builder().idle_timeout(minute / 2), "idle_timeout"),
            (builder().idle_timeout(61 * 1_440 * minute), "idle_timeout"),
            (
                builder().absolute_timeout(91 * 1_440 * minute),
                "absolute_timeout",
            ),
            (builder().max_devices(0), "max_devices"),
            (builder().max_devices_or_refuse(0), "max_devices"),
        ] {
            assert_eq!(wrong.build().unwrap_err().field(), field);
        }
    }
}
