//! The way to the database: so many at once, each within a deadline, and none while it is known to be away.
//!
//! A question goes on in a task of its own and keeps its place until the database has answered or long after anybody waited
//! for it. Were the place free at the deadline, a slow database would be asked ever more at once.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    error::{ActiveError, ActiveErrorKind},
    truth::{Registry, RegistryError, RegistryErrorKind},
};
use crate::breaker::Breaker;

const FAILURES_UNTIL_OPEN: u32 = 5;
const OPEN_FOR: Duration = Duration::from_millis(500);
/// How many deadlines a question may outlive its own.
const GIVEN_UP_AFTER: u32 = 10;

pub(super) struct Database {
    registry: Arc<dyn Registry>,
    places: Arc<Semaphore>,
    most: usize,
    queue_wait: Duration,
    deadline: Duration,
    breaker: Breaker,
}

/// How urgent a question is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Of a request: waits for a place as long as the settings say.
    Check,
    /// What ends or begins a session: waits as long as the database may take.
    Write,
    /// What nobody waits for: many deadlines long.
    Background,
    /// What nobody misses: only while at least half of the places are free.
    Spare,
}

impl Database {
    pub(super) fn new(
        registry: Arc<dyn Registry>,
        places: usize,
        queue_wait: Duration,
        deadline: Duration,
    ) -> Self {
        Self {
            registry,
            places: Arc::new(Semaphore::new(places)),
            most: places,
            queue_wait,
            deadline,
            breaker: Breaker::new(FAILURES_UNTIL_OPEN, OPEN_FOR),
        }
    }

    /// For the questions, which own what they are about.
    pub(super) fn registry(&self) -> Arc<dyn Registry> {
        Arc::clone(&self.registry)
    }

    pub(super) async fn ask<T: Send + 'static>(
        &self,
        patience: Patience,
        question: impl Future<Output = Result<T, RegistryError>> + Send + 'static,
    ) -> Result<T, ActiveError> {
        if !self.breaker.lets_through(Instant::now()) {
            return Err(ActiveError::new(ActiveErrorKind::Database));
        }
        if patience == Patience::Spare && self.places.available_permits() * 2 < self.most {
            return Err(ActiveError::new(ActiveErrorKind::Busy));
        }
        let (queue_wait, deadline) = match patience {
            Patience::Check | Patience::Spare => (self.queue_wait, self.deadline),
            Patience::Write => (self.deadline, self.deadline),
            Patience::Background => (self.deadline, self.deadline * GIVEN_UP_AFTER),
        };
        let place = timeout(queue_wait, Arc::clone(&self.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return Err(ActiveError::new(ActiveErrorKind::Busy));
        };
        let longest = self.deadline * GIVEN_UP_AFTER;
        let task = tokio::spawn(async move {
            let _place = place;
            timeout(longest, question).await
        });
        let outcome = timeout(deadline, task).await;
        let Ok(Ok(Ok(answer))) = outcome else {
            // Too late, or the task is no more.
            self.breaker.note(false, Instant::now());
            return Err(ActiveError::new(ActiveErrorKind::Database));
        };
        // One row that cannot be read is no reason to leave the others alone.
        let is_away = |error: &RegistryError| error.kind() == RegistryErrorKind::Unavailable;
        let works = !answer.as_ref().is_err_and(is_away);
        self.breaker.note(works, Instant::now());
        answer.map_err(ActiveError::from)
    }
}
