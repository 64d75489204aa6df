//! The error of wrong configuration, found when something is built and never later.

use std::{error::Error, fmt};

/// A setting that cannot be used, named together with the way to mend it.
///
/// Every builder of this crate checks its settings once, when it is built: a service that started is not going to
/// answer a request with this error.
///
/// ```
/// let error = portcullis::KeyRing::new("too short").unwrap_err();
/// assert_eq!(error.field(), "secret");
/// assert!(error.to_string().contains("at least 32 bytes"));
/// ```
#[derive(Debug)]
pub struct ConfigError {
    field: &'static str,
    message: Box<str>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ConfigError {
    /// `message` says what is wrong and what to do about it, in lower case and without a full stop.
    pub(crate) fn new(field: &'static str, message: impl Into<Box<str>>) -> Self {
        Self {
            field,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The name of the setting that is wrong, as its setter or constructor argument is called.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
