//! The Rust halves of the session's scripts, step by step what the Lua files do.

use bytes::Bytes;

use super::record::{CHECK, Fields, Header, MOVED, Record, TOUCHED, number};
use crate::{
    cutoff,
    device::{ENDED, HASH_CHARS, Index, Names},
    store::{Arg, Fault, Key, Memory, Value},
};

/// How long a mark stays: longer than any request that was sent with the old id is under way.
const MARK_MS: u64 = 60_000;

/// `load.lua`
pub(super) fn load(
    memory: &mut Memory,
    now: u64,
    keys: &[Key],
    args: &[Arg],
) -> Result<Value, Fault> {
    let [session, zset, hash, cutoffs @ ..] = keys else {
        return Err(Fault::Corrupt);
    };
    let raw = memory.get(session)?.map(<[u8]>::to_vec);
    let mut rest = Vec::new();
    for key in cutoffs {
        rest.push(memory.get(key)?.map_or(Value::Nil, Value::bytes));
    }
    let raw = match raw {
        Some(raw) if !is_mark(&raw) => raw,
        mark => {
            rest.push(Value::Int(-1));
            return Ok(reply(mark.map_or(Value::Nil, Value::Bytes), rest));
        }
    };
    let mut record = Record::parse(raw).ok_or(Fault::Corrupt)?;
    let mut age = now.saturating_sub(record.header.touched);
    let fresh = arg(args, 0)?.int()?;
    let due = age >= fresh && record.header.idle > 0 && now < record.header.expiry();
    if due && !record.header.is_cut(cutoff::largest(memory, cutoffs)?) {
        let index = Index { zset, hash };
        check_index(memory, &index, &record.header)?;
        record.touch(now);
        age = 0;
        let expires = record.header.expiry();
        memory.set(session, record.clone().into_raw(), Some(expires))?;
        touch_index(memory, &index, &record.header)?;
    }
    rest.push(Value::int(age));
    Ok(reply(Value::Bytes(record.into_raw()), rest))
}

fn reply(first: Value, rest: Vec<Value>) -> Value {
    Value::List(std::iter::once(first).chain(rest).collect())
}

/// `save_short.lua`: whether it was saved so.
fn save_short(
    memory: &mut Memory,
    session: &Key,
    cutoffs: &[Key],
    args: &[Arg],
) -> Result<bool, Fault> {
    let was = arg(args, 1)?.bytes();
    let Some(raw) = memory.get(session)?.filter(|_| !was.is_empty()) else {
        return Ok(false);
    };
    if raw.len() as u64 != arg(args, 2)?.int()? || raw.get(..TOUCHED) != Some(&*was) {
        return Ok(false);
    }
    let next = arg(args, 3)?.bytes();
    let (before, behind) = (next.get(..TOUCHED), next.get(TOUCHED + 15..));
    let (before, behind) = before.zip(behind).ok_or(Fault::Corrupt)?;
    let auth = number(&raw[26..TOUCHED]).ok_or(Fault::Corrupt)?;
    let raw = [before, &raw[TOUCHED..TOUCHED + 15], behind].concat();
    if auth > 0 && cutoff::largest(memory, cutoffs)?.is_some_and(|cutoff| auth <= cutoff) {
        return Ok(false);
    }
    let expires = memory.expires(session);
    memory.set(session, raw, expires)?;
    Ok(true)
}

/// `save.lua`
pub(super) fn save(
    memory: &mut Memory,
    now: u64,
    keys: &[Key],
    args: &[Arg],
) -> Result<Value, Fault> {
    let [session, zset, hash, cutoffs @ ..] = keys else {
        return Err(Fault::Corrupt);
    };
    if save_short(memory, session, cutoffs, args)? {
        return Ok(Value::Int(3));
    }
    let Some(record) = living(memory, now, session, cutoffs)? else {
        return Ok(Value::Int(0));
    };
    let fields = apply(record.all_fields()?, args, 4)?;
    let index = Index { zset, hash };
    check_index(memory, &index, &record.header)?;
    let mut header = record.header;
    header.rev += 1;
    header.touched = header.touched.max(now);
    if write(memory, session, &header, &fields, arg(args, 0)?)?.is_none() {
        return Ok(Value::Int(2));
    }
    touch_index(memory, &index, &header)?;
    Ok(Value::Int(1))
}

