//! Telling the store what the database ended without it.
//!
//! - What the store says about sessions is believed on a connection only when, on that very connection, it was told what
//!   the database ended: a new connection may lead to a server that has lost something.
//! - A mark in the store says up to when that is known there, by the store's clock. It is written after what it says, so
//!   that a server that went back to an older state has an older mark. A server without one was emptied.
//! - No two clocks are compared: how old the mark is tells the store's clock, and what was ended since is asked for as an age.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

use super::{
    database::Patience,
    error::{ActiveError, ActiveErrorKind},
    inner::Inner,
    ops,
    outbox::Duty,
    truth::CutoffScope,
};
use crate::{
    clock::millis,
    cutoff,
    near::{self, Scope},
    secret::random_bytes,
    store::{Replies, StoreError, StoreErrorKind},
    trace::{event_debug, event_info, event_warn},
};

/// What was ended this long before is told again: a transaction may take this long from its moment to its end.
const MARGIN_MS: u64 = 60_000;
/// How many sessions or cutoffs one trip is about.
const BATCH: usize = 256;
/// After a failure nobody tries for this long.
const PAUSE: Duration = Duration::from_millis(100);

/// Cutoffs, and what the store has for them.
type Higher = Vec<(CutoffScope, u64)>;

#[derive(Default)]
pub(super) struct Sync {
    /// The connection on which the store was told, plus one.
    done: AtomicU64,
    /// How often nothing was to be believed: a round that began before does not count.
    voided: AtomicU64,
    running: Mutex<Running>,
    /// There is something to do.
    pub(super) wake: Notify,
}

#[derive(Default)]
struct Running {
    round: Option<watch::Receiver<Option<bool>>>,
    not_before: Option<Instant>,
}

