//! Every operation on a real server and on its in-memory twin, with the same random steps: the replies are equal, and
//! so is everything that is stored afterwards.
//!
//! The scripts run as they are but for one thing in front of them: `TIME` answers what the suite says. So both halves
//! see the same moment, steps fall into the same millisecond as often as they like, and a record can be expired while
//! its key is still there. The suite's moment lies a day ahead of the server's own clock, by which keys expire: within
//! a run none does. (That they do expire is shown in `tests/it/store`.)

use std::{collections::HashMap, time::Duration};

use super::{super::ops, steps::Steps};
use crate::{
    means::redis::RedisServer,
    store::{
        Call, Content, Entry, Memory, Shadows, Store, StoreError, StoreErrorKind, Value, time_is,
    },
};

const STEPS: usize = 100_000;
const BATCH: usize = 400;
const DAY: u64 = 24 * 60 * 60 * 1_000;

/// What both sides must agree on: a reply, or that there is none. The texts of errors are the server's own.
fn same(redis: &Result<Value, StoreError>, memory: &Result<Value, StoreError>) -> bool {
    match (redis, memory) {
        (Ok(redis), Ok(memory)) => redis == memory,
        (Err(redis), Err(memory)) => {
            matches!(
                redis.kind(),
                StoreErrorKind::Server | StoreErrorKind::Corrupt
            ) && memory.kind() == StoreErrorKind::Corrupt
        }
        _ => false,
    }
}

/// The mark of a session that moved, and a denied login, live for a time from now, by the server's own clock.
fn normal(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    for entry in &mut entries {
        if matches!(&entry.content, Content::Text(text) if text.first().is_some_and(|first| b">!".contains(first)))
            && entry.key.contains(":session:")
            || entry.key.contains("-sid:")
        {
            assert!(entry.expires.is_some(), "{entry:?}");
            entry.expires = None;
        }
        if matches!(&entry.content, Content::Hash(family) if family.contains_key(&b"ended"[..])) {
            entry.expires = None;
        }
    }
    entries
}

/// How often an error is looked at more closely: that takes a while.
const CLOSELY: usize = 4;

struct Bench {
    store: Store,
    memory: Memory,
    steps: Steps,
    shadows: Shadows,
    seed: u64,
    done: usize,
    /// How many errors were seen to have left everything as it was.
    whole: usize,
    /// How often each operation was answered in which way.
    tally: HashMap<(&'static str, &'static str), usize>,
}

impl Bench {
    fn new(store: Store, seed: u64, server_now: u64) -> Self {
        let mut memory = Memory::new(usize::MAX);
        memory.advance_to(server_now);
        let steps = Steps::new(seed, store.clone(), server_now + DAY);
        Self {
            store,
            memory,
            steps,
            shadows: Shadows::default(),
            seed,
            done: 0,
            whole: 0,
            tally: HashMap::new(),
        }
    }

    /// One batch on both; the in-memory half goes first, step by step, and steps may look at it.
    async fn batch(&mut self) {
        let mut calls = Vec::with_capacity(2 * BATCH);
        let mut expected = Vec::with_capacity(2 * BATCH);
        for _ in 0..BATCH {
            let call = self.steps.next(&self.memory);
            let now = self.steps.now;
            let looks = calls.len() % (2 * CLOSELY) == 0;
            let before = looks.then(|| normal(self.memory.entries()));
            let reply = call.operation.on_memory(&mut self.memory, now, &call);
            if let (Some(before), Err(_)) = (before, &reply) {
                let name = call.operation.name();
                assert_eq!(normal(self.memory.entries()), before, "{name}: half done");
                self.whole += 1;
            }
            calls.push(time_is(now));
            expected.push(Ok(Value::bytes("OK")));
            calls.push(self.shadows.of(&call));
            expected.push(reply);
        }
        let replies = self.store.trip(&calls).await.unwrap();
        for (at, (redis, memory)) in replies.iter().zip(&expected).enumerate() {
            let call = &calls[at];
            assert!(
                same(redis, memory),
                "seed {:#x}, step {}, {}: redis {}, memory {}, keys {:?}, args {:?}",
                self.seed,
                self.done + at / 2,
                call.operation.name(),
                shown(redis),
                shown(memory),
                call.keys,
                call.args
                    .iter()
                    .map(|arg| String::from_utf8_lossy(&arg.bytes()).into_owned())
                    .collect::<Vec<_>>(),
            );
            *self
                .tally
                .entry((call.operation.name(), kind(redis)))
                .or_default() += 1;
        }
        self.done += BATCH;
        self.compare_state(&calls).await;
        let tidy = self.steps.tidy(&self.memory);
        for call in &tidy {
            call.operation.on_memory(&mut self.memory, 0, call).unwrap();
        }
        self.store.trip(&tidy).await.unwrap();
    }

