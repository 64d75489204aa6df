//! What the public types promise to the compiler.

use http::{Request, Response};
use portcullis::{
    DefaultRefuse, Gated, Plan, Refused, Rejection, RejectionKind, ResponseFuture, TestGate,
};

macro_rules! table {
    ($($type:ty: $($bound:path),+;)*) => {
        $(const _: fn() = || {
            fn assert<T: $($bound +)+ ?Sized>() {}
            assert::<$type>();
        };)*
    };
}

type Gate = TestGate<fn(&http::request::Parts) -> Plan>;
type Inner = std::future::Ready<Result<Response<String>, std::io::Error>>;

/// A service with a future that is neither pinned nor boxed.
#[derive(Clone, Debug)]
struct Plain;

impl<B> tower::Service<Request<B>> for Plain {
    type Response = Response<String>;
    type Error = std::io::Error;
    type Future = Inner;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), std::io::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Inner {
        std::future::ready(Ok(Response::default()))
    }
}

table! {
    Rejection: Send, Sync, Unpin, Clone, std::fmt::Debug, std::error::Error, Detached;
    RejectionKind: Send, Sync, Unpin, Copy, Eq, std::hash::Hash, std::fmt::Debug, Detached;
    DefaultRefuse: Send, Sync, Unpin, Copy, Default, std::fmt::Debug, Detached;
    Refused: Send, Sync, Unpin, std::fmt::Debug, Detached;
    Gated<Plain, Gate>: Send, Sync, Unpin, Clone, std::fmt::Debug, Detached;
    ResponseFuture<Plain, Gate, DefaultRefuse, String>: Send, Unpin, std::fmt::Debug, Detached;
    // A body that cannot be sent makes the future stay on its thread, and nothing else.
    Gated<Plain, Gate>: tower::Service<Request<std::rc::Rc<()>>>;
}

/// `'static`, as a trait.
trait Detached: 'static {}

impl<T: 'static> Detached for T {}

#[test]
fn a_rejection_is_small() {
    assert!(size_of::<Rejection>() <= 48, "{}", size_of::<Rejection>());
    assert!(size_of::<Result<(), Rejection>>() <= 48);
}
