//! Texts of settings, keys and names: a byte that says what for, and the text; where two are needed, a line each.

use std::time::Duration;

use http::header::SET_COOKIE;
use portcullis::{
    Clock, KeyRing, Store, StoreErrorKind,
    csrf::CsrfLayer,
    cutoff::Cutoffs,
    device::Devices,
    jwt::{
        Issuer, JwtAlgorithm, JwtKey, JwtVerifyLayer, KeySet, NoClaims, RequireScopeLayer,
        SigningKey, StepUpLayer,
    },
    peer::StripHeadersLayer,
    refresh::{RefreshLogin, RefreshRequest},
    session::{RequireLoginLayer, SessionLayer},
};
use tower::{Layer as _, ServiceExt as _};

use super::{means::block_on, world::*};

pub const SEEDS: &[&[u8]] = &[
    br#"0{"keys":[{"kty":"EC","crv":"P-256","kid":"a","use":"sig","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"EdDSA"},{"kty":"RSA","n":"AQAB","e":"AQAB","alg":"RS256"},{"kty":"oct","k":"AA"}]}"#,
    br#"1{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"EdDSA","kid":"a b"}"#,
    b"2-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n",
    b"3\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00\xd7\x5a\x98\x01\x82\xb1\x0a\xb7\xd5\x4b\xfe\xd3\xc9\x64\x07\x3a\x0e\xe1\x72\xf3\xda\xa6\x23\x25\xaf\x02\x1a\x68\xf7\x07\x51\x1a",
    b"4a secret of at least thirty-two bytes\nanother secret of thirty-two bytes!!",
    b"5https://app.example:8443\nx-token",
    b"6__Host-id\n/app",
    b"6id\n.example.org",
    b"7app:\napp-revoked:",
    b"8redis://user:pass@127.0.0.1:6379/2?protocol=resp3",
    b"8redis+unix:///run/redis.sock",
    b"9urn:mace:incommon:iap:silver phr\n/login?next=%2F",
    b":203.0.113.0/24\nx-tenant-*",
    b":2001:db8::/32\nforwarded",
    b";al\xc3\xadce\nMozilla/5.0 (X11; Linux x86_64) \xf0\x9f\xa6\x8a",
    b"<https://id.example\nx-access-token",
];

pub fn run(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else {
        return;
    };
    let all = String::from_utf8_lossy(bytes);
    let (one, two) = all.split_once('\n').unwrap_or((&all, ""));
    match which {
        b'0' => jwks(&all),
        b'1' => jwk(bytes),
        b'2' => pem(bytes),
        b'3' => der(bytes),
        b'4' => ring(bytes),
        b'5' => csrf(one, two),
        b'6' => cookies(one, two),
        b'7' => prefixes(one, two),
        b'8' => drop(Store::builder().connect_lazy(&all)),
        b'9' => guards(one, two),
        b':' => proxies(one, two),
        b';' => block_on(names(one, two)),
        b'<' => places(one, two),
        _ => {}
    }
}

const PUBLIC: [JwtAlgorithm; 5] = [
    JwtAlgorithm::EdDsa,
    JwtAlgorithm::Es256,
    JwtAlgorithm::Es384,
    JwtAlgorithm::Rs256,
    JwtAlgorithm::Ps512,
];

fn jwks(text: &str) {
    if let Ok(keys) = KeySet::from_jwks(text) {
        let _ = format!("{keys:?} {}", keys.skipped().len());
        let layer = JwtVerifyLayer::<NoClaims>::new(keys)
            .issuer(ISS)
            .audience(AUD);
        if let Ok(layer) = layer.build() {
            let forged = b"eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.e30.AAAA";
            assert!(layer.verify_at(forged, NOW_MS).is_err());
        }
    }
}

/// What is a key can be written and read again.
fn jwk(text: &[u8]) {
    if let Ok(key) = JwtKey::from_jwk(text)
        && let Some(written) = key.to_jwk()
    {
        let again = JwtKey::from_jwk(&written).expect("what was written");
        assert_eq!(again.to_jwk(), Some(written));
        assert_eq!(again.key_id(), key.key_id());
    }
}

fn pem(text: &[u8]) {
    for algorithm in PUBLIC {
        drop(JwtKey::from_pem(algorithm, text));
        drop(SigningKey::from_pem(algorithm, text));
    }
}

fn der(bytes: &[u8]) {
    for algorithm in PUBLIC {
        drop(JwtKey::from_der(algorithm, bytes));
        drop(SigningKey::from_pkcs8(algorithm, bytes));
    }
}

fn ring(bytes: &[u8]) {
    let mut secrets = bytes.split(|byte| *byte == b'\n');
    let first = secrets.next().unwrap_or_default();
    let ring = secrets.fold(KeyRing::new(first), |ring, secret| {
        ring?.verify_with(secret)
    });
    match ring {
        Ok(ring) => assert!(ring.key_ids().count() >= 1),
        Err(error) => assert_eq!(error.field(), "secret"),
    }
}

