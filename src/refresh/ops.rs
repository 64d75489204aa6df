//! What a rotation asks the store, and what the replies mean.

use super::{
    token::{Family, Token},
    twins,
};
use crate::{
    cutoff,
    device::{self, Names},
    store::{Arg, Call, Key, Operation, Store, StoreError, Value, corrupt},
};

static ISSUE: Operation = Operation::script(
    "refresh.issue",
    &[cutoff::LUA, device::LUA, include_str!("issue.lua")],
    twins::issue,
);
static ROTATE: Operation = Operation::script(
    "refresh.rotate",
    &[cutoff::LUA, device::LUA, include_str!("rotate.lua")],
    twins::rotate,
);

static CLIENT: Operation = Operation::command("refresh.client", "HGET", twins::field);

pub(super) const ALL: [&Operation; 2] = [&ISSUE, &ROTATE];

pub(super) fn cutoffs(store: &Store, family: &Family) -> Vec<Key> {
    let namespace = store.namespace();
    let mut keys = vec![
        cutoff::user_key(namespace, &family.tag()),
        cutoff::global_key(namespace),
    ];
    keys.extend(
        family
            .tenant()
            .map(|tenant| cutoff::tenant_key(namespace, &tenant)),
    );
    keys
}

pub(super) fn family_keys(store: &Store, family: &Family) -> Vec<Key> {
    let tag = family.tag();
    let [zset, hash] = device::keys(store.namespace(), &tag);
    vec![
        store.namespace().tagged("refresh", &tag, &family.sid()),
        zset,
        hash,
    ]
}

/// What a new family is bound to.
pub(super) struct NewFamily<'a> {
    pub(super) tenant: &'a str,
    pub(super) user: &'a str,
    pub(super) client: &'a str,
    pub(super) scope: &'a str,
    pub(super) resource: &'a str,
    pub(super) idle_ms: u64,
    pub(super) absolute_ms: u64,
    /// 0 is now.
    pub(super) auth_ms: u64,
    /// When the user proved who they are; 0 is `auth_ms`.
    pub(super) login_ms: u64,
    pub(super) about: &'a str,
    pub(super) ahead_kept: u64,
    pub(super) most_devices: u64,
    pub(super) evict: bool,
    /// Whether it belongs to a session, and so to a device that must be there.
    pub(super) joins: bool,
    /// When the authentication began; 0 is not said.
    pub(super) started_ms: u64,
    /// The same, with the database's moment.
    #[cfg(feature = "registry")]
    pub(super) started: Option<cutoff::AuthStart>,
}

pub(super) fn issue(store: &Store, token: &Token, key_id: [u8; 4], new: &NewFamily<'_>) -> Call {
    let family = &token.family;
    let mut keys = family_keys(store, family);
    keys.push(cutoff::latest_key(store.namespace()));
    keys.extend(cutoffs(store, family));
    let mut args: Vec<Arg> = vec![
        token.hash().into(),
        hex(key_id).into(),
        family.epoch().into(),
        new.tenant.to_owned().into(),
        new.user.to_owned().into(),
        family.sid().into(),
        new.client.to_owned().into(),
        new.scope.to_owned().into(),
        new.resource.to_owned().into(),
        new.idle_ms.into(),
        new.absolute_ms.into(),
        new.auth_ms.into(),
        new.about.to_owned().into(),
        new.ahead_kept.into(),
        new.most_devices.into(),
        new.evict.into(),
    ];
    Names::new(store, &family.tag()).append_to(&mut args);
    args.push(new.login_ms.into());
    args.push(new.joins.into());
    args.push(new.started_ms.into());
    Call::new(&ISSUE, keys, args)
}

/// What became of an issue.
pub(super) enum Issued {
    Done {
        auth_ms: u64,
        ends_ms: u64,
        login_ms: u64,
    },
    Cut,
    Full,
    Outdated,
}

pub(super) fn issued(reply: Value) -> Result<Issued, StoreError> {
    let mut words = words(reply)?.into_iter();
    match words.next().as_deref() {
        Some("ok") => Ok(Issued::Done {
            auth_ms: number(words.next())?,
            ends_ms: number(words.next())?,
            login_ms: number(words.next())?,
        }),
        Some("cut") => Ok(Issued::Cut),
        Some("full") => Ok(Issued::Full),
        Some("outdated") => Ok(Issued::Outdated),
        _ => Err(corrupt()),
    }
}

/// What a client asks beside presenting its token.
pub(super) struct Asked<'a> {
    pub(super) client: &'a str,
    pub(super) scope: &'a str,
    pub(super) resource: &'a str,
    pub(super) grace_ms: u64,
}

/// What a successor would be, and what it is derived with.
pub(super) struct Next<'a> {
    pub(super) successor: &'a Token,
    pub(super) nonce: &'a str,
    pub(super) key_id: [u8; 4],
}

