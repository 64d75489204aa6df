//! A connection that the application made, kept up by whoever made it.
//!
//! We cannot make it reconnect, so a breaker stands in front of it: after failures in a row calls fail at once, and one
//! call at a time is let through to see whether it works again.

use std::time::Duration;

use redis::aio::ConnectionLike;
use tokio::time::Instant;

use super::{
    StoreError, StoreErrorKind,
    operation::Call,
    redis::{Replies, send},
};
use crate::breaker::Breaker;

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
            breaker: Breaker::new(FAILURES_UNTIL_OPEN, OPEN_FOR),
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
