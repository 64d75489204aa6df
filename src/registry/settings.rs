//! Settings, checked when the handle is built.

use std::{fmt, ops::RangeInclusive, sync::Arc, time::Duration};

use super::{
    handle::ActiveSessions,
    inner::{Inner, Settings},
    truth::Registry,
};
use crate::{clock::millis, error::ConfigError, store::Store};

const NONE: Duration = Duration::ZERO;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const LONGEST_CACHE: Duration = Duration::from_secs(5 * 60);

/// Settings of [`ActiveSessions`]; made by [`ActiveSessions::builder`], ended by [`build`](Self::build).
#[derive(Clone)]
#[must_use]
pub struct ActiveSessionsBuilder {
    store: Store,
    registry: Arc<dyn Registry>,
    cache_time: Duration,
    until_expiry: bool,
    negative_cache_time: Duration,
    database_outage: Duration,
    lease_time: Duration,
    wait_for_others: Duration,
    max_concurrent: usize,
    queue_wait: Duration,
    database_deadline: Duration,
    sync_every: Duration,
    touch_every: Duration,
    max_unfinished: usize,
    lifetime: Duration,
}

impl ActiveSessionsBuilder {
    pub(super) fn new(store: &Store, registry: Arc<dyn Registry>) -> Self {
        Self {
            store: store.clone(),
            registry,
            cache_time: Duration::from_secs(60),
            until_expiry: false,
            negative_cache_time: Duration::from_secs(5),
            database_outage: Duration::from_secs(60),
            lease_time: Duration::from_secs(5),
            wait_for_others: Duration::from_secs(1),
            max_concurrent: 16,
            queue_wait: Duration::from_millis(500),
            database_deadline: Duration::from_secs(2),
            sync_every: Duration::from_secs(30),
            touch_every: Duration::from_secs(60),
            max_unfinished: 10_000,
            lifetime: (14 * DAY).min(store.longest_credential()),
        }
    }

    /// How long the store and this node go by what the database said. Default 60 s, from 1 s to 5 minutes; a random part of
    /// up to a fifth is taken off, so that not all end at once.
    ///
    /// It is the longest that a revocation of which the store did not hear can go unnoticed; see
    /// [`Revocation::Pending`](super::Revocation::Pending).
    pub fn cache_time(mut self, time: Duration) -> Self {
        self.cache_time = time;
        self.until_expiry = false;
        self
    }

    /// Goes by what the database said until the session expires, which may be as long as a refresh token lives: the database
    /// is asked once per session and not every minute.
    ///
    /// The difference: a revocation of which the store did not hear, or a session that somebody ends in the database by hand,
    /// goes unnoticed until [`sync_every`](Self::sync_every) brings it, and if no node does that, for as long as the session
    /// lasts.
    pub fn insecure_cache_until_expiry(mut self) -> Self {
        self.until_expiry = true;
        self
    }

    /// How long the store goes by it that there is no such session. Default 5 s, from 100 ms to a minute.
    pub fn negative_cache_time(mut self, time: Duration) -> Self {
        self.negative_cache_time = time;
        self
    }

    /// How much longer than [`cache_time`](Self::cache_time) sessions that the store knows go on while the database cannot
    /// say. Default 60 s, at most a day; zero: not at all. Nothing can be revoked meanwhile, since a revocation begins in the
    /// database.
    pub fn database_outage(mut self, time: Duration) -> Self {
        self.database_outage = time;
        self
    }

    /// How long other nodes leave it to one to ask about a session. Default 5 s; longer than
    /// [`database_deadline`](Self::database_deadline), at most a minute.
    pub fn lease_time(mut self, time: Duration) -> Self {
        self.lease_time = time;
        self
    }

    /// How long a request waits for what another asks about the same session, before it asks by itself. Default 1 s, at most
    /// a minute.
    pub fn wait_for_others(mut self, time: Duration) -> Self {
        self.wait_for_others = time;
        self
    }

    /// How many questions to the database this node has under way at once. Default 16; no more than its connections.
    pub fn max_concurrent(mut self, most: usize) -> Self {
        self.max_concurrent = most;
        self
    }

    /// How long a request waits for its turn at the database. Default 500 ms, at most a minute. Past it, it is answered as in
    /// an outage: 503, and when to try again.
    pub fn queue_wait(mut self, time: Duration) -> Self {
        self.queue_wait = time;
        self
    }

