//! The cutoffs that this node knows of.
//!
//! - What is known of a cutoff only rises, and is forgotten when its time is over.
//! - A scope is *unsure* from the moment the server announced its key until a value that was asked for afterwards has
//!   come: announcements carry a count, and a value clears only the count it was asked under. What is known meanwhile
//!   still counts, since the new value cannot be lower.
//!
//! Times are milliseconds of the replica's own monotonic clock, moments are the store's.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst},
    },
};

use super::{bound::Bound, names::Scope, set::FOREVER};

const SLACK_MS: u64 = 5_000;

pub(super) struct Cutoffs {
    known: RwLock<HashMap<Scope, Known>>,
    /// How many there are of each kind, so that a kind without any costs no hash of its names.
    users: AtomicUsize,
    tenants: AtomicUsize,
    everyone: AtomicUsize,
    /// The load of now: what is known of the server from before it is void.
    load: AtomicU16,
}

#[derive(Clone, Copy, Default)]
struct Known {
    moment: Option<u64>,
    /// What this node is raising it to, by its own reckoning, until the store has said what it was raised to.
    estimate: Option<u64>,
    until: u64,
    /// What the server was last found to hold; below `moment` it has lost it, or was never told.
    held: Option<u64>,
    announced: u32,
    unsure: bool,
    queued: bool,
}

/// What is known about one scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The largest moment known, if any.
    pub(crate) moment: Option<u64>,
    /// There may be a larger one.
    pub(crate) unsure: bool,
}

/// A cutoff that the server is to be told again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Behind {
    pub(super) scope: Scope,
    pub(super) moment: u64,
    pub(super) until: u64,
}

/// How far things were when a value was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// How often the key had been announced.
    announced: u32,
    /// The load of now.
    load: u16,
}

/// A value as it was read: the moment and until when it is kept; or neither, if there is none.
pub(super) type Fetched = Option<(u64, u64)>;

impl Cutoffs {
    pub(super) fn new() -> Self {
        Self {
            known: RwLock::default(),
            users: AtomicUsize::new(0),
            tenants: AtomicUsize::new(0),
            everyone: AtomicUsize::new(0),
            load: AtomicU16::new(0),
        }
    }

    pub(super) fn any_user(&self) -> bool {
        self.users.load(SeqCst) > 0
    }

    pub(super) fn any_tenant(&self) -> bool {
        self.tenants.load(SeqCst) > 0
    }

    pub(super) fn look(&self, scope: Scope) -> Cut {
        if self.counter(scope).load(SeqCst) == 0 {
            return Cut::default();
        }
        let known = self.read().get(&scope).copied();
        known.map_or_else(Cut::default, |known| Cut {
            moment: known.moment.max(known.estimate),
            unsure: known.unsure,
        })
    }

    /// The server announced the key. True if its value is to be fetched and nobody has been told so yet.
    pub(super) fn announced(&self, scope: Scope, bound: &Bound) -> bool {
        self.with(scope, bound, |known| {
            known.announced = known.announced.wrapping_add(1);
            known.unsure = true;
            !std::mem::replace(&mut known.queued, true)
        })
        .unwrap_or(false)
    }

    /// Somebody is about to fetch the value.
    pub(super) fn fetching(&self, scope: Scope) -> Asked {
        let mut all = self.write();
        let announced = all.get_mut(&scope).map_or(0, |known| {
            known.queued = false;
            known.announced
        });
        let load = self.load.load(SeqCst);
        Asked { announced, load }
    }

    /// As [`fetching`](Self::fetching), for a value that is asked for without having been announced.
    pub(super) fn asked(&self, scope: Scope) -> Asked {
        let all = self.read();
        Asked {
            announced: all.get(&scope).map_or(0, |known| known.announced),
            load: self.load.load(SeqCst),
        }
    }

    /// The key holds something else than a moment.
    pub(super) fn unreadable(&self, scope: Scope, bound: &Bound) {
        let _ = self.with(scope, bound, |known| known.unsure = true);
    }

    /// The server was told of this moment during that load; false if that says nothing any more.
    pub(super) fn held_by_server(&self, scope: Scope, moment: u64, load: u16) -> bool {
        let mut all = self.write();
        let counts = self.load.load(SeqCst) == load;
        if let Some(known) = all.get_mut(&scope).filter(|_| counts) {
            known.held = known.held.max(Some(moment));
        }
        counts
    }

