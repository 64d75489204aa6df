//! What makes the crate natural in one framework. Uses public items only.

#[cfg(feature = "axum")]
pub mod axum;
