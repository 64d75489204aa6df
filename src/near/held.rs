//! Near sessions: the connection that tracks what this node holds, and the lease by which it counts.
//!
//! 1. Records are read over a connection that tracks its own reads (per key, never by prefix): the server announces the
//!    first change of each to it. Announcements and answers come in order, so that the answer to a heartbeat sent at *t*
//!    proves that every change acknowledged before *t* has been heard of.
//! 2. What is held counts only while that was proved within `max_staleness`; everything is dropped when the connection is
//!    lost, and when the server says that everything went.
//! 3. A node that writes forgets what it holds before it answers: it reads its own writes.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use redis::{Client, PushInfo, PushKind, RedisError, Value, aio::MultiplexedConnection};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    keeper::{REFUSED_PAUSE, jittered, patience, pause_after, refused},
    lease::{Lease, Moment},
    line::{Failed, connect, failed, millis_of, random},
    shelf::{HeldName, Shelf},
};
use crate::{clock::Clock, trace::event_warn};

/// A tracked read that takes longer is given up, and the store asked: the rest of a request's time is for that.
const PATIENCE: Duration = Duration::from_millis(50);

/// The session records that this node holds.
pub(crate) struct Held {
    shelf: Shelf,
    lease: Lease,
    line: Mutex<Option<(u64, MultiplexedConnection)>>,
    /// What to add to the lease's clock to get no less than the server's.
    ahead_ms: AtomicI64,
}

impl Held {
    pub(super) fn new(most: usize, max_staleness: Duration, clock: Clock) -> Self {
        Self {
            shelf: Shelf::new(most),
            lease: Lease::new(max_staleness, clock),
            line: Mutex::default(),
            ahead_ms: AtomicI64::new(0),
        }
    }

    /// What is held under a name, and the server's clock at the latest; nothing if the lease had run out at that moment,
    /// which the caller took for this question.
    pub(crate) fn get(&self, name: &HeldName, now: &Moment) -> Option<(Bytes, u64)> {
        // The lease first: what is found after that is at least as new.
        if !self.lease.is_fresh_at(now) {
            return None;
        }
        let record = self.shelf.get(name)?;
        Some((record, self.server_ms(now)))
    }

    /// Reads a key so that changes to it are announced, and holds what is worth it. `None` is no answer: the store has
    /// to be asked.
    pub(crate) async fn read(
        &self,
        name: HeldName,
        key: &str,
        is_worth_it: impl FnOnce(&[u8]) -> bool,
    ) -> Option<Option<Bytes>> {
        if !self.lease.is_fresh() {
            return None;
        }
        let (number, mut line) = self
            .line
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        let reading = self.shelf.begin(name, number);
        let mut get = redis::cmd("GET");
        get.arg(key);
        let asked = timeout(PATIENCE, line.send_packed_command(&get)).await;
        let record = match asked.ok()?.ok()? {
            Value::BulkString(record) => Bytes::from(record),
            Value::Nil => return Some(None),
            _ => return None,
        };
        if let Some(reading) = reading.filter(|_| is_worth_it(&record)) {
            reading.read(&record);
        }
        Some(Some(record))
    }

    /// This node changes what is under the name.
    pub(crate) fn forget(&self, name: &HeldName) {
        self.shelf.forget(name);
    }

    pub(super) fn count(&self) -> usize {
        self.shelf.count()
    }

    fn server_ms(&self, now: &Moment) -> u64 {
        let now = i64::try_from(self.lease.ms_at(now)).unwrap_or(i64::MAX);
        let server = now.saturating_add(self.ahead_ms.load(SeqCst));
        u64::try_from(server).unwrap_or(0)
    }

    fn set_line(&self, line: Option<(u64, MultiplexedConnection)>) {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = line;
    }

    fn lost(&self, number: u64) {
        self.lease.lost(number);
        self.shelf.clear();
    }

    fn hear(&self, number: u64, push: &PushInfo) {
        match (&push.kind, push.data.as_slice()) {
            (PushKind::Disconnection, _) => self.lost(number),
            (PushKind::Invalidate, [Value::Array(keys)]) => {
                for key in keys {
                    if let Value::BulkString(key) = key
                        && let Some(name) = key.last_chunk()
                    {
                        self.shelf.forget(name);
                    }
                }
            }
            (PushKind::Invalidate, _) => self.shelf.clear(),
            _ => {}
        }
    }
}

