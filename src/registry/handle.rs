//! Beginning, listing and ending sessions.

use std::{
    fmt,
    num::NonZeroU64,
    sync::{Arc, PoisonError},
};

use super::{
    check::{Verdict, own_sid},
    database::Patience,
    error::{ActiveError, ActiveErrorKind},
    inner::Inner,
    login::{NewLogin, SignedIn},
    ops,
    revoke::ends,
    settings::ActiveSessionsBuilder,
    truth::{Created, CutoffScope, NewSession, Registered, Registry},
};
use crate::{
    clock::millis,
    cutoff::{self, AuthStart},
    device::Device,
    jwt::VerifiedToken,
    secret::{encode, random_bytes},
    store::Store,
    trace::event_info,
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
    /// [`ActiveSessionLayer`](super::ActiveSessionLayer), for a token that did not come in a request. A token without `sid`,
    /// or of another issuer than the layer's first, has no session.
    ///
    /// # Errors
    ///
    /// When nobody can say.
    pub async fn is_active(&self, token: &VerifiedToken) -> Result<bool, ActiveError> {
        use crate::blacklist::Verdict::{Ask, Clear, Dead};
        let tokens = std::slice::from_ref(token);
        match self.inner().look(tokens) {
            _ if own_sid(token).is_none() => return Ok(false),
            Clear => return Ok(true),
            Dead => return Ok(false),
            Ask => {}
        }
        match self.inner().examine(tokens, None).await.pop() {
            Some(Verdict::Active | Verdict::Unlisted(_)) => Ok(true),
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
        let (in_store, in_database) = began(login.started)?;
        let lifetime_ms = login
            .lifetime
            .map_or(self.inner().settings.lifetime_ms, millis);
        let session = NewSession {
            sid,
            tenant: login.tenant.clone(),
            user: login.user.clone(),
            token: String::new(),
            data: login.device.to_json(),
            lifetime_ms: lifetime_ms.min(millis(self.inner().store.longest_credential())),
            auth_at_least_ms: 0,
            not_before_ms: in_database,
            limit: login.limit,
        };
        let signed_in = self.begin(session, in_store).await?;
        if login.sid.is_some() {
            // Somebody may have asked about it before it was there.
            self.forget(&signed_in.sid).await;
        }
        Ok(signed_in)
    }

    /// Nobody goes by what was said of the session before.
    pub(crate) async fn forget(&self, sid: &str) {
        let inner = self.inner();
        let forget = ops::forget(&inner.store, sid, inner.generation_ms());
        let _ = inner.store.run(forget).await;
    }

    /// The moment at which an authentication begins, for [`NewLogin::not_before`]: by the cutoffs of the database, and by those
    /// of the store if it is there. Taken before anything is read that the check of the credentials depends on.
    ///
    /// # Errors
    ///
    /// When the database cannot say.
    pub async fn auth_start(&self) -> Result<AuthStart, ActiveError> {
        let inner = self.inner();
        let registry = inner.database.registry();
        let question = async move { registry.auth_start().await };
        let (in_database, in_store) = tokio::join!(
            inner.database.ask(Patience::Write, question),
            AuthStart::ask(&inner.store)
        );
        let moment = NonZeroU64::new(in_database?).unwrap_or(NonZeroU64::MIN);
        let in_store = match in_store {
            Ok(start) => Some(start),
            Err(error) if error.is_outage() => None,
            Err(error) => return Err(error.into()),
        };
        Ok(AuthStart::by_database(moment, in_store))
    }

    /// Writes a session, later than what the store knows to be cut off. `began` are moments of its authentication by the
    /// store's clock: a cutoff there since refuses it, as one in the database does by [`NewSession::not_before_ms`].
    pub(crate) async fn begin(
        &self,
        mut session: NewSession,
        began: Option<u64>,
    ) -> Result<SignedIn, ActiveError> {
        let inner = self.inner();
        inner.start();
        if session.user.is_empty() || session.sid.is_empty() {
            return Err(ActiveError::new(ActiveErrorKind::Invalid));
        }
        let cutoff = self.cutoff_in_store(&session.tenant, &session.user).await;
        if cutoff.zip(began).is_some_and(|(at, began)| at >= began) {
            return Err(ActiveError::new(ActiveErrorKind::Cut));
        }
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
    pub(super) async fn cutoff_in_store(&self, tenant: &str, user: &str) -> Option<u64> {
        let inner = self.inner();
        let user = CutoffScope::User {
            tenant: tenant.to_owned(),
            user: user.to_owned(),
        };
        let mut scopes = vec![CutoffScope::Everyone, user];
        if !tenant.is_empty() {
            scopes.push(CutoffScope::Tenant(tenant.to_owned()));
        }
        let scopes: Vec<_> = scopes.iter().map(|scope| inner.scope(scope)).collect();
        let read = cutoff::read_call(&inner.store, &scopes);
        let moments = inner.store.run(read).await.ok()?.into_each();
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

    /// Notes that a session was used, for the list of devices; of many calls for one session, one in a while.
    ///
    /// # Errors
    ///
    /// When the database could not confirm it.
    pub async fn touch(&self, sid: &str) -> Result<(), ActiveError> {
        match self.inner().is_touch_due(sid) {
            true => self.inner().touch(sid.to_owned(), Patience::Check).await,
            false => Ok(()),
        }
    }

    /// How many revocations the store has not heard of yet, as far as this node knows.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.inner().outbox.count()
    }
}

/// When an authentication began, by the store's clock and by the database's. A moment that was not taken here says nothing
/// about the database's cutoffs.
pub(crate) fn began(start: Option<AuthStart>) -> Result<(Option<u64>, Option<u64>), ActiveError> {
    match start.map(AuthStart::moments) {
        None => Ok((None, None)),
        Some((_, None)) => Err(ActiveError::new(ActiveErrorKind::Invalid)),
        Some(moments) => Ok(moments),
    }
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
