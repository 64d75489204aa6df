//! The steps of a session that write: login, renewal, logout, save.

use super::{
    config::{Ended, OnLimit},
    error::{SessionError, SessionErrorKind},
    handle::{Inner, SaveOutcome, Session, check_name, user_of},
    id::SessionId,
    login::{Login, User},
    ops::{Changes, NewUser, Written, written},
    record::Header,
    state::{Known, State},
};
use crate::{
    clock::millis,
    cutoff::AuthStart,
    device::Devices,
    near::{self, List},
    secret::{encode, random_bytes},
    store::{Call, Tag, Value},
    trace::{event_info, event_warn},
};

impl Session {
    /// The moment at which an authentication begins, in one trip: for [`Login::not_before`].
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    pub async fn auth_start(&self) -> Result<AuthStart, SessionError> {
        Ok(AuthStart::ask(&self.0.config.store).await?)
    }

    /// Signs a user in, in one trip: the session moves to a new id, and the old id is dead when this returns, for
    /// requests already under way as well.
    ///
    /// Fields of a visitor's session carry over, and so do those of the same user's; those of another user never do.
    /// Fields set before travel along; set after, they cost a second trip. Check the credentials first: this does not. That
    /// takes time in which they may be changed: see [`Login::not_before`].
    ///
    /// # Errors
    ///
    /// When the store cannot confirm it, or a cutoff came after the moment given to [`Login::not_before`]. Nobody is signed
    /// in then, and the client keeps the cookie it has.
    pub async fn login(&self, login: Login) -> Result<User, SessionError> {
        check_name(&login.user)?;
        login.tenant.as_deref().map_or(Ok(()), check_name)?;
        let of_tenant = login.tenant.as_deref().unwrap_or_default();
        let config = &self.0.config;
        let namespace = config.store.namespace();
        let tenant = login
            .tenant
            .as_deref()
            .map(|tenant| namespace.tenant_tag(tenant));
        let tag: Tag = namespace.user_tag("", of_tenant, &login.user);
        let new = SessionId::of_user(&tag, tenant.as_ref())?;
        let sid = encode(random_bytes::<16>()?);
        let meta = login.device.to_json();
        let user = NewUser {
            tenant: of_tenant,
            user: &login.user,
            sid: &sid,
            life: config.life(login.remember),
            meta: &meta,
            ahead_kept: millis(config.store.longest_credential()),
            started: login.started.map_or(0, AuthStart::millis),
            most_devices: config.most_devices,
            evict: config.on_limit == OnLimit::EvictOldest,
        };
        self.check_bound().await?;
        let (old, unsent) = self.0.start_write()?;
        let changes = self.0.bound(&unsent.changes);
        unsent.fits()?;
        let call = config.place(&new).login(old.as_ref(), &user, &changes);
        let _changing = old.as_ref().map(|old| config.changes(old));
        let Some(header) = self.write(call, &new, unsent).await? else {
            return Err(SessionError::new(SessionErrorKind::Gone));
        };
        event_info!(event = "session.login", sid = %String::from_utf8_lossy(&header.sid), "a user signed in");
        user_of(&header).ok_or_else(|| SessionError::new(SessionErrorKind::Gone))
    }

    /// Moves the session to a new id, in one trip; the old id is dead when this returns. For every step that raises
    /// what a session may do; [`login`](Self::login) does it by itself.
    ///
    /// Without a session there is nothing to move, and nothing happens.
    ///
    /// # Errors
    ///
    /// When the store cannot confirm it, or the session ended meanwhile.
    pub async fn renew(&self) -> Result<(), SessionError> {
        self.check_bound().await?;
        let was_there = self.0.state().record().is_some();
        if self.0.state().ended == Some(Ended::Moved) {
            // Only a login may go on with it: this would hand it to whoever has a copy of the cookie.
            return Ok(());
        }
        let (Some(old), unsent) = self.0.start_write()? else {
            return Ok(());
        };
        let new = old.successor()?;
        let config = &self.0.config;
        unsent.fits()?;
        let call = config.place(&old).renew(&new, &unsent.changes);
        let _changing = config.changes(&old);
        match self.write(call, &new, unsent).await? {
            None if was_there => Err(SessionError::new(SessionErrorKind::Gone)),
            _ => Ok(()),
        }
    }

