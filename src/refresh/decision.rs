//! What becomes of a presented refresh token, given what is stored about its family. Pure: `rotate.lua` in Rust, for the
//! in-memory store and for families that a database keeps.

/// A family as it is stored. A part that is missing or unreadable is `None`, and matters only if the decision needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) ended: Option<String>,
    pub(super) current: Option<String>,
    pub(super) previous: Option<String>,
    pub(super) nonce: Option<String>,
    pub(super) epoch: Option<String>,
    pub(super) client: Option<String>,
    pub(super) scope: Option<String>,
    pub(super) resource: Option<String>,
    pub(super) idle_ms: Option<u64>,
    /// When it ends, however much it is used.
    pub(super) ends_ms: Option<u64>,
    pub(super) rotated_ms: Option<u64>,
    pub(super) generation: Option<u64>,
    pub(super) auth_ms: Option<u64>,
}

/// A token whose tag has been checked, and what is asked with it.
pub(super) struct Presented<'a> {
    pub(super) epoch: &'a str,
    pub(super) hash: &'a str,
    pub(super) generation: u64,
    /// What a successor is derived with, if it comes to that: our own resend has the same.
    pub(super) nonce: &'a str,
    pub(super) grace_ms: u64,
    pub(super) client: &'a str,
    pub(super) scope: &'a str,
    pub(super) resource: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Ended(String),
    Unknown,
    Expired,
    /// A cutoff ended it: what is left of it goes.
    Cut,
    Client,
    Scope,
    Resource,
    /// The token of before, presented again: its successor is the one that is stored.
    Replayed,
    /// The current one, by a late tab: it stays.
    Current,
    Rotate {
        /// From a generation that was lost.
        rolled: bool,
    },
    /// Somebody else has it: all of the family goes.
    Reused,
}

/// `None` if the family cannot be read.
pub(super) fn decide(
    stored: &Stored,
    now: u64,
    cutoff: Option<u64>,
    presented: &Presented<'_>,
) -> Option<Decision> {
    if let Some(why) = &stored.ended {
        return Some(Decision::Ended(why.clone()));
    }
    if stored.current.is_none() || stored.epoch.as_deref() != Some(presented.epoch) {
        return Some(Decision::Unknown);
    }
    let rotated = stored.rotated_ms?;
    if now >= stored.ends_ms? || now >= rotated + stored.idle_ms? {
        return Some(Decision::Expired);
    }
    if cutoff >= Some(stored.auth_ms?) {
        return Some(Decision::Cut);
    }
    if stored.client.as_deref() != Some(presented.client) {
        return Some(Decision::Client);
    }
    let granted = |list: &Option<String>| list.clone().unwrap_or_default();
    if !within(presented.scope, &granted(&stored.scope)) {
        return Some(Decision::Scope);
    }
    if !within(presented.resource, &granted(&stored.resource)) {
        return Some(Decision::Resource);
    }
    of_token(stored, now.saturating_sub(rotated), presented)
}

/// Which of the family's tokens this is. `age` is that of the current one.
fn of_token(stored: &Stored, age: u64, presented: &Presented<'_>) -> Option<Decision> {
    let (hash, generation) = (Some(presented.hash), presented.generation);
    let current = stored.generation?;
    if generation + 1 == current && stored.previous.as_deref() == hash {
        let is_ours = stored.nonce.as_deref().unwrap_or_default() == presented.nonce;
        if is_ours || age < presented.grace_ms {
            return Some(Decision::Replayed);
        }
    }
    let is_current = generation == current && stored.current.as_deref() == hash;
    if is_current && current > 0 && age < presented.grace_ms {
        return Some(Decision::Current);
    }
    if is_current || generation > current {
        let rolled = generation > current;
        return Some(Decision::Rotate { rolled });
    }
    Some(Decision::Reused)
}

/// Until when a token would be taken, and since when if it is the current one; `None` if it would not: `inspect.lua`.
#[cfg(feature = "registry")]
pub(super) fn good_until(
    stored: &Stored,
    now: u64,
    cutoff: Option<u64>,
    presented: &Presented<'_>,
) -> Option<(u64, Option<u64>)> {
    if stored.ended.is_some()
        || stored.current.is_none()
        || stored.epoch.as_deref() != Some(presented.epoch)
    {
        return None;
    }
    let (rotated, current) = (stored.rotated_ms?, stored.generation?);
    let expires = stored.ends_ms?.min(rotated + stored.idle_ms?);
    if now >= expires || cutoff >= Some(stored.auth_ms?) {
        return None;
    }
    let (hash, generation) = (Some(presented.hash), presented.generation);
    if generation + 1 == current && stored.previous.as_deref() == hash {
        let in_grace = now.saturating_sub(rotated) < presented.grace_ms;
        return in_grace.then(|| (expires.min(rotated + presented.grace_ms), None));
    }
    if generation == current && stored.current.as_deref() == hash {
        return Some((expires, Some(rotated)));
    }
    (generation > current).then_some((expires, None))
}

/// Whether every word asked for is among those granted.
fn within(asked: &str, granted: &str) -> bool {
    let granted: Vec<_> = granted.split_ascii_whitespace().collect();
    let mut asked = asked.split_ascii_whitespace();
    asked.all(|word| granted.contains(&word))
}
