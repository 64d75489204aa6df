//! The registry in the memory of the process: for tests and first steps.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt, future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Created, CutoffScope, Found, Limit, NewSession, Registered, Registry, RegistryError,
    RegistryFuture, Rotated, Which, texts, truth::EVICTED,
};
use crate::clock::{Clock, millis};

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

#[derive(Default)]
struct State {
    sessions: BTreeMap<String, Row>,
    /// The `sid`s of a tenant's user.
    users: HashMap<(String, String), BTreeSet<String>>,
    cutoffs: BTreeMap<CutoffScope, u64>,
    /// The largest `auth_ms` there ever was.
    latest: u64,
}

struct Row {
    session: Registered,
    /// Means something once the session has ended.
    ended_ms: u64,
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
        let (now, mut state) = (self.now(), self.state());
        let mut sids = state.meant(which);
        sids.retain(|sid| state.end(sid, reason, now));
        Ok(sids)
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

    fn cut(&self, scope: &CutoffScope, at_least: u64) -> Result<u64, RegistryError> {
        texts::scope(scope)?;
        texts::moment(at_least)?;
        let (now, mut state) = (self.now(), self.state());
        let old = state.cutoffs.get(scope).copied();
        if old.is_none() {
            has_room(state.cutoffs.len(), self.most)?;
        }
        let at = now
            .max(at_least)
            .max(state.latest)
            .max(old.map_or(0, |at| at + 1));
        state.cutoffs.insert(scope.clone(), at);
        Ok(at)
    }
}

