//! The handle by which a handler shows a token, and the pre-session cookie that visitors' tokens need.
//!
//! Invariants: a token is made when it is asked for, from what the session is by then; a pre-session is made only when a
//! token needs it, is never a session's id, and does not outlive a login or a logout.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderMap, HeaderValue, response};

use super::{
    config::Config,
    error::CsrfError,
    stored,
    token::{Binding, PreSession, Tokens},
};
use crate::{
    caching, cookie,
    session::{CsrfAfter, CsrfBinding, CsrfPlace, Session},
    trace::{event_error, event_warn},
};

/// The CSRF token of a visitor, to put into a page: found in the request's extensions behind
/// [`CsrfLayer`](super::CsrfLayer).
///
/// - A request that shows no token costs nothing. The first token of a visitor without a session makes the pre-session
///   cookie appear in the response; a response that shows one says `Cache-Control: no-store`.
/// - Every call makes another text, and all of them are good until the visitor logs in or out or the session is renewed
///   (BREACH: nothing repeats that could be guessed at).
/// - **Take the token after the login**, when one request does both: a login voids every token before it, that of its own
///   request included.
/// - Clones are the same handle.
///
/// ```
/// # use portcullis::csrf::{CsrfError, CsrfToken};
/// async fn form(csrf: &CsrfToken) -> Result<String, CsrfError> {
///     let (name, token) = (csrf.field_name(), csrf.token().await?);
///     Ok(format!(r#"<form method="post"><input type="hidden" name="{name}" value="{token}">..."#))
/// }
/// ```
#[derive(Clone)]
pub struct CsrfToken(Arc<Inner>);

struct Inner {
    config: Arc<Config>,
    session: Session,
    carried: Carried,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    shown: bool,
    /// The pre-session that this request made.
    made: Option<PreSession>,
    /// Whether the head of the response has left.
    closed: bool,
}

/// The pre-session cookies that came with a request.
#[derive(Default)]
struct Carried {
    present: bool,
    /// The session of the request, if there is any such cookie.
    with: Option<CsrfBinding>,
    /// The one that is ours: plain for a visitor, attached to that session otherwise.
    ours: Option<PreSession>,
}

impl Carried {
    fn find(config: &Config, session: &Session, headers: &HeaderMap) -> Self {
        let name = &*config.cookie.name;
        let lines = || headers.get_all(http::header::COOKIE).iter();
        let mut values = cookie::candidates(lines(), name).peekable();
        if values.peek().is_none() {
            return Self::default();
        }
        let with = session.csrf_binding();
        let mut seen = 0;
        let read = |value| {
            seen += 1;
            config.tokens.pre_session(name, value, with.as_ref())
        };
        let mut all = values.filter_map(read);
        let mut ours = all.next();
        let several = all.any(|other| Some(other) != ours);
        if several || (ours.is_some() && cookie::left_unseen(lines(), name, seen)) {
            // Somebody planted one of theirs beside the visitor's, or hid the visitor's behind others: none can be trusted to
            // be the right one.
            event_warn!(
                event = "csrf.ambiguous",
                "two authentic pre-session cookies in one request, or more cookies than are looked at"
            );
            ours = None;
        }
        Self {
            present: true,
            with,
            ours,
        }
    }

    fn visitors(&self) -> Option<PreSession> {
        self.ours.filter(|_| self.with.is_none())
    }
}

impl CsrfToken {
    pub(super) fn new(config: &Arc<Config>, session: Session, headers: &HeaderMap) -> Self {
        Self(Arc::new(Inner {
            carried: Carried::find(config, &session, headers),
            config: Arc::clone(config),
            session,
            state: Mutex::default(),
        }))
    }

    /// A token of 86 characters of the base64url alphabet, another one at each call.
    ///
    /// It waits for nothing, unless tokens are [`stored`](super::CsrfLayerBuilder::stored): then it is one trip to the
    /// store.
    ///
    /// # Errors
    ///
    /// When the operating system has no random numbers, the store cannot give the secret of a stored token, or the head
    /// of the response has left without the cookie that the token of a visitor needs.
    pub async fn token(&self) -> Result<String, CsrfError> {
        let inner = &*self.0;
        let session = if inner.config.stored {
            if let Some(secret) = inner.stored_secret().await? {
                return inner.show(Binding::Stored(&secret));
            }
            inner.session.csrf_binding()
        } else {
            inner.session.csrf_binding_ahead()?
        };
        match session {
            Some(binding) => inner.show(Binding::Session(&binding)),
            None => inner.show(Binding::Anonymous(&inner.pre_session()?)),
        }
    }

    /// The name of the header that takes the token; `x-csrf-token` by default.
    #[must_use]
    pub fn header_name(&self) -> &str {
        self.0.config.header.as_str()
    }

