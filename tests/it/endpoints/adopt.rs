//! People stay signed in while a service moves here: tokens of the system before are taken once.

use std::{future::poll_fn, task::Poll, time::Duration};

use portcullis::{
    cutoff::Cutoffs,
    jwt::{JwtAlgorithm, JwtKey, JwtVerifyLayer},
    refresh::{Adoption, RefreshLogin, RotationBuilder},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Bench, error, refused};
use crate::{jwt_kit, means::http::Client};

const SECRET: [u8; 32] = [7; 32];

#[derive(Deserialize)]
struct Old {
    username: String,
}

fn layer(key: JwtKey) -> JwtVerifyLayer<Old> {
    JwtVerifyLayer::<Old>::new(key)
        .insecure_any_issuer()
        .insecure_any_audience()
        .insecure_any_typ()
        .subject_optional()
        .max_token_life(Duration::from_secs(14 * 24 * 60 * 60))
        .build()
        .unwrap()
}

fn jwt(key: JwtKey) -> Adoption {
    Adoption::jwt(&layer(key), "category", "refresh", |_, claims| {
        Some(
            RefreshLogin::new(&claims.username)
                .client("web")
                .scope("read write"),
        )
    })
}

fn old_jwts() -> Adoption {
    jwt(JwtKey::secret(JwtAlgorithm::Hs256, SECRET).unwrap())
}

fn whitelisted(rotation: RotationBuilder) -> RotationBuilder {
    let adoption = old_jwts().whitelist(|login| format!("refresh:user:{}", login.user()));
    rotation.adopt(adoption.blacklist(|token| format!("blacklist:{token}")))
}

/// As the system before signs it.
fn signed(category: &str, iat: u64) -> String {
    signed_with(&json!({
        "category": category, "username": "alice@b.example", "role": "USER", "iat": iat, "exp": iat + 86_400,
    }))
}

fn signed_with(claims: &Value) -> String {
    let message = [r#"{"alg":"HS256"}"#, &claims.to_string()]
        .map(jwt_kit::b64)
        .join(".");
    let signature = jwt_kit::hmac("HS256", &SECRET, message.as_bytes());
    format!("{message}.{}", jwt_kit::b64(signature))
}

fn now_s(bench: &Bench) -> u64 {
    bench.clock.now_millis() / 1_000
}

const KEY: &str = "refresh:user:alice@b.example";

async fn stored(bench: &Bench, key: &str) -> Option<String> {
    bench.server().ask(&["GET", key]).await
}

async fn store(bench: &Bench, key: &str, value: &str) {
    bench.server().cli(&["SET", key, value]).await;
}

// Fails if: of several who present a token more than one gets a family, it stays on the other system's whitelist, or what
// comes out is no family; whichever way the whitelist writes it down.
#[tokio::test]
async fn a_whitelisted_token_is_taken_once() {
    let bench = Bench::redis_with(whitelisted).await;
    for (at, quote) in ["", "\""].into_iter().enumerate() {
        let old = signed("refresh", now_s(&bench) - 60 - at as u64);
        store(&bench, KEY, &format!("{quote}{old}{quote}")).await;
        let answers = all((0..20).map(|_| bench.refresh_token(&old))).await;
        let good: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == 200)
            .collect();
        assert_eq!(good.len(), 1);
        let others = answers.iter().filter(|answer| answer.status != 200);
        others.for_each(|answer| assert_eq!(error(answer), refused("invalid_grant")));
        assert_eq!(stored(&bench, KEY).await, None);
        let pair: Value = good[0].json();
        assert_eq!(pair["scope"], "read write");
        let told = bench
            .introspect(pair["access_token"].as_str().unwrap())
            .await;
        assert_eq!(
            (&told["active"], &told["sub"]),
            (&json!(true), &json!("alice@b.example"))
        );
        let next = bench
            .refresh_token(pair["refresh_token"].as_str().unwrap())
            .await;
        assert_eq!(next.status, 200);
    }
}

