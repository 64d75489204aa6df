//! What all clones of a handle share.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use super::{
    check::name,
    database::{Database, Patience},
    error::ActiveError,
    flight::{Answer, Awaited, Begin, Flights},
    known::Known,
    ops::{self, Filling},
    outbox::Outbox,
    standing::Standing,
    sync::Sync,
    truth::{Found, Registry},
};
use crate::{
    blacklist::Blacklist,
    device::Devices,
    recent::Recent,
    secret::{encode, random_bytes},
    store::Store,
};

pub(super) struct Settings {
    pub(super) cache_ms: u64,
    pub(super) until_expiry: bool,
    pub(super) negative_ms: u64,
    pub(super) outage_ms: u64,
    pub(super) lease_ms: u64,
    pub(super) wait: Duration,
    pub(super) max_concurrent: usize,
    pub(super) queue_wait: Duration,
    pub(super) deadline: Duration,
    pub(super) sync_every: Duration,
    pub(super) touch_ms: u64,
    pub(super) max_unfinished: usize,
    pub(super) lifetime_ms: u64,
}

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) database: Database,
    pub(super) settings: Settings,
    pub(super) flights: Flights,
    pub(super) sync: Sync,
    pub(super) outbox: Outbox,
    pub(super) known: Known,
    pub(super) blacklist: Blacklist,
    pub(super) devices: Devices,
    /// Active sessions that this node need not ask about while its replica is fresh.
    pub(super) local: Recent<16, Kept>,
    pub(super) touched: Recent<16>,
    pub(super) task: Mutex<Option<tokio::task::JoinHandle<()>>>,
    /// What leases of this process hold, and how many there were.
    lease_prefix: String,
    leases: AtomicU64,
}

/// An active session as this node remembers it.
#[derive(Clone, Copy)]
pub(super) struct Kept {
    pub(super) owner: [u8; 16],
    pub(super) auth_ms: u64,
    /// From when to when, by this node's clock.
    pub(super) from_ms: u64,
    pub(super) until_ms: u64,
    /// The era of the replica in which it was asked about.
    pub(super) era: u64,
}

impl Inner {
    pub(super) fn new(
        store: Store,
        registry: Arc<dyn Registry>,
        settings: Settings,
        prefix: [u8; 12],
    ) -> Arc<Self> {
        store.register(&ops::ALL);
        let Settings {
            max_concurrent,
            queue_wait,
            deadline,
            ..
        } = settings;
        Arc::new(Self {
            database: Database::new(registry, max_concurrent, queue_wait, deadline),
            flights: Flights::default(),
            sync: Sync::default(),
            outbox: Outbox::new(settings.max_unfinished),
            known: Known::new(),
            blacklist: Blacklist::new(&store),
            devices: Devices::new(&store),
            local: Recent::new(),
            touched: Recent::new(),
            task: Mutex::default(),
            lease_prefix: encode(prefix),
            leases: AtomicU64::new(0),
            settings,
            store,
        })
    }

    /// What the next lease holds: nobody's lease is ever the same.
    pub(super) fn next_lease(&self) -> String {
        let number = self.leases.fetch_add(1, SeqCst);
        format!("{}.{number}", self.lease_prefix)
    }

    /// How long a revocation of which the store has not heard may go unnoticed by those who ask the store.
    pub(super) fn bound(&self) -> Duration {
        let Settings {
            cache_ms,
            outage_ms,
            until_expiry,
            ..
        } = self.settings;
        match until_expiry {
            true => self.store.longest_credential(),
            false => Duration::from_millis(cache_ms + outage_ms),
        }
    }

    /// How long a generation is kept: longer than anybody may hold a lease.
    pub(super) fn generation_ms(&self) -> u64 {
        self.settings.lease_ms * 10 + 60_000
    }

    pub(super) async fn find(&self, sid: &str, begin: Begin) -> Result<Option<Found>, ActiveError> {
        let (registry, sid) = (self.database.registry(), sid.to_owned());
        let question = async move {
            begin();
            registry.find(&sid).await
        };
        self.database.ask(Patience::Check, question).await
    }

    /// Asks the database on behalf of all nodes, and tells the store what it said.
    pub(super) fn lead(self: &Arc<Self>, sid: &str, lease: &str, generation: String) -> Awaited {
        let (inner, sid, held) = (Arc::clone(self), sid.to_owned(), lease.to_owned());
        self.flights.lead(lease, async move {
            let answer = inner.load(&sid, &held, &generation).await;
            if answer.is_err() {
                // So that nobody waits for an answer that does not come.
                let release = ops::release(&inner.store, &sid, &held);
                let _ = inner.store.run(release).await;
            }
            answer
        })
    }

    async fn load(&self, sid: &str, lease: &str, generation: &str) -> Answer {
        let found = self.find(sid, Box::new(|| ())).await?;
        let standing = Standing::of(found.as_ref());
        let (fresh_ms, kept_ms) = self.times(found.as_ref(), &standing);
        let filling = Filling {
            lease,
            generation,
            standing: &standing,
            fresh_ms,
            kept_ms,
        };
        let fill = ops::fill(&self.store, sid, &filling);
        match self.store.run(fill).await.and_then(|reply| reply.number()) {
            Ok(1) => Ok((standing, fresh_ms)),
            // Revoked meanwhile, or the lease ran out: what was read may be old.
            Ok(_) => {
                let found = self.find(sid, Box::new(|| ())).await?;
                Ok((Standing::of(found.as_ref()), 0))
            }
            // Whoever waits for this saw the lease, and so came before any revocation that is complete.
            Err(_) => Ok((standing, 0)),
        }
    }

    /// Asks the database for this node alone; the store is not told.
    pub(super) async fn direct(self: &Arc<Self>, sid: &str) -> Option<Answer> {
        let awaited = self.flights.direct(sid, |begin| {
            let (inner, sid) = (Arc::clone(self), sid.to_owned());
            async move {
                let found = inner.find(&sid, begin).await?;
                Ok((Standing::of(found.as_ref()), 0))
            }
        });
        awaited.answer().await
    }

    /// Whether the use of a session is to be noted now; of many who ask one is told so.
    pub(super) fn is_touch_due(&self, sid: &str) -> bool {
        let (now, name) = (self.store.clock().now_millis(), name(sid));
        let is_due = !self.touched.is_fresh(&name, now, self.settings.touch_ms);
        if is_due {
            self.touched.note(name, now);
        }
        is_due
    }

    pub(super) async fn touch(&self, sid: String, patience: Patience) -> Result<(), ActiveError> {
        let registry = self.database.registry();
        let question = async move { registry.touch(&sid).await };
        self.database.ask(patience, question).await
    }

    /// For how long a standing is fresh, and for how long the store keeps it.
    fn times(&self, found: Option<&Found>, standing: &Standing) -> (u64, u64) {
        let settings = &self.settings;
        let (Standing::Active(_), Some(found)) = (standing, found) else {
            return (settings.negative_ms, settings.negative_ms);
        };
        let left = found.session.expires_ms.saturating_sub(found.now_ms).max(1);
        if settings.until_expiry {
            return (left, left);
        }
        let random = random_bytes::<1>().map_or(128, |[byte]| byte);
        let fresh = settings.cache_ms - settings.cache_ms * u64::from(random) / (5 * 255);
        let fresh = fresh.min(left);
        (fresh, left.min(fresh + settings.outage_ms))
    }
}
