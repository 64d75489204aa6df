//! The Rust half of `login.lua`, step by step.

use super::{
    record::{Fields, Header, MOVED, Record},
    twins::{apply, arg, check, is_mark, mark_moved, text_at, write},
};
use crate::{
    cutoff,
    device::{HASH_CHARS, Index, Names, Room},
    store::{Arg, Fault, Key, Memory, Value},
};

/// What a login finds out before it writes anything.
struct Found {
    cutoff: Option<u64>,
    latest: Option<u64>,
    kept: u64,
    /// The largest cutoff that applies to the old session.
    of_old: Option<u64>,
}

/// `login.lua`
pub(super) fn login(
    memory: &mut Memory,
    now: u64,
    keys: &[Key],
    args: &[Arg],
) -> Result<Value, Fault> {
    let [
        old,
        new,
        zset,
        hash,
        old_zset,
        old_hash,
        ahead,
        cutoffs @ ..,
    ] = keys
    else {
        return Err(Fault::Corrupt);
    };
    let (_, of_new) = cutoffs.split_last().ok_or(Fault::Corrupt)?;
    let found = Found {
        cutoff: cutoff::largest(memory, of_new)?,
        latest: cutoff::read(memory, ahead)?,
        kept: arg(args, 10)?.int()?,
        of_old: cutoff::largest(memory, cutoffs)?,
    };
    let index = Index { zset, hash };
    let of_old = Index {
        zset: old_zset,
        hash: old_hash,
    };
    index.check(memory)?;
    of_old.check(memory)?;
    if let Some(done) = memory.get(new)? {
        let record = Record::parse(done.to_vec());
        let record = record.filter(|record| !record.header.is_cut(found.cutoff));
        return Ok(record.map_or(Value::Nil, |record| Value::Bytes(record.into_raw())));
    }
    let started = arg(args, 21)?.int()?;
    if cutoff::is_outdated(started, now, found.cutoff, found.latest, found.kept) {
        return Ok(Value::Int(4));
    }
    let old = Old::find(memory, old, arg(args, 2)?.int()? == 1);
    start(
        memory,
        now,
        new,
        [&index, &of_old],
        &old,
        &found,
        ahead,
        args,
    )
}

#[allow(clippy::too_many_arguments)] // the rest of one function
fn start(
    memory: &mut Memory,
    now: u64,
    new: &Key,
    [index, of_old]: [&Index<'_>; 2],
    old: &Old,
    found: &Found,
    ahead: &Key,
    args: &[Arg],
) -> Result<Value, Fault> {
    let mut header = new_user(now, found.cutoff, args)?;
    let fields = apply(old.hand_over(now, found.of_old, &mut header), args, 22)?;
    if Record::render(&header, &fields).len() as u64 > arg(args, 0)?.int()? {
        return Ok(Value::Int(2));
    }
    let room = Room {
        limit: arg(args, 11)?.int()?,
        evict: arg(args, 12)?.int()? == 1,
        names: &Names::read(args.get(13..17).ok_or(Fault::Corrupt)?)?,
        cutoff: found.cutoff,
    };
    if !index.admit(memory, now, &header.sid, &room)? {
        return Ok(Value::Int(3));
    }
    let written = write(memory, new, &header, &fields, arg(args, 0)?)?;
    let id = arg(args, 1)?.bytes();
    let record = old.record.as_ref();
    if record.is_some_and(|record| record.header.sid == header.sid) {
        mark_moved(memory, now, &old.key, &id)?;
    } else if old.is_there {
        memory.delete(&old.key);
    }
    let ended = record.filter(|old| !old.header.is_anonymous() && old.header.sid != header.sid);
    if let Some(ended) = ended {
        let names = Names::read(args.get(17..21).ok_or(Fault::Corrupt)?)?;
        of_old.kill(memory, now, &ended.header.sid, &names, None)?;
    }
    let auth = format!("{:015}", header.auth);
    let meta = [&*id, auth.as_bytes(), &*arg(args, 9)?.bytes()].concat();
    index.put(memory, &header.sid, header.expiry(), &meta)?;
    cutoff::keep_later(memory, ahead, found.latest, header.auth, found.kept)?;
    Ok(written.map_or(Value::Int(2), Value::Bytes))
}

/// The session before, also if it moved meanwhile.
struct Old {
    key: Key,
    moved: bool,
    is_there: bool,
    /// `None` also for one that cannot be read.
    record: Option<Record>,
}

impl Old {
    fn find(memory: &Memory, key: &Key, has: bool) -> Self {
        let (mut key, mut moved) = (key.clone(), false);
        let mut raw = has.then(|| text_at(memory, &key)).flatten();
        for _ in 0..8 {
            let Some(to) = raw.as_ref().and_then(|raw| raw.strip_prefix(&[MOVED])) else {
                break;
            };
            key.truncate(key.len().saturating_sub(HASH_CHARS));
            key.push_str(&String::from_utf8_lossy(to));
            moved = true;
            raw = text_at(memory, &key);
        }
        let raw = raw.filter(|raw| !is_mark(raw));
        Self {
            key,
            moved,
            is_there: raw.is_some(),
            record: raw.and_then(Record::parse),
        }
    }

    /// What the new session starts with.
    fn hand_over(&self, now: u64, cutoff: Option<u64>, header: &mut Header) -> Fields {
        let Some(old) = &self.record else {
            return Fields::new();
        };
        let same = (&old.header.user, &old.header.tenant) == (&header.user, &header.tenant);
        let dead = now >= old.header.expiry() || old.header.is_cut(cutoff);
        if dead || !(same || (old.header.is_anonymous() && !self.moved)) {
            return Fields::new();
        }
        if same {
            header.sid.clone_from(&old.header.sid);
        }
        old.all_fields().unwrap_or_default()
    }
}

fn new_user(now: u64, cutoff: Option<u64>, args: &[Arg]) -> Result<Header, Fault> {
    Ok(Header {
        rev: 1,
        created: now,
        auth: cutoff.map_or(now, |cutoff| now.max(cutoff + 1)),
        touched: now,
        idle: arg(args, 6)?.int()?,
        deadline: now + arg(args, 7)?.int()?,
        persistent: arg(args, 8)?.bytes().as_ref() == b"p",
        check: check(&arg(args, 1)?.bytes())?,
        tenant: arg(args, 3)?.bytes().into_owned().into(),
        user: arg(args, 4)?.bytes().into_owned().into(),
        sid: arg(args, 5)?.bytes().into_owned().into(),
    })
}
