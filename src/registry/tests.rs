//! Every script on a real server and on its in-memory twin, with the same random steps; and where its keys lie.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use super::{
    ops::{self, Filling},
    standing::Standing,
};
use crate::{
    cutoff,
    means::redis::RedisServer,
    near::Scope,
    store::{
        Call, Content, Entry, Memory, Shadows, Store, StoreErrorKind, Tag, Value, slot, time_is,
    },
};

const STEPS: usize = 20_000;
const BATCH: usize = 400;
const DAY: u64 = 24 * 60 * 60 * 1_000;

struct Steps {
    random: u64,
    store: Store,
    now: u64,
}

impl Steps {
    /// SplitMix64.
    fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn next(&mut self, memory: &Memory) -> Call {
        if self.below(4) == 0 {
            self.now += self.below(3_000);
        }
        let store = self.store.clone();
        let sid = format!("sid-{}", self.below(3));
        let held = ops::release(&store, &sid, "");
        let text = |at: usize| {
            let bytes = memory.get(&held.keys[at]).ok().flatten();
            bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        // Mostly what a reader would say, so that writes come about.
        let lease = match self.below(4) {
            0 => format!("lease-{}", self.below(3)),
            _ => text(2).unwrap_or_else(|| "lease-0".to_owned()),
        };
        let generation = match self.below(4) {
            0 => self.below(3).to_string(),
            _ => text(1).unwrap_or_else(|| "0".to_owned()),
        };
        let standing = match self.below(3) {
            0 => Standing::Gone,
            _ => Standing::from_text(r#"+1700000000000:["","übung\n"]"#).unwrap(),
        };
        let filling = Filling {
            lease: &lease,
            generation: &generation,
            standing: &standing,
            fresh_ms: self.below(4_000),
            kept_ms: 1 + self.below(100_000),
        };
        let moment = self.now - 500 + self.below(1_000);
        let scope = Scope::User(Tag::from_bytes(&[1; Tag::BYTES]));
        match self.below(100) {
            0..40 => {
                let lease = format!("lease-{}", self.below(9));
                ops::read(&store, &sid, &lease, 1 + self.below(5_000))
            }
            40..65 => ops::fill(&store, &sid, &filling),
            65..75 => ops::forget(&store, &sid, 1 + self.below(60_000)),
            75..80 => ops::release(&store, &sid, &lease),
            80..84 => ops::clock(&store),
            84..88 => ops::mark(&store, moment, DAY),
            88..92 => cutoff::at_least_call(&store, &scope, moment, self.below(2) == 0),
            _ => self.damage(&held.keys),
        }
    }

    /// Deletes something, or puts there what nobody of us wrote.
    fn damage(&mut self, keys: &[String]) -> Call {
        let at = usize::try_from(self.below(3)).unwrap();
        let mut key = keys[at].clone();
        if self.below(4) == 0 {
            key.clone_from(&ops::clock(&self.store).keys[0]);
        }
        let content = match self.below(8) {
            0 => Content::Text(b"garbage".to_vec()),
            1 => Content::Text(format!("{:015}", self.now + 900).into_bytes()),
            2 => Content::Text(format!("{:015}-", self.now + 900).into_bytes()),
            3 => Content::Hash([(b"f".to_vec(), b"v".to_vec())].into()),
            _ => Content::Foreign("none".to_owned()),
        };
        let expires = Some(self.now + DAY);
        Entry {
            key,
            content,
            expires,
        }
        .put()
    }
}

/// Fails if: a line of a script or of its twin is changed alone.
#[tokio::test]
async fn scripts_and_their_rust_twins_are_equal() {
    let server = RedisServer::start().await;
    let store = Store::builder().deadline(Duration::from_secs(30));
    let store = store.connect(&server.url()).await.unwrap();
    let time: (u64, u64) = server.ask(&["TIME"]).await;
    let seed = u64::from_le_bytes(crate::secret::random_bytes().unwrap());
    eprintln!("seed {seed:#x}");
    let mut memory = Memory::new(usize::MAX);
    memory.advance_to(time.0 * 1_000);
    let mut steps = Steps {
        random: seed,
        store: store.clone(),
        now: time.0 * 1_000 + DAY,
    };
    let mut shadows = Shadows::default();
    let mut tally: HashMap<(&str, String), usize> = HashMap::new();
    for _ in 0..STEPS / BATCH {
        let (mut calls, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..BATCH {
            let call = steps.next(&memory);
            let reply = call.operation.on_memory(&mut memory, steps.now, &call);
            calls.push(time_is(steps.now));
            calls.push(shadows.of(&call));
            expected.push(reply);
        }
        let replies = store.trip(&calls).await.unwrap();
        for (at, memory) in expected.iter().enumerate() {
            let (redis, call) = (&replies[2 * at + 1], &calls[2 * at + 1]);
            let name = call.operation.name();
            match (redis, memory) {
                (Ok(redis), Ok(memory)) => {
                    assert_eq!(redis, memory, "seed {seed:#x}, {name} {:?}", call.args);
                    let first = match redis {
                        Value::List(parts) => format!("{:?}", parts[0]),
                        Value::Int(number) => number.to_string(),
                        _ => String::new(),
                    };
                    let first = if name == "registry.clock" {
                        String::new()
                    } else {
                        first
                    };
                    *tally.entry((name, first)).or_default() += 1;
                }
                (Err(redis), Err(memory)) => {
                    assert_eq!(memory.kind(), StoreErrorKind::Corrupt);
                    let kinds = [StoreErrorKind::Server, StoreErrorKind::Corrupt];
                    assert!(kinds.contains(&redis.kind()), "{redis:?}");
                    *tally.entry((name, "error".to_owned())).or_default() += 1;
                }
                _ => panic!(
                    "seed {seed:#x}, {name} {:?}: {redis:?}, {memory:?}",
                    call.args
                ),
            }
        }
        let mut kept = memory.entries();
        kept.sort_by(|a, b| a.key.cmp(&b.key));
        assert_eq!(store.entries().await.unwrap(), kept, "seed {seed:#x}");
    }
    eprintln!("{tally:?}");
    let often = |name: &str, what: &str| {
        tally
            .iter()
            .any(|((n, w), count)| *n == name && w.contains(what) && *count >= 10)
    };
    let hit = format!("{:?}", Value::bytes("hit"));
    let lease = format!("{:?}", Value::bytes("lease"));
    let wait = format!("{:?}", Value::bytes("wait"));
    for (name, what) in [
        ("registry.read", &*hit),
        ("registry.read", &*lease),
        ("registry.read", &*wait),
        ("registry.read", "error"),
        ("registry.fill", "1"),
        ("registry.fill", "0"),
        ("registry.forget", ""),
        ("registry.release", "1"),
        ("registry.release", "0"),
        ("registry.clock", ""),
        ("registry.mark", "1"),
        ("cutoff.at_least", ""),
    ] {
        assert!(often(name, what), "{name} {what} in {tally:?}");
    }
}

/// Fails if: a key of a session is named without its tag, or an operation is not looked at here.
#[test]
fn all_that_is_kept_of_a_session_is_in_one_slot() {
    let store = Store::memory();
    let filling = Filling {
        lease: "l",
        generation: "0",
        standing: &Standing::Gone,
        fresh_ms: 1,
        kept_ms: 1,
    };
    let scope = Scope::Everyone;
    let calls = [
        ops::read(&store, "sid", "l", 1),
        ops::fill(&store, "sid", &filling),
        ops::forget(&store, "sid", 1),
        ops::release(&store, "sid", "l"),
        // One key each.
        ops::clock(&store),
        ops::mark(&store, 1, 1),
        cutoff::at_least_call(&store, &scope, 1, false),
    ];
    let home = slot(&calls[0].keys[0]);
    let largest = cutoff::largest_key(store.namespace());
    for call in &calls {
        // The largest cutoff is one for all.
        let own = call.keys.iter().filter(|key| *key != &largest);
        let slots: BTreeSet<_> = own.map(|key| slot(key)).collect();
        assert_eq!(slots.len(), 1, "{}: {:?}", call.operation.name(), call.keys);
        assert!(call.keys.len() == 1 || call.keys.contains(&largest) || slots.contains(&home));
        // Nothing of the sid itself.
        assert!(!call.keys.iter().any(|key| key.contains("sid")));
    }
    let seen: BTreeSet<_> = calls.iter().map(|call| call.operation.name()).collect();
    let known: BTreeSet<_> = ops::ALL.iter().map(|operation| operation.name()).collect();
    assert_eq!(seen, known);
}
