//! "Everything authenticated before T is dead": for a user, a tenant, or everyone.
//!
//! 1. A cutoff is one key with one moment, in milliseconds of the store's clock. Raising it is one write, however much
//!    it ends.
//! 2. What was authenticated at or before the largest cutoff that applies is dead. A session of nobody has no moment of
//!    authentication, and no cutoff ends it.
//! 3. A login takes `max(now, cutoff + 1)` as its moment, and raising takes `max(now, old + 1, latest)`, where `latest` is
//!    the latest moment that any login ever took. So a login after a cutoff always works, the next cutoff always ends it,
//!    and neither depends on the clock moving on, or forward, in between: not even after a failover to a server whose
//!    clock is behind.
//! 4. A login whose authentication began before a cutoff and ended after it can be refused: see [`AuthStart`].
//! 5. A cutoff is kept as long as the longest-lived credential of the store
//!    ([`StoreBuilder::longest_credential`](crate::store::StoreBuilder::longest_credential)).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), portcullis::StoreError> {
//! use portcullis::{Store, cutoff::Cutoffs};
//!
//! let store = Store::memory();
//! let cutoffs = Cutoffs::new(&store);
//! let first = cutoffs.user("", "alice").await?;
//! let second = cutoffs.user("", "alice").await?;
//! assert!(second > first);
//! # Ok(()) }
//! ```

mod start;

pub use start::AuthStart;
#[cfg(any(feature = "session", feature = "refresh"))]
pub(crate) use start::is_outdated;
#[cfg(test)]
pub(crate) use start::start_call;

use crate::{
    clock::millis,
    near::{self, Scope},
    store::{
        Arg, Call, Fault, Key, Memory, Namespace, Operation, Store, StoreError, StoreErrorKind,
        Tag, Value,
    },
};

/// The shared beginning of scripts that read cutoffs.
pub(crate) const LUA: &str = include_str!("moment.lua");

static RAISE: Operation =
    Operation::script("cutoff.raise", &[LUA, include_str!("raise.lua")], raise);

#[cfg(feature = "registry")]
pub(crate) static AT_LEAST: Operation = Operation::script(
    "cutoff.at_least",
    &[LUA, include_str!("at_least.lua")],
    at_least,
);

/// Ends everything of a user, a tenant or everyone that was authenticated before now: sessions at once on every
/// instance, tokens within the bound of the layer that checks them.
///
/// A login right after it works, within the same millisecond as well. One whose password is being checked meanwhile works
/// too unless it says when it began: see [`AuthStart`]. For a changed password, write the new one first.
#[derive(Clone, Debug)]
pub struct Cutoffs {
    store: Store,
}

