//! The layer's own rules: its place, its settings, its refusals and what it says about them.

use std::{
    convert::Infallible,
    io,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use portcullis::{
    Refused, Rejection, Store,
    csrf::{CsrfFormLayer, CsrfGate, CsrfLayer, CsrfLayerBuilder, CsrfToken},
    session::SessionLayer,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tracing_subscriber::util::SubscriberInitExt;

use super::site::{EVERYWHERE, On, Site, keys};
use crate::means::{
    alloc,
    http::{Answer, Client},
    wait,
};

fn builder() -> CsrfLayerBuilder {
    CsrfLayer::builder(&keys())
}

async fn site(on: On, builder: CsrfLayerBuilder) -> Site {
    Site::start(on, builder.build().unwrap(), &Store::memory()).await
}

async fn send(site: &Site, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    Client::new()
        .request(method, &site.at(path), headers, Bytes::new())
        .await
}

/// Status and reason; a pass has none.
async fn post(site: &Site, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    outcome(&send(site, Method::POST, path, headers).await)
}

fn outcome(answer: &Answer) -> (u16, String) {
    let reason = match answer.header("content-type") {
        "application/problem+json" => answer.json::<serde_json::Value>()["code"].to_string(),
        _ => String::new(),
    };
    (answer.status.as_u16(), reason.replace('"', ""))
}

fn is(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

const CROSS: (&str, &str) = ("sec-fetch-site", "cross-site");
const COOKIE: (&str, &str) = ("cookie", "theme=dark");

// Fails if: a request without a session in its extensions passes, even a GET, an exempt one or a reported one.
#[tokio::test]
async fn without_a_session_layer_nothing_passes() {
    let inner = || {
        service_fn(
            async |_: Request<String>| -> Result<Response<String>, Infallible> {
                panic!("the inner service was called")
            },
        )
    };
    let gentle = builder()
        .exempt("/")
        .insecure_report_only()
        .build()
        .unwrap();
    for method in ["GET", "POST"] {
        let request = || {
            Request::builder()
                .method(method)
                .uri("/")
                .body(String::new())
                .unwrap()
        };
        let response = gentle.layer(inner()).oneshot(request()).await.unwrap();
        let rejection = response.extensions().get::<Rejection>().unwrap();
        assert_eq!(
            (rejection.status().as_u16(), rejection.reason_code()),
            (500, "session_layer_missing")
        );
        let cause = std::error::Error::source(rejection).unwrap().to_string();
        assert!(cause.contains("put SessionLayer around it"));
        assert!(
            !response.body().contains("SessionLayer"),
            "that is not for clients"
        );
    }
    let forms = axum::Router::<()>::new().layer(CsrfFormLayer::new(&keys()));
    let request = Request::post("/").body(axum::body::Body::empty()).unwrap();
    assert_eq!(forms.oneshot(request).await.unwrap().status(), 500);
    // And the extractor without its layer.
    let handler = async |_: CsrfToken| "shown";
    let app = axum::Router::new()
        .fallback(handler)
        .layer(SessionLayer::new(&Store::memory(), &keys()));
    let request = Request::get("/").body(axum::body::Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(
        response
            .extensions()
            .get::<Rejection>()
            .unwrap()
            .reason_code(),
        "csrf_layer_missing"
    );
}

/// R36, R39, R40, R41 once more, through what real servers make of the headers.
// Fails if: the expected host comes from a forwarded header, or an origin is compared by its beginning or end.
#[tokio::test]
async fn r39_to_r41_origins_through_real_servers() {
    for on in EVERYWHERE {
        let site = site(on, builder()).await;
        let port = site.port;
        let own = site.url.clone();
        for origin in [own.clone(), own.to_uppercase().replace("HTTP", "http")] {
            assert_eq!(
                post(&site, "/", &[("origin", &origin), COOKIE]).await,
                is(200, "")
            );
        }
        for (origin, reason) in [
            (format!("http://user@127.0.0.1:{port}"), "bad_origin"),
            (format!("{own}/"), "bad_origin"),
            (format!("http://127.0.0.1.:{port}"), "bad_origin"),
            ("http://127.0.0.1:0".to_owned(), "bad_origin"),
            (format!("{own} {own}"), "bad_origin"),
            (format!("{own},{own}"), "bad_origin"),
            ("null".to_owned(), "null_origin"),
            (format!("http://127.0.0.1:{}", port - 1), "foreign_origin"),
            (format!("http://[::1]:{port}"), "foreign_origin"),
            (format!("{own}.evil.example"), "bad_origin"),
            (
                format!("http://127.0.0.1.evil.example:{port}"),
                "foreign_origin",
            ),
            (format!("http://localhost:{port}"), "foreign_origin"),
        ] {
            let found = post(&site, "/", &[("origin", &origin)]).await;
            assert_eq!(found, is(403, reason), "{origin}");
        }
        let forged = [
            ("origin", "https://evil.example"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "host=evil.example;proto=https"),
        ];
        assert_eq!(post(&site, "/", &forged).await, is(403, "foreign_origin"));
        assert_eq!(
            post(&site, "/", &[CROSS, ("origin", &own)]).await,
            is(403, "cross_site")
        );
        assert_eq!(site.calls(), 2, "{on:?}");
    }
}

/// A raw request, since clients do not send such ones.
async fn raw(site: &Site, text: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    wait::within("a raw answer", stream.read_to_end(&mut answer))
        .await
        .unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

// Fails if: one of two hosts is believed.
#[tokio::test]
async fn a_request_is_addressed_to_one_host() {
    let site = site(On::Hyper, builder()).await;
    let rest = "origin: https://b.example\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let conflict = raw(
        &site,
        &format!("POST http://a.example/ HTTP/1.1\r\nhost: b.example\r\n{rest}"),
    )
    .await;
    assert!(
        conflict.starts_with("HTTP/1.1 400") && conflict.contains("host_conflict"),
        "{conflict}"
    );
    let nowhere = raw(&site, &format!("POST / HTTP/1.0\r\n{rest}")).await;
    assert!(
        nowhere.contains(" 403 ") && nowhere.contains("no_host"),
        "{nowhere}"
    );
    let agreed = raw(
        &site,
        &format!("POST http://b.example/ HTTP/1.1\r\nhost: b.example\r\n{rest}"),
    )
    .await;
    assert!(agreed.contains(" 200 "), "{agreed}");
}

/// R42.
// Fails if: a type that pages may send without asking passes, or none.
#[tokio::test]
async fn r42_json_only() {
    let site = site(On::Axum, builder().json_only()).await;
    let own = ("sec-fetch-site", "same-origin");
    for exempt in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "json",
    ] {
        let outcome = post(&site, "/", &[own, ("content-type", exempt)]).await;
        assert_eq!(outcome, is(415, "content_type_not_allowed"), "{exempt}");
    }
    assert_eq!(
        post(&site, "/", &[own]).await,
        is(415, "content_type_not_allowed")
    );
    assert_eq!(site.calls(), 0);
    assert_eq!(
        post(&site, "/", &[own, ("content-type", "application/json")]).await,
        is(200, "")
    );
    assert_eq!(
        post(&site, "/", &[CROSS, ("content-type", "application/json")]).await,
        is(403, "cross_site")
    );
}

/// R43: a method override counts as a change, and so does a WebSocket handshake.
// Fails if: the override headers are not looked at.
#[tokio::test]
async fn r43_an_overridden_get_is_checked() {
    let site = site(On::Hyper, builder()).await;
    for name in [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
    ] {
        let headers = [CROSS, (name, "DELETE")];
        let answer = send(&site, Method::GET, "/", &headers).await;
        assert_eq!(outcome(&answer), is(403, "cross_site"), "{name}");
    }
    let handshake = [CROSS, ("connection", "upgrade"), ("upgrade", "websocket")];
    assert_eq!(
        outcome(&send(&site, Method::GET, "/", &handshake).await),
        is(403, "cross_site")
    );
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        assert_eq!(send(&site, method, "/", &[CROSS]).await.status, 200);
    }
}

/// R44.
// Fails if: embedding passes, or a link is refused.
#[tokio::test]
async fn r44_guarded_reads() {
    let site = site(
        On::Axum,
        builder()
            .guard_reads()
            .trusted_origin("https://friend.example"),
    )
    .await;
    let mode = |mode| ("sec-fetch-mode", mode);
    let dest = |dest| ("sec-fetch-dest", dest);
    for headers in [
        &[CROSS, mode("no-cors"), dest("image")][..],
        &[CROSS, mode("no-cors"), dest("script")],
        &[
            CROSS,
            mode("cors"),
            dest("empty"),
            ("origin", "https://evil.example"),
        ],
        &[CROSS, mode("navigate"), dest("iframe")],
        &[CROSS],
    ] {
        let answer = send(&site, Method::GET, "/", headers).await;
        assert_eq!(outcome(&answer), is(403, "cross_site_read"), "{headers:?}");
    }
    for headers in [
        &[CROSS, mode("navigate"), dest("document")][..],
        &[
            ("sec-fetch-site", "same-origin"),
            mode("no-cors"),
            dest("image"),
        ],
        &[CROSS, mode("cors"), ("origin", "https://friend.example")],
        &[],
    ] {
        let answer = send(&site, Method::GET, "/", headers).await;
        assert_eq!(answer.status, 200, "{headers:?}");
        assert_eq!(answer.header("vary"), "Sec-Fetch-Site, Origin");
    }
}

/// R45.
// Fails if: the type of the response or the session is not asked for, or a CORS request is blocked.
#[tokio::test]
async fn r45_scripts_with_a_session_are_not_for_other_sites() {
    for on in EVERYWHERE {
        let site = site(on, builder().same_origin_resources()).await;
        let client = Client::new();
        client.post(&site.at("/login")).await;
        let embedded = [
            CROSS,
            ("sec-fetch-mode", "no-cors"),
            ("sec-fetch-dest", "script"),
        ];
        let blocked = client.get_with(&site.at("/data.js"), &embedded).await;
        assert_eq!(outcome(&blocked), is(403, "cross_site_script"));
        for (path, headers) in [
            ("/data.js", &[CROSS, ("sec-fetch-mode", "cors")][..]),
            (
                "/data.js",
                &[
                    ("sec-fetch-site", "same-origin"),
                    ("sec-fetch-mode", "no-cors"),
                ],
            ),
            ("/data", &embedded),
            ("/data.js", &[]),
        ] {
            let answer = client.get_with(&site.at(path), headers).await;
            assert_eq!(answer.status, 200, "{path} {headers:?}");
            assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
        }
        let public = Client::new()
            .get_with(&site.at("/data.js"), &embedded)
            .await;
        assert_eq!(public.status, 200, "without a session");
    }
}

/// R50: a login form of another site is refused without any cookie.
#[tokio::test]
async fn r50_login_csrf() {
    let site = site(On::Axum, builder()).await;
    assert_eq!(post(&site, "/login", &[CROSS]).await, is(403, "cross_site"));
    let origin = ("origin", "https://evil.example");
    assert_eq!(
        post(&site, "/login", &[origin]).await,
        is(403, "foreign_origin")
    );
    assert_eq!(
        post(&site, "/login", &[COOKIE]).await,
        is(403, "token_missing")
    );
    assert_eq!(site.calls(), 0);
}

/// R52, R53.
// Fails if: a gRPC caller gets a bare 403, or the type is not stable.
#[tokio::test]
async fn r52_r53_refusals_in_each_language() {
    for on in EVERYWHERE {
        let site = site(on, builder()).await;
        let token = "a-token-that-must-not-be-echoed";
        let headers = [CROSS, ("x-csrf-token", token)];
        let answer = send(&site, Method::POST, "/", &headers).await;
        let body: serde_json::Value = answer.json();
        let expected = serde_json::json!({
            "type": "urn:portcullis:problem:csrf",
            "title": "Cross-site request refused",
            "status": 403,
            "detail": "the browser says that another site caused this request",
            "code": "cross_site",
        });
        assert_eq!(body, expected);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.header("vary"), "Sec-Fetch-Site, Origin");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(!format!("{answer:?}").contains(token));
        let grpc = [CROSS, ("content-type", "application/grpc-web+proto")];
        let answer = send(&site, Method::POST, "/", &grpc).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("grpc-status"), "7");
        assert_eq!(site.calls(), 0);
        // A route that was checked and passed says what it depends on; one that is not says nothing.
        let passed = send(&site, Method::POST, "/", &[("sec-fetch-site", "none")]).await;
        assert_eq!(passed.header("vary"), "Sec-Fetch-Site, Origin");
        assert_eq!(send(&site, Method::GET, "/", &[]).await.header("vary"), "");
    }
}

