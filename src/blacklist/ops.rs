//! The names of entries, and what the store is asked.

use std::{iter, time::Duration};

use crate::{
    clock::millis,
    cutoff,
    jwt::VerifiedToken,
    near::{List, Scope, View},
    secret::{encode_exact, sha256_of_parts},
    store::{
        Arg, Call, Fault, Few, Key, Memory, Namespace, Operation, Reply, StoreError, Tag, Value,
        corrupt, exists, get,
    },
};

static REVOKE: Operation =
    Operation::script("blacklist.revoke", &[include_str!("revoke.lua")], revoke);
/// `EXISTS`, so that an entry counts whatever kind of value somebody gave it.
static LISTED: Operation = Operation::command("blacklist.listed", "EXISTS", exists);
/// Of one key: `MGET` answers nothing for a key of another kind, and a cutoff that cannot be read is no missing one.
static CUTOFF: Operation = Operation::each("blacklist.cutoffs", "GET", get);

pub(super) const ALL: [&Operation; 1] = [&REVOKE];

/// A longer `jti` is hashed before it becomes part of a key.
const LONGEST_ID: usize = 128;

/// What an entry is called behind the prefix of its list; made without allocating.
pub(super) enum Name<'a> {
    Plain(&'a str),
    /// `h:` and a hash.
    Hashed([u8; 45]),
}

impl<'a> Name<'a> {
    /// The entry of a `jti` or `sid` of this token: as it is for the first issuer, so that others can write it by hand;
    /// hashed together with the issuer for the rest, so that two issuers' ids do not meet.
    pub(super) fn of_token(token: &'a VerifiedToken, id: &'a str) -> Self {
        if token.issuer_index() > 0 {
            return Self::of_other(token.iss(), id);
        }
        Self::of(id)
    }

    /// The entry of an id of another issuer than the first.
    pub(super) fn of_other(iss: &str, id: &str) -> Self {
        Self::hashed(&[iss.as_bytes(), id.as_bytes()])
    }

    /// The entry of an id of the first issuer, which is this application.
    pub(super) fn of(id: &'a str) -> Self {
        // What looks like a name of our own making could be somebody's choice: it is hashed as well.
        if id.len() > LONGEST_ID || id.starts_with("h:") || id.starts_with("-sid:") {
            return Self::hashed(&[id.as_bytes()]);
        }
        Self::Plain(id)
    }

    fn hashed(parts: &[&[u8]]) -> Self {
        let mut name = [0; 45];
        name[..2].copy_from_slice(b"h:");
        encode_exact(&sha256_of_parts(parts), &mut name[2..]);
        Self::Hashed(name)
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Plain(id) => id,
            Self::Hashed(name) => std::str::from_utf8(name).expect("base64url is ASCII"),
        }
    }
}

pub(super) fn key(namespace: &Namespace, list: List, name: &Name<'_>) -> Key {
    match list {
        List::Tokens => [namespace.blacklist_prefix(), name.as_str()].concat(),
        List::Logins => namespace.denied_sid(name.as_str()),
    }
}

/// An entry that holds until `until_ms`, which is in `left_ms`, both by this node's clock.
pub(super) fn revocation(key: Key, until_ms: u64, left_ms: u64) -> Call {
    let args = vec![until_ms.into(), left_ms.into(), "revoked".into()];
    Call::new(&REVOKE, Few::one(key), args)
}

/// The question about a token: what are the cutoffs that apply, and is it listed, if it has ids.
pub(crate) fn question(namespace: &Namespace, token: &VerifiedToken) -> impl Iterator<Item = Call> {
    let cutoffs = Call::new(&CUTOFF, cutoffs(namespace, token), Vec::new());
    let listed = names(token).map(|(list, name)| key(namespace, list, &name));
    // A question without keys is an error to the server.
    let listed = has_id(token).then(|| Call::new(&LISTED, listed.collect::<Few<_>>(), Vec::new()));
    iter::once(cutoffs).chain(listed)
}

/// Whether there is anything that this token could be listed by.
pub(crate) fn has_id(token: &VerifiedToken) -> bool {
    token.jti().is_some() || token.sid().is_some()
}

/// Under which names it may be listed.
fn names(token: &VerifiedToken) -> impl Iterator<Item = (List, Name<'_>)> {
    let jti = token
        .jti()
        .map(|jti| (List::Tokens, Name::of_token(token, jti)));
    let sid = token
        .sid()
        .map(|sid| (List::Logins, Name::of_token(token, sid)));
    jti.into_iter().chain(sid)
}

fn cutoffs(namespace: &Namespace, token: &VerifiedToken) -> Few<Key> {
    let user = user(namespace, token).map(|tag| cutoff::user_key(namespace, &tag));
    let tenant = tenant(namespace, token).map(|tag| cutoff::tenant_key(namespace, &tag));
    let everyone = iter::once(cutoff::global_key(namespace));
    everyone.chain(user).chain(tenant).collect()
}

