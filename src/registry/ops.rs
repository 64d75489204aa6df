//! What the store is asked, and what the replies mean.
//!
//! Value, generation and lease of one session lie in one slot, under a tag made from its `sid`. A value is 15 digits, the
//! moment until which it is fresh by the store's clock, and what the database said ([`Standing`]).

use super::{standing::Standing, twins};
use crate::{
    cutoff,
    store::{Call, Key, Operation, Store, StoreError, Value, corrupt, exists},
};

static READ: Operation =
    Operation::script("registry.read", &[include_str!("read.lua")], twins::read);
static FILL: Operation =
    Operation::script("registry.fill", &[include_str!("fill.lua")], twins::fill);
static FORGET: Operation = Operation::script(
    "registry.forget",
    &[include_str!("forget.lua")],
    twins::forget,
);
static RELEASE: Operation = Operation::script(
    "registry.release",
    &[include_str!("release.lua")],
    twins::release,
);
static CLOCK: Operation =
    Operation::script("registry.clock", &[include_str!("clock.lua")], twins::clock);
static MARK: Operation = Operation::script(
    "registry.mark",
    &[cutoff::LUA, include_str!("mark.lua")],
    twins::mark,
);
/// Whether there is a mark: without one the store was emptied.
static MARKED: Operation = Operation::command("registry.marked", "EXISTS", exists);

pub(super) static ALL: [&Operation; 7] = [
    &READ,
    &FILL,
    &FORGET,
    &RELEASE,
    &CLOCK,
    &MARK,
    &cutoff::AT_LEAST,
];

/// Value, generation and lease.
fn keys(store: &Store, sid: &str) -> Vec<Key> {
    let namespace = store.namespace();
    let tag = namespace.sid_tag(sid);
    ["", "generation", "lease"]
        .map(|rest| namespace.tagged("active", &tag, rest))
        .into()
}

fn mark_key(store: &Store) -> Key {
    store.namespace().plain("active", "synced")
}

pub(super) fn read(store: &Store, sid: &str, lease: &str, lease_ms: u64) -> Call {
    let args = vec![lease.to_owned().into(), lease_ms.into()];
    Call::new(&READ, keys(store, sid), args)
}

/// What the store says about a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// This, for so many milliseconds.
    Hit(Standing, u64),
    /// Ask the database: nobody else does. The old value may be used if the database cannot say.
    Lease {
        generation: String,
        old: Option<Standing>,
    },
    /// Somebody else is asking, under this lease.
    Wait {
        lease: String,
        old: Option<Standing>,
    },
}

pub(super) fn what_was_read(reply: Value) -> Result<Read, StoreError> {
    let [what, first, second] = words(reply)?;
    let old = |text: &str| match text {
        "" => Ok(None),
        text => Standing::from_text(text).map(Some).ok_or_else(corrupt),
    };
    match what.as_str() {
        "hit" => {
            let standing = Standing::from_text(&first).ok_or_else(corrupt)?;
            Ok(Read::Hit(standing, second.parse().map_err(|_| corrupt())?))
        }
        "lease" => Ok(Read::Lease {
            generation: first,
            old: old(&second)?,
        }),
        "wait" => Ok(Read::Wait {
            lease: first,
            old: old(&second)?,
        }),
        _ => Err(corrupt()),
    }
}

/// A value with its times, in milliseconds.
pub(super) struct Filling<'a> {
    pub(super) lease: &'a str,
    pub(super) generation: &'a str,
    pub(super) standing: &'a Standing,
    pub(super) fresh_ms: u64,
    pub(super) kept_ms: u64,
}

pub(super) fn fill(store: &Store, sid: &str, filling: &Filling<'_>) -> Call {
    let args = vec![
        filling.lease.to_owned().into(),
        filling.generation.to_owned().into(),
        filling.standing.to_text().into(),
        filling.fresh_ms.into(),
        filling.kept_ms.into(),
    ];
    Call::new(&FILL, keys(store, sid), args)
}

pub(super) fn forget(store: &Store, sid: &str, kept_ms: u64) -> Call {
    Call::new(&FORGET, keys(store, sid), vec![kept_ms.into()])
}

pub(super) fn release(store: &Store, sid: &str, lease: &str) -> Call {
    let args = vec![lease.to_owned().into()];
    Call::new(&RELEASE, keys(store, sid), args)
}

pub(super) fn clock(store: &Store) -> Call {
    Call::new(&CLOCK, vec![mark_key(store)], Vec::new())
}

/// The store's time, and the mark.
pub(super) fn what_time(reply: Value) -> Result<(u64, Option<u64>), StoreError> {
    let mut parts = reply.into_list()?.into_iter();
    let now = parts.next().ok_or_else(corrupt)?.number()?;
    let mark = match parts.next() {
        Some(Value::Bytes(text)) if text.is_empty() => None,
        Some(text) => text.as_number()?,
        None => return Err(corrupt()),
    };
    Ok((now, mark))
}

pub(super) fn mark(store: &Store, moment: u64, kept_ms: u64) -> Call {
    let args = vec![moment.into(), kept_ms.into()];
    Call::new(&MARK, vec![mark_key(store)], args)
}

pub(super) fn marked(store: &Store) -> Call {
    Call::new(&MARKED, vec![mark_key(store)], Vec::new())
}

fn words(reply: Value) -> Result<[String; 3], StoreError> {
    let word = |value| match value {
        Value::Bytes(bytes) => String::from_utf8(bytes).map_err(|_| corrupt()),
        _ => Err(corrupt()),
    };
    let words: Result<Vec<_>, _> = reply.into_list()?.into_iter().map(word).collect();
    words?.try_into().map_err(|_| corrupt())
}