/// R55.
// Fails if: the path is normalised, decoded or compared by its beginning.
#[tokio::test]
async fn r55_exempt_is_one_spelling_of_one_path() {
    for on in EVERYWHERE {
        let site = site(on, builder().exempt("/hook")).await;
        assert_eq!(post(&site, "/hook", &[CROSS]).await, is(200, ""));
        assert_eq!(post(&site, "/hook?a=/x", &[CROSS]).await, is(200, ""));
        for path in [
            "//hook",
            "/hook/",
            "/a/../hook",
            "/./hook",
            "/%68ook",
            "/hook%2f",
            "/hook;x",
            "/HOOK",
            "/hook/sub",
            "/hookx",
            "/%2e%2e/hook",
        ] {
            assert_eq!(
                post(&site, path, &[CROSS]).await,
                is(403, "cross_site"),
                "{path}"
            );
        }
        assert_eq!(site.calls(), 2);
    }
}

// Fails if: a weakening reaches further than its name says.
#[tokio::test]
async fn a_proxy_that_rewrites_the_host() {
    let site = site(On::Axum, builder().external_origin("https://shop.example")).await;
    let origin = |origin| [("origin", origin), COOKIE];
    assert_eq!(
        post(&site, "/", &origin("https://shop.example")).await,
        is(200, "")
    );
    for other in [
        "http://shop.example",
        "https://shop.example:8443",
        &site.url,
    ] {
        assert_eq!(
            post(&site, "/", &origin(other)).await,
            is(403, "foreign_origin"),
            "{other}"
        );
    }
}

