//! What a request costs in allocations, step by step, beside the same service without any layer. Bounds, not
//! measurements of time: they do not depend on the machine.

use std::{convert::Infallible, time::Duration};

use axum::http::header::{AUTHORIZATION, COOKIE};
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use portcullis::{
    Clock, Store,
    blacklist::BlacklistLayer,
    csrf::CsrfLayer,
    jwt::Grant,
    session::{Login, Session, SessionLayer},
};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{
    blacklist::{issuer, verify},
    means::{
        alloc::{count, count_polls},
        redis::RedisServer,
    },
    session::bench::keys,
};

type Answer = Result<Response<String>, Infallible>;

#[derive(Clone, Copy, PartialEq)]
enum Does {
    Nothing,
    Read,
    ReadMany,
    ReadAndWrite,
}

async fn handle(does: Does, request: Request<String>) -> Answer {
    if does != Does::Nothing {
        let session = request.extensions().get::<Session>().expect("the layer");
        let fields = if does == Does::ReadMany { 10 } else { 1 };
        for field in 0..fields {
            // A name without an allocation of its own.
            let name = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"][field];
            assert!(session.get::<u64>(name).await.unwrap().is_some());
        }
        if does == Does::ReadAndWrite {
            let n = session.get::<u64>("a").await.unwrap().unwrap_or(0);
            session.insert("a", &(n + 1)).await.unwrap();
        }
    }
    Ok(Response::new(String::new()))
}

/// What the service allocates for a request beyond what making the request costs, once everything is warm.
async fn cost<S>(mut service: S, cookie: Option<&str>, bearer: Option<&str>) -> usize
where
    S: Service<Request<String>, Response = Response<String>, Error = Infallible>,
{
    // The least: the driver's queue gets a new block every so often.
    let mut least = usize::MAX;
    for _ in 0..5 {
        let mut request = Request::get("/");
        // Parts of one shared buffer, as a server reads them.
        let read = |value: &str| HeaderValue::from_maybe_shared(shared(value)).unwrap();
        if let Some(cookie) = cookie {
            request = request.header(COOKIE, read(cookie));
        }
        if let Some(bearer) = bearer {
            request = request.header(AUTHORIZATION, read(bearer));
        }
        let request = request.body(String::new()).unwrap();
        service.ready().await.unwrap();
        let (called, future) = count(|| service.call(request));
        let (polled, answer) = count_polls(future).await;
        assert_eq!(answer.unwrap().status(), 200);
        least = least.min(called + polled);
    }
    least
}

fn shared(value: &str) -> Bytes {
    let buffer = Bytes::from(format!("{value}\r\n"));
    buffer.slice(..value.len())
}

async fn signed_in(layer: &SessionLayer) -> (String, String) {
    let fill = service_fn(async |request: Request<String>| -> Answer {
        let session = request.extensions().get::<Session>().unwrap();
        let sid = session
            .login(Login::new("alice"))
            .await
            .unwrap()
            .sid()
            .to_owned();
        for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
            session.insert(name, &7_u64).await.unwrap();
        }
        Ok(Response::new(sid))
    });
    let answer = layer.layer(fill).oneshot(Request::new(String::new())).await;
    let answer = answer.unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    (cookie, answer.into_body())
}

/// Fails if: a step allocates more than it did. The driver's task is not in it, the room for its replies neither.
#[tokio::test]
async fn allocations_of_a_request() {
    let server = RedisServer::start().await;
    let store = Store::connect(&server.url()).await.unwrap();
    let near_store = Store::connect(&server.url()).await.unwrap();
    let near = near_store
        .near()
        .max_staleness(Duration::from_secs(5))
        .start()
        .unwrap();
    assert!(near.ready().await);
    let clock = Clock::system();
    let session = SessionLayer::new(&store, &keys());
    let near_session = SessionLayer::new(&near_store, &keys());
    let (cookie, sid) = signed_in(&session).await;
    let issuer = issuer(&clock);
    let token = issuer.mint(&Grant::user("alice").sid(sid)).unwrap();
    let bearer = format!("Bearer {}", token.token());
    let (jwt, blacklist) = (verify(&clock), BlacklistLayer::new(&near_store));
    let csrf = CsrfLayer::new(&keys());

    let does = |does| service_fn(move |request| handle(does, request));
    let (with, token) = (Some(cookie.as_str()), Some(bearer.as_str()));
    let mut seen = Vec::new();
    let mut note = |step, allocations, most| seen.push((step, allocations, most));
    note("bare", cost(does(Does::Nothing), None, None).await, 0);
    note(
        "anonymous",
        cost(session.layer(does(Does::Nothing)), None, None).await,
        4,
    );
    note(
        "session unused",
        cost(session.layer(does(Does::Nothing)), with, None).await,
        4,
    );
    // A session and its cutoffs are read with a command each: see `session.read`.
    note(
        "session read, 1 field",
        cost(session.layer(does(Does::Read)), with, None).await,
        25,
    );
    note(
        "session read, 10 fields",
        cost(session.layer(does(Does::ReadMany)), with, None).await,
        25,
    );
    note(
        "session read and write",
        cost(session.layer(does(Does::ReadAndWrite)), with, None).await,
        52,
    );
    note(
        "near session read",
        cost(near_session.layer(does(Does::Read)), with, None).await,
        16,
    );
    note(
        "jwt seen before",
        cost(jwt.layer(does(Does::Nothing)), None, token).await,
        3,
    );
    let checked = jwt.layer(blacklist.layer(does(Does::Nothing)));
    note(
        "jwt and near blacklist",
        cost(checked, None, token).await,
        3,
    );
    let full = csrf.layer(jwt.layer(blacklist.layer(does(Does::Read))));
    note(
        "full stack",
        cost(near_session.layer(full), with, token).await,
        19,
    );
    let strict = BlacklistLayer::builder(&store).strict().build().unwrap();
    let strict = session.layer(jwt.layer(strict.layer(does(Does::Read))));
    note(
        "strict, with a session",
        cost(strict, with, token).await,
        40,
    );
    for (step, allocations, _) in &seen {
        eprintln!("{allocations:4} {step}");
    }
    for (step, allocations, most) in seen {
        assert!(
            allocations <= most,
            "{step}: {allocations} allocations, {most} allowed"
        );
    }
}
