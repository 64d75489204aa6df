//! The Rust half of `index.lua`, and the names its scripts are given.

use super::{ENDED, HASH_CHARS};
use crate::{
    clock::millis,
    store::{Arg, Fault, Key, Memory, Namespace, Store, Tag},
};

/// How long the mark of an ended session stays.
const MARK_MS: u64 = 24 * 60 * 60 * 1_000;
const DIGITS: usize = 15;

/// The two keys of a user's index: the sorted set and the hash.
pub(crate) fn keys(namespace: &Namespace, tag: &Tag) -> [Key; 2] {
    [
        namespace.tagged("devices", tag, ""),
        namespace.tagged("devices", tag, "meta"),
    ]
}

/// What the keys of one user's sessions, families and denied sids begin with: a script that ends what it finds in the
/// index cannot be given their names in advance. They lie in the user's slot, but for the denied sids, which a Cluster
/// has to be told in a step of their own.
pub(crate) struct Names {
    session: Vec<u8>,
    family: Vec<u8>,
    denied: Vec<u8>,
    token_life: u64,
}

impl Names {
    pub(crate) fn new(store: &Store, tag: &Tag) -> Self {
        let namespace = store.namespace();
        let begin = |room: &str| {
            let mut name = namespace.tagged(room, tag, "").into_bytes();
            name.push(b':');
            name
        };
        Self {
            session: begin("session"),
            family: begin("refresh"),
            denied: namespace.denied_sid("").into_bytes(),
            token_life: millis(store.access_token_life()),
        }
    }

    /// The four arguments in which scripts expect them.
    pub(crate) fn append_to(self, args: &mut Vec<Arg>) {
        args.push(self.session.into());
        args.push(self.family.into());
        args.push(self.denied.into());
        args.push(self.token_life.into());
    }

    /// The same four, as the Rust half of a script finds them.
    pub(crate) fn read(args: &[Arg]) -> Result<Self, Fault> {
        let [session, family, denied, life] = args else {
            return Err(Fault::Corrupt);
        };
        Ok(Self {
            session: session.bytes().into_owned(),
            family: family.bytes().into_owned(),
            denied: denied.bytes().into_owned(),
            token_life: life.int()?,
        })
    }

    pub(crate) fn family_of(&self, sid: &[u8]) -> Key {
        name(&self.family, sid)
    }

    pub(crate) fn session_at(&self, hash: &[u8]) -> Key {
        name(&self.session, hash)
    }
}

fn name(beginning: &[u8], end: &[u8]) -> Key {
    String::from_utf8_lossy(&[beginning, end].concat()).into_owned()
}

/// The keys of an index as they are declared to a script.
pub(crate) struct Index<'a> {
    pub(crate) zset: &'a Key,
    pub(crate) hash: &'a Key,
}

