//! What somebody else wrote under our keys: nobody is let in by it, nothing is half done, and a login gets past it.

use super::{
    super::{
        id::SessionId,
        ops::{Changes, NewUser, Place, Written, loaded, written},
        record::Record,
    },
    LIMIT, life, new_user,
};
use crate::{
    cutoff, device,
    means::redis::RedisServer,
    store::{Call, Content, Entry, Key, Store, StoreErrorKind, Value},
};

async fn both() -> [(Store, Option<RedisServer>); 2] {
    let server = RedisServer::start().await;
    let store = Store::connect(&server.url()).await.unwrap();
    [(Store::memory(), None), (store, Some(server))]
}

fn foreign() -> [Content; 3] {
    [
        Content::Hash([(b"f".to_vec(), b"v".to_vec())].into()),
        Content::Sorted([(b"m".to_vec(), 1)].into()),
        Content::Text(b"garbage".to_vec()),
    ]
}

async fn put(store: &Store, key: Key, content: Content) {
    let entry = Entry {
        key,
        content,
        expires: None,
    };
    store.run(entry.put()).await.unwrap();
}

async fn remove(store: &Store, key: Key) {
    put(store, key, Content::Foreign("none".to_owned())).await;
}

fn carol(store: &Store) -> SessionId {
    let namespace = store.namespace();
    let tag = namespace.user_tag("", "acme", "carol");
    SessionId::of_user(&tag, Some(&namespace.tenant_tag("acme"))).unwrap()
}

fn user(sid: &str) -> NewUser<'_> {
    new_user("acme", "carol", sid, life(Some(600_000), 6_000_000, false))
}

async fn sign_in(store: &Store, old: Option<&SessionId>, sid: &str) -> (SessionId, Record) {
    let id = carol(store);
    let call = Place::new(store, &id, LIMIT).login(old, &user(sid), &Changes::default());
    match written(store.run(call).await.unwrap(), &id).unwrap() {
        Written::Done(record) => (id, record),
        _ => panic!("a login"),
    }
}

/// A cutoff that cannot be read is no missing one, whichever way a session is loaded.
///
/// Fails if: cutoffs are read with `MGET`.
#[tokio::test]
async fn a_session_whose_cutoff_cannot_be_read_is_unknown() {
    for (store, _server) in both().await {
        let namespace = store.namespace();
        let (id, _) = sign_in(&store, None, "a sid").await;
        let place = Place::new(&store, &id, LIMIT);
        let keys = [
            cutoff::user_key(namespace, &id.tag()),
            cutoff::tenant_key(namespace, &id.tenant().unwrap()),
            cutoff::global_key(namespace),
        ];
        for key in keys {
            for content in foreign() {
                put(&store, key.clone(), content.clone()).await;
                for call in [place.read(), place.load(0), place.load(60_000)] {
                    let reply = store.run(call).await;
                    let found = reply.and_then(|reply| loaded(reply, &id.name(), None));
                    let kind = found.err().map(|error| error.kind());
                    assert!(
                        matches!(kind, Some(StoreErrorKind::Corrupt | StoreErrorKind::Server)),
                        "{key} {content:?}: {kind:?}"
                    );
                }
            }
            remove(&store, key).await;
            let reply = store.run(place.read()).await.unwrap();
            assert!(loaded(reply, &id.name(), None).unwrap().record.is_some());
        }
    }
}

/// Fails if: login.lua stumbles over the record it replaces, or leaves it there.
#[tokio::test]
async fn a_login_replaces_a_session_that_cannot_be_read() {
    for (store, _server) in both().await {
        let (sound, record) = sign_in(&store, None, "sid 0").await;
        let raw = record.into_raw();
        let mut newer = raw.clone();
        newer[0] = b'2';
        let fields = [&raw[..], b"1:a3:\"b"].concat();
        let texts = [newer, fields, raw[..50].to_vec(), Vec::new()].map(Content::Text);
        for (at, content) in foreign().into_iter().chain(texts).enumerate() {
            let old = sound.successor().unwrap();
            let key = old.key(store.namespace());
            put(&store, key.clone(), content.clone()).await;
            let (new, record) = sign_in(&store, Some(&old), &format!("sid {}", at + 1)).await;
            assert_eq!(record.fields().count(), 0, "{content:?}");
            let entries = store.entries().await.unwrap();
            let left = entries.iter().find(|entry| entry.key == key);
            // Whose header can be read it moved, as ever.
            let is_mark =
                |entry: &Entry| matches!(&entry.content, Content::Text(raw) if raw[0] == b'>');
            assert!(left.is_none_or(is_mark), "{content:?}: {left:?}");
            let reply = store.run(Place::new(&store, &new, LIMIT).read()).await;
            let found = loaded(reply.unwrap(), &new.name(), None).unwrap();
            assert!(found.record.is_some());
        }
    }
}

