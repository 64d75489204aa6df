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
    operation::{Call, Operation},
    redis::{Replies, error_of, is_demoted, send},
};

/// Calls in a row that ran into their deadline before the connection is given up.
const TIMEOUTS_UNTIL_LOST: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// A connection that breaks sooner than this counts as a failed attempt.
const SHORT_LIFE: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(super) struct Link(Arc<Inner>);

struct Inner {
    clients: Clients,
    /// How long one attempt to connect may take, handshake and scripts included.
    attempt: Duration,
    state: Mutex<State>,
    changed: watch::Sender<()>,
    operations: Mutex<Vec<&'static Operation>>,
    generation: AtomicU64,
}

struct Clients {
    resp3: Option<Client>,
    resp2: Client,
}

enum State {
    /// Nobody has asked yet.
    Idle,
    Up(Arc<Connection>),
    /// A task is connecting; `last` is why its previous attempt failed.
    Trying {
        last: Option<StoreError>,
    },
}

struct Connection {
    driver: MultiplexedConnection,
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
        match &*lock(&self.0.state) {
            State::Up(connection) => Some(connection.generation),
            _ => None,
        }
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
        let connection = self.connection().await?;
        let outcome = send(&mut connection.driver.clone(), calls, |operation| {
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
            Err(error) => {
                self.0.lost(connection.generation);
                Err(error_of(&error))
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

    async fn connection(&self) -> Result<Arc<Connection>, StoreError> {
        if let State::Up(connection) = &*lock(&self.0.state) {
            return Ok(Arc::clone(connection));
        }
        let mut changed = self.0.changed.subscribe();
        let mut started = false;
        loop {
            let start = match &mut *lock(&self.0.state) {
                State::Up(connection) => return Ok(Arc::clone(connection)),
                State::Trying { last: Some(error) } => return Err(error.clone()),
                State::Trying { last: None } => false,
                // The task that was started has ended with its runtime, as this call is about to.
                State::Idle if started => return Err(StoreError::new(StoreErrorKind::Unavailable)),
                idle @ State::Idle => {
                    *idle = State::Trying { last: None };
                    true
                }
            };
            if start {
                // Not under the lock: a runtime that shuts down drops the task at once, and its end takes the lock.
                Inner::spawn_attempts(&self.0, Duration::ZERO);
                started = true;
            }
            // The sender lives in `self`.
            let _ = changed.changed().await;
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
        *state = State::Trying { last };
        drop(state);
        crate::trace::event_warn!(event = "store.lost", "the connection to the store is lost");
        self.changed.send_replace(());
        Self::spawn_attempts(
            self,
            if short_lived {
                LONGEST_PAUSE
            } else {
                Duration::ZERO
            },
        );
    }

    fn spawn_attempts(this: &Arc<Self>, pause: Duration) {
        let attempts = Attempts {
            link: Arc::downgrade(this),
            finished: false,
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(attempts.run(pause))),
            // Dropping it sets the state back to idle, so that the next caller tries.
            Err(_) => drop(attempts),
        }
    }

    async fn open(self: &Arc<Self>) -> Result<Connection, RedisError> {
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
        let connection = Connection {
            driver,
            generation,
            since: Instant::now(),
            timeouts: AtomicU32::new(0),
            loaded: Mutex::new(Vec::new()),
        };
        self.load_scripts(&connection).await?;
        Ok(connection)
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

    async fn load_scripts(&self, connection: &Connection) -> Result<(), RedisError> {
        let scripts: Vec<_> = lock(&self.operations)
            .iter()
            .filter_map(|operation| {
                operation
                    .as_script()
                    .map(|script| (operation.name(), script))
            })
            .collect();
        if scripts.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::Pipeline::with_capacity(scripts.len());
        for (_, script) in &scripts {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(&script.text);
        }
        let replies = connection
            .driver
            .clone()
            .send_packed_commands(&pipeline, 0, scripts.len())
            .await?;
        // A server that refuses `SCRIPT LOAD` may still run `EVAL`; if not, the call itself reports it.
        let loaded = scripts
            .iter()
            .zip(replies)
            .filter(|(_, r)| !matches!(r, redis::Value::ServerError(_)));
        lock(&connection.loaded).extend(loaded.map(|((name, _), _)| *name));
        Ok(())
    }
}

/// The task that connects, one attempt after the other, until it succeeds or nobody holds the link any more.
struct Attempts {
    link: Weak<Inner>,
    finished: bool,
}

impl Attempts {
    async fn run(mut self, first_pause: Duration) {
        let mut pause = first_pause;
        loop {
            tokio::time::sleep(jittered(pause)).await;
            let Some(link) = self.link.upgrade() else {
                return;
            };
            let outcome = tokio::time::timeout(link.attempt, link.open()).await;
            let error = match outcome {
                Ok(Ok(connection)) => {
                    *lock(&link.state) = State::Up(Arc::new(connection));
                    self.finished = true;
                    link.changed.send_replace(());
                    return;
                }
                Ok(Err(error)) => error_of(&error),
                Err(_) => StoreError::new(StoreErrorKind::Unavailable)
                    .caused_by("connecting took too long"),
            };
            *lock(&link.state) = State::Trying { last: Some(error) };
            link.changed.send_replace(());
            pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        }
    }
}

impl Drop for Attempts {
    /// The runtime that ran the task is gone: the next caller starts another.
    fn drop(&mut self) {
        if let Some(link) = self.link.upgrade()
            && !self.finished
        {
            *lock(&link.state) = State::Idle;
            link.changed.send_replace(());
        }
    }
}

/// Between three and five quarters of `pause`, so that nodes do not knock in step.
fn jittered(pause: Duration) -> Duration {
    let random = crate::secret::random_bytes::<1>().map_or(128, |[byte]| byte);
    pause * (192 + u32::from(random) / 2) / 256
}

/// Nothing panics while one of these locks is held, and what they guard is whole at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
