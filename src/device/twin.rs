//! The Rust half of `devices.lua`.

use super::{
    HASH_CHARS, Index, Names,
    index::{authenticated, session_hash},
};
use crate::{
    cutoff,
    store::{Arg, Fault, Key, Memory, Value},
};

pub(super) fn devices(
    memory: &mut Memory,
    now: u64,
    keys: &[Key],
    args: &[Arg],
) -> Result<Value, Fault> {
    let ([zset, hash, ahead, largest, cutoffs @ ..], [what, sid, kept, rest @ ..]) = (keys, args)
    else {
        return Err(Fault::Corrupt);
    };
    let (names, epoch) = rest.split_at_checked(4).ok_or(Fault::Corrupt)?;
    let (index, names, sid) = (Index { zset, hash }, Names::read(names)?, sid.bytes());
    let before = cutoff::largest(memory, cutoffs)?;
    index.check(memory)?;
    match what.bytes().as_ref() {
        b"list" => list(memory, now, &index, &names, before),
        b"one" => {
            let expires = memory.sorted_score(zset, &sid)?;
            let was = expires.is_some_and(|expires| expires > now);
            let known = was || memory.hash_get(&names.family_of(&sid), b"cur")?.is_some();
            index.trim(memory, now)?;
            if known {
                index.kill(memory, now, &sid, &names, Some("revoked"))?;
            }
            Ok(Value::Int(i64::from(was)))
        }
        b"token" => {
            let family = names.family_of(&sid);
            let epoch = epoch.first().ok_or(Fault::Corrupt)?.bytes();
            let is_another = memory
                .hash_get(&family, b"epoch")?
                .is_some_and(|found| *found != *epoch);
            let ended = memory.hash_get(&family, b"ended")?.is_some();
            index.trim(memory, now)?;
            if is_another || ended {
                return Ok(Value::Int(0));
            }
            index.kill(memory, now, &sid, &names, Some("revoked"))?;
            Ok(Value::Int(1))
        }
        what => {
            let user_cutoff = cutoffs.first().ok_or(Fault::Corrupt)?;
            let keeps = what == b"others" && index.is_alive(memory, now, &sid, before, &names)?;
            let current = keeps.then_some(&*sid);
            let old = cutoff::read(memory, user_cutoff)?;
            let latest = cutoff::read(memory, ahead)?;
            let known = cutoff::read(memory, largest)?;
            let raised = cutoff::next(now, old, latest);
            let kept = kept.int()?;
            let living = index.living(memory, now)?;
            index.trim(memory, now)?;
            cutoff::keep(memory, user_cutoff, raised, kept)?;
            cutoff::keep_later(memory, largest, known, raised, kept)?;
            let others = living.iter().filter(|sid| current != Some(&***sid));
            let mut ended = 0;
            for sid in others {
                index.kill(memory, now, sid, &names, Some("revoked"))?;
                ended += 1;
            }
            if let Some(current) = current {
                cutoff::keep_later(memory, ahead, latest, raised + 1, kept)?;
                take_past(memory, &index, &names, current, raised + 1)?;
            }
            Ok(Value::List(vec![
                Value::int(ended),
                Value::bytes(raised.to_string()),
            ]))
        }
    }
}

/// Takes the current device past a cutoff.
fn take_past(
    memory: &mut Memory,
    index: &Index<'_>,
    names: &Names,
    sid: &[u8],
    auth: u64,
) -> Result<(), Fault> {
    let auth = format!("{auth:015}");
    let family = names.family_of(sid);
    if memory.exists(&family) {
        memory.hash_set(&family, b"auth", auth.as_bytes())?;
    }
    let meta = index.meta(memory, sid)?;
    if let Some(meta) = &meta {
        let end = HASH_CHARS + auth.len();
        let rest = meta.get(end..).unwrap_or_default();
        let meta = [&meta[..HASH_CHARS.min(meta.len())], auth.as_bytes(), rest].concat();
        memory.hash_set(index.hash, sid, &meta)?;
    }
    let Some(hash) = meta.as_deref().and_then(session_hash) else {
        return Ok(());
    };
    let key = names.session_at(hash);
    let record = memory.get(&key)?.map(<[u8]>::to_vec);
    if let Some(mut record) = record.filter(|record| record.first() == Some(&b'1')) {
        let place = record.get_mut(26..41).ok_or(Fault::Corrupt)?;
        place.copy_from_slice(auth.as_bytes());
        let expires = memory.expires(&key);
        memory.set(&key, record, expires)?;
    }
    Ok(())
}

fn list(
    memory: &mut Memory,
    now: u64,
    index: &Index<'_>,
    names: &Names,
    cutoff: Option<u64>,
) -> Result<Value, Fault> {
    let (mut reply, mut dead) = (Vec::new(), Vec::new());
    for sid in index.living(memory, now)? {
        let meta = index.meta(memory, &sid)?.unwrap_or_default();
        match index.last_use(memory, now, &sid, names)? {
            Some(seen) if cutoff.is_none_or(|cutoff| authenticated(&meta) > cutoff) => {
                let about = meta.get(HASH_CHARS..).unwrap_or_default().to_vec();
                let seen = Value::bytes(seen.to_string());
                reply.push(Value::List(vec![
                    Value::Bytes(sid),
                    seen,
                    Value::Bytes(about),
                ]));
            }
            _ => dead.push(sid),
        }
    }
    index.trim(memory, now)?;
    for sid in dead {
        index.remove(memory, &sid)?;
    }
    Ok(Value::List(reply))
}