#[test]
fn wrong_settings_are_found_when_the_layer_is_built() {
    let wrong: [(CsrfLayerBuilder, &str); 20] = [
        (builder().trusted_origin("a.example"), "trusted_origin"),
        (
            builder().trusted_origin("https://a.example/"),
            "trusted_origin",
        ),
        (
            builder().trusted_origin("https://*.a.example"),
            "trusted_origin",
        ),
        (
            builder().trusted_origin("http://a.example"),
            "trusted_origin",
        ),
        (
            builder().trusted_origin("http://localhost:3000"),
            "trusted_origin",
        ),
        (builder().insecure_trusted_origin("null"), "trusted_origin"),
        (builder().external_origin("shop.example"), "external_origin"),
        (
            builder().external_origin("http://shop.example"),
            "external_origin",
        ),
        (
            builder().external_origin("ftp://shop.example"),
            "external_origin",
        ),
        (builder().header_name("x csrf"), "header_name"),
        (builder().header_name("Content-Type"), "header_name"),
        (builder().header_name("sec-x"), "header_name"),
        (builder().field_name(""), "field_name"),
        (builder().cookie_name("__Host-a b"), "cookie_name"),
        (
            builder().cookie_name("__Host-a").insecure_plain_http(),
            "cookie_name",
        ),
        (builder().form_limit(10), "form_limit"),
        (builder().exempt("hook"), "exempt"),
        (builder().exempt("/a/../hook"), "exempt"),
        (builder().exempt("/%68ook"), "exempt"),
        (builder().exempt("/hook/*"), "exempt"),
    ];
    for (at, (builder, field)) in wrong.into_iter().enumerate() {
        assert_eq!(builder.build().unwrap_err().field(), field, "{at}");
    }
    let fine = builder()
        .insecure_trusted_origin("http://localhost:3000")
        .external_origin("http://shop.example")
        .insecure_plain_http();
    assert!(fine.build().is_ok());
    let shown = format!("{:?} {:?}", builder(), builder().build().unwrap().form());
    assert!(!shown.contains(super::site::SECRET), "{shown}");
}

