//! Tokens that bind to a secret in the store, beside the session.
//!
//! Invariants: the secret lives in the slot of its session, is good only while the session is alive, and is another one
//! under every id; it ends at the session's absolute timeout at the latest. It makes no token without the key ring.

use crate::{
    cutoff,
    secret::{decode_exact, encode, random_bytes},
    session::{CsrfPlace, PRELUDE, deadline_of, is_mark},
    store::{Arg, Call, Fault, Key, Memory, Operation, StoreError, StoreErrorKind, Value},
};

static SECRET: Operation = Operation::script(
    "csrf.secret",
    &[cutoff::LUA, PRELUDE, include_str!("secret.lua")],
    on_memory,
);

/// The question whether there is a secret.
pub(super) fn look(place: &CsrfPlace) -> Call {
    call(place, String::new())
}

/// The question for the secret, which is made if there is none yet.
pub(super) fn make(place: &CsrfPlace) -> Result<Call, getrandom::Error> {
    Ok(call(place, encode(random_bytes::<32>()?)))
}

pub(crate) fn call(place: &CsrfPlace, new: String) -> Call {
    // The layer is built without the store, so connections learn of the script at its first use.
    place.store.register(&[&SECRET]);
    let keys = vec![place.secret.clone(), place.session.clone()];
    Call::new(&SECRET, keys, vec![new.into()])
}

/// Reads the reply: `None` for a session that has no secret or is no longer alive.
pub(super) fn secret_in(reply: Value) -> Result<Option<[u8; 32]>, StoreError> {
    match reply {
        Value::Nil => Ok(None),
        Value::Bytes(text) => decode_exact(&text)
            .map(Some)
            .ok_or_else(|| StoreError::new(StoreErrorKind::Corrupt)),
        _ => Err(StoreError::new(StoreErrorKind::Corrupt)),
    }
}

/// `secret.lua`
fn on_memory(memory: &mut Memory, _: u64, keys: &[Key], args: &[Arg]) -> Result<Value, Fault> {
    let ([secret, session], [new]) = (keys, args) else {
        return Err(Fault::Corrupt);
    };
    let raw = memory.get(session)?.filter(|raw| !is_mark(raw));
    let Some(raw) = raw.map(<[u8]>::to_vec) else {
        memory.delete(secret);
        return Ok(Value::Nil);
    };
    let new = new.bytes();
    match memory.get(secret)? {
        Some(stored) => return Ok(Value::bytes(stored)),
        None if new.is_empty() => return Ok(Value::Nil),
        None => {}
    }
    let deadline = deadline_of(&raw).ok_or(Fault::Corrupt)?;
    memory.set(secret, new.to_vec(), Some(deadline))?;
    Ok(Value::Bytes(new.into_owned()))
}
