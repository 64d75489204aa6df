//! The road: how anything stands in front of a service.
//!
//! Every layer of this crate is a *gate*: it looks at the head of a request and lets it pass, refuses it or answers it
//! by itself, and may look at the head of the response on the way out. This room holds the only `Service` and the only
//! hand-written `Future` of the crate; it knows HTTP and nothing of sessions, tokens or stores.

mod future;
mod service;
#[cfg(feature = "test-util")]
mod test_gate;

#[cfg(test)]
mod tests;

pub use future::ResponseFuture;
pub use service::Gated;
#[cfg(feature = "test-util")]
pub use test_gate::{Plan, TestGate};

// Some names are without a user until the first layer is built on them.
#[allow(unused_imports)]
pub(crate) use sealed::{BoxFuture, Entry, Exit, Leave, Refusal, Step, Steps};

/// What stands in front of a service. Implemented by the gates of this crate; sealed.
pub trait Gate: Steps {}

impl<G: Steps> Gate for G {}

pub(crate) mod sealed {
    use std::pin::Pin;

    use http::{HeaderMap, request, response};

    use crate::refuse::Rejection;

    /// The one boxed future of the road: a question to a store.
    #[allow(
        unreachable_pub,
        reason = "reachable as an associated type of the sealed traits"
    )]
    pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

    /// A decision about requests, cheap to clone (one `Arc` inside).
    pub trait Steps: Clone {
        /// What is left to do when the response comes back; `()` for a gate that never looks at it.
        type Exit: Exit;

        /// Decides about one request from its head.
        fn enter(&self, head: request::Parts) -> Step<Self::Exit>;
    }

    /// Decided here, or the store must say.
    #[allow(missing_debug_implementations, clippy::large_enum_variant)]
    pub enum Step<X> {
        /// Decided.
        Now(Entry<X>),
        /// The store is being asked.
        Ask(BoxFuture<Entry<X>>),
    }

    /// What becomes of a request.
    #[allow(missing_debug_implementations, clippy::large_enum_variant)]
    pub enum Entry<X> {
        /// On to the inner service.
        Pass(request::Parts, X),
        /// The inner service is never called; the responder turns the rejection into a response.
        Refuse(request::Parts, Rejection),
        /// The inner service is never called; this head is the answer, with an empty body.
        Answer(response::Parts),
    }

    /// What a gate still does to the response of the inner service.
    pub trait Exit {
        /// Whether `exit` ever waits, and so may refuse: only then the road remembers how the caller speaks.
        const MAY_REFUSE: bool = true;

        /// Called once with the head of the response, unless the inner service failed.
        fn exit(self, head: response::Parts) -> Leave;
    }

    /// The head that leaves, now or when the store has answered; an `Err` replaces the response by a refusal.
    #[allow(missing_debug_implementations, clippy::large_enum_variant)]
    pub enum Leave {
        /// Nothing to wait for.
        Now(response::Parts),
        /// The store is being asked.
        Wait(BoxFuture<Result<response::Parts, Refusal>>),
    }

    /// What replaces a response, and what the client must be told all the same.
    #[derive(Debug)]
    pub struct Refusal {
        pub(crate) rejection: Rejection,
        pub(crate) headers: Option<Box<HeaderMap>>,
    }

    impl From<Rejection> for Refusal {
        fn from(rejection: Rejection) -> Self {
            Self {
                rejection,
                headers: None,
            }
        }
    }

    impl Exit for () {
        const MAY_REFUSE: bool = false;

        fn exit(self, head: response::Parts) -> Leave {
            Leave::Now(head)
        }
    }
}
