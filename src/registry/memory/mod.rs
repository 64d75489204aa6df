//! The registry in the memory of the process: for tests and first steps.

mod state;

use std::{
    fmt, future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Created, CutoffScope, Found, NewSession, Registered, Registry, RegistryError, RegistryFuture,
    Rotated, Which, texts, truth::EVICTED,
};
use crate::clock::{Clock, millis};
use state::{Row, State, begun};

/// As many sessions, and as many cutoffs.
const MOST: usize = 100_000;
/// What ended so long ago is not asked for again, and goes when room is needed.
const FORGETTABLE_MS: u64 = 3_600_000;

/// A registry in the memory of this process, for tests and first steps: it ends with the process, so it is no truth that
/// survives anything. Clones are handles to the same sessions.
///
/// It holds at most 100 000 sessions and as many cutoffs. When it is full, sessions that ended or expired more than an hour
/// ago make room; without any, what would need room is refused as [`Unavailable`](super::RegistryErrorKind::Unavailable).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), portcullis::registry::RegistryError> {
/// use portcullis::registry::{MemoryRegistry, NewSession, Registry, Which};
///
/// let registry = MemoryRegistry::new();
/// let login = NewSession { sid: "s1".into(), user: "alice".into(), lifetime_ms: 60_000, ..NewSession::default() };
/// registry.create(&login).await?;
/// assert!(registry.find("s1").await?.is_some_and(|found| found.is_active()));
///
/// assert_eq!(registry.revoke(&Which::Sid("s1".into()), "logout").await?, ["s1"]);
/// assert!(registry.find("s1").await?.is_some_and(|found| !found.is_active()));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MemoryRegistry {
    state: Arc<Mutex<State>>,
    clock: Clock,
    most: usize,
}

impl MemoryRegistry {
    /// An empty one, by the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Arc::default(),
            clock: Clock::system(),
            most: MOST,
        }
    }

    /// By this clock instead of the system's. Of use before the first session.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// How many sessions, and how many cutoffs, it may hold instead of 100 000.
    #[must_use]
    pub const fn capacity(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// Forgets sessions that ended or expired longer ago than `older_than`; returns how many.
    ///
    /// A session that is forgotten could be created once more: `older_than` is longer than anybody tries a login again.
    #[must_use = "it says how many went"]
    pub fn sweep(&self, older_than: Duration) -> usize {
        let before = self.now().saturating_sub(millis(older_than));
        self.state().sweep(before)
    }

    fn now(&self) -> u64 {
        self.clock.now_millis()
    }

    /// Nothing is left half done at a panic: every change is checked before it is made.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn created(&self, new: &NewSession) -> Result<Created, RegistryError> {
        texts::session(new)?;
        let (now, mut state) = (self.now(), self.state());
        if let Some(row) = state.sessions.get(&new.sid) {
            return state.created_before(&row.session, new);
        }
        let cutoff = state.cutoff(&new.tenant, &new.user);
        if cutoff
            .zip(new.not_before_ms)
            .is_some_and(|(at, begun)| at >= begun)
        {
            return Ok(Created::Cut);
        }
        let Some(evicted) = state.to_evict(new, now) else {
            return Ok(Created::Full);
        };
        if state.sessions.len() >= self.most {
            state.sweep(now.saturating_sub(FORGETTABLE_MS));
            has_room(state.sessions.len(), self.most)?;
        }
        for sid in &evicted {
            state.end(sid, EVICTED, now);
        }
        let auth_ms = now
            .max(cutoff.map_or(0, |at| at + 1))
            .max(new.auth_at_least_ms);
        state.insert(begun(new, auth_ms, now));
        Ok(Created::Active {
            auth_ms,
            created_ms: now,
            evicted,
        })
    }

    fn revoked(&self, which: &Which, reason: &str) -> Result<Vec<String>, RegistryError> {
        texts::which(which)?;
        texts::name(reason)?;
        Ok(self.state().revoke(which, reason, self.now()))
    }

    fn touched(&self, sid: &str) -> Result<(), RegistryError> {
        texts::name(sid)?;
        let (now, mut state) = (self.now(), self.state());
        if let Some(Row { session, .. }) = state.sessions.get_mut(sid)
            && session.ended.is_none()
        {
            session.last_used_ms = session.last_used_ms.max(now);
        }
        Ok(())
    }

    fn rotated(&self, sid: &str, expected: &str, next: &Rotated) -> Result<bool, RegistryError> {
        texts::rotated(sid, expected, next)?;
        let (now, mut state) = (self.now(), self.state());
        let found = state.find(sid, now);
        let good = found.is_some_and(|found| found.is_active() && found.session.token == expected);
        if good && let Some(Row { session, .. }) = state.sessions.get_mut(sid) {
            session.token.clone_from(&next.token);
            session.data.clone_from(&next.data);
            session.expires_ms = now.saturating_add(texts::lifetime(next.lifetime_ms));
            session.last_used_ms = session.last_used_ms.max(now);
        }
        Ok(good)
    }

    fn cut(&self, scope: &CutoffScope, moment: Option<u64>) -> Result<u64, RegistryError> {
        texts::scope(scope)?;
        texts::moment(moment.unwrap_or(0))?;
        let (now, mut state) = (self.now(), self.state());
        let old = state.cutoffs.get(scope).copied();
        if old.is_none() {
            has_room(state.cutoffs.len(), self.most)?;
        }
        let raised = || now.max(state.auth_start()).max(state.latest);
        let at = moment.map_or_else(raised, |moment| moment.max(old.unwrap_or(0)));
        state.cutoffs.insert(scope.clone(), at);
        Ok(at)
    }
}

