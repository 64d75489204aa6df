//! The task that connects, and whose turn it is to do so.
//!
//! The task lives in the runtime of whoever asked first. That runtime may end, and the task with it; or stand still for
//! ever, as one between two `block_on` does, and then nothing tells: a turn in which nothing has happened for longer than
//! anything in it can take is over, and the next caller begins another. What a task of an earlier turn finds counts for
//! nothing.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use super::{
    StoreError, StoreErrorKind,
    link::{Inner, State, lock},
    redis::error_of,
};

const FIRST_PAUSE: Duration = Duration::from_millis(10);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Whose task may say what became of the connection.
pub(super) struct Turn {
    pub(super) number: u64,
    /// Why its previous attempt failed.
    pub(super) last: Option<StoreError>,
    /// When the task was last seen to do something.
    seen: Instant,
}

impl Turn {
    pub(super) fn new(number: u64, last: Option<StoreError>) -> Self {
        Self {
            number,
            last,
            seen: Instant::now(),
        }
    }

    /// How long its task may still be silent. Neither an attempt nor the pause before it takes longer: after that, nobody
    /// drives it.
    pub(super) fn patience(&self, attempt: Duration) -> Duration {
        (attempt + 2 * LONGEST_PAUSE).saturating_sub(self.seen.elapsed())
    }
}

/// The task that connects, one attempt after the other, until it succeeds or nobody holds the link any more.
pub(super) struct Attempts {
    link: Weak<Inner>,
    turn: u64,
}

impl Attempts {
    pub(super) fn new(link: Weak<Inner>, turn: u64) -> Self {
        Self { link, turn }
    }

    pub(super) async fn run(self, first_pause: Duration) {
        let mut pause = first_pause;
        loop {
            tokio::time::sleep(jittered(pause)).await;
            let Some(link) = self.link.upgrade() else {
                return;
            };
            if !self.in_turn(&link, |turn| turn.seen = Instant::now()) {
                return;
            }
            let outcome = tokio::time::timeout(link.attempt, link.open()).await;
            let error = match outcome {
                Ok(Ok(connection)) => {
                    self.becomes(&link, State::Up(Arc::new(connection)));
                    return;
                }
                Ok(Err(error)) => error_of(&error),
                Err(_) => StoreError::new(StoreErrorKind::Unavailable)
                    .caused_by("connecting took too long"),
            };
            let failed = State::Trying(Turn::new(self.turn, Some(error)));
            if !self.becomes(&link, failed) {
                return;
            }
            pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        }
    }

    /// Does this if it is still this task's turn, and says whether it was.
    fn in_turn(&self, link: &Inner, act: impl FnOnce(&mut Turn)) -> bool {
        match &mut *lock(&link.state) {
            State::Trying(turn) if turn.number == self.turn => {
                act(turn);
                true
            }
            _ => false,
        }
    }

    fn becomes(&self, link: &Inner, new: State) -> bool {
        let mut state = lock(&link.state);
        if !matches!(&*state, State::Trying(turn) if turn.number == self.turn) {
            return false;
        }
        *state = new;
        drop(state);
        link.changed.send_replace(());
        true
    }
}

impl Drop for Attempts {
    /// Still its turn: the runtime that ran the task is gone, and the next caller starts another.
    fn drop(&mut self) {
        if let Some(link) = self.link.upgrade() {
            self.becomes(&link, State::Idle);
        }
    }
}

/// Between three and five quarters of `pause`, so that nodes do not knock in step.
fn jittered(pause: Duration) -> Duration {
    let random = crate::secret::random_bytes::<1>().map_or(128, |[byte]| byte);
    pause * (192 + u32::from(random) / 2) / 256
}
