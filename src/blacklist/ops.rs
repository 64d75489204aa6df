//! The names of entries, and what the store is asked.

use crate::{
    cutoff,
    jwt::VerifiedToken,
    secret::{encode, sha256_of_parts},
    store::{
        Arg, Call, Fault, Key, Memory, Namespace, Operation, Replies, StoreError, StoreErrorKind,
        Value, exists, mget,
    },
};

static REVOKE: Operation =
    Operation::script("blacklist.revoke", &[include_str!("revoke.lua")], revoke);
/// `EXISTS`, so that an entry counts whatever kind of value somebody gave it.
static LISTED: Operation = Operation::command("blacklist.listed", "EXISTS", exists);
static CUTOFFS: Operation = Operation::command("blacklist.cutoffs", "MGET", mget);

pub(super) const ALL: [&Operation; 1] = [&REVOKE];

/// A longer `jti` is hashed before it becomes part of a key.
const LONGEST_ID: usize = 128;

/// The entry of a token: under its own `jti` for the first issuer, so that others can write it by hand; hashed together
/// with the issuer for the rest, so that two issuers' ids do not meet.
pub(super) fn token_key(namespace: &Namespace, token: &VerifiedToken, jti: &str) -> Key {
    let prefix = namespace.blacklist_prefix();
    if token.issuer_index() > 0 {
        let hash = sha256_of_parts(&[token.iss().as_bytes(), jti.as_bytes()]);
        return [prefix, "h:", &encode(hash)].concat();
    }
    [prefix, &short(jti)].concat()
}

/// The entry of a login.
pub(super) fn session_key(namespace: &Namespace, sid: &str) -> Key {
    namespace.denied_sid(&short(sid))
}

fn short(id: &str) -> std::borrow::Cow<'_, str> {
    // What looks like a name of our own making could be somebody's choice: it is hashed as well.
    if id.len() > LONGEST_ID || id.starts_with("h:") || id.starts_with("-sid:") {
        return format!("h:{}", encode(sha256_of_parts(&[id.as_bytes()]))).into();
    }
    id.into()
}

pub(super) fn revocation(key: Key, until_ms: u64, reason: &'static str) -> Call {
    Call::new(&REVOKE, vec![key], vec![until_ms.into(), reason.into()])
}

/// The question about a token: is it listed, and what are the cutoffs that apply.
pub(super) fn question(namespace: &Namespace, token: &VerifiedToken) -> [Call; 2] {
    let jti = token.jti().map(|jti| token_key(namespace, token, jti));
    let sid = token.sid().map(|sid| session_key(namespace, sid));
    let listed = jti.into_iter().chain(sid).collect();
    [
        Call::new(&LISTED, listed, Vec::new()),
        Call::new(&CUTOFFS, cutoffs(namespace, token), Vec::new()),
    ]
}

fn cutoffs(namespace: &Namespace, token: &VerifiedToken) -> Vec<Key> {
    // The first issuer is this application: its users are those of its sessions.
    let issuer = if token.issuer_index() > 0 {
        token.iss()
    } else {
        ""
    };
    let tenant = token.tenant().unwrap_or("");
    let mut keys = vec![cutoff::global_key(namespace)];
    if let Some(sub) = token.sub() {
        let tag = namespace.user_tag(issuer, tenant, sub);
        keys.push(cutoff::user_key(namespace, &tag));
    }
    if !tenant.is_empty() {
        keys.push(cutoff::tenant_key(namespace, &namespace.tenant_tag(tenant)));
    }
    keys
}

/// Whether the replies to [`question`] say that the token is dead.
pub(super) fn is_dead(token: &VerifiedToken, replies: Replies) -> Result<bool, StoreError> {
    let corrupt = || StoreError::new(StoreErrorKind::Corrupt);
    let mut replies = replies.into_iter();
    let listed = replies.next().ok_or_else(corrupt)??.number()? > 0;
    let cutoffs = replies.next().ok_or_else(corrupt)??.into_list()?;
    let mut largest = None;
    for cutoff in cutoffs {
        largest = largest.max(cutoff.as_number()?);
    }
    Ok(listed || largest.is_some_and(|cutoff| authenticated(token) <= cutoff))
}

/// When the subject authenticated. Tokens of others say only when they were issued, in seconds: what was issued in the
/// second of a cutoff is refused. A token that says nothing was authenticated before everything.
fn authenticated(token: &VerifiedToken) -> u64 {
    token.auth_ms().or_else(|| token.iat_ms()).unwrap_or(0)
}

/// The Rust half of `revoke.lua`.
fn revoke(memory: &mut Memory, now: u64, keys: &[Key], args: &[Arg]) -> Result<Value, Fault> {
    let ([key], [until, reason]) = (keys, args) else {
        return Err(Fault::Corrupt);
    };
    let until = until.int()?;
    if until <= now {
        return Ok(Value::Int(0));
    }
    let lasts = match memory.expires(key) {
        Some(expires) => expires >= until,
        None => memory.exists(key),
    };
    if !lasts {
        memory.set(key, reason.bytes().into_owned(), Some(until))?;
    }
    Ok(Value::Int(1))
}