fn has_room(held: usize, most: usize) -> Result<(), RegistryError> {
    if held < most {
        return Ok(());
    }
    Err(RegistryError::unavailable(Full))
}

#[derive(Debug)]
struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the registry in memory has reached its capacity")
    }
}

impl std::error::Error for Full {}

impl Default for MemoryRegistry {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts only: whoever prints this does not print who is signed in.
impl fmt::Debug for MemoryRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("MemoryRegistry")
            .field("sessions", &state.sessions.len())
            .field("cutoffs", &state.cutoffs.len())
            .finish_non_exhaustive()
    }
}

fn ready<'a, T: Send + 'a>(answer: Result<T, RegistryError>) -> RegistryFuture<'a, T> {
    Box::pin(future::ready(answer))
}

impl Registry for MemoryRegistry {
    fn find<'a>(&'a self, sid: &'a str) -> RegistryFuture<'a, Option<Found>> {
        let find = || self.state().find(sid, self.now());
        ready(texts::name(sid).map(|()| find()))
    }

    fn create<'a>(&'a self, session: &'a NewSession) -> RegistryFuture<'a, Created> {
        ready(self.created(session))
    }

    fn list<'a>(&'a self, tenant: &'a str, user: &'a str) -> RegistryFuture<'a, Vec<Registered>> {
        let list = || self.state().active(tenant, user, self.now());
        let good = texts::name(tenant).and_then(|()| texts::name(user));
        ready(good.map(|()| list()))
    }

    fn revoke<'a>(&'a self, which: &'a Which, reason: &'a str) -> RegistryFuture<'a, Vec<String>> {
        ready(self.revoked(which, reason))
    }

    fn touch<'a>(&'a self, sid: &'a str) -> RegistryFuture<'a, ()> {
        ready(self.touched(sid))
    }

    fn rotate<'a>(
        &'a self,
        sid: &'a str,
        expected: &'a str,
        next: &'a Rotated,
    ) -> RegistryFuture<'a, bool> {
        ready(self.rotated(sid, expected, next))
    }

    fn auth_start(&self) -> RegistryFuture<'_, u64> {
        ready(Ok(self.state().auth_start()))
    }

    fn put_cutoff<'a>(
        &'a self,
        scope: &'a CutoffScope,
        moment: Option<u64>,
    ) -> RegistryFuture<'a, u64> {
        ready(self.cut(scope, moment))
    }

    fn recent_cutoffs(&self, age_ms: u64) -> RegistryFuture<'_, Vec<(CutoffScope, u64)>> {
        let (since, state) = (self.now().saturating_sub(age_ms), self.state());
        let since = state.cutoffs.iter().filter(|(_, at)| **at >= since);
        ready(Ok(since.map(|(scope, at)| (scope.clone(), *at)).collect()))
    }

    fn recently_ended(&self, age_ms: u64) -> RegistryFuture<'_, Vec<String>> {
        let (since, state) = (self.now().saturating_sub(age_ms), self.state());
        let ended = |row: &&Row| row.session.ended.is_some() && row.ended_ms >= since;
        let rows = state.sessions.values().filter(ended);
        ready(Ok(rows.map(|row| row.session.sid.clone()).collect()))
    }
}
