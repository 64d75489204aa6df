//! The database is the truth: what stands in Redis and on nodes only makes it fast.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod database;
mod memory;
mod texts;
mod truth;

#[cfg(feature = "postgres")]
pub use database::PostgresRegistry;
#[cfg(feature = "sqlite")]
pub use database::SqliteRegistry;
pub use memory::MemoryRegistry;
pub use truth::{
    Created, CutoffScope, Found, Limit, NewSession, Registered, Registry, RegistryError,
    RegistryErrorKind, RegistryFuture, Rotated, Which,
};
