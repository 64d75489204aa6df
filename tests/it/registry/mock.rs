//! A database in this process that counts, stops where it is told to, and fails on demand.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use portcullis::{
    Clock,
    registry::{
        Created, CutoffScope, Found, NewSession, Registered, Registry, RegistryError,
        RegistryFuture, Rotated, Which,
    },
};
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub struct Mock {
    clock: Clock,
    state: Mutex<State>,
    /// Calls of `find`, and of everything.
    pub finds: AtomicUsize,
    pub calls: AtomicUsize,
    /// How many are under way, and the most there ever were.
    open: AtomicUsize,
    pub most_open: AtomicUsize,
    pub down: AtomicBool,
    /// The next revocation is written, and its answer lost.
    pub loses_answer: AtomicBool,
    pub slow: Mutex<Duration>,
    stop: Mutex<Option<(Point, Arc<Stop>)>>,
}

#[derive(Debug, Default)]
struct State {
    sessions: BTreeMap<String, (Registered, u64)>,
    cutoffs: BTreeMap<CutoffScope, u64>,
}

/// Where a reader can be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    BeforeFind,
    /// It has read, and nobody knows yet.
    AfterFind,
}

#[derive(Debug, Default)]
pub struct Stop {
    caught: AtomicBool,
    reached: Notify,
    resume: Notify,
}

impl Stop {
    pub async fn reached(&self) {
        crate::means::wait::within("the reader", self.reached.notified()).await;
    }

    pub fn resume(&self) {
        self.resume.notify_one();
    }
}

impl Mock {
    pub fn new(clock: &Clock) -> Arc<Self> {
        Arc::new(Self {
            clock: clock.clone(),
            ..Self::default()
        })
    }

    /// Stops the next reader there.
    pub fn stop_at(&self, point: Point) -> Arc<Stop> {
        let stop = Arc::new(Stop::default());
        *self.stop.lock().unwrap() = Some((point, Arc::clone(&stop)));
        stop
    }

    pub fn finds(&self) -> usize {
        self.finds.load(SeqCst)
    }

    /// As an administrator does it, with a statement of their own.
    pub fn end_by_hand(&self, sid: &str) {
        let now = self.clock.now_millis();
        let mut state = self.state.lock().unwrap();
        let (session, ended) = state.sessions.get_mut(sid).expect("a session");
        session.ended = Some("by hand".to_owned());
        *ended = now;
    }

    pub fn cutoff(&self, scope: &CutoffScope) -> Option<u64> {
        self.state.lock().unwrap().cutoffs.get(scope).copied()
    }

    pub fn session(&self, sid: &str) -> Registered {
        self.state.lock().unwrap().sessions[sid].0.clone()
    }

    async fn at(&self, point: Point) {
        let stop = self.stop.lock().unwrap().clone();
        if let Some((at, stop)) = stop
            && at == point
            && !stop.caught.swap(true, SeqCst)
        {
            stop.reached.notify_one();
            stop.resume.notified().await;
        }
    }

    async fn enter(&self) -> Result<Inside<'_>, RegistryError> {
        self.calls.fetch_add(1, SeqCst);
        let open = self.open.fetch_add(1, SeqCst) + 1;
        self.most_open.fetch_max(open, SeqCst);
        let inside = Inside(self);
        let slow = *self.slow.lock().unwrap();
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        if self.down.load(SeqCst) {
            return Err(RegistryError::unavailable(std::io::Error::other("down")));
        }
        Ok(inside)
    }

    fn with<T>(&self, act: impl FnOnce(&mut State, u64) -> T) -> T {
        act(&mut self.state.lock().unwrap(), self.clock.now_millis())
    }
}

struct Inside<'a>(&'a Mock);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

impl State {
    fn after_cutoffs(&self) -> u64 {
        self.cutoffs.values().max().map_or(1, |at| at + 1)
    }

