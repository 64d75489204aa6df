//! Poll-level tests: which service is called, when, and what is dropped with the future.

use std::{
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use http::{Request, Response, StatusCode, header::SET_COOKIE, request, response};
use tokio::sync::oneshot;
use tower_service::Service;

use super::{BoxFuture, Entry, Exit, Gated, Leave, ResponseFuture, Step, Steps};
use crate::refuse::{DefaultRefuse, Refused, Rejection, RejectionKind};

/// What happened to a [`Probe`] and all its clones.
#[derive(Default)]
struct Log {
    clones: AtomicUsize,
    calls: AtomicUsize,
    /// Futures of the probe that are alive.
    running: AtomicUsize,
    /// Response bodies of the probe that are alive.
    bodies: AtomicUsize,
}

impl Log {
    fn clones(&self) -> usize {
        self.clones.load(Ordering::SeqCst)
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    fn bodies(&self) -> usize {
        self.bodies.load(Ordering::SeqCst)
    }
}

#[derive(Clone, Copy)]
enum Answer {
    Ok,
    Err,
    Never,
}

/// A service that must be polled ready before each call, and whose clones are not ready.
struct Probe {
    ready: bool,
    answer: Answer,
    log: Arc<Log>,
}

impl Probe {
    fn new(answer: Answer) -> (Self, Arc<Log>) {
        let log = Arc::new(Log::default());
        let probe = Self {
            ready: false,
            answer,
            log: Arc::clone(&log),
        };
        (probe, log)
    }
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        self.log.clones.fetch_add(1, Ordering::SeqCst);
        Self {
            ready: false,
            answer: self.answer,
            log: Arc::clone(&self.log),
        }
    }
}

struct Running(Arc<Log>, Answer);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Future for Running {
    type Output = Result<Response<Body>, &'static str>;

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.1 {
            Answer::Ok => {
                let response = Response::builder().header(SET_COOKIE, "inner=1");
                let body = Body(Some(Content::answered(&self.0)));
                Poll::Ready(Ok(response.body(body).unwrap()))
            }
            Answer::Err => Poll::Ready(Err("inner")),
            Answer::Never => Poll::Pending,
        }
    }
}

impl Service<Request<Body>> for Probe {
    type Response = Response<Body>;
    type Error = &'static str;
    type Future = Running;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Running {
        assert!(
            std::mem::take(&mut self.ready),
            "called without being polled ready"
        );
        self.log.calls.fetch_add(1, Ordering::SeqCst);
        self.log.running.fetch_add(1, Ordering::SeqCst);
        Running(Arc::clone(&self.log), self.answer)
    }
}

