//! What a handler is given: extractors of axum, extensions of a `tonic::Request`, refusals as statuses.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use http::{HeaderMap, Request, Response};
use hyper::body::Bytes;
use portcullis::{
    DefaultRefuse, KeyRing, Refuse, Rejection, RejectionKind as Kind, Store,
    blacklist::BlacklistLayer,
    frameworks::tonic::RequestExt,
    jwt::{
        Claims, Grant, Issuer, JwtAlgorithm, JwtVerifyLayer, NoClaims, RequireScopeLayer,
        SigningKey, StepUpLayer, VerifiedToken,
    },
    session::{Login, SessionError, SessionLayer},
};
use serde::Deserialize;
use tonic::{Code, Status};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tracing_subscriber::util::SubscriberInitExt;

#[derive(Clone, Debug, Deserialize)]
struct Mine {
    team: String,
}

/// Claims that no layer reads.
#[derive(Clone, Debug, Deserialize)]
struct Others {}

struct Party {
    issuer: Issuer,
    required: JwtVerifyLayer<Mine>,
    optional: JwtVerifyLayer<Mine>,
}

impl Party {
    fn new() -> Self {
        let key = SigningKey::generate(JwtAlgorithm::EdDsa).unwrap();
        let layer = || {
            JwtVerifyLayer::<Mine>::new(key.verification_key())
                .issuer("https://id.example")
                .audience("api")
                .realm("the team")
        };
        Self {
            required: layer().build().unwrap(),
            optional: layer().optional().build().unwrap(),
            issuer: Issuer::new(key, "https://id.example")
                .audience("api")
                .build()
                .unwrap(),
        }
    }

    fn bearer(&self) -> String {
        let grant = Grant::user("alice").claim("team", "blue").scope("read");
        format!("Bearer {}", self.issuer.mint(&grant).unwrap().token())
    }
}

/// Status, challenge, reason code and text of an answer.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    challenge: String,
    code: &'static str,
    text: String,
}

fn answered(status: u16, challenge: &str, code: &'static str, text: &str) -> Answer {
    Answer {
        status,
        challenge: challenge.to_owned(),
        code,
        text: text.to_owned(),
    }
}

fn said(text: &str) -> Answer {
    answered(200, "", "", text)
}

async fn ask(router: &Router, path: &str, authorization: &str) -> Answer {
    let mut request = Request::get(path);
    if !authorization.is_empty() {
        request = request.header("authorization", authorization);
    }
    let response = router
        .clone()
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    let (head, body) = response.into_parts();
    let challenge = head
        .headers
        .get("www-authenticate")
        .map(|value| value.to_str().unwrap());
    let rejection = head.extensions.get::<Rejection>();
    let body = axum::body::to_bytes(body, 10_000).await.unwrap();
    Answer {
        status: head.status.as_u16(),
        challenge: challenge.unwrap_or_default().to_owned(),
        code: rejection.map_or("", Rejection::reason_code),
        // A refusal's own body is the business of the table of refusals.
        text: match rejection {
            Some(_) => String::new(),
            None => String::from_utf8(body.to_vec()).unwrap(),
        },
    }
}

fn routes() -> Router {
    Router::new()
        .route(
            "/token",
            get(async |token: VerifiedToken| token.user().unwrap().to_owned()),
        )
        .route(
            "/claims",
            get(async |claims: Claims<Mine>| claims.team.clone()),
        )
        .route("/wrong", get(async |_: Claims<Others>| "reached"))
        .route(
            "/optional-token",
            get(async |token: Option<VerifiedToken>| {
                format!("{:?}", token.map(|token| token.user().unwrap().to_owned()))
            }),
        )
        .route(
            "/optional-claims",
            get(async |claims: Option<Claims<Mine>>| {
                format!("{:?}", claims.map(|claims| claims.team.clone()))
            }),
        )
        .route(
            "/optional-wrong",
            get(async |claims: Option<Claims<Others>>| format!("{claims:?}")),
        )
}

const PATHS: [&str; 6] = [
    "/token",
    "/claims",
    "/wrong",
    "/optional-token",
    "/optional-claims",
    "/optional-wrong",
];

