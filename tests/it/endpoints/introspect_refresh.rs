//! RFC 7662 for refresh tokens: what is said, and that asking is no use.

use std::time::Duration;

use portcullis::{
    cutoff::Cutoffs,
    device::Devices,
    refresh::{RefreshErrorKind, RefreshRequest, RotationBuilder, TokenPair},
};
use serde_json::{Value, json};

use super::Bench;
use crate::means::http::Client;

const INACTIVE: &str = r#"{"active":false}"#;

async fn ask_at(bench: &Bench, path: &str, token: &str, hint: Option<&str>) -> Value {
    let mut fields = vec![("token", token)];
    fields.extend(hint.map(|hint| ("token_type_hint", hint)));
    let answer = Client::new().post_form(&bench.url(path), &fields).await;
    assert_eq!(answer.status, 200, "{}", bench.name);
    assert_eq!(answer.header("cache-control"), "no-store");
    if answer.text() != INACTIVE {
        assert_eq!(answer.json::<Value>()["active"], true);
    }
    answer.json()
}

async fn ask(bench: &Bench, token: &str) -> Value {
    ask_at(bench, "/introspect", token, Some("refresh_token")).await
}

async fn is_active(bench: &Bench, pair: &TokenPair) -> bool {
    ask(bench, pair.refresh()).await["active"] == true
}

async fn rotate(bench: &Bench, pair: &TokenPair) -> Result<TokenPair, RefreshErrorKind> {
    let request = RefreshRequest::new().client("web");
    let outcome = bench.rotation.rotate(pair.refresh(), request).await;
    outcome.map_err(|error| error.kind())
}

/// Fails if: a member is missing or made up, it takes more than a trip, or `exp` is that of the absolute timeout alone.
#[tokio::test]
async fn a_good_refresh_token_is_described() {
    for bench in Bench::both().await {
        let pair = bench.login("alice").await;
        let (turns, told) = bench.turns(ask(&bench, pair.refresh())).await;
        assert!(turns.is_none_or(|turns| turns == 1));
        for (name, value) in [
            ("active", json!(true)),
            ("sub", json!("alice")),
            ("client_id", json!("web")),
            ("scope", json!("read write")),
            ("sid", json!(pair.sid())),
        ] {
            assert_eq!(told[name], value, "{name} on {}", bench.name);
        }
        let [exp, iat, auth_time] =
            ["exp", "iat", "auth_time"].map(|name| told[name].as_u64().unwrap());
        let idle = 14 * 24 * 60 * 60;
        assert_eq!((exp - iat, auth_time), (idle, iat), "{}", bench.name);
        let now = bench.clock.now_millis() / 1000;
        assert!(iat <= now && now - iat < 60, "{}", bench.name);
        for absent in ["token_type", "tenant", "aud", "jti"] {
            assert!(told.get(absent).is_none(), "{absent} on {}", bench.name);
        }
    }
}

/// Fails if: whoever asks about a bearer's token is told that a refresh token is good; or a hint hides an access token,
/// which RFC 7662 §2.1 forbids; or it costs a command to find out that a token is forged.
#[tokio::test]
async fn only_who_asks_for_refresh_tokens_is_told_of_them() {
    for bench in Bench::both().await {
        let pair = bench.login("alice").await;
        for hint in [None, Some("access_token"), Some("pat"), Some("")] {
            let told = ask_at(&bench, "/introspect", pair.refresh(), hint).await;
            assert_eq!(told, json!({ "active": false }), "{hint:?}");
        }
        let never = ask_at(
            &bench,
            "/introspect/access",
            pair.refresh(),
            Some("refresh_token"),
        );
        assert_eq!(never.await, json!({ "active": false }));
        let access = ask(&bench, pair.access().token()).await;
        assert_eq!(
            (&access["active"], &access["token_type"]),
            (&json!(true), &json!("Bearer"))
        );
        let mut forged = pair.refresh().to_owned();
        forged.replace_range(.., &forged.replace(".0.", ".1."));
        for forged in [&forged, "forged", "a.b.c.d"] {
            let (turns, told) = bench.turns(ask(&bench, forged)).await;
            assert_eq!((turns.unwrap_or(0), told), (0, json!({ "active": false })));
        }
        for (path, active) in [
            ("/introspect/as/web", true),
            ("/introspect/as/mobile", false),
        ] {
            let told = ask_at(&bench, path, pair.refresh(), Some("refresh_token")).await;
            assert_eq!(told["active"], active, "{path}");
        }
    }
}

/// Without grace, where any second use would be reuse: asking changes nothing that is stored, neither about the current
/// token nor about a used one, and the family lives on.
///
/// Fails if: asking rotates, ends the family of a used token, or counts as its use.
#[tokio::test]
async fn asking_is_no_use_and_no_reuse() {
    for bench in Bench::both_with(RotationBuilder::strict).await {
        let first = bench.login("alice").await;
        let mut current = first.clone();
        for _ in 0..3 {
            let before = stored(&bench).await;
            for _ in 0..3 {
                assert!(is_active(&bench, &current).await, "{}", bench.name);
            }
            assert_eq!(stored(&bench).await, before);
            let next = rotate(&bench, &current).await.unwrap();
            let before = stored(&bench).await;
            for used in [&first, &current] {
                assert!(!is_active(&bench, used).await, "{}", bench.name);
            }
            assert_eq!(stored(&bench).await, before);
            current = next;
        }
        assert!(bench.is_active(current.access().token()).await);
        // And a use is one, whoever asked before.
        assert_eq!(
            rotate(&bench, &first).await.err(),
            Some(RefreshErrorKind::Reused)
        );
        assert!(!is_active(&bench, &current).await, "{}", bench.name);
    }
}

