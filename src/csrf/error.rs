//! What keeps a token from being made.

use std::{error::Error, fmt, sync::Arc};

use crate::{
    refuse::{Rejection, RejectionKind},
    store::{StoreError, StoreErrorKind},
};

/// A CSRF token could not be made.
///
/// It converts into a [`Rejection`], so that a handler can end with `?`: 503 while the store is away, 500 otherwise.
#[derive(Clone, Debug)]
pub struct CsrfError {
    kind: CsrfErrorKind,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// What kept a token from being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CsrfErrorKind {
    /// The store could not give the secret of the session; only with
    /// [`stored`](super::CsrfLayerBuilder::stored) tokens.
    Store(StoreErrorKind),
    /// The operating system has no random numbers.
    Random,
    /// The head of the response has left without the cookie that the token needs: take the token before the body
    /// begins.
    TooLate,
}

impl CsrfError {
    pub(super) const fn too_late() -> Self {
        Self {
            kind: CsrfErrorKind::TooLate,
            source: None,
        }
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> CsrfErrorKind {
        self.kind
    }
}

impl From<StoreError> for CsrfError {
    fn from(error: StoreError) -> Self {
        Self {
            kind: CsrfErrorKind::Store(error.kind()),
            source: Some(Arc::new(error)),
        }
    }
}

impl From<getrandom::Error> for CsrfError {
    fn from(error: getrandom::Error) -> Self {
        Self {
            kind: CsrfErrorKind::Random,
            source: Some(Arc::new(error)),
        }
    }
}

impl From<CsrfError> for Rejection {
    fn from(error: CsrfError) -> Self {
        let kind = match error.kind {
            // A value that cannot be read stays unreadable: asking again does not help.
            CsrfErrorKind::Store(StoreErrorKind::Corrupt | StoreErrorKind::Config) => {
                RejectionKind::Internal
            }
            CsrfErrorKind::Store(_) => RejectionKind::Unavailable,
            CsrfErrorKind::Random | CsrfErrorKind::TooLate => RejectionKind::Internal,
        };
        Self::new(kind).caused_by(error)
    }
}

impl fmt::Display for CsrfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            CsrfErrorKind::Store(_) => "the store could not give the secret of the session",
            CsrfErrorKind::Random => "the operating system has no random numbers",
            CsrfErrorKind::TooLate => {
                "the response has left, the cookie of the token would not be set"
            }
        })
    }
}

impl Error for CsrfError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
