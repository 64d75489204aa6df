//! The per-user index of what is alive: one entry per signed-in device, known by its `sid`.
//!
//! 1. The index is a sorted set of sids by expiry and a hash with what is known about each. Both carry the user's hash
//!    tag, and every script that starts, touches, moves or ends a session writes them in the same step.
//! 2. It heals itself: whatever has expired is dropped whenever the index is written, and both keys expire with the
//!    last member. Nothing depends on keyspace events.
//! 3. What is known about a device begins with the 43 characters of the hash under which its session is stored.

use crate::store::{Fault, Key, Memory, Namespace, Tag};

/// The shared beginning of scripts that write the index.
pub(crate) const LUA: &str = include_str!("index.lua");

/// How many dead members one write drops, at most: no write pays for all that expired since the last one.
const MOST_TRIMMED: usize = 100;

/// The length of the storage hash in front of what is known about a device.
const HASH_CHARS: usize = 43;

/// The two keys of a user's index: the sorted set and the hash.
pub(crate) fn keys(namespace: &Namespace, tag: &Tag) -> [Key; 2] {
    [
        namespace.tagged("devices", tag, ""),
        namespace.tagged("devices", tag, "meta"),
    ]
}

/// The Rust half of `index.lua`, with the keys as they are declared to the script.
pub(crate) struct Index<'a> {
    pub(crate) zset: &'a Key,
    pub(crate) hash: &'a Key,
}

impl Index<'_> {
    pub(crate) fn put(
        &self,
        memory: &mut Memory,
        now: u64,
        sid: &[u8],
        expires: u64,
        meta: &[u8],
    ) -> Result<(), Fault> {
        self.trim(memory, now)?;
        memory.sorted_add(self.zset, sid, expires)?;
        memory.hash_set(self.hash, sid, meta)?;
        self.expire(memory)
    }

    pub(crate) fn touch(&self, memory: &mut Memory, sid: &[u8], expires: u64) -> Result<(), Fault> {
        if memory.sorted_score(self.zset, sid)?.is_some() {
            memory.sorted_add(self.zset, sid, expires)?;
            self.expire(memory)?;
        }
        Ok(())
    }

    pub(crate) fn rename(
        &self,
        memory: &mut Memory,
        sid: &[u8],
        check: &[u8],
    ) -> Result<(), Fault> {
        if let Some(meta) = memory.hash_get(self.hash, sid)? {
            let rest = meta.get(HASH_CHARS..).unwrap_or_default();
            let meta = [check, rest].concat();
            memory.hash_set(self.hash, sid, &meta)?;
        }
        Ok(())
    }

    pub(crate) fn remove(&self, memory: &mut Memory, sid: &[u8]) -> Result<(), Fault> {
        memory.sorted_remove(self.zset, sid)?;
        memory.hash_remove(self.hash, sid)?;
        Ok(())
    }

    fn trim(&self, memory: &mut Memory, now: u64) -> Result<(), Fault> {
        let dead: Vec<_> = memory
            .sorted_range(self.zset)?
            .into_iter()
            .take_while(|(_, expires)| *expires <= now)
            .take(MOST_TRIMMED)
            .collect();
        // All of the one, then all of the other, as two commands do it.
        for (sid, _) in &dead {
            memory.sorted_remove(self.zset, sid)?;
        }
        for (sid, _) in &dead {
            memory.hash_remove(self.hash, sid)?;
        }
        Ok(())
    }

    fn expire(&self, memory: &mut Memory) -> Result<(), Fault> {
        if let Some((_, last)) = memory.sorted_range(self.zset)?.last() {
            memory.expire_at(self.zset, *last);
            memory.expire_at(self.hash, *last);
        }
        Ok(())
    }
}
