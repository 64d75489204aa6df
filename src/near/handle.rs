//! The handle, its settings, and what it reports.

use std::{fmt, sync::Arc, sync::atomic::Ordering::SeqCst, time::Duration};

use tokio::{runtime::Handle, task::AbortHandle};

use super::{
    held::{self, Held},
    keeper::keep,
    lease::Phase,
    line::Wire,
    names::Names,
    replica::Replica,
};
use crate::{
    clock::Clock,
    error::ConfigError,
    store::{Store, Upstream},
};

const MAX_STALENESS: Duration = Duration::from_millis(500);
const MAX_ENTRIES: usize = 1_000_000;

/// The replica of a store's revocations and cutoffs in this process; made by [`Store::near`].
///
/// The store keeps it; this is a handle to look at it. It ends with the last clone of the store.
#[derive(Clone)]
pub struct Near(Arc<Inner>);

enum Inner {
    /// The in-memory store: what it holds is as near as can be.
    Memory,
    Replica {
        replica: Arc<Replica>,
        held: Option<Arc<Held>>,
        tasks: Vec<AbortHandle>,
    },
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Self::Replica { tasks, .. } = self {
            tasks.iter().for_each(AbortHandle::abort);
        }
    }
}

/// Settings of a replica; made by [`Store::near`], ended by [`start`](Self::start).
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `start`"]
pub struct NearBuilder {
    store: Store,
    max_staleness: Duration,
    max_entries: usize,
    sessions: usize,
}

/// What the replica is doing, and what it has done since it was started.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NearStatus {
    /// What it is doing.
    pub state: NearState,
    /// Revoked tokens and logins known here, provisional ones included.
    pub entries: usize,
    /// Those of them that the server announced and whose expiry is still being fetched.
    pub provisional: usize,
    /// Cutoffs known here.
    pub cutoffs: usize,
    /// Session records held here ([`NearBuilder::sessions`]).
    pub sessions: usize,
    /// How long ago the replica was last proved to be complete; `None` before the first time.
    pub age: Option<Duration>,
    /// How often the store had to be asked because the replica could not say.
    pub fallbacks: u64,
    /// How many revocations and cutoffs this node wrote again because the server had lost them.
    pub healed: u64,
    /// How many times the connection was made; one more than the times it was lost.
    pub connections: u64,
}

/// What the replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NearState {
    /// It is complete and no older than `max_staleness`: checks cost nothing.
    Fresh,
    /// It is being loaded; revocations are asked for meanwhile.
    Loading,
    /// Its connection is lost, or too old a proof is all there is; revocations are asked for meanwhile.
    Stale,
    /// There are more revocations than `max_entries`: what is not known here is asked for.
    Full,
    /// The server does not announce changes to this user, or not at all: revocations are asked for until it does. It is
    /// tried again every half minute.
    Refused,
}

impl Store {
    /// Keeps a replica of revocations and cutoffs in this process, so that checking them costs no trip; see
    /// [`near`](crate::near).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # let store = portcullis::Store::memory();
    /// let near = store.near().max_staleness(Duration::from_millis(200)).start()?;
    /// assert!(near.ready().await);
    /// # Ok(()) }
    /// ```
    pub fn near(&self) -> NearBuilder {
        NearBuilder {
            store: self.clone(),
            max_staleness: MAX_STALENESS,
            max_entries: MAX_ENTRIES,
            sessions: 0,
        }
    }
}

impl NearBuilder {
    /// How old what this node goes by may be: a revocation acknowledged this long ago is refused here, or this node
    /// knows that it is stale and asks. Default 500 ms; from 20 ms to 60 s. A heartbeat goes out at a quarter of it.
    pub fn max_staleness(mut self, max_staleness: Duration) -> Self {
        self.max_staleness = max_staleness;
        self
    }

    /// How many revocations and cutoffs may be held, at about 100 bytes each. Default 1 000 000. Past it, what is not
    /// known here is asked for; nothing is evicted.
    pub fn max_entries(mut self, max_entries: usize) -> Self {
        self.max_entries = max_entries;
        self
    }

    /// Holds the records of up to this many sessions as well, so that reading one costs no trip either. Default 0: off.
    ///
    /// A second connection has every change of a held record announced. What another node changed, a logout included, is
    /// seen here at most `max_staleness` later, where without this it is seen at once; what this node changes is seen at
    /// once. Uses are recorded as before, so that idle timeouts hold. A read over that connection which takes longer than
    /// 50 ms is asked of the store instead, within its deadline as ever. A record takes its own length and about 100 bytes;
    /// one of more than 16 KiB is not held. Where the server refuses to announce changes nothing is held, and the event
    /// `near.sessions_refused` says so.
    pub fn sessions(mut self, most: usize) -> Self {
        self.sessions = most;
        self
    }

