//! What this node remembers for a while: a bounded map from a fixed-size key to a moment, or to what else is small.
//!
//! Bounded by two generations of equal size per shard, the older one dropped when the newer is full. It may forget
//! early and never remembers wrongly: use it only where forgetting costs a question and nothing else.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

const SHARDS: usize = 16;
const PER_GENERATION: usize = 4_096;

pub(crate) struct Recent<const N: usize, V = u64>([Mutex<Generations<N, V>>; SHARDS]);

struct Generations<const N: usize, V> {
    young: HashMap<[u8; N], V>,
    old: HashMap<[u8; N], V>,
}

impl<const N: usize, V: Copy> Recent<N, V> {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| {
            Mutex::new(Generations {
                young: HashMap::new(),
                old: HashMap::new(),
            })
        }))
    }

    /// What was last noted for `key`, if it is remembered.
    pub(crate) fn get(&self, key: &[u8; N]) -> Option<V> {
        let shard = self.shard(key);
        shard.young.get(key).or_else(|| shard.old.get(key)).copied()
    }

    pub(crate) fn note(&self, key: [u8; N], what: V) {
        let mut shard = self.shard(&key);
        if shard.young.len() >= PER_GENERATION && !shard.young.contains_key(&key) {
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.insert(key, what);
    }

    fn shard(&self, key: &[u8; N]) -> MutexGuard<'_, Generations<N, V>> {
        let shard = &self.0[usize::from(key[0]) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const N: usize> Recent<N> {
    /// Whether something was noted for `key` less than `life` before `now`; a clock that was set back counts as not.
    pub(crate) fn is_fresh(&self, key: &[u8; N], now: u64, life: u64) -> bool {
        self.get(key)
            .is_some_and(|noted| now >= noted && now - noted < life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_while_fresh_and_stays_bounded() {
        let recent = Recent::new();
        let key = [7_u8; 8];
        recent.note(key, 1_000);
        assert!(recent.is_fresh(&key, 1_000, 10) && recent.is_fresh(&key, 1_009, 10));
        assert!(
            !recent.is_fresh(&key, 1_010, 10),
            "stale exactly at the limit"
        );
        assert!(!recent.is_fresh(&key, 999, 10), "a clock set back");
        for i in 0..200_000_u64 {
            recent.note(i.to_le_bytes(), 1);
        }
        let held: usize = recent
            .0
            .iter()
            .map(|shard| {
                let shard = shard.lock().unwrap();
                shard.young.len() + shard.old.len()
            })
            .sum();
        assert!(
            (PER_GENERATION..=2 * SHARDS * PER_GENERATION).contains(&held),
            "{held}"
        );
    }
}
