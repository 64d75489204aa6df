//! A gate that does as it is told, so that tests outside of the crate can walk the road.

use std::task::Poll;

use http::{
    Response,
    header::{HeaderName, HeaderValue},
    request, response,
};

use super::sealed::{BoxFuture, Entry, Exit, Leave, Step, Steps};
use crate::refuse::Rejection;

/// What a [`TestGate`] does with a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Plan {
    /// Lets it pass and does not look at the response.
    Pass,
    /// Refuses it.
    Refuse(Rejection),
    /// Answers it with a header `x-gate: answer`.
    Answer,
    /// Lets it pass and adds a header `x-gate: exit` to the response.
    Mark,
    /// Lets it pass and refuses the response after a wait.
    RefuseLate(Rejection),
    /// Decides as said, after a wait.
    Ask(Box<Self>),
}

/// A gate that asks a function what to do.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs)] // hidden, for tests
pub struct TestGate<F>(pub F);

impl<F> Steps for TestGate<F>
where
    F: Fn(&request::Parts) -> Plan + Clone,
{
    type Exit = TestExit;

    fn enter(&self, head: request::Parts) -> Step<TestExit> {
        match (self.0)(&head) {
            Plan::Ask(plan) => Step::Ask(after_a_wait(move || entry(head, *plan))),
            plan => Step::Now(entry(head, plan)),
        }
    }
}

fn entry(head: request::Parts, plan: Plan) -> Entry<TestExit> {
    match plan {
        Plan::Pass => Entry::Pass(head, TestExit(Plan::Pass)),
        Plan::Refuse(rejection) => Entry::Refuse(head, rejection),
        Plan::Answer => Entry::Answer(mark(Response::new(()).into_parts().0, "answer")),
        Plan::Mark | Plan::RefuseLate(_) => Entry::Pass(head, TestExit(plan)),
        Plan::Ask(plan) => entry(head, *plan),
    }
}

/// What is left of a [`Plan`] on the way out.
#[derive(Debug)]
pub struct TestExit(Plan);

impl Exit for TestExit {
    fn exit(self, head: response::Parts) -> Leave {
        match self.0 {
            Plan::RefuseLate(rejection) => Leave::Wait(after_a_wait(|| Err(rejection.into()))),
            Plan::Mark => Leave::Now(mark(head, "exit")),
            _ => Leave::Now(head),
        }
    }
}

fn mark(mut head: response::Parts, text: &'static str) -> response::Parts {
    let name = HeaderName::from_static("x-gate");
    head.headers.insert(name, HeaderValue::from_static(text));
    head
}

/// Ready when polled the second time, as an answer from a store would be.
fn after_a_wait<T: Send + 'static>(then: impl FnOnce() -> T + Send + 'static) -> BoxFuture<T> {
    let mut polled = false;
    Box::pin(async move {
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut polled, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        then()
    })
}
