//! Many at once on one session, over both stores: what must hold however they interleave.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{
    super::{
        id::SessionId,
        ops::{ALL, Changes, Place, Written, loaded, written},
        record::Record,
    },
    KEPT, life, new_user,
};
use crate::{
    cutoff,
    cutoff::Cutoffs,
    means::redis::RedisServer,
    store::{Call, Content, Store, Value},
};

const TASKS: usize = 64;
const LIMIT: u64 = 64 * 1024;

/// Two nodes on one store: two connections to a server, which ends with this, or the same memory twice.
struct Nodes([Store; 2], #[allow(dead_code)] Option<RedisServer>);

impl Nodes {
    async fn both() -> [Self; 2] {
        let memory = Store::memory();
        let server = RedisServer::start().await;
        let node = || {
            Store::builder()
                .deadline(Duration::from_secs(20))
                .connect_lazy(&server.url())
        };
        let redis = [node().unwrap(), node().unwrap()];
        redis.iter().for_each(|store| store.register(&ALL));
        [
            Self([memory.clone(), memory], None),
            Self(redis, Some(server)),
        ]
    }

    fn store(&self) -> &Store {
        &self.0[0]
    }

    async fn run(&self, call: Call) -> Value {
        self.store().run(call).await.unwrap()
    }

    /// All the calls at once, over both nodes in turn; the replies in the order of the calls.
    async fn at_once(&self, calls: Vec<Call>) -> Vec<Value> {
        let mut tasks = JoinSet::new();
        for (at, call) in calls.into_iter().enumerate() {
            let store = self.0[at % 2].clone();
            tasks.spawn(async move { (at, store.run(call).await.unwrap()) });
        }
        let mut replies: Vec<_> = tasks.join_all().await;
        replies.sort_by_key(|(at, _)| *at);
        replies.into_iter().map(|(_, reply)| reply).collect()
    }

    fn place<'a>(&'a self, id: &'a SessionId) -> Place<'a> {
        Place::new(self.store(), id, LIMIT)
    }

    async fn visitor(&self) -> SessionId {
        let id = SessionId::anonymous().unwrap();
        let long = life(Some(600_000), 6_000_000, false);
        let reply = self
            .run(self.place(&id).create(&long, &one("kept", "yes")))
            .await;
        assert!(matches!(reply, Value::Bytes(_)));
        id
    }

    async fn load(&self, id: &SessionId) -> Option<Record> {
        let reply = self.store().run(self.place(id).read()).await.unwrap();
        loaded(reply, &id.name(), None).unwrap().record
    }
}

fn one(name: &str, value: &str) -> Changes {
    let fields = [(name.to_owned(), Some(format!("\"{value}\"")))].into();
    Changes {
        clear: false,
        fields,
    }
}

fn login(
    nodes: &Nodes,
    new: &SessionId,
    old: Option<&SessionId>,
    sid: &str,
    changes: &Changes,
) -> Call {
    let user = new_user("", "alice", sid, life(Some(600_000), 6_000_000, false));
    nodes.place(new).login(old, &user, changes)
}

fn alices(nodes: &Nodes) -> SessionId {
    let tag = nodes.store().namespace().user_tag("", "", "alice");
    SessionId::of_user(&tag, None).unwrap()
}

fn count(replies: &[Value], wanted: &Value) -> usize {
    replies.iter().filter(|reply| *reply == wanted).count()
}

/// Fails if: `save.lua` writes the fields it was sent without those it found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_one_of_many_saves_survives() {
    for nodes in Nodes::both().await {
        let id = nodes.visitor().await;
        let save = |at| {
            nodes
                .place(&id)
                .save(&one(&format!("field-{at}"), "set"), None)
        };
        let replies = nodes.at_once((0..TASKS).map(save).collect()).await;
        assert_eq!(count(&replies, &Value::Int(1)), TASKS);
        let record = nodes.load(&id).await.unwrap();
        assert_eq!(record.fields().count(), TASKS + 1);
        assert_eq!(record.header.rev, 1 + TASKS as u64);
    }
}

/// Fails if: `renew.lua` leaves the old record behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_renewals_wins() {
    for nodes in Nodes::both().await {
        let id = nodes.visitor().await;
        let heirs: Vec<_> = (0..TASKS).map(|_| id.successor().unwrap()).collect();
        let renew = |heir| nodes.place(&id).renew(heir, &Changes::default());
        let replies = nodes.at_once(heirs.iter().map(renew).collect()).await;
        let mut winners = 0;
        for (heir, reply) in heirs.iter().zip(replies) {
            let won = matches!(written(reply, heir).unwrap(), Written::Done(_));
            winners += usize::from(won);
            assert_eq!(nodes.load(heir).await.is_some(), won);
        }
        assert_eq!(winners, 1);
        assert!(nodes.load(&id).await.is_none());
    }
}