/// Fails if: destroy.lua stumbles over the record it ends, or over one that it moved to.
#[tokio::test]
async fn a_logout_ends_a_session_that_cannot_be_read() {
    for (store, _server) in both().await {
        for content in foreign() {
            let (old, _) = sign_in(&store, None, "a sid").await;
            let id = old.successor().unwrap();
            let renewal = Place::new(&store, &old, LIMIT).renew(&id, &Changes::default());
            store.run(renewal).await.unwrap();
            let key = id.key(store.namespace());
            put(&store, key.clone(), content.clone()).await;
            let reply = store.run(Place::new(&store, &old, LIMIT).destroy()).await;
            assert_eq!(reply.unwrap(), Value::Int(1), "{content:?}");
            let entries = store.entries().await.unwrap();
            assert!(entries.iter().all(|entry| entry.key != key), "{content:?}");
        }
    }
}

/// Fails if: any script writes before it has looked at the index (`index_check`).
#[tokio::test]
async fn an_index_of_another_kind_is_an_error_and_nothing_is_half_done() {
    for (store, _server) in both().await {
        let (id, _) = sign_in(&store, None, "a sid").await;
        let keys = device::keys(store.namespace(), &id.tag());
        let place = Place::new(&store, &id, LIMIT);
        let (heir, new) = (id.successor().unwrap(), carol(&store));
        let one = Changes {
            clear: false,
            fields: [("a".to_owned(), Some("1".to_owned()))].into(),
        };
        let one_of_a_new = Place::new(&store, &new, LIMIT);
        let calls: [Call; 6] = [
            place.load(0),
            place.save(&one, None),
            place.renew(&heir, &one),
            place.destroy(),
            one_of_a_new.login(Some(&id), &user("sid 1"), &one),
            one_of_a_new.login(None, &user("sid 2"), &one),
        ];
        let sound = store.entries().await.unwrap();
        for key in keys {
            let was = sound.iter().find(|entry| entry.key == key).unwrap();
            put(&store, key.clone(), Content::Text(b"garbage".to_vec())).await;
            let before = store.entries().await.unwrap();
            for call in &calls {
                let name = call.operation.name();
                let error = store.run(call.clone()).await.unwrap_err();
                assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{name}: {key}");
                assert_eq!(store.entries().await.unwrap(), before, "{name}: {key}");
            }
            store.run(was.put()).await.unwrap();
        }
        for call in calls {
            let reply = store.run(call).await;
            assert!(!matches!(reply, Err(_) | Ok(Value::Nil)), "{reply:?}");
        }
    }
}

/// A request that was under way with the id of before a renewal signs in: the session that was renewed ends, and gives
/// nothing away unless it is the same user's.
///
/// Fails if: login.lua does not follow the mark of a session that moved; or hands a visitor's fields to whoever has the
/// old id.
#[tokio::test]
async fn a_login_ends_the_session_that_the_old_id_moved_to() {
    for (store, _server) in both().await {
        let set = Changes {
            clear: false,
            fields: [("cart".to_owned(), Some("\"book\"".to_owned()))].into(),
        };
        let visitor = SessionId::anonymous().unwrap();
        let create = Place::new(&store, &visitor, LIMIT).create(&life(None, 60_000, false), &set);
        store.run(create).await.unwrap();
        let bob_tag = store.namespace().user_tag("", "", "bob");
        let bob = SessionId::of_user(&bob_tag, None).unwrap();
        let bobs = new_user("", "bob", "bob's", life(None, 60_000, false));
        let call = Place::new(&store, &bob, LIMIT).login(None, &bobs, &set);
        store.run(call).await.unwrap();
        let (own, _) = sign_in(&store, None, "the same").await;
        store
            .run(Place::new(&store, &own, LIMIT).save(&set, None))
            .await
            .unwrap();
        for (old, same) in [(visitor, false), (bob, false), (own, true)] {
            let mut moved = old;
            for _ in 0..3 {
                let next = moved.successor().unwrap();
                let call = Place::new(&store, &moved, LIMIT).renew(&next, &Changes::default());
                assert!(matches!(store.run(call).await.unwrap(), Value::Bytes(_)));
                moved = next;
            }
            let (_, record) = sign_in(&store, Some(&old), "another").await;
            assert_eq!(record.field("cart").is_some(), same);
            assert_eq!(*record.header.sid == *b"the same", same);
            let reply = store.run(Place::new(&store, &moved, LIMIT).read()).await;
            let left = loaded(reply.unwrap(), &moved.name(), None).unwrap();
            assert!(left.record.is_none(), "the session that moved has ended");
            let [zset, _] = device::keys(store.namespace(), &bob_tag);
            let listed = store.entries().await.unwrap();
            let listed = listed.iter().any(|entry| entry.key == zset);
            assert_eq!(listed, old == visitor, "bob's device");
        }
    }
}