    fn cutoff_of(&self, tenant: &str, user: &str) -> Option<u64> {
        let of_user = CutoffScope::User {
            tenant: tenant.to_owned(),
            user: user.to_owned(),
        };
        let of_tenant = CutoffScope::Tenant(tenant.to_owned());
        let mut scopes = vec![CutoffScope::Everyone, of_user];
        if !tenant.is_empty() {
            scopes.push(of_tenant);
        }
        let moments = scopes.iter().map(|scope| self.cutoffs.get(scope).copied());
        moments.max().flatten()
    }

    fn found(&self, sid: &str, now_ms: u64) -> Option<Found> {
        let session = self.sessions.get(sid)?.0.clone();
        let cutoff_ms = self.cutoff_of(&session.tenant, &session.user);
        Some(Found {
            session,
            now_ms,
            cutoff_ms,
        })
    }

    fn living(&self, tenant: &str, user: &str, now: u64) -> Vec<Registered> {
        let all = self.sessions.keys().filter_map(|sid| self.found(sid, now));
        let mut living: Vec<_> = all
            .filter(|found| found.is_active())
            .map(|found| found.session)
            .filter(|s| s.tenant == tenant && s.user == user)
            .collect();
        living.sort_by_key(|session| session.created_ms);
        living
    }

    fn end(&mut self, sid: &str, reason: &str, now: u64) -> bool {
        let Some((session, ended)) = self.sessions.get_mut(sid) else {
            return false;
        };
        let was = session.ended.is_none();
        if was {
            session.ended = Some(reason.to_owned());
            *ended = now;
        }
        was
    }

    fn create(&mut self, new: &NewSession, now: u64) -> Created {
        let cutoff = self.cutoff_of(&new.tenant, &new.user);
        if new.not_before_ms.is_some() && cutoff >= new.not_before_ms {
            return Created::Cut;
        }
        if let Some((old, _)) = self.sessions.get(&new.sid)
            && old.token == new.token
        {
            return Created::Active {
                auth_ms: old.auth_ms,
                created_ms: old.created_ms,
                evicted: Vec::new(),
            };
        }
        let mut evicted = Vec::new();
        if let Some(limit) = new.limit {
            let living = self.living(&new.tenant, &new.user, now);
            let over = (living.len() + 1).saturating_sub(limit.most as usize);
            if over > 0 && !limit.evict {
                return Created::Full;
            }
            for old in &living[..over] {
                self.end(&old.sid, "elsewhere", now);
                evicted.push(old.sid.clone());
            }
        }
        let auth_ms = now
            .max(cutoff.map_or(0, |cutoff| cutoff + 1))
            .max(new.auth_at_least_ms);
        let session = Registered {
            sid: new.sid.clone(),
            tenant: new.tenant.clone(),
            user: new.user.clone(),
            auth_ms,
            created_ms: now,
            last_used_ms: now,
            expires_ms: now + new.lifetime_ms,
            ended: None,
            token: new.token.clone(),
            data: new.data.clone(),
        };
        self.sessions.insert(new.sid.clone(), (session, 0));
        Created::Active {
            auth_ms,
            created_ms: now,
            evicted,
        }
    }

    fn which(&self, which: &Which) -> Vec<String> {
        let fits = |session: &Registered| match which {
            Which::Sid(sid) => session.sid == *sid,
            Which::One { tenant, user, sid } => {
                session.sid == *sid && session.tenant == *tenant && session.user == *user
            }
            Which::Others { tenant, user, keep } => {
                session.sid != *keep && session.tenant == *tenant && session.user == *user
            }
            Which::All { tenant, user } => session.tenant == *tenant && session.user == *user,
        };
        let all = self.sessions.values().map(|(session, _)| session);
        all.filter(|session| fits(session))
            .map(|session| session.sid.clone())
            .collect()
    }
}

impl Registry for Mock {
    fn find<'a>(&'a self, sid: &'a str) -> RegistryFuture<'a, Option<Found>> {
        Box::pin(async move {
            self.finds.fetch_add(1, SeqCst);
            self.at(Point::BeforeFind).await;
            let _inside = self.enter().await?;
            let found = self.with(|state, now| state.found(sid, now));
            self.at(Point::AfterFind).await;
            Ok(found)
        })
    }

