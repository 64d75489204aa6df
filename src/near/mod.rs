//! A replica of revocations and cutoffs in every process, so that checking them costs no trip.

mod bound;
mod cutoffs;
mod handle;
mod heal;
mod keeper;
mod lease;
mod line;
mod names;
mod own;
mod replica;
mod set;
#[cfg(test)]
mod tests;

pub use handle::{Near, NearBuilder, NearState, NearStatus};

pub(crate) use names::{List, Scope};
pub(crate) use replica::{Replica, View};

use crate::store::Store;

/// The replica of a store, where it has one that is not the store itself.
pub(crate) fn of(store: &Store) -> Option<&Replica> {
    store.companion::<Near>().and_then(Near::replica)
}
