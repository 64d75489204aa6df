//! What a refresh token is good for, without using it.

use super::{
    Rotation, ops,
    token::Token,
    twins::{Stored, arg, reply},
};
use crate::{
    clock::millis,
    cutoff,
    store::{Arg, Call, Fault, Key, Memory, Operation, StoreError, StoreErrorKind, Value, corrupt},
};

pub(super) static INSPECT: Operation = Operation::script(
    "refresh.inspect",
    &[cutoff::LUA, include_str!("inspect.lua")],
    inspect,
);

/// A refresh token that would be taken.
pub(crate) struct Inspected {
    /// Until when: a token of before the last rotation only in grace.
    pub(crate) until_ms: u64,
    /// When it was handed out; only of the current token anybody knows.
    pub(crate) since_ms: Option<u64>,
    pub(crate) user: String,
    pub(crate) tenant: String,
    pub(crate) client: String,
    pub(crate) scope: String,
    pub(crate) login_ms: u64,
    pub(crate) sid: String,
}

impl Rotation {
    /// What this token is good for, in one trip; `None` if [`rotate`](Self::rotate) would refuse it. It may be rotated
    /// afterwards as if nobody had asked.
    pub(crate) async fn inspect(&self, presented: &str) -> Result<Option<Inspected>, StoreError> {
        let inner = &*self.0;
        let Some(token) = Token::parse(presented, &inner.keys) else {
            return Ok(None);
        };
        #[cfg(feature = "registry")]
        if let Some(active) = &inner.registry {
            let grace = millis(inner.settings.grace);
            let inspected = super::registered::inspect(active, &token, grace).await;
            return inspected
                .map_err(|error| StoreError::new(StoreErrorKind::Unavailable).caused_by(error));
        }
        let family = &token.family;
        let mut keys = ops::family_keys(&inner.store, family);
        // Without the index of devices, which nothing here depends on.
        keys.truncate(1);
        keys.extend(ops::cutoffs(&inner.store, family));
        let args = vec![
            family.epoch().into(),
            token.hash().into(),
            token.generation.into(),
            millis(inner.settings.grace).into(),
        ];
        let reply = inner.store.run(Call::new(&INSPECT, keys, args)).await?;
        inspected(ops::words(reply)?, family.sid())
    }

    /// Loads the script with every connection.
    pub(crate) fn will_inspect(&self) {
        self.0.store.register(&[&INSPECT]);
    }
}

fn inspected(words: Vec<String>, sid: String) -> Result<Option<Inspected>, StoreError> {
    if words.is_empty() {
        return Ok(None);
    }
    let [until, since, user, tenant, client, scope, login] =
        <[String; 7]>::try_from(words).map_err(|_| corrupt())?;
    let since = Some(since).filter(|since| !since.is_empty());
    Ok(Some(Inspected {
        until_ms: ops::number(Some(until))?,
        since_ms: since.map(|since| ops::number(Some(since))).transpose()?,
        user,
        tenant,
        client,
        scope,
        login_ms: ops::number(Some(login))?,
        sid,
    }))
}

/// The Rust half of `inspect.lua`.
fn inspect(memory: &mut Memory, now: u64, keys: &[Key], args: &[Arg]) -> Result<Value, Fault> {
    let [family, cutoffs @ ..] = keys else {
        return Err(Fault::Corrupt);
    };
    let stored = Stored {
        memory,
        key: family,
    };
    let refused = || Ok(Value::List(Vec::new()));
    let is_ours = stored.text("cur")?.is_some() && stored.is("epoch", &arg(args, 0)?.bytes())?;
    if stored.text("ended")?.is_some() || !is_ours {
        return refused();
    }
    let rotated = stored.number("rot")?;
    let mut expires = stored.number("abs")?.min(rotated + stored.number("idle")?);
    let cutoff = cutoff::largest(memory, cutoffs)?;
    if now >= expires || cutoff >= Some(stored.number("auth")?) {
        return refused();
    }
    let (hash, generation) = (arg(args, 1)?.bytes(), arg(args, 2)?.int()?);
    let (current, grace) = (stored.number("gen")?, arg(args, 3)?.int()?);
    let mut since = String::new();
    if generation + 1 == current && stored.is("prev", &hash)? {
        if now.saturating_sub(rotated) >= grace {
            return refused();
        }
        expires = expires.min(rotated + grace);
    } else if generation == current && stored.is("cur", &hash)? {
        since = rotated.to_string();
    } else if generation <= current {
        return refused();
    }
    let mut words = vec![expires.to_string().into_bytes(), since.into_bytes()];
    for name in ["user", "tenant", "client", "scope", "login"] {
        words.push(stored.text(name)?.unwrap_or_default());
    }
    Ok(reply(words))
}
