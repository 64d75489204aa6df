//! What was ended in the database and has yet to be told to the store.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use super::truth::CutoffScope;

/// Something to tell the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// A session has ended.
    End {
        tenant: String,
        user: String,
        sid: String,
    },
    /// A cutoff was raised to a moment.
    Cut { scope: CutoffScope, moment: u64 },
}

pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    /// How many sessions there are among them, so that a check without any costs no lock.
    ended: AtomicUsize,
    most: usize,
}

#[derive(Default)]
struct Waiting {
    duties: VecDeque<Duty>,
    sids: HashSet<String>,
}

impl Outbox {
    pub(super) fn new(most: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            ended: AtomicUsize::new(0),
            most,
        }
    }

    /// False if there is no room for all of them.
    pub(super) fn put(&self, duties: &[Duty]) -> bool {
        let mut waiting = self.lock();
        let mut room = true;
        for duty in duties {
            if waiting.duties.len() >= self.most {
                room = false;
                break;
            }
            if let Duty::End { sid, .. } = duty {
                waiting.sids.insert(sid.clone());
            }
            waiting.duties.push_back(duty.clone());
        }
        self.ended.store(waiting.sids.len(), SeqCst);
        room
    }

    /// The store knows.
    pub(super) fn done(&self, duties: &[Duty]) {
        let mut waiting = self.lock();
        for duty in duties {
            waiting.duties.retain(|other| other != duty);
        }
        let sids = waiting.duties.iter().filter_map(|duty| match duty {
            Duty::End { sid, .. } => Some(sid.clone()),
            Duty::Cut { .. } => None,
        });
        waiting.sids = sids.collect();
        self.ended.store(waiting.sids.len(), SeqCst);
    }

    /// Some of what is waiting, the oldest first.
    pub(super) fn some(&self, most: usize) -> Vec<Duty> {
        self.lock().duties.iter().take(most).cloned().collect()
    }

    pub(super) fn count(&self) -> usize {
        self.lock().duties.len()
    }

    /// Whether this node has ended the session and the store does not know yet.
    pub(super) fn has_ended(&self, sid: &str) -> bool {
        self.ended.load(SeqCst) > 0 && self.lock().sids.contains(sid)
    }

    /// Nothing panics under the lock.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
