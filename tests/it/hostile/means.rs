//! A runtime, and a body in pieces.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};

thread_local! {
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// A body that comes in pieces, some of them late, and may break off.
#[derive(Debug, Default)]
pub struct Pieces {
    pub left: VecDeque<Bytes>,
    pub breaks: bool,
}

impl Pieces {
    pub fn whole(body: &[u8]) -> Self {
        Self {
            left: [Bytes::copy_from_slice(body)].into(),
            breaks: false,
        }
    }

    /// The cuts are distances from one to the next.
    pub fn cut(body: &[u8], cuts: &[u8]) -> Self {
        let (mut left, mut rest) = (VecDeque::new(), body);
        for cut in cuts {
            let (piece, behind) = rest.split_at(rest.len().min(usize::from(*cut)));
            left.push_back(Bytes::copy_from_slice(piece));
            rest = behind;
        }
        left.push_back(Bytes::copy_from_slice(rest));
        Self {
            left,
            breaks: false,
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        let next = match self.left.pop_front() {
            Some(piece) => Some(Ok(Frame::data(piece))),
            None => std::mem::take(&mut self.breaks).then_some(Err("broken off")),
        };
        Poll::Ready(next)
    }
}
