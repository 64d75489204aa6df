//! Tower layers for sessions, revocable JWTs, CSRF protection and refresh-token rotation.

#![forbid(unsafe_code)]

mod clock;
mod error;
#[cfg(feature = "jwt")]
pub mod jwt;

pub use clock::Clock;
pub use error::ConfigError;