/// Keeps the tracking connection until it is aborted.
pub(super) async fn keep(held: Arc<Held>, client: Client) {
    let mut pause = Duration::ZERO;
    loop {
        sleep(jittered(pause, random())).await;
        let number = held.lease.begin();
        held.shelf.follow(number);
        let begun = Instant::now();
        let served = serve(&held, &client, number).await;
        held.set_line(None);
        held.lost(number);
        pause = match served {
            Ok(()) => {
                event_warn!(
                    event = "near.sessions_lost",
                    "the connection that announces changes of sessions is lost"
                );
                pause_after(pause, Some(begun.elapsed()))
            }
            Err(Failed::Refused(error)) => {
                refused(&held.lease, error, |why| {
                    event_warn!(event = "near.sessions_refused", %why, "the server does not announce changes of sessions: the store is asked for each");
                });
                REFUSED_PAUSE
            }
            Err(Failed::Lost) => pause_after(pause, None),
        };
    }
}

/// Everything that happens on one connection; `Ok` if it could be used until it was lost.
async fn serve(held: &Arc<Held>, client: &Client, number: u64) -> Result<(), Failed> {
    let patience = patience(&held.lease);
    let line = match timeout(patience, open(held, client, number)).await {
        Ok(line) => line.map_err(|error| failed(&error))?,
        Err(_) => return Err(Failed::Lost),
    };
    let flushes = held.lease.before_load();
    if !held.lease.announces(number) || !held.lease.after_load(number, flushes) {
        return Err(Failed::Lost);
    }
    held.set_line(Some((number, line.clone())));
    tokio::select! {
        () = beat(held, line, number, patience) => {}
        () = held.lease.until_lost(number) => {}
    }
    Ok(())
}

async fn open(
    held: &Arc<Held>,
    client: &Client,
    number: u64,
) -> Result<MultiplexedConnection, RedisError> {
    let ears = Arc::clone(held);
    let hear = move |push: PushInfo| ears.hear(number, &push);
    let mut line = connect(client, hear).await?;
    let mut name = redis::cmd("CLIENT");
    name.arg("SETNAME").arg("portcullis-near-sessions");
    let mut tracking = redis::cmd("CLIENT");
    tracking.arg("TRACKING").arg("ON");
    // The name is for people who look at the server: one that refuses it may still announce.
    let _ = line.send_packed_command(&name).await;
    // An error of the server is a reply to the driver.
    line.send_packed_command(&tracking).await?.extract_error()?;
    Ok(line)
}

/// Four proofs in the time that one is good for.
async fn beat(held: &Held, mut line: MultiplexedConnection, number: u64, patience: Duration) {
    let every = held.lease.max_staleness / 4;
    loop {
        let started = Instant::now();
        let stamp = held.lease.stamp();
        let sent_ms = held.lease.ms_at(&stamp);
        let time = redis::cmd("TIME");
        let answer = timeout(patience, line.send_packed_command(&time)).await;
        let Ok(Ok(Value::Array(parts))) = answer else {
            return;
        };
        let Some(server_ms) = millis_of(&parts) else {
            return;
        };
        // A part of a millisecond counts as one: never less than the server's clock.
        let server_ms = server_ms.saturating_add(1);
        let sent_ms = i64::try_from(sent_ms).unwrap_or(i64::MAX);
        held.ahead_ms
            .store(server_ms.saturating_sub(sent_ms), SeqCst);
        held.lease.proved(number, stamp);
        sleep_until(started + every).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails if: what is held counts after the connection was lost, before anything was proved on it, or after the bound.
    #[tokio::test]
    async fn what_is_held_counts_while_the_lease_does() {
        let clock = Clock::system().skippable();
        let held = Held::new(16, Duration::from_millis(500), clock.clone());
        let (name, record) = ([b'a'; 43], Bytes::from_static(b"1..."));
        let get = || held.get(&name, &held.lease.stamp());
        let connect = |proved| {
            let number = held.lease.begin();
            held.shelf.follow(number);
            assert!(held.lease.announces(number));
            held.lease.after_load(number, held.lease.before_load());
            let reading = held.shelf.begin(name, number).unwrap();
            assert!(reading.read(&record));
            if proved {
                held.lease.proved(number, held.lease.stamp());
            }
            number
        };
        connect(false);
        assert!(get().is_none(), "nothing is proved");
        let number = connect(true);
        assert!(get().is_some());
        clock.skip(Duration::from_secs(1));
        assert!(get().is_none(), "too long ago");
        held.lease.proved(number, held.lease.stamp());
        assert!(get().is_some());
        held.lease.lost(number);
        assert!(get().is_none(), "lost");
    }
}
