//! Tower layers for sessions, revocable JWTs, CSRF protection and refresh-token rotation.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "blacklist")]
pub mod blacklist;
pub mod cutoff;
pub mod frameworks;
pub mod near;
#[cfg(feature = "session")]
pub mod session;
pub mod store;

mod clock;
#[cfg(feature = "session")]
mod cookie;
#[cfg(feature = "session")]
mod device;
mod error;
mod gate;
#[cfg(feature = "jwt")]
pub mod jwt;
mod keyring;
mod recent;
mod refuse;
mod secret;
mod trace;

pub use clock::Clock;
#[cfg(feature = "session")]
pub use cookie::SameSite;
pub use error::ConfigError;
pub use gate::{Gate, Gated, ResponseFuture};
#[cfg(feature = "test-util")]
#[doc(hidden)]
pub use gate::{Plan, TestGate};
pub use keyring::KeyRing;
pub use refuse::{DefaultRefuse, Refuse, Refused, Rejection, RejectionKind};
pub use store::{Store, StoreError, StoreErrorKind};
