//! The axum example with `DATABASE_URL`: an empty Redis signs no program out, and brings nobody back.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::File;
use crate::means::{
    http::{Answer, Client},
    postgres::PostgresServer,
    process::{Example, Running},
    redis::RedisServer,
};

/// An access token and a refresh token.
async fn tokens(node: &Running) -> (String, String) {
    let body = json!({ "username": "bob", "password": "builder" });
    let answer = Client::new().post_json(&node.url("/token"), &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    pair(&answer)
}

fn pair(answer: &Answer) -> (String, String) {
    let pair: Value = answer.json();
    let text = |name: &str| pair[name].as_str().unwrap().to_owned();
    (text("access_token"), text("refresh_token"))
}

async fn refresh(node: &Running, token: &str) -> Answer {
    let body = json!({ "refresh_token": token });
    let url = node.url("/token/refresh");
    Client::new().post_json(&url, &body).await
}

async fn ask(node: &Running, method: Method, path: &str, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer)];
    let answer = Client::new()
        .request(method, &node.url(path), &headers, Bytes::new())
        .await;
    answer.status.as_u16()
}

async fn an_empty_redis_changes_nothing(database: &str) {
    let redis = RedisServer::start().await;
    let node = Example::named("axum")
        .env("REDIS_URL", &redis.url())
        .env("DATABASE_URL", database)
        .start()
        .await;
    let ((mut kept, mut fresh), (ended, dead)) = (tokens(&node).await, tokens(&node).await);
    for token in [&kept, &ended] {
        assert_eq!(ask(&node, Method::GET, "/api/me", token).await, 200);
    }
    assert_eq!(ask(&node, Method::POST, "/api/logout", &ended).await, 204);
    for _ in 0..2 {
        assert_eq!(ask(&node, Method::GET, "/api/me", &kept).await, 200);
        assert_eq!(ask(&node, Method::GET, "/api/me", &ended).await, 401);
        redis.cli(&["FLUSHALL"]).await;
        let answer = refresh(&node, &fresh).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        (kept, fresh) = pair(&answer);
        assert_eq!(refresh(&node, &dead).await.status, 400);
    }
    let everywhere = ask(&node, Method::POST, "/api/logout-everywhere", &kept).await;
    assert_eq!(everywhere, 204);
    redis.cli(&["FLUSHALL"]).await;
    assert_eq!(ask(&node, Method::GET, "/api/me", &kept).await, 401);
    assert_eq!(refresh(&node, &fresh).await.status, 400);
}

#[tokio::test]
async fn an_empty_redis_changes_nothing_with_sqlite() {
    an_empty_redis_changes_nothing(&File::new().url()).await;
}

#[tokio::test]
async fn an_empty_redis_changes_nothing_with_postgres() {
    let database = PostgresServer::shared().await.database().await;
    an_empty_redis_changes_nothing(&database).await;
}