/// A body that cannot be sent to another thread: the road must not ask for that.
#[derive(Default)]
struct Body(#[allow(dead_code)] Option<Content>);

/// Either from a request, or from the probe and counted in its log.
enum Content {
    Asked(#[allow(dead_code)] Rc<()>),
    Answered(Arc<Log>),
}

impl Content {
    fn answered(log: &Arc<Log>) -> Self {
        log.bodies.fetch_add(1, Ordering::SeqCst);
        Self::Answered(Arc::clone(log))
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if let Self::Answered(log) = self {
            log.bodies.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[derive(Clone)]
struct TestGate<F>(F);

impl<F: Fn(request::Parts) -> Step<TestExit> + Clone> Steps for TestGate<F> {
    type Exit = TestExit;

    fn enter(&self, head: request::Parts) -> Step<TestExit> {
        (self.0)(head)
    }
}

struct TestExit(Box<dyn FnOnce(response::Parts) -> Leave + Send>);

impl Exit for TestExit {
    fn exit(self, head: response::Parts) -> Leave {
        (self.0)(head)
    }
}

fn pass(head: request::Parts) -> Entry<TestExit> {
    Entry::Pass(head, TestExit(Box::new(Leave::Now)))
}

fn pass_then(
    head: request::Parts,
    exit: impl FnOnce(response::Parts) -> Leave + Send + 'static,
) -> Entry<TestExit> {
    Entry::Pass(head, TestExit(Box::new(exit)))
}

fn answer_of<T: Send + 'static>(store: oneshot::Receiver<T>) -> BoxFuture<T> {
    Box::pin(async { store.await.expect("the store answers") })
}

/// The receiver goes to the first one that asks; a gate is called through `&self`.
fn once<T>(value: T) -> impl Fn() -> T + Clone {
    let value = Arc::new(std::sync::Mutex::new(Some(value)));
    move || value.lock().unwrap().take().unwrap()
}

fn request() -> Request<Body> {
    Request::new(Body::default())
}

fn parts() -> request::Parts {
    request().into_parts().0
}

type Started<F> = ResponseFuture<Probe, TestGate<F>, DefaultRefuse, Body>;

fn gated<F>(answer: Answer, gate: F) -> (Gated<Probe, TestGate<F>>, Arc<Log>)
where
    F: Fn(request::Parts) -> Step<TestExit> + Clone,
{
    let (probe, log) = Probe::new(answer);
    (Gated::new(probe, TestGate(gate), DefaultRefuse), log)
}

/// Polls the service ready and calls it.
fn start<F>(service: &mut Gated<Probe, TestGate<F>>) -> Started<F>
where
    F: Fn(request::Parts) -> Step<TestExit> + Clone,
{
    assert!(service.poll_ready(&mut cx()).is_ready());
    service.call(request())
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn rejection_of(response: &Response<Body>) -> Option<RejectionKind> {
    response.extensions().get().map(Rejection::kind)
}

#[test]
fn a_local_pass_calls_the_service_itself_and_clones_nothing() {
    let (mut service, log) = gated(Answer::Ok, |head| Step::Now(pass(head)));
    for calls in 1..=3 {
        let mut future = pin!(start(&mut service));
        assert_eq!(log.calls(), calls, "called within `call`");
        assert!(future.as_mut().poll(&mut cx()).is_ready());
    }
    assert_eq!(log.clones(), 0);
}

#[test]
fn the_service_polled_ready_is_called_after_the_store_answered() {
    let (store, asked) = oneshot::channel();
    let asked = once(asked);
    let (mut service, log) = gated(Answer::Ok, move |_| Step::Ask(answer_of(asked())));
    let mut future = pin!(start(&mut service));
    assert!(future.as_mut().poll(&mut cx()).is_pending());
    assert_eq!((log.clones(), log.calls()), (1, 0));
    // Not ready is what stayed behind: the next request has to poll it first.
    assert!(!service.get_ref().ready);

    assert!(store.send(pass(parts())).is_ok());
    let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut cx()) else {
        panic!("the probe answers at once");
    };
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(log.calls(), 1);
}

#[test]
fn two_requests_may_ask_at_once() {
    let (stores, asked): (Vec<_>, Vec<_>) = (0..2).map(|_| oneshot::channel()).unzip();
    let asked = Arc::new(std::sync::Mutex::new(asked));
    let (mut service, log) = gated(Answer::Ok, move |_| {
        Step::Ask(answer_of(asked.lock().unwrap().remove(0)))
    });
    let mut first = pin!(start(&mut service));
    let mut second = pin!(start(&mut service));
    for store in stores.into_iter().rev() {
        assert!(store.send(pass(parts())).is_ok());
    }
    assert!(second.as_mut().poll(&mut cx()).is_ready());
    assert!(first.as_mut().poll(&mut cx()).is_ready());
    assert_eq!((log.clones(), log.calls()), (2, 2));
}

#[test]
fn a_refusal_never_calls_the_service() {
    let refuse = || Rejection::new(RejectionKind::Csrf).code("csrf.origin");
    let (mut service, log) = gated(Answer::Ok, move |head| {
        Step::Now(Entry::Refuse(head, refuse()))
    });
    let Poll::Ready(Ok(response)) = pin!(start(&mut service)).poll(&mut cx()) else {
        panic!("decided at once");
    };
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let rejection: &Rejection = response.extensions().get().unwrap();
    assert_eq!(rejection.reason_code(), "csrf.origin");
    assert_eq!((log.clones(), log.calls()), (0, 0));
}

#[test]
fn a_refusal_after_the_store_answered_never_calls_the_service() {
    let (store, asked) = oneshot::channel();
    let asked = once(asked);
    let (mut service, log) = gated(Answer::Ok, move |_| Step::Ask(answer_of(asked())));
    let future = start(&mut service);
    let refused = Entry::Refuse(parts(), RejectionKind::Unavailable.into());
    assert!(store.send(refused).is_ok());
    let Poll::Ready(Ok(response)) = pin!(future).poll(&mut cx()) else {
        panic!("the store has answered");
    };
    assert_eq!(rejection_of(&response), Some(RejectionKind::Unavailable));
    assert_eq!(log.calls(), 0);
}

#[test]
fn the_rejection_is_kept_whatever_the_responder_does() {
    let (probe, _) = Probe::new(Answer::Ok);
    let gate = TestGate(|head| {
        let rejection = Rejection::new(RejectionKind::Forbidden);
        Step::Now(Entry::Refuse(head, rejection))
    });
    let responder = |_: &Refused, _: &Rejection| Response::new(Body::default());
    let mut service = Gated::new(probe, gate, responder);
    let Poll::Ready(Ok(response)) = pin!(service.call(request())).poll(&mut cx()) else {
        panic!("decided at once");
    };
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(rejection_of(&response), Some(RejectionKind::Forbidden));
}

#[test]
fn a_gate_may_answer_by_itself() {
    let (mut service, log) = gated(Answer::Ok, |_| {
        let answer = Response::builder().status(204).header("x-gate", "answer");
        Step::Now(Entry::Answer(answer.body(()).unwrap().into_parts().0))
    });
    let Poll::Ready(Ok(response)) = pin!(start(&mut service)).poll(&mut cx()) else {
        panic!("decided at once");
    };
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(response.headers()["x-gate"], "answer");
    assert_eq!(rejection_of(&response), None);
    assert_eq!(log.calls(), 0);
}

#[test]
fn the_response_leaves_when_the_store_has_answered() {
    let (store, asked) = oneshot::channel();
    let asked = once(asked);
    let (mut service, log) = gated(Answer::Ok, move |head| {
        let asked = asked();
        Step::Now(pass_then(head, |head| {
            assert_eq!(head.headers[SET_COOKIE], "inner=1");
            Leave::Wait(answer_of(asked))
        }))
    });
    let mut future = pin!(start(&mut service));
    assert!(future.as_mut().poll(&mut cx()).is_pending());
    let head = Response::builder().status(201).body(()).unwrap();
    assert!(store.send(Ok(head.into_parts().0)).is_ok());
    let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut cx()) else {
        panic!("the store has answered");
    };
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(log.bodies(), 1, "the body is that of the service");
    assert_eq!(rejection_of(&response), None);
}

#[test]
fn a_refusal_on_the_way_out_leaves_nothing_of_the_inner_response() {
    for (content_type, status) in [("text/plain", 503), ("application/grpc", 200)] {
        let (mut service, log) = gated(Answer::Ok, |head| {
            Step::Now(pass_then(head, |_| {
                Leave::Wait(Box::pin(async {
                    Err(Rejection::new(RejectionKind::Unavailable).into())
                }))
            }))
        });
        assert!(service.poll_ready(&mut cx()).is_ready());
        let request = Request::builder().header("content-type", content_type);
        let future = service.call(request.body(Body::default()).unwrap());
        let Poll::Ready(Ok(response)) = pin!(future).poll(&mut cx()) else {
            panic!("the store has answered");
        };
        assert_eq!(response.status(), status);
        assert_eq!(response.headers().get(SET_COOKIE), None);
        assert_eq!(log.bodies(), 0);
        assert_eq!(rejection_of(&response), Some(RejectionKind::Unavailable));
        assert_eq!(log.calls(), 1);
    }
}

#[test]
fn an_error_of_the_service_passes_and_skips_the_exit() {
    let (mut service, log) = gated(Answer::Err, |head| {
        Step::Now(pass_then(head, |_| unreachable!("no response, no exit")))
    });
    let result = pin!(start(&mut service)).poll(&mut cx());
    assert!(matches!(result, Poll::Ready(Err("inner"))));
    assert_eq!(log.running(), 0);
}

/// Says with its count whether somebody still holds it.
fn tracer() -> (Arc<()>, Arc<()>) {
    let kept = Arc::new(());
    (Arc::clone(&kept), kept)
}

#[test]
fn dropped_while_asking_nothing_was_called_and_nothing_is_left() {
    let (held, kept) = tracer();
    let (mut service, log) = gated(Answer::Ok, move |_| {
        let held = Arc::clone(&held);
        Step::Ask(Box::pin(async move {
            let _held = held;
            std::future::pending().await
        }))
    });
    let body = Rc::new(());
    assert!(service.poll_ready(&mut cx()).is_ready());
    let mut future = Box::pin(service.call(Request::new(Body(Some(Content::Asked(body.clone()))))));
    assert!(future.as_mut().poll(&mut cx()).is_pending());
    assert_eq!(Arc::strong_count(&kept), 3);
    assert_eq!(Rc::strong_count(&body), 2);
    // The log knows the service that stayed and the one that waits.
    assert_eq!(Arc::strong_count(&log), 3);
    drop(future);
    assert_eq!(Arc::strong_count(&kept), 2);
    assert_eq!(Rc::strong_count(&body), 1);
    assert_eq!(Arc::strong_count(&log), 2);
    assert_eq!(log.calls(), 0);
}

#[test]
fn dropped_while_calling_the_call_is_dropped_and_the_exit_not_run() {
    let (held, kept) = tracer();
    let (mut service, log) = gated(Answer::Never, move |head| {
        let held = Arc::clone(&held);
        Step::Now(pass_then(head, move |_| unreachable!("{held:?}")))
    });
    let mut future = Box::pin(start(&mut service));
    assert!(future.as_mut().poll(&mut cx()).is_pending());
    assert_eq!((log.calls(), log.running()), (1, 1));
    assert_eq!(Arc::strong_count(&kept), 3);
    drop(future);
    assert_eq!(log.running(), 0);
    assert_eq!(Arc::strong_count(&kept), 2);
}

#[test]
fn dropped_while_leaving_the_question_and_the_body_are_dropped() {
    let (held, kept) = tracer();
    let (mut service, log) = gated(Answer::Ok, move |head| {
        let held = Arc::clone(&held);
        Step::Now(pass_then(head, move |_| {
            Leave::Wait(Box::pin(async move {
                let _held = held;
                std::future::pending().await
            }))
        }))
    });
    let mut future = Box::pin(start(&mut service));
    assert!(future.as_mut().poll(&mut cx()).is_pending());
    assert_eq!(
        log.running(),
        0,
        "the inner future is not kept while leaving"
    );
    assert_eq!((Arc::strong_count(&kept), log.bodies()), (3, 1));
    drop(future);
    assert_eq!((Arc::strong_count(&kept), log.bodies()), (2, 0));
    assert_eq!(log.calls(), 1);
}

#[test]
fn debug_shows_the_service_only() {
    #[derive(Clone)]
    struct Silent;
    let service = Gated::new("service", Silent, Silent);
    assert_eq!(format!("{service:?}"), r#"Gated { inner: "service", .. }"#);
    assert_eq!(*service.get_ref(), "service");
    assert_eq!(service.into_inner(), "service");
}

/// A gate that never looks at the response.
#[derive(Clone)]
struct OneWay;

impl Steps for OneWay {
    type Exit = ();

    fn enter(&self, head: request::Parts) -> Step<()> {
        Step::Now(Entry::Pass(head, ()))
    }
}

#[test]
fn stacked_gates_stay_small() {
    let (probe, log) = Probe::new(Answer::Ok);
    let gated = |service| Gated::new(service, OneWay, DefaultRefuse);
    let mut service = Gated::new(
        Gated::new(gated(probe), OneWay, DefaultRefuse),
        OneWay,
        DefaultRefuse,
    );
    assert!(service.poll_ready(&mut cx()).is_ready());
    let future = service.call(request());
    // The largest state of all is a response; each gate adds no more than two words to say what it waits for.
    let response = size_of::<Response<Body>>();
    assert!(size_of_val(&future) <= response + 3 * 2 * size_of::<usize>());
    assert!(pin!(future).poll(&mut cx()).is_ready());
    assert_eq!((log.calls(), log.clones()), (1, 0));
}