const DIGEST: &str = r"
local keys, all = redis.call('KEYS', '*'), {}
table.sort(keys)
for i, key in ipairs(keys) do all[i] = key .. redis.call('DUMP', key) .. redis.call('PEXPIRETIME', key) end
return redis.sha1hex(table.concat(all))
";

/// A hash of everything on the server; nothing where there is none.
async fn stored(bench: &Bench) -> Option<String> {
    match bench.name {
        "redis" => Some(bench.server().ask(&["EVAL", DIGEST, "0"]).await),
        _ => None,
    }
}

/// Fails if: the token of before is active for longer than it is taken, or not for as long; its `exp` is the family's.
#[tokio::test]
async fn a_token_in_grace_is_active_until_the_grace_ends() {
    for bench in Bench::both().await {
        let first = bench.login("alice").await;
        let second = rotate(&bench, &first).await.unwrap();
        let told = ask(&bench, first.refresh()).await;
        let current = ask(&bench, second.refresh()).await;
        assert_eq!(
            (&told["active"], &told["sub"]),
            (&json!(true), &json!("alice"))
        );
        assert!(told.get("iat").is_none(), "nobody knows since when");
        let (exp, iat) = (
            told["exp"].as_u64().unwrap(),
            current["iat"].as_u64().unwrap(),
        );
        assert_eq!(exp - iat, 10, "{}", bench.name);
        if bench.name == "memory" {
            bench.clock.advance(Duration::from_millis(9_999));
            assert!(is_active(&bench, &first).await);
            bench.clock.advance(Duration::from_millis(1));
            assert!(!is_active(&bench, &first).await);
            assert!(is_active(&bench, &second).await);
            let third = rotate(&bench, &second).await.unwrap();
            assert!(!is_active(&bench, &first).await, "a grandparent");
            assert!(is_active(&bench, &second).await);
            assert!(is_active(&bench, &third).await);
        }
    }
}

/// What a rotation would refuse is not active, whatever ended it; and what it would take is.
///
/// Fails if: cutoffs, the end of a device, or a timeout are not looked at; or one user's end is another's.
#[tokio::test]
async fn what_would_be_refused_is_inactive() {
    for bench in Bench::both().await {
        let name = bench.name;
        let cutoffs = Cutoffs::new(&bench.store);
        let devices = Devices::new(&bench.store);
        for how in ["logout", "device", "everywhere", "user", "everyone"] {
            let (pair, other) = (bench.login("alice").await, bench.login("bob").await);
            match how {
                "logout" => bench.rotation.revoke(pair.refresh()).await.unwrap(),
                "device" => drop(devices.revoke("", "alice", pair.sid()).await.unwrap()),
                "everywhere" => drop(devices.revoke_all("", "alice").await.unwrap()),
                "user" => drop(cutoffs.user("", "alice").await.unwrap()),
                _ => drop(cutoffs.everyone().await.unwrap()),
            }
            assert!(!is_active(&bench, &pair).await, "{name} {how}");
            assert!(rotate(&bench, &pair).await.is_err(), "{name} {how}");
            let spared = how != "everyone";
            assert_eq!(is_active(&bench, &other).await, spared, "{name} {how}");
            assert!(
                is_active(&bench, &bench.login("alice").await).await,
                "{name} {how}"
            );
        }
        if name == "memory" {
            let pair = bench.login("alice").await;
            bench
                .clock
                .advance(Duration::from_secs(14 * 24 * 60 * 60) - Duration::from_millis(1));
            assert!(is_active(&bench, &pair).await);
            bench.clock.advance(Duration::from_millis(1));
            assert!(!is_active(&bench, &pair).await);
        }
    }
}

/// A failover that lost a rotation: the newer token is the one that works.
///
/// Fails if: it is called inactive although a rotation takes it.
#[tokio::test]
async fn a_token_that_the_store_lost_is_active() {
    for bench in Bench::both().await {
        let Some(server) = (bench.name == "redis").then(|| bench.server()) else {
            continue;
        };
        let first = bench.login("alice").await;
        let keys = server.keys("portcullis:refresh:*").await;
        let [key] = &keys[..] else {
            panic!("one family: {keys:?}");
        };
        server.cli(&["COPY", key, "kept"]).await;
        let second = rotate(&bench, &first).await.unwrap();
        server.cli(&["COPY", "kept", key, "REPLACE"]).await;
        assert!(is_active(&bench, &second).await);
        assert!(rotate(&bench, &second).await.is_ok());
    }
}

/// Fails if: nobody can say, and it is said that the token is not good.
#[tokio::test]
async fn an_outage_is_no_answer_about_a_refresh_token() {
    let bench = Bench::redis_with(|rotation| rotation).await;
    let pair = bench.login("alice").await;
    bench.outage().await;
    let fields = [
        ("token", pair.refresh()),
        ("token_type_hint", "refresh_token"),
    ];
    let url = bench.url("/introspect");
    let answer = Client::new().post_form(&url, &fields).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (503, "1")
    );
}
