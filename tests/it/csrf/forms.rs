//! Forms: the token in the body, and the body as it was.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::{
    Rejection, Store,
    csrf::{CsrfFormLayer, CsrfLayer, FormBody},
    session::SessionLayer,
};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::site::{On, Site, keys};
use crate::means::{
    http::{Answer, Client, form},
    wait,
};

const FORMS: [On; 2] = [On::AxumForms, On::HyperForms];
const URLENCODED: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=XX";

async fn site(on: On) -> Site {
    Site::start(on, CsrfLayer::new(&keys()), &Store::memory()).await
}

async fn post(client: &Client, site: &Site, content_type: &str, body: impl Into<Bytes>) -> Answer {
    let headers = [("content-type", content_type)];
    client
        .request(Method::POST, &site.at("/echo"), &headers, body.into())
        .await
}

/// The token first, then a file.
fn multipart(token: &str, file: &[u8]) -> Vec<u8> {
    let field = format!(
        "--XX\r\nContent-Disposition: form-data; name=\"csrf_token\"\r\n\r\n{token}\r\n\
         --XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n"
    );
    [field.as_bytes(), file, b"\r\n--XX--\r\n"].concat()
}

fn code(answer: &Answer) -> (u16, String) {
    let body: serde_json::Value = answer.json();
    (
        answer.status.as_u16(),
        body["code"].as_str().unwrap().to_owned(),
    )
}

// Fails if: the buffered part is dropped, doubled or reordered, or a form without a token reaches the handler.
#[tokio::test]
async fn a_form_with_its_token_passes_as_it_is() {
    for on in FORMS {
        let site = site(on).await;
        let client = Client::new();
        let token = client.get(&site.at("/token")).await.text();
        let calls = site.calls();
        let fields = form(&[("a", "ü &="), ("csrf_token", &token), ("b", "2")]);
        let file: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for (content_type, body) in [
            (URLENCODED, fields.clone().into_bytes()),
            (
                "application/x-www-form-urlencoded; charset=UTF-8",
                fields.into_bytes(),
            ),
            (MULTIPART, multipart(&token, b"short")),
            (MULTIPART, multipart(&token, &file)),
        ] {
            let answer = post(&client, &site, content_type, body.clone()).await;
            assert_eq!(answer.status, 200, "{on:?} {content_type}");
            assert_eq!(answer.body, body, "{on:?} {content_type}");
            assert_eq!(answer.header("x-exact"), body.len().to_string());
        }
        assert_eq!(site.calls(), calls + 4);
    }
}

/// R47 for forms; the reasons are those of the header's token.
// Fails if: the inner service is called before the gate has seen the field.
#[tokio::test]
async fn a_form_without_its_token_reaches_nobody() {
    for on in FORMS {
        let site = site(on).await;
        let client = Client::new();
        let token = client.get(&site.at("/token")).await.text();
        let stranger = Client::new().get(&site.at("/token")).await.text();
        let calls = site.calls();
        let late = format!("pad={}&csrf_token={token}", "x".repeat(64 * 1024));
        let cases: [(&str, Vec<u8>, (u16, &str)); 9] = [
            (URLENCODED, b"a=1".to_vec(), (403, "token_missing")),
            (URLENCODED, b"".to_vec(), (403, "token_missing")),
            (
                URLENCODED,
                form(&[("csrf_token", &stranger)]).into(),
                (403, "token_wrong"),
            ),
            (
                URLENCODED,
                form(&[("csrf_token", "")]).into(),
                (403, "token_wrong"),
            ),
            (MULTIPART, multipart(&stranger, b"x"), (403, "token_wrong")),
            (MULTIPART, b"--XX".to_vec(), (400, "form_malformed")),
            (URLENCODED, late.into(), (413, "form_too_large")),
            (
                URLENCODED,
                "a&".repeat(2_000).into(),
                (413, "form_too_large"),
            ),
            (
                "text/plain",
                form(&[("csrf_token", &token)]).into(),
                (403, "token_missing"),
            ),
        ];
        for (content_type, body, expected) in cases {
            let answer = post(&client, &site, content_type, body).await;
            assert_eq!(code(&answer), (expected.0, expected.1.to_owned()), "{on:?}");
            assert!(!answer.text().contains(&token), "R52: nothing is echoed");
        }
        // A wrong token in the header is not rescued by the form.
        let headers = [("content-type", URLENCODED), ("x-csrf-token", "x")];
        let body = form(&[("csrf_token", &token)]);
        let answer = client
            .request(Method::POST, &site.at("/echo"), &headers, body.into())
            .await;
        assert_eq!(code(&answer), (403, "token_wrong".to_owned()));
        assert_eq!(site.calls(), calls, "{on:?}");
    }
}