fn begun(new: &NewSession, auth_ms: u64, now: u64) -> Registered {
    Registered {
        sid: new.sid.clone(),
        tenant: new.tenant.clone(),
        user: new.user.clone(),
        auth_ms,
        created_ms: now,
        last_used_ms: now,
        expires_ms: now.saturating_add(texts::lifetime(new.lifetime_ms)),
        ended: None,
        token: new.token.clone(),
        data: new.data.clone(),
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

impl State {
    fn find(&self, sid: &str, now_ms: u64) -> Option<Found> {
        let session = self.sessions.get(sid)?.session.clone();
        let cutoff_ms = self.cutoff(&session.tenant, &session.user);
        Some(Found {
            session,
            now_ms,
            cutoff_ms,
        })
    }

    fn cutoff(&self, tenant: &str, user: &str) -> Option<u64> {
        let (tenant, user) = (tenant.to_owned(), user.to_owned());
        let scopes = [
            CutoffScope::Everyone,
            CutoffScope::Tenant(tenant.clone()),
            CutoffScope::User { tenant, user },
        ];
        let at = scopes.iter().filter_map(|scope| self.cutoffs.get(scope));
        at.copied().max()
    }

    /// The first call's answer: its evicted ended in the same millisecond in which it began.
    fn created_before(
        &self,
        session: &Registered,
        new: &NewSession,
    ) -> Result<Created, RegistryError> {
        let told = (&session.tenant, &session.user, &session.token);
        if told != (&new.tenant, &new.user, &new.token) {
            return Err(texts::refused("there is another session of this sid"));
        }
        let for_it = |row: &&Row| {
            row.session.ended.as_deref() == Some(EVICTED) && row.ended_ms == session.created_ms
        };
        let rows = self.rows(&new.tenant, &new.user).filter(for_it);
        Ok(Created::Active {
            auth_ms: session.auth_ms,
            created_ms: session.created_ms,
            evicted: rows.map(|row| row.session.sid.clone()).collect(),
        })
    }

    /// Who ends to make room; `None` when the new session has none.
    fn to_evict(&self, new: &NewSession, now: u64) -> Option<Vec<String>> {
        let Some(limit) = new.limit else {
            return Some(Vec::new());
        };
        let active = self.active(&new.tenant, &new.user, now);
        let active = active.into_iter().map(|session| session.sid).collect();
        over(limit, active)
    }

    fn rows(&self, tenant: &str, user: &str) -> impl Iterator<Item = &Row> {
        let sids = self.users.get(&(tenant.to_owned(), user.to_owned()));
        let sids = sids.into_iter().flatten();
        sids.filter_map(|sid| self.sessions.get(sid))
    }

    fn active(&self, tenant: &str, user: &str, now: u64) -> Vec<Registered> {
        let found = self
            .rows(tenant, user)
            .filter_map(|row| self.find(&row.session.sid, now));
        let mut active: Vec<_> = found
            .filter(Found::is_active)
            .map(|found| found.session)
            .collect();
        active.sort_by(|a, b| (a.created_ms, &a.sid).cmp(&(b.created_ms, &b.sid)));
        active
    }

    fn insert(&mut self, session: Registered) {
        self.latest = self.latest.max(session.auth_ms);
        let user = (session.tenant.clone(), session.user.clone());
        let sids = self.users.entry(user).or_default();
        sids.insert(session.sid.clone());
        let row = Row {
            ended_ms: 0,
            session,
        };
        self.sessions.insert(row.session.sid.clone(), row);
    }

    /// Whether it had not ended before.
    fn end(&mut self, sid: &str, reason: &str, now: u64) -> bool {
        let row = self.sessions.get_mut(sid);
        let Some(row) = row.filter(|row| row.session.ended.is_none()) else {
            return false;
        };
        row.session.ended = Some(reason.to_owned());
        row.ended_ms = now;
        true
    }

    fn meant(&self, which: &Which) -> Vec<String> {
        let of = |tenant, user| self.rows(tenant, user).map(|row| row.session.sid.clone());
        match which {
            Which::Sid(sid) => vec![sid.clone()],
            Which::One { tenant, user, sid } => of(tenant, user).filter(|it| it == sid).collect(),
            Which::Others { tenant, user, keep } => {
                of(tenant, user).filter(|it| it != keep).collect()
            }
            Which::All { tenant, user } => of(tenant, user).collect(),
        }
    }

    fn sweep(&mut self, before: u64) -> usize {
        let held = self.sessions.len();
        let (sessions, users) = (&mut self.sessions, &mut self.users);
        sessions.retain(|sid, Row { session, ended_ms }| {
            let ended = session.ended.is_some() && *ended_ms < before;
            let gone = ended || session.expires_ms < before;
            let user = (session.tenant.clone(), session.user.clone());
            if gone && let Some(sids) = users.get_mut(&user) {
                sids.remove(sid);
                if sids.is_empty() {
                    users.remove(&user);
                }
            }
            !gone
        });
        held - self.sessions.len()
    }
}

/// Of the active ones, oldest first, those that end so that one more is within the limit; `None` when none is to end.
pub(super) fn over(limit: Limit, mut active: Vec<String>) -> Option<Vec<String>> {
    let most = usize::try_from(limit.most).unwrap_or(usize::MAX);
    let surplus = (active.len() + 1).saturating_sub(most);
    if surplus > 0 && (!limit.evict || most == 0) {
        return None;
    }
    active.truncate(surplus);
    Some(active)
}

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

    fn put_cutoff<'a>(&'a self, scope: &'a CutoffScope, at_least: u64) -> RegistryFuture<'a, u64> {
        ready(self.cut(scope, at_least))
    }

    fn cutoffs_since(&self, since: u64) -> RegistryFuture<'_, Vec<(CutoffScope, u64)>> {
        let state = self.state();
        let since = state.cutoffs.iter().filter(|(_, at)| **at >= since);
        ready(Ok(since.map(|(scope, at)| (scope.clone(), *at)).collect()))
    }

    fn ended_since(&self, since: u64) -> RegistryFuture<'_, Vec<String>> {
        let state = self.state();
        let ended = |row: &&Row| row.session.ended.is_some() && row.ended_ms >= since;
        let rows = state.sessions.values().filter(ended);
        ready(Ok(rows.map(|row| row.session.sid.clone()).collect()))
    }
}
