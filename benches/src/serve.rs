//! A server of one row. It makes its own users, sessions and tokens, and prints where it listens and what to send.

use std::env;

use axum::{Router, body::Body, routing::get};
use http::{Request, Response, header};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tower::{ServiceExt, layer::util::Identity};

use crate::{alloc, ours, peers, rows};

/// How many users and connections there are.
pub const CLIENTS: usize = 64;

/// What a server prints, as one line of JSON, when it is ready.
#[derive(Serialize, Deserialize)]
pub struct Ready {
    pub port: u16,
    /// One request for each client, as it goes over the wire.
    pub requests: Vec<String>,
}

/// A stack, and the headers that each client sends.
pub struct Row {
    pub app: Router,
    pub method: &'static str,
    pub headers: Vec<String>,
}

/// `server <row> <address of Redis>`.
///
/// The runtime is that of `#[tokio::main]`: a worker per core.
#[tokio::main]
pub async fn main() {
    let mut arguments = env::args().skip(1);
    let name = arguments.next().expect("the name of a row");
    let redis = arguments.next().expect("the address of Redis");
    let row = row(&name, &redis).await;
    let app = Router::new()
        .route(
            "/_allocations",
            get(|| async { alloc::calls().to_string() }),
        )
        .merge(row.app);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("a port").port();
    let requests = row.headers.iter().map(|headers| {
        let method = row.method;
        let length = if method == "POST" {
            "content-length: 0\r\n"
        } else {
            ""
        };
        format!("{method} / HTTP/1.1\r\nhost: localhost\r\n{headers}{length}\r\n")
    });
    let ready = Ready {
        port,
        requests: requests.collect(),
    };
    println!("{}", serde_json::to_string(&ready).expect("text"));
    axum::serve(listener, app).await.expect("a listener");
}

/// The stack of this name.
pub async fn row(name: &str, redis: &str) -> Row {
    if name == rows::BARE {
        bare()
    } else if name == "bare_heavy" {
        // What the full stack is sent, to a server that does not look at it.
        let like = ours::row("full_near", redis).await;
        Row {
            headers: like.headers,
            ..bare()
        }
    } else if name == "bare_layer" {
        let bare = bare();
        let app = bare.app.layer(Identity::new());
        Row { app, ..bare }
    } else if name.starts_with("peer_") {
        peers::row(name, redis).await
    } else {
        ours::row(name, redis).await
    }
}

fn bare() -> Row {
    Row {
        // Any method: the requests of other rows come here as well.
        app: Router::new().route("/", axum::routing::any(|| async { OK })),
        method: "GET",
        headers: vec![String::new(); CLIENTS],
    }
}

/// What every handler answers.
pub const OK: &str = "ok\n";

/// The fields of every session beside its counter.
pub const FIELDS: [(&str, &str); 2] = [("theme", "dark"), ("locale", "en-GB")];

/// Signs a user in: the session cookie of the answer and its body.
pub async fn login(app: &Router, user: usize) -> (String, String) {
    let request = Request::post(format!("/login/{user}")).body(Body::empty());
    let response = app.clone().oneshot(request.expect("a request")).await;
    let response: Response<Body> = response.expect("an answer");
    assert_eq!(response.status(), 200);
    let cookie = response.headers()[header::SET_COOKIE].to_str();
    let pair = cookie.expect("text").split(';').next().unwrap_or_default();
    let pair = pair.to_owned();
    let body = axum::body::to_bytes(response.into_body(), 4096).await;
    let body = String::from_utf8(body.expect("a body").to_vec());
    (pair, body.expect("text"))
}

pub fn cookie(pair: &str) -> String {
    format!("cookie: {pair}\r\n")
}

pub fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// What a browser says of a request that the site's own page caused.
pub const SAME_ORIGIN: &str = "sec-fetch-site: same-origin\r\norigin: http://localhost\r\n";
