//! Everything that is stored, seen and set from outside. For tests alone: neither atomic nor meant for large stores.

use std::collections::BTreeMap;

use super::{
    Arg, Backend, Call, Fault, Key, Memory, Operation, Store, StoreError, Value, lock,
    operation::corrupt,
};

static DUMP: Operation = Operation::script("testing.dump", &[include_str!("dump.lua")], unasked);
static PUT: Operation = Operation::script("testing.put", &[include_str!("put.lua")], put);

/// The in-memory store is looked at directly.
fn unasked(_: &mut Memory, _: u64, _: &[Key], _: &[Arg]) -> Result<Value, Fault> {
    Ok(Value::Nil)
}

/// One key with all that is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) content: Content,
    /// When it expires, in milliseconds of the store's clock.
    pub(crate) expires: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Text(Vec<u8>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    Sorted(BTreeMap<Vec<u8>, u64>),
    /// A kind of value that this crate never writes.
    Foreign(String),
}

impl Entry {
    /// The call that stores it, whatever lay under the key.
    pub(crate) fn put(&self) -> Call {
        let mut args: Vec<Arg> = vec![self.expires.unwrap_or(0).into()];
        match &self.content {
            Content::Text(text) => args.extend(["string".into(), text.clone().into()]),
            Content::Hash(map) => {
                args.push("hash".into());
                let pairs = map.iter().flat_map(|(name, value)| [name, value]);
                args.extend(pairs.map(|part| Arg::from(part.clone())));
            }
            Content::Sorted(map) => {
                args.push("zset".into());
                for (member, score) in map {
                    args.extend([Arg::from(member.clone()), Arg::from(*score)]);
                }
            }
            Content::Foreign(_) => args.push("none".into()),
        }
        Call::new(&PUT, vec![self.key.clone()], args)
    }
}

/// The Rust half of `put.lua`.
fn put(memory: &mut Memory, _: u64, keys: &[Key], args: &[Arg]) -> Result<Value, Fault> {
    let ([key], [expires, kind, parts @ ..]) = (keys, args) else {
        return Err(Fault::Corrupt);
    };
    memory.delete(key);
    match &*kind.bytes() {
        b"string" => {
            let text = parts.first().ok_or(Fault::Corrupt)?;
            memory.set(key, text.bytes().into_owned(), None)?;
        }
        b"hash" => parts
            .chunks_exact(2)
            .try_for_each(|pair| memory.hash_set(key, &pair[0].bytes(), &pair[1].bytes()))?,
        b"zset" => parts
            .chunks_exact(2)
            .try_for_each(|pair| memory.sorted_add(key, &pair[0].bytes(), pair[1].int()?))?,
        _ => {}
    }
    if expires.int()? > 0 {
        memory.expire_at(key, expires.int()?);
    }
    Ok(Value::Int(1))
}

impl Store {
    /// Everything under the prefixes of this store, by key.
    pub(crate) async fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        let namespace = self.namespace();
        let mut entries = match &self.0.backend {
            Backend::Memory(memory) => lock(memory).entries(),
            Backend::Link(_) | Backend::External(_) => {
                let prefixes = [
                    namespace.prefix().to_owned(),
                    namespace.blacklist_prefix().to_owned(),
                    namespace.denied_sid(""),
                ];
                let args = prefixes.map(Arg::from);
                let reply = self.run(Call::new(&DUMP, Vec::new(), args.into())).await?;
                let entries = reply.into_list()?.into_iter().map(entry);
                entries.collect::<Result<Vec<_>, _>>()?
            }
        };
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        entries.dedup_by(|a, b| a.key == b.key);
        Ok(entries)
    }

    /// Whether the store's time is this process's clock.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self.0.backend, Backend::Memory(_))
    }
}

/// One element of the reply of `dump.lua`: key, kind, expiry, parts.
fn entry(value: Value) -> Result<Entry, StoreError> {
    let Ok([key, kind, expires, parts]) = <[Value; 4]>::try_from(value.into_list()?) else {
        return Err(corrupt());
    };
    let mut parts = parts.into_list()?.into_iter();
    let content = match text(kind)?.as_str() {
        "string" => Content::Text(parts.next().map_or(Ok(Vec::new()), bytes)?),
        "hash" => Content::Hash(pairs(parts)?.into_iter().collect()),
        "zset" => {
            let scored = pairs(parts)?.into_iter();
            let scored = scored.map(|(member, score)| Ok((member, Value::Bytes(score).number()?)));
            Content::Sorted(scored.collect::<Result<_, StoreError>>()?)
        }
        other => Content::Foreign(other.to_owned()),
    };
    let expires = match expires {
        Value::Int(at) => u64::try_from(at).ok(),
        _ => return Err(corrupt()),
    };
    Ok(Entry {
        key: text(key)?,
        content,
        expires,
    })
}

fn pairs(mut parts: impl Iterator<Item = Value>) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
    let mut pairs = Vec::new();
    while let (Some(first), Some(second)) = (parts.next(), parts.next()) {
        pairs.push((bytes(first)?, bytes(second)?));
    }
    Ok(pairs)
}

fn bytes(value: Value) -> Result<Vec<u8>, StoreError> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        _ => Err(corrupt()),
    }
}

fn text(value: Value) -> Result<String, StoreError> {
    String::from_utf8(bytes(value)?).map_err(|_| corrupt())
}