/// Saves, touches and renewals against one logout: whatever came when, nothing of the session is left.
///
/// Fails if: a save writes without looking whether the session exists, or a logout does not follow a renewal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_among_many_writes_leaves_nothing() {
    for nodes in Nodes::both().await {
        let id = alices(&nodes);
        nodes
            .run(login(&nodes, &id, None, "sid", &Changes::default()))
            .await;
        let mut heirs = vec![id];
        let mut calls = Vec::new();
        for at in 0..TASKS {
            calls.push(match at % 4 {
                0 if at == TASKS / 2 => nodes.place(&id).destroy(),
                1 if heirs.len() < 4 => {
                    heirs.push(id.successor().unwrap());
                    nodes
                        .place(&id)
                        .renew(heirs.last().unwrap(), &Changes::default())
                }
                2 => nodes.place(&id).load(0),
                _ => nodes
                    .place(&id)
                    .save(&one(&format!("field-{at}"), "set"), None),
            });
        }
        nodes.at_once(calls).await;
        for heir in &heirs {
            assert!(nodes.load(heir).await.is_none());
        }
        let left: Vec<_> = nodes.store().entries().await.unwrap();
        let left: Vec<_> = left
            .into_iter()
            .filter(|entry| !matches!(&entry.content, Content::Text(text) if text.first() == Some(&b'>')))
            .filter(|entry| !entry.key.contains("-sid:") && !entry.key.ends_with("cutoff:latest"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Fails if: the fields of the visitor's session go to more than one login, or its record stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_logins_takes_the_visitors_session_over() {
    for nodes in Nodes::both().await {
        let visitor = nodes.visitor().await;
        let ids: Vec<_> = (0..TASKS).map(|_| alices(&nodes)).collect();
        let logins = ids.iter().enumerate();
        let logins = logins.map(|(at, id)| {
            login(
                &nodes,
                id,
                Some(&visitor),
                &format!("sid-{at}"),
                &Changes::default(),
            )
        });
        nodes.at_once(logins.collect()).await;
        assert!(nodes.load(&visitor).await.is_none());
        let mut heirs = 0;
        for id in &ids {
            heirs += usize::from(nodes.load(id).await.unwrap().field("kept").is_some());
        }
        assert_eq!(heirs, 1);
        let entries = nodes.store().entries().await.unwrap();
        let listed = entries.iter().find_map(|entry| match &entry.content {
            Content::Sorted(map) => Some(map.len()),
            _ => None,
        });
        assert_eq!(listed, Some(TASKS), "each has its own entry in the index");
    }
}

/// Cutoffs and logins of one user in the same milliseconds: every cutoff is a moment of its own, and a login is alive
/// if and only if its moment is later than the last of them.
///
/// Fails if: `raise.lua` forgets `old + 1` or `ahead`, or a login takes the present for its moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cutoffs_and_logins_of_the_same_millisecond_are_in_order() {
    for nodes in Nodes::both().await {
        let namespace = nodes.store().namespace().clone();
        let id = alices(&nodes);
        let key = cutoff::user_key(&namespace, &id.tag());
        let ids: Vec<_> = (0..TASKS).map(|_| alices(&nodes)).collect();
        let mut calls = Vec::new();
        for (at, id) in ids.iter().enumerate() {
            calls.push(login(
                &nodes,
                id,
                None,
                &format!("sid-{at}"),
                &Changes::default(),
            ));
            calls.push(cutoff::raise_call(&namespace, key.clone(), KEPT));
        }
        let replies = nodes.at_once(calls).await;
        let mut raised: Vec<u64> = replies
            .iter()
            .skip(1)
            .step_by(2)
            .map(|reply| reply.number().unwrap())
            .collect();
        raised.sort_unstable();
        let last = *raised.last().unwrap();
        raised.dedup();
        assert_eq!(raised.len(), TASKS, "no two are the same");
        for (id, reply) in ids.iter().zip(replies.into_iter().step_by(2)) {
            let Written::Done(record) = written(reply, id).unwrap() else {
                panic!("a login is answered by its record");
            };
            assert_eq!(nodes.load(id).await.is_some(), record.header.auth > last);
        }
        // And now, with nothing in between: in, all out, in again.
        let before = alices(&nodes);
        nodes
            .run(login(&nodes, &before, None, "before", &Changes::default()))
            .await;
        Cutoffs::new(nodes.store()).everyone().await.unwrap();
        let after = alices(&nodes);
        nodes
            .run(login(&nodes, &after, None, "after", &Changes::default()))
            .await;
        assert!(nodes.load(&before).await.is_none());
        assert!(nodes.load(&after).await.is_some());
    }
}