/// `create.lua`
pub(super) fn create(
    memory: &mut Memory,
    now: u64,
    keys: &[Key],
    args: &[Arg],
) -> Result<Value, Fault> {
    let [session] = keys else {
        return Err(Fault::Corrupt);
    };
    if memory.exists(session) {
        return Ok(Value::Nil);
    }
    let header = Header {
        rev: 1,
        created: now,
        auth: 0,
        touched: now,
        idle: arg(args, 2)?.int()?,
        deadline: now + arg(args, 3)?.int()?,
        persistent: arg(args, 4)?.bytes().as_ref() == b"p",
        check: check(&arg(args, 1)?.bytes())?,
        tenant: Bytes::new(),
        user: Bytes::new(),
        sid: Bytes::new(),
    };
    let fields = apply(Fields::new(), args, 5)?;
    let written = write(memory, session, &header, &fields, arg(args, 0)?)?;
    Ok(written.map_or(Value::Int(2), Value::Bytes))
}

/// `renew.lua`
pub(super) fn renew(
    memory: &mut Memory,
    now: u64,
    keys: &[Key],
    args: &[Arg],
) -> Result<Value, Fault> {
    let [old, new, zset, hash, cutoffs @ ..] = keys else {
        return Err(Fault::Corrupt);
    };
    let cutoff = cutoff::largest(memory, cutoffs)?;
    let is_dead = |header: &Header| now >= header.expiry() || header.is_cut(cutoff);
    let Some(raw) = current(memory, old)? else {
        let done = current(memory, new)?.and_then(Record::parse);
        let done = done.filter(|done| !is_dead(&done.header));
        return Ok(done.map_or(Value::Nil, |done| Value::Bytes(done.into_raw())));
    };
    let record = Record::parse(raw).ok_or(Fault::Corrupt)?;
    if is_dead(&record.header) {
        return Ok(Value::Nil);
    }
    let fields = apply(record.all_fields()?, args, 2)?;
    let index = Index { zset, hash };
    check_index(memory, &index, &record.header)?;
    let id = arg(args, 1)?.bytes();
    let mut header = record.header;
    header.rev += 1;
    header.touched = header.touched.max(now);
    header.check = check(&id)?;
    let Some(written) = write(memory, new, &header, &fields, arg(args, 0)?)? else {
        return Ok(Value::Int(2));
    };
    mark_moved(memory, now, old, &id)?;
    if !header.is_anonymous() {
        index.rename(memory, &header.sid, &id)?;
        touch_index(memory, &index, &header)?;
    }
    Ok(Value::Bytes(written))
}

/// `destroy.lua`
pub(super) fn destroy(
    memory: &mut Memory,
    now: u64,
    keys: &[Key],
    args: &[Arg],
) -> Result<Value, Fault> {
    let [session, zset, hash] = keys else {
        return Err(Fault::Corrupt);
    };
    let names = Names::read(args)?;
    let index = Index { zset, hash };
    index.check(memory)?;
    let mut key = session.clone();
    for _ in 0..8 {
        let raw = text_at(memory, &key);
        let Some(raw) = raw.filter(|raw| raw.first() != Some(&ENDED)) else {
            return Ok(Value::Int(0));
        };
        memory.delete(&key);
        let Some(moved_to) = raw.strip_prefix(&[MOVED]) else {
            let record = Record::parse(raw).filter(|record| !record.header.is_anonymous());
            let Some(record) = record else {
                return Ok(Value::Int(1));
            };
            index.kill(memory, now, &record.header.sid, &names, None)?;
            return Ok(Value::bytes(record.header.sid));
        };
        key.truncate(key.len().saturating_sub(HASH_CHARS));
        key.push_str(&String::from_utf8_lossy(moved_to));
    }
    Ok(Value::Int(0))
}

