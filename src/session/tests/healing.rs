//! Scripts that the server has lost, in trips of several calls.

use super::{
    super::{
        id::SessionId,
        ops::{ALL, Changes, Place},
        record::Record,
    },
    KEPT, LIMIT, life,
};
use crate::{
    cutoff,
    means::redis::RedisServer,
    store::{Call, Store, StoreErrorKind, Value},
};

/// Each call of a trip is carried out exactly once, whether its script was there or not, and gets its own reply.
///
/// Fails if: the whole trip is sent again, or the replies of the second round are handed out in another order.
#[tokio::test]
async fn a_trip_whose_scripts_are_gone_is_carried_out_once() {
    let server = RedisServer::start().await;
    let store = Store::connect_lazy(&server.url()).unwrap();
    store.register(&ALL);
    let connection = redis::Client::open(server.url()).unwrap();
    let connection = connection.get_multiplexed_async_connection().await.unwrap();
    let external = Store::builder().from_redis(connection).unwrap();
    for (at, store) in [store, external].iter().enumerate() {
        let namespace = store.namespace();
        let id = SessionId::anonymous().unwrap();
        let place = Place::new(store, &id, LIMIT);
        let long = life(Some(60_000), 600_000, false);
        store
            .run(place.create(&long, &Changes::default()))
            .await
            .unwrap();
        let set = |value: &str| Changes {
            clear: false,
            fields: [("last".to_owned(), Some(value.to_owned()))].into(),
        };
        // Two of these stay known to the server: a flush, then one script that is loaded again.
        server.cli(&["SCRIPT", "FLUSH"]).await;
        store.run(place.load(0)).await.unwrap();
        let user = format!("somebody-{at}");
        let cutoff = cutoff::user_key(namespace, &namespace.user_tag("", "", &user));
        let raise = || cutoff::raise_call(namespace, cutoff.clone(), KEPT);
        let (one, two) = (set("1"), set("2"));
        let read = || place.read_alone();
        let calls: Vec<Call> = vec![
            read(),
            raise(),
            place.save(&one, None),
            place.load(0),
            raise(),
            place.save(&two, None),
            read(),
        ];
        let replies: Vec<Value> = store
            .trip(&calls)
            .await
            .unwrap()
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(replies[2], Value::Int(1));
        assert_eq!(replies[5], Value::Int(1));
        assert!(
            replies[1].number().unwrap() < replies[4].number().unwrap(),
            "in their order"
        );
        let record = |reply: &Value| match reply {
            Value::Bytes(raw) => Record::of(raw.clone(), id.check()).unwrap(),
            other => panic!("a record: {other:?}"),
        };
        assert_eq!(record(&replies[0]).header.rev, 1);
        let after = record(&store.run(read()).await.unwrap());
        assert_eq!(
            (after.header.rev, after.field("last")),
            (3, Some(&b"2"[..])),
            "each save once, the second last"
        );
    }
}

/// One call that is refused does not take the others of its trip with it.
#[tokio::test]
async fn a_refused_call_leaves_the_others_their_replies() {
    let server = RedisServer::start().await;
    let store = Store::connect(&server.url()).await.unwrap();
    let namespace = store.namespace();
    let tag = namespace.user_tag("", "", "alice");
    server
        .cli(&["RPUSH", &cutoff::user_key(namespace, &tag), "x"])
        .await;
    let raise = |key| cutoff::raise_call(namespace, key, KEPT);
    for _ in 0..2 {
        let calls = [
            raise(cutoff::global_key(namespace)),
            raise(cutoff::user_key(namespace, &tag)),
            raise(cutoff::global_key(namespace)),
        ];
        let replies = store.trip(&calls).await.unwrap();
        let [first, refused, third] = &replies[..] else {
            panic!("three calls, {} replies", replies.len());
        };
        assert_eq!(
            refused.as_ref().unwrap_err().kind(),
            StoreErrorKind::Corrupt
        );
        let number = |reply: &Result<Value, _>| reply.as_ref().unwrap().number().unwrap();
        assert!(number(first) < number(third));
    }
}

#[tokio::test]
async fn an_empty_trip_is_no_trip() {
    let server = RedisServer::start().await;
    let store = Store::connect(&server.url()).await.unwrap();
    assert!(store.trip(&[]).await.unwrap().is_empty());
}
