//! The layer for services whose pages submit forms.

use std::fmt;

use tower_layer::Layer;

use super::FormReader;
use crate::{
    csrf::{CsrfGate, CsrfLayer},
    gate::Gated,
    keyring::KeyRing,
    refuse::DefaultRefuse,
};

/// [`CsrfLayer`] for services whose pages submit forms without a script: the token may also be in a field of the body,
/// `application/x-www-form-urlencoded` or `multipart/form-data`. To be used instead of that layer.
///
/// The inner service gets a [`FormBody`](super::FormBody) with the very same bytes and is not called before the token was found to
/// be right. Only requests that need a token, have none in the header and carry a form are read, and of these only the
/// beginning up to the token: put its field first, and an upload behind it streams as it did before. Not within
/// [`form_limit`](super::super::CsrfLayerBuilder::form_limit): 413. Not what the content type says: 400.
///
/// Any body of [`Bytes`](bytes::Bytes) that is `Unpin` is read: hyper's `Incoming`, axum's and tonic's. axum's handlers
/// see no difference; a hyper service takes a `Request<FormBody<Incoming>>`.
#[derive(Clone)]
pub struct CsrfFormLayer<R = DefaultRefuse> {
    csrf: CsrfLayer<R>,
}

impl CsrfFormLayer {
    /// The default settings; others by [`CsrfLayer::builder`] and [`CsrfLayer::form`].
    #[must_use]
    pub fn new(keys: &KeyRing) -> Self {
        CsrfLayer::new(keys).form()
    }
}

impl<R> CsrfFormLayer<R> {
    pub(in crate::csrf) fn of(csrf: CsrfLayer<R>) -> Self {
        Self { csrf }
    }

    /// Makes refusals with another responder.
    #[must_use]
    pub fn refuse_with<Other>(self, responder: Other) -> CsrfFormLayer<Other> {
        CsrfFormLayer::of(self.csrf.refuse_with(responder))
    }
}

impl<S, R: Clone> Layer<S> for CsrfFormLayer<R> {
    type Service = FormReader<Gated<S, CsrfGate, R>>;

    fn layer(&self, inner: S) -> Self::Service {
        FormReader::new(self.csrf.layer(inner), self.csrf.gate())
    }
}

impl<R> fmt::Debug for CsrfFormLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CsrfFormLayer").field(&self.csrf).finish()
    }
}