/// Without the form layer a body is never read.
#[tokio::test]
async fn the_plain_layer_reads_no_form() {
    for on in [On::Axum, On::Hyper] {
        let site = site(on).await;
        let client = Client::new();
        let token = client.get(&site.at("/token")).await.text();
        let answer = post(&client, &site, URLENCODED, form(&[("csrf_token", &token)])).await;
        assert_eq!(code(&answer), (403, "token_missing".to_owned()));
    }
}

/// A body in frames of our choosing; after them its trailers, its failure, or nothing for ever.
struct Frames {
    frames: VecDeque<Bytes>,
    end: End,
    polled: Arc<AtomicUsize>,
}

enum End {
    Trailers(Option<HeaderMap>),
    Failure,
    Never,
}

impl Frames {
    fn new(body: &[u8], sizes: &[usize], end: End) -> Self {
        let mut frames = VecDeque::new();
        let (mut rest, mut sizes) = (body, sizes.iter().cycle());
        while !rest.is_empty() {
            let (frame, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            frames.push_back(Bytes::copy_from_slice(frame));
            rest = after;
        }
        let polled = Arc::default();
        Self {
            frames,
            end,
            polled,
        }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.polled.fetch_add(1, Ordering::SeqCst);
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        match &mut self.end {
            End::Trailers(trailers) => Poll::Ready(trailers.take().map(Frame::trailers).map(Ok)),
            End::Failure => Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
            End::Never => Poll::Pending,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("1234"))])
}

/// One visitor's cookie and token.
async fn visitor() -> (String, String) {
    let site = site(On::Hyper).await;
    let client = Client::new();
    let token = client.get(&site.at("/token")).await.text();
    (
        format!("__Host-csrf={}", client.cookie("__Host-csrf").unwrap()),
        token,
    )
}

/// What the inner service gets of a body, or the reason why it gets nothing.
async fn through(
    layer: &CsrfFormLayer,
    cookie: &str,
    content_type: &str,
    body: Frames,
) -> Result<(Bytes, Option<HeaderMap>), String> {
    let inner = service_fn(async |request: Request<FormBody<Frames>>| {
        let collected = request.into_body().collect().await.unwrap();
        let mut response = Response::new(Full::default());
        response
            .extensions_mut()
            .insert(collected.trailers().cloned());
        *response.body_mut() = Full::new(collected.to_bytes());
        Ok::<_, Infallible>(response)
    });
    let sessions = SessionLayer::new(&Store::memory(), &keys());
    let service = sessions.layer(layer.layer(inner));
    let request = Request::post("/")
        .header("cookie", cookie)
        .header(CONTENT_TYPE, content_type);
    let response = service.oneshot(request.body(body).unwrap());
    let response = wait::within("the form layer", response).await.unwrap();
    if let Some(rejection) = response.extensions().get::<Rejection>() {
        return Err(rejection.reason_code().to_owned());
    }
    let trailers = response
        .extensions()
        .get::<Option<HeaderMap>>()
        .unwrap()
        .clone();
    Ok((
        response.into_body().collect().await.unwrap().to_bytes(),
        trailers,
    ))
}

