//! A body whose beginning was read.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// The body of a request behind a [`CsrfFormLayer`](super::CsrfFormLayer): what was read of it, then the rest as it
/// comes, trailers included. The bytes are the very same; the frames they come in need not be.
pub struct FormBody<B> {
    read: Option<Bytes>,
    trailers: Option<HeaderMap>,
    /// `None` once it was read to its end.
    rest: Option<B>,
}

impl<B> FormBody<B> {
    /// A body of which nothing was read.
    pub(super) fn untouched(body: B) -> Self {
        Self::new(Bytes::new(), None, Some(body))
    }

    pub(super) fn new(read: Bytes, trailers: Option<HeaderMap>, rest: Option<B>) -> Self {
        Self {
            read: (!read.is_empty()).then_some(read),
            trailers,
            rest,
        }
    }
}

impl<B> Body for FormBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if let Some(read) = this.read.take() {
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        if let Some(trailers) = this.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        match &mut this.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_none()
            && self.trailers.is_none()
            && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read.as_ref().map_or(0, |read| read.len() as u64);
        let rest = self
            .rest
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint
    }
}

// What was read holds a token.
impl<B> fmt::Debug for FormBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FormBody")
            .field("read", &self.read.as_ref().map(Bytes::len))
            .finish_non_exhaustive()
    }
}
