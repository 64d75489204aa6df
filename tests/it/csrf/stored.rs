//! Stored tokens, and what tokens cost the store.

use bytes::Bytes;
use http::Method;
use portcullis::{Clock, Store, csrf::CsrfLayer};

use super::site::{EVERYWHERE, On, Site, keys};
use crate::means::{
    http::{Answer, Client},
    proxy::Proxy,
    redis::RedisServer,
};

async fn site(on: On, store: &Store) -> Site {
    let csrf = CsrfLayer::builder(&keys()).stored().build().unwrap();
    Site::start(on, csrf, store).await
}

async fn token(client: &Client, site: &Site) -> String {
    client.get(&site.at("/token")).await.text()
}

async fn post(client: &Client, site: &Site, path: &str, token: &str) -> Answer {
    let headers = [("x-csrf-token", token)];
    client
        .request(Method::POST, &site.at(path), &headers, Bytes::new())
        .await
}

/// The same story over both stores.
async fn story(on: On, store: &Store) {
    let site = site(on, store).await;
    let client = Client::new();
    let visitor = token(&client, &site).await;
    client.get(&site.at("/visit")).await;
    assert_eq!(
        post(&client, &site, "/echo", &visitor).await.status,
        200,
        "attached"
    );
    let session = token(&client, &site).await;
    assert_ne!(session, token(&client, &site).await);
    assert_eq!(post(&client, &site, "/echo", &session).await.status, 200);
    assert_eq!(post(&client, &site, "/login", &session).await.status, 200);
    let calls = site.calls();
    for old in [&visitor, &session] {
        assert_eq!(post(&client, &site, "/echo", old).await.status, 403);
    }
    assert_eq!(site.calls(), calls);
    let user = token(&client, &site).await;
    let (twin, other) = (client.clone_cookies(), Client::new());
    assert_eq!(post(&twin, &site, "/echo", &user).await.status, 200);
    other.post(&site.at("/login")).await;
    token(&other, &site).await;
    assert_eq!(post(&other, &site, "/echo", &user).await.status, 403, "R47");
    assert_eq!(post(&client, &site, "/logout", &user).await.status, 200);
    // The id of before is a dead session's: its stored secret is gone, and what is made for it now is void with it.
    assert_eq!(post(&twin, &site, "/echo", &user).await.status, 403);
    let dead = token(&twin, &site).await;
    assert_eq!(post(&twin, &site, "/login", &dead).await.status, 200);
}

// Fails if: the secret is bound to nothing, survives its session, or the two halves of the operation differ.
#[tokio::test]
async fn stored_tokens_over_memory_and_redis() {
    let redis = RedisServer::start().await;
    for on in EVERYWHERE {
        story(on, &Store::memory()).await;
        story(on, &Store::connect(&redis.url()).await.unwrap()).await;
    }
}

/// R101, and the life of the secret.
// Fails if: the secret has no expiry or outlives the session, or the token itself is stored.
#[tokio::test]
async fn the_secret_lies_beside_its_session() {
    let redis = RedisServer::start().await;
    let store = Store::connect(&redis.url()).await.unwrap();
    let site = site(On::Axum, &store).await;
    let client = Client::new();
    client.post(&site.at("/login")).await;
    let user = token(&client, &site).await;
    let secrets = redis.keys("portcullis:csrf:*").await;
    let [key] = &secrets[..] else {
        panic!("{secrets:?}")
    };
    let sessions = redis.keys("portcullis:session:*").await;
    assert_eq!(
        key.replace(":csrf:", ":session:"),
        sessions[0],
        "same tag, same hash"
    );
    let secret: String = redis.ask(&["GET", key]).await;
    assert_eq!(
        post(&client, &site, "/echo", &secret).await.status,
        403,
        "it is no token"
    );
    let life: i64 = redis.ask(&["PTTL", key]).await;
    assert!(
        (86_000_000..=86_400_000).contains(&life),
        "{life}: the absolute timeout"
    );
    // A token of the session's id says nothing where a secret is stored.
    let stateless = Site::start(On::Axum, CsrfLayer::new(&keys()), &store).await;
    let bare = token(&client, &stateless).await;
    assert_eq!(post(&client, &stateless, "/echo", &bare).await.status, 200);
    assert_eq!(post(&client, &site, "/echo", &bare).await.status, 403);
    // Who deletes the secret voids the tokens, and the next one is of a new secret.
    let _: i64 = redis.ask(&["DEL", key]).await;
    assert_eq!(post(&client, &site, "/echo", &user).await.status, 403);
    let next = token(&client, &site).await;
    assert_eq!(post(&client, &site, "/echo", &user).await.status, 403);
    assert_eq!(post(&client, &site, "/echo", &next).await.status, 200);
    // What lies there and is not ours makes no token.
    redis.cli(&["SET", key, "garbage"]).await;
    assert_eq!(post(&client, &site, "/echo", &next).await.status, 500);
}