impl Sync {
    /// Nothing is believed until the store was told again.
    pub(super) fn void(&self) {
        self.voided.fetch_add(1, SeqCst);
        self.done.store(0, SeqCst);
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The connection on which what the store says can be believed; waits for it to become so, but not for long.
    pub(super) async fn believed(self: &Arc<Self>) -> Option<u64> {
        if self.store.connection().is_none() {
            self.sync.wake.notify_one();
            return None;
        }
        if !self.is_told() {
            let round = self.tell(false)?;
            let _ = timeout(self.settings.wait, ended(round)).await;
        }
        self.store.connection().filter(|_| self.is_told())
    }

    pub(super) fn is_told(&self) -> bool {
        let done = self.sync.done.load(SeqCst).checked_sub(1);
        done.is_some() && done == self.store.connection()
    }

    /// Tells the store, or joins whoever is at it; `None` if that failed a moment ago.
    fn tell(self: &Arc<Self>, at_once: bool) -> Option<watch::Receiver<Option<bool>>> {
        let mut running = self.sync.lock();
        if let Some(round) = &running.round {
            return Some(round.clone());
        }
        let too_early = |until| Instant::now() < until;
        if !at_once && running.not_before.is_some_and(too_early) {
            return None;
        }
        let (tell, awaited) = watch::channel(None);
        running.round = Some(awaited.clone());
        let round = Round {
            inner: Arc::clone(self),
            worked: false,
            tell,
        };
        tokio::spawn(async move {
            let outcome = round.inner.round().await;
            if let Err(error) = &outcome {
                event_warn!(event = "registry.sync_failed", kind = ?error.kind(), "the store was not told what the database ended: it is not believed");
            }
            round.ended(outcome.is_ok());
        });
        Some(awaited)
    }

    /// Tells the store now; says whether it worked.
    pub(super) async fn tell_now(self: &Arc<Self>) -> bool {
        match self.tell(true) {
            Some(round) => ended(round).await,
            None => false,
        }
    }

    async fn round(&self) -> Result<(), ActiveError> {
        let voided = self.sync.voided.load(SeqCst);
        if self.store.connection().is_none() {
            // Makes one.
            self.store.run(ops::clock(&self.store)).await?;
        }
        // Named before the mark is read: all from here to the end is of one connection, or does not count.
        let connection = self.store.connection();
        let reply = self.store.run(ops::clock(&self.store)).await?;
        let (now, mark) = ops::what_time(reply)?;
        let [cutoff_age, ended_age] = self.ages(now, mark);
        let registry = self.database.registry();
        let question = async move { registry.recent_cutoffs(cutoff_age).await };
        let cutoffs = self.database.ask(Patience::Background, question).await?;
        let registry = self.database.registry();
        let question = async move { registry.recently_ended(ended_age).await };
        let ended = self.database.ask(Patience::Background, question).await?;
        event_debug!(
            event = "registry.sync",
            cutoffs = cutoffs.len(),
            ended = ended.len(),
            "the store is told what the database ended"
        );
        let duties: Vec<_> = cutoffs
            .into_iter()
            .map(|(scope, moment)| Duty::Cut { scope, moment })
            .chain(ended.into_iter().map(|sid| Duty::End {
                tenant: String::new(),
                user: String::new(),
                sid,
            }))
            .collect();
        for some in duties.chunks(BATCH) {
            self.carry_out(some, false).await?;
        }
        let kept = millis(self.store.longest_credential());
        self.store.run(ops::mark(&self.store, now, kept)).await?;
        let done = connection.map_or(0, |number| number + 1);
        self.sync.done.store(done, SeqCst);
        // Looked at afterwards: whoever voids it meanwhile finds it here, or is found.
        let voided = voided != self.sync.voided.load(SeqCst);
        if voided || connection.is_none() || self.store.connection() != connection {
            self.sync.done.store(0, SeqCst);
            return Err(ActiveError::new(ActiveErrorKind::Store));
        }
        Ok(())
    }

    /// How far back cutoffs and ended sessions are asked for.
    fn ages(&self, now: u64, mark: Option<u64>) -> [u64; 2] {
        if let Some(mark) = mark.filter(|mark| *mark <= now) {
            return [now - mark + MARGIN_MS; 2];
        }
        // The store was emptied, or its clock is another one: all that can matter yet.
        let tokens = millis(self.store.access_token_life());
        let cached = millis(self.bound());
        [
            millis(self.store.longest_credential()) + MARGIN_MS,
            tokens.max(cached) + MARGIN_MS,
        ]
    }

    /// Tells the store of all of them in one trip; `is_now` if they happened just now. Doing it twice is harmless.
    pub(super) async fn carry_out(&self, duties: &[Duty], is_now: bool) -> Result<(), ActiveError> {
        // First: it is so whether or not the store can be told.
        self.known.note(duties);
        let mut calls = Vec::new();
        let mut pledges = Vec::new();
        for duty in duties {
            match duty {
                Duty::End { tenant, user, sid } => {
                    let (pledge, deny) = self.blacklist.revoking(sid);
                    pledges.extend(pledge);
                    calls.push(ops::forget(&self.store, sid, self.generation_ms()));
                    calls.push(deny);
                    if !user.is_empty() {
                        calls.push(self.devices.revoke_call(tenant, user, sid));
                    }
                }
                Duty::Cut { scope, moment } => {
                    let scope = self.scope(scope);
                    calls.push(cutoff::at_least_call(&self.store, &scope, *moment, is_now));
                }
            }
        }
        let replies = self.store.trip(&calls).await?;
        let later = self.higher(duties, replies)?;
        for pledge in pledges {
            pledge.kept();
        }
        self.note_cutoffs(later).await
    }

    /// The cutoffs that turned out to be higher in the store.
    fn higher(&self, duties: &[Duty], replies: Replies) -> Result<Higher, StoreError> {
        let mut replies = replies.into_iter();
        let mut next = || replies.next().unwrap_or_else(|| Err(missing()));
        let mut higher = Vec::new();
        for duty in duties {
            match duty {
                Duty::End { user, .. } => {
                    for _ in 0..2 + usize::from(!user.is_empty()) {
                        next()?;
                    }
                }
                Duty::Cut { scope, moment } => {
                    let held = next()?.number()?;
                    if let Some(near) = near::of(&self.store) {
                        near.raised_in_store(self.scope(scope));
                    }
                    if held > *moment {
                        higher.push((scope.clone(), held));
                    }
                }
            }
        }
        Ok(higher)
    }

    /// Cutoffs of which the store knew more than the database: both are to know the same, or a flush would lower them.
    async fn note_cutoffs(&self, cutoffs: Higher) -> Result<(), ActiveError> {
        for (scope, moment) in cutoffs {
            let registry = self.database.registry();
            let question = async move { registry.put_cutoff(&scope, Some(moment)).await };
            self.database.ask(Patience::Background, question).await?;
            event_info!(
                event = "registry.cutoff_noted",
                "a cutoff that only the store knew was noted in the database"
            );
        }
        Ok(())
    }

    pub(super) fn scope(&self, scope: &CutoffScope) -> Scope {
        let namespace = self.store.namespace();
        match scope {
            CutoffScope::Everyone => Scope::Everyone,
            CutoffScope::Tenant(tenant) => Scope::Tenant(namespace.tenant_tag(tenant)),
            CutoffScope::User { tenant, user } => Scope::User(namespace.user_tag("", tenant, user)),
        }
    }

    /// The task that finishes what the store has not heard of; ended with the handle.
    pub(super) fn start(self: &Arc<Self>) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_none_or(|task| task.is_finished()) {
            *task = Some(tokio::spawn(Arc::clone(self).keep()));
        }
    }

