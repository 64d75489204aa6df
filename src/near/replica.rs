//! What a node knows, and how it comes to know it: announcements in, verdicts out. No I/O.
//!
//! Verdicts: what is known to be revoked is refused whatever the state of the lease; only a usable lease lets an
//! absence count; everything else is a question to the store.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    bound::Bound,
    cutoffs::{Asked, Cut, Cutoffs, Fetched},
    lease::{Lease, Moment},
    names::{List, Name, Names, Scope},
    set::{FOREVER, Set},
};
use crate::{
    clock::Clock,
    trace::{event_info, event_warn},
};

/// How long an announced id without an expiry to fetch counts as revoked.
pub(super) const GRACE_MS: u64 = 60_000;

/// For how long the server's clock is reckoned from its last answer.
const RECKONING_MS: u64 = 10_000;

pub(crate) struct Replica {
    pub(super) names: Names,
    pub(super) lease: Lease,
    pub(super) set: Set,
    pub(super) cutoffs: Cutoffs,
    pub(super) bound: Bound,
    /// What was announced and has to be fetched.
    queue: Mutex<Vec<Wanted>>,
    pub(super) wanted: Notify,
    /// Revocations of this node that the store has not acknowledged.
    debts: Mutex<Vec<(List, Box<[u8]>)>>,
    /// Something is to be written, or everything to be loaded anew.
    pub(super) work: Notify,
    /// The part of the set that is tidied next where there is no heartbeat.
    untidy: AtomicUsize,
    /// Names the load of now in the entries that it saw; never 0.
    load: AtomicU16,
    /// What the server's clock showed, and when.
    server_time: Mutex<Option<(u64, u64)>>,
    pub(super) counts: Counts,
}

/// What happened since the start.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) fallbacks: AtomicU64,
    pub(super) healed: AtomicU64,
    pub(super) connections: AtomicU64,
}

/// Something to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Listed(List, Box<[u8]>),
    Cutoff(Scope, Asked),
}

/// One look at the replica. Whether an absence counts was decided before anything is looked up.
pub(crate) struct View<'a> {
    replica: &'a Replica,
    at: Moment,
    now: u64,
    fresh: bool,
}

impl View<'_> {
    /// When this look began.
    pub(crate) fn moment(&self) -> &Moment {
        &self.at
    }

    /// Whether an absence means anything.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// What was found out under another era may have ended unheard: connections were lost, or the server was flushed.
    #[cfg(feature = "registry")]
    pub(crate) fn era(&self) -> u64 {
        self.replica.lease.era()
    }

    /// Whether the id is revoked for all this node knows: final if so.
    pub(crate) fn lists(&self, list: List, id: &[u8]) -> bool {
        self.replica.set.contains(list, id, self.now)
    }

    /// Whether any user has a cutoff: if not, there is no need to find out which would be theirs.
    pub(crate) fn any_user(&self) -> bool {
        self.replica.cutoffs.any_user()
    }

    pub(crate) fn any_tenant(&self) -> bool {
        self.replica.cutoffs.any_tenant()
    }

    pub(crate) fn cutoff(&self, scope: Scope) -> Cut {
        self.replica.cutoffs.look(scope)
    }
}

impl Replica {
    pub(super) fn new(names: Names, max_staleness: Duration, limit: usize, clock: Clock) -> Self {
        Self {
            names,
            lease: Lease::new(max_staleness, clock),
            set: Set::new(),
            cutoffs: Cutoffs::new(),
            bound: Bound::new(limit),
            queue: Mutex::default(),
            wanted: Notify::new(),
            debts: Mutex::default(),
            work: Notify::new(),
            untidy: AtomicUsize::new(0),
            load: AtomicU16::new(0),
            server_time: Mutex::default(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn view(&self) -> View<'_> {
        let at = self.lease.stamp();
        View {
            replica: self,
            at,
            fresh: self.lease.is_fresh_at(&at) && !self.bound.is_full(),
            now: self.lease.ms_at(&at),
        }
    }

    /// As [`view`](Self::view), with an absence counting as long as it was certain at most this long ago: for layers
    /// that prefer that to an outage.
    pub(crate) fn view_within(&self, life: Duration) -> View<'_> {
        let at = self.lease.stamp();
        let recent = self.lease.age_at(&at).is_some_and(|age| age <= life);
        View {
            replica: self,
            at,
            fresh: recent && !self.bound.is_full(),
            now: self.lease.ms_at(&at),
        }
    }

    /// The replica could not say, and somebody has to ask the store.
    pub(crate) fn fell_back(&self) {
        self.counts.fallbacks.fetch_add(1, SeqCst);
    }

    /// Keys were announced. Called in the order of the connection, before any answer that came after is seen.
    pub(super) fn announced<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) {
        let grace = self.lease.now_ms() + GRACE_MS;
        let mut wanted = Vec::new();
        let was_full = self.bound.is_full();
        for key in keys {
            match self.names.read(key) {
                Name::Listed(list, id) if self.set.announced(list, id, grace, &self.bound) => {
                    wanted.push(Wanted::Listed(list, id.into()));
                }
                Name::Cutoff(scope) if self.cutoffs.announced(scope, &self.bound) => {
                    wanted.push(Wanted::Cutoff(scope, Asked::default()));
                }
                _ => {}
            }
        }
        self.want(wanted);
        self.tell_when_full(was_full);
    }

    pub(super) fn tell_when_full(&self, was_full: bool) {
        if !was_full && self.bound.is_full() {
            event_warn!(
                event = "near.full",
                "max_entries is reached: revocations are asked for on every request"
            );
        }
    }

