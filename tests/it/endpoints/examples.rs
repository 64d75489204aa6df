//! The two examples as two nodes of one service: programs with tokens, browsers with sessions, one list of devices.

use std::fs;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::SECRET;
use crate::means::{
    http::{Answer, Client},
    process::{Example, Running},
    redis::RedisServer,
};

struct Nodes {
    axum: Running,
    hyper: Running,
    _redis: RedisServer,
}

/// A program with a pair of tokens.
struct Program {
    access: String,
    refresh: String,
}

impl Nodes {
    async fn start() -> Self {
        let redis = RedisServer::start().await;
        let key = redis.dir().join("jwt.pem");
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        fs::write(&key, pair.serialize_pem()).unwrap();
        let start = |name: &str| {
            Example::named(name)
                .env("REDIS_URL", &redis.url())
                .env("PORTCULLIS_SECRET", SECRET)
                .env("JWT_KEY", key.to_str().unwrap())
                .start()
        };
        let (axum, hyper) = tokio::join!(start("axum"), start("hyper"));
        Self {
            axum,
            hyper,
            _redis: redis,
        }
    }
}

impl Program {
    async fn login(node: &Running, user: &str, password: &str) -> Self {
        let body = json!({ "username": user, "password": password });
        Self::of(&Client::new().post_json(&node.url("/token"), &body).await)
    }

    fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("cache-control"), "no-store");
        let pair: Value = answer.json();
        let text = |name: &str| pair[name].as_str().unwrap().to_owned();
        Self {
            access: text("access_token"),
            refresh: text("refresh_token"),
        }
    }

    async fn ask(&self, node: &Running, method: Method, path: &str) -> Answer {
        let bearer = format!("Bearer {}", self.access);
        let headers = [("authorization", &*bearer)];
        let url = node.url(path);
        Client::new()
            .request(method, &url, &headers, Bytes::new())
            .await
    }

    /// The `sid` of its login.
    fn device(&self) -> String {
        let payload = self.access.split('.').nth(1).unwrap();
        let payload = URL_SAFE_NO_PAD.decode(payload).unwrap();
        let claims: Value = serde_json::from_slice(&payload).unwrap();
        claims["sid"].as_str().unwrap().to_owned()
    }

    async fn me(&self, node: &Running) -> u16 {
        let answer = self.ask(node, Method::GET, "/api/me").await;
        answer.status.as_u16()
    }

    async fn refresh(&self, node: &Running) -> Answer {
        let body = json!({ "refresh_token": self.refresh });
        Client::new()
            .post_json(&node.url("/token/refresh"), &body)
            .await
    }
}

async fn browser(node: &Running) -> Client {
    let browser = Client::new();
    let body = json!({ "username": "alice", "password": "wonderland" });
    assert_eq!(
        browser.post_json(&node.url("/login"), &body).await.status,
        200
    );
    browser
}

// Fails if: a node does not know what the other issued, rotated or ended; or a wrong password has tokens.
#[tokio::test]
async fn tokens_of_one_node_are_good_and_dead_on_the_other() {
    let Nodes { axum, hyper, .. } = &Nodes::start().await;
    for (one, two) in [(axum, hyper), (hyper, axum)] {
        let first = Program::login(one, "alice", "wonderland").await;
        let told: Value = first.ask(two, Method::GET, "/api/me").await.json();
        assert_eq!(told["sub"], "alice");
        assert!(told["jti"].is_string());
        let second = Program::of(&first.refresh(two).await);
        let same = Program::of(&first.refresh(one).await);
        assert_eq!(second.refresh, same.refresh);
        let logout = second.ask(one, Method::POST, "/api/logout").await;
        assert_eq!(logout.status, 204);
        assert_eq!((first.me(two).await, second.me(two).await), (401, 401));
        assert_eq!(second.refresh(two).await.status, 400);
        let wrong = json!({ "username": "alice", "password": "looking glass" });
        let wrong = Client::new().post_json(&one.url("/token"), &wrong).await;
        assert_eq!(
            (wrong.status.as_u16(), wrong.json()),
            (400, json!({ "error": "invalid_grant" }))
        );
        assert_eq!(Client::new().get(&one.url("/api/me")).await.status, 401);
    }
}

