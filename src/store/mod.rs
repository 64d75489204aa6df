//! The shared handle: one [`Store`] for all layers.
//!
//! 1. Every call has a deadline of the store's own (250 ms unless set). It covers connecting, queueing and waiting.
//! 2. While the server is away calls fail at once; one task looks for it, and everything works again without a restart.
//! 3. An outage is a [`StoreError`] with a kind: *unknown*, never *no*.
//! 4. [`Store::memory`] needs no server. It expires and is bounded, lives and dies with the process, and no other
//!    process sees it: for first steps, tests and single-node use.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), portcullis::StoreError> {
//! use portcullis::Store;
//!
//! let store = match std::env::var("REDIS_URL") {
//!     Ok(url) => Store::connect(&url).await?,
//!     Err(_) => Store::memory(),
//! };
//! assert!(store.check().await?.iter().all(|finding| !finding.is_fatal()));
//! # Ok(()) }
//! ```

mod attempts;
mod builder;
mod check;
mod error;
mod external;
mod few;
mod flight;
mod gather;
#[cfg(any(test, feature = "test-util"))]
mod inspect;
mod key;
mod link;
mod memory;
pub(crate) mod operation;
mod redis;
mod ride;
#[cfg(test)]
mod shadow;
#[cfg(feature = "tls")]
mod tls;

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

pub use builder::StoreBuilder;
pub use check::{Finding, FindingKind};
pub use error::{StoreError, StoreErrorKind};
pub(crate) use few::Few;
pub(crate) use key::{Key, Namespace, Tag};
pub(crate) use memory::{Memory, exists, get};
pub(crate) use operation::{Arg, Call, Fault, Operation, Value, corrupt};
pub(crate) use redis::{Replies, Reply, error_of};
pub(crate) use ride::Rider;
#[cfg(test)]
pub(crate) use shadow::{Shadows, time_is};

#[cfg(any(test, feature = "test-util"))]
pub(crate) use inspect::{Content, Entry};
#[cfg(test)]
pub(crate) use key::slot;

use crate::clock::Clock;

/// One cheap-to-clone handle on the store that all layers share.
///
/// Make one per process and hand clones to the layers: they then use one connection, over which the commands of
/// concurrent requests travel together: under load they are gathered into few writes. At most 4096 calls wait for that;
/// more are refused at once as [`StoreErrorKind::Unavailable`], and nothing of them is sent.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    backend: Backend,
    namespace: Namespace,
    deadline: Duration,
    longest_credential: Duration,
    access_token_life: Duration,
    clock: Clock,
    /// What a room above keeps beside the store; it knows the type, and its `Drop` ends what it started.
    companion: OnceLock<Box<dyn Any + Send + Sync>>,
    /// Who travels along in trips of this store.
    find_rider: OnceLock<ride::FindRider>,
    #[cfg(any(test, feature = "test-util"))]
    pause: Mutex<Option<PausePoint>>,
}

/// Where another connection to the same store could go. Made once per replica, so its size does not matter.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Upstream {
    /// Nowhere: all there is lies in this process.
    Memory,
    /// To the server, in the protocol that has announcements; `None` if the address rules that out.
    Server(Option<::redis::Client>),
    /// Only the maker of the store's connection knows.
    Foreign,
}

/// Where the calls go. Cluster and Sentinel have their place here beside the single server.
enum Backend {
    /// A server we connect to and supervise ourselves.
    Link(link::Link),
    /// A connection that somebody else made and keeps up.
    External(external::External),
    Memory(Mutex<Memory>),
}