    /// The name of the form field that takes the token; `csrf_token` by default.
    #[must_use]
    pub fn field_name(&self) -> &str {
        &self.0.config.field
    }

    /// Whether this is a token of this visitor. `secret` is that of the session where tokens are stored.
    pub(super) fn is_good(&self, token: &[u8], secret: Option<&[u8; 32]>) -> bool {
        let inner = &*self.0;
        let check = |binding: Binding<'_>| inner.config.tokens.check(token, binding, "");
        // Where there is a stored secret, only it counts.
        let of_session = match (secret, inner.session.csrf_binding()) {
            (Some(secret), _) => check(Binding::Stored(secret)),
            (None, Some(binding)) => check(Binding::Session(&binding)),
            (None, None) => false,
        };
        let ours = inner.carried.ours.as_ref();
        of_session || ours.is_some_and(|pre| check(Binding::Anonymous(pre)))
    }

    /// Where the secret of a stored token lies, if there is a session.
    pub(super) fn stored_place(&self) -> Option<CsrfPlace> {
        self.0.config.stored.then(|| self.0.session.csrf_place())?
    }

    pub(super) fn is_of_a_session(&self) -> bool {
        self.0.session.csrf_binding().is_some()
    }

    /// Writes what the response has to say: the cookie, and that nobody keeps a token.
    pub(super) fn leave(&self, head: &mut response::Parts) {
        let inner = &*self.0;
        let State { shown, made, .. } = {
            let mut state = inner.state();
            state.closed = true;
            *state
        };
        if !shown && !inner.carried.present {
            return;
        }
        let cookie = match inner.session.csrf_after(!head.status.is_server_error()) {
            Ok(after) => inner.cookie(after, made),
            Err(error) => {
                event_error!(event = "csrf.cookie", %error, "a pre-session cookie could not be written");
                None
            }
        };
        let changes = cookie.is_some();
        if let Some(cookie) = cookie {
            cookie::put(&mut head.headers, cookie);
        }
        if shown {
            caching::vary(&mut head.headers, "cookie");
        }
        if shown || changes {
            // A page that shows a token is for one visitor, and for now: a copy would show one that a login has voided.
            caching::forbid_storing(&mut head.headers, &["no-store"]);
        }
    }
}

impl Inner {
    /// Nobody panics while holding the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, binding: Binding<'_>) -> Result<String, CsrfError> {
        self.state().shown = true;
        Ok(self.config.tokens.make(binding, "")?)
    }

    /// That of the visitor, made if there is none.
    fn pre_session(&self) -> Result<PreSession, CsrfError> {
        let mut state = self.state();
        if let Some(pre) = state.made.or_else(|| self.carried.visitors()) {
            return Ok(pre);
        }
        if state.closed {
            return Err(CsrfError::too_late());
        }
        let pre = Tokens::new_pre_session()?;
        state.made = Some(pre);
        Ok(pre)
    }

    async fn stored_secret(&self) -> Result<Option<[u8; 32]>, CsrfError> {
        let Some(place) = self.session.csrf_place() else {
            return Ok(None);
        };
        let reply = place.store.run(stored::make(&place)?).await?;
        Ok(stored::secret_in(reply)?)
    }

    /// What the response says about the pre-session: set, attached to a session that was made, or removed.
    fn cookie(&self, after: CsrfAfter, made: Option<PreSession>) -> Option<HeaderValue> {
        let Carried {
            present,
            with,
            ours,
        } = self.carried;
        let removal = || self.config.cookie.removal();
        match after {
            CsrfAfter::Made(session) => match made.or_else(|| self.carried.visitors()) {
                Some(pre) => self.set(&pre, Some(&session)),
                None => (present && !(with == Some(session) && ours.is_some())).then(removal),
            },
            CsrfAfter::Session(session) => {
                let attached = with == Some(session) && ours.is_some();
                (present && !attached).then(removal)
            }
            CsrfAfter::Visitor => match made {
                Some(pre) => self.set(&pre, None),
                // A logout.
                None => with.is_some().then(removal),
            },
        }
    }

    fn set(&self, pre: &PreSession, attached: Option<&CsrfBinding>) -> Option<HeaderValue> {
        let config = &self.config;
        let value = config
            .tokens
            .pre_session_cookie(&config.cookie.name, pre, attached);
        // The builder has checked the name, and the value is short.
        config
            .cookie
            .set(&value, None, 0)
            .inspect_err(|error| event_error!(event = "csrf.cookie", %error, "a pre-session cookie could not be written"))
            .ok()
    }
}

// Neither a binding nor a cookie.
impl fmt::Debug for CsrfToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsrfToken").finish_non_exhaustive()
    }
}
