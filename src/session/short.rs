//! The short way of a save: what the record will be is worked out here, and the script only has to see that nobody has
//! changed the fields since.
//!
//! It is a guess that may be wrong and never harms: `save_short.lua` takes it only for the revision that it was made for,
//! and merges the changes as ever where that is not the stored one.

use super::{
    ops::Changes,
    record::{LAST_REVISION, Record, TOUCHED, netstring, push_netstring},
};
use crate::store::Arg;

/// A longer record travels back and forth for more than the script takes to merge.
const LONGEST: usize = 4 * 1024;
const MOST_FIELDS: usize = 64;

pub(super) struct Short {
    /// The beginning of the record as it was read: version, revision, and when it was created and authenticated.
    was: [u8; TOUCHED],
    length: usize,
    /// The record as it will be, but for when it was used.
    raw: Vec<u8>,
}

impl Short {
    /// `None` where the long way is the better one.
    pub(super) fn of(record: &Record, changes: &Changes, limit: u64) -> Option<Self> {
        let (raw, fields_at) = record.parts();
        let revision = record.header.rev;
        if raw.len() > LONGEST || revision >= LAST_REVISION {
            return None;
        }
        let added = changes.fields.iter();
        let added =
            added.map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len) + 10);
        let mut next = Vec::with_capacity(raw.len() + added.sum::<usize>());
        next.extend_from_slice(&raw[..fields_at]);
        next[1..11].copy_from_slice(format!("{:010}", revision + 1).as_bytes());
        let mut names = Vec::with_capacity(8);
        let mut at = fields_at;
        while at < raw.len() {
            let (name, after) = netstring(raw, at)?;
            let (value, after) = netstring(raw, after)?;
            // Only the long way says what is wrong with a record.
            if names.len() == MOST_FIELDS || names.contains(&name) {
                return None;
            }
            names.push(name);
            let name_text = std::str::from_utf8(name).ok()?;
            match changes.fields.get(name_text) {
                _ if changes.clear => {}
                None => push_pair(&mut next, name, value),
                Some(Some(value)) => push_pair(&mut next, name, value.as_bytes()),
                Some(None) => {}
            }
            at = after;
        }
        for (name, value) in &changes.fields {
            let is_new = changes.clear || !names.contains(&name.as_bytes());
            if let (true, Some(value)) = (is_new, value) {
                push_pair(&mut next, name.as_bytes(), value.as_bytes());
            }
        }
        if next.len() as u64 > limit {
            return None;
        }
        Some(Self {
            was: *raw.first_chunk()?,
            length: raw.len(),
            raw: next,
        })
    }

    /// The arguments of a save behind the longest record; those of one that goes the long way without a guess.
    pub(super) fn append_to(short: Option<Self>, args: &mut Vec<Arg>) {
        let Some(short) = short else {
            args.extend(["", "", ""].map(Arg::Static));
            return;
        };
        args.push(Arg::Bytes(short.was.to_vec()));
        args.push(Arg::Int(short.length as u64));
        args.push(Arg::Bytes(short.raw));
    }
}

fn push_pair(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    push_netstring(out, name);
    push_netstring(out, value);
}
