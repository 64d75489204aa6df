//! Tower layers for sessions, revocable JWTs, CSRF protection and refresh-token rotation.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
#[cfg(feature = "session")]
mod cookie;
mod error;
mod keyring;
mod secret;
mod trace;

pub mod store;

pub use clock::Clock;
#[cfg(feature = "session")]
pub use cookie::SameSite;
pub use error::ConfigError;
pub use keyring::KeyRing;
pub use store::{Store, StoreError, StoreErrorKind};
