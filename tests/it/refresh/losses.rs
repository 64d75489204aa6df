//! Lost answers: between the store and the node, and between the node and the client.

use std::time::{Duration, Instant};

use portcullis::refresh::{RefreshErrorKind, RefreshLogin, RotationBuilder};

use super::kit::{Bench, Events, Node, Settings, connect, proxied};
use crate::means::{proxy::Command, wait};

/// The rotation of this token, as the server sees it.
fn of_family(sid: &str) -> impl FnMut(&Command) -> bool + Send + 'static {
    let part = format!("}}:{sid}");
    move |command| command.name().starts_with("EVAL") && command.mentions(&part)
}

async fn generation(bench: &Bench, pair: &portcullis::refresh::TokenPair) -> String {
    bench.family(pair, "gen").await.unwrap()
}

/// After a connection that breaks as soon as it is made the store waits before the next one, and fails calls meanwhile:
/// what is lost here is the answer on one that has proved itself.
async fn settled() {
    let since = Instant::now();
    wait::until_true("the connection to be an old one", || {
        since.elapsed() > Duration::from_millis(120)
    })
    .await;
}

/// DESIGN 6.3: the server rotated, the answer is lost on its way to the node, the node asks again with the same nonce.
/// Without grace too: our own resend is no reuse.
///
/// Fails if: the nonce is drawn anew for the resend, or rotate.lua does not compare it.
#[tokio::test]
async fn the_nodes_own_resend_is_no_reuse() {
    for settings in [Settings::strict(), Settings::default()] {
        let bench = proxied(&settings).await;
        for _ in 0..3 {
            let first = bench.one.issue("alice").await;
            // The script is known to the connection, so that what is lost is the rotation alone.
            let first = bench.one.rotate(first.refresh()).await.unwrap();
            bench.advance(60_000).await;
            settled().await;
            let lost = bench.proxy().drop_reply(of_family(first.sid()));
            let events = Events::capture();
            let next = bench.one.rotate(first.refresh()).await.unwrap();
            assert!(lost.is_reached(), "the answer was lost");
            assert_eq!(events.count("refresh.reused"), 0, "{}", events.text());
            assert_eq!(generation(&bench, &first).await, "2");
            bench.two.rotate(next.refresh()).await.unwrap();
        }
    }
}

/// R102: the answer is lost for good: the node that rotated ends, and the client asks another one that started since.
///
/// Fails if: anything that the successor depends on is of the process.
#[tokio::test]
async fn a_client_that_lost_the_answer_retries_at_another_process_after_a_restart() {
    let bench = proxied(&Settings::default()).await;
    let first = bench.one.issue("alice").await;
    let lost = bench.one.rotate(first.refresh()).await.unwrap();
    let (sid, text) = (lost.sid().to_owned(), lost.refresh().to_owned());
    drop(lost);
    let url = bench.server().url();
    drop((bench.one, bench.two));
    let store = connect(&url).await;
    let node = Node::new(&store, &bench.clock, &Settings::default());
    let again = node.rotate(first.refresh()).await.unwrap();
    assert_eq!((again.refresh(), again.sid()), (&*text, &*sid));
    assert_eq!(node.access(&again).await, 200);
}

/// While the store is away nobody is told that a token is bad, and afterwards the same token works.
///
/// Fails if: an error of the store is mapped to a refusal of the token.
#[tokio::test]
async fn an_outage_is_unknown_and_the_token_works_afterwards() {
    let bench = proxied(&Settings::default()).await;
    let first = bench.one.issue("alice").await;
    bench.proxy().refuse(true);
    bench.proxy().reset_all().await;
    let refused = bench.one.rotate(first.refresh()).await.unwrap_err();
    assert_eq!(refused, RefreshErrorKind::Store);
    let login = RefreshLogin::new("alice");
    let error = bench.one.rotation.issue(&login).await.unwrap_err();
    assert_eq!(error.kind(), RefreshErrorKind::Store);
    let error = bench
        .one
        .rotation
        .revoke(first.refresh())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), RefreshErrorKind::Store);
    bench.proxy().refuse(false);
    let next = wait::until("the store to be back", || async {
        bench.one.rotate(first.refresh()).await.ok()
    })
    .await;
    assert_eq!(bench.two.access(&next).await, 200);
}

/// A revocation whose answer is lost is an error, and trying again is safe.
///
/// Fails if: a lost answer to a revocation is taken for success.
#[tokio::test]
async fn a_revocation_whose_answer_is_lost_is_an_error_and_can_be_repeated() {
    let bench = proxied(&Settings::default()).await;
    let first = bench.one.issue("alice").await;
    bench.one.rotation.revoke("nothing").await.unwrap();
    let keep = bench.one.issue("alice").await;
    let lost = bench.proxy().drop_reply(|command: &Command| {
        command.name().starts_with("EVAL") && command.mentions("token")
    });
    let error = bench
        .one
        .rotation
        .revoke(first.refresh())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), RefreshErrorKind::Store);
    assert!(lost.is_reached());
    wait::until("the second try", || async {
        bench.one.rotation.revoke(first.refresh()).await.ok()
    })
    .await;
    bench.assert_dead(&first).await;
    bench.assert_alive(&keep).await;
}

/// The budget: refresh 1, also for a retry, a late tab, reuse and a refusal; issue 1, revoke 1, forged 0.
///
/// Fails if: anything of it is read or written in a trip of its own.
#[tokio::test]
async fn a_refresh_is_one_trip() {
    let settings = Settings::rotating(|builder: RotationBuilder| builder.max_devices(3));
    let bench = proxied(&settings).await;
    let proxy = bench.proxy();
    for round in 0..2 {
        let (turns, first) = proxy.turns_of(bench.one.issue("alice")).await;
        assert_eq!(turns, 1, "issue {round}");
        let (turns, next) = proxy.turns_of(bench.one.rotate(first.refresh())).await;
        let next = next.unwrap();
        assert_eq!(turns, 1, "rotate {round}");
        assert_eq!(proxy.turns_of(bench.one.rotate(first.refresh())).await.0, 1);
        assert_eq!(proxy.turns_of(bench.one.rotate(next.refresh())).await.0, 1);
        bench.advance(60_000).await;
        let (turns, refused) = proxy.turns_of(bench.one.rotate(first.refresh())).await;
        assert_eq!((turns, refused.err()), (1, Some(RefreshErrorKind::Reused)));
        assert_eq!(proxy.turns_of(bench.one.rotate(next.refresh())).await.0, 1);
        let other = bench.one.issue("alice").await;
        let (turns, _) = proxy
            .turns_of(bench.one.rotation.revoke(other.refresh()))
            .await;
        assert_eq!(turns, 1);
        let (turns, _) = proxy
            .turns_of(bench.one.rotation.revoke_all("", "alice"))
            .await;
        assert_eq!(turns, 1, "log out everywhere");
        assert_eq!(proxy.turns_of(bench.one.rotate("forged")).await.0, 0);
    }
}