    /// Signs the user out on all other devices, and moves this session to a new id: for a changed password, or a button that
    /// says so. Says how many devices there were. When this returns, sessions, refresh tokens and access tokens of the
    /// others are refused everywhere; whoever had a copy of this session's cookie has nothing. Two trips.
    ///
    /// Access tokens that this device holds end as well; it gets new ones with its refresh token or session. It does not
    /// make the login recent.
    ///
    /// # Errors
    ///
    /// When the store cannot confirm it, or nobody is signed in ([`Gone`](SessionErrorKind::Gone)). Trying again is safe.
    pub async fn revoke_others(&self) -> Result<u64, SessionError> {
        let nobody = || SessionError::new(SessionErrorKind::Gone);
        let user = self.user().await?.ok_or_else(nobody)?;
        // First, so that a copy of the old id cannot be the one that survives.
        self.renew().await?;
        let devices = Devices::new(&self.0.config.store);
        let ended = devices.revoke_others(user.tenant(), user.id(), user.sid());
        let ended = ended.await?;
        // The moment of authentication has moved in the store: what this request knows of it is of before.
        self.0.state().known = Known::Unread;
        Ok(ended)
    }

    /// Ends the session, in one trip: when this returns, no instance takes its id any more, and no request under way
    /// can bring it back. The response removes the cookie.
    ///
    /// Fields set afterwards make a new session of a visitor.
    ///
    /// Of a request with several authentic session cookies, which otherwise counts as one of nobody, all sessions end, one trip
    /// for each: nobody prevents a logout by cookies beside the user's.
    ///
    /// # Errors
    ///
    /// When the store cannot confirm it; the client keeps its cookie then, and trying again is safe.
    pub async fn destroy(&self) -> Result<(), SessionError> {
        self.check_bound().await?;
        let (id, unsure) = {
            let mut state = self.0.open_state()?;
            state.asked = true;
            (state.id, state.unsure.clone())
        };
        let several = unsure.map_or_else(Vec::new, |lines| self.0.config.all_in(&lines));
        if id.is_none() && several.is_empty() {
            self.0.state().gone();
            return Ok(());
        }
        let config = &self.0.config;
        for id in id.into_iter().chain(several) {
            let _changing = config.changes(&id);
            let ended = config.store.run(config.place(&id).destroy()).await?;
            if let (Value::Bytes(sid), Some(near)) = (ended, near::of(&config.store)) {
                // The step has denied its access tokens: here that counts before it is announced.
                near.revoked_in_store(List::Logins, &sid);
            }
            event_info!(event = "session.logout", "a session was ended");
        }
        self.0.state().destroyed();
        Ok(())
    }

    /// The last save of a request, when its handler has answered: it alone may still make a session.
    pub(super) async fn save_at_exit(&self) -> Result<SaveOutcome, SessionError> {
        self.save_changes(true).await
    }

    /// Saves the changes made so far, for code that goes on after the response has left: streams, websockets. Layers
    /// do it by themselves otherwise.
    ///
    /// # Errors
    ///
    /// When the store cannot confirm it; the changes are pending again then.
    pub async fn save(&self) -> Result<SaveOutcome, SessionError> {
        self.save_changes(false).await
    }

    async fn save_changes(&self, leaving: bool) -> Result<SaveOutcome, SessionError> {
        let (id, unsent) = {
            let mut state = self.0.state();
            if state.changes.is_empty() {
                return Ok(SaveOutcome::Unchanged);
            }
            let id = state.id.filter(|_| !state.is_missing());
            if id.is_none() && state.closed && !leaving {
                return Err(SessionError::new(SessionErrorKind::TooLate));
            }
            (id, Unsent::take(&self.0, &mut state))
        };
        match id {
            Some(id) => self.merge(&id, unsent).await,
            // In a box: most saves are of sessions that exist, and carry this future.
            None if unsent.changes.sets_something() => Box::pin(self.create(unsent)).await,
            None => {
                unsent.sent();
                Ok(SaveOutcome::Unchanged)
            }
        }
    }

