//! The way of one request through a gate.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, Request, Response, header::CACHE_CONTROL, response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    Gate,
    sealed::{BoxFuture, Entry, Exit, Leave, Refusal, Steps},
};
use crate::refuse::{Protocol, Refuse, Refused, respond};

type Saved = Result<response::Parts, Refusal>;

pin_project! {
    /// The response future of [`Gated`](crate::Gated).
    pub struct ResponseFuture<S, G, R, B>
    where
        S: Service<Request<B>>,
        G: Gate,
    {
        #[pin]
        state: State<S, S::Future, S::Response, <G as Steps>::Exit, R, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, T, X, R, B> {
        // Waits for the store to decide about the request.
        Asking { question: BoxFuture<Entry<X>>, waiting: Option<Waiting<S, R, B>> },
        // Waits for the inner service.
        Calling { #[pin] call: F, on_exit: Option<OnExit<X, R>> },
        // Waits for the store before the response may leave.
        Leaving { saved: BoxFuture<Saved>, held: Option<Held<T, R>> },
        // Waits for nothing: the response is there.
        Answered { response: Option<T> },
    }
}

/// What waits while the store decides: the service that was polled ready and the rest of the request.
struct Waiting<S, R, B> {
    ready: S,
    body: B,
    responder: R,
}

/// What the gate has to do when the response comes.
struct OnExit<X, R> {
    exit: X,
    responder: R,
    protocol: Protocol,
}

/// The response of the inner service, without its head.
struct Held<T, R> {
    headless: T,
    responder: R,
    protocol: Protocol,
}

impl<S, G, R, B, T> ResponseFuture<S, G, R, B>
where
    S: Service<Request<B>, Response = Response<T>>,
    G: Gate,
    R: Refuse<T> + Clone,
{
    /// The gate has decided; if the request passes, `ready` is called at once.
    pub(super) fn decided(
        entry: Entry<<G as Steps>::Exit>,
        body: B,
        ready: &mut S,
        responder: &R,
    ) -> Self {
        Self {
            state: State::after(entry, body, ready, responder),
        }
    }

    /// The gate has to ask the store first.
    pub(super) fn asking(
        question: BoxFuture<Entry<<G as Steps>::Exit>>,
        body: B,
        ready: S,
        responder: R,
    ) -> Self {
        let waiting = Some(Waiting {
            ready,
            body,
            responder,
        });
        Self {
            state: State::Asking { question, waiting },
        }
    }
}

impl<S, T, X, R, B> State<S, S::Future, Response<T>, X, R, B>
where
    S: Service<Request<B>, Response = Response<T>>,
    X: Exit,
    R: Refuse<T> + Clone,
{
    fn after(entry: Entry<X>, body: B, ready: &mut S, responder: &R) -> Self {
        match entry {
            Entry::Pass(head, exit) => {
                let on_exit = Some(OnExit::new(exit, responder, &head.headers));
                let call = ready.call(Request::from_parts(head, body));
                Self::Calling { call, on_exit }
            }
            Entry::Refuse(head, rejection) => {
                Self::answered(respond(responder, Refused::from(head), rejection))
            }
            Entry::Answer(head) => Self::answered(responder.answer(head)),
        }
    }
}

impl<S, F, T, X, R, B> State<S, F, T, X, R, B> {
    fn answered(response: T) -> Self {
        Self::Answered {
            response: Some(response),
        }
    }
}

impl<X: Exit, R: Clone> OnExit<X, R> {
    fn new(exit: X, responder: &R, headers: &HeaderMap) -> Self {
        Self {
            exit,
            responder: responder.clone(),
            protocol: match X::MAY_REFUSE {
                true => Protocol::of(headers),
                false => Protocol::Http,
            },
        }
    }

    /// Shows the gate the head of the response: it is there, or there is something to wait for first.
    fn leave<S, F, T, B>(self, response: Response<T>) -> State<S, F, Response<T>, X, R, B> {
        let (head, body) = response.into_parts();
        match self.exit.exit(head) {
            Leave::Now(head) => State::answered(Response::from_parts(head, body)),
            Leave::Wait(saved) => {
                let held = Some(Held {
                    headless: Response::new(body),
                    responder: self.responder,
                    protocol: self.protocol,
                });
                State::Leaving { saved, held }
            }
        }
    }
}

impl<T, R: Refuse<T>> Held<Response<T>, R> {
    /// The response with its head, or the refusal that takes its place.
    fn release(self, saved: Saved) -> Response<T> {
        match saved {
            Ok(head) => Response::from_parts(head, self.headless.into_body()),
            Err(Refusal { rejection, headers }) => {
                // Nothing of the inner response may be seen, and its body need not live any longer.
                drop(self.headless);
                let refused = Refused::from(self.protocol);
                let mut response = respond(&self.responder, refused, rejection);
                for (name, value) in headers.iter().flat_map(|headers| headers.iter()) {
                    if name == CACHE_CONTROL {
                        response.headers_mut().insert(name, value.clone());
                    } else {
                        response.headers_mut().append(name, value.clone());
                    }
                }
                response
            }
        }
    }
}

const ONCE: &str = "`ResponseFuture` is not polled after it was ready";

impl<S, G, R, B, T> Future for ResponseFuture<S, G, R, B>
where
    S: Service<Request<B>, Response = Response<T>>,
    G: Gate,
    R: Refuse<T> + Clone,
{
    type Output = Result<Response<T>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Asking { question, waiting } => {
                    let entry = ready!(question.as_mut().poll(cx));
                    let mut waiting = waiting.take().expect(ONCE);
                    State::after(entry, waiting.body, &mut waiting.ready, &waiting.responder)
                }
                StateProj::Calling { call, on_exit } => {
                    let response = ready!(call.poll(cx))?;
                    on_exit.take().expect(ONCE).leave(response)
                }
                StateProj::Leaving { saved, held } => {
                    let saved = ready!(saved.as_mut().poll(cx));
                    State::answered(held.take().expect(ONCE).release(saved))
                }
                StateProj::Answered { response } => {
                    return Poll::Ready(Ok(response.take().expect(ONCE)));
                }
            };
            state.set(next);
        }
    }
}

impl<S, G, R, B> fmt::Debug for ResponseFuture<S, G, R, B>
where
    S: Service<Request<B>>,
    G: Gate,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Asking { .. } => "asking",
            State::Calling { .. } => "calling",
            State::Leaving { .. } => "leaving",
            State::Answered { .. } => "answered",
        };
        f.debug_tuple("ResponseFuture")
            .field(&format_args!("{state}"))
            .finish()
    }
}
