//! Where the time comes from.
//!
//! Time enters the crate here and, inside scripts, through Redis `TIME`; nothing else asks a clock. Pure cores take
//! `now` as a parameter. With the feature `test-util` a clock can be set by hand, so that no test waits for time.

#[cfg(any(test, feature = "test-util"))]
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The source of the current time: the system's clock, or one that a test sets.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    #[cfg(any(test, feature = "test-util"))]
    Settable(Arc<AtomicU64>),
    /// The system's clock, this many milliseconds ahead.
    #[cfg(any(test, feature = "test-util"))]
    Ahead(Arc<AtomicU64>),
}

impl Clock {
    /// The clock of the operating system.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still at `millis` since the Unix epoch until it is moved. Clones share the time.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let clock = portcullis::Clock::settable(1_000);
    /// clock.clone().advance(Duration::from_millis(5));
    /// assert_eq!(clock.now_millis(), 1_005);
    /// ```
    #[cfg(any(test, feature = "test-util"))]
    #[must_use]
    pub fn settable(millis: u64) -> Self {
        Self(Source::Settable(Arc::new(AtomicU64::new(millis))))
    }

    /// Moves a settable clock forward.
    ///
    /// # Panics
    ///
    /// If the clock is the system's.
    #[cfg(any(test, feature = "test-util"))]
    pub fn advance(&self, by: Duration) {
        let Source::Settable(now) = &self.0 else {
            panic!("only a settable clock can be advanced");
        };
        now.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// The same clock, made so that [`skip`](Self::skip) works; shared by clones from here on.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn skippable(self) -> Self {
        match self.0 {
            Source::System => Self(Source::Ahead(Arc::default())),
            _ => self,
        }
    }

    /// Moves a clock ahead, also one that goes on by itself.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn skip(&self, by: Duration) {
        match &self.0 {
            Source::System => panic!("made skippable before"),
            Source::Settable(at) | Source::Ahead(at) => at.fetch_add(millis(by), Ordering::SeqCst),
        };
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_millis(&self) -> u64 {
        match &self.0 {
            Source::System => system_millis(),
            #[cfg(any(test, feature = "test-util"))]
            Source::Settable(now) => now.load(Ordering::SeqCst),
            #[cfg(any(test, feature = "test-util"))]
            Source::Ahead(by) => system_millis() + by.load(Ordering::SeqCst),
        }
    }
}

/// A system clock before 1970 reads as 0: everything with an expiry is then in the future, nothing panics.
fn system_millis() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, millis)
}

/// A duration in whole milliseconds, saturating.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
