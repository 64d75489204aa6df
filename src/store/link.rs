//! One supervised connection to one server.
//!
//! The driver reconnects either never or in a way that makes callers wait behind its back-off, so this file does it:
//!
//! - At most one attempt to connect is under way, in a task of its own, and attempts are spaced by a jittered back-off:
//!   an outage causes no storm, however many requests come.
//! - While the first attempt after a loss is under way callers wait for it (inside their own deadline); once an attempt
//!   has failed they are told so at once. That is the circuit breaker: open from the first failed attempt to the
//!   connection that works.
//! - A connection is given up when the driver says that it broke, when several calls in a row ran into their deadline
//!   (a driver's timeout alone never reconnects), or when the server says that it has become a replica.
//! - Scripts are loaded on every new connection before anyone gets it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, PushInfo, PushKind, RedisError,
    aio::MultiplexedConnection,
};
use tokio::{sync::watch, time::Instant};

use super::{
    StoreError, StoreErrorKind,
    attempts::{Attempts, LONGEST_PAUSE, Turn},
    gather::Gatherer,
    operation::{Call, Operation},
    redis::{Failed, Replies, is_demoted, send},
};

/// Calls in a row that ran into their deadline before the connection is given up.
const TIMEOUTS_UNTIL_LOST: u32 = 3;
/// A connection that breaks sooner than this counts as a failed attempt.
const SHORT_LIFE: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(super) struct Link(Arc<Inner>);

pub(super) struct Inner {
    clients: Clients,
    /// How long one attempt to connect may take, handshake and scripts included.
    pub(super) attempt: Duration,
    pub(super) state: Mutex<State>,
    pub(super) changed: watch::Sender<()>,
    operations: Mutex<Vec<&'static Operation>>,
    generation: AtomicU64,
}

struct Clients {
    resp3: Option<Client>,
    resp2: Client,
}

pub(super) enum State {
    /// Nobody has asked yet.
    Idle,
    Up(Arc<Connection>),
    /// A task is connecting.
    Trying(Turn),
}

pub(super) struct Connection {
    gatherer: Gatherer,
    generation: u64,
    since: Instant,
    timeouts: AtomicU32,
    /// Names of the operations whose scripts this server is known to hold.
    loaded: Mutex<Vec<&'static str>>,
}

impl Connection {
    fn has_loaded(&self, operation: &Operation) -> bool {
        operation.as_script().is_none() || lock(&self.loaded).contains(&operation.name())
    }

    fn note_loaded(&self, calls: &[Call]) {
        if calls.iter().any(|call| !self.has_loaded(call.operation)) {
            let mut loaded = lock(&self.loaded);
            for name in calls.iter().map(|call| call.operation.name()) {
                if !loaded.contains(&name) {
                    loaded.push(name);
                }
            }
        }
    }
}

impl Link {
    pub(super) fn new(resp3: Option<Client>, resp2: Client, attempt: Duration) -> Self {
        Self(Arc::new(Inner {
            clients: Clients { resp3, resp2 },
            attempt,
            state: Mutex::new(State::Idle),
            changed: watch::Sender::new(()),
            operations: Mutex::new(Vec::new()),
            generation: AtomicU64::new(0),
        }))
    }

    /// Scripts that every new connection loads.
    pub(super) fn register(&self, operations: &[&'static Operation]) {
        let mut known = lock(&self.0.operations);
        for operation in operations {
            if !known.iter().any(|known| known.name() == operation.name()) {
                known.push(operation);
            }
        }
    }

    /// For a connection of somebody else's own, in the protocol that has announcements.
    pub(super) fn announcing_client(&self) -> Option<Client> {
        self.0.clients.resp3.clone()
    }

    /// Names the connection of now, if there is one.
    pub(super) fn number(&self) -> Option<u64> {
        self.up().map(|connection| connection.generation)
    }

    /// Sends the calls in one trip. A trip of reads alone is sent once more when the connection broke under it.
    pub(super) async fn run(&self, calls: &[Call]) -> Result<Replies, StoreError> {
        match self.try_run(calls).await {
            Err(error)
                if error.kind() == StoreErrorKind::Unavailable
                    && calls.iter().all(|c| c.operation.is_read()) =>
            {
                self.try_run(calls).await
            }
            outcome => outcome,
        }
    }

    async fn try_run(&self, calls: &[Call]) -> Result<Replies, StoreError> {
        let connection = match self.up() {
            Some(connection) => connection,
            // In a box: it is long, and every call carries this future in its own.
            None => Box::pin(self.connection()).await?,
        };
        let outcome = send(&mut &connection.gatherer, calls, |operation| {
            connection.has_loaded(operation)
        })
        .await;
        match outcome {
            Ok(replies) => {
                connection.timeouts.store(0, Ordering::Relaxed);
                connection.note_loaded(calls);
                if replies
                    .iter()
                    .any(|reply| reply.as_ref().is_err_and(is_demoted))
                {
                    self.0.lost(connection.generation);
                }
                Ok(replies)
            }
            Err(failed) => {
                if matches!(failed, Failed::Broken(_)) {
                    self.0.lost(connection.generation);
                }
                Err(failed.into())
            }
        }
    }

    /// A caller's deadline passed before its replies came.
    pub(super) fn timed_out(&self) {
        let State::Up(connection) = &*lock(&self.0.state) else {
            return;
        };
        let generation = connection.generation;
        if connection.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= TIMEOUTS_UNTIL_LOST {
            // The lock is held here, and `lost` takes it.
            let inner = Arc::clone(&self.0);
            tokio::spawn(async move { inner.lost(generation) });
        }
    }

    /// Waits until the first connection is there, or until the first attempt has failed.
    pub(super) async fn connect(&self) -> Result<(), StoreError> {
        self.connection().await.map(|_| ())
    }

    fn up(&self) -> Option<Arc<Connection>> {
        match &*lock(&self.0.state) {
            State::Up(connection) => Some(Arc::clone(connection)),
            _ => None,
        }
    }

    async fn connection(&self) -> Result<Arc<Connection>, StoreError> {
        let mut changed = self.0.changed.subscribe();
        let mut started = false;
        loop {
            let (start, patience) = match &mut *lock(&self.0.state) {
                State::Up(connection) => return Ok(Arc::clone(connection)),
                State::Trying(turn) => match (turn.patience(self.0.attempt), &turn.last) {
                    // Before its failure: of a task that nobody drives there will be no news.
                    (Duration::ZERO, _) => {
                        *turn = self.0.turn(turn.last.take());
                        (Some(turn.number), self.0.attempt)
                    }
                    (_, Some(error)) => return Err(error.clone()),
                    (patience, None) => (None, patience),
                },
                // The task that was started has ended with its runtime, as this call is about to.
                State::Idle if started => return Err(StoreError::new(StoreErrorKind::Unavailable)),
                idle @ State::Idle => {
                    let turn = self.0.turn(None);
                    let number = turn.number;
                    *idle = State::Trying(turn);
                    (Some(number), self.0.attempt)
                }
            };
            if let Some(turn) = start {
                // Not under the lock: a runtime that shuts down drops the task at once, and its end takes the lock.
                Inner::spawn_attempts(&self.0, turn, Duration::ZERO);
                started = true;
            }
            // The sender lives in `self`.
            let _ = tokio::time::timeout(patience, changed.changed()).await;
        }
    }
}

impl Inner {
    /// Gives up a connection, once, and starts to look for a new one.
    fn lost(self: &Arc<Self>, generation: u64) {
        let mut state = lock(&self.state);
        let State::Up(connection) = &*state else {
            return;
        };
        if connection.generation != generation {
            return;
        }
        let short_lived = connection.since.elapsed() < SHORT_LIFE;
        let last = short_lived.then(|| StoreError::new(StoreErrorKind::Unavailable));
        let turn = self.turn(last);
        let number = turn.number;
        *state = State::Trying(turn);
        drop(state);
        crate::trace::event_warn!(event = "store.lost", "the connection to the store is lost");
        self.changed.send_replace(());
        Self::spawn_attempts(
            self,
            number,
            if short_lived {
                LONGEST_PAUSE
            } else {
                Duration::ZERO
            },
        );
    }

