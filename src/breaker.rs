//! A circuit breaker: closed while calls work; open for a moment after failures in a row; then one call decides.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

pub(crate) struct Breaker {
    failures_until_open: u32,
    open_for: Duration,
    tally: Mutex<Tally>,
}

struct Tally {
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    pub(crate) const fn new(failures_until_open: u32, open_for: Duration) -> Self {
        Self {
            failures_until_open,
            open_for,
            tally: Mutex::new(Tally {
                failures: 0,
                open_until: None,
            }),
        }
    }

    pub(crate) fn lets_through(&self, now: Instant) -> bool {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        match tally.open_until {
            Some(until) if now < until => false,
            // The one trial call: nobody else until it has ended or this much time has passed again.
            Some(_) => {
                tally.open_until = Some(now + self.open_for);
                true
            }
            None => true,
        }
    }

    pub(crate) fn note(&self, worked: bool, now: Instant) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        if worked {
            *tally = Tally {
                failures: 0,
                open_until: None,
            };
        } else {
            tally.failures = tally.failures.saturating_add(1);
            if tally.failures >= self.failures_until_open {
                tally.open_until = Some(now + self.open_for);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_breaker_opens_lets_one_through_and_closes() {
        let open_for = Duration::from_millis(50);
        let breaker = Breaker::new(3, open_for);
        let start = Instant::now();
        for _ in 0..3 {
            assert!(breaker.lets_through(start));
            breaker.note(false, start);
        }
        assert!(!breaker.lets_through(start));
        let later = start + open_for;
        assert!(breaker.lets_through(later), "one trial");
        assert!(!breaker.lets_through(later), "and no second beside it");
        breaker.note(true, later);
        assert!(breaker.lets_through(later) && breaker.lets_through(later));
    }
}
