//! The database is the truth: what stands in Redis and on nodes only makes it fast.

mod check;
mod database;
mod error;
mod flight;
mod gate;
mod handle;
mod inner;
mod layer;
mod login;
mod memory;
mod ops;
mod outbox;
mod settings;
mod standing;
mod sync;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod tables;
#[cfg(test)]
mod tests;
mod texts;
mod truth;
mod twins;

pub use error::{ActiveError, ActiveErrorKind};
pub use gate::ActiveSessionGate;
pub use handle::{ActiveSessions, Revocation};
pub use layer::{ActiveSessionLayer, ActiveSessionLayerBuilder};
pub use login::{NewLogin, SignedIn};
pub use memory::MemoryRegistry;
pub use settings::ActiveSessionsBuilder;
#[cfg(feature = "postgres")]
pub use tables::PostgresRegistry;
#[cfg(feature = "sqlite")]
pub use tables::SqliteRegistry;
pub use truth::{
    Created, CutoffScope, Found, Limit, NewSession, Registered, Registry, RegistryError,
    RegistryErrorKind, RegistryFuture, Rotated, Which,
};
