//! The database is the truth: what stands in Redis and on nodes only makes it fast.

mod memory;
mod texts;
mod truth;

pub use memory::MemoryRegistry;
pub use truth::{
    Created, CutoffScope, Found, Limit, NewSession, Registered, Registry, RegistryError,
    RegistryErrorKind, RegistryFuture, Rotated, Which,
};
