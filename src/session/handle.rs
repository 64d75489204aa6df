//! The handle by which a handler uses its session.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::HeaderValue;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    binding::{FIELD, Looks, OnMismatch, RESERVED, is_foreign},
    config::{Config, Ended},
    error::{SessionError, SessionErrorKind},
    id::SessionId,
    login::User,
    ops::{Changes, Loaded},
    record::Header,
    short::Short,
    state::{Question, State},
    writing::Unsent,
};
use crate::store::Few;

/// The session of a request: found in the request's extensions behind [`SessionLayer`](super::SessionLayer).
///
/// - It is lazy: a request that never asks costs the store nothing, and its cookie is not even read. The first question loads
///   it, in one trip; a cookie that is none of ours is told of then.
/// - Changes are kept until the handler has answered and then saved in one step that merges changed fields into
///   whatever the session holds by then, and only if it still exists. Responses with a 5xx status save nothing.
/// - [`login`](Self::login), [`renew`](Self::renew) and [`destroy`](Self::destroy) take effect at once, on every
///   instance, before they return.
/// - Clones are the same session. No method holds a lock while it waits.
///
/// When the store cannot say, methods return an error, and the session stays *unknown*: neither the cookie nor the
/// session is touched.
#[derive(Clone)]
pub struct Session(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) config: Arc<Config>,
    state: Mutex<State>,
    /// What this request looks like, where logins are bound to that.
    looks: Option<Looks>,
}

/// What became of the changes of a request; found in the extensions of its response if it made any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SaveOutcome {
    /// There was nothing to save.
    Unchanged,
    /// They are merged into the session.
    Saved,
    /// A new session holds them.
    Created,
    /// The session ended while the request was under way: nothing was written, and no cookie was set.
    Gone,
    /// The response had a 5xx status: nothing was written.
    Skipped,
}

/// When a session ends, in milliseconds since the Unix epoch by the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expiry {
    /// If it is not used again; `None` without an idle timeout.
    pub idle_ms: Option<u64>,
    /// However much it is used.
    pub absolute_ms: u64,
}

const LONGEST_NAME: usize = 256;

impl Session {
    /// A session of whoever sent these `Cookie` lines. They are read when somebody asks.
    pub(super) fn new(
        config: Arc<Config>,
        cookies: Few<HeaderValue>,
        looks: Option<Looks>,
    ) -> Self {
        let state = Mutex::new(State::new(cookies));
        Self(Arc::new(Inner {
            config,
            state,
            looks,
        }))
    }

    /// The value of a field, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// When the store cannot say, or the field holds JSON of another type.
    pub async fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SessionError> {
        let state = self.known().await?;
        let value = state.text(name).map(serde_json::from_slice);
        Ok(value.transpose()?)
    }

    /// Sets a field. A value equal to the stored one is no change. Without a session, one is made when the handler has
    /// answered.
    ///
    /// # Errors
    ///
    /// When the store cannot say whether there is a session, the value cannot be written as JSON, or the name is empty,
    /// longer than 256 bytes, or begins with `portcullis.`.
    pub async fn insert(
        &self,
        name: &str,
        value: &(impl Serialize + Sync + ?Sized),
    ) -> Result<(), SessionError> {
        check_name(name)?;
        if name.starts_with(RESERVED) {
            return Err(SessionError::new(SessionErrorKind::Invalid));
        }
        let text = serde_json::to_string(value)?;
        self.open().await?.put(name, text);
        Ok(())
    }

