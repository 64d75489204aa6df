//! Saying no.
//!
//! A gate refuses with a [`Rejection`]; a responder ([`Refuse`]) turns it into a response. The default one answers gRPC
//! callers with a gRPC status and all others with a status, a challenge and a small JSON body.

mod body;
mod grpc;
mod http;
mod rejection;
mod respond;
mod table;

#[cfg(test)]
mod tests;

pub(crate) use grpc::Protocol;
pub use rejection::{Rejection, RejectionKind};
pub(crate) use respond::respond;
pub use respond::{DefaultRefuse, Refuse, Refused};
