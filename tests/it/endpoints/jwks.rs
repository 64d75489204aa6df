//! Keys of an issuer, as others see them.

use portcullis::jwt::{
    Grant, Issuer, IssuerKeys, JwtAlgorithm, JwtVerifyLayer, KeySet, NoClaims, SigningKey,
};

use super::Bench;
use crate::{jwt_kit, means::http::Client};

const HOUR: u64 = 60 * 60 * 1_000;

// Fails if: a document is not what another verifier needs, may not be cached, or does not follow the keys.
#[tokio::test]
async fn a_verifier_elsewhere_needs_the_document_only() {
    let bench = Bench::memory_with(|rotation| rotation).await;
    let pair = bench.login("alice").await;
    let answer = Client::new().get(&bench.url("/jwks")).await;
    assert_eq!(answer.header("cache-control"), "public, max-age=600");
    assert_eq!(answer.header("content-type"), "application/jwk-set+json");
    let elsewhere = JwtVerifyLayer::<NoClaims>::new(KeySet::from_jwks(answer.text()).unwrap())
        .issuer("https://id.example")
        .audience("https://a.example")
        .build()
        .unwrap();
    let now = bench.clock.now_millis();
    let token = pair.access().token().as_bytes();
    assert_eq!(
        elsewhere.verify_at(token, now).unwrap().0.user(),
        Some("alice")
    );
    let next = SigningKey::generate(JwtAlgorithm::EdDsa).unwrap();
    let next = next.kid("next").unwrap();
    bench.keys.schedule_at(next, now + HOUR, now).unwrap();
    let text = Client::new().get(&bench.url("/jwks")).await.text();
    assert!(text.contains(r#""kid":"next""#), "{text}");
}

// Fails if: any kind of key is published wrongly.
#[test]
fn every_kind_of_public_key_survives_the_document() {
    let made = [
        JwtAlgorithm::Hs256,
        JwtAlgorithm::Es256,
        JwtAlgorithm::Es384,
        JwtAlgorithm::EdDsa,
    ]
    .map(|algorithm| SigningKey::generate(algorithm).unwrap());
    let rsa = [JwtAlgorithm::Rs256, JwtAlgorithm::Ps512]
        .map(|algorithm| SigningKey::from_pkcs8(algorithm, jwt_kit::rsa_pkcs8()).unwrap());
    for key in made.into_iter().chain(rsa) {
        let algorithm = key.algorithm();
        let keys = IssuerKeys::new(key.kid("k \"1\"").unwrap()).unwrap();
        let issuer = Issuer::new(&keys, "https://id.example")
            .audience("api")
            .build()
            .unwrap();
        let token = issuer.mint_at(&Grant::user("alice"), HOUR).unwrap();
        let set = KeySet::from_jwks(keys.jwks());
        if algorithm.is_symmetric() {
            assert!(set.is_err());
            continue;
        }
        let layer = JwtVerifyLayer::<NoClaims>::new(set.unwrap())
            .issuer("https://id.example")
            .audience("api")
            .build()
            .unwrap();
        assert!(
            layer.verify_at(token.token().as_bytes(), HOUR).is_ok(),
            "{algorithm}"
        );
    }
}

// Fails if: tokens live longer than configured, all equally long, or `expires_in` says another time than `exp`.
#[test]
fn jitter_shortens_and_spreads() {
    let key = SigningKey::generate(JwtAlgorithm::Hs256).unwrap();
    let layer = JwtVerifyLayer::<NoClaims>::new(key.verification_key())
        .issuer("https://id.example")
        .audience("api")
        .build()
        .unwrap();
    let issuer = Issuer::new(key.clone(), "https://id.example")
        .audience("api")
        .jitter(0.1);
    let issuer = issuer.build().unwrap();
    let lives: Vec<u64> = (0..200)
        .map(|_| {
            let minted = issuer.mint_at(&Grant::user("alice"), HOUR).unwrap();
            let (token, _) = layer.verify_at(minted.token().as_bytes(), HOUR).unwrap();
            let life = (token.exp_ms() - HOUR) / 1_000;
            assert_eq!(life, minted.expires_in());
            life
        })
        .collect();
    let (least, most) = (*lives.iter().min().unwrap(), *lives.iter().max().unwrap());
    assert!(
        least >= 540 && most <= 600 && most - least > 30,
        "{least} to {most}"
    );
    for wrong in [-0.1, 0.51, f64::NAN] {
        let issuer = Issuer::new(key.clone(), "https://id.example").audience("api");
        assert_eq!(issuer.jitter(wrong).build().unwrap_err().field(), "jitter");
    }
}
