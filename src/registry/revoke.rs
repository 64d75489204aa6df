//! Ending sessions: in the database first, then in the store.

use std::{sync::Arc, time::Duration};

use super::{
    database::Patience,
    error::{ActiveError, ActiveErrorKind},
    handle::ActiveSessions,
    inner::Inner,
    outbox::Duty,
    truth::{CutoffScope, Which},
};
use crate::trace::{event_info, event_warn};

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
    /// Ends one session, whosever it is: a logout.
    ///
    /// # Errors
    ///
    /// When the database could not confirm it; trying again is safe.
    pub async fn revoke(&self, sid: &str) -> Result<Revocation, ActiveError> {
        let sid = sid.to_owned();
        self.whole(|active| async move { active.revoke_whole(&sid).await })
            .await
    }

    async fn revoke_whole(&self, sid: &str) -> Result<Revocation, ActiveError> {
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
        let [tenant, user, sid] = [tenant, user, sid].map(str::to_owned);
        self.whole(|active| async move { active.revoke_one_whole(&tenant, &user, &sid).await })
            .await
    }

    async fn revoke_one_whole(
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
        let [tenant, user, keep] = [tenant, user, keep].map(str::to_owned);
        self.whole(|active| async move { active.revoke_others_whole(&tenant, &user, &keep).await })
            .await
    }

    async fn revoke_others_whole(
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
        self.end_all(tenant, user).await.map(|(revoked, _)| revoked)
    }

    /// As [`revoke_all`](Self::revoke_all); says how many there were as well.
    pub(crate) async fn end_all(
        &self,
        tenant: &str,
        user: &str,
    ) -> Result<(Revocation, u64), ActiveError> {
        let [tenant, user] = [tenant, user].map(str::to_owned);
        self.whole(|active| async move { active.end_all_whole(&tenant, &user).await })
            .await
    }

    async fn end_all_whole(
        &self,
        tenant: &str,
        user: &str,
    ) -> Result<(Revocation, u64), ActiveError> {
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
        let count = duties.len() as u64 - 1;
        Ok((self.finish(duties).await, count))
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
        self.whole(|active| async move {
            let moment = active.put_cutoff(scope.clone()).await?;
            Ok(active.finish(vec![Duty::Cut { scope, moment }]).await)
        })
        .await
    }

    /// In a task of its own: a caller who goes away between the database and the store, as whoever closes the page right
    /// after signing out, would leave the store untold.
    pub(crate) async fn whole<T, F>(&self, act: impl FnOnce(Self) -> F) -> Result<T, ActiveError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ActiveError>> + Send + 'static,
    {
        let ended = tokio::spawn(act(self.clone())).await;
        ended.unwrap_or_else(|_| Err(ActiveError::new(ActiveErrorKind::Database)))
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
        // In a task of its own, so that it ends also where the caller has gone away.
        let telling = tokio::spawn(Arc::clone(inner).tell_of(duties));
        match telling.await {
            Ok(true) => Revocation::Everywhere,
            _ => self.pending(),
        }
    }

    fn pending(&self) -> Revocation {
        Revocation::Pending {
            bound: self.inner().bound(),
        }
    }
}

impl Inner {
    async fn tell_of(self: Arc<Self>, duties: Vec<Duty>) -> bool {
        match self.carry_out(&duties, true).await {
            Ok(()) => {
                self.outbox.done(&duties);
                event_info!(
                    event = "registry.revoked",
                    count = duties.len(),
                    "sessions were ended"
                );
                true
            }
            Err(error) => {
                event_warn!(event = "registry.pending", kind = ?error.kind(), "sessions were ended in the database, and the store has not been told yet");
                self.sync.wake.notify_one();
                false
            }
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
