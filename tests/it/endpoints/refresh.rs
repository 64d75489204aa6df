//! RFC 6749 §6 in bodies.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::{Bench, error, refused};
use crate::means::http::Client;

// Fails if: the answer lacks a member of RFC 6749 §5.1, may be stored, or its tokens are none; or a refresh takes two turns.
#[tokio::test]
async fn a_pair_follows_a_pair() {
    for bench in Bench::both().await {
        let first = bench.login("alice").await;
        let (turns, answer) = bench.turns(bench.refresh_token(first.refresh())).await;
        assert_eq!(answer.status, 200, "{}", bench.name);
        assert!(turns.is_none_or(|turns| turns == 1));
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("content-type"), "application/json");
        let body: Value = answer.json();
        assert_eq!(
            (&body["token_type"], &body["expires_in"], &body["scope"]),
            (&json!("Bearer"), &json!(600), &json!("read write"))
        );
        assert!(
            bench
                .is_active(body["access_token"].as_str().unwrap())
                .await
        );
        let next = body["refresh_token"].as_str().unwrap();
        assert_ne!(next, first.refresh());
        assert_eq!(bench.refresh_token(next).await.status, 200);
    }
}

// Fails if: a form is not read, `grant_type` is not looked at, or a lost answer is not repeated with the same token.
#[tokio::test]
async fn forms_are_what_oauth_clients_send() {
    for bench in Bench::both().await {
        let first = bench.login("alice").await;
        let url = bench.url("/token/refresh");
        let ask = async |grant| {
            let fields = [
                ("grant_type", grant),
                ("refresh_token", first.refresh()),
                ("client_id", "web"),
            ];
            Client::new().post_form(&url, &fields).await
        };
        assert_eq!(
            error(&ask("authorization_code").await),
            refused("unsupported_grant_type")
        );
        let [one, two]: [Value; 2] = [
            ask("refresh_token").await.json(),
            ask("refresh_token").await.json(),
        ];
        assert_eq!(one["refresh_token"], two["refresh_token"], "{}", bench.name);
        assert_ne!(one["access_token"], two["access_token"]);
    }
}

// Fails if: a refusal says why, or is not the one of RFC 6749 §5.2; or a scope, resource or client widens.
#[tokio::test]
async fn refusals_are_those_of_oauth() {
    for bench in Bench::both().await {
        let pair = bench.login("alice").await;
        let token = pair.refresh();
        for (body, name) in [
            (json!({}), "invalid_request"),
            (json!({ "refresh_token": "" }), "invalid_request"),
            (json!({ "refresh_token": "forged" }), "invalid_grant"),
            (json!({ "refresh_token": token }), "invalid_grant"),
            (
                json!({ "refresh_token": token, "client_id": "mobile" }),
                "invalid_grant",
            ),
            (
                json!({ "refresh_token": token, "client_id": "web", "scope": "read admin" }),
                "invalid_scope",
            ),
            (
                json!({ "refresh_token": token, "client_id": "web", "resource": "https://c.example" }),
                "invalid_target",
            ),
        ] {
            assert_eq!(error(&bench.refresh(&body).await), refused(name), "{body}");
        }
        let narrowed = json!({
            "refresh_token": token, "client_id": "web", "scope": "read",
            "resource": ["https://b.example", "https://a.example"],
        });
        let answer = bench.refresh(&narrowed).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json::<Value>()["scope"]),
            (200, &json!("read"))
        );
    }
}

// Fails if: the word of a client counts where the application has authenticated another, or its own is not enough.
#[tokio::test]
async fn an_authenticated_client_needs_no_word_and_no_other_has_one() {
    for bench in Bench::both().await {
        let pair = bench.login("alice").await;
        let url = bench.url("/token/refresh/as/web");
        let ask = async |body: Value| Client::new().post_json(&url, &body).await;
        let lie = json!({ "refresh_token": pair.refresh(), "client_id": "mobile" });
        assert_eq!(error(&ask(lie).await), refused("invalid_client"));
        assert_eq!(
            ask(json!({ "refresh_token": pair.refresh() })).await.status,
            200
        );
    }
}

// Fails if: reuse is not found out through the endpoint, is told from other refusals, or leaves access tokens alive.
#[tokio::test]
async fn reuse_ends_the_login_and_looks_like_any_refusal() {
    for bench in Bench::both_with(portcullis::refresh::RotationBuilder::strict).await {
        let first = bench.login("alice").await;
        let second: Value = bench.refresh_token(first.refresh()).await.json();
        let access = second["access_token"].as_str().unwrap();
        assert!(bench.is_active(access).await);
        let reused = bench.refresh_token(first.refresh()).await;
        assert_eq!(error(&reused), refused("invalid_grant"));
        assert!(!bench.is_active(access).await, "{}", bench.name);
        let next = second["refresh_token"].as_str().unwrap();
        assert_eq!(
            error(&bench.refresh_token(next).await),
            refused("invalid_grant")
        );
    }
}

// Fails if: an outage is a refusal, or the token is not good any more after it.
#[tokio::test]
async fn an_outage_is_no_refusal() {
    let bench = Bench::redis_with(|rotation| rotation).await;
    let pair = bench.login("alice").await;
    assert!(bench.outage().await);
    let answer = bench.refresh_token(pair.refresh()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (503, "1")
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    // A forged one is known for what it is without the store.
    assert_eq!(
        error(&bench.refresh_token("forged").await),
        refused("invalid_grant")
    );
    bench.end_outage();
    crate::means::wait::until("the store is back", async || {
        let status = bench.refresh_token(pair.refresh()).await.status;
        (status == 200).then_some(())
    })
    .await;
}

// Fails if: a body is read whole whatever its length, of any kind, or a token is given to a GET.
#[tokio::test]
async fn bodies_are_bounded_and_of_two_kinds() {
    let bench = Bench::memory_with(|rotation| rotation).await;
    let url = bench.url("/token/refresh");
    let post = async |kind: &str, body: String| {
        let headers = [("content-type", kind)];
        let client = Client::new();
        client
            .request(Method::POST, &url, &headers, body.into())
            .await
            .status
            .as_u16()
    };
    let long = format!(r#"{{"refresh_token":"{}"}}"#, "x".repeat(40_000));
    assert_eq!(post("application/json", long).await, 413);
    assert_eq!(post("text/plain", "{}".to_owned()).await, 415);
    assert_eq!(post("application/json", "{".to_owned()).await, 400);
    let answer = Client::new()
        .request(Method::GET, &url, &[], Bytes::new())
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("allow")),
        (405, "POST")
    );
}

// Fails if: the end of a login leaves its refresh or access token good, or an unknown token is an error.
#[tokio::test]
async fn a_logout_ends_the_login() {
    for bench in Bench::both().await {
        let pair = bench.login("alice").await;
        let other = bench.login("alice").await;
        let url = bench.url("/token/logout");
        for token in [pair.refresh(), pair.refresh(), "forged"] {
            let body = json!({ "refresh_token": token });
            assert_eq!(Client::new().post_json(&url, &body).await.status, 204);
        }
        assert!(
            !bench.is_active(pair.access().token()).await,
            "{}",
            bench.name
        );
        assert_eq!(bench.refresh_token(pair.refresh()).await.status, 400);
        assert!(bench.is_active(other.access().token()).await);
        assert_eq!(bench.refresh_token(other.refresh()).await.status, 200);
    }
}
