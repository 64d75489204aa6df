//! The same gate in front of axum, tonic and hyper.

use std::{convert::Infallible, error::Error};

use bytes::Bytes;
use http::{Request, Response, StatusCode, request};
use http_body_util::{
    BodyExt, Empty, Full,
    combinators::{BoxBody, UnsyncBoxBody},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use portcullis::{DefaultRefuse, Gated, Plan, Refused, Rejection, RejectionKind, TestGate};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::{Layer, ServiceExt, layer::layer_fn, service_fn};

type BoxError = Box<dyn Error + Send + Sync>;
type Decide = fn(&request::Parts) -> Plan;

/// Does as the header `x-plan` of the request says.
fn decide(head: &request::Parts) -> Plan {
    let refuse = || Rejection::new(RejectionKind::Csrf).code("csrf.test");
    let late = || Rejection::new(RejectionKind::Unavailable);
    match head.headers.get("x-plan").map(|plan| plan.as_bytes()) {
        None => Plan::Pass,
        Some(b"mark") => Plan::Mark,
        Some(b"refuse") => Plan::Refuse(refuse()),
        Some(b"ask") => Plan::Ask(Box::new(Plan::Mark)),
        Some(b"ask-refuse") => Plan::Ask(Box::new(Plan::Refuse(refuse()))),
        Some(b"answer") => Plan::Answer,
        Some(b"late") => Plan::RefuseLate(late()),
        Some(other) => panic!("no such plan: {other:?}"),
    }
}

fn gate<S>() -> impl Layer<S, Service = Gated<S, TestGate<Decide>>> + Clone {
    layer_fn(|inner| Gated::new(inner, TestGate(decide as Decide), DefaultRefuse::new()))
}

/// Plan, and what comes back: status, `x-gate`, reason code.
const HTTP: [(&str, u16, Option<&str>, Option<&str>); 6] = [
    ("mark", 200, Some("exit"), None),
    ("ask", 200, Some("exit"), None),
    ("answer", 200, Some("answer"), None),
    ("refuse", 403, None, Some("csrf.test")),
    ("ask-refuse", 403, None, Some("csrf.test")),
    ("late", 503, None, Some("unavailable")),
];

fn request<B: Default>(plan: &str) -> Request<B> {
    let request = Request::builder().uri("/").header("x-plan", plan);
    request.body(B::default()).unwrap()
}

fn gate_header<B>(response: &Response<B>) -> Option<&str> {
    response.headers().get("x-gate")?.to_str().ok()
}

async fn text<B: hyper::body::Body<Error: std::fmt::Debug>>(body: B) -> Bytes {
    body.collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn axum_router() {
    let app = axum::Router::new()
        .route("/", axum::routing::get(|| async { "inner" }))
        .layer(gate());
    for (plan, status, marked, reason) in HTTP {
        let response = app
            .clone()
            .oneshot(request::<axum::body::Body>(plan))
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{plan}");
        assert_eq!(gate_header(&response), marked);
        let rejection = response.extensions().get::<Rejection>();
        assert_eq!(rejection.map(Rejection::reason_code), reason);
        let body = text(response.into_body()).await;
        match (plan, reason) {
            ("answer", _) => assert_eq!(body, ""),
            (_, None) => assert_eq!(body, "inner"),
            (_, Some(code)) => {
                let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(body["code"], code);
            }
        }
    }
}

/// The gate in front of a service whose responses have the body `B`; whether a refusal has a text.
async fn body_type<B>(holds_text: bool)
where
    B: hyper::body::Body<Error: std::fmt::Debug> + Default + 'static,
{
    let inner =
        service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(B::default())) });
    for (plan, status, marked, reason) in HTTP {
        let response = gate().layer(inner).oneshot(request(plan)).await.unwrap();
        assert_eq!(response.status(), status, "{plan}");
        assert_eq!(gate_header(&response), marked);
        let typed = response.headers().contains_key("content-type");
        assert_eq!(typed, reason.is_some() && holds_text);
        let body = text(response.into_body()).await;
        assert_eq!(!body.is_empty(), reason.is_some() && holds_text);
    }
}

