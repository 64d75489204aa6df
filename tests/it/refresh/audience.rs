//! Whom access tokens are for: RFC 8707.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis::{
    jwt::{Grant, MintedToken},
    refresh::{Adoption, RefreshErrorKind, RefreshLogin, RefreshRequest, Rotation},
};
use serde_json::{Value, json};

use super::kit::{MINUTE, benches, issuer};
use crate::session::bench::keys;

const A: &str = "https://a.example";
const B: &str = "https://b.example";
const BOTH: &str = "https://a.example https://b.example";

fn aud(token: &MintedToken) -> Value {
    let payload = token.token().split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    claims["aud"].clone()
}

/// R98: a token is for the resources that were granted, for fewer if fewer are asked for, and never for others; what one
/// refresh leaves out the next may ask for again.
///
/// Fails if: `aud` is the issuer's whatever was granted; narrowing is stored; a resource is matched by a part of its name.
#[tokio::test]
async fn r98_the_audience_follows_the_resource_and_never_widens() {
    for bench in benches().await {
        let name = bench.name;
        let plain = bench.one.issue("alice").await;
        assert_eq!(aud(plain.access()), "api", "{name}: nothing was granted");
        let asked = RefreshRequest::new().resource(A);
        let refused = bench.two.rotation.rotate(plain.refresh(), asked).await;
        assert_eq!(refused.unwrap_err().kind(), RefreshErrorKind::Resource);

        let login = RefreshLogin::new("alice").resource(format!("{B}  {A} {B}"));
        let mut pair = bench.one.rotation.issue(&login).await.unwrap();
        assert_eq!(aud(pair.access()), json!([B, A]), "{name}");
        for resource in [
            "https://c.example",
            "api",
            "https://a.example/",
            "https://a",
            "https://a.example https://c.example",
            "HTTPS://A.EXAMPLE",
        ] {
            let asked = RefreshRequest::new().resource(resource);
            let refused = bench.two.rotation.rotate(pair.refresh(), asked).await;
            let kind = refused.unwrap_err().kind();
            assert_eq!(kind, RefreshErrorKind::Resource, "{name} {resource}");
        }
        for (resource, expected) in [
            (A, json!(A)),
            (B, json!(B)),
            ("", json!([B, A])),
            (BOTH, json!([A, B])),
            ("https://a.example  https://a.example", json!(A)),
        ] {
            let asked = RefreshRequest::new().resource(resource);
            // The second is a retry in grace, which may ask for something else than the first did.
            let all = bench.one.rotate(pair.refresh()).await.unwrap();
            let next = bench.two.rotation.rotate(pair.refresh(), asked).await;
            let next = next.unwrap();
            assert_eq!(aud(all.access()), json!([B, A]), "{name}");
            assert_eq!(aud(next.access()), expected, "{name} {resource}");
            assert_eq!(all.refresh(), next.refresh());
            bench.advance(MINUTE).await;
            pair = next;
        }
    }
}

/// A token of another system is narrowed like any other.
///
/// Fails if: what is asked for beside it is only checked.
#[tokio::test]
async fn an_adopted_login_is_narrowed_as_well() {
    for bench in benches().await {
        let Some(server) = &bench.server else {
            continue;
        };
        server.cli(&["SET", "old:token", "alice"]).await;
        let login = |user: &str| Some(RefreshLogin::new(user).resource(BOTH).scope("read write"));
        let adoption = Adoption::opaque(|token| format!("old:{token}"), login);
        let rotation = Rotation::builder(&bench.one.store, &keys(), &issuer(&bench.clock));
        let rotation = rotation.adopt(adoption).build().unwrap();
        let asked = RefreshRequest::new().resource(B).scope("read read");
        let pair = rotation.rotate("token", asked).await.unwrap();
        assert_eq!((aud(pair.access()), pair.scope()), (json!(B), "read"));
        let next = bench.two.rotate(pair.refresh()).await.unwrap();
        assert_eq!(aud(next.access()), json!([A, B]));
        assert_eq!(next.scope(), "read write");
    }
}

/// Fails if: the issuer's audiences are added to those of a grant, or an empty one is written.
#[test]
fn a_grant_names_its_own_audience() {
    let issuer = issuer(&portcullis::Clock::system());
    let mint = |grant: Grant| issuer.mint(&grant);
    let user = || Grant::user("alice");
    assert_eq!(aud(&mint(user()).unwrap()), "api");
    assert_eq!(aud(&mint(user().audience(A)).unwrap()), A);
    let both = mint(user().audience(A).audience(B)).unwrap();
    assert_eq!(aud(&both), json!([A, B]));
    assert!(mint(user().audience(A).audience("")).is_err());
}
