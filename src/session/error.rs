//! What can go wrong with a session in a handler.

use std::{error::Error, fmt, sync::Arc};

use crate::{
    refuse::{Rejection, RejectionKind},
    store::{StoreError, StoreErrorKind},
};

/// A session could not be read or changed.
///
/// It converts into a [`Rejection`], so that a handler can end with `?`: 503 while the store is away, 401 for a session
/// that ended meanwhile, 500 for what only a change of the program mends.
#[derive(Clone, Debug)]
pub struct SessionError {
    kind: SessionErrorKind,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// What kept a session from being read or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionErrorKind {
    /// The store could not say, or could not confirm. This is *unknown*, not *logged out*.
    Store(StoreErrorKind),
    /// The session ended while this request was under way: logged out, expired or cut off.
    Gone,
    /// The session would be longer than the layer allows.
    TooLarge,
    /// The user is signed in on as many devices as the layer allows, and it refuses more.
    TooManyDevices,
    /// Everything of the user was ended after the authentication began ([`Login::not_before`]): authenticate again.
    ///
    /// [`Login::not_before`]: super::Login::not_before
    Outdated,
    /// A value cannot be written as JSON, or the stored JSON is not of the type asked for.
    Serde,
    /// The response has left already; a change now would never be saved.
    TooLate,
    /// The operating system has no random numbers.
    Random,
    /// A name or id that cannot be stored: empty, or longer than 256 bytes.
    Invalid,
}

impl SessionError {
    pub(super) const fn new(kind: SessionErrorKind) -> Self {
        Self { kind, source: None }
    }

    fn caused_by(kind: SessionErrorKind, source: impl Error + Send + Sync + 'static) -> Self {
        Self {
            kind,
            source: Some(Arc::new(source)),
        }
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> SessionErrorKind {
        self.kind
    }
}

impl From<StoreError> for SessionError {
    fn from(error: StoreError) -> Self {
        Self::caused_by(SessionErrorKind::Store(error.kind()), error)
    }
}

impl From<serde_json::Error> for SessionError {
    fn from(error: serde_json::Error) -> Self {
        Self::caused_by(SessionErrorKind::Serde, error)
    }
}

impl From<getrandom::Error> for SessionError {
    fn from(error: getrandom::Error) -> Self {
        Self::caused_by(SessionErrorKind::Random, error)
    }
}

impl From<SessionError> for Rejection {
    fn from(error: SessionError) -> Self {
        let kind = match error.kind {
            // A record that cannot be read stays unreadable: asking again does not help.
            SessionErrorKind::Store(
                StoreErrorKind::Corrupt | StoreErrorKind::Config | StoreErrorKind::Invalid,
            ) => RejectionKind::Internal,
            SessionErrorKind::Store(_) => RejectionKind::Unavailable,
            SessionErrorKind::Gone | SessionErrorKind::Outdated => RejectionKind::LoginRequired,
            SessionErrorKind::TooManyDevices => RejectionKind::Conflict,
            SessionErrorKind::TooLarge | SessionErrorKind::Invalid => RejectionKind::TooLarge,
            _ => RejectionKind::Internal,
        };
        let rejection = Self::new(kind);
        let rejection = match error.kind {
            SessionErrorKind::Outdated => rejection
                .code("authentication_outdated")
                .detail("everything was signed out meanwhile: sign in again"),
            _ => rejection,
        };
        rejection.caused_by(error)
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            SessionErrorKind::Store(_) => "the session store could not say",
            SessionErrorKind::Gone => "the session ended while the request was under way",
            SessionErrorKind::TooLarge => "the session would be larger than the layer allows",
            SessionErrorKind::TooManyDevices => "the user is signed in on too many devices",
            SessionErrorKind::Outdated => {
                "the authentication began before a cutoff: authenticate again"
            }
            SessionErrorKind::Serde => "a session value does not fit its type",
            SessionErrorKind::TooLate => "the response has left, a change would not be saved",
            SessionErrorKind::Random => "the operating system has no random numbers",
            SessionErrorKind::Invalid => "a name of a field, user or tenant is empty or too long",
        })
    }
}

impl Error for SessionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