fn user(namespace: &Namespace, token: &VerifiedToken) -> Option<Tag> {
    // The first issuer is this application: its users are those of its sessions.
    let issuer = if token.issuer_index() > 0 {
        token.iss()
    } else {
        ""
    };
    let tenant = token.tenant().unwrap_or("");
    token
        .sub()
        .map(|sub| namespace.user_tag(issuer, tenant, sub))
}

fn tenant(namespace: &Namespace, token: &VerifiedToken) -> Option<Tag> {
    let tenant = token.tenant().filter(|tenant| !tenant.is_empty());
    tenant.map(|tenant| namespace.tenant_tag(tenant))
}

/// What this node can say about a token by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Clear,
    Ask,
    /// For good.
    Dead,
}

/// Looks the tokens of a request up in the replica; allocates nothing.
pub(super) fn look(view: &View<'_>, namespace: &Namespace, tokens: &[VerifiedToken]) -> Verdict {
    let verdicts = tokens
        .iter()
        .map(|token| look_one(view, namespace, token, None));
    verdicts.max().unwrap_or(Verdict::Clear)
}

/// Looks one token up. `at` is when its session was authenticated, where that is known from elsewhere.
pub(crate) fn look_one(
    view: &View<'_>,
    namespace: &Namespace,
    token: &VerifiedToken,
    at: Option<u64>,
) -> Verdict {
    let authenticated = at.unwrap_or(u64::MAX).min(authenticated(token));
    if names(token).any(|(list, name)| view.lists(list, name.as_str().as_bytes())) {
        return Verdict::Dead;
    }
    let mut unsure = !view.is_fresh();
    // No hash is made where there is nothing to find under it.
    let user = view.any_user().then(|| user(namespace, token)).flatten();
    let tenant = view
        .any_tenant()
        .then(|| tenant(namespace, token))
        .flatten();
    let scopes = [
        Some(Scope::Everyone),
        user.map(Scope::User),
        tenant.map(Scope::Tenant),
    ];
    for cut in scopes.into_iter().flatten().map(|scope| view.cutoff(scope)) {
        if cut.moment.is_some_and(|moment| authenticated <= moment) {
            return Verdict::Dead;
        }
        unsure |= cut.unsure;
    }
    if unsure { Verdict::Ask } else { Verdict::Clear }
}

/// Whether the replies to [`question`] say that the token is dead.
pub(super) fn is_dead(
    token: &VerifiedToken,
    replies: impl IntoIterator<Item = Reply>,
) -> Result<bool, StoreError> {
    Heard::of(token, replies).map(|heard| heard.is_dead(token, None))
}

/// What the replies to [`question`] say.
#[derive(Clone, Copy)]
pub(crate) struct Heard {
    listed: bool,
    /// The largest cutoff that applies.
    cutoff: Option<u64>,
}

impl Heard {
    /// Takes the replies about this token from a list of replies about several, also when one of them is an error.
    pub(crate) fn of(
        token: &VerifiedToken,
        replies: impl IntoIterator<Item = Reply>,
    ) -> Result<Self, StoreError> {
        let mut replies = replies.into_iter();
        let cutoffs = replies.next().ok_or_else(corrupt);
        let listed = has_id(token).then(|| replies.next().ok_or_else(corrupt));
        let mut cutoff = None;
        for moment in cutoffs??.into_each() {
            cutoff = cutoff.max(moment.as_number()?);
        }
        let listed = match listed {
            Some(listed) => listed??.number()? > 0,
            None => false,
        };
        Ok(Self { listed, cutoff })
    }

    /// `at` is when the session was authenticated, where that is known from elsewhere.
    pub(crate) fn is_dead(self, token: &VerifiedToken, at: Option<u64>) -> bool {
        let authenticated = at.unwrap_or(u64::MAX).min(authenticated(token));
        self.listed || self.cutoff.is_some_and(|cutoff| authenticated <= cutoff)
    }
}

/// When the subject authenticated, at the earliest. Our own tokens say so by the store's clock. Others say only when they
/// were issued, in seconds and by a clock that may run ahead by the layer's leeway: without taking that off, a token of
/// before a cutoff would outlive it. A token that says nothing was authenticated before everything.
pub(crate) fn authenticated(token: &VerifiedToken) -> u64 {
    let issued = || Some(token.iat_ms()?.saturating_sub(token.leeway_ms()));
    token.auth_ms().or_else(issued).unwrap_or(0)
}

/// Whether the token may be good for longer than a logout denies its `sid`: its login could come back to life.
///
/// Only of the first issuer: nobody else's logins end with sessions of this store.
pub(super) fn outlives_logout(token: &VerifiedToken, longest: Duration) -> bool {
    if token.sid().is_none() || token.issuer_index() > 0 {
        return false;
    }
    let life = |iat_ms| token.exp_ms().saturating_sub(iat_ms);
    token
        .iat_ms()
        .is_none_or(|iat_ms| life(iat_ms) > millis(longest))
}

/// The Rust half of `revoke.lua`.
fn revoke(memory: &mut Memory, now: u64, keys: &[Key], args: &[Arg]) -> Result<Value, Fault> {
    let ([key], [until, left, reason]) = (keys, args) else {
        return Err(Fault::Corrupt);
    };
    let until = until.int()?.max(now.saturating_add(left.int()?));
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
