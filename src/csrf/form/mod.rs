//! Tokens in submitted forms: the one place of this crate that reads a body.
//!
//! A form without a script has its token in a field, and a gate of the road sees no bodies. So [`CsrfFormLayer`] puts a
//! reader in front of the same gate: when the gate is going to need a token, no header has one and the body is a form, it
//! reads the beginning of the body until the field is there, leaves what it found to the gate and hands on a
//! [`FormBody`], which yields the very same bytes.
//!
//! Invariants: the gate alone decides; what is read is bounded; a body is read for no request that is decided without.

mod body;
mod find;
mod layer;
mod reader;

pub use body::FormBody;
pub(super) use find::{is_form, media_type};
pub use layer::CsrfFormLayer;
pub(super) use reader::Found;
pub use reader::{FormFuture, FormReader};
