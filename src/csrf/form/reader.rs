//! Reads the beginning of a form and leaves what it found to the gate inside.
//!
//! The one service and the one future of this crate beside the road's: gates see no bodies, and this one must. It decides
//! nothing; whatever it finds, the request goes on to the gate.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, header::CONTENT_TYPE, request};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    FormBody,
    find::{FormError, field, field_in_beginning},
};
use crate::csrf::CsrfGate;

/// What a form had to say, in the extensions of its request. The type is private: nobody else can leave one.
#[derive(Clone)]
pub(in crate::csrf) enum Found {
    Token(Box<[u8]>),
    Missing,
    Malformed,
    TooLarge,
    /// The body failed.
    Broken,
}

/// A service behind a [`CsrfFormLayer`](super::CsrfFormLayer): it takes a `Request<B>` and hands on a
/// `Request<FormBody<B>>`.
#[derive(Clone)]
pub struct FormReader<S> {
    inner: S,
    gate: CsrfGate,
}

impl<S> FormReader<S> {
    pub(super) fn new(inner: S, gate: CsrfGate) -> Self {
        Self { inner, gate }
    }
}

impl<S, B> Service<Request<B>> for FormReader<S>
where
    S: Service<Request<FormBody<B>>> + Clone,
    B: Body<Data = Bytes> + Unpin,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = FormFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = request.into_parts();
        let state = if self.gate.needs_form(&head) {
            // The clone has not been polled ready and must not be called: it stays here for the next request.
            let clone = self.inner.clone();
            let ready = mem::replace(&mut self.inner, clone);
            let form = Form::new(body, self.gate.clone());
            State::Reading {
                form,
                waiting: Some((ready, head)),
            }
        } else {
            let request = Request::from_parts(head, FormBody::untouched(body));
            State::Calling {
                call: self.inner.call(request),
            }
        };
        FormFuture { state }
    }
}

impl<S: fmt::Debug> fmt::Debug for FormReader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FormReader").field(&self.inner).finish()
    }
}

pin_project! {
    /// The response future of [`FormReader`].
    pub struct FormFuture<S, B>
    where
        S: Service<Request<FormBody<B>>>,
    {
        #[pin]
        state: State<S, S::Future, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, B> {
        // Waits for the beginning of the body.
        Reading { form: Form<B>, waiting: Option<(S, request::Parts)> },
        // Waits for the gate and what is behind it.
        Calling { #[pin] call: F },
    }
}

impl<S, B> Future for FormFuture<S, B>
where
    S: Service<Request<FormBody<B>>>,
    B: Body<Data = Bytes> + Unpin,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let call = match state.as_mut().project() {
                StateProj::Reading { form, waiting } => {
                    let content_type = waiting
                        .as_ref()
                        .and_then(|(_, head)| head.headers.get(CONTENT_TYPE));
                    let content_type = content_type.map_or(&[] as &[u8], |value| value.as_bytes());
                    let found = ready!(form.poll_find(content_type, cx));
                    let (mut ready, mut head) = waiting
                        .take()
                        .expect("`FormFuture` is not polled after it was ready");
                    head.extensions.insert(found);
                    ready.call(Request::from_parts(head, form.take_body()))
                }
                StateProj::Calling { call } => return call.poll(cx),
            };
            state.set(State::Calling { call });
        }
    }
}

impl<S, B> fmt::Debug for FormFuture<S, B>
where
    S: Service<Request<FormBody<B>>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FormFuture").finish_non_exhaustive()
    }
}

/// A form that is being read.
struct Form<B> {
    gate: CsrfGate,
    read: BytesMut,
    /// Looking again and again for what is not there yet must not cost more than reading: next at this length.
    look_at: usize,
    trailers: Option<HeaderMap>,
    /// `None` at its end.
    rest: Option<B>,
}

impl<B: Body<Data = Bytes> + Unpin> Form<B> {
    fn new(body: B, gate: CsrfGate) -> Self {
        Self {
            gate,
            read: BytesMut::new(),
            look_at: 1,
            trailers: None,
            rest: Some(body),
        }
    }

    /// Reads until the token is found, or it is certain that it will not be.
    fn poll_find(&mut self, content_type: &[u8], cx: &mut Context<'_>) -> Poll<Found> {
        while let Some(rest) = &mut self.rest {
            let frame = match ready!(Pin::new(rest).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(_)) => return Poll::Ready(Found::Broken),
                None => {
                    self.rest = None;
                    break;
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    self.read.extend_from_slice(&data);
                    if let Some(found) = self.look(content_type) {
                        return Poll::Ready(found);
                    }
                }
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            }
        }
        let found = field(content_type, &self.read, &self.gate.config().field);
        Poll::Ready(match found {
            Ok(Some(token)) => Found::Token(Box::from(&*token)),
            Ok(None) => Found::Missing,
            Err(error) => error.into(),
        })
    }

    /// Looks into the beginning, if that is worth it.
    fn look(&mut self, content_type: &[u8]) -> Option<Found> {
        let (length, limit) = (self.read.len(), self.gate.config().form_limit);
        if length < self.look_at.min(limit) {
            return None;
        }
        self.look_at = length.saturating_mul(2);
        let beginning = &self.read[..length.min(limit)];
        match field_in_beginning(content_type, beginning, &self.gate.config().field) {
            Some(Ok(token)) => Some(Found::Token(Box::from(&*token))),
            Some(Err(error)) => Some(error.into()),
            None => (length > limit).then_some(Found::TooLarge),
        }
    }

    fn take_body(&mut self) -> FormBody<B> {
        let read = mem::take(&mut self.read).freeze();
        FormBody::new(read, self.trailers.take(), self.rest.take())
    }
}

impl From<FormError> for Found {
    fn from(error: FormError) -> Self {
        match error {
            FormError::NotAForm | FormError::Malformed => Self::Malformed,
            FormError::TooManyFields => Self::TooLarge,
        }
    }
}
