//! What this node revokes itself: known here first, then told to the store, and made good if the store does not
//! acknowledge it.

use std::time::Duration;

use super::{
    names::{List, Scope},
    replica::{GRACE_MS, Replica},
};
use crate::clock::millis;

impl Replica {
    /// Notes a revocation of this node's own, before the store is told.
    pub(crate) fn revoke(&self, list: List, id: &[u8], left_ms: u64) -> Pledge<'_> {
        let now = self.lease.now_ms();
        if !self.lease.is_fresh() {
            // Otherwise the heartbeat does it, which there may be none of for as long as this node lives.
            self.tidy_a_part(now);
        }
        let until = now.saturating_add(left_ms);
        self.set.confirm(list, id, until, 0, &self.bound);
        Pledge {
            replica: self,
            load: self.load(),
            list,
            id: id.into(),
            kept: false,
        }
    }

    /// A step of this node's own has revoked the id in the store: it counts here before its announcement comes.
    ///
    /// Where nothing is announced at the moment it counts for a while all the same, for the store may go away before anybody
    /// can ask it; but nobody is there to fetch how long, so that nothing is queued.
    pub(crate) fn revoked_in_store(&self, list: List, id: &[u8]) {
        if self.lease.is_fresh() {
            return self.heard(list, id);
        }
        let now = self.lease.now_ms();
        self.tidy_a_part(now);
        self.set.learned(list, id, now + GRACE_MS, &self.bound);
    }

    /// A step of this node's own has raised a cutoff in the store: it is asked for until its value is known here.
    pub(crate) fn raised_in_store(&self, scope: Scope) {
        self.not_raised(scope);
    }

    /// Notes that a cutoff is about to be raised: it holds here at once, as far as the server's clock is known, and is
    /// made good later if the store does not acknowledge it.
    pub(crate) fn raising(&self, scope: Scope, kept: Duration) -> Raising<'_> {
        let until = self.lease.now_ms().saturating_add(millis(kept));
        let estimate = self.reckoned_server_time();
        if let Some(estimate) = estimate {
            self.cutoffs.raising(scope, estimate, until, &self.bound);
        }
        Raising {
            replica: self,
            load: self.load(),
            scope,
            until,
            estimate,
            raised: false,
        }
    }
}

/// A revocation that this node holds and the store has not acknowledged; dropped as such, it is made good later.
#[must_use = "dropped, it says that the store did not acknowledge"]
pub(crate) struct Pledge<'a> {
    replica: &'a Replica,
    /// The load of now when the store was told: if it loses everything, a later one finds that out.
    load: u16,
    list: List,
    id: Box<[u8]>,
    kept: bool,
}

impl Pledge<'_> {
    /// The store has acknowledged it.
    pub(crate) fn kept(mut self) {
        self.kept = true;
        self.replica
            .set
            .held_by_server(self.list, &self.id, self.load);
    }
}

impl Drop for Pledge<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let id = std::mem::take(&mut self.id);
            self.replica.owe(self.list, id);
        }
    }
}

/// A cutoff on its way to the store; dropped as such, whether it holds there is not known.
#[must_use = "dropped, it says that the store did not acknowledge"]
pub(crate) struct Raising<'a> {
    replica: &'a Replica,
    load: u16,
    scope: Scope,
    until: u64,
    estimate: Option<u64>,
    raised: bool,
}

impl Raising<'_> {
    /// The store has raised it to this moment.
    pub(crate) fn raised(mut self, moment: u64) {
        self.raised = true;
        let replica = self.replica;
        let known = &replica.cutoffs;
        known.raised(
            self.scope,
            self.estimate,
            moment,
            self.until,
            &replica.bound,
        );
        if !known.held_by_server(self.scope, moment, self.load) {
            // The store may have lost it already.
            replica.work.notify_one();
        }
    }
}

impl Drop for Raising<'_> {
    fn drop(&mut self) {
        if !self.raised {
            self.replica.not_raised(self.scope);
        }
    }
}