/// What all of them come to, together.
async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let (mut waiting, mut done): (Vec<_>, Vec<_>) = (futures.map(Box::pin).collect(), Vec::new());
    poll_fn(|context| {
        waiting.retain_mut(|future| match future.as_mut().poll(context) {
            Poll::Ready(output) => {
                done.push(output);
                false
            }
            Poll::Pending => true,
        });
        if waiting.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    done
}

// Fails if: a token of another kind, an older one, one that is on the blacklist, or one for another client is taken, or the
// whitelist or blacklist is changed for it.
#[tokio::test]
async fn what_is_not_good_there_is_not_good_here_and_nothing_is_written() {
    let bench = Bench::redis_with(whitelisted).await;
    let now = now_s(&bench);
    let old = signed("refresh", now - 60);
    let access = signed("access", now - 60);
    store(&bench, KEY, &access).await;
    assert_eq!(
        error(&bench.refresh_token(&access).await),
        refused("invalid_grant")
    );
    assert_eq!(stored(&bench, KEY).await, Some(access));
    store(&bench, KEY, "a newer one").await;
    assert_eq!(
        error(&bench.refresh_token(&old).await),
        refused("invalid_grant")
    );
    assert_eq!(stored(&bench, KEY).await.as_deref(), Some("a newer one"));

    store(&bench, KEY, &old).await;
    let listed = format!("blacklist:{old}");
    store(&bench, &listed, "logout").await;
    assert_eq!(
        error(&bench.refresh_token(&old).await),
        refused("invalid_grant")
    );
    assert_eq!(stored(&bench, &listed).await.as_deref(), Some("logout"));
    bench.server().cli(&["DEL", &listed]).await;
    for (body, name) in [
        (
            json!({ "refresh_token": old, "client_id": "mobile" }),
            "invalid_grant",
        ),
        (
            json!({ "refresh_token": old, "client_id": "web", "scope": "admin" }),
            "invalid_scope",
        ),
        (
            json!({ "refresh_token": old, "client_id": "web", "resource": "https://a.example" }),
            "invalid_target",
        ),
    ] {
        assert_eq!(error(&bench.refresh(&body).await), refused(name));
    }
    assert_eq!(stored(&bench, KEY).await.as_deref(), Some(&*old));
    let narrow = json!({ "refresh_token": old, "client_id": "web", "scope": "read" });
    let answer = bench.refresh(&narrow).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json::<Value>()["scope"]),
        (200, &json!("read"))
    );
}