// Fails if: the list lacks a device or has somebody else's, one cannot be ended alone, or somebody else's can.
#[tokio::test]
async fn programs_and_browsers_are_devices_of_one_user() {
    let Nodes { axum, hyper, .. } = &Nodes::start().await;
    for (one, two) in [(axum, hyper), (hyper, axum)] {
        let program = Program::login(one, "alice", "wonderland").await;
        let others = Program::login(one, "bob", "builder").await;
        let (here, there) = (browser(two).await, browser(one).await);
        let list: Vec<Value> = here.get(&one.url("/devices")).await.json();
        let currents = list.iter().filter(|device| device["current"] == true);
        assert_eq!((list.len(), currents.count()), (3, 1));
        let delete = async |id: &str| {
            let url = two.url(&format!("/devices/{id}"));
            let csrf: Value = here.get(&two.url("/csrf")).await.json();
            let headers = [("x-csrf-token", csrf["token"].as_str().unwrap())];
            let answer = here.request(Method::DELETE, &url, &headers, Bytes::new());
            answer.await.status.as_u16()
        };
        assert_eq!(delete(&others.device()).await, 404);
        assert_eq!(others.me(two).await, 200);
        assert_eq!(delete(&program.device()).await, 204);
        assert_eq!(
            (
                program.me(one).await,
                program.refresh(one).await.status.as_u16()
            ),
            (401, 400)
        );
        let program = Program::login(two, "alice", "wonderland").await;
        let ended = here.post(&one.url("/devices/logout-others")).await;
        assert_eq!(ended.json::<Value>(), json!({ "ended": 2 }));
        assert_eq!(here.get(&two.url("/me")).await.status, 200);
        assert_eq!(there.get(&two.url("/me")).await.status, 401);
        assert_eq!((program.me(one).await, others.me(one).await), (401, 200));
        let program = Program::login(two, "alice", "wonderland").await;
        let everywhere = program
            .ask(one, Method::POST, "/api/logout-everywhere")
            .await;
        assert_eq!(everywhere.status, 204);
        assert_eq!(
            (
                program.me(two).await,
                here.get(&two.url("/me")).await.status.as_u16()
            ),
            (401, 401)
        );
    }
}

/// An access token is enough to list devices and to end one, and needs no CSRF token as long as there is no cookie; it is
/// good for its own user's devices, and for nothing when it is bad or its login has ended.
///
/// Fails if: the routes know sessions only, or take a bad token for none; the CSRF layer is not around them, or lets a
/// bearer with a cookie pass; a token ends a device of another user.
#[tokio::test]
async fn a_program_lists_and_ends_devices_with_its_token() {
    let Nodes { axum, hyper, .. } = &Nodes::start().await;
    for (one, two) in [(axum, hyper), (hyper, axum)] {
        let (program, second) = (
            Program::login(one, "alice", "wonderland").await,
            Program::login(two, "alice", "wonderland").await,
        );
        let others = Program::login(one, "bob", "builder").await;
        let here = browser(two).await;
        let list: Vec<Value> = program.ask(two, Method::GET, "/devices").await.json();
        let current: Vec<_> = list.iter().filter(|d| d["current"] == true).collect();
        assert_eq!((list.len(), current.len()), (3, 1));
        assert_eq!(current[0]["id"], program.device());

        let path = |program: &Program| format!("/devices/{}", program.device());
        let end = async |of: &Program| program.ask(one, Method::DELETE, &path(of)).await.status;
        assert_eq!(end(&others).await, 404);
        assert_eq!(end(&second).await, 204);
        assert_eq!((second.me(two).await, others.me(two).await), (401, 200));

        // With a cookie beside it, it is a browser, and needs the proof of one.
        let bearer = format!("Bearer {}", program.access);
        let url = one.url(&path(&program));
        let delete = async |client: &Client, headers: &[(&str, &str)]| {
            let answer = client.request(Method::DELETE, &url, headers, Bytes::new());
            answer.await.status.as_u16()
        };
        assert_eq!(delete(&here, &[("authorization", &bearer)]).await, 403);
        assert_eq!(delete(&here, &[]).await, 403);
        assert_eq!(delete(&Client::new(), &[]).await, 401);
        assert_eq!(program.me(one).await, 200);

        // A bad token is not ignored in favour of the session.
        let bad = format!("Bearer {}x", program.access);
        let headers = [("authorization", &*bad)];
        let answer = here.get_with(&two.url("/devices"), &headers).await;
        assert_eq!(answer.status, 401);
        assert_eq!(here.get(&two.url("/devices")).await.status, 200);

        assert_eq!(end(&program).await, 204, "itself");
        let ended = program.ask(two, Method::GET, "/devices").await;
        assert_eq!(
            (ended.status.as_u16(), end(&program).await.as_u16()),
            (401, 401)
        );
        let logout = here.post(&two.url("/logout-everywhere")).await;
        assert_eq!(logout.status, 204);
    }
}