    fn create<'a>(&'a self, session: &'a NewSession) -> RegistryFuture<'a, Created> {
        Box::pin(async move {
            let _inside = self.enter().await?;
            Ok(self.with(|state, now| state.create(session, now)))
        })
    }

    fn list<'a>(&'a self, tenant: &'a str, user: &'a str) -> RegistryFuture<'a, Vec<Registered>> {
        Box::pin(async move {
            let _inside = self.enter().await?;
            Ok(self.with(|state, now| state.living(tenant, user, now)))
        })
    }

    fn revoke<'a>(&'a self, which: &'a Which, reason: &'a str) -> RegistryFuture<'a, Vec<String>> {
        Box::pin(async move {
            let _inside = self.enter().await?;
            let sids = self.with(|state, now| {
                let again = matches!(which, Which::Others { .. });
                let mut sids = state.which(which);
                sids.retain(|sid| state.end(sid, reason, now) || again);
                sids
            });
            match self.loses_answer.swap(false, SeqCst) {
                true => Err(RegistryError::unavailable(std::io::Error::other("lost"))),
                false => Ok(sids),
            }
        })
    }

    fn touch<'a>(&'a self, sid: &'a str) -> RegistryFuture<'a, ()> {
        Box::pin(async move {
            let _inside = self.enter().await?;
            self.with(|state, now| {
                if let Some((session, _)) = state.sessions.get_mut(sid) {
                    session.last_used_ms = now;
                }
            });
            Ok(())
        })
    }

    fn rotate<'a>(
        &'a self,
        sid: &'a str,
        expected: &'a str,
        next: &'a Rotated,
    ) -> RegistryFuture<'a, bool> {
        Box::pin(async move {
            let _inside = self.enter().await?;
            Ok(self.with(|state, now| {
                let active = state.found(sid, now).is_some_and(|found| found.is_active());
                let session = state.sessions.get_mut(sid).map(|(session, _)| session);
                let Some(session) = session.filter(|s| active && s.token == expected) else {
                    return false;
                };
                session.token.clone_from(&next.token);
                session.data.clone_from(&next.data);
                session.expires_ms = now + next.lifetime_ms;
                session.last_used_ms = now;
                true
            }))
        })
    }

    fn auth_start(&self) -> RegistryFuture<'_, u64> {
        Box::pin(async move {
            let _inside = self.enter().await?;
            Ok(self.with(|state, _| state.after_cutoffs()))
        })
    }

    fn put_cutoff<'a>(
        &'a self,
        scope: &'a CutoffScope,
        moment: Option<u64>,
    ) -> RegistryFuture<'a, u64> {
        Box::pin(async move {
            let _inside = self.enter().await?;
            Ok(self.with(|state, now| {
                let old = state.cutoffs.get(scope).copied();
                let after = state.after_cutoffs();
                let latest = state.sessions.values().map(|(session, _)| session.auth_ms);
                let raised = match moment {
                    Some(moment) => old.unwrap_or(0).max(moment),
                    None => latest.max().unwrap_or(0).max(now).max(after),
                };
                state.cutoffs.insert(scope.clone(), raised);
                raised
            }))
        })
    }

    fn recent_cutoffs(&self, age_ms: u64) -> RegistryFuture<'_, Vec<(CutoffScope, u64)>> {
        Box::pin(async move {
            let _inside = self.enter().await?;
            Ok(self.with(|state, now| {
                let recent = state.cutoffs.iter().filter(|(_, at)| **at + age_ms >= now);
                recent.map(|(scope, at)| (scope.clone(), *at)).collect()
            }))
        })
    }

    fn recently_ended(&self, age_ms: u64) -> RegistryFuture<'_, Vec<String>> {
        Box::pin(async move {
            let _inside = self.enter().await?;
            Ok(self.with(|state, now| {
                let all = state.sessions.values();
                let ended = all.filter(|(s, at)| s.ended.is_some() && at + age_ms >= now);
                ended.map(|(session, _)| session.sid.clone()).collect()
            }))
        })
    }
}