// Fails if: what is found depends on how the body is cut, a frame or the trailers are lost, or an early end of the value
// is taken for the value.
#[tokio::test]
async fn the_bytes_are_the_same_however_they_come() {
    let (cookie, token) = visitor().await;
    let layer = CsrfFormLayer::new(&keys());
    let bodies = [
        (
            URLENCODED,
            format!("a=1&csrf_token={token}&b={}", "x".repeat(200)).into_bytes(),
        ),
        (URLENCODED, format!("a=1&csrf_token={token}").into_bytes()),
        (MULTIPART, multipart(&token, &[b'-'; 3_000])),
    ];
    for (content_type, body) in bodies {
        for sizes in [
            &[1][..],
            &[2, 3],
            &[7, 1, 0, 64],
            &[89],
            &[4096],
            &[usize::MAX],
        ] {
            let sizes: Vec<usize> = sizes.iter().map(|size| (*size).max(1)).collect();
            for trailers in [None, Some(trailers())] {
                let frames = Frames::new(&body, &sizes, End::Trailers(trailers.clone()));
                let got = through(&layer, &cookie, content_type, frames)
                    .await
                    .unwrap();
                assert_eq!(got.0, body, "{content_type} {sizes:?}");
                assert_eq!(got.1, trailers, "{content_type} {sizes:?}");
            }
        }
    }
}

/// An endless body: a found token decides at once, and without one the limit does.
// Fails if: the whole body is awaited, or more than the limit is buffered.
#[tokio::test]
async fn streaming_bodies_are_decided_at_their_beginning() {
    let (cookie, token) = visitor().await;
    let layer = CsrfLayer::builder(&keys())
        .form_limit(2_048)
        .build()
        .unwrap()
        .form();
    let endless = |body: &[u8]| Frames::new(body, &[1024], End::Never);
    let wrong = multipart(&"A".repeat(86), &[0; 500]);
    assert_eq!(
        through(&layer, &cookie, MULTIPART, endless(&wrong)).await,
        Err("token_wrong".to_owned())
    );
    let never = format!("a={}", "x".repeat(100_000));
    let frames = endless(never.as_bytes());
    let polled = Arc::clone(&frames.polled);
    assert_eq!(
        through(&layer, &cookie, URLENCODED, frames).await,
        Err("form_too_large".to_owned())
    );
    assert_eq!(
        polled.load(Ordering::SeqCst),
        3,
        "frames of 1 KiB, 2 KiB allowed"
    );
    // Good ones: the rest streams, whatever its size.
    let upload = multipart(&token, &[7; 100_000]);
    let frames = Frames::new(&upload, &[1000], End::Trailers(None));
    assert_eq!(
        through(&layer, &cookie, MULTIPART, frames).await.unwrap().0,
        upload
    );
    let exact = format!("csrf_token={token}&a={}", "x".repeat(2_048 - 86 - 14));
    assert_eq!(exact.len(), 2_048);
    let frames = Frames::new(exact.as_bytes(), &[2_048], End::Trailers(None));
    assert!(through(&layer, &cookie, URLENCODED, frames).await.is_ok());
}

// Fails if: what was read of a broken body is handed on, where it would look like a whole one.
#[tokio::test]
async fn a_body_that_breaks_off_reaches_nobody() {
    let (cookie, token) = visitor().await;
    let broken = || {
        Frames::new(
            format!("csrf_token={token}").as_bytes(),
            &[10],
            End::Failure,
        )
    };
    let strict = CsrfFormLayer::new(&keys());
    let report = CsrfLayer::builder(&keys())
        .insecure_report_only()
        .build()
        .unwrap()
        .form();
    for layer in [strict, report] {
        let outcome = through(&layer, &cookie, URLENCODED, broken()).await;
        assert_eq!(outcome, Err("form_broken".to_owned()));
    }
}

