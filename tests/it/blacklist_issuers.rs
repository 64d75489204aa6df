//! Revocation of tokens that others issued, and of tokens that a logout could not end.

use std::time::Duration;

use portcullis::{
    Clock, KeyRing, Store,
    blacklist::{Blacklist, BlacklistLayer},
    cutoff::Cutoffs,
    device::Devices,
    jwt::{Grant, Issuer, JwtAlgorithm, SigningKey},
    refresh::Rotation,
};
use serde_json::{Value, json};

use crate::{
    blacklist::{app, issuer, status, verified},
    jwt_kit::Signer,
    session::bench::both,
};

const OWN: (&str, u8) = ("https://id.example", 7);
const OTHER: (&str, u8) = ("https://other.example", 9);

/// A token of one of the two issuers that `blacklist::verify` trusts, with exactly these claims beside the usual ones.
fn signed((iss, secret): (&str, u8), claims: &Value) -> String {
    let mut all = json!({ "iss": iss, "aud": "api", "sub": "alice" });
    let all_members = all.as_object_mut().unwrap();
    all_members.extend(claims.as_object().unwrap().clone());
    let signer = Signer::Hmac("HS256", vec![secret; 32]);
    signer.token(
        &signer.header(&format!(r#","kid":"{secret}""#)),
        &all.to_string(),
    )
}

/// R90: a token that says only when it was issued may come from a clock that runs ahead by the leeway (30 s). It does not
/// outlive a cutoff; one that says when its user authenticated is judged by that, to the millisecond.
///
/// Fails if: the leeway is not taken off `iat`; it is taken off `auth_ms`; the replica judges otherwise than the store.
#[tokio::test]
async fn r90_a_token_of_a_clock_that_runs_ahead_does_not_outlive_a_cutoff() {
    for backend in both().await {
        let near = backend.other.near().start().unwrap();
        assert!(near.ready().await);
        let clock = Clock::settable(backend.clock.now_millis() + 60_000);
        let apps = [&backend.store, &backend.other]
            .map(|store| app(BlacklistLayer::builder(store), &clock));
        for whose in [OWN, OTHER] {
            let cutoff = match whose {
                OWN => Cutoffs::new(&backend.other).user("", "alice").await,
                (iss, _) => Cutoffs::new(&backend.other).subject(iss, "", "alice").await,
            };
            let cutoff = cutoff.unwrap();
            let second = cutoff / 1000;
            let token = |iat: u64, auth_ms: Option<u64>| {
                let mut claims = json!({ "jti": "x", "iat": iat, "exp": second + 300 });
                if let Some(auth_ms) = auth_ms {
                    claims["auth_ms"] = auth_ms.into();
                }
                signed(whose, &claims)
            };
            for (iat, auth_ms, expected) in [
                (second - 1, None, 401),
                (second, None, 401),
                (second + 30, None, 401),
                (second + 31, None, 200),
                (second, Some(cutoff + 1), 200),
                (second + 31, Some(cutoff), 401),
            ] {
                let token = token(iat, auth_ms);
                for app in &apps {
                    let name = backend.name;
                    let after = iat - second.min(iat);
                    assert_eq!(
                        status(app, &token).await,
                        expected,
                        "{name} {whose:?} +{after} {auth_ms:?}"
                    );
                }
            }
        }
    }
}

/// R66, R86: issuers name their logins without asking each other: a logout at one leaves the other's of that name alone.
///
/// Fails if: the entry of a `sid` is the same for all issuers, on the store or in the replica.
#[tokio::test]
async fn a_logout_at_one_issuer_is_none_at_another() {
    for backend in both().await {
        let near = backend.other.near().start().unwrap();
        assert!(near.ready().await);
        let clock = backend.clock.clone();
        let second = clock.now_millis() / 1000;
        let blacklist = Blacklist::new(&backend.store);
        for (sid, ended) in [("one", OWN), ("two", OTHER)] {
            let tokens = [OWN, OTHER].map(|whose| {
                let claims = json!({ "sid": sid, "iat": second, "exp": second + 300 });
                (whose, signed(whose, &claims))
            });
            match ended {
                OWN => blacklist.revoke_session(sid).await.unwrap(),
                (iss, _) => blacklist.revoke_session_of(iss, sid).await.unwrap(),
            }
            for store in [&backend.store, &backend.other] {
                let strict = app(BlacklistLayer::builder(store).strict(), &clock);
                for (whose, token) in &tokens {
                    let expected = if *whose == ended { 401 } else { 200 };
                    let name = backend.name;
                    assert_eq!(
                        status(&strict, token).await,
                        expected,
                        "{name} {sid} {whose:?}"
                    );
                    let token = verified(&clock, token).await;
                    let revoked = Blacklist::new(store).is_revoked(&token).await.unwrap();
                    assert_eq!(revoked, *whose == ended, "{name} {sid} {whose:?}");
                }
            }
            // The replica hears of it in its time; what is not revoked never becomes so.
            let nearby = app(BlacklistLayer::builder(&backend.other), &clock);
            for (whose, token) in &tokens {
                if *whose == ended {
                    let dead = async || (status(&nearby, token).await == 401).then_some(());
                    crate::means::wait::until("the replica to know", dead).await;
                }
            }
            for (whose, token) in &tokens {
                let expected = if *whose == ended { 401 } else { 200 };
                assert_eq!(
                    status(&nearby, token).await,
                    expected,
                    "near {sid} {whose:?}"
                );
            }
        }
        let empty = blacklist.revoke_session_of(OTHER.0, "").await;
        assert!(empty.is_err());
    }
}

/// A logout denies a `sid` for as long as the store's access tokens may live: a token that lives longer would be good again
/// afterwards, so it never is.
///
/// Fails if: the life of a token is not looked at; only what is left of it is; tokens of others are judged by our logouts.
#[tokio::test]
async fn a_token_that_would_outlive_its_logout_is_refused() {
    for backend in both().await {
        let clock = backend.clock.clone();
        let app = app(BlacklistLayer::builder(&backend.store), &clock);
        let blacklist = Blacklist::new(&backend.store);
        let now = clock.now_millis() / 1000;
        let hour = 3600;
        for (whose, claims, expected) in [
            (
                OWN,
                json!({ "sid": "s", "iat": now, "exp": now + hour }),
                200,
            ),
            (
                OWN,
                json!({ "sid": "s", "iat": now, "exp": now + hour + 1 }),
                401,
            ),
            // Nearly over, and yet one of those that live long.
            (
                OWN,
                json!({ "sid": "s", "iat": now - hour, "exp": now + 60 }),
                401,
            ),
            (OWN, json!({ "sid": "s", "exp": now + 60 }), 401),
            // Nothing but its own entry and cutoffs could end it, and those last.
            (
                OWN,
                json!({ "jti": "j", "iat": now, "exp": now + 2 * hour }),
                200,
            ),
            (
                OTHER,
                json!({ "sid": "s", "iat": now, "exp": now + 2 * hour }),
                200,
            ),
        ] {
            let token = signed(whose, &claims);
            let name = backend.name;
            assert_eq!(
                status(&app, &token).await,
                expected,
                "{name} {whose:?} {claims}"
            );
            let token = verified(&clock, &token).await;
            let revoked = blacklist.is_revoked(&token).await.unwrap();
            assert_eq!(revoked, expected == 401, "{name} {whose:?} {claims}");
        }
    }
}

/// What the rule above is for: with the store's word raised, a long token is good, and a logout ends it for all its life.
///
/// Fails if: the denial of a device lasts shorter than what the layer lets pass.
#[tokio::test]
async fn a_logout_ends_the_longest_token_that_is_accepted() {
    let clock = Clock::settable(1_700_000_000_000);
    let (life, hour) = (Duration::from_secs(4 * 3600), Duration::from_secs(3600));
    let store = Store::builder()
        .clock(clock.clone())
        .access_token_life(life);
    let store = store.memory();
    let app = app(BlacklistLayer::builder(&store), &clock);
    let keys = KeyRing::new("a secret of at least thirty-two bytes").unwrap();
    let pair = Rotation::new(&store, &keys, &issuer(&clock)).unwrap();
    let login = portcullis::refresh::RefreshLogin::new("alice");
    let pair = pair.issue(&login).await.unwrap();
    let long = {
        let key = SigningKey::secret(JwtAlgorithm::Hs256, [7; 32]).unwrap();
        let issuer = Issuer::new(key.kid("7").unwrap(), OWN.0).audience("api");
        let issuer = issuer.clock(clock.clone()).lifetime(life).build().unwrap();
        let grant = Grant::user("alice").sid(pair.sid());
        issuer.mint(&grant).unwrap().token().to_owned()
    };
    assert_eq!(status(&app, &long).await, 200);
    let ended = Devices::new(&store).revoke("", "alice", pair.sid()).await;
    assert!(ended.unwrap());
    for _ in 0..4 {
        assert_eq!(status(&app, &long).await, 401);
        clock.advance(hour - Duration::from_secs(1));
    }
    assert_eq!(status(&app, &long).await, 401, "the leeway as well");
}

/// The issuer of a rotation may not mint what a logout could not end, to the second.
///
/// Fails if: the leeway of the denial counts as life of the tokens.
#[tokio::test]
async fn a_rotation_with_tokens_that_outlive_a_logout_is_not_built() {
    let keys = KeyRing::new("a secret of at least thirty-two bytes").unwrap();
    let hour = Duration::from_secs(3600);
    for (life, builds) in [(hour, true), (hour + Duration::from_secs(1), false)] {
        let key = SigningKey::secret(JwtAlgorithm::Hs256, [7; 32]).unwrap();
        let issuer = Issuer::new(key, OWN.0).audience("api").lifetime(life);
        let built = Rotation::new(&Store::memory(), &keys, &issuer.build().unwrap());
        assert_eq!(built.is_ok(), builds, "{life:?}");
        if let Err(error) = built {
            assert_eq!(error.field(), "access_token_life");
        }
    }
}
