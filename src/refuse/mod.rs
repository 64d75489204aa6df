//! Saying no.

mod grpc;
mod http;
mod rejection;

pub use self::http::DefaultRefuse;
pub use rejection::{Rejection, RejectionKind};
