//! Answers and refusals, as OAuth clients read them.

use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
    request,
};
use serde::Serialize;

use crate::{
    refuse::{DefaultRefuse, Protocol, Refused, Rejection, RejectionKind, respond},
    store::StoreError,
};

/// Why there is no answer, and what the client is told.
#[derive(Debug)]
pub(super) struct Fault {
    /// The `error` of RFC 6749 §5.2, where the kind of the rejection does not say it.
    error: Option<&'static str>,
    rejection: Rejection,
}

impl Fault {
    /// 400 with this `error`.
    pub(super) fn bad(error: &'static str) -> Self {
        Self {
            error: Some(error),
            rejection: Rejection::new(RejectionKind::InvalidRequest).code(error),
        }
    }

    pub(super) fn into_response(self) -> Response<Bytes> {
        let Some(error) = self.error else {
            return respond(
                &DefaultRefuse::new(),
                Refused::from(Protocol::Http),
                self.rejection,
            );
        };
        let text = format!(r#"{{"error":"{error}"}}"#);
        let mut response = with_json(StatusCode::BAD_REQUEST, text.into());
        response.extensions_mut().insert(self.rejection);
        response
    }
}

impl<R: Into<Rejection>> From<R> for Fault {
    fn from(rejection: R) -> Self {
        Self {
            error: None,
            rejection: rejection.into(),
        }
    }
}

/// An outage, as an answer: nobody knows.
pub(super) fn unknown(error: StoreError) -> Fault {
    Rejection::new(RejectionKind::Unavailable)
        .caused_by(error)
        .into()
}

pub(super) fn json(value: &impl Serialize) -> Response<Bytes> {
    match serde_json::to_vec(value) {
        Ok(text) => with_json(StatusCode::OK, text.into()),
        Err(error) => {
            let rejection = Rejection::new(RejectionKind::Internal).caused_by(error);
            Fault::from(rejection).into_response()
        }
    }
}

fn with_json(status: StatusCode, text: Bytes) -> Response<Bytes> {
    let mut response = empty(status);
    *response.body_mut() = text;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

pub(super) fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

/// 405 for a method that the endpoint does not have: a link or an image cannot ask for a token.
pub(super) fn wrong_method(
    head: &request::Parts,
    allowed: &[Method],
    text: &'static str,
) -> Option<Response<Bytes>> {
    if allowed.contains(&head.method) {
        return None;
    }
    let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
    let allow = HeaderValue::from_static(text);
    response.headers_mut().insert(ALLOW, allow);
    Some(response)
}

pub(super) fn not_post(head: &request::Parts) -> Option<Response<Bytes>> {
    wrong_method(head, &[Method::POST], "POST")
}