#[tokio::test]
async fn names_of_ones_own() {
    let builder = builder()
        .header_name("X-My-Token")
        .field_name("_token")
        .cookie_name("pre");
    let site = site(On::Axum, builder).await;
    let client = Client::new();
    assert_eq!(
        client.get(&site.at("/names")).await.text(),
        "x-my-token _token"
    );
    let token = client.get(&site.at("/token")).await.text();
    assert!(client.cookie("pre").is_some());
    let headers = [("x-my-token", token.as_str())];
    let answer = client
        .request(Method::POST, &site.at("/"), &headers, Bytes::new())
        .await;
    assert_eq!(answer.status, 200);
}

/// The events of one thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn start() -> (Self, impl Sized) {
        // With a single subscriber alive, `tracing` asks whichever thread meets an event first whether anybody listens,
        // and that may be another test's. With two it asks both.
        let other = tracing_subscriber::fmt()
            .with_writer(io::sink)
            .set_default();
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone());
        (log, (subscriber.set_default(), other))
    }

    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

fn local(
    csrf: &CsrfLayer,
) -> impl Service<Request<()>, Response = Response<String>, Error = Infallible> {
    let inner = service_fn(|_: Request<()>| {
        std::future::ready(Ok::<_, Infallible>(Response::new("inner".to_owned())))
    });
    SessionLayer::new(&Store::memory(), &keys()).layer(csrf.layer(inner))
}

async fn call(csrf: &CsrfLayer, headers: &[(&str, &str)]) -> Response<String> {
    let mut request = Request::post("/x");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    local(csrf)
        .oneshot(request.body(()).unwrap())
        .await
        .unwrap()
}