#[tokio::test]
async fn every_body_with_a_default() {
    body_type::<axum::body::Body>(true).await;
    body_type::<tonic::body::Body>(true).await;
    body_type::<Full<Bytes>>(true).await;
    body_type::<String>(true).await;
    body_type::<BoxBody<Bytes, Infallible>>(true).await;
    body_type::<BoxBody<Bytes, BoxError>>(true).await;
    body_type::<UnsyncBoxBody<Bytes, Infallible>>(true).await;
    body_type::<UnsyncBoxBody<Bytes, BoxError>>(true).await;
    body_type::<Empty<Bytes>>(false).await;
    body_type::<BoxBody<Bytes, hyper::Error>>(false).await;
}

#[tokio::test]
async fn a_closure_is_a_responder() {
    let inner = service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new("inner".to_owned()))
    });
    let responder = |refused: &Refused, rejection: &Rejection| {
        let path = refused.head().map(|head| head.uri.path());
        let mut response = Response::new(format!("{path:?} {}", rejection.reason_code()));
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    };
    let service = Gated::new(inner, TestGate(decide as Decide), responder);
    let refused = service.clone().oneshot(request("refuse")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::IM_A_TEAPOT);
    assert!(refused.extensions().get::<Rejection>().is_some());
    assert_eq!(refused.into_body(), r#"Some("/") csrf.test"#);
    let late = service.oneshot(request("late")).await.unwrap();
    assert_eq!(late.into_body(), "None unavailable");
}

#[tokio::test]
async fn tonic_server() {
    let incoming =
        tonic::transport::server::TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = tonic::transport::Server::builder()
        .layer(gate())
        .add_service(health)
        .serve_with_incoming(incoming);
    let server = tokio::spawn(server);
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    let table = [
        ("mark", Ok("exit")),
        ("ask", Ok("exit")),
        ("refuse", Err(tonic::Code::PermissionDenied)),
        ("ask-refuse", Err(tonic::Code::PermissionDenied)),
        ("late", Err(tonic::Code::Unavailable)),
    ];
    for (plan, expected) in table {
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        request
            .metadata_mut()
            .insert("x-plan", plan.parse().unwrap());
        match (client.check(request).await, expected) {
            (Ok(response), Ok(marked)) => {
                assert_eq!(response.metadata().get("x-gate").unwrap(), marked);
            }
            (Err(status), Err(code)) => assert_eq!(status.code(), code, "{status}"),
            (result, _) => panic!("{plan}: {result:?}"),
        }
    }
    server.abort();
}

#[tokio::test]
async fn a_gate_in_front_of_one_grpc_service_keeps_its_name() {
    fn name<S: tonic::server::NamedService>(_: &S) -> &'static str {
        S::NAME
    }
    let (_reporter, health) = tonic_health::server::health_reporter();
    let gated = gate().layer(health);
    assert_eq!(name(&gated), "grpc.health.v1.Health");
    let routes = tonic::service::Routes::new(gated);
    let request = Request::post("/grpc.health.v1.Health/Check")
        .header("content-type", "application/grpc")
        .header("x-plan", "refuse");
    let mut routes = routes.prepare();
    let response = (&mut routes)
        .oneshot(request.body(tonic::body::Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.headers()["grpc-status"], "7");
}

#[tokio::test]
async fn hyper_connection() {
    let inner = service_fn(|_: Request<hyper::body::Incoming>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"inner"))))
    });
    let service = TowerToHyperService::new(gate().layer(inner));
    let (near, far) = tokio::io::duplex(4096);
    let server = tokio::spawn(async move {
        let builder = auto::Builder::new(TokioExecutor::new());
        builder.serve_connection(TokioIo::new(far), service).await
    });
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    for (plan, status, marked, reason) in HTTP {
        let response = client
            .send_request(request::<Empty<Bytes>>(plan))
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{plan}");
        assert_eq!(gate_header(&response), marked);
        let body = text(response.into_body()).await;
        assert_eq!(body.starts_with(b"{"), reason.is_some());
    }
    drop(client);
    connection.await.unwrap().unwrap();
    server.await.unwrap().unwrap();
}
