//! The task that keeps the replica: one connection after the other, and on each the heartbeat, the fetching of what was
//! announced, and the load with the healing after it, all three side by side.
//!
//! In this order on every connection: announcements on, then the load. What changes while the load runs is announced,
//! what does not is found by it.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    lease::{Lease, Phase},
    line::{Answer, Ask, Dial, Failed, Line},
    names::Name,
    replica::{Replica, Wanted},
    set::Set,
};
use crate::{
    clock::millis,
    store::StoreError,
    trace::{event_info, event_warn},
};

pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(10);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Somebody has to change permissions or the server first.
pub(super) const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// What is written or fetched in one go.
pub(super) const BATCH: usize = 512;
/// After a write that the server refused: it may be out of memory.
const WRITE_PAUSE: Duration = Duration::from_secs(1);

/// Keeps the replica until it is aborted.
pub(super) async fn keep<D: Dial>(replica: Arc<Replica>, dial: D) {
    let mut pause = Duration::ZERO;
    loop {
        sleep(jittered(pause, dial.random())).await;
        let number = replica.lease.begin();
        let loaded = OnceLock::new();
        let end = serve(&replica, &dial, number, &loaded).await;
        replica.lease.lost(number);
        pause = match end {
            Failed::Refused(error) => {
                refused(&replica.lease, error, |why| {
                    event_warn!(event = "near.refused", %why, "the server does not announce changes: revocations are asked for on every request");
                });
                REFUSED_PAUSE
            }
            Failed::Lost => pause_after(pause, loaded.get().map(Instant::elapsed)),
        };
    }
}

/// The pause after a connection that was of use for so long, if it ever was. One that ends at once, as that to a server which
/// was demoted and has to be told something, would be made and loaded again without end.
pub(super) fn pause_after(pause: Duration, lived: Option<Duration>) -> Duration {
    match lived {
        Some(lived) if lived >= LONGEST_PAUSE => FIRST_PAUSE,
        _ => (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE),
    }
}

/// Somebody is told of a refusal once, until something works.
pub(super) fn refused(lease: &Lease, error: Option<StoreError>, tell: impl FnOnce(String)) {
    if lease.phase() != Phase::Refused {
        tell(error.map_or_else(String::new, |error| {
            use std::error::Error as _;
            error.source().map(ToString::to_string).unwrap_or_default()
        }));
    }
    lease.refused();
}

/// Everything that happens on one connection; returns why it ended.
async fn serve<D: Dial>(
    replica: &Arc<Replica>,
    dial: &D,
    number: u64,
    loaded: &OnceLock<Instant>,
) -> Failed {
    let patience = patience(&replica.lease);
    let line = match timeout(patience, dial.open(replica, number)).await {
        Ok(Ok(line)) => line,
        Ok(Err(failed)) => return failed,
        Err(_) => return Failed::Lost,
    };
    if !replica.lease.announces(number) {
        return Failed::Lost;
    }
    use std::sync::atomic::Ordering::SeqCst;
    replica.counts.connections.fetch_add(1, SeqCst);
    let on = On {
        replica,
        line: &line,
        number,
        patience,
        loaded,
    };
    tokio::select! {
        end = on.beat() => end,
        end = on.fetch() => end,
        end = on.load_and_heal() => end,
        () = replica.lease.until_lost(number) => {
            event_warn!(event = "near.lost", "the connection that announces revocations is lost");
            Failed::Lost
        }
    }
}

/// An answer that takes longer means that the connection is dead: long enough for a server that is merely busy.
pub(super) fn patience(lease: &Lease) -> Duration {
    (lease.max_staleness * 4).max(Duration::from_secs(2))
}

pub(super) struct On<'a, L> {
    pub(super) replica: &'a Replica,
    line: &'a L,
    number: u64,
    patience: Duration,
    /// When its first load had ended.
    loaded: &'a OnceLock<Instant>,
}