    /// Everything went from the server, or was replaced: what this node knows stays, the rest has to be loaded.
    pub(super) fn flushed(&self, number: u64) {
        self.lease.flushed(number);
        event_warn!(
            event = "near.flushed",
            "the store was flushed: its revocations are written again"
        );
        self.work.notify_one();
    }

    fn want(&self, wanted: Vec<Wanted>) {
        if !wanted.is_empty() {
            lock(&self.queue).extend(wanted);
            self.wanted.notify_one();
        }
    }

    /// Up to `most` things to fetch now. Announcements from here on make them wanted again.
    pub(super) fn take_wanted(&self, most: usize) -> Vec<Wanted> {
        let mut batch: Vec<_> = {
            let mut queue = lock(&self.queue);
            let rest = queue.len().saturating_sub(most);
            queue.drain(rest..).collect()
        };
        for wanted in &mut batch {
            match wanted {
                Wanted::Listed(list, id) => self.set.fetching(*list, id),
                Wanted::Cutoff(scope, asked) => *asked = self.cutoffs.fetching(*scope),
            }
        }
        batch
    }

    /// They could not be fetched.
    pub(super) fn want_again(&self, batch: Vec<Wanted>) {
        let nobody_else = |wanted: &Wanted| match wanted {
            Wanted::Listed(list, id) => self.set.unfetched(*list, id),
            Wanted::Cutoff(scope, _) => self.cutoffs.unfetched(*scope),
        };
        let again = batch.into_iter().filter(nobody_else).collect();
        self.want(again);
    }

    /// The server's answer about an id: milliseconds left, -1 for ever, -2 for none. `load` was the load of now when it
    /// was asked: an answer from before a flush says nothing about what the server holds since.
    pub(super) fn left(&self, list: List, id: &[u8], load: u16, left: i64) {
        let now = self.lease.now_ms();
        if left == -2 {
            self.set.missing(list, id, now + GRACE_MS);
        } else {
            self.set
                .confirm(list, id, until(now, left), load, &self.bound);
        }
    }

    /// The server's answer about a cutoff.
    pub(super) fn cutoff_is(&self, scope: Scope, asked: Asked, value: Option<u64>, left: i64) {
        let value: Fetched = value.map(|moment| (moment, until(self.lease.now_ms(), left)));
        self.cutoffs.fetched(scope, asked, value, &self.bound);
    }

    /// The key of a cutoff holds something else: whoever asks the store hears of it.
    pub(super) fn cutoff_unreadable(&self, scope: Scope) {
        self.cutoffs.unreadable(scope, &self.bound);
    }

    /// A load begins: what the server holds is not known any more.
    pub(super) fn begin_load(&self) {
        let step = |load: u16| Some(load.checked_add(1).unwrap_or(1));
        let _ = self.load.fetch_update(SeqCst, SeqCst, step);
        self.cutoffs.forget_held(self.load());
    }

    pub(super) fn load(&self) -> u16 {
        self.load.load(SeqCst)
    }

    /// A load is at its end: what nobody is going to ask about otherwise.
    pub(super) fn want_unattended(&self) {
        let scopes = self.cutoffs.unattended().into_iter();
        self.want(
            scopes
                .map(|scope| Wanted::Cutoff(scope, Asked::default()))
                .collect(),
        );
    }

    /// The server's clock showed `server_ms` just now or a moment ago.
    pub(super) fn server_time(&self, server_ms: u64) {
        let now = self.lease.now_ms();
        *lock(&self.server_time) = Some((server_ms, now));
    }

    /// What the server's clock shows, or a little less; `None` unless it was seen a moment ago, because clocks drift.
    pub(super) fn reckoned_server_time(&self) -> Option<u64> {
        let (server_ms, seen) = (*lock(&self.server_time))?;
        let since = self.lease.now_ms().saturating_sub(seen);
        (since <= RECKONING_MS).then_some(server_ms + since)
    }

    /// Forgets what is over in one part of the set, another one each time.
    pub(super) fn tidy_a_part(&self, now: u64) {
        let part = self.untidy.fetch_add(1, SeqCst) % Set::PARTS;
        self.set.purge(part, now, &self.bound);
    }

    /// As if the id had been announced.
    pub(super) fn heard(&self, list: List, id: &[u8]) {
        let grace = self.lease.now_ms() + GRACE_MS;
        if self.set.announced(list, id, grace, &self.bound) {
            self.want(vec![Wanted::Listed(list, id.into())]);
        }
    }

    /// Whether a cutoff was raised is not known: unsure until it has been fetched.
    pub(super) fn not_raised(&self, scope: Scope) {
        if self.cutoffs.announced(scope, &self.bound) {
            self.want(vec![Wanted::Cutoff(scope, Asked::default())]);
        }
        self.work.notify_one();
    }

    pub(super) fn take_debts(&self) -> Vec<(List, Box<[u8]>)> {
        std::mem::take(&mut *lock(&self.debts))
    }

    /// The store has not acknowledged the id. Before a load has ended there is nothing to note: the healing after it finds
    /// every entry that the server lacks, and in a long outage notes would pile up.
    pub(super) fn owe(&self, list: List, id: Box<[u8]>) {
        if self.lease.is_loaded() {
            lock(&self.debts).push((list, id));
        }
        self.work.notify_one();
    }

    pub(super) fn healed(&self, count: u64) {
        if count > 0 {
            self.counts.healed.fetch_add(count, SeqCst);
            event_info!(
                event = "near.healed",
                count,
                "revocations that the store had lost were written again"
            );
        }
    }
}

fn until(now: u64, left: i64) -> u64 {
    u64::try_from(left).map_or(FOREVER, |left| now.saturating_add(left))
}

/// Nothing panics while one of these locks is held, and what they guard is whole at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