/// A mark that the session moved to another id.
pub(super) fn mark_moved(
    memory: &mut Memory,
    now: u64,
    key: &Key,
    hash: &[u8],
) -> Result<(), Fault> {
    memory.set(key, [&[MOVED], hash].concat(), Some(now + MARK_MS))
}

pub(super) fn arg(args: &[Arg], at: usize) -> Result<&Arg, Fault> {
    args.get(at).ok_or(Fault::Corrupt)
}

pub(super) fn check(hash: &[u8]) -> Result<[u8; CHECK], Fault> {
    hash.first_chunk().copied().ok_or(Fault::Corrupt)
}

/// `text_at`
pub(super) fn text_at(memory: &Memory, key: &str) -> Option<Vec<u8>> {
    let raw = memory.get(key);
    raw.map_or(Some(Vec::new()), |raw| raw.map(<[u8]>::to_vec))
}

/// What is stored, unless it is only a mark.
fn current(memory: &Memory, key: &Key) -> Result<Option<Vec<u8>>, Fault> {
    let raw = memory.get(key)?.filter(|raw| !is_mark(raw));
    Ok(raw.map(<[u8]>::to_vec))
}

/// Whether it is no record but a mark of one that moved or was ended.
pub(crate) fn is_mark(raw: &[u8]) -> bool {
    matches!(raw.first(), Some(&MOVED | &ENDED))
}

fn record(memory: &Memory, key: &Key) -> Result<Option<Record>, Fault> {
    match current(memory, key)? {
        None => Ok(None),
        Some(raw) => Record::parse(raw).map(Some).ok_or(Fault::Corrupt),
    }
}

/// The record, unless it is gone, expired or cut off.
fn living(memory: &Memory, now: u64, key: &Key, cutoffs: &[Key]) -> Result<Option<Record>, Fault> {
    let Some(record) = record(memory, key)? else {
        return Ok(None);
    };
    let dead =
        now >= record.header.expiry() || record.header.is_cut(cutoff::largest(memory, cutoffs)?);
    Ok((!dead).then_some(record))
}

fn check_index(memory: &Memory, index: &Index<'_>, header: &Header) -> Result<(), Fault> {
    if header.is_anonymous() {
        return Ok(());
    }
    index.check(memory)
}

fn touch_index(memory: &mut Memory, index: &Index<'_>, header: &Header) -> Result<(), Fault> {
    if header.is_anonymous() {
        return Ok(());
    }
    index.touch(memory, &header.sid, header.expiry())
}

/// Changes as scripts get them: clear?, how many are set, name and value of each, then the names removed.
pub(super) fn apply(mut fields: Fields, args: &[Arg], at: usize) -> Result<Fields, Fault> {
    if arg(args, at)?.int()? == 1 {
        fields.clear();
    }
    let count = usize::try_from(arg(args, at + 1)?.int()?).map_err(|_| Fault::Corrupt)?;
    let rest = args.get(at + 2..).unwrap_or_default();
    let (set, removed) = rest.split_at_checked(2 * count).ok_or(Fault::Corrupt)?;
    for pair in set.chunks_exact(2) {
        let (name, value) = (pair[0].bytes(), pair[1].bytes().into_owned());
        match fields.iter_mut().find(|(found, _)| *found == *name) {
            Some((_, old)) => *old = value,
            None => fields.push((name.into_owned(), value)),
        }
    }
    fields.retain(|(name, _)| !removed.iter().any(|gone| *gone.bytes() == **name));
    Ok(fields)
}

/// Writes a record, unless it is longer than allowed.
pub(super) fn write(
    memory: &mut Memory,
    key: &Key,
    header: &Header,
    fields: &Fields,
    limit: &Arg,
) -> Result<Option<Vec<u8>>, Fault> {
    let raw = Record::render(header, fields);
    if raw.len() as u64 > limit.int()? {
        return Ok(None);
    }
    memory.set(key, raw.clone(), Some(header.expiry()))?;
    Ok(Some(raw))
}
