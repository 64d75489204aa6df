//! How much may be held, and whether everything there was has found room.
//!
//! Invariant: [`is_full`](Bound::is_full) is true from the first thing that was turned away until a load has ended
//! during which nothing was. Two counters and no flag, so that what is turned away while a load ends is not forgotten.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

pub(super) struct Bound {
    limit: usize,
    held: AtomicUsize,
    turned_away: AtomicU64,
    /// As many of them as a load has brought back since.
    made_good: AtomicU64,
}

impl Bound {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            held: AtomicUsize::new(0),
            turned_away: AtomicU64::new(0),
            made_good: AtomicU64::new(0),
        }
    }

    /// Room for one more, if there is any.
    pub(super) fn take(&self) -> bool {
        let taken = self
            .held
            .fetch_update(SeqCst, SeqCst, |held| (held < self.limit).then(|| held + 1));
        if taken.is_err() {
            self.turned_away.fetch_add(1, SeqCst);
        }
        taken.is_ok()
    }

    pub(super) fn give_back(&self, count: usize) {
        self.held.fetch_sub(count, SeqCst);
    }

    pub(super) fn is_full(&self) -> bool {
        // In this order: the other way round, what is turned away in between would look as if it had been made good.
        let made_good = self.made_good.load(SeqCst);
        made_good != self.turned_away.load(SeqCst)
    }

    pub(super) fn before_load(&self) -> u64 {
        self.turned_away.load(SeqCst)
    }

    /// A load has ended that began when `before` had been turned away.
    pub(super) fn after_load(&self, before: u64) {
        if self.turned_away.load(SeqCst) == before {
            self.made_good.store(before, SeqCst);
        }
    }

    /// Whether a load is likely to find room for all: a tenth is free again.
    pub(super) fn has_room_again(&self) -> bool {
        self.is_full() && self.held.load(SeqCst) <= self.limit - self.limit.div_ceil(10)
    }
}
