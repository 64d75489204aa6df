//! The database is the truth: what stands in Redis and on nodes only makes it fast.

mod memory;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod tables;
mod texts;
mod truth;

pub use memory::MemoryRegistry;
#[cfg(feature = "postgres")]
pub use tables::PostgresRegistry;
#[cfg(feature = "sqlite")]
pub use tables::SqliteRegistry;
pub use truth::{
    Created, CutoffScope, Found, Limit, NewSession, Registered, Registry, RegistryError,
    RegistryErrorKind, RegistryFuture, Rotated, Which,
};