    /// How long the database may take to answer. Default 2 s, from 10 ms to a minute. After five failures in a row the
    /// database is left alone for half a second.
    pub fn database_deadline(mut self, time: Duration) -> Self {
        self.database_deadline = time;
        self
    }

    /// How often one of the nodes tells the store what was ended in the database without it: by other programs, or by a node
    /// that did not come to it. Default 30 s, from 1 s to an hour.
    pub fn sync_every(mut self, time: Duration) -> Self {
        self.sync_every = time;
        self
    }

    /// How seldom the use of one session is noted in the database. Default 60 s.
    pub fn touch_every(mut self, time: Duration) -> Self {
        self.touch_every = time;
        self
    }

    /// How many revocations of which the store has not heard yet this node remembers. Default 10 000. Past it, the node asks
    /// the database about every session until the store has heard of all.
    pub fn max_unfinished(mut self, most: usize) -> Self {
        self.max_unfinished = most;
        self
    }

    /// How long a session is good without use, unless the login says. Default 14 days; at most the store's
    /// [`longest_credential`](crate::store::StoreBuilder::longest_credential).
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Checks the settings and makes the handle. Nothing is asked yet; see [`ActiveSessions::ready`].
    ///
    /// # Errors
    ///
    /// For a setting that is out of its range, or an operating system without random numbers.
    pub fn build(self) -> Result<ActiveSessions, ConfigError> {
        self.check()?;
        let prefix = crate::secret::random_bytes::<12>().map_err(|error| {
            ConfigError::new("registry", "the operating system has no random numbers")
                .caused_by(error)
        })?;
        let settings = Settings {
            cache_ms: millis(self.cache_time),
            until_expiry: self.until_expiry,
            negative_ms: millis(self.negative_cache_time),
            outage_ms: millis(self.database_outage),
            lease_ms: millis(self.lease_time),
            wait: self.wait_for_others,
            max_concurrent: self.max_concurrent,
            queue_wait: self.queue_wait,
            deadline: self.database_deadline,
            sync_every: self.sync_every,
            touch_ms: millis(self.touch_every),
            max_unfinished: self.max_unfinished,
            lifetime_ms: millis(self.lifetime),
        };
        let inner = Inner::new(self.store, self.registry, settings, prefix);
        Ok(ActiveSessions::of(inner))
    }

    fn check(&self) -> Result<(), ConfigError> {
        range(
            "cache_time",
            self.cache_time,
            SECOND..=LONGEST_CACHE,
            "must be from 1 s to 5 minutes; for longer there is insecure_cache_until_expiry",
        )?;
        range(
            "negative_cache_time",
            self.negative_cache_time,
            SECOND / 10..=MINUTE,
            "must be from 100 ms to a minute",
        )?;
        range(
            "database_outage",
            self.database_outage,
            NONE..=DAY,
            "must be at most a day",
        )?;
        range(
            "wait_for_others",
            self.wait_for_others,
            NONE..=MINUTE,
            "must be at most a minute",
        )?;
        range(
            "queue_wait",
            self.queue_wait,
            NONE..=MINUTE,
            "must be at most a minute",
        )?;
        self.check_database()
    }

    fn check_database(&self) -> Result<(), ConfigError> {
        let (longest, deadline) = (self.store.longest_credential(), self.database_deadline);
        range(
            "database_deadline",
            deadline,
            SECOND / 100..=MINUTE,
            "must be from 10 ms to a minute",
        )?;
        range(
            "lease_time",
            self.lease_time,
            deadline + SECOND / 1_000..=MINUTE,
            "must be longer than database_deadline and at most a minute",
        )?;
        range(
            "sync_every",
            self.sync_every,
            SECOND..=60 * MINUTE,
            "must be from 1 s to an hour",
        )?;
        range(
            "lifetime",
            self.lifetime,
            SECOND..=longest,
            "must be at least 1 s and at most the store's longest_credential, or no cutoff could end the session",
        )?;
        if self.max_concurrent == 0 || self.max_concurrent > 10_000 {
            let message = "must be from 1 to 10000";
            return Err(ConfigError::new("max_concurrent", message));
        }
        if self.max_unfinished == 0 {
            return Err(ConfigError::new("max_unfinished", "must be above zero"));
        }
        Ok(())
    }
}

fn range(
    field: &'static str,
    value: Duration,
    range: RangeInclusive<Duration>,
    message: &'static str,
) -> Result<(), ConfigError> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(ConfigError::new(field, message)),
    }
}

impl fmt::Debug for ActiveSessionsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveSessionsBuilder")
            .finish_non_exhaustive()
    }
}
