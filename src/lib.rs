//! Tower layers for sessions, revocable JWTs, CSRF protection and refresh-token rotation.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
mod error;
mod secret;
mod trace;

pub mod store;

pub use clock::Clock;
pub use error::ConfigError;
pub use store::{Store, StoreError, StoreErrorKind};