    /// Turns the replica on, for this store, all its clones, and all layers over them, made before or after. Returns
    /// at once; it is usable when it has been loaded, which [`Near::ready`] waits for.
    ///
    /// # Errors
    ///
    /// For a setting that cannot be used, a store that has a replica already, one over a connection that the
    /// application made ([`StoreBuilder::from_redis`](crate::store::StoreBuilder::from_redis)), whose server is not
    /// known, or outside of a tokio runtime.
    pub fn start(self) -> Result<Near, ConfigError> {
        let range = Duration::from_millis(20)..=Duration::from_secs(60);
        if !range.contains(&self.max_staleness) {
            return Err(ConfigError::new(
                "max_staleness",
                "must be between 20 ms and 60 s",
            ));
        }
        if self.max_entries == 0 {
            return Err(ConfigError::new("max_entries", "must be above zero"));
        }
        let inner = match self.store.upstream() {
            Upstream::Memory => Inner::Memory,
            Upstream::Foreign => {
                return Err(ConfigError::new(
                    "near",
                    "needs a connection of its own, and this store was made from one of the application's: use Store::connect",
                ));
            }
            Upstream::Server(client) => self.replica(client)?,
        };
        let near = Near(Arc::new(inner));
        if !self.store.set_companion(near.clone()) {
            return Err(ConfigError::new("near", "is on already for this store"));
        }
        Ok(near)
    }

    fn replica(&self, client: Option<redis::Client>) -> Result<Inner, ConfigError> {
        let runtime = Handle::try_current().map_err(|error| {
            ConfigError::new("near", "must be started within a tokio runtime").caused_by(error)
        })?;
        let names = Names::new(self.store.namespace());
        let clock: Clock = self.store.clock().clone();
        let held = (self.sessions > 0)
            .then(|| Arc::new(Held::new(self.sessions, self.max_staleness, clock.clone())));
        let replica = Replica::new(names, self.max_staleness, self.max_entries, clock);
        let replica = Arc::new(replica);
        let mut tasks = Vec::new();
        if let Some(client) = client {
            if let Some(held) = &held {
                let task = runtime.spawn(held::keep(Arc::clone(held), client.clone()));
                tasks.push(task.abort_handle());
            }
            let task = runtime.spawn(keep(Arc::clone(&replica), Wire(client)));
            tasks.push(task.abort_handle());
        } else {
            crate::trace::event_warn!(
                event = "near.refused",
                "the address of the store asks for a protocol without announcements: revocations are asked for on every request"
            );
            replica.lease.refused();
        }
        Ok(Inner::Replica {
            replica,
            held,
            tasks,
        })
    }
}

impl Near {
    /// The replica of this store, if it has one.
    #[must_use]
    pub fn of(store: &Store) -> Option<Self> {
        store.companion::<Self>().cloned()
    }

    /// Waits until the replica can be used for the first time, for start-up; false as soon as it is clear that the
    /// server refuses to announce changes. While the server is away it waits: give it a timeout if that is too long.
    pub async fn ready(&self) -> bool {
        let Some(replica) = self.replica() else {
            return true;
        };
        let wanted = |phase| matches!(phase, Phase::Usable | Phase::Refused);
        replica.lease.until(wanted).await == Phase::Usable
    }

    /// Whether checks cost nothing right now.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.replica()
            .is_none_or(|replica| replica.view().is_fresh())
    }

    /// What it is doing, for metrics. Takes some microseconds.
    #[must_use]
    pub fn status(&self) -> NearStatus {
        let Some(replica) = self.replica() else {
            return NearStatus {
                state: NearState::Fresh,
                entries: 0,
                provisional: 0,
                cutoffs: 0,
                sessions: 0,
                age: Some(Duration::ZERO),
                fallbacks: 0,
                healed: 0,
                connections: 0,
            };
        };
        let (entries, provisional) = replica.set.count();
        NearStatus {
            state: state(replica),
            entries,
            provisional,
            cutoffs: replica.cutoffs.count().0,
            sessions: self.held().map_or(0, Held::count),
            age: replica.lease.age(),
            fallbacks: replica.counts.fallbacks.load(SeqCst),
            healed: replica.counts.healed.load(SeqCst),
            connections: replica.counts.connections.load(SeqCst),
        }
    }

    /// What this node says of a revoked login by itself, for tests: `None` is a question to the store.
    #[cfg(feature = "test-util")]
    #[doc(hidden)]
    #[must_use]
    pub fn probe(&self, sid: &str) -> Option<bool> {
        let view = self.replica()?.view();
        if view.lists(super::List::Logins, sid.as_bytes()) {
            return Some(true);
        }
        view.is_fresh().then_some(false)
    }

    pub(super) fn held(&self) -> Option<&Held> {
        match &*self.0 {
            Inner::Memory => None,
            Inner::Replica { held, .. } => held.as_deref(),
        }
    }

    pub(super) fn replica(&self) -> Option<&Replica> {
        match &*self.0 {
            Inner::Memory => None,
            Inner::Replica { replica, .. } => Some(replica),
        }
    }
}

fn state(replica: &Replica) -> NearState {
    match replica.lease.phase() {
        _ if replica.view().is_fresh() => NearState::Fresh,
        Phase::Refused => NearState::Refused,
        Phase::Loading => NearState::Loading,
        Phase::Usable if replica.lease.is_fresh() => NearState::Full,
        Phase::Away | Phase::Usable => NearState::Stale,
    }
}

impl fmt::Debug for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Near")
            .field("status", &self.status())
            .finish()
    }
}
