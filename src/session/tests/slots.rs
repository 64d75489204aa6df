//! Where the keys of every operation lie in a Redis Cluster.

use std::collections::BTreeSet;

use super::{
    super::{
        id::SessionId,
        ops::{self, Changes, Place},
    },
    KEPT, LIMIT, life, new_user,
    others::{csrf_calls, csrf_place, device_call, sid},
};
use crate::{
    cutoff,
    means::redis::RedisServer,
    refresh::probe::{Draw, Families},
    store::{Call, Key, Namespace, slot},
};

fn namespace() -> Namespace {
    Namespace::new("portcullis:", "jwt:blacklist:").unwrap()
}

struct Ids {
    visitor: SessionId,
    user: SessionId,
    of_tenant: SessionId,
}

fn ids(namespace: &Namespace) -> Ids {
    let acme = namespace.tenant_tag("acme");
    let [alice, carol] =
        [("", "alice"), ("acme", "carol")].map(|(t, u)| namespace.user_tag("", t, u));
    Ids {
        visitor: SessionId::anonymous().unwrap(),
        user: SessionId::of_user(&alice, None).unwrap(),
        of_tenant: SessionId::of_user(&carol, Some(&acme)).unwrap(),
    }
}

/// Every call there is, for a session of this id.
fn calls(namespace: &Namespace, id: &SessionId, old: Option<&SessionId>) -> Vec<Call> {
    // The keys of a call depend on the namespace of its store and on nothing else of it.
    let store = crate::Store::memory();
    let place = Place::new(&store, id, LIMIT);
    let changes = Changes::default();
    let user = new_user("", "alice", "sid", life(Some(1_000), 2_000, false));
    let raise = |key| cutoff::raise_call(namespace, key, KEPT);
    let mut calls = vec![
        place.load(0),
        place.save(&changes, None),
        place.create(&life(None, 2_000, false), &changes),
        place.renew(&id.successor().unwrap(), &changes),
        place.login(old, &user, &changes),
        place.destroy(),
        raise(cutoff::user_key(namespace, &id.tag())),
        raise(cutoff::tenant_key(namespace, &namespace.tenant_tag("acme"))),
        raise(cutoff::global_key(namespace)),
    ];
    calls.push(place.read());
    calls
}

/// The keys that lie outside a user's slot on purpose; a cluster asks for them in parallel, in the same trip.
fn is_declared(namespace: &Namespace, key: &Key) -> bool {
    // Cutoffs of everyone and of a tenant end sessions of users in all slots.
    *key == cutoff::global_key(namespace)
        || key.starts_with("portcullis:cutoff:tenant:")
        // The latest moment handed out ahead of the clock is one for all cutoffs, or a cutoff of everyone could miss it.
        || *key == cutoff::latest_key(namespace)
        || *key == cutoff::largest_key(namespace)
}

fn slots(namespace: &Namespace, call: &Call) -> BTreeSet<u16> {
    let tagged = call.keys.iter().filter(|key| !is_declared(namespace, key));
    tagged.map(|key| slot(key)).collect()
}

/// Fails if: a key of a session, of its user's devices or of its user's cutoff is named without the hash tag.
#[test]
fn every_operation_of_a_user_is_in_the_users_slot() {
    let namespace = namespace();
    let ids = ids(&namespace);
    let mut seen = BTreeSet::new();
    for id in [&ids.visitor, &ids.user, &ids.of_tenant] {
        let home = slot(&id.key(&namespace));
        // Moving to a new id of the same user stays at home; so does a login without a session before it.
        for old in [None, Some(&id.successor().unwrap())] {
            for call in calls(&namespace, id, old) {
                let name = call.operation.name();
                seen.insert(name);
                let at = slots(&namespace, &call);
                assert!(
                    at.is_empty() || at == BTreeSet::from([home]),
                    "{name}: {:?}",
                    call.keys
                );
            }
        }
    }
    let known: BTreeSet<_> = ops::ALL.iter().map(|operation| operation.name()).collect();
    let known = &known | &BTreeSet::from(["session.read", "cutoff.raise"]);
    assert_eq!(seen, known, "an operation that this test does not know");
}