impl Cutoffs {
    /// Cutoffs in this store.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        store.register(&[&RAISE, &start::START]);
        Self {
            store: store.clone(),
        }
    }

    /// Ends everything of one user; `tenant` is empty where there are no tenants. For a changed password, a locked
    /// account, "log out everywhere".
    ///
    /// Returns the cutoff in milliseconds since the Unix epoch, by the store's clock.
    ///
    /// # Errors
    ///
    /// When the store cannot say that it holds. It may hold nevertheless; raising it again is harmless. For an empty name
    /// ([`Invalid`](crate::store::StoreErrorKind::Invalid)): a cutoff of nobody ends nothing.
    pub async fn user(&self, tenant: &str, user: &str) -> Result<u64, StoreError> {
        named(user)?;
        let tag = self.store.namespace().user_tag("", tenant, user);
        self.raise(Scope::User(tag)).await
    }

    /// As [`user`](Self::user), for the subject of another issuer than the layer's first: `iss` and `sub` as in its tokens.
    ///
    /// # Errors
    ///
    /// As [`user`](Self::user).
    pub async fn subject(&self, iss: &str, tenant: &str, sub: &str) -> Result<u64, StoreError> {
        named(iss)?;
        named(sub)?;
        let tag = self.store.namespace().user_tag(iss, tenant, sub);
        self.raise(Scope::User(tag)).await
    }

    /// Ends everything of one tenant; returns and fails as [`user`](Self::user) does.
    ///
    /// # Errors
    ///
    /// As [`user`](Self::user).
    pub async fn tenant(&self, tenant: &str) -> Result<u64, StoreError> {
        named(tenant)?;
        let tag = self.store.namespace().tenant_tag(tenant);
        self.raise(Scope::Tenant(tag)).await
    }

    /// Ends everything of everyone; returns and fails as [`user`](Self::user) does.
    ///
    /// # Errors
    ///
    /// As [`user`](Self::user).
    pub async fn everyone(&self) -> Result<u64, StoreError> {
        self.raise(Scope::Everyone).await
    }

    /// The moment at which an authentication begins, in one trip. A login that is given it is refused if a cutoff comes
    /// before it is through.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    pub async fn auth_start(&self) -> Result<AuthStart, StoreError> {
        AuthStart::ask(&self.store).await
    }

    async fn raise(&self, scope: Scope) -> Result<u64, StoreError> {
        let namespace = self.store.namespace();
        let key = key_of(namespace, &scope);
        let kept = self.store.longest_credential();
        let raising = near::of(&self.store).map(|near| near.raising(scope, kept));
        let call = raise_call(namespace, key, millis(kept));
        let cutoff = self.store.run(call).await?.number()?;
        if let Some(raising) = raising {
            raising.raised(cutoff);
        }
        crate::trace::event_info!(event = "cutoff.raised", cutoff, "a cutoff was raised");
        Ok(cutoff)
    }
}

/// Nobody has an empty name: it is one that the caller has lost.
pub(crate) fn named(name: &str) -> Result<(), StoreError> {
    if name.is_empty() {
        return Err(StoreError::new(StoreErrorKind::Invalid));
    }
    Ok(())
}

/// Raises the cutoff under `key`, to be kept for `kept` milliseconds.
pub(crate) fn raise_call(namespace: &Namespace, key: Key, kept: u64) -> Call {
    let keys = vec![key, latest_key(namespace), largest_key(namespace)];
    Call::new(&RAISE, keys, vec![kept.into()])
}

/// How far the store's clock may be ahead of another, and the way to the store may take, before it matters.
#[cfg(feature = "registry")]
const ALLOWANCE_MS: u64 = 250;
/// For moments that may be long ago.
#[cfg(feature = "registry")]
const ANY_TIME_MS: u64 = 1_000_000_000_000_000;

/// Raises the cutoff of `scope` to `moment`, which somebody else decided; `is_now` if that was just now.
#[cfg(feature = "registry")]
pub(crate) fn at_least_call(store: &Store, scope: &Scope, moment: u64, is_now: bool) -> Call {
    let kept = millis(store.longest_credential());
    let key = key_of(store.namespace(), scope);
    let keys = vec![key, largest_key(store.namespace())];
    let allowance = if is_now { ALLOWANCE_MS } else { ANY_TIME_MS };
    Call::new(
        &AT_LEAST,
        keys,
        vec![moment.into(), kept.into(), allowance.into()],
    )
}

/// What the cutoffs of these scopes are.
#[cfg(feature = "registry")]
pub(crate) fn read_call(store: &Store, scopes: &[Scope]) -> Call {
    static READ: Operation = Operation::each("cutoff.read", "GET", crate::store::get);
    let key = |scope| key_of(store.namespace(), scope);
    let keys: crate::store::Few<_> = scopes.iter().map(key).collect();
    Call::new(&READ, keys, Vec::new())
}

pub(crate) fn key_of(namespace: &Namespace, scope: &Scope) -> Key {
    match scope {
        Scope::Everyone => global_key(namespace),
        Scope::Tenant(tag) => tenant_key(namespace, tag),
        Scope::User(tag) => user_key(namespace, tag),
    }
}

