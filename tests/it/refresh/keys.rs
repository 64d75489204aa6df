//! New keys, and a store that lost what it had acknowledged: neither is reuse.

use portcullis::{
    KeyRing, Rejection, RejectionKind,
    refresh::{RefreshErrorKind, RefreshRequest},
};

use super::kit::{Events, MINUTE, SECOND, Settings, benches_of, benches_with};
use crate::session::bench::SECRET;

const NEW: &str = "another secret of thirty-two bytes or more";

fn ring(signs: &str, verifies: &str) -> Settings {
    Settings {
        keys: KeyRing::new(signs).unwrap().verify_with(verifies).unwrap(),
        ..Settings::default()
    }
}

fn alone(secret: &str) -> Settings {
    Settings {
        keys: KeyRing::new(secret).unwrap(),
        ..Settings::default()
    }
}

/// DESIGN 6.4: while one node signs with the old key and one with the new, both derive and tag the same successor, for
/// retries and late tabs too.
///
/// Fails if: the successor is derived or tagged with the node's signing key instead of the family's.
#[tokio::test]
async fn nodes_that_sign_with_different_keys_lead_to_the_same_successor() {
    for bench in benches_of(&ring(SECRET, NEW), &ring(NEW, SECRET)).await {
        let mut pair = bench.one.issue("alice").await;
        for round in 0..4 {
            let nodes = bench.nodes();
            let (node, other) = (nodes[round % 2], nodes[(round + 1) % 2]);
            let next = node.rotate(pair.refresh()).await.unwrap();
            let retried = other.rotate(pair.refresh()).await.unwrap();
            assert_eq!(next.refresh(), retried.refresh(), "{} {round}", bench.name);
            let late = other.rotate(next.refresh()).await.unwrap();
            assert_eq!(late.refresh(), next.refresh(), "{} {round}", bench.name);
            pair = next;
            bench.advance(11 * SECOND).await;
        }
    }
}

/// DESIGN 6.4: the order of a rollover. Old alone, new verified only, new promoted, old gone: nobody is signed out.
///
/// Fails if: a token of the old key is not taken while the old key is verified.
#[tokio::test]
async fn a_rollover_in_its_order_signs_nobody_out() {
    let steps = [
        alone(SECRET),
        ring(SECRET, NEW),
        ring(NEW, SECRET),
        alone(NEW),
    ];
    let [memory, redis] = benches_with(&steps[0]).await;
    for bench in [memory, redis] {
        let mut pair = bench.one.issue("alice").await;
        for step in &steps {
            let node = super::kit::Node::new(&bench.one.store, &bench.clock, step);
            for _ in 0..2 {
                pair = node.rotate(pair.refresh()).await.unwrap();
                bench.advance(MINUTE).await;
            }
        }
        let old = bench.one.rotate(pair.refresh()).await.unwrap_err();
        assert_eq!(old, RefreshErrorKind::Forged, "{}", bench.name);
    }
}

/// DESIGN 6.4: a key promoted before every node holds it. The node that lacks it cannot derive the successor: that is an
/// outage of that node, and neither reuse nor a use.
///
/// Fails if: a missing key is answered by rotating again, or taken for reuse.
#[tokio::test]
async fn a_node_without_the_key_answers_503_and_the_family_lives() {
    for bench in benches_of(&ring(NEW, SECRET), &alone(SECRET)).await {
        let first = bench.two.issue("alice").await;
        let next = bench.one.rotate(first.refresh()).await.unwrap();
        let outcome = bench
            .two
            .rotation
            .rotate(first.refresh(), RefreshRequest::new())
            .await;
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), RefreshErrorKind::KeyMissing, "{}", bench.name);
        assert_eq!(Rejection::from(error).kind(), RejectionKind::Unavailable);
        let unread = bench.two.rotate(next.refresh()).await.unwrap_err();
        assert_eq!(unread, RefreshErrorKind::Forged, "{}", bench.name);
        let again = bench.one.rotate(first.refresh()).await.unwrap();
        assert_eq!(again.refresh(), next.refresh(), "{}", bench.name);
        bench.advance(MINUTE).await;
        bench.one.rotate(next.refresh()).await.unwrap();
    }
}

/// DESIGN 6.5: a failover lost one rotation, or several. The token that was handed out goes on, with one event, and its
/// retry inside the grace time as well.
///
/// Fails if: a generation above the stored one is taken for reuse, or the family's `gen` is counted up from the stored one.
#[tokio::test]
async fn a_rotation_that_the_store_lost_rolls_forward() {
    let [_, bench] = benches_with(&Settings::default()).await;
    for lost in 1..=3 {
        let first = bench.one.issue("alice").await;
        let mut pair = bench.one.rotate(first.refresh()).await.unwrap();
        let mut stored = Vec::new();
        for name in ["cur", "prev", "nonce", "kid", "gen", "rot"] {
            stored.push((name, bench.family(&first, name).await.unwrap()));
        }
        for _ in 0..lost {
            bench.advance(MINUTE).await;
            pair = bench.one.rotate(pair.refresh()).await.unwrap();
        }
        let fields: Vec<_> = stored
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        bench.set_family(&pair, &fields).await;
        let events = Events::capture();
        let next = bench.two.rotate(pair.refresh()).await.unwrap();
        let retried = bench.one.rotate(pair.refresh()).await.unwrap();
        assert_eq!(next.refresh(), retried.refresh(), "lost {lost}");
        assert_eq!(events.count("refresh.rolled"), 1, "{}", events.text());
        assert_eq!(events.count("refresh.reused"), 0);
        let generation: u64 = bench.family(&pair, "gen").await.unwrap().parse().unwrap();
        assert_eq!(generation, lost + 2);
        bench.advance(MINUTE).await;
        bench.assert_alive(&next).await;
        let refused = bench.two.rotate(first.refresh()).await.unwrap_err();
        assert_eq!(refused, RefreshErrorKind::Reused, "older ones stay used");
    }
}

/// What rolls forward is of this family and epoch, inside its limits: a lost rotation revives nothing.
///
/// Fails if: the generation is looked at before the end, the epoch, the cutoffs or the client.
#[tokio::test]
async fn rolling_forward_revives_nothing() {
    let [_, bench] = benches_with(&Settings::default()).await;
    for how in ["ended", "cut", "expired"] {
        let first = bench.one.issue("alice").await;
        let pair = bench.one.rotate(first.refresh()).await.unwrap();
        bench.set_family(&pair, &[("gen", "0")]).await;
        match how {
            "ended" => bench.one.rotation.revoke(first.refresh()).await.unwrap(),
            "cut" => drop(bench.one.cutoffs.user("", "alice").await.unwrap()),
            _ => drop(bench.set_family(&pair, &[("abs", "1")]).await),
        }
        let refused = bench.two.rotate(pair.refresh()).await.unwrap_err();
        let expected = if how == "expired" {
            RefreshErrorKind::Expired
        } else {
            RefreshErrorKind::Revoked
        };
        assert_eq!(refused, expected, "{how}");
    }
}