/// Only a request that needs a token, and has none in its header, has its body read.
// Fails if: the reader does not ask the verdict, the header or the content type first.
#[tokio::test]
async fn no_other_body_is_touched() {
    let (cookie, token) = visitor().await;
    let untouched = [
        (
            "POST",
            &[
                ("sec-fetch-site", "same-origin"),
                ("content-type", URLENCODED),
            ][..],
            200,
        ),
        (
            "POST",
            &[
                ("sec-fetch-site", "cross-site"),
                ("content-type", URLENCODED),
            ],
            403,
        ),
        (
            "POST",
            &[
                ("origin", "https://evil.example"),
                ("content-type", URLENCODED),
            ],
            403,
        ),
        (
            "POST",
            &[("x-csrf-token", &token), ("content-type", URLENCODED)],
            200,
        ),
        (
            "POST",
            &[("x-csrf-token", "wrong"), ("content-type", URLENCODED)],
            403,
        ),
        ("POST", &[("content-type", "application/json")], 403),
        (
            "POST",
            &[("content-type", URLENCODED), ("content-type", "a/b")],
            403,
        ),
        ("POST", &[], 403),
        ("GET", &[("content-type", URLENCODED)], 200),
    ];
    for (method, headers, status) in untouched {
        let frames = Frames::new(b"a=1", &[1], End::Never);
        let polled = Arc::clone(&frames.polled);
        let inner = service_fn(|_: Request<FormBody<Frames>>| {
            std::future::ready(Ok::<_, Infallible>(Response::new(String::new())))
        });
        let layer = CsrfFormLayer::new(&keys()).layer(inner);
        let service = SessionLayer::new(&Store::memory(), &keys()).layer(layer);
        let mut request = Request::builder().method(method).uri("/");
        request = request
            .header("cookie", &cookie)
            .header("host", "app.example");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = service
            .oneshot(request.body(frames).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{headers:?}");
        assert_eq!(polled.load(Ordering::SeqCst), 0, "{headers:?}");
    }
}

/// The service that was polled ready is the one that is called, also after a body was read.
// Fails if: the clone is called instead of the ready service.
#[tokio::test]
async fn the_ready_service_is_the_one_that_is_called() {
    let (cookie, token) = visitor().await;
    let inner = service_fn(|_: Request<FormBody<Frames>>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(String::new())))
    });
    // Panics when called without having been polled ready.
    let inner = tower::limit::ConcurrencyLimit::new(inner, 1);
    let layer = CsrfFormLayer::new(&keys()).layer(inner);
    let mut service = SessionLayer::new(&Store::memory(), &keys()).layer(layer);
    for _ in 0..3 {
        let body = format!("csrf_token={token}");
        let request = Request::post("/")
            .header("cookie", &cookie)
            .header(CONTENT_TYPE, URLENCODED);
        let request = request.body(Frames::new(body.as_bytes(), &[9], End::Trailers(None)));
        let response = service
            .ready()
            .await
            .unwrap()
            .call(request.unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
}

/// HTTP/2 with trailers, and chunks of HTTP/1, over a socket.
#[tokio::test]
async fn chunks_and_trailers_over_real_connections() {
    for on in FORMS {
        let site = site(on).await;
        let client = Client::new();
        let token = client.get(&site.at("/token")).await.text();
        let cookie = format!("__Host-csrf={}", client.cookie("__Host-csrf").unwrap());
        let body = multipart(&token, &[3; 70_000]);
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", site.port))
            .await
            .unwrap();
        let (mut h2, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let frames = Frames::new(&body, &[1, 77, 5_000], End::Trailers(Some(trailers())));
        let request = Request::post(site.at("/echo"))
            .header("cookie", &cookie)
            .header(CONTENT_TYPE, MULTIPART);
        let answer = h2
            .send_request(request.body(frames).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{on:?}");
        assert_eq!(answer.headers()["x-sum"], "1234", "{on:?}");
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), body);

        let stream = tokio::net::TcpStream::connect(("127.0.0.1", site.port))
            .await
            .unwrap();
        let (mut h1, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let frames = Frames::new(&body, &[1, 77, 5_000], End::Trailers(None));
        let request = Request::post("/echo")
            .header("host", "127.0.0.1")
            .header("cookie", &cookie)
            .header(CONTENT_TYPE, MULTIPART);
        let answer = h1
            .send_request(request.body(frames).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{on:?}");
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), body);
    }
}