impl Index<'_> {
    pub(crate) fn put(
        &self,
        memory: &mut Memory,
        sid: &[u8],
        expires: u64,
        meta: &[u8],
    ) -> Result<(), Fault> {
        self.raise(memory, sid, expires)?;
        memory.hash_set(self.hash, sid, meta)?;
        self.expire(memory)
    }

    pub(crate) fn touch(&self, memory: &mut Memory, sid: &[u8], expires: u64) -> Result<(), Fault> {
        if memory.sorted_score(self.zset, sid)?.is_some() {
            self.raise(memory, sid, expires)?;
            self.expire(memory)?;
        }
        Ok(())
    }

    /// `ZADD GT`.
    fn raise(&self, memory: &mut Memory, sid: &[u8], expires: u64) -> Result<(), Fault> {
        let expires = memory
            .sorted_score(self.zset, sid)?
            .map_or(expires, |old| old.max(expires));
        memory.sorted_add(self.zset, sid, expires)
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

    /// `index_check`
    pub(crate) fn check(&self, memory: &Memory) -> Result<(), Fault> {
        memory.sorted_score(self.zset, b"")?;
        memory.hash_get(self.hash, b"")?;
        Ok(())
    }

    pub(crate) fn trim(&self, memory: &mut Memory, now: u64) -> Result<(), Fault> {
        let all = memory.sorted_range(self.zset)?.into_iter();
        let dead: Vec<_> = all.take_while(|(_, expires)| *expires <= now).collect();
        // All of the one, then all of the other, as two commands do it.
        for (sid, _) in &dead {
            memory.sorted_remove(self.zset, sid)?;
        }
        for (sid, _) in &dead {
            memory.hash_remove(self.hash, sid)?;
        }
        Ok(())
    }

    /// `index_living`
    pub(crate) fn living(&self, memory: &Memory, now: u64) -> Result<Vec<Vec<u8>>, Fault> {
        let all = memory.sorted_range(self.zset)?.into_iter();
        Ok(all
            .filter(|(_, expires)| *expires > now)
            .map(|(sid, _)| sid)
            .collect())
    }

    fn expire(&self, memory: &mut Memory) -> Result<(), Fault> {
        if let Some((_, last)) = memory.sorted_range(self.zset)?.last() {
            memory.expire_at(self.zset, *last);
            memory.expire_at(self.hash, *last);
        }
        Ok(())
    }

    /// What is known about a device.
    pub(crate) fn meta(&self, memory: &Memory, sid: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(memory.hash_get(self.hash, sid)?.map(<[u8]>::to_vec))
    }

    /// `kill`
    pub(crate) fn kill(
        &self,
        memory: &mut Memory,
        now: u64,
        sid: &[u8],
        names: &Names,
        why: Option<&str>,
    ) -> Result<(), Fault> {
        let meta = self.meta(memory, sid)?;
        let session = meta.as_deref().and_then(session_hash);
        let session = session.map(|hash| names.session_at(hash));
        self.remove(memory, sid)?;
        let family = names.family_of(sid);
        let had_family = memory.delete(&family);
        if let Some(session) = &session {
            memory.delete(session);
        }
        let (denied, until) = (name(&names.denied, sid), now + names.token_life);
        let lasts = match memory.expires(&denied) {
            Some(expires) => expires >= until,
            None => memory.exists(&denied) || until == now,
        };
        if !lasts {
            memory.set(&denied, b"ended".to_vec(), Some(until))?;
        }
        let Some(why) = why else { return Ok(()) };
        if had_family {
            memory.hash_set(&family, b"ended", why.as_bytes())?;
            memory.expire_at(&family, now + MARK_MS);
        }
        if let Some(session) = session {
            let mark = [&[ENDED], why.as_bytes()].concat();
            memory.set(&session, mark, Some(now + MARK_MS))?;
        }
        Ok(())
    }

    /// `index_last_use`
    pub(crate) fn last_use(
        &self,
        memory: &Memory,
        now: u64,
        sid: &[u8],
        names: &Names,
    ) -> Result<Option<u64>, Fault> {
        let meta = self.meta(memory, sid)?;
        let family = names.family_of(sid);
        let of_family = |name: &[u8]| Ok(memory.hash_get(&family, name)?.and_then(number));
        let (rot, idle, last) = (of_family(b"rot")?, of_family(b"idle")?, of_family(b"abs")?);
        let used = match (rot, idle, last) {
            (Some(rot), Some(idle), Some(last)) => (now < last.min(rot + idle)).then_some(rot),
            _ => None,
        };
        let Some(hash) = meta.as_deref().and_then(session_hash) else {
            return Ok(used);
        };
        let record = memory.get(&names.session_at(hash))?;
        Ok(used.max(record.and_then(|record| last_use_of(record, now))))
    }

    /// `index_is_alive`
    pub(crate) fn is_alive(
        &self,
        memory: &Memory,
        now: u64,
        sid: &[u8],
        cutoff: Option<u64>,
        names: &Names,
    ) -> Result<bool, Fault> {
        let listed = memory.sorted_score(self.zset, sid)?;
        let auth = authenticated(&self.meta(memory, sid)?.unwrap_or_default());
        Ok(listed.is_some_and(|expires| expires > now)
            && cutoff.is_none_or(|cutoff| auth > cutoff)
            && self.last_use(memory, now, sid, names)?.is_some())
    }

    /// `index_admit`
    pub(crate) fn admit(
        &self,
        memory: &mut Memory,
        now: u64,
        sid: &[u8],
        room: &Room<'_>,
    ) -> Result<bool, Fault> {
        let listed = self.living(memory, now)?;
        let known = memory.sorted_score(self.zset, sid)?.is_some();
        if known || (listed.len() as u64) < room.limit {
            self.trim(memory, now)?;
            return Ok(true);
        }
        let (mut cut, mut dead, mut living) = (Vec::new(), Vec::new(), Vec::new());
        for other in listed {
            let auth = authenticated(&self.meta(memory, &other)?.unwrap_or_default());
            if room.cutoff.is_some_and(|cutoff| auth <= cutoff) {
                cut.push(other);
            } else if self.last_use(memory, now, &other, room.names)?.is_none() {
                dead.push(other);
            } else {
                living.push((auth, other));
            }
        }
        self.trim(memory, now)?;
        for other in cut {
            self.kill(memory, now, &other, room.names, Some("revoked"))?;
        }
        for other in dead {
            self.remove(memory, &other)?;
        }
        let over = (living.len() as u64 + 1).saturating_sub(room.limit);
        if over > 0 && !room.evict {
            return Ok(false);
        }
        living.sort();
        let over = usize::try_from(over).unwrap_or(usize::MAX);
        for (_, other) in living.iter().take(over) {
            self.kill(memory, now, other, room.names, Some("elsewhere"))?;
        }
        Ok(true)
    }
}

/// How many devices a user may have, and what becomes of the one too many.
pub(crate) struct Room<'a> {
    pub(crate) limit: u64,
    pub(crate) evict: bool,
    pub(crate) names: &'a Names,
    pub(crate) cutoff: Option<u64>,
}

/// The hash under which the device's session is stored, if it has one: a hash may begin with any letter of base64url, so
/// what stands for none is no such letter.
pub(crate) fn session_hash(meta: &[u8]) -> Option<&[u8]> {
    meta.get(..HASH_CHARS).filter(|hash| hash[0] != b'.')
}

/// When a session was last used, unless it has ended; the header of its record says so.
fn last_use_of(record: &[u8], now: u64) -> Option<u64> {
    let header = record.get(..86)?.strip_prefix(b"1")?;
    if !header.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let [used, idle, deadline] = [41..56, 56..71, 71..86].map(|at| number(&record[at]));
    let (used, idle, deadline) = (used?, idle?, deadline?);
    let ends = match idle {
        0 => deadline,
        idle => deadline.min(used + idle),
    };
    (now < ends).then_some(used)
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// When a device's user authenticated there.
pub(super) fn authenticated(meta: &[u8]) -> u64 {
    meta.get(HASH_CHARS..HASH_CHARS + DIGITS)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}
