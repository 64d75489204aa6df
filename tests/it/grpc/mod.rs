//! gRPC from outside: the example as several processes on one Redis, with a client in Python and one in Rust.

mod auth;
mod outage;
mod python;
mod tonic_client;
mod two_processes;

use http::Method;
use hyper::body::Bytes;
use portcullis::jwt::{Issuer, JwtAlgorithm, JwtKey, JwtVerifyLayer, NoClaims, SigningKey};

use crate::means::{
    http::Client,
    process::{Example, Running},
    proxy::Proxy,
    redis::RedisServer,
};

const SECRET: &str = "one secret for all processes of thirty-two bytes or more";
const ISSUER: &str = "https://id.example";
const SCOPE: &str = "health:read";

/// What clients are told, word for word: the same for whatever is wrong with a token.
const NO_TOKEN: (&str, &str) = ("UNAUTHENTICATED", "the request carries no credentials");
const BAD_TOKEN: (&str, &str) = (
    "UNAUTHENTICATED",
    "the access token is expired, revoked or invalid",
);
const NO_SCOPE: (&str, &str) = (
    "PERMISSION_DENIED",
    "the access token lacks a scope that this request needs",
);
const AWAY: (&str, &str) = ("UNAVAILABLE", "the request cannot be checked at the moment");
const WELL: (&str, &str) = ("OK", "");

/// The example as a process, with a proxy of its own between it and Redis.
struct Node {
    app: Running,
    proxy: Proxy,
}

impl Node {
    async fn start(redis: &RedisServer) -> Self {
        let proxy = Proxy::start(redis.port());
        let app = Example::named("tonic")
            .env("REDIS_URL", &proxy.url())
            .env("PORTCULLIS_SECRET", SECRET)
            .start()
            .await;
        app.printed("second instance").await;
        Self { app, proxy }
    }

    /// `127.0.0.1:<port>`
    fn target(&self) -> &str {
        self.app.base_url().trim_start_matches("http://")
    }

    /// One of the tokens that it printed.
    fn token(&self, name: &str) -> String {
        let lines = self.app.stdout();
        let line = lines
            .iter()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {name} in {lines:?}"))
            .to_owned()
    }

    /// `POST /logout`, and its status.
    async fn logout(&self, token: &str) -> u16 {
        let bearer = format!("Bearer {token}");
        let url = self.app.url("/logout");
        let answer = Client::new()
            .request(
                Method::POST,
                &url,
                &[("authorization", &bearer)],
                Bytes::new(),
            )
            .await;
        answer.status.as_u16()
    }
}

/// Tokens that the processes take, minted here.
fn issuer() -> Issuer {
    let key = SigningKey::secret(JwtAlgorithm::Hs256, SECRET).unwrap();
    Issuer::new(key, ISSUER).audience("api").build().unwrap()
}

/// The layer of the processes, here.
fn verify() -> JwtVerifyLayer<NoClaims> {
    JwtVerifyLayer::new(JwtKey::secret(JwtAlgorithm::Hs256, SECRET).unwrap())
        .issuer(ISSUER)
        .audience("api")
        .build()
        .unwrap()
}