pub(crate) fn user_key(namespace: &Namespace, tag: &Tag) -> Key {
    namespace.tagged("cutoff", tag, "")
}

pub(crate) fn tenant_key(namespace: &Namespace, tag: &Tag) -> Key {
    namespace.plain("cutoff:tenant", tag.as_str())
}

pub(crate) fn global_key(namespace: &Namespace) -> Key {
    namespace.plain("cutoff", "global")
}

/// The latest moment of authentication that any login ever took.
pub(crate) fn latest_key(namespace: &Namespace) -> Key {
    namespace.plain("cutoff", "latest")
}

/// The largest cutoff there is, of whomever. An authentication that begins is later than it: so many cutoffs of one
/// millisecond can be told from what begins after them, and do not run ahead of the clock for it.
pub(crate) fn largest_key(namespace: &Namespace) -> Key {
    namespace.plain("cutoff", "largest")
}

/// The Rust half of `raise.lua`.
fn raise(memory: &mut Memory, now: u64, keys: &[Key], args: &[Arg]) -> Result<Value, Fault> {
    let [cutoff, ahead, largest] = keys else {
        return Err(Fault::Corrupt);
    };
    let (old, latest) = (read(memory, cutoff)?, read(memory, ahead)?);
    let known = read(memory, largest)?;
    let kept = args.first().ok_or(Fault::Corrupt)?.int()?;
    let raised = next(now, old, latest);
    keep(memory, cutoff, raised, kept)?;
    keep_later(memory, largest, known, raised, kept)?;
    Ok(Value::bytes(raised.to_string()))
}

/// `next_cutoff`
pub(crate) fn next(now: u64, old: Option<u64>, latest: Option<u64>) -> u64 {
    let after_old = old.map_or(0, |old| old + 1);
    now.max(after_old).max(latest.unwrap_or(0))
}

/// `keep_moment`
pub(crate) fn keep(memory: &mut Memory, key: &Key, at: u64, kept: u64) -> Result<(), Fault> {
    memory.set(key, at.to_string().into_bytes(), Some(at + kept))
}

/// The Rust half of `at_least.lua`.
#[cfg(feature = "registry")]
fn at_least(memory: &mut Memory, now: u64, keys: &[Key], args: &[Arg]) -> Result<Value, Fault> {
    let ([key, largest], [moment, kept, allowance]) = (keys, args) else {
        return Err(Fault::Corrupt);
    };
    let (old, known, mut new) = (read(memory, key)?, read(memory, largest)?, moment.int()?);
    if now > new + allowance.int()? {
        new = now;
    }
    if old.is_none_or(|old| new > old) {
        let kept = kept.int()?;
        keep(memory, key, new, kept)?;
        keep_later(memory, largest, known, new, kept)?;
    }
    Ok(Value::bytes(old.unwrap_or(0).max(new).to_string()))
}

/// A moment under a key, for the Rust halves.
pub(crate) fn read(memory: &Memory, key: &str) -> Result<Option<u64>, Fault> {
    let Some(text) = memory.get(key)? else {
        return Ok(None);
    };
    // As in `moment.lua`.
    let is_moment = (1..=15).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    let moment = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    moment.filter(|_| is_moment).map(Some).ok_or(Fault::Corrupt)
}

/// The largest of the cutoffs under these keys, for the Rust halves.
pub(crate) fn largest(memory: &Memory, keys: &[Key]) -> Result<Option<u64>, Fault> {
    keys.iter()
        .try_fold(None, |largest, key| Ok(largest.max(read(memory, key)?)))
}

/// `keep_later`
pub(crate) fn keep_later(
    memory: &mut Memory,
    key: &Key,
    known: Option<u64>,
    at: u64,
    kept: u64,
) -> Result<(), Fault> {
    if known.is_none_or(|known| at > known) {
        keep(memory, key, at, kept)?;
    }
    Ok(())
}