/// The budget: a stateless check asks nothing, a stored one travels with the session.
// Fails if: a check reads the session, or the session's load does not ride along.
#[tokio::test]
async fn what_a_check_costs_in_trips() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::start(redis.port());
    let store = Store::connect(&proxy.url()).await.unwrap();
    let stateless = Site::start(On::Axum, CsrfLayer::new(&keys()), &store).await;
    let stored = site(On::Hyper, &store).await;
    let client = Client::new();
    client.post(&stateless.at("/login")).await;
    let one = token(&client, &stateless).await;
    let two = token(&client, &stored).await;
    post(&client, &stored, "/who", &two).await;
    let table = [
        (&stateless, "/echo", one.as_str(), 0, 200),
        (&stateless, "/token", &one, 0, 200),
        (&stateless, "/who", &one, 1, 200),
        (&stateless, "/echo", "forged", 0, 403),
        (&stored, "/echo", &two, 1, 200),
        (&stored, "/who", &two, 1, 200),
        (&stored, "/echo", "forged", 0, 403),
        (&stored, "/echo", "", 0, 403),
    ];
    for (site, path, token, turns, status) in table {
        let (counted, answer) = proxy.turns_of(post(&client, site, path, token)).await;
        assert_eq!(
            (counted, answer.status.as_u16()),
            (turns, status),
            "{path} {token}"
        );
    }
    let (turns, _) = proxy.turns_of(client.get(&stored.at("/"))).await;
    assert_eq!(turns, 0, "a page that shows no token");
}

// Fails if: an outage passes, or is taken for a wrong token.
#[tokio::test]
async fn while_the_store_is_away_stored_tokens_are_unknown() {
    let redis = RedisServer::start().await;
    let store = Store::connect(&redis.url()).await.unwrap();
    let stateless = Site::start(On::Axum, CsrfLayer::new(&keys()), &store).await;
    let stored = site(On::AxumForms, &store).await;
    let client = Client::new();
    client.post(&stored.at("/login")).await;
    let (one, two) = (
        token(&client, &stateless).await,
        token(&client, &stored).await,
    );
    redis.kill();
    let calls = stored.calls();
    let answer = post(&client, &stored, "/echo", &two).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), "1");
    assert!(answer.set_cookies().is_empty());
    assert_eq!(stored.calls(), calls);
    // What needs no store goes on.
    let own = [("sec-fetch-site", "same-origin")];
    let answer = client
        .request(Method::POST, &stored.at("/echo"), &own, Bytes::new())
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(post(&client, &stateless, "/echo", &one).await.status, 200);
}

/// A session that expired takes its tokens along.
// Fails if: the secret is found although its session is gone.
#[tokio::test]
async fn a_stored_token_ends_with_its_session() {
    let clock = Clock::settable(1_000_000);
    let store = Store::builder().clock(clock.clone()).memory();
    let site = site(On::Hyper, &store).await;
    let client = Client::new();
    client.post(&site.at("/login")).await;
    let user = token(&client, &site).await;
    clock.advance(std::time::Duration::from_secs(3_000));
    assert_eq!(
        post(&client, &site, "/who", &user).await.status,
        200,
        "in use"
    );
    clock.advance(std::time::Duration::from_secs(3_000));
    assert_eq!(post(&client, &site, "/echo", &user).await.status, 200);
    clock.advance(std::time::Duration::from_secs(3_601));
    assert_eq!(post(&client, &site, "/echo", &user).await.status, 403);
}
