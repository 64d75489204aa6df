//! Tower layers for sessions, revocable JWTs, CSRF protection and refresh-token rotation.

#![forbid(unsafe_code)]

mod clock;
mod error;
mod gate;
#[cfg(feature = "jwt")]
pub mod jwt;
mod refuse;

pub use clock::Clock;
pub use error::ConfigError;
pub use gate::{Gate, Gated, ResponseFuture};
#[cfg(feature = "test-util")]
#[doc(hidden)]
pub use gate::{Plan, TestGate};
pub use refuse::{DefaultRefuse, Refuse, Refused, Rejection, RejectionKind};