/// R51, and one event per refusal that names what decided; R29: no event holds a token.
// Fails if: a report-only layer refuses or is silent, or a refusal is told twice or as both.
#[tokio::test]
async fn r51_report_only_passes_and_says_so() {
    let (log, _guard) = Log::start();
    let cases: [(&[(&str, &str)], &str, &str); 6] = [
        (&[CROSS], "cross_site", "sec-fetch-site"),
        (&[("origin", "null")], "null_origin", "origin"),
        (&[COOKIE], "token_missing", "token"),
        (
            &[COOKIE, ("x-csrf-token", "hunter2")],
            "token_wrong",
            "token",
        ),
        (
            &[("x-csrf-token", "a"), ("x-csrf-token", "a"), COOKIE],
            "token_wrong",
            "token",
        ),
        (&[("origin", "https://a.example")], "no_host", "host"),
    ];
    let strict = builder().build().unwrap();
    let report = builder().insecure_report_only().build().unwrap();
    for (headers, reason, decided_by) in cases {
        for (layer, event, passes) in [
            (&strict, "csrf.denied", false),
            (&report, "csrf.would_block", true),
        ] {
            let response = call(layer, headers).await;
            assert_eq!(response.status().is_success(), passes, "{reason}");
            let told = log.take();
            let lines: Vec<_> = told
                .lines()
                .filter(|line| line.contains("event=\"csrf."))
                .collect();
            assert_eq!(lines.len(), 1, "{told}");
            for part in [event, reason, decided_by] {
                assert!(lines[0].contains(&format!("\"{part}\"")), "{part}: {told}");
            }
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
    assert_eq!(
        call(&strict, &[("sec-fetch-site", "none")]).await.status(),
        200
    );
    let told = log.take();
    assert!(
        told.contains("csrf.passed") && told.contains("sec_fetch_site_none"),
        "{told}"
    );
}

#[tokio::test]
async fn a_responder_of_ones_own() {
    let responder = |_: &Refused, rejection: &Rejection| {
        let mut response = Response::new(rejection.reason_code().to_owned());
        *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
        response
    };
    let inner = service_fn(|_: Request<()>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(String::new())))
    });
    let csrf = CsrfLayer::new(&keys()).refuse_with(responder).layer(inner);
    let app = SessionLayer::new(&Store::memory(), &keys()).layer(csrf);
    let request = Request::post("/")
        .header(CROSS.0, CROSS.1)
        .body(())
        .unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.body().as_str()),
        (418, "cross_site")
    );
}

/// What the layer allocates between the session layer and the service: the handle in the extensions, an `Arc` in a box.
// Fails if: anything of a request is copied on its way through.
#[tokio::test]
async fn a_request_that_needs_no_token_costs_its_handle() {
    let inner = service_fn(|_: Request<()>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(String::new())))
    });
    let allocations = |request: Request<()>, csrf: bool| {
        let sessions = SessionLayer::new(&Store::memory(), &keys());
        let mut cx = Context::from_waker(Waker::noop());
        let (count, status) = if csrf {
            let mut app = sessions.layer(CsrfLayer::new(&keys()).layer(inner));
            alloc::count(|| ready(pin!(app.call(request)).poll(&mut cx)))
        } else {
            let mut app = sessions.layer(inner);
            alloc::count(|| ready(pin!(app.call(request)).poll(&mut cx)))
        };
        assert_eq!(status, 200);
        count
    };
    let requests: [fn() -> http::request::Builder; 3] = [
        || Request::get("/").header("cookie", "a=b; c=d"),
        || {
            Request::get("/")
                .header(CROSS.0, CROSS.1)
                .header("sec-fetch-mode", "navigate")
        },
        || Request::post("/").header("authorization", "Bearer x"),
    ];
    for request in requests {
        let with = allocations(request().body(()).unwrap(), true);
        let without = allocations(request().body(()).unwrap(), false);
        // `Vary`, in a response that has no other header.
        let vary = if request().method_ref() == Some(&Method::POST) {
            2
        } else {
            0
        };
        assert_eq!(with - without, 2 + vary);
    }
}

fn ready(poll: Poll<Result<Response<String>, Infallible>>) -> u16 {
    let Poll::Ready(Ok(response)) = poll else {
        panic!("a local decision waits for nothing");
    };
    response.status().as_u16()
}

/// What the types promise to the compiler.
#[test]
fn auto_traits() {
    fn all<T: Send + Sync + Clone + std::fmt::Debug + 'static>() {}
    all::<CsrfLayer>();
    all::<CsrfFormLayer>();
    all::<CsrfLayerBuilder>();
    all::<CsrfGate>();
    all::<CsrfToken>();
}
