//! The database is the truth: what stands in Redis and on nodes only makes it fast.

mod check;
mod database;
mod error;
#[cfg(feature = "refresh")]
mod family;
mod flight;
mod gate;
mod handle;
mod inner;
mod layer;
mod login;
mod ops;
mod outbox;
mod revoke;
mod settings;
mod standing;
mod sync;
#[cfg(test)]
mod tests;
mod truth;
mod twins;

pub use error::{ActiveError, ActiveErrorKind};
#[cfg(feature = "refresh")]
pub(crate) use family::RegistryFamily;
pub use gate::ActiveSessionGate;
pub use handle::ActiveSessions;
pub use layer::{ActiveSessionLayer, ActiveSessionLayerBuilder};
pub use login::{NewLogin, SignedIn};
pub use revoke::Revocation;
pub use settings::ActiveSessionsBuilder;
pub use truth::{
    Created, CutoffScope, Found, Limit, NewSession, Registered, Registry, RegistryError,
    RegistryErrorKind, RegistryFuture, Rotated, Which,
};
