//! RFC 7662.

use std::time::Duration;

use portcullis::{blacklist::Blacklist, cutoff::Cutoffs};
use serde_json::json;

use super::Bench;
use crate::means::http::Client;

// Fails if: a member is missing or made up, or the question takes more than a turn.
#[tokio::test]
async fn a_good_token_is_described() {
    for bench in Bench::both().await {
        let pair = bench.login("alice").await;
        let (turns, told) = bench.turns(bench.introspect(pair.access().token())).await;
        assert!(turns.is_none_or(|turns| turns == 1));
        for (name, value) in [
            ("active", json!(true)),
            ("token_type", json!("Bearer")),
            ("iss", json!("https://id.example")),
            ("sub", json!("alice")),
            ("aud", json!(["https://a.example", "https://b.example"])),
            ("client_id", json!("web")),
            ("scope", json!("read write")),
            ("sid", json!(pair.sid())),
            ("jti", json!(pair.access().jti())),
        ] {
            assert_eq!(told[name], value, "{name} on {}", bench.name);
        }
        let times = ["exp", "iat", "auth_time"].map(|name| told[name].as_u64().unwrap());
        assert_eq!(times[0] - times[1], 600);
        assert!(times[1].abs_diff(times[2]) <= 1);
        assert!(told.get("tenant").is_none());
    }
}

// Fails if: a token that somebody ended is active, by whichever way; or it is said why not.
#[tokio::test]
async fn everything_else_is_inactive() {
    for bench in Bench::both().await {
        let inactive = json!({ "active": false });
        let pair = bench.login("alice").await;
        for token in ["forged", "a.b.c", pair.refresh()] {
            assert_eq!(bench.introspect(token).await, inactive);
        }
        let by_sid = bench.login("bob").await;
        Blacklist::new(&bench.store)
            .revoke_session(by_sid.sid())
            .await
            .unwrap();
        assert_eq!(bench.introspect(by_sid.access().token()).await, inactive);
        assert!(bench.is_active(pair.access().token()).await);
        Cutoffs::new(&bench.store).user("", "alice").await.unwrap();
        assert_eq!(bench.introspect(pair.access().token()).await, inactive);
        assert!(
            bench
                .is_active(bench.login("alice").await.access().token())
                .await
        );
        Cutoffs::new(&bench.store).everyone().await.unwrap();
        let dave = bench.login("dave").await;
        assert!(
            bench.is_active(dave.access().token()).await,
            "{}",
            bench.name
        );
        if bench.name == "memory" {
            // Beyond its life and the layer's leeway.
            bench.clock.advance(Duration::from_secs(600 + 61));
            assert_eq!(bench.introspect(dave.access().token()).await, inactive);
        }
    }
}

// Fails if: a revoked token is active while nobody can say.
#[tokio::test]
async fn an_outage_is_said() {
    let bench = Bench::redis_with(|rotation| rotation).await;
    let pair = bench.login("alice").await;
    bench.outage().await;
    let fields = [("token", pair.access().token())];
    let answer = Client::new()
        .post_form(&bench.url("/introspect"), &fields)
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (503, "1")
    );
}