    /// Removes a field; says whether there was one.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    pub async fn remove(&self, name: &str) -> Result<bool, SessionError> {
        let mut state = self.open().await?;
        Ok(!name.starts_with(RESERVED) && state.remove(name))
    }

    /// Removes a field and returns what it held: a message that is shown once.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); the field stays when it cannot be decoded.
    pub async fn take<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SessionError> {
        let value = self.get(name).await?;
        if value.is_some() && !name.starts_with(RESERVED) {
            self.open().await?.remove(name);
        }
        Ok(value)
    }

    /// Removes all fields. Whoever is signed in stays so; see [`destroy`](Self::destroy).
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    pub async fn clear(&self) -> Result<(), SessionError> {
        let mut state = self.open().await?;
        let bound = state.record().and_then(|record| record.field(FIELD));
        let bound = bound.map(|text| String::from_utf8_lossy(text).into_owned());
        state.clear();
        if let Some(bound) = bound {
            state.put(FIELD, bound);
        }
        Ok(())
    }

    /// Who is signed in; `None` for a visitor, with or without a session.
    ///
    /// # Errors
    ///
    /// When the store cannot say. That is not a logout: answer 503, as the error does by itself with `?`.
    pub async fn user(&self) -> Result<Option<User>, SessionError> {
        let state = self.known().await?;
        Ok(state.record().and_then(user_in))
    }

    /// Whether there is a session, of a user or of a visitor.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    pub async fn exists(&self) -> Result<bool, SessionError> {
        Ok(self.known().await?.record().is_some())
    }

    /// Why there is no session although the client has a cookie of one: signed in elsewhere, or signed out from there.
    /// `None` if there is one, or it simply expired, or there never was one.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    pub async fn ended(&self) -> Result<Option<Ended>, SessionError> {
        Ok(self.known().await?.ended)
    }

    /// When the session ends; `None` if there is none.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    pub async fn expiry(&self) -> Result<Option<Expiry>, SessionError> {
        let state = self.known().await?;
        Ok(state.record().map(|record| Expiry {
            idle_ms: (record.header.idle > 0).then(|| {
                record
                    .header
                    .deadline
                    .min(record.header.touched + record.header.idle)
            }),
            absolute_ms: record.header.deadline,
        }))
    }

    /// Finds out what the session holds, unless that is known.
    pub(super) async fn load(&self) -> Result<(), SessionError> {
        let Some(question) = self.0.question() else {
            return Ok(());
        };
        let answer = self.0.config.fetch(&question).await?;
        self.0.absorb(&question, answer);
        Ok(())
    }

    /// The state, once it is known what the session holds. A save beside this asks for another look.
    async fn known(&self) -> Result<MutexGuard<'_, State>, SessionError> {
        loop {
            self.load().await?;
            let state = self.0.state();
            if !state.is_unread() {
                return Ok(state);
            }
        }
    }

    /// The same, for a change.
    async fn open(&self) -> Result<MutexGuard<'_, State>, SessionError> {
        let state = self.known().await?;
        state.check_open()?;
        Ok(state)
    }

    /// Before a step that goes by the id alone: whether this request may use what is under it.
    pub(super) async fn check_bound(&self) -> Result<(), SessionError> {
        match self.0.looks {
            Some(_) => self.load().await,
            None => Ok(()),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }

    /// The head of the response leaves. Whether nobody has asked anything of the session: then there is nothing to do.
    pub(super) fn close_unasked(&self) -> bool {
        let mut state = self.0.untouched();
        state.closed = true;
        state.cookies.is_some()
    }

    pub(super) fn config(&self) -> &Config {
        &self.0.config
    }
}

impl Inner {
    /// No caller panics while it holds the lock, and every step leaves the state whole.
    fn untouched(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, once it is known which session the client names.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.untouched();
        if let Some(cookies) = &state.cookies {
            let (id, is_sure) = self.config.id_in(cookies);
            state.named(id, is_sure);
        }
        state
    }

    /// The state, while changes can still be saved.
    pub(super) fn open_state(&self) -> Result<MutexGuard<'_, State>, SessionError> {
        let state = self.state();
        state.check_open()?;
        Ok(state)
    }

    /// The response depends on the session from now on: what the store has to be asked, if anything.
    fn question(&self) -> Option<Question> {
        let id = {
            let mut state = self.state();
            state.asked = true;
            state.id.filter(|_| state.is_unread())
        }?;
        let question = self.config.question(id);
        match self.config.held(&question) {
            Some(answer) => {
                self.absorb(&question, answer);
                None
            }
            None => Some(question),
        }
    }

    pub(super) fn absorb(&self, question: &Question, loaded: Loaded) {
        let id = &question.id;
        if let (Some(_), Some(age)) = (&loaded.record, loaded.age) {
            let used = question.at.saturating_sub(age);
            self.config.memo.note(id.random(), used);
        }
        if !is_foreign(&self.config, self.looks.as_ref(), loaded.record.as_ref()) {
            return self.state().found(id, loaded);
        }
        let on_mismatch = self.config.binding.map(|binding| binding.on_mismatch);
        let goes_on = on_mismatch == Some(OnMismatch::RequireLogin);
        self.state().foreign(id, goes_on);
    }

    /// What the record will be if nobody else has changed it, where no use has to be recorded as well.
    pub(super) fn short(&self, id: &SessionId, changes: &Changes, now: u64) -> Option<Short> {
        if self.config.is_use_due(id, now) {
            return None;
        }
        let state = self.state();
        let record = state.record().filter(|_| state.id.as_ref() == Some(id))?;
        Short::of(record, changes, self.config.limit)
    }

    /// The changes of a login, which bind it to what this request looks like.
    pub(super) fn bound(&self, changes: &Changes) -> Changes {
        let mut changes = changes.clone();
        if let Some(looks) = &self.looks {
            let field = looks.field(&self.config.keys);
            changes.fields.insert(FIELD.to_owned(), Some(field));
        }
        changes
    }

    /// Before a step that changes the id: the id of now, and the changes to send along.
    pub(super) fn start_write(&self) -> Result<(Option<SessionId>, Unsent<'_>), SessionError> {
        let mut state = self.state();
        if state.closed {
            return Err(SessionError::new(SessionErrorKind::TooLate));
        }
        state.asked = true;
        Ok((state.id, Unsent::take(self, &mut state)))
    }
}

pub(super) fn user_in(record: &super::record::Record) -> Option<User> {
    user_of(&record.header)
}

pub(super) fn user_of(header: &Header) -> Option<User> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (!header.is_anonymous()).then(|| User {
        tenant: text(&header.tenant),
        id: text(&header.user),
        sid: text(&header.sid),
        auth_ms: header.auth,
        // A login makes a new record, and renewals keep its time; `auth` moves when other devices are signed out.
        login_ms: header.created.min(header.auth),
    })
}

pub(super) fn check_name(name: &str) -> Result<(), SessionError> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(SessionError::new(SessionErrorKind::Invalid));
    }
    Ok(())
}

// Neither id nor contents.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}
