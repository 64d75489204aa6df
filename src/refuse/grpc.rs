//! Refusals for gRPC and gRPC-Web, without tonic.
//!
//! A refused call is *trailers-only*: HTTP 200 and one header block with the status, no body. A bare 401 would reach most
//! clients as UNAUTHENTICATED, but a 400 as INTERNAL and other statuses as UNKNOWN.

use std::fmt::Write;

use http::{
    HeaderMap, HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName},
};

use super::{Rejection, http::write_challenge, table::row};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// When to retry, in milliseconds (gRPC proposal A6).
const RETRY_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// How the caller speaks. One byte: the road keeps it while the inner service works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Grpc,
    GrpcWeb,
    GrpcWebProto,
    GrpcWebText,
    GrpcWebTextProto,
}

/// The content types of gRPC, asked for and answered. A message format after `+` is repeated to gRPC-Web callers, which
/// compare; the plain type is right for all gRPC callers. Longest first, since each is found as a prefix.
const SPOKEN: [(&str, Protocol); 5] = [
    (
        "application/grpc-web-text+proto",
        Protocol::GrpcWebTextProto,
    ),
    ("application/grpc-web-text", Protocol::GrpcWebText),
    ("application/grpc-web+proto", Protocol::GrpcWebProto),
    ("application/grpc-web", Protocol::GrpcWeb),
    ("application/grpc", Protocol::Grpc),
];

impl Protocol {
    /// By the content type of the request. A name that merely starts alike (`application/grpcx`) is not gRPC.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let Some(asked) = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) else {
            return Self::Http;
        };
        let spoken = SPOKEN.iter().find(|(name, _)| {
            asked
                .split_at_checked(name.len())
                .is_some_and(|(start, rest)| {
                    start.eq_ignore_ascii_case(name.as_bytes())
                        && matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'))
                })
        });
        spoken.map_or(Self::Http, |&(_, protocol)| protocol)
    }

    /// The content type of a gRPC answer; `None` means HTTP.
    pub(super) fn content_type(self) -> Option<&'static str> {
        let spoken = SPOKEN.iter().find(|(_, protocol)| *protocol == self);
        spoken.map(|&(name, _)| name)
    }
}

/// Writes the refusal into the headers of a response whose status is 200 and whose body is empty.
pub(super) fn write(headers: &mut HeaderMap, content_type: &'static str, rejection: &Rejection) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // It is a 200: a cache before a page that was asked for as if by gRPC would hand it to others.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let status = row(rejection.kind()).grpc_text;
    headers.insert(GRPC_STATUS, HeaderValue::from_static(status));
    headers.insert(GRPC_MESSAGE, message(rejection.detail_text()));
    if let Some(after) = rejection.retry() {
        let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        headers.insert(RETRY_PUSHBACK, HeaderValue::from(millis));
    }
    // What a client needs to mend its credentials (scope, max_age, nonce) has no gRPC form of its own: as metadata it
    // arrives with the status.
    write_challenge(headers, rejection);
}

/// `grpc-message` is percent-encoded: everything but printable ASCII, and `%` itself.
fn message(text: &'static str) -> HeaderValue {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'%';
    if text.bytes().all(plain) {
        return HeaderValue::from_static(text);
    }
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if plain(byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    HeaderValue::try_from(encoded).unwrap_or_else(|_| HeaderValue::from_static(""))
}
