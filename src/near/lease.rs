//! How current the replica is: a lease that only the server's answers prolong.
//!
//! - A heartbeat that was sent at *t* and has been answered proves that every change acknowledged before *t* has been
//!   applied: announcements and answers come in order on one connection.
//! - The lease is usable while a connection announces changes and everything that was there before has been loaded. A
//!   lost connection or a flush ends that at once; what was proved stays known as such.
//! - Readers take no lock. Whoever decides by the lease reads it *before* looking anything up.
//!
//! Two clocks have to agree: the monotonic one stands still while a machine sleeps, the other may be set.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::clock::{Clock, millis};

pub(super) struct Lease {
    base: Instant,
    clock: Clock,
    pub(super) max_staleness: Duration,
    usable: AtomicBool,
    /// When the last proof was asked for, in microseconds after `base` plus one; 0 before the first.
    proved_us: AtomicU64,
    /// The same by the clock on the wall.
    proved_ms: AtomicU64,
    line: Mutex<Line>,
    /// Changes with the phase, for those who wait.
    phase: watch::Sender<Phase>,
    /// The connection that was lost last.
    lost: watch::Sender<u64>,
    /// How often something may have been missed: a connection begun or lost, a flush.
    era: AtomicU64,
}

/// What the replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Away,
    Loading,
    Usable,
    Refused,
}

#[derive(Default)]
struct Line {
    /// Names the connection of now; words about earlier ones are not heeded.
    number: u64,
    announces: bool,
    loaded: bool,
    proof: Option<Moment>,
    flushes: u64,
}

/// A moment by both clocks. Before a question was sent that has been answered, it is a proof.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    at: Instant,
    wall_ms: u64,
}

impl Lease {
    pub(super) fn new(max_staleness: Duration, clock: Clock) -> Self {
        Self {
            base: Instant::now(),
            clock,
            max_staleness,
            usable: AtomicBool::new(false),
            proved_us: AtomicU64::new(0),
            proved_ms: AtomicU64::new(0),
            line: Mutex::default(),
            phase: watch::Sender::new(Phase::Away),
            lost: watch::Sender::new(0),
            era: AtomicU64::new(0),
        }
    }

    /// Milliseconds of the replica's own clock.
    pub(super) fn now_ms(&self) -> u64 {
        millis(self.base.elapsed())
    }

    /// The same at a moment.
    pub(super) fn ms_at(&self, now: &Moment) -> u64 {
        millis(now.at.saturating_duration_since(self.base))
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.is_fresh_at(&self.stamp())
    }

    /// As [`is_fresh`](Self::is_fresh) at a moment that the caller has seen itself, on behalf of the same request: what
    /// comes to light after that is no older for it.
    pub(super) fn is_fresh_at(&self, now: &Moment) -> bool {
        self.usable.load(SeqCst)
            && self
                .age_at(now)
                .is_some_and(|age| age <= self.max_staleness)
    }

    /// What was kept under another era may have ended unheard.
    pub(super) fn era(&self) -> u64 {
        self.era.load(SeqCst)
    }

    /// How long ago the replica was last known to be complete.
    pub(super) fn age(&self) -> Option<Duration> {
        self.age_at(&self.stamp())
    }

    pub(super) fn age_at(&self, now: &Moment) -> Option<Duration> {
        let proved_us = self.proved_us.load(SeqCst).checked_sub(1)?;
        let proved_ms = self.proved_ms.load(SeqCst);
        let by_wall = now.wall_ms.saturating_sub(proved_ms);
        let at = self.base + Duration::from_micros(proved_us);
        // Wall time is kept in whole milliseconds: a part of one is none.
        Some(
            now.at
                .saturating_duration_since(at)
                .max(Duration::from_millis(by_wall.saturating_sub(1))),
        )
    }

    /// To be taken before a question is sent, or before anything is looked up.
    pub(super) fn stamp(&self) -> Moment {
        Moment {
            at: Instant::now(),
            wall_ms: self.clock.now_millis(),
        }
    }

    /// A connection is about to be made; returns its number.
    pub(super) fn begin(&self) -> u64 {
        let mut line = self.line();
        *line = Line {
            number: line.number + 1,
            ..Line::default()
        };
        self.era.fetch_add(1, SeqCst);
        self.show(&line);
        line.number
    }

    /// From now on the server announces changes. False if the connection is lost already.
    pub(super) fn announces(&self, number: u64) -> bool {
        self.change(number, |line| line.announces = true)
    }

    /// How many flushes there were, to be handed back when the load that begins now has ended.
    pub(super) fn before_load(&self) -> u64 {
        self.line().flushes
    }

    /// A load has ended; false if a flush came in between and it has to be done again.
    pub(super) fn after_load(&self, number: u64, flushes: u64) -> bool {
        let mut whole = false;
        self.change(number, |line| {
            whole = line.flushes == flushes;
            line.loaded = whole;
        });
        whole
    }

    pub(super) fn proved(&self, number: u64, proof: Moment) {
        self.change(number, |line| line.proof = Some(proof));
    }

    /// Everything went from the server, or was replaced without a word about each key.
    pub(super) fn flushed(&self, number: u64) {
        self.era.fetch_add(1, SeqCst);
        self.change(number, |line| {
            line.flushes += 1;
            line.loaded = false;
        });
    }

    pub(super) fn lost(&self, number: u64) {
        self.era.fetch_add(1, SeqCst);
        self.change(number, |line| {
            line.number += 1;
            line.announces = false;
        });
        self.lost.send_if_modified(|lost| {
            let later = number > *lost;
            *lost = number.max(*lost);
            later
        });
    }

    /// Whether everything has been read on the connection of now, or of last.
    pub(super) fn is_loaded(&self) -> bool {
        self.line().loaded
    }

    /// Waits until the connection is lost.
    pub(super) async fn until_lost(&self, number: u64) {
        // The sender lives in `self`.
        let _ = self.lost.subscribe().wait_for(|lost| *lost >= number).await;
    }

    pub(super) fn refused(&self) {
        self.phase.send_replace(Phase::Refused);
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits for the phase to be one of these.
    pub(super) async fn until(&self, wanted: impl Fn(Phase) -> bool) -> Phase {
        let mut phase = self.phase.subscribe();
        phase
            .wait_for(|phase| wanted(*phase))
            .await
            .map_or(Phase::Away, |phase| *phase)
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut Line)) -> bool {
        let mut line = self.line();
        if line.number != number {
            return false;
        }
        change(&mut line);
        self.show(&line);
        true
    }

    /// Under the lock, so that what readers see changes in the order of what happened.
    fn show(&self, line: &Line) {
        let proof = line.proof.filter(|_| line.announces && line.loaded);
        if let Some(proof) = proof {
            let at = proof.at.saturating_duration_since(self.base).as_micros();
            let at = u64::try_from(at).unwrap_or(u64::MAX - 1);
            self.proved_ms.store(proof.wall_ms, SeqCst);
            self.proved_us.store(at + 1, SeqCst);
        }
        self.usable.store(proof.is_some(), SeqCst);
        let phase = match (line.announces, proof) {
            (false, _) => Phase::Away,
            (true, None) => Phase::Loading,
            (true, Some(_)) => Phase::Usable,
        };
        self.phase.send_if_modified(|shown| {
            // A refusal stays on show until something works; a new attempt alone changes nothing.
            let stays = *shown == phase || (*shown == Phase::Refused && phase == Phase::Away);
            if !stays {
                *shown = phase;
            }
            !stays
        });
    }

    /// Nothing panics while it holds the lock, and each step leaves it whole.
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
