//! The responder: what becomes of a rejection.

use std::fmt;

use ::http::{HeaderValue, Response, request, response};

use super::{Rejection, grpc, grpc::Protocol, http};

/// Turns rejections into responses. The one trait of this crate that is open to implement.
///
/// [`DefaultRefuse`] is right for most services. Any closure that takes a [`Refused`] and a [`Rejection`] is a responder
/// as well, here for browsers that are to be sent to a login page:
///
/// ```
/// use http::{HeaderValue, Response, StatusCode, header::LOCATION};
/// use portcullis::{DefaultRefuse, Refuse, Refused, Rejection, RejectionKind};
///
/// let responder = |refused: &Refused, rejection: &Rejection| {
///     let mut response = Response::new(String::new());
///     *response.status_mut() = rejection.status();
///     if rejection.kind() == RejectionKind::LoginRequired && refused.header("accept").is_some() {
///         *response.status_mut() = StatusCode::SEE_OTHER;
///         response.headers_mut().insert(LOCATION, HeaderValue::from_static("/login"));
///     }
///     response
/// };
///
/// let (head, ()) = http::Request::builder().header("accept", "text/html").body(())?.into_parts();
/// let response = responder.refuse(head.into(), &Rejection::new(RejectionKind::LoginRequired));
/// assert_eq!(response.status(), StatusCode::SEE_OTHER);
/// # Ok::<(), http::Error>(())
/// ```
///
/// The road inserts the `Rejection` into the extensions of the response afterwards; a responder need not.
pub trait Refuse<B> {
    /// The response to a refused request.
    ///
    /// The head is given away, so that a responder can build the response in its allocations.
    fn refuse(&self, refused: Refused, rejection: &Rejection) -> Response<B>;

    /// The response of a gate that answers by itself: `head` with an empty body.
    fn answer(&self, head: response::Parts) -> Response<B>;
}

impl<F, B> Refuse<B> for F
where
    F: Fn(&Refused, &Rejection) -> Response<B>,
    B: Default,
{
    fn refuse(&self, refused: Refused, rejection: &Rejection) -> Response<B> {
        self(&refused, rejection)
    }

    fn answer(&self, head: response::Parts) -> Response<B> {
        Response::from_parts(head, B::default())
    }
}

/// Answers each caller in its own language: gRPC and gRPC-Web if the request has their content type, HTTP otherwise.
///
/// * HTTP: the status, `WWW-Authenticate` (RFC 6750 section 3, RFC 9470, RFC 9449), `Retry-After`, `Cache-Control:
///   no-store`, and `application/problem+json` (RFC 9457) or, for refused grants, the JSON of RFC 6749 section 5.2.
/// * gRPC: HTTP 200, `grpc-status` and `grpc-message` in the header (trailers-only), no body.
///
/// The text of a body needs a body type that can hold it: `Full<Bytes>`, `Bytes`, `String` and `Vec<u8>`; with the
/// feature `axum` its `Body`, with `tonic` its `Body`, and the boxed bodies of `http-body-util` whose error is
/// `Infallible` or a boxed one. With every other type that has a `Default` the body stays empty and the head is the same.
///
/// A refusal is built in the header map and the extensions of the request. With a `Full<Bytes>` and the texts of the
/// kind, an HTTP or gRPC refusal allocates 3 times if the request had no extensions and once if it had some, all for the
/// `Rejection` in the extensions; a request without any header costs 2 more, a reason code or detail of one's own 1 more
/// (HTTP only), and so does a boxed body.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct DefaultRefuse;

impl DefaultRefuse {
    /// The default responder.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl<B: Default + 'static> Refuse<B> for DefaultRefuse {
    fn refuse(&self, refused: Refused, rejection: &Rejection) -> Response<B> {
        let protocol = refused.protocol;
        let mut response = refused.recycle(B::default());
        match protocol.content_type() {
            None => http::write(&mut response, rejection),
            Some(content_type) => grpc::write(response.headers_mut(), content_type, rejection),
        }
        response
    }

    fn answer(&self, head: response::Parts) -> Response<B> {
        Response::from_parts(head, B::default())
    }
}

/// What is known of a refused request.
///
/// That is the whole head while the request is on its way in. A refusal on the way out, as of a session that could not be
/// saved, comes after the head went to the inner service: then only the protocol is left.
pub struct Refused {
    protocol: Protocol,
    head: Option<request::Parts>,
}

impl Refused {
    /// The head of the request, or `None` on the way out.
    #[must_use]
    pub fn head(&self) -> Option<&request::Parts> {
        self.head.as_ref()
    }

    /// The head of the request to take apart, or `None` on the way out.
    #[must_use]
    pub fn into_head(self) -> Option<request::Parts> {
        self.head
    }

    /// The first value of a header of the request; `None` on the way out.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&HeaderValue> {
        self.head.as_ref()?.headers.get(name)
    }

    /// Whether the caller speaks gRPC or gRPC-Web; known on the way out as well.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.protocol != Protocol::Http
    }

    /// An empty response in the allocations of the request; nothing that the request said is left in it.
    fn recycle<B>(self, body: B) -> Response<B> {
        let mut response = Response::new(body);
        if let Some(mut head) = self.head {
            head.headers.clear();
            head.extensions.clear();
            *response.headers_mut() = head.headers;
            *response.extensions_mut() = head.extensions;
            *response.version_mut() = head.version;
        }
        response
    }
}

impl From<request::Parts> for Refused {
    fn from(head: request::Parts) -> Self {
        Self {
            protocol: Protocol::of(&head.headers),
            head: Some(head),
        }
    }
}

impl From<Protocol> for Refused {
    fn from(protocol: Protocol) -> Self {
        Self {
            protocol,
            head: None,
        }
    }
}

// Header values are not shown: `Cookie` and `Authorization` are among them.
impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.head.as_ref();
        f.debug_struct("Refused")
            .field("protocol", &self.protocol)
            .field("method", &head.map(|head| &head.method))
            .field("path", &head.map(|head| head.uri.path()))
            .finish_non_exhaustive()
    }
}

/// Lets the responder speak and leaves the rejection in the extensions of its response.
pub(crate) fn respond<B>(
    responder: &impl Refuse<B>,
    refused: Refused,
    rejection: Rejection,
) -> Response<B> {
    let mut response = responder.refuse(refused, &rejection);
    response.extensions_mut().insert(rejection);
    response
}