    async fn merge(&self, id: &SessionId, unsent: Unsent<'_>) -> Result<SaveOutcome, SessionError> {
        unsent.fits()?;
        let config = &self.0.config;
        let asked_at = config.store.clock().now_millis();
        let _changing = config.changes(id);
        let short = self.0.short(id, &unsent.changes, asked_at);
        let call = config.place(id).save(&unsent.changes, short);
        let reply = config.store.run(call).await?;
        match reply.number()? {
            0 => {
                unsent.sent();
                self.0.state().gone();
                Ok(SaveOutcome::Gone)
            }
            saved @ (1 | 3) => {
                unsent.sent();
                // The short way records no use.
                if saved == 1 {
                    config.memo.note(id.random(), asked_at);
                }
                // The session holds other requests' changes as well by now.
                self.0.state().known = Known::Unread;
                Ok(SaveOutcome::Saved)
            }
            _ => Err(SessionError::new(SessionErrorKind::TooLarge)),
        }
    }

    async fn create(&self, unsent: Unsent<'_>) -> Result<SaveOutcome, SessionError> {
        unsent.fits()?;
        let config = &self.0.config;
        let planned = self.0.state().planned.take();
        let id = planned.map_or_else(SessionId::anonymous, Ok)?;
        let call = config.place(&id).create(&config.life, &unsent.changes);
        match self.write(call, &id, unsent).await? {
            Some(_) => {
                self.0.state().made = true;
                Ok(SaveOutcome::Created)
            }
            // Two equal ids among 160 random bits: the generator is broken.
            None => Err(SessionError::new(SessionErrorKind::Random)),
        }
    }

    /// A call that leaves the session under the id `new`; `None` if there was no session to move.
    async fn write(
        &self,
        call: Call,
        new: &SessionId,
        unsent: Unsent<'_>,
    ) -> Result<Option<Header>, SessionError> {
        let config = &self.0.config;
        let asked_at = config.store.clock().now_millis();
        // The scripts that move a session know the new id, and so their own repetition.
        let reply = match call.operation.name() {
            "session.create" => config.store.run(call).await?,
            _ => config.store.run_twice(call).await?,
        };
        match written(reply, new)? {
            Written::Done(record) => {
                unsent.sent();
                config.memo.note(new.random(), asked_at);
                let header = record.header.clone();
                self.0.state().moved(*new, record);
                Ok(Some(header))
            }
            Written::Gone => {
                unsent.sent();
                self.0.state().gone();
                Ok(None)
            }
            Written::TooLarge => Err(SessionError::new(SessionErrorKind::TooLarge)),
            Written::Outdated => {
                event_warn!(
                    event = "session.outdated",
                    "a cutoff came while a login was under way: it was refused"
                );
                Err(SessionError::new(SessionErrorKind::Outdated))
            }
            Written::TooMany => Err(SessionError::new(SessionErrorKind::TooManyDevices)),
        }
    }
}

/// Changes on their way to the store: pending again if they do not arrive, also when the caller is cancelled.
pub(super) struct Unsent<'a> {
    of: &'a Inner,
    changes: Changes,
}

impl<'a> Unsent<'a> {
    pub(super) fn take(of: &'a Inner, state: &mut State) -> Self {
        let changes = std::mem::take(&mut state.changes);
        Self { of, changes }
    }

    /// What is too long by itself need not travel to be refused.
    fn fits(&self) -> Result<(), SessionError> {
        if self.changes.least() > self.of.config.limit {
            return Err(SessionError::new(SessionErrorKind::TooLarge));
        }
        Ok(())
    }

    fn sent(mut self) {
        self.changes = Changes::default();
    }
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        if !self.changes.is_empty() {
            let unsent = std::mem::take(&mut self.changes);
            self.of.state().restore(unsent);
        }
    }
}
