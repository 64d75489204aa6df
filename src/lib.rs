//! Tower layers for sessions, revocable JWTs, CSRF protection and refresh-token rotation.

mod gate;
mod refuse;

pub use gate::{Gate, Gated, ResponseFuture};
#[cfg(feature = "test-util")]
#[doc(hidden)]
pub use gate::{Plan, TestGate};
pub use refuse::{DefaultRefuse, Refuse, Refused, Rejection, RejectionKind};
