//! Text into a body of a type that is only known to have a default.
//!
//! The response type of a service does not change for the sake of its refusals, so the body is filled in by its type.
//! After monomorphisation the chain below is the one line that fits, or nothing.

use std::{any::Any, borrow::Cow, convert::Infallible, error::Error};

use bytes::Bytes;
use http_body_util::{
    BodyExt, Full,
    combinators::{BoxBody, UnsyncBoxBody},
};

type Text = Cow<'static, str>;
type BoxError = Box<dyn Error + Send + Sync>;

/// Puts a text into the body, which is asked for only if the type can hold it; `false` if it cannot.
pub(super) fn put<B: 'static>(body: &mut B, text: impl FnOnce() -> Text) -> bool {
    let body: &mut dyn Any = body;
    if let Some(body) = body.downcast_mut::<Full<Bytes>>() {
        *body = full(text);
    } else if let Some(body) = body.downcast_mut::<Bytes>() {
        *body = bytes(text());
    } else if let Some(body) = body.downcast_mut::<String>() {
        *body = text().into_owned();
    } else if let Some(body) = body.downcast_mut::<Vec<u8>>() {
        *body = text().into_owned().into_bytes();
    } else {
        return put_boxed(body, text);
    }
    true
}

fn put_boxed(body: &mut dyn Any, text: impl FnOnce() -> Text) -> bool {
    if let Some(body) = body.downcast_mut::<BoxBody<Bytes, Infallible>>() {
        *body = full(text).boxed();
    } else if let Some(body) = body.downcast_mut::<UnsyncBoxBody<Bytes, Infallible>>() {
        *body = full(text).boxed_unsync();
    } else if let Some(body) = body.downcast_mut::<BoxBody<Bytes, BoxError>>() {
        *body = full(text).map_err(|never| match never {}).boxed();
    } else if let Some(body) = body.downcast_mut::<UnsyncBoxBody<Bytes, BoxError>>() {
        *body = full(text).map_err(|never| match never {}).boxed_unsync();
    } else {
        return put_framework(body, text);
    }
    true
}

fn put_framework(body: &mut dyn Any, text: impl FnOnce() -> Text) -> bool {
    #[cfg(feature = "axum")]
    if let Some(body) = body.downcast_mut::<axum_core::body::Body>() {
        *body = axum_core::body::Body::new(full(text));
        return true;
    }
    #[cfg(feature = "tonic")]
    if let Some(body) = body.downcast_mut::<tonic::body::Body>() {
        *body = tonic::body::Body::new(full(text));
        return true;
    }
    let _ = (body, text);
    false
}

fn full(text: impl FnOnce() -> Text) -> Full<Bytes> {
    Full::new(bytes(text()))
}

fn bytes(text: Text) -> Bytes {
    match text {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    }
}
