//! "Everything authenticated before T is dead": for a user, a tenant, or everyone.
//!
//! 1. A cutoff is one key with one moment, in milliseconds of the store's clock. Raising it is one write, however much
//!    it ends.
//! 2. What was authenticated at or before the largest cutoff that applies is dead. A session of nobody has no moment of
//!    authentication, and no cutoff ends it.
//! 3. A login takes `max(now, cutoff + 1)` as its moment, and raising takes `max(now, old + 1, ahead)`, where `ahead` is
//!    the latest moment a login ever had to take ahead of the clock. So a login after a cutoff always works, the next
//!    cutoff always ends it, and neither depends on the clock moving on, or forward, in between.
//! 4. A cutoff is kept as long as the longest-lived credential of the store
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

use crate::{
    clock::millis,
    near::{self, Scope},
    store::{Arg, Call, Fault, Key, Memory, Namespace, Operation, Store, StoreError, Tag, Value},
};

static RAISE: Operation = Operation::script("cutoff.raise", &[include_str!("raise.lua")], raise);

/// Ends everything of a user, a tenant or everyone that was authenticated before now: sessions at once on every
/// instance, tokens within the bound of the layer that checks them.
///
/// A login right after it works, within the same millisecond as well.
#[derive(Clone, Debug)]
pub struct Cutoffs {
    store: Store,
}

impl Cutoffs {
    /// Cutoffs in this store.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        store.register(&[&RAISE]);
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
    /// When the store cannot say that it holds. It may hold nevertheless; raising it again is harmless.
    pub async fn user(&self, tenant: &str, user: &str) -> Result<u64, StoreError> {
        let tag = self.store.namespace().user_tag("", tenant, user);
        self.raise(Scope::User(tag)).await
    }

    /// As [`user`](Self::user), for the subject of another issuer than the layer's first: `iss` and `sub` as in its tokens.
    ///
    /// # Errors
    ///
    /// As [`user`](Self::user).
    pub async fn subject(&self, iss: &str, tenant: &str, sub: &str) -> Result<u64, StoreError> {
        let tag = self.store.namespace().user_tag(iss, tenant, sub);
        self.raise(Scope::User(tag)).await
    }

    /// Ends everything of one tenant; returns and fails as [`user`](Self::user) does.
    ///
    /// # Errors
    ///
    /// As [`user`](Self::user).
    pub async fn tenant(&self, tenant: &str) -> Result<u64, StoreError> {
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

    async fn raise(&self, scope: Scope) -> Result<u64, StoreError> {
        let namespace = self.store.namespace();
        let key = match &scope {
            Scope::Everyone => global_key(namespace),
            Scope::Tenant(tag) => tenant_key(namespace, tag),
            Scope::User(tag) => user_key(namespace, tag),
        };
        let kept = self.store.longest_credential();
        let raising = near::of(&self.store).map(|near| near.raising(scope, kept));
        let keys = vec![key, ahead_key(namespace)];
        let call = Call::new(&RAISE, keys, vec![millis(kept).into()]);
        let cutoff = self.store.run(call).await?.number()?;
        if let Some(raising) = raising {
            raising.raised(cutoff);
        }
        crate::trace::event_info!(event = "cutoff.raised", cutoff, "a cutoff was raised");
        Ok(cutoff)
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

/// The latest moment of authentication that was ever taken ahead of the clock.
pub(crate) fn ahead_key(namespace: &Namespace) -> Key {
    namespace.plain("cutoff", "ahead")
}

/// The Rust half of `raise.lua`.
fn raise(memory: &mut Memory, now: u64, keys: &[Key], args: &[Arg]) -> Result<Value, Fault> {
    let [cutoff, ahead] = keys else {
        return Err(Fault::Corrupt);
    };
    let old = read(memory, cutoff)?.map_or(0, |old| old + 1);
    let ahead = read(memory, ahead)?.unwrap_or(0);
    let raised = now.max(old).max(ahead);
    let text = raised.to_string();
    let kept = args.first().ok_or(Fault::Corrupt)?.int()?;
    memory.set(cutoff, text.clone().into_bytes(), Some(raised + kept))?;
    Ok(Value::bytes(text))
}

/// A moment under a key, for the Rust halves.
pub(crate) fn read(memory: &Memory, key: &str) -> Result<Option<u64>, Fault> {
    let Some(text) = memory.get(key)? else {
        return Ok(None);
    };
    let moment = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    moment.map(Some).ok_or(Fault::Corrupt)
}
