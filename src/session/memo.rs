//! What this node remembers of recorded uses, so that a session that was just used is read with a plain read.
//!
//! Bounded: two generations of equal size, the older one dropped when the newer is full. Forgetting costs a script
//! instead of a plain read and nothing else; remembering too much would let a session in use expire, so an entry is
//! only made from the store's own word.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::id::SessionId;

const SHARDS: usize = 16;
const PER_GENERATION: usize = 4_096;

pub(super) struct Memo([Mutex<Generations>; SHARDS]);

#[derive(Default)]
struct Generations {
    young: HashMap<[u8; 20], u64>,
    old: HashMap<[u8; 20], u64>,
}

impl Memo {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }

    /// Whether a use was recorded less than `fresh` milliseconds before `now`, by this node's clock.
    pub(super) fn is_fresh(&self, id: &SessionId, now: u64, fresh: u64) -> bool {
        let key = id.random();
        let shard = self
            .shard(&key)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let recorded = shard.young.get(&key).or_else(|| shard.old.get(&key));
        // A clock that was set back must not keep an entry for ever.
        recorded.is_some_and(|recorded| now >= *recorded && now - recorded < fresh)
    }

    /// A use was recorded at `at`, by this node's clock.
    pub(super) fn note(&self, id: &SessionId, at: u64) {
        let key = id.random();
        let mut shard = self
            .shard(&key)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if shard.young.len() >= PER_GENERATION {
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.insert(key, at);
    }

    fn shard(&self, key: &[u8; 20]) -> &Mutex<Generations> {
        &self.0[usize::from(key[0]) % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_while_fresh_and_stays_bounded() {
        let memo = Memo::new();
        let id = SessionId::anonymous().unwrap();
        memo.note(&id, 1_000);
        assert!(memo.is_fresh(&id, 1_000, 10) && memo.is_fresh(&id, 1_009, 10));
        assert!(
            !memo.is_fresh(&id, 1_010, 10),
            "due exactly at the interval"
        );
        assert!(!memo.is_fresh(&id, 999, 10), "a clock set back");
        for _ in 0..3 * SHARDS * PER_GENERATION {
            memo.note(&SessionId::anonymous().unwrap(), 1_000);
        }
        let held = memo.0.iter().map(|shard| {
            let shard = shard.lock().unwrap();
            shard.young.len() + shard.old.len()
        });
        assert!(held.sum::<usize>() <= 2 * SHARDS * PER_GENERATION);
    }
}