fn csrf(one: &str, two: &str) {
    let builder = || CsrfLayer::builder(&keys());
    drop(builder().trusted_origin(one).trusted_origin(two).build());
    drop(
        builder()
            .insecure_trusted_origin(one)
            .insecure_plain_http()
            .build(),
    );
    drop(
        builder()
            .external_origin(one)
            .field_name(two.to_owned())
            .build(),
    );
    drop(
        builder()
            .header_name(two.to_owned())
            .cookie_name(one.to_owned())
            .build(),
    );
    drop(builder().exempt(one).exempt(two).build());
}

/// A cookie that can be configured can be sent, and says nothing but itself.
fn cookies(name: &str, place: &str) {
    let store = Store::builder().clock(Clock::settable(NOW_MS)).memory();
    let builder = || SessionLayer::builder(&store, &keys()).cookie_name(name.to_owned());
    let built = [
        builder().cookie_path(place.to_owned()).build(),
        builder()
            .insecure_plain_http()
            .cookie_path(place.to_owned())
            .build(),
        builder().insecure_cookie_domain(place.to_owned()).build(),
    ];
    for layer in built.into_iter().flatten() {
        let handler = tower::service_fn(async |request: http::Request<()>| {
            let session: &portcullis::session::Session =
                request.extensions().get().expect("a session");
            session.insert("a", &1).await.expect("a store in memory");
            Ok::<_, std::convert::Infallible>(http::Response::new(()))
        });
        let request = http::Request::new(());
        let Ok(response) = block_on(layer.layer(handler).oneshot(request));
        let cookie = response.headers().get(SET_COOKIE).expect("a cookie");
        let cookie = cookie.to_str().expect("a text");
        let own = cookie.strip_prefix(name).expect("the name");
        assert!(own.starts_with('='), "{cookie}");
        assert!(cookie.matches(';').count() <= 7, "{cookie}");
    }
}

fn prefixes(one: &str, two: &str) {
    let clock = Clock::settable(NOW_MS);
    let builder = Store::builder()
        .clock(clock.clone())
        .prefix(one)
        .blacklist_prefix(two);
    if let Ok(store) = builder.try_memory() {
        block_on(World::over(store, clock).sign_in());
    }
}

fn guards(one: &str, two: &str) {
    drop(StepUpLayer::within(Duration::from_secs(1)).acr_values(one));
    drop(StepUpLayer::within(Duration::from_secs(1)).amr(one));
    drop(RequireScopeLayer::new(one));
    drop(RequireLoginLayer::redirect_to(two));
}

fn proxies(one: &str, two: &str) {
    let builder = || StripHeadersLayer::builder().trusted_proxy(one);
    drop(builder().header(two).build());
    drop(builder().kept(two).build());
}

/// Names that a client may choose are kept as they are, or refused.
async fn names(one: &str, two: &str) {
    let world = World::in_memory().await;
    let login = RefreshLogin::new(one)
        .tenant(two)
        .device(two)
        .user_agent(two)
        .scope(two);
    if let Ok(pair) = world.rotation.issue(&login).await {
        let next = world
            .rotation
            .rotate(pair.refresh(), RefreshRequest::new())
            .await;
        let next = next.expect("a good token");
        assert_eq!(world.rotation.revoke(next.refresh()).await.ok(), Some(()));
    }
    let login = RefreshLogin::new(one).device(two).user_agent(one);
    if world.rotation.issue(&login).await.is_ok() {
        let devices = Devices::new(&world.store).list("", one, None).await;
        assert!(!devices.expect("a list").is_empty());
    }
    let cutoffs = Cutoffs::new(&world.store);
    for cutoff in [
        cutoffs.user(one, two).await,
        cutoffs.tenant(one).await,
        cutoffs.subject(one, two, one).await,
    ] {
        let kind = cutoff.err().map(|error| error.kind());
        assert!(
            matches!(kind, None | Some(StoreErrorKind::Invalid)),
            "{kind:?}"
        );
    }
    let _ = world.blacklist.revoke_session(one).await;
    let _ = world.blacklist.revoke_session_of(one, two).await;
    let asked = RefreshRequest::new().client(one).scope(two).resource(one);
    let _ = world
        .rotation
        .rotate(&world.credentials[REFRESH_TOKEN], asked)
        .await;
}

fn places(one: &str, two: &str) {
    let key = || SigningKey::secret(JwtAlgorithm::Hs256, [0x5a; 32]).expect("a secret");
    let layer = || JwtVerifyLayer::<NoClaims>::new(key().verification_key());
    drop(layer().issuer(one).audience(two).typ(two).build());
    drop(
        layer()
            .issuer(ISS)
            .audience(AUD)
            .header(two)
            .realm(one.to_owned())
            .build(),
    );
    drop(
        layer()
            .issuer(ISS)
            .audience(AUD)
            .cookie(two)
            .scope(one)
            .tenant_claim(two)
            .build(),
    );
    drop(
        key()
            .kid(one)
            .map(|key| Issuer::new(key, two).audience(one).build()),
    );
}