    async fn compare_state(&self, calls: &[Call]) {
        let redis = normal(self.store.entries().await.unwrap());
        let memory = normal(self.memory.entries());
        if redis == memory {
            return;
        }
        let (left, right): (Vec<_>, Vec<_>) = (
            redis
                .iter()
                .filter(|entry| !memory.contains(entry))
                .collect(),
            memory
                .iter()
                .filter(|entry| !redis.contains(entry))
                .collect(),
        );
        let key = &left.first().or_else(|| right.first()).unwrap().key;
        let history: Vec<_> = calls
            .iter()
            .filter(|call| call.keys.contains(key))
            .map(|call| {
                (
                    call.operation.name(),
                    call.args.first().map(|arg| arg.bytes().into_owned()),
                )
            })
            .collect();
        panic!(
            "seed {:#x}, before step {}: redis {left:?}, memory {right:?}, history of {key}: {history:?}",
            self.seed, self.done
        );
    }
}

fn shown(reply: &Result<Value, StoreError>) -> String {
    match reply {
        Ok(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Ok(Value::List(values)) => format!(
            "{:?}",
            values
                .iter()
                .cloned()
                .map(Ok)
                .map(|v| shown(&v))
                .collect::<Vec<_>>()
        ),
        Ok(other) => format!("{other:?}"),
        Err(error) => format!("{error:?}"),
    }
}

fn kind(reply: &Result<Value, StoreError>) -> &'static str {
    match reply {
        Ok(Value::Nil) => "nil",
        Ok(Value::Int(0)) => "0",
        Ok(Value::Int(1)) => "1",
        Ok(Value::Int(2)) => "2",
        Ok(Value::Int(_)) => "int",
        Ok(Value::Bytes(_)) => "bytes",
        Ok(Value::List(_)) => "list",
        Err(_) => "error",
    }
}

/// Fails if: any line of a script or of its twin is changed alone, such as `rev + 1`, `<=` for `<` in `is_cut`, the
/// order of fields, a missing `PEXPIREAT`, `max(touched, now)`, or the sid of a repeated login; or a script writes before it
/// has read all that it may stumble over.
#[tokio::test]
async fn scripts_and_their_rust_twins_are_equal() {
    let seed = std::env::var("CONFORMANCE_SEED").map_or_else(
        |_| u64::from_le_bytes(crate::secret::random_bytes().unwrap()),
        |seed| u64::from_str_radix(seed.trim_start_matches("0x"), 16).unwrap(),
    );
    eprintln!("CONFORMANCE_SEED={seed:#x}");
    let server = RedisServer::start().await;
    let store = Store::builder()
        .deadline(Duration::from_secs(30))
        .connect(&server.url())
        .await
        .unwrap();
    let time: (u64, u64) = server.ask(&["TIME"]).await;
    let mut bench = Bench::new(store, seed, time.0 * 1_000 + time.1 / 1_000);
    while bench.done < STEPS {
        bench.batch().await;
    }
    let mut tally: Vec<_> = bench.tally.iter().collect();
    tally.sort();
    eprintln!("{tally:?}");
    for operation in ops::ALL
        .iter()
        .map(|operation| operation.name())
        .chain(["session.read", "cutoff.raise", "cutoff.start"])
        .chain(["refresh.issue", "refresh.rotate", "refresh.client"])
        .chain(["device.devices", "csrf.secret"])
    {
        let seen: usize = tally
            .iter()
            .filter(|((name, _), _)| *name == operation)
            .map(|(_, count)| **count)
            .sum();
        assert!(seen > STEPS / 150, "{operation} was hardly tried: {seen}");
    }
    assert!(bench.whole > 100, "errors looked at: {}", bench.whole);
    // Every answer that an operation has was given often enough to have been compared.
    for answer in [
        ("session.create", "nil"),
        ("session.create", "bytes"),
        ("session.create", "2"),
        ("session.renew", "nil"),
        ("session.renew", "bytes"),
        ("session.renew", "2"),
        ("session.renew", "error"),
        ("session.login", "bytes"),
        ("session.login", "2"),
        ("session.login", "error"),
        ("session.save", "0"),
        ("session.save", "1"),
        ("session.save", "2"),
        ("session.save", "int"),
        ("session.save", "error"),
        ("session.load", "list"),
        ("session.load", "error"),
        ("session.destroy", "0"),
        ("session.destroy", "1"),
        ("session.destroy", "bytes"),
        ("session.login", "nil"),
        ("session.login", "int"),
        ("cutoff.raise", "bytes"),
        ("cutoff.raise", "error"),
        ("cutoff.start", "bytes"),
        ("cutoff.start", "error"),
        ("refresh.issue", "list"),
        ("refresh.issue", "error"),
        ("refresh.rotate", "list"),
        ("refresh.rotate", "error"),
        ("refresh.client", "bytes"),
        ("refresh.client", "nil"),
        ("device.devices", "list"),
        ("device.devices", "0"),
        ("device.devices", "1"),
        ("device.devices", "error"),
        ("csrf.secret", "nil"),
        ("csrf.secret", "bytes"),
    ] {
        assert!(
            bench.tally.get(&answer).copied().unwrap_or(0) >= 5,
            "{answer:?} in {tally:?}"
        );
    }
}
