//! Why the store could not say.

use std::{error::Error, fmt, sync::Arc};

use crate::refuse::{Rejection, RejectionKind};

/// The store could not answer: an outage, a refusal by the server, or a value that is not ours.
///
/// An error of this type means *unknown*. It never means that a session does not exist or that a token is revoked.
#[derive(Clone, Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    operation: &'static str,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// What kept the store from answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// There is no connection to the server, it broke while the question was under way, or thousands of calls wait for it
    /// already.
    ///
    /// Whether a write was carried out is not known.
    Unavailable,
    /// The deadline of the store passed first. Whether a write was carried out is not known.
    Timeout,
    /// The server wants other credentials or grants too few rights (`NOAUTH`, `WRONGPASS`, `NOPERM`).
    Denied,
    /// The server answered with an error, for instance `OOM`, `READONLY` or `LOADING`. Nothing was written.
    Server,
    /// What is stored under a key of this crate was not written by it.
    Corrupt,
    /// The in-memory store has reached its limit. Nothing was written.
    Full,
    /// The address or a setting of the store cannot be used.
    Config,
    /// An empty user, tenant or issuer where there has to be one. The store was not asked.
    Invalid,
}

impl StoreError {
    pub(crate) const fn new(kind: StoreErrorKind) -> Self {
        Self {
            kind,
            operation: "",
            source: None,
        }
    }

    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    pub(crate) fn during(mut self, operation: &'static str) -> Self {
        self.operation = operation;
        self
    }

    /// What kept the store from answering.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether asking again later can help without anybody mending anything: no connection, a passed deadline, or a
    /// server that refuses for the moment.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(
            self.kind,
            StoreErrorKind::Unavailable | StoreErrorKind::Timeout | StoreErrorKind::Server
        )
    }
}

/// An outage is 503; what only a change of the program or the store mends is 500.
impl From<StoreError> for Rejection {
    fn from(error: StoreError) -> Self {
        let kind = match error.kind {
            StoreErrorKind::Corrupt | StoreErrorKind::Config | StoreErrorKind::Invalid => {
                RejectionKind::Internal
            }
            _ => RejectionKind::Unavailable,
        };
        Self::new(kind).caused_by(error)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            StoreErrorKind::Unavailable => "the store is not reachable",
            StoreErrorKind::Timeout => "the store did not answer within the deadline",
            StoreErrorKind::Denied => "the store refuses the credentials or the command",
            StoreErrorKind::Server => "the store answered with an error",
            StoreErrorKind::Corrupt => "the store holds a value that this crate did not write",
            StoreErrorKind::Full => "the in-memory store is full",
            StoreErrorKind::Config => "the store is configured wrongly",
            StoreErrorKind::Invalid => "a user, tenant or issuer is empty",
        })?;
        if !self.operation.is_empty() {
            write!(f, " ({})", self.operation)?;
        }
        Ok(())
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