pub(super) fn rotate(store: &Store, token: &Token, next: &Next<'_>, asked: &Asked<'_>) -> Call {
    let family = &token.family;
    let mut keys = family_keys(store, family);
    keys.extend(cutoffs(store, family));
    let mut args: Vec<Arg> = vec![
        family.epoch().into(),
        token.hash().into(),
        token.generation.into(),
        next.successor.hash().into(),
        next.nonce.to_owned().into(),
        hex(next.key_id).into(),
        asked.grace_ms.into(),
        asked.client.to_owned().into(),
        asked.scope.to_owned().into(),
        asked.resource.to_owned().into(),
        family.sid().into(),
    ];
    Names::new(store, &family.tag()).append_to(&mut args);
    Call::new(&ROTATE, keys, args)
}

/// What the store decided about a presented token.
pub(super) enum Rotated {
    /// It stays or becomes good: whose it is, and how its successor is derived.
    Good {
        how: How,
        nonce: String,
        key_id: [u8; 4],
        of: Owner,
    },
    Reused,
    Unknown,
    Expired,
    /// The device was signed out, and why.
    Ended(String),
    Client,
    Scope,
    Resource,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Rotated,
    /// As rotated, from a generation that the store had lost.
    Rolled,
    Replayed,
    Current,
}

/// What a family is bound to.
pub(super) struct Owner {
    pub(super) auth_ms: u64,
    /// When the user proved who they are: unlike `auth_ms` it never moves.
    pub(super) login_ms: u64,
    pub(super) ends_ms: u64,
    pub(super) tenant: String,
    pub(super) user: String,
    pub(super) client: String,
    pub(super) scope: String,
    pub(super) resource: String,
}

pub(super) fn rotated(reply: Value) -> Result<Rotated, StoreError> {
    let words = words(reply)?;
    let mut rest = words.iter().skip(1);
    let how = match words.first().map(String::as_str) {
        Some("rotated") => How::Rotated,
        Some("rolled") => How::Rolled,
        Some("replayed") => How::Replayed,
        Some("current") => How::Current,
        Some("reused") => return Ok(Rotated::Reused),
        Some("unknown") => return Ok(Rotated::Unknown),
        Some("expired") => return Ok(Rotated::Expired),
        Some("cut") => return Ok(Rotated::Ended("revoked".to_owned())),
        Some("ended") => return Ok(Rotated::Ended(rest.next().cloned().unwrap_or_default())),
        Some("client") => return Ok(Rotated::Client),
        Some("scope") => return Ok(Rotated::Scope),
        Some("resource") => return Ok(Rotated::Resource),
        _ => return Err(corrupt()),
    };
    let nonce = rest.next().cloned().ok_or_else(corrupt)?;
    let key_id = rest
        .next()
        .and_then(|text| unhex(text))
        .ok_or_else(corrupt)?;
    let of = owner(&words)?;
    Ok(Rotated::Good {
        how,
        nonce,
        key_id,
        of,
    })
}

/// Whose a family is.
pub(super) fn client(store: &Store, token: &Token) -> Call {
    let family = &token.family;
    let key = store
        .namespace()
        .tagged("refresh", &family.tag(), &family.sid());
    Call::new(&CLIENT, vec![key], vec!["client".into()])
}

pub(super) fn client_in(reply: Value) -> Result<Option<String>, StoreError> {
    match reply {
        Value::Nil => Ok(None),
        Value::Bytes(bytes) => String::from_utf8(bytes).map(Some).map_err(|_| corrupt()),
        _ => Err(corrupt()),
    }
}

fn owner(words: &[String]) -> Result<Owner, StoreError> {
    let [
        _,
        _,
        _,
        auth,
        ends,
        tenant,
        user,
        client,
        scope,
        resource,
        login,
    ] = words
    else {
        return Err(corrupt());
    };
    Ok(Owner {
        auth_ms: number(Some(auth.clone()))?,
        login_ms: number(Some(login.clone()))?,
        ends_ms: number(Some(ends.clone()))?,
        tenant: tenant.clone(),
        user: user.clone(),
        client: client.clone(),
        scope: scope.clone(),
        resource: resource.clone(),
    })
}

pub(super) fn words(reply: Value) -> Result<Vec<String>, StoreError> {
    let word = |value| match value {
        Value::Bytes(bytes) => String::from_utf8(bytes).map_err(|_| corrupt()),
        _ => Err(corrupt()),
    };
    reply.into_list()?.into_iter().map(word).collect()
}

pub(super) fn number(word: Option<String>) -> Result<u64, StoreError> {
    word.and_then(|word| word.parse().ok()).ok_or_else(corrupt)
}

pub(super) fn hex(key_id: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(key_id))
}

pub(super) fn unhex(text: &str) -> Option<[u8; 4]> {
    (text.len() == 8).then(|| u32::from_str_radix(text, 16).ok().map(u32::to_be_bytes))?
}