    /// A turn of connecting that begins now.
    fn turn(&self, last: Option<StoreError>) -> Turn {
        Turn::new(self.generation.fetch_add(1, Ordering::Relaxed), last)
    }

    fn spawn_attempts(this: &Arc<Self>, turn: u64, pause: Duration) {
        let attempts = Attempts::new(Arc::downgrade(this), turn);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(attempts.run(pause))),
            // Dropping it sets the state back to idle, so that the next caller tries.
            Err(_) => drop(attempts),
        }
    }

    pub(super) async fn open(self: &Arc<Self>) -> Result<Connection, RedisError> {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed);
        let driver = match &self.clients.resp3 {
            Some(client) => match client
                .get_multiplexed_async_connection_with_config(&self.watched(generation))
                .await
            {
                // An old server, or a proxy that does not speak RESP3: a broken connection is then noticed one
                // request later.
                Err(error) if error.kind() == ErrorKind::RESP3NotSupported => {
                    self.open_resp2().await?
                }
                outcome => outcome?,
            },
            None => self.open_resp2().await?,
        };
        let loaded = self.load_scripts(driver.clone()).await?;
        Ok(Connection {
            gatherer: Gatherer::new(driver),
            generation,
            since: Instant::now(),
            timeouts: AtomicU32::new(0),
            loaded: Mutex::new(loaded),
        })
    }

    async fn open_resp2(&self) -> Result<MultiplexedConnection, RedisError> {
        self.clients
            .resp2
            .get_multiplexed_async_connection_with_config(&self.settings())
            .await
    }

    fn settings(&self) -> AsyncConnectionConfig {
        // The deadline is ours: the driver's would cost a second timer per call and covers less.
        AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(Some(self.attempt))
    }

    /// Settings by which the driver says at once that the connection broke, also when nothing is under way.
    fn watched(self: &Arc<Self>, generation: u64) -> AsyncConnectionConfig {
        let link: Weak<Self> = Arc::downgrade(self);
        self.settings().set_push_sender(
            move |push: PushInfo| -> Result<(), redis::aio::SendError> {
                if push.kind == PushKind::Disconnection
                    && let Some(link) = link.upgrade()
                {
                    link.lost(generation);
                }
                Ok(())
            },
        )
    }

    /// The names of the operations that the server now holds the scripts of.
    async fn load_scripts(
        &self,
        mut driver: MultiplexedConnection,
    ) -> Result<Vec<&'static str>, RedisError> {
        let scripts: Vec<_> = lock(&self.operations)
            .iter()
            .filter_map(|operation| {
                operation
                    .as_script()
                    .map(|script| (operation.name(), script))
            })
            .collect();
        if scripts.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::Pipeline::with_capacity(scripts.len());
        for (_, script) in &scripts {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(&script.text);
        }
        let replies = driver
            .send_packed_commands(&pipeline, 0, scripts.len())
            .await?;
        // A server that refuses `SCRIPT LOAD` may still run `EVAL`; if not, the call itself reports it.
        let loaded = scripts
            .iter()
            .zip(replies)
            .filter(|(_, r)| !matches!(r, redis::Value::ServerError(_)));
        Ok(loaded.map(|((name, _), _)| *name).collect())
    }
}

/// Nothing panics while one of these locks is held, and what they guard is whole at every step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
