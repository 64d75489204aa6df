//! How many allocations the road costs, counted on the thread that walks it.

use std::{
    cell::Cell,
    convert::Infallible,
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use portcullis::{DefaultRefuse, Gated, Plan, Rejection, RejectionKind, TestGate};
use tower::{Service, service_fn};

use crate::means::alloc::count;

/// Walks `request` through a gate with this plan; the allocations from `call` to the response.
fn walk<B>(plan: Plan, request: Request<()>) -> (usize, Response<B>)
where
    B: Default + 'static,
{
    // What a gate does is not the matter here: the plan is handed over, not cloned.
    let plan = Cell::new(Some(plan));
    let gate = TestGate(|_: &http::request::Parts| plan.take().expect("one request"));
    let inner = service_fn(|_: Request<()>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(B::default())))
    });
    let mut service = Gated::new(inner, gate, DefaultRefuse::new());
    let mut cx = Context::from_waker(Waker::noop());
    count(|| {
        let mut future = pin!(service.call(request));
        loop {
            if let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut cx) {
                break response;
            }
        }
    })
}

fn request() -> Request<()> {
    Request::get("/").header("accept", "*/*").body(()).unwrap()
}

fn with_extensions() -> Request<()> {
    let mut request = request();
    request.extensions_mut().insert(1_u8);
    request
}

fn grpc() -> Request<()> {
    let request = Request::post("/").header("content-type", "application/grpc");
    request.body(()).unwrap()
}

fn allocations<B: Default + 'static>(plan: Plan, request: Request<()>) -> usize {
    walk::<B>(plan, request).0
}

const NO: Rejection = Rejection::new(RejectionKind::InvalidToken);

#[test]
fn a_local_pass_allocates_nothing() {
    assert_eq!(allocations::<Full<Bytes>>(Plan::Pass, request()), 0);
    assert_eq!(allocations::<Full<Bytes>>(Plan::Pass, grpc()), 0);
    assert_eq!(allocations::<String>(Plan::Pass, with_extensions()), 0);
}

#[test]
fn a_local_refusal_allocates_for_the_rejection_in_the_extensions_only() {
    // The value, and the map around it if the request had none.
    assert_eq!(
        allocations::<Full<Bytes>>(Plan::Refuse(NO), with_extensions()),
        1
    );
    assert_eq!(allocations::<Full<Bytes>>(Plan::Refuse(NO), request()), 3);
    assert_eq!(allocations::<Full<Bytes>>(Plan::Refuse(NO), grpc()), 3);
    assert_eq!(
        allocations::<tonic::body::Body>(Plan::Refuse(NO), grpc()),
        3
    );
}

#[test]
fn what_costs_more_is_what_the_documentation_says() {
    let own_code = Plan::Refuse(NO.code("jwt.expired"));
    assert_eq!(allocations::<Full<Bytes>>(own_code, with_extensions()), 2);
    let boxed = Plan::Refuse(NO);
    assert_eq!(allocations::<axum::body::Body>(boxed, with_extensions()), 2);
    let no_header = Request::new(());
    assert_eq!(allocations::<Full<Bytes>>(Plan::Refuse(NO), no_header), 5);
}

#[test]
fn a_question_to_the_store_is_one_box() {
    let plan = Plan::Ask(Box::new(Plan::Pass));
    assert_eq!(allocations::<Full<Bytes>>(plan, request()), 1);
}

#[test]
fn nothing_of_the_request_is_left_in_the_response() {
    let mut request = with_extensions();
    let secret = "Bearer secret".parse().unwrap();
    request.headers_mut().insert("authorization", secret);
    let (_, response) = walk::<String>(Plan::Refuse(NO), request);
    assert_eq!(response.extensions().get::<u8>(), None);
    assert_eq!(response.headers().get("authorization"), None);
    assert_eq!(response.headers().get("accept"), None);
}
