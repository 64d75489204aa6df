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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

    /// Whether the duty waits already: who ends the same session again and again, which an outage invites to, takes no room
    /// from others.
    fn has(&self, duty: &Duty) -> bool {
        match duty {
            Duty::End { sid, .. } => self.sids.contains(sid) && self.duties.contains(duty),
            Duty::Cut { .. } => false,
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
            if waiting.has(duty) {
                continue;
            }
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
        let done: HashSet<&Duty> = duties.iter().collect();
        waiting.duties.retain(|duty| !done.contains(duty));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn end(sid: &str) -> Duty {
        let (tenant, user) = (String::new(), "alice".to_owned());
        let sid = sid.to_owned();
        Duty::End { tenant, user, sid }
    }

    // Fails if: who ends one session many times fills the outbox, or what is told is forgotten in part.
    #[test]
    fn the_same_duty_waits_once() {
        let outbox = Outbox::new(3);
        for _ in 0..10 {
            assert!(outbox.put(&[end("one")]));
        }
        assert_eq!(outbox.count(), 1);
        assert!(outbox.put(&[end("two"), end("three")]));
        assert!(!outbox.put(&[end("four")]), "full");
        outbox.done(&[end("one"), end("two")]);
        assert_eq!(outbox.some(9), [end("three")]);
        assert_eq!(
            (outbox.has_ended("two"), outbox.has_ended("three")),
            (false, true)
        );
        assert!(outbox.put(&[end("one")]) && outbox.has_ended("one"));
    }
}
