//! The in-process twin of Redis: enough of it for the operations of this crate.
//!
//! It expires, and it is bounded: past its limit a write fails with `Full` instead of growing. Nothing is evicted,
//! because what lies here may be a revocation. Values live and die with the process, and no other process sees them.
//!
//! An operation is carried out whole or not at all: its first write that needs room decides, and when there was room
//! the rest of it may exceed the limit by a little. What needs no more room than before never fails, so that a full
//! store can be read and logged out from. (Redis decides the same way, when a script begins.)

use std::collections::{BTreeMap, BTreeSet, HashMap, btree_map, hash_map::Entry as Slot};

use super::Key;
use super::operation::{Arg, Fault, Value};

/// What one entry costs besides its bytes, roughly: two maps and what the allocator adds.
const ENTRY_COST: usize = 256;
/// The same for one member of a collection.
const MEMBER_COST: usize = 96;

/// The key is there twice, the second time to be found by its expiry.
fn key_cost(key: &str) -> usize {
    2 * key.len() + ENTRY_COST
}

#[derive(Debug)]
pub(crate) struct Memory {
    entries: HashMap<String, Entry>,
    deadlines: BTreeSet<(u64, String)>,
    used: usize,
    limit: usize,
    now: u64,
    /// Whether the operation under way has been given room.
    granted: bool,
}

#[derive(Debug)]
struct Entry {
    value: Stored,
    expires: Option<u64>,
}

#[derive(Debug)]
enum Stored {
    Text(Vec<u8>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    /// Member → score, in milliseconds: all our sorted sets are ordered by time.
    Sorted(BTreeMap<Vec<u8>, u64>),
}

impl Stored {
    fn cost(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Hash(map) => map
                .iter()
                .map(|(name, value)| name.len() + value.len() + MEMBER_COST)
                .sum(),
            Self::Sorted(map) => map.keys().map(|member| member.len() + MEMBER_COST).sum(),
        }
    }
}

