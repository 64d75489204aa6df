//! Tower layers for sessions, revocable JWTs, CSRF protection and refresh-token rotation.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
#[cfg(feature = "session")]
mod cookie;
#[cfg(feature = "csrf")]
mod csrf;
mod error;
mod keyring;
mod secret;
mod trace;

pub use clock::Clock;
#[cfg(feature = "session")]
pub use cookie::SameSite;
pub use error::ConfigError;
pub use keyring::KeyRing;