/// Called by name before an operation is sent; what it returns is awaited first.
#[cfg(any(test, feature = "test-util"))]
type PausePoint =
    Arc<dyn Fn(&'static str) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl Store {
    /// Settings first: prefix, deadline, TLS, limits.
    pub fn builder() -> StoreBuilder {
        StoreBuilder::new()
    }

    /// Connects to a Redis server and waits until it has answered.
    ///
    /// The address is `redis://[user:password@]host[:port][/db]`, `rediss://…` for TLS (feature `tls`), or
    /// `redis+unix:///path`.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Config`] for an address that cannot be used, otherwise what kept the server from answering.
    /// For a service that should start while Redis is away, see [`Store::connect_lazy`].
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::builder().connect(url).await
    }

    /// Connects to a Redis server when the first call is made, so that a service starts while Redis is away.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Config`] for an address that cannot be used.
    pub fn connect_lazy(url: &str) -> Result<Self, StoreError> {
        Self::builder().connect_lazy(url)
    }

    /// The in-process store: no server, nothing shared, gone with the process.
    #[must_use]
    pub fn memory() -> Self {
        Self::builder().memory()
    }

    /// Calls `pause` with the name of every operation before it is sent and waits for what it returns, outside the
    /// deadline: the way tests force interleavings.
    #[cfg(any(test, feature = "test-util"))]
    pub fn pause_before<F, P>(&self, pause: P)
    where
        P: Fn(&'static str) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        *lock(&self.0.pause) = Some(Arc::new(move |name| Box::pin(pause(name))));
    }

    /// Tells the store which scripts it will be asked to run, so that new connections load them.
    pub(crate) fn register(&self, operations: &[&'static Operation]) {
        if let Backend::Link(link) = &self.0.backend {
            link.register(operations);
        }
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    pub(crate) fn longest_credential(&self) -> Duration {
        self.0.longest_credential
    }

    /// The longest life of an access token that names a login.
    #[cfg(feature = "blacklist")]
    pub(crate) fn longest_access_token(&self) -> Duration {
        self.0.access_token_life
    }

    /// How long a login's access tokens are denied after it ended, leeway included; zero if there are none.
    pub(crate) fn access_token_life(&self) -> Duration {
        // An issuer's clock may be the longest leeway ahead of the store's, and a verifier's as much behind the issuer's.
        const LEEWAY: Duration = Duration::from_secs(121);
        match self.0.access_token_life {
            Duration::ZERO => Duration::ZERO,
            life => life + LEEWAY,
        }
    }

    /// The node's own time. Inside operations the store's time counts, not this.
    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Whether two handles lead to the same store, so that their calls can travel together.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn upstream(&self) -> Upstream {
        match &self.0.backend {
            Backend::Link(link) => Upstream::Server(link.announcing_client()),
            Backend::External(_) => Upstream::Foreign,
            Backend::Memory(_) => Upstream::Memory,
        }
    }

    /// Names the connection of now; another number says that the server may be another, or hold less. `None` without a
    /// connection. One that somebody else keeps up always looks the same.
    #[cfg(feature = "registry")]
    pub(crate) fn connection(&self) -> Option<u64> {
        match &self.0.backend {
            Backend::Link(link) => link.number(),
            Backend::External(_) | Backend::Memory(_) => Some(0),
        }
    }

    /// What was left beside the store, if it is of this type.
    pub(crate) fn companion<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.0.companion.get()?.downcast_ref()
    }

    /// Leaves something beside the store, once; false if something is there already.
    pub(crate) fn set_companion(&self, companion: impl Any + Send + Sync) -> bool {
        self.0.companion.set(Box::new(companion)).is_ok()
    }

    /// One call, one trip.
    pub(crate) async fn run(&self, call: Call) -> Result<Value, StoreError> {
        let replies = self.trip(std::slice::from_ref(&call)).await?;
        replies.into_last().unwrap_or_else(|| Err(corrupt()))
    }

    /// One call that knows its own repetition: if the reply is lost it is sent once more, and so takes up to two deadlines.
    #[cfg(any(feature = "session", feature = "refresh"))]
    pub(crate) async fn run_twice(&self, call: Call) -> Result<Value, StoreError> {
        match self.run(call.clone()).await {
            Err(error)
                if matches!(
                    error.kind(),
                    StoreErrorKind::Unavailable | StoreErrorKind::Timeout
                ) =>
            {
                self.run(call).await
            }
            outcome => outcome,
        }
    }

    /// Several calls in one trip. They are not atomic together; each one is.
    ///
    /// The outer error means that none of them is known to have been carried out.
    pub(crate) async fn trip(&self, calls: &[Call]) -> Result<Replies, StoreError> {
        let Some(first) = calls.first() else {
            return Ok(Vec::new().into());
        };
        let name = first.operation.name();
        #[cfg(any(test, feature = "test-util"))]
        self.pause(calls).await;
        let outcome = match &self.0.backend {
            Backend::Memory(memory) => Ok(self.on_memory(memory, calls)),
            Backend::Link(link) => {
                // In a box: handlers and layers carry this future in theirs. What is above a kilobyte is slow to allocate.
                let run = Box::pin(link.run(calls));
                let outcome = tokio::time::timeout(self.0.deadline, run).await;
                outcome.unwrap_or_else(|_| {
                    link.timed_out();
                    Err(StoreError::new(StoreErrorKind::Timeout))
                })
            }
            Backend::External(external) => {
                // In a box, for handlers and layers carry this future in theirs.
                Box::pin(external.run(calls, self.0.deadline)).await
            }
        };
        if let Ok(replies) = &outcome {
            report_corrupt(calls, replies);
        }
        outcome.map_err(|error| {
            crate::trace::event_warn!(event = "store.failed", operation = name, kind = ?error.kind(), "{error}");
            error.during(name)
        })
    }

    fn on_memory(&self, memory: &Mutex<Memory>, calls: &[Call]) -> Replies {
        let mut memory = lock(memory);
        let now = self.0.clock.now_millis();
        memory.advance_to(now);
        calls
            .iter()
            .map(|call| call.operation.on_memory(&mut memory, now, call))
            .collect()
    }

    #[cfg(any(test, feature = "test-util"))]
    async fn pause(&self, calls: &[Call]) {
        let pause = lock(&self.0.pause).clone();
        if let Some(pause) = pause {
            for call in calls {
                pause(call.operation.name()).await;
            }
        }
    }
}

/// Destructured, so that a new field has to be looked at; an address may hold a password.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0.backend {
            Backend::Link(_) => "redis",
            Backend::External(_) => "redis (external connection)",
            Backend::Memory(_) => "memory",
        };
        f.debug_struct("Store")
            .field("backend", &kind)
            .field("namespace", &self.0.namespace)
            .field("deadline", &self.0.deadline)
            .finish_non_exhaustive()
    }
}

/// What nobody of us wrote is somebody's mistake that only a person can mend.
fn report_corrupt(calls: &[Call], replies: &Replies) {
    let is_corrupt = |error: &StoreError| error.kind() == StoreErrorKind::Corrupt;
    for (call, reply) in calls.iter().zip(replies) {
        if let Some(error) = reply.as_ref().err().filter(|error| is_corrupt(error)) {
            let operation = call.operation.name();
            crate::trace::event_error!(event = "store.corrupt", operation, kind = ?error.kind(), "{error}");
        }
    }
}

/// Nothing panics while the memory is locked, so what it guards is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