// Fails if: without a whitelist a token is good twice, also in the second spelling of its signature.
#[tokio::test]
async fn a_token_without_a_whitelist_is_good_once() {
    let signer = jwt_kit::Signer::es256();
    for bench in Bench::both_with(|rotation| rotation.adopt(jwt(signer.key()))).await {
        let now = now_s(&bench);
        let claims = json!({ "category": "refresh", "username": "alice", "iat": now - 60, "exp": now + 600 });
        let message = [r#"{"alg":"ES256"}"#, &claims.to_string()]
            .map(jwt_kit::b64)
            .join(".");
        let signature = signer.sign(message.as_bytes());
        let spell = |signature: &[u8]| format!("{message}.{}", jwt_kit::b64(signature));
        assert_eq!(
            bench.refresh_token(&spell(&signature)).await.status,
            200,
            "{}",
            bench.name
        );
        for again in [signature.clone(), other_spelling(&signature)] {
            let again = bench.refresh_token(&spell(&again)).await;
            assert_eq!(error(&again), refused("invalid_grant"), "{}", bench.name);
        }
    }
}

/// (r, n − s) for the order n of P-256.
fn other_spelling(signature: &[u8]) -> Vec<u8> {
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63,
        0x25, 0x51,
    ];
    let mut other = signature.to_vec();
    let mut borrow = 0;
    for at in (0..32).rev() {
        let difference = i32::from(N[at]) - i32::from(signature[32 + at]) - borrow;
        borrow = i32::from(difference < 0);
        other[32 + at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    other
}

/// A refresh token of alice's that says when it was issued, or does not.
fn issued_at(bench: &Bench, iat: Option<u64>) -> String {
    let exp = now_s(bench) + 600;
    let mut claims = json!({ "category": "refresh", "username": "alice@b.example", "exp": exp });
    if let Some(iat) = iat {
        claims["iat"] = iat.into();
    }
    signed_with(&claims)
}

// Fails if: "log out everywhere" does not reach logins that have not moved yet: those of a minute ago, those of a clock that
// runs ahead by no more than the leeway, and those that do not say when they were made.
#[tokio::test]
async fn a_cutoff_reaches_tokens_of_before() {
    for bench in Bench::both_with(|rotation| rotation.adopt(old_jwts())).await {
        let now = now_s(&bench);
        let fresh = issued_at(&bench, None);
        assert_eq!(bench.refresh_token(&fresh).await.status, 200, "no cutoff");
        let cutoffs = Cutoffs::new(&bench.store);
        cutoffs.user("", "alice@b.example").await.unwrap();
        for iat in [Some(now - 60), Some(now + 20), None] {
            let answer = bench.refresh_token(&issued_at(&bench, iat)).await;
            assert_eq!(error(&answer), refused("invalid_grant"), "{}", bench.name);
        }
    }
}

// Fails if: an opaque token outlives a cutoff because nobody says when its login was made, or one that was made later does not
// survive it.
#[tokio::test]
async fn a_cutoff_reaches_opaque_tokens_of_before() {
    let login = |text: &str| {
        let (user, at) = text.split_once('@')?;
        let login = RefreshLogin::new(user).client("web");
        Some(match at.parse() {
            Ok(at) => login.signed_in_at(at),
            Err(_) => login,
        })
    };
    let adoption = move || Adoption::opaque(|token| format!("old:{token}"), login);
    for (at, expected) in [("", 400), ("before", 400), ("after", 200)] {
        let bench = Bench::redis_with(|rotation| rotation.adopt(adoption())).await;
        let cutoff = Cutoffs::new(&bench.store).user("", "alice").await.unwrap();
        let at = match at {
            "before" => cutoff.to_string(),
            "after" => (cutoff + 1).to_string(),
            _ => String::new(),
        };
        store(&bench, "old:t", &format!("alice@{at}")).await;
        assert_eq!(bench.refresh_token("t").await.status, expected, "{at}");
    }
}

// Fails if: a logout with a token of before leaves it good.
#[tokio::test]
async fn a_logout_ends_a_token_of_before() {
    for bench in Bench::both_with(|rotation| rotation.adopt(old_jwts())).await {
        let old = signed("refresh", now_s(&bench) - 60);
        let url = bench.url("/token/logout");
        let body = json!({ "refresh_token": old });
        assert_eq!(Client::new().post_json(&url, &body).await.status, 204);
        let answer = bench.refresh_token(&old).await;
        assert_eq!(error(&answer), refused("invalid_grant"), "{}", bench.name);
    }
}

// Fails if: an opaque token is good twice, for nobody, or for whoever chooses a key.
#[tokio::test]
async fn an_opaque_token_is_taken_with_what_is_known_of_it() {
    let bench = Bench::redis_with(|rotation| {
        let login = |user: &str| Some(RefreshLogin::new(user).client("web"));
        let login = move |user: &str| login(user).filter(|_| !user.is_empty());
        rotation.adopt(Adoption::opaque(|token| format!("RT:{token}"), login))
    })
    .await;
    store(&bench, "RT:t0k3n", "bob").await;
    store(&bench, "RT:nobodys", "").await;
    let answer = bench.refresh_token("t0k3n").await;
    assert_eq!(answer.status, 200);
    let pair: Value = answer.json();
    let told = bench
        .introspect(pair["access_token"].as_str().unwrap())
        .await;
    assert_eq!(told["sub"], "bob");
    for token in ["t0k3n", "nobodys", "unknown"] {
        assert_eq!(
            error(&bench.refresh_token(token).await),
            refused("invalid_grant")
        );
    }
}