/// The calls of devices, refresh families and CSRF secrets about one user.
fn others(namespace: &Namespace, (tenant, user): (&'static str, &'static str)) -> Vec<Call> {
    let store = crate::Store::memory();
    let tag = namespace.user_tag("", tenant, user);
    let of_tenant = (!tenant.is_empty()).then(|| namespace.tenant_tag(tenant));
    let id = SessionId::of_user(&tag, of_tenant.as_ref()).unwrap();
    let mut families = Families::new();
    let draw = Draw {
        number: 0,
        tenant,
        user,
        sid: &sid(1),
        auth_ms: 0,
        started_ms: 0,
        most_devices: 1,
        evict: true,
        kept: KEPT,
    };
    let mut calls = vec![
        families.issue(&store, &draw),
        families.rotate(&store, 0, 0),
        families.client(&store, 0),
        cutoff::start_call(&store),
    ];
    let whats = ["list", "one", "all", "others", "token"];
    calls.extend(whats.map(|what| device_call(&store, (tenant, user), what, &sid(1))));
    calls.extend(csrf_calls(&csrf_place(&store, &id)));
    calls
}

/// What these scripts name by themselves begins as the keys of the user's sessions and families do, but for denied logins.
///
/// Fails if: a key of a family, of a CSRF secret or of what the owner of devices asks is named without the hash tag.
#[test]
fn every_operation_beside_sessions_is_in_the_users_slot() {
    let namespace = namespace();
    let mut seen = BTreeSet::new();
    for user in [("", "alice"), ("acme", "carol")] {
        let tag = namespace.user_tag("", user.0, user.1);
        let home = slot(&namespace.tagged("session", &tag, "x"));
        for call in others(&namespace, user) {
            let name = call.operation.name();
            seen.insert(name);
            let at = slots(&namespace, &call);
            assert!(
                at == BTreeSet::from([home]) || (at.is_empty() && name == "cutoff.start"),
                "{name}: {:?}",
                call.keys
            );
            let names = call.args.iter().map(|arg| arg.bytes().into_owned());
            let names = names.filter_map(|name| String::from_utf8(name).ok());
            for name in names.filter(|name| name.starts_with("portcullis:")) {
                assert_eq!(slot(&[&name, "a name"].concat()), home, "{name}");
            }
        }
    }
    let known = [
        "csrf.secret",
        "cutoff.start",
        "device.devices",
        "refresh.client",
        "refresh.issue",
        "refresh.rotate",
    ];
    assert_eq!(seen, BTreeSet::from(known));
}

/// The one operation that reaches into two users' slots: a login that ends the session of a visitor or of another user.
/// On a cluster it is two trips, taking and then creating; the old session's keys are all in one slot, the new one's in
/// another.
#[test]
fn a_login_touches_the_old_sessions_slot_and_the_new_ones() {
    let namespace = namespace();
    let ids = ids(&namespace);
    for old in [&ids.visitor, &ids.of_tenant] {
        for call in calls(&namespace, &ids.user, Some(old)) {
            let both =
                BTreeSet::from([slot(&old.key(&namespace)), slot(&ids.user.key(&namespace))]);
            if call.operation.name() == "session.login" {
                assert_eq!(slots(&namespace, &call), both);
            } else {
                assert!(slots(&namespace, &call).len() <= 1);
            }
        }
    }
}

/// A logout follows a session that moved to a key that is not declared: it differs from the declared one in its last 43
/// characters alone, which are behind the hash tag.
#[test]
fn the_key_that_a_logout_follows_is_in_the_same_slot() {
    let namespace = namespace();
    let id = ids(&namespace).user;
    let next = id.successor().unwrap();
    let (from, to) = (id.key(&namespace), next.key(&namespace));
    assert_eq!([&from[..from.len() - 43], &next.hash()].concat(), to);
    assert_eq!(slot(&from), slot(&to));
}

/// Fails if: `slot` hashes the whole key in spite of a tag, or another polynomial is used.
#[tokio::test]
async fn slots_are_those_of_a_server_in_cluster_mode() {
    let server = RedisServer::start_with(&["--cluster-enabled", "yes"]).await;
    let namespace = namespace();
    let ids = ids(&namespace);
    let calls = calls(&namespace, &ids.of_tenant, Some(&ids.visitor));
    let others = others(&namespace, ("acme", "carol"));
    let odd = ["", "{}x", "{a", "a}{b}", "{{a}}", "x{a}{b}", "{a}b}", "ünï"].map(str::to_owned);
    let keys: BTreeSet<_> = calls
        .into_iter()
        .chain(others)
        .flat_map(|call| call.keys)
        .chain(odd)
        .collect();
    for key in keys {
        let told: u16 = server.ask(&["CLUSTER", "KEYSLOT", &key]).await;
        assert_eq!(slot(&key), told, "{key}");
    }
}
