//! What was ended in the database and has yet to be told to the store.

use std::{
    collections::{HashMap, HashSet, VecDeque},
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
    /// How many sessions and cutoffs there are among them, so that a check without any costs no lock.
    known: AtomicUsize,
    most: usize,
}

#[derive(Default)]
struct Waiting {
    duties: VecDeque<Duty>,
    sids: HashSet<String>,
    cutoffs: HashMap<CutoffScope, u64>,
}

impl Waiting {
    fn know(&mut self, duty: &Duty) {
        match duty {
            Duty::End { sid, .. } => {
                self.sids.insert(sid.clone());
            }
            Duty::Cut { scope, moment } => {
                let known = self.cutoffs.entry(scope.clone()).or_default();
                *known = (*known).max(*moment);
            }
        }
    }

    fn known(&self) -> usize {
        self.sids.len() + self.cutoffs.len()
    }
}

impl Outbox {
    pub(super) fn new(most: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            known: AtomicUsize::new(0),
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
            waiting.know(duty);
            waiting.duties.push_back(duty.clone());
        }
        self.known.store(waiting.known(), SeqCst);
        room
    }

    /// The store knows.
    pub(super) fn done(&self, duties: &[Duty]) {
        let mut waiting = self.lock();
        for duty in duties {
            waiting.duties.retain(|other| other != duty);
        }
        waiting.sids.clear();
        waiting.cutoffs.clear();
        let duties = std::mem::take(&mut waiting.duties);
        for duty in &duties {
            waiting.know(duty);
        }
        waiting.duties = duties;
        self.known.store(waiting.known(), SeqCst);
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
        self.known.load(SeqCst) > 0 && self.lock().sids.contains(sid)
    }

    /// Whether this node has ended everything of this user up to `auth_ms`, and the store does not know yet.
    pub(super) fn has_cut(&self, tenant: &str, user: &str, auth_ms: u64) -> bool {
        if self.known.load(SeqCst) == 0 {
            return false;
        }
        let waiting = self.lock();
        if waiting.cutoffs.is_empty() {
            return false;
        }
        let (tenant, user) = (tenant.to_owned(), user.to_owned());
        let scopes = [
            CutoffScope::Everyone,
            CutoffScope::Tenant(tenant.clone()),
            CutoffScope::User { tenant, user },
        ];
        let moments = scopes.iter().filter_map(|scope| waiting.cutoffs.get(scope));
        moments.max().is_some_and(|at| auth_ms <= *at)
    }

    /// Nothing panics under the lock.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