impl<L: Line> On<'_, L> {
    pub(super) async fn ask(&self, asks: Vec<Ask>) -> Result<Vec<Answer>, Failed> {
        let answers = timeout(self.patience, self.line.ask(asks)).await;
        answers.unwrap_or(Err(Failed::Lost))
    }

    /// Four proofs in the time that one is good for, and a part of what is over forgotten at each.
    async fn beat(&self) -> Failed {
        let every = self.replica.lease.max_staleness / 4;
        let mut part = 0;
        loop {
            let started = Instant::now();
            let stamp = self.replica.lease.stamp();
            // As cheap as a ping, and says what time it is.
            match self.ask(vec![Ask::Time]).await.as_deref() {
                Ok([Answer::Number(server_ms)]) => {
                    let server_ms = u64::try_from(*server_ms).unwrap_or(0);
                    self.replica.server_time(server_ms);
                }
                Ok(_) => return Failed::Refused(None),
                Err(_) => return Failed::Lost,
            }
            self.replica.lease.proved(self.number, stamp);
            self.tidy(&mut part);
            sleep_until(started + every).await;
        }
    }

    fn tidy(&self, part: &mut usize) {
        let now = self.replica.lease.now_ms();
        for _ in 0..4 {
            self.replica.set.purge(*part, now, &self.replica.bound);
            *part = (*part + 1) % Set::PARTS;
        }
        if *part == 0 {
            self.replica.cutoffs.purge(now, &self.replica.bound);
            if self.replica.bound.has_room_again() {
                self.replica.work.notify_one();
            }
        }
    }

    /// Finds out until when what was announced is revoked, and what announced cutoffs are.
    async fn fetch(&self) -> Failed {
        loop {
            let batch = self.replica.take_wanted(BATCH);
            if batch.is_empty() {
                self.replica.wanted.notified().await;
                continue;
            }
            let load = self.replica.load();
            let batch = Batch {
                replica: self.replica,
                wanted: batch,
            };
            let asks = batch.wanted.iter().flat_map(|w| self.details(w)).collect();
            let absorbed = match self.ask(asks).await {
                Ok(answers) => self.absorb(batch.take(), load, answers),
                Err(failed) => return failed,
            };
            if let Err(failed) = absorbed {
                return failed;
            }
        }
    }

    fn details(&self, wanted: &Wanted) -> Vec<Ask> {
        let names = &self.replica.names;
        match wanted {
            Wanted::Listed(list, id) => vec![Ask::Left(names.listed(*list, id))],
            Wanted::Cutoff(scope, _) => {
                let key = names.cutoff(*scope);
                vec![Ask::Value(key.clone()), Ask::Left(key)]
            }
        }
    }

    /// A server that does not say how long a key lasts cannot be followed.
    fn absorb(&self, batch: Vec<Wanted>, load: u16, answers: Vec<Answer>) -> Result<(), Failed> {
        let mut answers = answers.into_iter();
        for wanted in batch {
            let value = match wanted {
                Wanted::Listed(..) => None,
                Wanted::Cutoff(..) => answers.next(),
            };
            let Some(Answer::Number(left)) = answers.next() else {
                return Err(Failed::Refused(None));
            };
            match (wanted, value) {
                (Wanted::Listed(list, id), _) => self.replica.left(list, &id, load, left),
                (Wanted::Cutoff(scope, asked), Some(Answer::Value(None))) => {
                    self.replica.cutoff_is(scope, asked, None, left);
                }
                (Wanted::Cutoff(scope, asked), Some(Answer::Value(Some(text)))) => {
                    match moment(&text) {
                        Some(m) => self.replica.cutoff_is(scope, asked, Some(m), left),
                        None => self.replica.cutoff_unreadable(scope),
                    }
                }
                (Wanted::Cutoff(scope, _), _) => self.replica.cutoff_unreadable(scope),
            }
        }
        Ok(())
    }

    /// Loads, heals, and does so again when there is a reason to.
    async fn load_and_heal(&self) -> Failed {
        loop {
            if let Err(failed) = self.round().await {
                return failed;
            }
        }
    }

    /// From one load to the next, which a flush makes necessary, or room for what was turned away.
    async fn round(&self) -> Result<(), Failed> {
        self.load().await?;
        let mut whole = self.heal().await?;
        loop {
            if whole {
                self.replica.work.notified().await;
            } else {
                sleep(WRITE_PAUSE).await;
            }
            if !self.replica.lease.is_loaded() || self.replica.bound.has_room_again() {
                return Ok(());
            }
            // What was not written is found again by looking through everything.
            whole = if whole {
                self.pay().await?
            } else {
                self.heal().await?
            };
        }
    }

    /// Reads everything there is, until nothing came in between that makes it void.
    async fn load(&self) -> Result<(), Failed> {
        loop {
            let flushes = self.replica.lease.before_load();
            let turned_away = self.replica.bound.before_load();
            let was_full = self.replica.bound.is_full();
            self.replica.begin_load();
            let started = Instant::now();
            for pattern in self.replica.names.patterns() {
                self.scan(pattern).await?;
            }
            self.replica.want_unattended();
            self.replica.bound.after_load(turned_away);
            self.replica.tell_when_full(was_full);
            if self.replica.lease.after_load(self.number, flushes) {
                let _ = self.loaded.set(Instant::now());
                let took = millis(started.elapsed());
                event_info!(
                    event = "near.loaded",
                    took,
                    "revocations and cutoffs are loaded"
                );
                return Ok(());
            }
        }
    }

    /// One step of the scan travels with the questions about what the step before it found.
    async fn scan(&self, pattern: Vec<u8>) -> Result<(), Failed> {
        let (mut cursor, mut found) = (Some(0), Vec::new());
        while cursor.is_some() || !found.is_empty() {
            let pattern = pattern.clone();
            let step = cursor.map(|cursor| Ask::Scan { cursor, pattern });
            let stepped = step.is_some();
            let details = found.iter().flat_map(|wanted| self.details(wanted));
            let mut answers = self.ask(step.into_iter().chain(details).collect()).await?;
            let page = stepped.then(|| answers.remove(0));
            self.absorb(std::mem::take(&mut found), self.replica.load(), answers)?;
            (cursor, found) = match page {
                None => (None, Vec::new()),
                Some(Answer::Page { next, keys }) => {
                    ((next != 0).then_some(next), self.wanted(&keys))
                }
                Some(_) => return Err(Failed::Refused(None)),
            };
        }
        Ok(())
    }

    fn wanted(&self, keys: &[Vec<u8>]) -> Vec<Wanted> {
        let wanted = |key: &Vec<u8>| match self.replica.names.read(key) {
            Name::Listed(list, id) => Some(Wanted::Listed(list, id.into())),
            Name::Cutoff(scope) => {
                let asked = self.replica.cutoffs.asked(scope);
                Some(Wanted::Cutoff(scope, asked))
            }
            Name::Other => None,
        };
        keys.iter().filter_map(wanted).collect()
    }
}

/// What is being fetched; wanted again if the answers do not come.
struct Batch<'a> {
    replica: &'a Replica,
    wanted: Vec<Wanted>,
}

impl Batch<'_> {
    fn take(mut self) -> Vec<Wanted> {
        std::mem::take(&mut self.wanted)
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.replica.want_again(std::mem::take(&mut self.wanted));
    }
}

/// As the scripts that read cutoffs have it: anything else is not a moment.
fn moment(text: &[u8]) -> Option<u64> {
    let is_moment = (1..=15).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| is_moment)?;
    text.parse().ok()
}

/// Between three and five quarters of `pause`, so that nodes do not knock in step.
pub(super) fn jittered(pause: Duration, random: u8) -> Duration {
    pause * (192 + u32::from(random) / 2) / 256
}