/// Fails if: no mark means no token; claims of another type look like a visitor; the realm of the layer is forgotten; the
/// optional form is `None` for what it does not know.
#[tokio::test]
async fn axum_extractors_tell_a_missing_layer_from_a_missing_token() {
    let party = Party::new();
    let bearer = party.bearer();
    let missing = || answered(500, "", "jwt_layer_missing", "");
    let no_token = || answered(401, r#"Bearer realm="the team""#, "missing_credentials", "");

    for path in PATHS {
        for authorization in ["", &bearer] {
            assert_eq!(
                ask(&routes(), path, authorization).await,
                missing(),
                "{path}"
            );
        }
    }
    let optional = routes().layer(party.optional.clone());
    let required = routes().layer(party.required.clone());
    let none = [
        no_token(),
        no_token(),
        missing(),
        said("None"),
        said("None"),
        missing(),
    ];
    let some = [
        said("alice"),
        said("blue"),
        missing(),
        said(r#"Some("alice")"#),
        said(r#"Some("blue")"#),
        missing(),
    ];
    for ((path, none), some) in PATHS.into_iter().zip(none).zip(some) {
        assert_eq!(ask(&optional, path, "").await, none, "{path}");
        assert_eq!(ask(&required, path, "").await, no_token(), "{path}");
        for router in [&optional, &required] {
            assert_eq!(ask(router, path, &bearer).await, some, "{path}");
            assert_eq!(
                ask(router, path, "Bearer a.b.c").await.code,
                "invalid_token",
                "never a visitor"
            );
        }
    }
}

/// Fails if: the nearest layer's realm is not the one that is told.
#[tokio::test]
async fn layers_inside_of_an_optional_one_name_its_realm() {
    let party = Party::new();
    for (router, name) in [
        (
            Router::new()
                .route("/", get(async || ""))
                .layer(RequireScopeLayer::new("read").unwrap()),
            "scope",
        ),
        (
            Router::new()
                .route("/", get(async || ""))
                .layer(StepUpLayer::within(Duration::from_secs(60))),
            "step up",
        ),
    ] {
        assert_eq!(
            ask(&router, "/", "").await.code,
            "jwt_layer_missing",
            "{name}"
        );
        let router = router.layer(party.optional.clone());
        let answer = ask(&router, "/", "").await;
        assert_eq!(
            answer,
            answered(401, r#"Bearer realm="the team""#, "missing_credentials", ""),
            "{name}"
        );
        assert_eq!(ask(&router, "/", &party.bearer()).await, said(""), "{name}");
    }
}

/// A handler behind a gRPC route of an axum router refuses in gRPC.
///
/// Fails if: the refusal of an extractor is always HTTP.
#[tokio::test]
async fn an_extractor_refuses_in_the_protocol_of_the_call() {
    let router = routes().layer(Party::new().optional);
    let request = Request::get("/token").header("content-type", "application/grpc+proto");
    let response = router
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "16");
    assert_eq!(
        response.headers()["www-authenticate"],
        r#"Bearer realm="the team""#
    );
}

/// What `ask` says to a request that went through `layer`.
async fn through<L, T>(
    layer: L,
    authorization: &str,
    ask: impl Fn(&tonic::Request<()>) -> T + Clone + Send + Sync + 'static,
) -> T
where
    T: Send + 'static,
    L: Layer<tower::util::BoxCloneSyncService<Request<()>, Response<Bytes>, Infallible>>,
    L::Service: tower::Service<Request<()>, Response = Response<Bytes>, Error = Infallible>,
{
    let told = Arc::new(Mutex::new(None));
    let tell = Arc::clone(&told);
    let inner = service_fn(move |request: Request<()>| {
        *tell.lock().unwrap() = Some(ask(&tonic::Request::from_http(request)));
        std::future::ready(Ok(Response::new(Bytes::new())))
    });
    let mut request = Request::post("/").header("content-type", "application/grpc");
    if !authorization.is_empty() {
        request = request.header("authorization", authorization);
    }
    let service = layer.layer(tower::util::BoxCloneSyncService::new(inner));
    service.oneshot(request.body(()).unwrap()).await.unwrap();
    told.lock().unwrap().take().expect("the method was called")
}

fn code_of<T>(result: Result<T, Status>) -> (Code, String) {
    let status = result.err().expect("refused");
    let challenge = status.metadata().get("www-authenticate");
    (
        status.code(),
        challenge
            .map_or("", |value| value.to_str().unwrap())
            .to_owned(),
    )
}

/// Fails if: the request's extensions are lost on the way to tonic's request; a missing layer is told as UNAUTHENTICATED.
#[tokio::test]
async fn a_tonic_request_knows_what_the_layers_found() {
    let party = Party::new();
    let (optional, bearer) = (party.optional.clone(), party.bearer());
    let misplaced = (Code::Internal, String::new());
    let no_token = (
        Code::Unauthenticated,
        r#"Bearer realm="the team""#.to_owned(),
    );

    let user = through(optional.clone(), &bearer, |request| {
        request.verified_token().unwrap().user().unwrap().to_owned()
    });
    assert_eq!(user.await, "alice");
    let team = through(optional.clone(), &bearer, |request| {
        request.claims::<Mine>().unwrap().team.clone()
    });
    assert_eq!(team.await, "blue");
    let both = through(optional.clone(), &bearer, |request| {
        let token = request.optional_verified_token().unwrap();
        (
            token.is_some(),
            request.optional_claims::<Mine>().unwrap().is_some(),
        )
    });
    assert_eq!(both.await, (true, true));
    let wrong = through(optional.clone(), &bearer, |request| {
        (
            code_of(request.claims::<Others>()),
            code_of(request.optional_claims::<Others>()),
        )
    });
    assert_eq!(wrong.await, (misplaced.clone(), misplaced.clone()));

    let visitor = through(optional, "", |request| {
        assert!(request.optional_verified_token().unwrap().is_none());
        assert!(request.optional_claims::<Mine>().unwrap().is_none());
        (
            code_of(request.verified_token()),
            code_of(request.claims::<Mine>()),
        )
    });
    assert_eq!(visitor.await, (no_token.clone(), no_token));
    let bare = through(tower::layer::util::Identity::new(), &bearer, |request| {
        [
            code_of(request.verified_token()),
            code_of(request.optional_verified_token()),
            code_of(request.claims::<Mine>()),
            code_of(request.optional_claims::<Mine>()),
            code_of(request.session()),
        ]
    });
    assert!(bare.await.iter().all(|code| *code == misplaced));
}

/// A method of a service, ending with `?` on errors of the crate.
async fn sign_in(request: tonic::Request<()>) -> Result<String, Status> {
    let session = request.session()?;
    session.login(Login::new("alice")).await?;
    let user = session.user().await?;
    Ok(user.map(|user| user.id().to_owned()).unwrap_or_default())
}

/// Fails if: a method cannot use the session of a browser that calls through gRPC-Web.
#[tokio::test]
async fn a_tonic_request_knows_its_session() {
    let keys = KeyRing::new("a secret of at least thirty-two bytes").unwrap();
    let layer = SessionLayer::builder(&Store::memory(), &keys)
        .build()
        .unwrap();
    let service = layer.layer(service_fn(async |request: Request<()>| {
        let user = sign_in(tonic::Request::from_http(request)).await.unwrap();
        Ok::<_, Infallible>(Response::new(user))
    }));
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.body(), "alice");
    assert!(response.headers().contains_key("set-cookie"));
}

/// Every refusal that a method returns is, header for header, the one that a layer would have sent.
///
/// Fails if: the metadata, the message or the code of one kind is lost or differs.
#[test]
fn a_status_is_the_refusal_of_a_layer() {
    let every = [
        Kind::MissingCredentials,
        Kind::InvalidRequest,
        Kind::InvalidToken,
        Kind::InsufficientScope,
        Kind::InsufficientUserAuthentication,
        Kind::InvalidDpopProof,
        Kind::UseDpopNonce,
        Kind::LoginRequired,
        Kind::Forbidden,
        Kind::Csrf,
        Kind::UnsupportedMediaType,
        Kind::InvalidGrant,
        Kind::InvalidScope,
        Kind::Conflict,
        Kind::Unavailable,
        Kind::Internal,
    ];
    let mut rejections: Vec<Rejection> = every.into_iter().map(Rejection::new).collect();
    rejections.extend([
        Rejection::new(Kind::InsufficientScope)
            .scope("a b")
            .realm("r"),
        Rejection::new(Kind::InsufficientUserAuthentication).max_age(Duration::from_secs(300)),
        Rejection::new(Kind::UseDpopNonce).dpop_nonce("n-1"),
        Rejection::new(Kind::Unavailable).retry_after(Duration::from_millis(2500)),
        Rejection::new(Kind::Forbidden).detail("100% of \"this\" is not allowed — é"),
    ]);
    for rejection in rejections {
        let call = Request::post("/").header("content-type", "application/grpc");
        let (head, ()) = call.body(()).unwrap().into_parts();
        let refused: Response<String> = DefaultRefuse::new().refuse(head.into(), &rejection);
        let status = Status::from(rejection.clone());
        assert_eq!(status.code() as i32, rejection.grpc_code());
        let source = std::error::Error::source(&status).expect("for the log of this side");
        assert_eq!(
            source.downcast_ref::<Rejection>().unwrap().kind(),
            rejection.kind()
        );
        let sent: Response<String> = status.into_http();
        let decoded = |headers: &HeaderMap| {
            let mut headers = headers.clone();
            // Two ways to escape the same text are the same message.
            let message = Status::from_header_map(&headers)
                .unwrap()
                .message()
                .to_owned();
            headers.remove("grpc-message");
            (headers, message)
        };
        assert_eq!(
            decoded(sent.headers()),
            decoded(refused.headers()),
            "{rejection}"
        );
    }
    let nonce = Status::from(Rejection::new(Kind::UseDpopNonce).dpop_nonce("n-1"));
    assert_eq!(nonce.metadata().get("dpop-nonce").unwrap(), "n-1");
    let away = Status::from(Kind::Unavailable);
    assert_eq!(
        (away.code(), away.message()),
        (
            Code::Unavailable,
            "the request cannot be checked at the moment"
        )
    );
    assert_eq!(
        away.metadata().get("grpc-retry-pushback-ms").unwrap(),
        "1000"
    );
    assert!(away.metadata().get("content-type").is_none(), "{away:?}");
    let _: fn(SessionError) -> Status = Status::from;
    let _: fn(portcullis::blacklist::RevokeError) -> Status = Status::from;
}

/// A stack of layers around one service leaves it where it is routed.
///
/// Fails if: `NamedService` of a gated service has another name, or none.
#[tokio::test]
async fn a_stack_of_layers_keeps_the_name_of_its_service() {
    fn name<S: tonic::server::NamedService>(_: &S) -> &'static str {
        S::NAME
    }
    let party = Party::new();
    let (_, health) = tonic_health::server::health_reporter();
    let health = ServiceBuilder::new()
        .layer(party.required.clone())
        .layer(BlacklistLayer::new(&Store::memory()))
        .layer(RequireScopeLayer::new("read").unwrap())
        .service(health);
    assert_eq!(name(&health), "grpc.health.v1.Health");
    let routes = tonic::service::Routes::new(health).prepare();
    let call = async |authorization: &str| {
        let request = Request::post("/grpc.health.v1.Health/Check")
            .header("content-type", "application/grpc")
            .header("authorization", authorization);
        let body = http_body_util::Full::new(Bytes::from_static(&[0; 5]));
        let request = request.body(tonic::body::Body::new(body)).unwrap();
        let response = routes.clone().oneshot(request).await.unwrap();
        let status = response.headers().get("grpc-status");
        status.map(|status| status.to_str().unwrap().to_owned())
    };
    assert_eq!(call("Bearer a.b.c").await.as_deref(), Some("16"));
    // An answer says its status at its end, not at its head.
    assert_eq!(call(&party.bearer()).await, None);
}

/// What was logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fails if: the client is told of the layer; the log is not.
#[tokio::test]
async fn a_missing_layer_is_named_in_the_log_and_not_to_the_client() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone());
    let logging = subscriber.finish().set_default();
    let request = Request::get("/claims").body(Body::empty()).unwrap();
    let response = routes().oneshot(request).await.unwrap();
    drop(logging);
    let text = axum::body::to_bytes(response.into_body(), 10_000)
        .await
        .unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    assert!(
        text.contains("jwt_layer_missing") && !text.contains("JwtVerifyLayer"),
        "{text}"
    );
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("jwt.missing") && log.contains("JwtVerifyLayer"),
        "{log}"
    );
    assert_eq!(log.lines().count(), 1, "{log}");
}

/// Not every service has claims of its own.
#[tokio::test]
async fn claims_of_nobody_in_particular_are_extracted_too() {
    let key = SigningKey::generate(JwtAlgorithm::Es256).unwrap();
    let layer = JwtVerifyLayer::<NoClaims>::new(key.verification_key())
        .issuer("https://id.example")
        .audience("api")
        .build()
        .unwrap();
    let issuer = Issuer::new(key, "https://id.example")
        .audience("api")
        .build()
        .unwrap();
    let router = Router::new()
        .route("/", get(async |_: Claims<NoClaims>| "reached"))
        .layer(layer);
    let bearer = format!(
        "Bearer {}",
        issuer.mint(&Grant::user("alice")).unwrap().token()
    );
    assert_eq!(ask(&router, "/", &bearer).await, said("reached"));
}
