//! The parts of the replica one by one: what a run in any order reaches too rarely.

use std::time::Duration;

use super::{
    bound::Bound,
    cutoffs::{Cut, Cutoffs},
    lease::{Lease, Phase},
    names::{List, Names, Scope},
    replica::{Replica, Wanted},
    set::{FOREVER, Set},
};
use crate::{
    clock::Clock,
    store::{Namespace, Tag},
};

const SECOND: Duration = Duration::from_secs(1);

fn replica() -> Replica {
    let names = Names::new(&Namespace::new("p:", "bl:").unwrap());
    Replica::new(names, SECOND, 1_000, Clock::settable(1_000_000))
}

/// Fails if: `fetched` clears the doubt whatever was announced since.
#[test]
fn a_value_clears_no_announcement_that_came_after_the_question() {
    let (cutoffs, bound) = (Cutoffs::new(), Bound::new(10));
    let scope = Scope::Everyone;
    assert!(cutoffs.announced(scope, &bound));
    assert!(
        !cutoffs.announced(scope, &bound),
        "somebody is told already"
    );
    let asked = cutoffs.fetching(scope);
    assert!(cutoffs.announced(scope, &bound), "announced again");
    cutoffs.fetched(scope, asked, Some((5, 100)), &bound);
    let cut = |moment, unsure| Cut { moment, unsure };
    assert_eq!(cutoffs.look(scope), cut(Some(5), true));
    let asked = cutoffs.fetching(scope);
    cutoffs.fetched(scope, asked, Some((4, 100)), &bound);
    assert_eq!(cutoffs.look(scope), cut(Some(5), false), "never lower");
    // Lost by the server: what is known stays, and is to be written again.
    cutoffs.forget_held(1);
    cutoffs.fetched(scope, cutoffs.asked(scope), None, &bound);
    assert_eq!(cutoffs.look(scope), cut(Some(5), false));
    assert_eq!(cutoffs.behind(0).len(), 1);
    // The word of a load before a flush says nothing after it.
    let asked = cutoffs.asked(scope);
    cutoffs.forget_held(2);
    cutoffs.fetched(scope, asked, Some((9, 100)), &bound);
    assert_eq!(
        (cutoffs.look(scope).moment, cutoffs.behind(0).len()),
        (Some(9), 1)
    );
    assert!(!cutoffs.held_by_server(scope, 9, 1));
    assert_eq!(cutoffs.behind(0).len(), 1);
    assert!(cutoffs.held_by_server(scope, 9, 2));
    assert_eq!(cutoffs.behind(0).len(), 0);
    cutoffs.purge(5_101, &bound);
    assert_eq!(cutoffs.look(scope), Cut::default(), "over");
}

/// Fails if: the reckoning outlives the store's own word, or a failed raise leaves nothing behind.
#[test]
fn a_reckoned_cutoff_holds_until_the_store_has_spoken() {
    let (cutoffs, bound) = (Cutoffs::new(), Bound::new(10));
    let scope = Scope::User(Tag::from_bytes(&[1; Tag::BYTES]));
    cutoffs.raising(scope, 50, 1_000, &bound);
    assert_eq!(cutoffs.look(scope).moment, Some(50));
    assert_eq!(cutoffs.behind(0)[0].moment, 50, "made good if need be");
    cutoffs.raised(scope, Some(50), 40, 1_000, &bound);
    assert_eq!(cutoffs.look(scope).moment, Some(40), "the store's word");
}

/// Fails if: the flag is left set, so that an entry is fetched once in its life; or a grace shortens a known time.
#[test]
fn an_announced_id_is_fetched_as_often_as_it_is_announced() {
    let (set, bound) = (Set::new(), Bound::new(10));
    let list = List::Tokens;
    assert!(set.announced(list, b"a", 60_000, &bound));
    assert!(!set.announced(list, b"a", 60_000, &bound));
    set.fetching(list, b"a");
    assert!(set.announced(list, b"a", 60_000, &bound), "again");
    assert_eq!((set.count(), set.until(list, b"a")), ((1, 1), None));
    set.confirm(list, b"a", 10_000, 1, &bound);
    set.fetching(list, b"a");
    assert_eq!(set.until(list, b"a"), Some(10_000), "not the grace");
    set.confirm(list, b"a", 5_000, 1, &bound);
    assert_eq!(set.until(list, b"a"), Some(10_000), "never shorter");
    set.missing(list, b"a", 90_000);
    assert_eq!(
        set.until(list, b"a"),
        Some(10_000),
        "no un-revoke, no more either"
    );
    assert!(set.contains(list, b"a", 14_999) && !set.contains(list, b"a", 15_000));
    assert!(!set.contains(List::Logins, b"a", 0), "another list");
    for part in 0..Set::PARTS {
        set.purge(part, 15_000, &bound);
    }
    assert_eq!(set.count(), (0, 0));
    set.confirm(list, b"b", FOREVER, 1, &bound);
    assert!(set.contains(list, b"b", FOREVER - 1));
}