impl Memory {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            entries: HashMap::new(),
            deadlines: BTreeSet::new(),
            used: 0,
            limit,
            now: 0,
            granted: false,
        }
    }

    /// Moves time on and drops what has expired. Called before every operation; never goes back.
    pub(crate) fn advance_to(&mut self, now: u64) {
        self.now = self.now.max(now);
        while let Some((deadline, _)) = self.deadlines.first()
            && *deadline <= self.now
        {
            let Some((_, key)) = self.deadlines.pop_first() else {
                break;
            };
            self.forget(&key);
        }
    }

    /// Called before every operation.
    pub(super) fn begin(&mut self) {
        self.granted = false;
    }

    /// Whether the operation may need this much more.
    fn grant(&mut self, more: usize) -> Result<(), Fault> {
        if more > 0 && !self.granted {
            if self.used.saturating_add(more) > self.limit {
                return Err(Fault::Full);
            }
            self.granted = true;
        }
        Ok(())
    }

    fn forget(&mut self, key: &str) -> bool {
        let Some(entry) = self.entries.remove(key) else {
            return false;
        };
        self.used = self.used.saturating_sub(key_cost(key) + entry.value.cost());
        if let Some(deadline) = entry.expires {
            self.deadlines.remove(&(deadline, key.to_owned()));
        }
        true
    }

    /// Everything there is, in no order.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn entries(&self) -> Vec<super::Entry> {
        use super::Content;
        let entry = |(key, entry): (&String, &Entry)| super::Entry {
            key: key.clone(),
            content: match &entry.value {
                Stored::Text(text) => Content::Text(text.clone()),
                Stored::Hash(map) => Content::Hash(map.clone()),
                Stored::Sorted(map) => Content::Sorted(map.clone()),
            },
            expires: entry.expires,
        };
        self.entries.iter().map(entry).collect()
    }

    pub(crate) fn exists(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// `DEL`. An operation that has deleted something cannot be undone, so the rest of it gets its room, as in Redis: a
    /// logout that could not write its denial would be half of one.
    pub(crate) fn delete(&mut self, key: &str) -> bool {
        let was = self.forget(key);
        self.granted |= was;
        was
    }

    /// `GET`.
    pub(crate) fn get(&self, key: &str) -> Result<Option<&[u8]>, Fault> {
        match self.entries.get(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Stored::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Fault::Corrupt),
        }
    }

    /// `SET key value PXAT expires`.
    pub(crate) fn set(
        &mut self,
        key: &str,
        value: Vec<u8>,
        expires: Option<u64>,
    ) -> Result<(), Fault> {
        let cost = key_cost(key) + value.len();
        let freed = self
            .entries
            .get(key)
            .map_or(0, |old| key_cost(key) + old.value.cost());
        self.grant(cost.saturating_sub(freed))?;
        self.forget(key);
        self.used += cost;
        self.entries.insert(
            key.to_owned(),
            Entry {
                value: Stored::Text(value),
                expires: None,
            },
        );
        if let Some(expires) = expires {
            self.expire_at(key, expires);
        }
        Ok(())
    }

    /// `PEXPIREAT`; a time that has passed deletes.
    pub(crate) fn expire_at(&mut self, key: &str, expires: u64) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        if let Some(old) = entry.expires.replace(expires) {
            self.deadlines.remove(&(old, key.to_owned()));
        }
        if expires <= self.now {
            entry.expires = None;
            self.forget(key);
        } else {
            self.deadlines.insert((expires, key.to_owned()));
        }
        true
    }

    /// `PEXPIRETIME`; `None` when the key is missing or never expires.
    pub(crate) fn expires(&self, key: &str) -> Option<u64> {
        self.entries.get(key).and_then(|entry| entry.expires)
    }

    fn hash_mut(&mut self, key: &str) -> Result<&mut BTreeMap<Vec<u8>, Vec<u8>>, Fault> {
        match &mut self.slot(key, || Stored::Hash(BTreeMap::new())).value {
            Stored::Hash(map) => Ok(map),
            _ => Err(Fault::Corrupt),
        }
    }

    fn sorted_mut(&mut self, key: &str) -> Result<&mut BTreeMap<Vec<u8>, u64>, Fault> {
        match &mut self.slot(key, || Stored::Sorted(BTreeMap::new())).value {
            Stored::Sorted(map) => Ok(map),
            _ => Err(Fault::Corrupt),
        }
    }

    /// The entry of a collection, made when missing. Callers have been granted the room.
    fn slot(&mut self, key: &str, empty: impl FnOnce() -> Stored) -> &mut Entry {
        match self.entries.entry(key.to_owned()) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(slot) => {
                self.used += key_cost(key);
                slot.insert(Entry {
                    value: empty(),
                    expires: None,
                })
            }
        }
    }

    /// What the key itself costs if it is not there yet.
    fn missing(&self, key: &str) -> usize {
        if self.exists(key) { 0 } else { key_cost(key) }
    }

    /// `HSET` of one field.
    pub(crate) fn hash_set(&mut self, key: &str, field: &[u8], value: &[u8]) -> Result<(), Fault> {
        let more = match self.hash_get(key, field)? {
            Some(old) => value.len().saturating_sub(old.len()),
            None => self.missing(key) + field.len() + value.len() + MEMBER_COST,
        };
        self.grant(more)?;
        let (added, freed) = match self.hash_mut(key)?.entry(field.to_vec()) {
            btree_map::Entry::Occupied(mut slot) => {
                (value.len(), slot.insert(value.to_vec()).len())
            }
            btree_map::Entry::Vacant(slot) => {
                slot.insert(value.to_vec());
                (field.len() + value.len() + MEMBER_COST, 0)
            }
        };
        self.used = (self.used + added).saturating_sub(freed);
        Ok(())
    }

    /// `HGET`.
    pub(crate) fn hash_get(&self, key: &str, field: &[u8]) -> Result<Option<&[u8]>, Fault> {
        match self.entries.get(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Stored::Hash(map)) => Ok(map.get(field).map(Vec::as_slice)),
            Some(_) => Err(Fault::Corrupt),
        }
    }

    /// `HDEL` of one field; an empty hash is no key.
    pub(crate) fn hash_remove(&mut self, key: &str, field: &[u8]) -> Result<bool, Fault> {
        if !self.exists(key) {
            return Ok(false);
        }
        let map = self.hash_mut(key)?;
        let Some(value) = map.remove(field) else {
            return Ok(false);
        };
        let empty = map.is_empty();
        self.used = self
            .used
            .saturating_sub(field.len() + value.len() + MEMBER_COST);
        if empty {
            self.forget(key);
        }
        Ok(true)
    }

    /// `ZADD` of one member.
    pub(crate) fn sorted_add(&mut self, key: &str, member: &[u8], score: u64) -> Result<(), Fault> {
        if self.sorted_score(key, member)?.is_none() {
            self.grant(self.missing(key) + member.len() + MEMBER_COST)?;
        }
        if self
            .sorted_mut(key)?
            .insert(member.to_vec(), score)
            .is_none()
        {
            self.used += member.len() + MEMBER_COST;
        }
        Ok(())
    }

    /// `ZREM` of one member; an empty set is no key.
    pub(crate) fn sorted_remove(&mut self, key: &str, member: &[u8]) -> Result<bool, Fault> {
        if !self.exists(key) {
            return Ok(false);
        }
        let map = self.sorted_mut(key)?;
        if map.remove(member).is_none() {
            return Ok(false);
        }
        let empty = map.is_empty();
        self.used = self.used.saturating_sub(member.len() + MEMBER_COST);
        if empty {
            self.forget(key);
        }
        Ok(true)
    }

    /// `ZSCORE`.
    pub(crate) fn sorted_score(&self, key: &str, member: &[u8]) -> Result<Option<u64>, Fault> {
        match self.entries.get(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Stored::Sorted(map)) => Ok(map.get(member).copied()),
            Some(_) => Err(Fault::Corrupt),
        }
    }

    /// `ZRANGE 0 -1 WITHSCORES`: members by score, then by name.
    pub(crate) fn sorted_range(&self, key: &str) -> Result<Vec<(Vec<u8>, u64)>, Fault> {
        match self.entries.get(key).map(|entry| &entry.value) {
            None => Ok(Vec::new()),
            Some(Stored::Sorted(map)) => {
                let mut all: Vec<_> = map
                    .iter()
                    .map(|(member, score)| (member.clone(), *score))
                    .collect();
                all.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
                Ok(all)
            }
            Some(_) => Err(Fault::Corrupt),
        }
    }
}

/// The twin of `GET` of each key, see [`Operation::each`](super::Operation::each). To `MGET` a key of another kind would look
/// as if it were missing.
pub(crate) fn get(memory: &mut Memory, _: u64, keys: &[Key], _: &[Arg]) -> Result<Value, Fault> {
    let one = |key: &Key| Ok(memory.get(key)?.map_or(Value::Nil, Value::bytes));
    match keys {
        [key] => one(key),
        keys => keys
            .iter()
            .map(one)
            .collect::<Result<_, _>>()
            .map(Value::List),
    }
}

/// The twin of `EXISTS`.
pub(crate) fn exists(memory: &mut Memory, _: u64, keys: &[Key], _: &[Arg]) -> Result<Value, Fault> {
    let found = keys.iter().filter(|key| memory.exists(key)).count();
    Ok(Value::int(found as u64))
}
