//! When an authentication began.

use std::{fmt, num::NonZeroU64};

use serde::{Deserialize, Serialize};

use super::{LUA, keep_later, largest_key, latest_key, read};
use crate::{
    clock::millis,
    store::{Arg, Call, Fault, Key, Memory, Operation, Store, StoreError, Value, corrupt},
};

pub(crate) static START: Operation =
    Operation::script("cutoff.start", &[LUA, include_str!("start.lua")], start);

/// The moment at which somebody began to authenticate, by the store's own reckoning: later than every cutoff raised before
/// it was taken, and never later than one raised afterwards. Where a [registry](crate::registry) keeps logins, by the
/// database's as well: their clocks differ, and each is compared with its own cutoffs only.
///
/// A password that is being checked while the account is locked or its password changed proves nothing any more. Take
/// the moment **before** anything is read that the check depends on, such as the stored hash, and give it to the login:
/// if a cutoff of the user, the tenant or everyone came since, the login is refused and nothing is written. An application that
/// changes a password writes the new one first and raises the cutoff then.
///
/// It can be kept while an authentication takes several requests: it can be serialized, and is no secret, but what a
/// client could change must not come back from the client. It is good for as long as the store's
/// [`longest_credential`](crate::store::StoreBuilder::longest_credential).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), portcullis::StoreError> {
/// use portcullis::{Store, cutoff::Cutoffs, session::Login};
///
/// let cutoffs = Cutoffs::new(&Store::memory());
/// let began = cutoffs.auth_start().await?;
/// // The password is checked here, which takes a while.
/// let login = Login::new("alice").not_before(began);
/// # let _ = login;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct AuthStart {
    /// `None` if the store was away: whoever asks the store about it is refused.
    store: Option<NonZeroU64>,
    database: Option<NonZeroU64>,
}

/// A number, or both moments where there is a database.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Store(NonZeroU64),
    Both(Option<NonZeroU64>, NonZeroU64),
}

impl From<Written> for AuthStart {
    fn from(written: Written) -> Self {
        let (store, database) = match written {
            Written::Store(store) => (Some(store), None),
            Written::Both(store, database) => (store, Some(database)),
        };
        Self { store, database }
    }
}

impl From<AuthStart> for Written {
    fn from(start: AuthStart) -> Self {
        match (start.store, start.database) {
            (store, Some(database)) => Self::Both(store, database),
            (store, None) => Self::Store(store.unwrap_or(NonZeroU64::MIN)),
        }
    }
}

impl AuthStart {
    /// Asks the store, in one trip.
    pub(crate) async fn ask(store: &Store) -> Result<Self, StoreError> {
        let moment = store.run(start_call(store)).await?.number()?;
        let store = NonZeroU64::new(moment).ok_or_else(corrupt)?;
        Ok(Self {
            store: Some(store),
            database: None,
        })
    }

    /// What the database says, and the store if it is there.
    #[cfg(feature = "registry")]
    pub(crate) fn by_database(database: NonZeroU64, store: Option<Self>) -> Self {
        Self {
            store: store.and_then(|start| start.store),
            database: Some(database),
        }
    }

    /// As scripts take it. Without one it is too long ago for any login.
    #[cfg(any(feature = "session", feature = "refresh"))]
    pub(crate) fn millis(self) -> u64 {
        self.store.map_or(1, NonZeroU64::get)
    }

    /// By the store's reckoning, and by the database's.
    #[cfg(feature = "registry")]
    pub(crate) fn moments(self) -> (Option<u64>, Option<u64>) {
        let of = |moment: Option<NonZeroU64>| moment.map(NonZeroU64::get);
        (of(self.store), of(self.database))
    }
}

pub(crate) fn start_call(store: &Store) -> Call {
    let kept = millis(store.longest_credential());
    let namespace = store.namespace();
    let keys = vec![latest_key(namespace), largest_key(namespace)];
    Call::new(&START, keys, vec![kept.into()])
}

/// The Rust half of `start.lua`.
fn start(memory: &mut Memory, now: u64, keys: &[Key], args: &[Arg]) -> Result<Value, Fault> {
    let ([ahead, largest], [kept]) = (keys, args) else {
        return Err(Fault::Corrupt);
    };
    let latest = read(memory, ahead)?;
    let after = read(memory, largest)?.map_or(1, |largest| largest + 1);
    let start = now.max(latest.unwrap_or(0)).max(after);
    keep_later(memory, ahead, latest, start, kept.int()?)?;
    Ok(Value::bytes(start.to_string()))
}

/// `is_outdated`
#[cfg(any(feature = "session", feature = "refresh"))]
pub(crate) fn is_outdated(
    start: u64,
    now: u64,
    cutoff: Option<u64>,
    latest: Option<u64>,
    kept: u64,
) -> bool {
    start > 0
        && (cutoff >= Some(start) || start + kept <= now || start > now.max(latest.unwrap_or(0)))
}

// When somebody logged in is personal data.
impl fmt::Debug for AuthStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthStart").finish_non_exhaustive()
    }
}
