//! A service behind a gate.

use std::{
    fmt, mem,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{Gate, ResponseFuture, sealed::Step};
use crate::refuse::{DefaultRefuse, Refuse};

/// A service behind one gate of this crate: what every layer of this crate makes.
///
/// Requests that the gate lets pass reach the inner service; the others are answered by the responder `R` or by the gate
/// itself, and the inner service is not called. Nothing else changes: the error is that of the inner service, and so is
/// the type of the response.
///
/// * The service that was polled ready is the one that is called, also if the store had to be asked in between. The inner
///   service is cloned for requests that ask the store and for no others.
/// * A request that is decided without the store costs the road no allocation.
/// * An error of the inner service passes untouched; the gate does not see it.
/// * The gate sees the response when its head is ready. What a handler does while it streams its body is too late.
/// * A client that disconnects drops the future wherever it is. While the store is being asked nothing has happened; after
///   the inner service answered, what the gate wanted to save may not be saved.
/// * A refusal on the way out replaces the whole response of the inner service, `Set-Cookie` included.
#[derive(Clone)]
pub struct Gated<S, G, R = DefaultRefuse> {
    inner: S,
    gate: G,
    responder: R,
}

impl<S, G, R> Gated<S, G, R> {
    /// Puts `gate` in front of `inner`; `responder` makes the refusals.
    pub const fn new(inner: S, gate: G, responder: R) -> Self {
        Self {
            inner,
            gate,
            responder,
        }
    }

    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, mutably.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service, without its gate.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, G, R, ReqB, ResB> Service<Request<ReqB>> for Gated<S, G, R>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    G: Gate,
    R: Refuse<ResB> + Clone,
{
    type Response = Response<ResB>;
    type Error = S::Error;
    type Future = ResponseFuture<S, G, R, ReqB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let (head, body) = request.into_parts();
        match self.gate.enter(head) {
            Step::Now(entry) => {
                ResponseFuture::decided(entry, body, &mut self.inner, &self.responder)
            }
            Step::Ask(question) => {
                // The clone has not been polled ready and must not be called: it stays here for the next request, and
                // the one that is ready goes along with this one.
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                ResponseFuture::asking(question, body, ready, self.responder.clone())
            }
        }
    }
}

// Gates hold keys and stores: only the service is shown.
impl<S: fmt::Debug, G, R> fmt::Debug for Gated<S, G, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gated")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

// A gate in front of a single gRPC service leaves it at its path.
#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService, G, R> tonic::server::NamedService for Gated<S, G, R> {
    const NAME: &'static str = S::NAME;
}