    /// The value that was asked for has come.
    pub(super) fn fetched(&self, scope: Scope, asked: Asked, value: Fetched, bound: &Bound) {
        if value.is_none() && !self.read().contains_key(&scope) {
            return;
        }
        let _ = self.with(scope, bound, |known| {
            if self.load.load(SeqCst) == asked.load {
                known.held = value.map(|(moment, _)| moment);
            }
            if let Some((moment, until)) = value {
                known.raise(moment, until);
            }
            if known.announced == asked.announced {
                known.unsure = false;
            }
        });
    }

    /// The value could not be fetched. True if nobody has been told to fetch it since.
    pub(super) fn unfetched(&self, scope: Scope) -> bool {
        self.write().get_mut(&scope).is_some_and(|known| {
            known.unsure = true;
            !std::mem::replace(&mut known.queued, true)
        })
    }

    /// This node is about to raise the cutoff, to this moment or a later one.
    pub(super) fn raising(&self, scope: Scope, estimate: u64, until: u64, bound: &Bound) {
        let _ = self.with(scope, bound, |known| {
            known.estimate = known.estimate.max(Some(estimate));
            known.until = known.until.max(until.min(FOREVER));
        });
    }

    /// The store has raised it, and this is the moment: the reckoning, which could be off, counts no more.
    pub(super) fn raised(
        &self,
        scope: Scope,
        estimate: Option<u64>,
        moment: u64,
        until: u64,
        bound: &Bound,
    ) {
        let _ = self.with(scope, bound, |known| {
            known.raise(moment, until);
            if known.estimate == estimate {
                known.estimate = None;
            }
        });
    }

    /// What the server holds has to be found out anew, by this load.
    pub(super) fn forget_held(&self, load: u16) {
        let mut all = self.write();
        self.load.store(load, SeqCst);
        for known in all.values_mut() {
            known.held = None;
        }
    }

    /// Every unsure scope whose value nobody is going to fetch.
    pub(super) fn unattended(&self) -> Vec<Scope> {
        let mut known = self.write();
        let waiting = known.iter_mut().filter(|(_, k)| k.unsure && !k.queued);
        waiting
            .map(|(scope, known)| {
                known.queued = true;
                *scope
            })
            .collect()
    }

    /// What the server lost or was never told.
    pub(super) fn behind(&self, now: u64) -> Vec<Behind> {
        let known = self.read();
        let behind = |(scope, known): (&Scope, &Known)| {
            let moment = known.moment.max(known.estimate)?;
            if known.held >= Some(moment) {
                return None;
            }
            (known.until > now).then_some(Behind {
                scope: *scope,
                moment,
                until: known.until,
            })
        };
        known.iter().filter_map(behind).collect()
    }

    pub(super) fn purge(&self, now: u64, bound: &Bound) {
        if self.read().is_empty() {
            return;
        }
        let mut known = self.write();
        let mut gone = 0;
        known.retain(|scope, known| {
            let over = known.until != FOREVER && known.until.saturating_add(SLACK_MS) <= now;
            let stays = known.unsure || known.queued || !over;
            if !stays {
                gone += 1;
                self.counter(*scope).fetch_sub(1, SeqCst);
            }
            stays
        });
        drop(known);
        bound.give_back(gone);
    }

    /// How many there are, and how many of them are unsure.
    pub(super) fn count(&self) -> (usize, usize) {
        let known = self.read();
        let unsure = known.values().filter(|known| known.unsure).count();
        (known.len(), unsure)
    }

    /// `None` if there is no room for another.
    fn with<T>(
        &self,
        scope: Scope,
        bound: &Bound,
        change: impl FnOnce(&mut Known) -> T,
    ) -> Option<T> {
        let mut all = self.write();
        if !all.contains_key(&scope) {
            if !bound.take() {
                return None;
            }
            self.counter(scope).fetch_add(1, SeqCst);
        }
        Some(change(all.entry(scope).or_default()))
    }

    fn counter(&self, scope: Scope) -> &AtomicUsize {
        match scope {
            Scope::Everyone => &self.everyone,
            Scope::Tenant(_) => &self.tenants,
            Scope::User(_) => &self.users,
        }
    }

    /// Nothing panics while it holds the lock, and each step leaves the map whole.
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Scope, Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Scope, Known>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn raise(&mut self, moment: u64, until: u64) {
        self.moment = self.moment.max(Some(moment));
        self.until = self.until.max(until.min(FOREVER));
    }
}
