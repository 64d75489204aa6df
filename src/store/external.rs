//! A connection that the application made, kept up by whoever made it.
//!
//! We cannot make it reconnect, so a breaker stands in front of it: after failures in a row calls fail at once, and one
//! call at a time is let through to see whether it works again.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use redis::aio::ConnectionLike;
use tokio::time::Instant;

use super::{
    StoreError, StoreErrorKind,
    operation::Call,
    redis::{Replies, send},
};

const FAILURES_UNTIL_OPEN: u32 = 3;
const OPEN_FOR: Duration = Duration::from_millis(50);

pub(super) struct External {
    connection: Box<dyn Shareable>,
    breaker: Breaker,
}

/// A connection of which every caller gets a clone.
trait Shareable: Send + Sync {
    fn share(&self) -> Box<dyn ConnectionLike + Send>;
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Shareable for C {
    fn share(&self) -> Box<dyn ConnectionLike + Send> {
        Box::new(self.clone())
    }
}

impl External {
    pub(super) fn new(connection: impl ConnectionLike + Clone + Send + Sync + 'static) -> Self {
        Self {
            connection: Box::new(connection),
            breaker: Breaker::new(),
        }
    }

    pub(super) async fn run(
        &self,
        calls: &[Call],
        deadline: Duration,
    ) -> Result<Replies, StoreError> {
        if !self.breaker.lets_through(Instant::now()) {
            return Err(
                StoreError::new(StoreErrorKind::Unavailable).caused_by("recent calls failed")
            );
        }
        let mut connection = self.connection.share();
        // Which scripts the server holds is not known here, and `NOSCRIPT` is healed.
        let outcome = tokio::time::timeout(deadline, send(&mut *connection, calls, |_| true)).await;
        // A call that is cancelled says nothing: callers who went away must not close the way for the others. If it was
        // the trial, the breaker lets another one through a moment later.
        self.breaker
            .note(matches!(outcome, Ok(Ok(_))), Instant::now());
        match outcome {
            Ok(Ok(replies)) => Ok(replies),
            Ok(Err(failed)) => Err(failed.into()),
            Err(_) => Err(StoreError::new(StoreErrorKind::Timeout)),
        }
    }
}

/// Closed while calls work; open for a moment after failures in a row; then one call decides.
struct Breaker(Mutex<Tally>);

struct Tally {
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    const fn new() -> Self {
        Self(Mutex::new(Tally {
            failures: 0,
            open_until: None,
        }))
    }

    fn lets_through(&self, now: Instant) -> bool {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match tally.open_until {
            Some(until) if now < until => false,
            // The one trial call: nobody else until it has ended or this much time has passed again.
            Some(_) => {
                tally.open_until = Some(now + OPEN_FOR);
                true
            }
            None => true,
        }
    }

    fn note(&self, worked: bool, now: Instant) {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if worked {
            *tally = Tally {
                failures: 0,
                open_until: None,
            };
        } else {
            tally.failures = tally.failures.saturating_add(1);
            if tally.failures >= FAILURES_UNTIL_OPEN {
                tally.open_until = Some(now + OPEN_FOR);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_breaker_opens_lets_one_through_and_closes() {
        let breaker = Breaker::new();
        let start = Instant::now();
        for _ in 0..FAILURES_UNTIL_OPEN {
            assert!(breaker.lets_through(start));
            breaker.note(false, start);
        }
        assert!(!breaker.lets_through(start));
        let later = start + OPEN_FOR;
        assert!(breaker.lets_through(later), "one trial");
        assert!(!breaker.lets_through(later), "and no second beside it");
        breaker.note(true, later);
        assert!(breaker.lets_through(later) && breaker.lets_through(later));
    }
}
