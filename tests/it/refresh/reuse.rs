//! A stolen token: what ends, how often it is said, and what the log does not hold.

use portcullis::{RejectionKind, refresh::RefreshErrorKind};

use super::kit::{Events, MINUTE, Settings, benches, benches_with};

/// R92: reuse ends the family, the session of the same login and its access tokens, on both nodes, with exactly one
/// event; other devices of the user are untouched.
///
/// Fails if: `kill` leaves out session, family or denied sid; the event is sent for every later use as well.
#[tokio::test]
async fn reuse_ends_everything_of_the_login_with_one_event() {
    for bench in benches().await {
        let (seat, other) = (
            bench.one.sign_in("alice").await,
            bench.two.sign_in("alice").await,
        );
        let first = bench.one.issue_for("alice", &seat).await.unwrap();
        let kept = bench.one.issue_for("alice", &other).await.unwrap();
        let next = bench.one.rotate(first.refresh()).await.unwrap();
        assert_eq!(bench.two.access(&first).await, 200);
        assert!(seat.is_in(&bench.two).await);
        bench.advance(MINUTE).await;
        let events = Events::capture();
        let refused = bench.one.rotate(first.refresh()).await.unwrap_err();
        assert_eq!(refused, RefreshErrorKind::Reused, "{}", bench.name);
        for pair in [&first, &next] {
            bench.assert_dead(pair).await;
        }
        assert_eq!(events.count("refresh.reused"), 1, "{}", events.text());
        assert!(!seat.is_in(&bench.two).await, "{}", bench.name);
        assert!(other.is_in(&bench.one).await, "{}", bench.name);
        bench.assert_alive(&kept).await;
        let left = bench.two.sids("alice").await;
        assert_eq!(left, [other.sid].into(), "{}", bench.name);
    }
}

/// R103: who loses a race inside the grace time gets the same tokens; who loses it outside is told `invalid_grant` and
/// nothing else, the same for every reason.
///
/// Fails if: kinds of refusals differ in what the client sees.
#[tokio::test]
async fn all_that_is_wrong_with_a_token_looks_the_same() {
    use portcullis::{Rejection, refresh::RefreshRequest};

    for bench in benches_with(&Settings::strict()).await {
        let used = bench.one.issue("alice").await;
        bench.one.rotate(used.refresh()).await.unwrap();
        let ended = bench.one.issue("alice").await;
        bench.one.rotation.revoke(ended.refresh()).await.unwrap();
        let mut seen = Vec::new();
        for token in [used.refresh(), used.refresh(), ended.refresh(), "forged"] {
            let error = bench
                .two
                .rotation
                .rotate(token, RefreshRequest::new())
                .await
                .unwrap_err();
            let rejection = Rejection::from(error);
            assert_eq!(rejection.kind(), RejectionKind::InvalidGrant);
            seen.push(rejection.reason_code().to_owned());
        }
        seen.dedup();
        assert_eq!(seen.len(), 1, "{}: {seen:?}", bench.name);
    }
}

/// R29, R121: nothing that could be presented is in the log or in what prints.
///
/// Fails if: an event or a `Debug` holds a token, a part of one, or a cookie.
#[tokio::test]
async fn no_event_and_no_debug_output_holds_a_token() {
    for bench in benches().await {
        let events = Events::capture();
        let seat = bench.one.sign_in("alice").await;
        let first = bench.one.issue_for("alice", &seat).await.unwrap();
        let next = bench.one.rotate(first.refresh()).await.unwrap();
        bench
            .two
            .rotate(&format!("{}A", first.refresh()))
            .await
            .unwrap_err();
        bench.advance(MINUTE).await;
        bench.two.rotate(first.refresh()).await.unwrap_err();
        bench.two.devices.revoke_all("", "alice").await.unwrap();
        let printed = format!(
            "{first:?} {next:?} {:?} {:?}",
            bench.one.rotation, bench.one.devices
        );
        let text = events.text() + &printed;
        assert!(text.contains("refresh.reused"), "{text}");
        let cookie = seat.browser.cookie_header().unwrap();
        let cookie = cookie.split_once('=').unwrap().1;
        for secret in [
            first.refresh(),
            next.refresh(),
            first.access().token(),
            cookie,
        ] {
            for part in secret.split('.').filter(|part| part.len() > 8) {
                // The header of an access token is the same for all of them, and the family is no secret.
                assert!(!text.contains(part), "{}: {part}", bench.name);
            }
        }
    }
}