/// Fails if: what was being fetched when the connection broke is forgotten after the grace.
#[tokio::test(start_paused = true)]
async fn what_could_not_be_fetched_is_kept_however_long_the_outage() {
    let replica = replica();
    replica.announced([b"bl:a".as_slice(), b"p:cutoff:global"].into_iter());
    let batch = replica.take_wanted(10);
    assert_eq!(batch.len(), 2);
    replica.want_again(batch);
    tokio::time::advance(Duration::from_secs(3_600)).await;
    for part in 0..Set::PARTS {
        replica
            .set
            .purge(part, replica.lease.now_ms(), &replica.bound);
    }
    assert!(replica.view().lists(List::Tokens, b"a"));
    assert!(replica.view().cutoff(Scope::Everyone).unsure);
    let again = replica.take_wanted(10);
    assert_eq!(again.len(), 2);
    assert!(again.contains(&Wanted::Listed(List::Tokens, b"a".as_slice().into())));
    // Missing: provisional for a minute, and then over.
    replica.left(List::Tokens, b"a", 1, -2);
    tokio::time::advance(Duration::from_secs(59)).await;
    assert!(replica.view().lists(List::Tokens, b"a"));
    tokio::time::advance(Duration::from_secs(7)).await;
    assert!(!replica.view().lists(List::Tokens, b"a"));
}

/// Fails if: something that is turned away while a load ends counts as loaded.
#[test]
fn a_full_bound_stays_full_until_a_load_lost_nothing() {
    let bound = Bound::new(2);
    assert!(bound.take() && bound.take() && !bound.is_full());
    assert!(!bound.take() && bound.is_full());
    let before = bound.before_load();
    assert!(!bound.take());
    bound.after_load(before);
    assert!(bound.is_full(), "one was turned away meanwhile");
    let before = bound.before_load();
    bound.give_back(1);
    bound.after_load(before);
    assert!(!bound.is_full());
}

/// Fails if: freshness is looked at on one clock only, outlives a loss, or comes from another connection's proof.
#[tokio::test(start_paused = true)]
async fn a_lease_ends_with_its_proof_its_connection_and_its_machine_asleep() {
    let clock = Clock::settable(1_000_000);
    let lease = Lease::new(SECOND, clock.clone());
    let first = lease.begin();
    assert!(lease.announces(first));
    lease.proved(first, lease.stamp());
    assert!(!lease.is_fresh(), "not loaded");
    assert!(lease.after_load(first, lease.before_load()));
    assert!(lease.is_fresh() && lease.phase() == Phase::Usable);
    tokio::time::advance(SECOND).await;
    assert!(lease.is_fresh(), "to the end");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(!lease.is_fresh(), "and not beyond");
    lease.proved(first, lease.stamp());
    assert!(lease.is_fresh());
    // The machine slept: its monotonic clock did not notice.
    clock.advance(Duration::from_secs(3_600));
    assert!(!lease.is_fresh());
    lease.proved(first, lease.stamp());
    let flushes = lease.before_load();
    lease.flushed(first);
    assert!(!lease.is_fresh());
    assert!(!lease.after_load(first, flushes), "flushed since");
    assert!(lease.after_load(first, lease.before_load()) && lease.is_fresh());
    lease.lost(first);
    assert!(!lease.is_fresh());
    lease.proved(first, lease.stamp());
    assert!(
        !lease.is_fresh(),
        "a connection that is lost proves nothing"
    );
    let second = lease.begin();
    assert!(lease.announces(second) && !lease.announces(first));
    assert!(lease.after_load(second, 0));
    assert!(!lease.is_fresh(), "no proof on this connection");
    lease.until_lost(first).await;
}

/// Fails if: every try to revoke something while the store is away takes memory of its own; or what was not acknowledged is
/// not written again, by the healing after a load or on its own.
#[test]
fn an_outage_piles_up_nothing() {
    let replica = replica();
    let refused = |id: &[u8]| drop(replica.revoke(List::Tokens, id, 60_000));
    (0..1_000).for_each(|_| refused(b"one"));
    assert!(
        replica.take_debts().is_empty(),
        "nobody is there to be paid"
    );
    replica.begin_load();
    let now = replica.lease.now_ms();
    let lost = |part| replica.set.lost_by_server(part, replica.load(), now);
    assert_eq!((0..Set::PARTS).flat_map(lost).count(), 1);
    let number = replica.lease.begin();
    assert!(replica.lease.announces(number));
    let flushes = replica.lease.before_load();
    assert!(replica.lease.after_load(number, flushes));
    refused(b"two");
    assert_eq!(replica.take_debts().len(), 1);
}

/// Fails if: where nothing is announced, by a server that cannot or to a user who may not, what is over is kept all the same.
#[tokio::test(start_paused = true)]
async fn a_node_without_announcements_forgets_what_is_over() {
    let replica = replica();
    replica.revoked_in_store(List::Logins, b"acknowledged");
    // Known here, whatever a layer's policy is while the store is away; and queued for nobody.
    assert!(replica.view().lists(List::Logins, b"acknowledged"));
    assert_eq!(
        (replica.set.count().0, replica.take_wanted(9).len()),
        (1, 0)
    );
    for id in 0..900_u32 {
        drop(replica.revoke(List::Tokens, &id.to_be_bytes(), 1_000));
    }
    tokio::time::advance(70 * SECOND).await;
    assert!(!replica.view().lists(List::Logins, b"acknowledged"));
    for id in 0..u32::try_from(Set::PARTS).unwrap() {
        drop(replica.revoke(List::Tokens, &(id % 50).to_le_bytes(), 1_000));
    }
    let (left, _) = replica.set.count();
    assert!(left <= 50, "{left}");
}
