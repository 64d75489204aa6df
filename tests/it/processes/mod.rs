//! Two operating-system processes on one real Redis: what issue and README promise, seen from outside.
//!
//! Every test names a mutation of the code against which it fails.

mod curl;
mod cutoffs;
mod outage;
mod page;
mod races;
mod sharing;
mod turns;

use serde_json::{Value, json};

use crate::means::{
    http::{Answer, Client},
    process::{Example, Running},
    proxy::Proxy,
    redis::RedisServer,
};

/// Cookies of the examples on plain http.
const COOKIE: &str = "session";

const SECRET: &str = "one secret for all processes of thirty-two bytes or more";

/// An example with a proxy of its own between it and the server, so that each process can be watched and held alone.
struct Node {
    app: Running,
    proxy: Proxy,
}

/// Two processes of one service.
struct Pair {
    redis: RedisServer,
    one: Node,
    two: Node,
}

impl Node {
    async fn start(example: &str, redis: &RedisServer) -> Self {
        let proxy = Proxy::start(redis.port());
        let app = Example::named(example)
            .env("REDIS_URL", &proxy.url())
            .env("PORTCULLIS_SECRET", SECRET)
            .start()
            .await;
        Self { app, proxy }
    }

    async fn get(&self, client: &Client, path: &str) -> Answer {
        client.get(&self.app.url(path)).await
    }

    async fn post(&self, client: &Client, path: &str) -> Answer {
        client.post(&self.app.url(path)).await
    }

    async fn me(&self, client: &Client) -> u16 {
        self.get(client, "/me").await.status.as_u16()
    }

    async fn login(&self, client: &Client, user: &str) -> Answer {
        let password = if user == "alice" {
            "wonderland"
        } else {
            "builder"
        };
        let body = json!({ "username": user, "password": password });
        client.post_json(&self.app.url("/login"), &body).await
    }

    async fn logout(&self, client: &Client) -> Answer {
        self.post(client, "/logout").await
    }

    async fn set(&self, client: &Client, key: &str, value: &str, delay_ms: u64) -> Answer {
        let body = json!({ "key": key, "value": value, "delay_ms": delay_ms });
        client.post_json(&self.app.url("/set"), &body).await
    }

    async fn field(&self, client: &Client, key: &str) -> Value {
        let answer = self.get(client, &format!("/get?key={key}")).await;
        answer.json::<Value>()["value"].clone()
    }
}

impl Pair {
    async fn start() -> Self {
        Self::of("axum", "axum", &[]).await
    }

    async fn of(one: &str, two: &str, redis: &[&str]) -> Self {
        let redis = RedisServer::start_with(redis).await;
        let one = Node::start(one, &redis).await;
        let two = Node::start(two, &redis).await;
        Self { redis, one, two }
    }

    fn nodes(&self) -> [&Node; 2] {
        [&self.one, &self.two]
    }

    /// What `/me` says on both.
    async fn me(&self, client: &Client) -> [u16; 2] {
        [self.one.me(client).await, self.two.me(client).await]
    }

    /// The keys of the sessions that the server holds. Where a session was before it moved there may be a mark, which
    /// begins with a 0 and is none.
    async fn sessions(&self) -> Vec<String> {
        let mut sessions = Vec::new();
        for key in self.redis.keys("portcullis:session:*").await {
            let record: String = self.redis.ask(&["GET", &key]).await;
            if !record.starts_with(['>', '!']) {
                sessions.push(key);
            }
        }
        sessions
    }
}

/// A client that is signed in.
async fn signed_in(node: &Node, user: &str) -> Client {
    let client = Client::new();
    let answer = node.login(&client, user).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json::<Value>()),
        (200, json!({ "user": user }))
    );
    client
}
