//! What the registry in memory holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::{
    Created, CutoffScope, Found, NewSession, Registered, RegistryError, Which, texts,
    truth::{EVICTED, TOLD_AGAIN_MS},
};

#[derive(Default)]
pub(super) struct State {
    pub(super) sessions: BTreeMap<String, Row>,
    /// The `sid`s of a tenant's user.
    pub(super) users: HashMap<(String, String), BTreeSet<String>>,
    pub(super) cutoffs: BTreeMap<CutoffScope, u64>,
    /// The largest `auth_ms` there ever was.
    pub(super) latest: u64,
}

pub(super) struct Row {
    pub(super) session: Registered,
    /// Means something once the session has ended.
    pub(super) ended_ms: u64,
}

impl State {
    pub(super) fn find(&self, sid: &str, now_ms: u64) -> Option<Found> {
        let session = self.sessions.get(sid)?.session.clone();
        let cutoff_ms = self.cutoff(&session.tenant, &session.user);
        Some(Found {
            session,
            now_ms,
            cutoff_ms,
        })
    }

    /// After every cutoff, whatever the clock says.
    pub(super) fn auth_start(&self) -> u64 {
        self.cutoffs.values().max().map_or(1, |at| at + 1)
    }

    pub(super) fn cutoff(&self, tenant: &str, user: &str) -> Option<u64> {
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
    pub(super) fn created_before(
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
    pub(super) fn to_evict(&self, new: &NewSession, now: u64) -> Option<Vec<String>> {
        let Some(limit) = new.limit else {
            return Some(Vec::new());
        };
        let active = self.active(&new.tenant, &new.user, now);
        let active = active.into_iter().map(|session| session.sid).collect();
        limit.over(active)
    }

    fn rows(&self, tenant: &str, user: &str) -> impl Iterator<Item = &Row> {
        let sids = self.users.get(&(tenant.to_owned(), user.to_owned()));
        let sids = sids.into_iter().flatten();
        sids.filter_map(|sid| self.sessions.get(sid))
    }

    pub(super) fn active(&self, tenant: &str, user: &str, now: u64) -> Vec<Registered> {
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

    pub(super) fn insert(&mut self, session: Registered) {
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
    pub(super) fn end(&mut self, sid: &str, reason: &str, now: u64) -> bool {
        let row = self.sessions.get_mut(sid);
        let Some(row) = row.filter(|row| row.session.ended.is_none()) else {
            return false;
        };
        row.session.ended = Some(reason.to_owned());
        row.ended_ms = now;
        true
    }

    /// Ends them; returns those that were not ended before, and whom else the trait says.
    pub(super) fn revoke(&mut self, which: &Which, reason: &str, now: u64) -> Vec<String> {
        let lately = now.saturating_sub(TOLD_AGAIN_MS);
        let again = matches!(which, Which::Others { .. });
        let was_lately = |row: &Row| row.session.ended.is_some() && row.ended_ms >= lately;
        let mut sids = self.meant(which);
        sids.retain(|sid| {
            let told = again && self.sessions.get(sid).is_some_and(was_lately);
            self.end(sid, reason, now) || told
        });
        sids
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

    pub(super) fn sweep(&mut self, before: u64) -> usize {
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

pub(super) fn begun(new: &NewSession, auth_ms: u64, now: u64) -> Registered {
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
