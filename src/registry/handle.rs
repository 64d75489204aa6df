//! Beginning, listing and ending sessions.

use std::{
    fmt,
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::{
    check::{Verdict, name},
    database::Patience,
    error::{ActiveError, ActiveErrorKind},
    inner::Inner,
    login::{NewLogin, SignedIn},
    ops,
    outbox::Duty,
    settings::ActiveSessionsBuilder,
    truth::{Created, CutoffScope, NewSession, Registered, Registry, Which},
};
use crate::{
    clock::millis,
    cutoff,
    device::Device,
    jwt::VerifiedToken,
    secret::{encode, random_bytes},
    store::{Store, Value},
    trace::{event_info, event_warn},
};

/// The sessions that are active, with a database as the truth and the store as its cache; see the [module](super).
///
/// Clones share everything. Make one per process.
#[derive(Clone)]
pub struct ActiveSessions(Arc<Handle>);

struct Handle(Arc<Inner>);

impl Drop for Handle {
    fn drop(&mut self) {
        let mut task = self.0.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task.take() {
            task.abort();
        }
    }
}

/// How far a revocation got. The database knows it in either case, and it holds on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a pending revocation may not hold everywhere yet"]
pub enum Revocation {
    /// It holds on every node; on one with a [replica](crate::near), within its `max_staleness`.
    Everywhere,
    /// The store could not be told. This node goes on trying, and so does every node that connects to it. Until then other
    /// nodes may go by what the store says.
    Pending {
        /// The longest they do, if nobody ever tells it: the time for which sessions are cached, and for which they go on
        /// while the database is away as well. A [`BlacklistLayer`](crate::blacklist::BlacklistLayer) alone does not ask the
        /// database: tokens pass it until they expire.
        bound: Duration,
    },
}

impl ActiveSessions {
    /// With the default settings.
    ///
    /// # Errors
    ///
    /// As [`ActiveSessionsBuilder::build`].
    pub fn new(
        store: &Store,
        registry: Arc<dyn Registry>,
    ) -> Result<Self, crate::error::ConfigError> {
        Self::builder(store, registry).build()
    }

    /// Settings first.
    pub fn builder(store: &Store, registry: Arc<dyn Registry>) -> ActiveSessionsBuilder {
        ActiveSessionsBuilder::new(store, registry)
    }

    pub(super) fn of(inner: Arc<Inner>) -> Self {
        Self(Arc::new(Handle(inner)))
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.0.0
    }

    /// Tells the store what the database ended without it, so that it can be believed; says whether that worked. For
    /// start-up: otherwise the first request waits for it. While it has not worked, every check asks the database.
    pub async fn ready(&self) -> bool {
        self.inner().start();
        self.inner().tell_now().await
    }

    /// Whether the session of a verified token is active and the token neither revoked nor cut off: the question of an
    /// [`ActiveSessionLayer`](super::ActiveSessionLayer), for a token that did not come in a request. A token without `sid`
    /// has no session.
    ///
    /// # Errors
    ///
    /// When nobody can say.
    pub async fn is_active(&self, token: &VerifiedToken) -> Result<bool, ActiveError> {
        use crate::blacklist::Verdict::{Ask, Clear, Dead};
        let tokens = std::slice::from_ref(token);
        match self.inner().look(tokens) {
            _ if token.sid().is_none() => return Ok(false),
            Clear => return Ok(true),
            Dead => return Ok(false),
            Ask => {}
        }
        match self.inner().examine(tokens, Vec::new()).await.pop() {
            Some(Verdict::Active) => Ok(true),
            Some(Verdict::Unknown(error)) => Err(error),
            Some(Verdict::Gone) | None => Ok(false),
        }
    }

    /// Begins a session: one statement and one trip. Then mint an access token with its `sid`
    /// ([`Grant::sid`](crate::jwt::Grant::sid)) and `auth_ms`.
    ///
    /// # Errors
    ///
    /// [`TooMany`](ActiveErrorKind::TooMany), [`Cut`](ActiveErrorKind::Cut), [`Invalid`](ActiveErrorKind::Invalid) for an
    /// empty user, and when the database could not confirm it.
    pub async fn create(&self, login: &NewLogin) -> Result<SignedIn, ActiveError> {
        let sid = match &login.sid {
            Some(sid) => sid.clone(),
            None => encode(
                random_bytes::<16>()
                    .map_err(|error| ActiveError::caused_by(ActiveErrorKind::Invalid, error))?,
            ),
        };
        let lifetime_ms = login
            .lifetime
            .map_or(self.inner().settings.lifetime_ms, millis);
        let session = NewSession {
            sid,
            tenant: login.tenant.clone(),
            user: login.user.clone(),
            token: String::new(),
            data: login.about(),
            lifetime_ms: lifetime_ms.min(millis(self.inner().store.longest_credential())),
            auth_at_least_ms: 0,
            not_before_ms: login.not_before_ms,
            limit: login.limit,
        };
        let signed_in = self.begin(session).await?;
        if login.sid.is_some() {
            // Somebody may have asked about it before it was there.
            let inner = self.inner();
            let forget = ops::forget(&inner.store, &signed_in.sid, inner.generation_ms());
            let _ = inner.store.run(forget).await;
        }
        Ok(signed_in)
    }

    /// Writes a session, later than what the store knows to be cut off.
    pub(crate) async fn begin(&self, mut session: NewSession) -> Result<SignedIn, ActiveError> {
        let inner = self.inner();
        inner.start();
        if session.user.is_empty() || session.sid.is_empty() {
            return Err(ActiveError::new(ActiveErrorKind::Invalid));
        }
        let cutoff = self.cutoff_in_store(&session).await;
        let least = cutoff.map_or(0, |cutoff| cutoff + 1);
        session.auth_at_least_ms = session.auth_at_least_ms.max(least);
        let (tenant, user) = (session.tenant.clone(), session.user.clone());
        let sid = session.sid.clone();
        let registry = inner.database.registry();
        let question = async move { registry.create(&session).await };
        match inner.database.ask(Patience::Write, question).await? {
            Created::Active {
                auth_ms,
                created_ms,
                evicted,
            } => {
                event_info!(event = "registry.created", %sid, "a session began");
                let _ = self.finish(ends(&tenant, &user, evicted)).await;
                Ok(SignedIn {
                    sid,
                    auth_ms,
                    created_ms,
                })
            }
            Created::Full => Err(ActiveError::new(ActiveErrorKind::TooMany)),
            Created::Cut => Err(ActiveError::new(ActiveErrorKind::Cut)),
        }
    }

    /// The largest cutoff that the store has for whoever signs in.
    async fn cutoff_in_store(&self, session: &NewSession) -> Option<u64> {
        let inner = self.inner();
        let user = CutoffScope::User {
            tenant: session.tenant.clone(),
            user: session.user.clone(),
        };
        let mut scopes = vec![CutoffScope::Everyone, user];
        if !session.tenant.is_empty() {
            scopes.push(CutoffScope::Tenant(session.tenant.clone()));
        }
        let scopes: Vec<_> = scopes.iter().map(|scope| inner.scope(scope)).collect();
        let read = cutoff::read_call(&inner.store, &scopes);
        let Ok(Value::List(moments)) = inner.store.run(read).await else {
            return None;
        };
        let moments = moments
            .iter()
            .map(|moment| moment.as_number().ok().flatten());
        moments.max().flatten()
    }

    /// Every device on which the user is signed in, oldest first; `current` is the `sid` of the one that asks. Devices that
    /// the store alone knows are among them, unless it is away.
    ///
    /// # Errors
    ///
    /// When the database cannot say.
    pub async fn list(
        &self,
        tenant: &str,
        user: &str,
        current: Option<&str>,
    ) -> Result<Vec<Device>, ActiveError> {
        let inner = self.inner();
        let (registry, of) = (inner.database.registry(), owned(tenant, user));
        let question = async move { registry.list(&of.0, &of.1).await };
        let sessions = inner.database.ask(Patience::Write, question).await?;
        let device = |session: Registered| {
            let is_current = current == Some(&*session.sid);
            let times = [session.created_ms, session.last_used_ms];
            Device::known(session.sid, times, is_current, &session.data)
        };
        let mut devices: Vec<_> = sessions.into_iter().map(device).collect();
        let others = inner.devices.list(tenant, user, current).await;
        for other in others.unwrap_or_default() {
            // One that has ended in the database is about to end in the store.
            let is_known = devices.iter().any(|device| device.sid() == other.sid());
            if !is_known && !inner.outbox.has_ended(other.sid()) {
                devices.push(other);
            }
        }
        Ok(devices)
    }

    /// Ends one session, whosever it is: a logout.
    ///
    /// # Errors
    ///
    /// When the database could not confirm it; trying again is safe.
    pub async fn revoke(&self, sid: &str) -> Result<Revocation, ActiveError> {
        self.end(Which::Sid(sid.to_owned()), "revoked").await?;
        // Whose it was, for what the store alone has of it. Asked afterwards: what matters has been written.
        let inner = self.inner();
        let (registry, of) = (inner.database.registry(), sid.to_owned());
        let question = async move { registry.find(&of).await };
        let found = inner.database.ask(Patience::Write, question).await;
        let session = found.ok().flatten().map(|found| found.session);
        let (tenant, user) = session.map_or_else(Default::default, |s| (s.tenant, s.user));
        Ok(self
            .finish(ends(&tenant, &user, vec![sid.to_owned()]))
            .await)
    }

    /// Ends one device of a user; that of somebody else is not ended.
    ///
    /// # Errors
    ///
    /// When the database could not confirm it; trying again is safe.
    pub async fn revoke_one(
        &self,
        tenant: &str,
        user: &str,
        sid: &str,
    ) -> Result<Revocation, ActiveError> {
        let which = Which::One {
            tenant: tenant.to_owned(),
            user: user.to_owned(),
            sid: sid.to_owned(),
        };
        if self.end(which, "revoked").await?.is_empty() && !self.is_of(tenant, user, sid).await? {
            // Not theirs in the database. If the store alone has it, it knows whose it is.
            let devices = &self.inner().devices;
            return Ok(match devices.revoke(tenant, user, sid).await {
                Ok(_) => Revocation::Everywhere,
                Err(_) => self.pending(),
            });
        }
        Ok(self.finish(ends(tenant, user, vec![sid.to_owned()])).await)
    }

    /// Ends all devices of a user but the one with this `sid`. Unlike [`revoke_all`](Self::revoke_all) it raises no cutoff:
    /// access tokens without a `sid` go on.
    ///
    /// # Errors
    ///
    /// When the database could not confirm it; trying again is safe.
    pub async fn revoke_others(
        &self,
        tenant: &str,
        user: &str,
        keep: &str,
    ) -> Result<Revocation, ActiveError> {
        let which = Which::Others {
            tenant: tenant.to_owned(),
            user: user.to_owned(),
            keep: keep.to_owned(),
        };
        let mut sids = self.end(which, "revoked").await?;
        let Some(alone) = self.alone(tenant, user).await else {
            let _ = self.finish(ends(tenant, user, sids)).await;
            return Ok(self.pending());
        };
        sids.extend(alone.into_iter().filter(|sid| sid != keep));
        Ok(self.finish(ends(tenant, user, sids)).await)
    }

    /// Ends all that a user has: sessions, devices that the store alone knows, and access tokens, by a cutoff. A login right
    /// after it works. For a changed password, a locked account, "log out everywhere".
    ///
    /// # Errors
    ///
    /// When the database could not confirm it; trying again is safe.
    pub async fn revoke_all(&self, tenant: &str, user: &str) -> Result<Revocation, ActiveError> {
        let scope = CutoffScope::User {
            tenant: tenant.to_owned(),
            user: user.to_owned(),
        };
        let moment = self.put_cutoff(scope.clone()).await?;
        let cut = Duty::Cut { scope, moment };
        let which = Which::All {
            tenant: tenant.to_owned(),
            user: user.to_owned(),
        };
        let mut sids = match self.end(which, "revoked").await {
            Ok(sids) => sids,
            Err(error) => {
                // The cutoff holds; the store is to know it whatever comes of the rest.
                let _ = self.finish(vec![cut]).await;
                return Err(error);
            }
        };
        // Without the store's list the cutoff ends them; they only stay on it until somebody looks.
        sids.extend(self.alone(tenant, user).await.unwrap_or_default());
        let mut duties = vec![cut];
        duties.extend(ends(tenant, user, sids));
        Ok(self.finish(duties).await)
    }

    /// Ends all sessions and tokens of a tenant that began before now.
    ///
    /// # Errors
    ///
    /// When the database could not confirm it; trying again is safe.
    pub async fn revoke_tenant(&self, tenant: &str) -> Result<Revocation, ActiveError> {
        self.cut(CutoffScope::Tenant(tenant.to_owned())).await
    }

    /// Ends all sessions and tokens that began before now.
    ///
    /// # Errors
    ///
    /// When the database could not confirm it; trying again is safe.
    pub async fn revoke_everyone(&self) -> Result<Revocation, ActiveError> {
        self.cut(CutoffScope::Everyone).await
    }

    async fn cut(&self, scope: CutoffScope) -> Result<Revocation, ActiveError> {
        let moment = self.put_cutoff(scope.clone()).await?;
        Ok(self.finish(vec![Duty::Cut { scope, moment }]).await)
    }

    /// Notes that a session was used, for the list of devices; of many calls for one session, one in a while.
    ///
    /// # Errors
    ///
    /// When the database could not confirm it.
    pub async fn touch(&self, sid: &str) -> Result<(), ActiveError> {
        let inner = self.inner();
        let (now, name) = (inner.store.clock().now_millis(), name(sid));
        if inner.touched.is_fresh(&name, now, inner.settings.touch_ms) {
            return Ok(());
        }
        inner.touched.note(name, now);
        let (registry, sid) = (inner.database.registry(), sid.to_owned());
        let question = async move { registry.touch(&sid).await };
        inner.database.ask(Patience::Check, question).await
    }

    /// How many revocations the store has not heard of yet, as far as this node knows.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.inner().outbox.count()
    }

    async fn put_cutoff(&self, scope: CutoffScope) -> Result<u64, ActiveError> {
        let inner = self.inner();
        inner.start();
        let registry = inner.database.registry();
        let question = async move { registry.put_cutoff(&scope, None).await };
        inner.database.ask(Patience::Write, question).await
    }

    /// The database's half.
    pub(crate) async fn end(
        &self,
        which: Which,
        reason: &'static str,
    ) -> Result<Vec<String>, ActiveError> {
        let inner = self.inner();
        inner.start();
        let registry = inner.database.registry();
        let question = async move { registry.revoke(&which, reason).await };
        inner.database.ask(Patience::Write, question).await
    }

    async fn is_of(&self, tenant: &str, user: &str, sid: &str) -> Result<bool, ActiveError> {
        let inner = self.inner();
        let (registry, sid) = (inner.database.registry(), sid.to_owned());
        let question = async move { registry.find(&sid).await };
        let found = inner.database.ask(Patience::Write, question).await?;
        Ok(found.is_some_and(|found| found.session.tenant == tenant && found.session.user == user))
    }

    /// The devices that the store knows, or `None` if it is away.
    async fn alone(&self, tenant: &str, user: &str) -> Option<Vec<String>> {
        let devices = self.inner().devices.list(tenant, user, None).await.ok()?;
        Some(
            devices
                .iter()
                .map(|device| device.sid().to_owned())
                .collect(),
        )
    }

    /// The store's half: now, or when it can be told. What cannot be told at once is remembered before anything waits, so
    /// that a caller who goes away loses nothing.
    pub(crate) async fn finish(&self, duties: Vec<Duty>) -> Revocation {
        let inner = self.inner();
        if duties.is_empty() {
            return Revocation::Everywhere;
        }
        if !inner.outbox.put(&duties) {
            event_warn!(
                event = "registry.outbox_full",
                "more revocations wait for the store than are remembered: the database is asked about every session until it was told"
            );
            inner.sync.void();
        }
        match inner.carry_out(&duties).await {
            Ok(()) => {
                inner.outbox.done(&duties);
                event_info!(
                    event = "registry.revoked",
                    count = duties.len(),
                    "sessions were ended"
                );
                Revocation::Everywhere
            }
            Err(error) => {
                event_warn!(event = "registry.pending", kind = ?error.kind(), "sessions were ended in the database, and the store has not been told yet");
                inner.sync.wake.notify_one();
                self.pending()
            }
        }
    }

    fn pending(&self) -> Revocation {
        Revocation::Pending {
            bound: self.inner().bound(),
        }
    }
}

pub(super) fn ends(tenant: &str, user: &str, mut sids: Vec<String>) -> Vec<Duty> {
    sids.sort();
    sids.dedup();
    let end = |sid| Duty::End {
        tenant: tenant.to_owned(),
        user: user.to_owned(),
        sid,
    };
    sids.into_iter().map(end).collect()
}

fn owned(tenant: &str, user: &str) -> (String, String) {
    (tenant.to_owned(), user.to_owned())
}

impl fmt::Debug for ActiveSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveSessions")
            .field("store", &self.inner().store)
            .field("unfinished", &self.unfinished())
            .finish_non_exhaustive()
    }
}