    async fn keep(self: Arc<Self>) {
        let mut pause = PAUSE;
        loop {
            let owes = self.outbox.count() > 0 || !self.is_told();
            let wait = if owes {
                pause
            } else {
                self.settings.sync_every
            };
            let woken = timeout(jittered(wait), self.sync.wake.notified()).await;
            if woken.is_ok() && owes {
                // Whoever wakes often is no reason to try more often.
                tokio::time::sleep(PAUSE).await;
            }
            let worked = self.drain().await && self.catch_up(woken.is_err()).await;
            pause = if worked {
                PAUSE
            } else {
                (pause * 2).min(Duration::from_secs(1))
            };
        }
    }

    async fn drain(self: &Arc<Self>) -> bool {
        loop {
            let some = self.outbox.some(BATCH);
            if some.is_empty() {
                return true;
            }
            if self.carry_out(&some, false).await.is_err() {
                return false;
            }
            self.outbox.done(&some);
            event_info!(
                event = "registry.finished",
                count = some.len(),
                "revocations were finished in the store"
            );
        }
    }

    /// Tells the store when it is time to, and another node has not just done so.
    async fn catch_up(self: &Arc<Self>, is_time: bool) -> bool {
        if self.is_told() {
            let time = self.store.run(ops::clock(&self.store)).await;
            let young = millis(self.settings.sync_every) / 2;
            let is_young = |now: u64, mark| mark <= now && now - mark < young;
            match time.and_then(ops::what_time) {
                Ok((now, Some(mark))) if !is_time || is_young(now, mark) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        self.tell_now().await
    }
}

/// Ends with its task, however that ends.
struct Round {
    inner: Arc<Inner>,
    worked: bool,
    tell: watch::Sender<Option<bool>>,
}

impl Round {
    fn ended(mut self, worked: bool) {
        self.worked = worked;
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        let mut running = self.inner.sync.lock();
        running.round = None;
        running.not_before = (!self.worked).then(|| Instant::now() + PAUSE);
        drop(running);
        self.tell.send_replace(Some(self.worked));
    }
}

async fn ended(mut round: watch::Receiver<Option<bool>>) -> bool {
    let outcome = round.wait_for(Option::is_some).await;
    outcome.is_ok_and(|worked| *worked == Some(true))
}

fn missing() -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt)
}

/// Between three and five quarters of `pause`.
fn jittered(pause: Duration) -> Duration {
    let random = random_bytes::<1>().map_or(128, |[byte]| byte);
    pause * (192 + u32::from(random) / 2) / 256
}
