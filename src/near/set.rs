//! The revoked ids that this node knows of.
//!
//! - An id is forgotten when its time is over and never before: neither a deletion on the server nor a lost connection
//!   takes it out, and its time only ever grows.
//! - A *provisional* id was announced by the server, which does not say what happened to it. It counts as revoked until
//!   its expiry has been fetched, or for a grace if there is none to fetch. It is never written to a server.
//! - The map is keyed by the id itself and hashed with a random key: no false positives, and nobody who chooses ids can
//!   make it slow. A lookup takes one shared lock of one of many shards and allocates nothing.
//!
//! Times are milliseconds of the replica's own monotonic clock.

use std::{
    collections::HashMap,
    hash::RandomState,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::{bound::Bound, names::List};

/// A power of two. One shard's share of a million entries is what the longest write lock walks through.
const SHARDS: usize = 256;

/// An id outlives its time by this much: fetching a new expiry takes a moment.
const SLACK_MS: u64 = 5_000;

pub(super) const FOREVER: u64 = Entry::UNTIL;

pub(super) struct Set {
    shards: Box<[Shard]>,
}

/// On cache lines of its own.
#[repr(align(128))]
struct Shard(RwLock<Ids>);

struct Ids {
    entries: HashMap<Box<[u8]>, Entry, RandomState>,
    provisional: usize,
}

/// Until when (44 bits: five centuries), which load saw it on the server last (16), and two flags.
#[derive(Clone, Copy)]
struct Entry(u64);

impl Entry {
    const UNTIL: u64 = (1 << 44) - 1;
    const SEEN_AT: u32 = 44;
    const SEEN: u64 = 0xffff << Self::SEEN_AT;
    const PROVISIONAL: u64 = 1 << 60;
    /// Its expiry is waiting to be fetched.
    const QUEUED: u64 = 1 << 61;

    fn new(until: u64, flags: u64) -> Self {
        Self(until.min(Self::UNTIL) | flags)
    }

    fn until(self) -> u64 {
        self.0 & Self::UNTIL
    }

    fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    fn extend(&mut self, until: u64) {
        let until = until.min(Self::UNTIL).max(self.until());
        self.0 = self.0 & !Self::UNTIL | until;
    }

    fn seen(self) -> u16 {
        u16::try_from((self.0 & Self::SEEN) >> Self::SEEN_AT).unwrap_or(0)
    }

    fn see(&mut self, load: u16) {
        self.0 = self.0 & !Self::SEEN | u64::from(load) << Self::SEEN_AT;
    }

    fn counts_at(self, now: u64) -> bool {
        self.until() == FOREVER || self.has(Self::QUEUED) || now < self.until() + SLACK_MS
    }
}

/// An id and until when it is revoked.
pub(super) type Held = (Box<[u8]>, u64);

impl Set {
    pub(super) fn new() -> Self {
        let hasher = RandomState::new();
        let shard = |_| {
            Shard(RwLock::new(Ids {
                entries: HashMap::with_hasher(hasher.clone()),
                provisional: 0,
            }))
        };
        Self {
            shards: (0..2 * SHARDS).map(shard).collect(),
        }
    }

    pub(super) fn contains(&self, list: List, id: &[u8], now: u64) -> bool {
        let entry = self.read(place(list, id)).entries.get(id).copied();
        entry.is_some_and(|entry| entry.counts_at(now))
    }

    /// The server announced the id. True if its expiry is to be fetched and nobody has been told so yet.
    pub(super) fn announced(&self, list: List, id: &[u8], grace_until: u64, bound: &Bound) -> bool {
        self.hear(list, id, grace_until, bound, Entry::QUEUED)
    }

    /// The same of an id whose expiry nobody is to fetch: it counts for the grace, or until a load finds it.
    pub(super) fn learned(&self, list: List, id: &[u8], grace_until: u64, bound: &Bound) {
        self.hear(list, id, grace_until, bound, 0);
    }

    fn hear(&self, list: List, id: &[u8], grace_until: u64, bound: &Bound, queued: u64) -> bool {
        let mut ids = self.write(place(list, id));
        if let Some(entry) = ids.entries.get_mut(id) {
            if entry.has(Entry::PROVISIONAL) {
                entry.extend(grace_until);
            }
            let told = entry.has(Entry::QUEUED);
            entry.0 |= queued;
            return !told;
        }
        if !bound.take() {
            return false;
        }
        let entry = Entry::new(grace_until, Entry::PROVISIONAL | queued);
        ids.entries.insert(id.into(), entry);
        ids.provisional += 1;
        true
    }

    /// Somebody is about to fetch the expiry: what is announced from here on has to be fetched again.
    pub(super) fn fetching(&self, list: List, id: &[u8]) {
        if let Some(entry) = self.write(place(list, id)).entries.get_mut(id) {
            entry.0 &= !Entry::QUEUED;
        }
    }

    /// The expiry could not be fetched. True if nobody has been told to fetch it since.
    pub(super) fn unfetched(&self, list: List, id: &[u8]) -> bool {
        let mut ids = self.write(place(list, id));
        let Some(entry) = ids.entries.get_mut(id) else {
            return false;
        };
        let told = entry.has(Entry::QUEUED);
        entry.0 |= Entry::QUEUED;
        !told
    }

    /// There was no expiry to fetch: the id is gone from the server, or was never in this database.
    pub(super) fn missing(&self, list: List, id: &[u8], grace_until: u64) {
        if let Some(entry) = self.write(place(list, id)).entries.get_mut(id)
            && entry.has(Entry::PROVISIONAL)
        {
            entry.extend(grace_until);
        }
    }

    /// The id is revoked until then: the server's word (`load` names the current load) or this node's own (0).
    pub(super) fn confirm(&self, list: List, id: &[u8], until: u64, load: u16, bound: &Bound) {
        let mut ids = self.write(place(list, id));
        let Some(entry) = ids.entries.get_mut(id) else {
            if bound.take() {
                let mut entry = Entry::new(until, 0);
                entry.see(load);
                ids.entries.insert(id.into(), entry);
            }
            return;
        };
        let was_provisional = entry.has(Entry::PROVISIONAL);
        if was_provisional {
            // Its time so far was the grace, which says nothing.
            *entry = Entry::new(until, entry.0 & Entry::QUEUED);
        }
        // An entry that ends too early on the server counts as one that it lost.
        let is_whole = until.saturating_add(SLACK_MS) >= entry.until();
        entry.extend(until);
        if is_whole {
            entry.see(load);
        }
        ids.provisional -= usize::from(was_provisional);
    }

    /// The server holds the id now.
    pub(super) fn held_by_server(&self, list: List, id: &[u8], load: u16) {
        if let Some(entry) = self.write(place(list, id)).entries.get_mut(id) {
            entry.see(load);
        }
    }

    /// Until when an id is known to be revoked; not for provisional ones.
    pub(super) fn until(&self, list: List, id: &[u8]) -> Option<u64> {
        let entry = self.read(place(list, id)).entries.get(id).copied();
        entry
            .filter(|entry| !entry.has(Entry::PROVISIONAL))
            .map(Entry::until)
    }

    /// What a load did not find on the server, from one part of the set.
    pub(super) fn lost_by_server(&self, part: usize, load: u16, now: u64) -> Vec<Held> {
        let is_lost = |entry: &Entry| {
            !entry.has(Entry::PROVISIONAL) && entry.seen() != load && entry.until() > now
        };
        let ids = self.read(part);
        let lost = ids.entries.iter().filter(|(_, entry)| is_lost(entry));
        lost.map(|(id, entry)| (id.clone(), entry.until()))
            .collect()
    }

    /// Forgets what is over, in one part of the set.
    pub(super) fn purge(&self, part: usize, now: u64, bound: &Bound) {
        let mut ids = self.write(part);
        let (before, mut provisional) = (ids.entries.len(), 0);
        ids.entries.retain(|_, entry| {
            let stays = entry.counts_at(now);
            provisional += usize::from(stays && entry.has(Entry::PROVISIONAL));
            stays
        });
        ids.provisional = provisional;
        let after = ids.entries.len();
        if after < ids.entries.capacity() / 8 {
            ids.entries.shrink_to_fit();
        }
        drop(ids);
        bound.give_back(before - after);
    }

    pub(super) const PARTS: usize = 2 * SHARDS;

    /// One of the parts in which this list lies.
    pub(super) fn first_part(list: List) -> usize {
        match list {
            List::Tokens => 0,
            List::Logins => SHARDS,
        }
    }

    pub(super) fn list_of(part: usize) -> List {
        if part < SHARDS {
            List::Tokens
        } else {
            List::Logins
        }
    }

    /// How many there are, and how many of them are provisional.
    pub(super) fn count(&self) -> (usize, usize) {
        (0..Self::PARTS).fold((0, 0), |(all, provisional), part| {
            let ids = self.read(part);
            (all + ids.entries.len(), provisional + ids.provisional)
        })
    }

    /// Nothing panics while it holds one of these locks, and each step leaves the shard whole.
    fn read(&self, part: usize) -> RwLockReadGuard<'_, Ids> {
        self.shards[part]
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, part: usize) -> RwLockWriteGuard<'_, Ids> {
        self.shards[part]
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which part an id lies in. Needs no secret: whoever crowds a shard makes its lock busier and nothing else.
fn place(list: List, id: &[u8]) -> usize {
    let tail = &id[id.len().saturating_sub(16)..];
    let hash = tail.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let shard = usize::try_from(hash >> 56).unwrap_or(0) % SHARDS;
    Set::first_part(list) + shard
}
