//! Why nobody could say, or would.

use std::{error::Error, fmt, sync::Arc};

use super::truth::RegistryError;
use crate::{
    refuse::{Rejection, RejectionKind},
    store::StoreError,
};

/// An operation on active sessions was not carried out, or nobody could say whether a session is active.
///
/// It never means that a session is not active.
#[derive(Clone, Debug)]
pub struct ActiveError {
    kind: ActiveErrorKind,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// Why an operation on active sessions was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ActiveErrorKind {
    /// The database did not answer, or not within its deadline. A write may have been carried out: try again.
    Database,
    /// As many questions to the database are under way as may be: try again in a moment.
    Busy,
    /// The store holds what this crate did not write.
    Store,
    /// The user has as many sessions as allowed.
    TooMany,
    /// A cutoff ended all sessions of the user while the password was being checked.
    Cut,
    /// An argument cannot be used: an empty user, an [`AuthStart`](crate::cutoff::AuthStart) that was
    /// not taken from [`ActiveSessions::auth_start`](super::ActiveSessions::auth_start), or random numbers that cannot be had.
    Invalid,
}

impl ActiveError {
    pub(super) const fn new(kind: ActiveErrorKind) -> Self {
        Self { kind, source: None }
    }

    pub(super) fn caused_by(
        kind: ActiveErrorKind,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            kind,
            source: Some(Arc::new(source)),
        }
    }

    /// Why it was not carried out.
    #[must_use]
    pub fn kind(&self) -> ActiveErrorKind {
        self.kind
    }
}

impl From<RegistryError> for ActiveError {
    fn from(error: RegistryError) -> Self {
        Self::caused_by(ActiveErrorKind::Database, error)
    }
}

impl From<StoreError> for ActiveError {
    fn from(error: StoreError) -> Self {
        Self::caused_by(ActiveErrorKind::Store, error)
    }
}

impl From<ActiveError> for Rejection {
    fn from(error: ActiveError) -> Self {
        let kind = match error.kind {
            ActiveErrorKind::Database | ActiveErrorKind::Busy | ActiveErrorKind::Store => {
                RejectionKind::Unavailable
            }
            ActiveErrorKind::TooMany => RejectionKind::Conflict,
            ActiveErrorKind::Cut => RejectionKind::InvalidGrant,
            ActiveErrorKind::Invalid => RejectionKind::Internal,
        };
        Self::new(kind).caused_by(error)
    }
}

impl fmt::Display for ActiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ActiveErrorKind::Database => "the database could not say",
            ActiveErrorKind::Busy => "too many questions to the database are under way",
            ActiveErrorKind::Store => "the store could not say",
            ActiveErrorKind::TooMany => "the user is signed in on too many devices",
            ActiveErrorKind::Cut => "all sessions of the user were ended meanwhile",
            ActiveErrorKind::Invalid => "an argument cannot be used",
        })
    }
}

impl Error for ActiveError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
