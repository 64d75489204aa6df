//! Verified tokens that are remembered: they save work and change no answer (requirements 76, 77, 80, 121, 126).

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    convert::Infallible,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use http::{Request, Response, StatusCode};
use portcullis::{
    Clock, Gated, Rejection,
    jwt::{
        Claims, JwtError, JwtErrorKind as Why, JwtGate, JwtVerifyBuilder, JwtVerifyLayer, KeySet,
        KeySetHandle, RequireScopeLayer, VerifiedToken,
    },
};
use proptest::prelude::*;
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use tower::{Layer, Service, ServiceExt as _, layer::util::Stack, service_fn, util::ServiceFn};

use crate::{jwt_kit::*, means::alloc};

thread_local! {
    static VERIFIED: Cell<usize> = const { Cell::new(0) };
    static MEANWHILE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// Claims that are read after every full verification and never else, and so count them; and that let something happen
/// while a verification is in flight.
struct Watched;

impl<'de> Deserialize<'de> for Watched {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(from)?;
        VERIFIED.set(VERIFIED.get() + 1);
        if let Some(happen) = MEANWHILE.take() {
            happen();
        }
        Ok(Self)
    }
}

/// How many tokens were verified in full on this thread while `action` ran.
fn verifications(action: impl FnOnce()) -> usize {
    let before = VERIFIED.get();
    action();
    VERIFIED.get() - before
}

fn watched(keys: impl Into<KeySetHandle>) -> JwtVerifyBuilder<Watched> {
    JwtVerifyLayer::new(keys)
        .issuer(ISS)
        .audience(AUD)
        .leeway(Duration::from_secs(5))
        .clock(Clock::settable(NOW_MS))
}

type Inner = ServiceFn<fn(Request<()>) -> std::future::Ready<Result<Response<Found>, Infallible>>>;
type Found = Option<VerifiedToken>;

fn inner() -> Inner {
    service_fn(|request: Request<()>| ready(Ok(Response::new(request.extensions().get().cloned()))))
}

/// What a request with this token comes to: the token that the service inside sees, or why it is not called.
fn ask<C>(layer: &JwtVerifyLayer<C>, token: &str) -> Result<VerifiedToken, Option<Why>>
where
    JwtVerifyLayer<C>: Layer<Inner, Service = Gated<Inner, JwtGate<C>>>,
    Gated<Inner, JwtGate<C>>: Service<Request<()>, Response = Response<Found>, Error = Infallible>,
{
    let request = bearer(token).body(()).unwrap();
    let (head, found) = now(layer.layer(inner()).oneshot(request))
        .unwrap()
        .into_parts();
    found.ok_or_else(|| {
        assert!(head.status.is_client_error());
        let rejection = head.extensions.get::<Rejection>();
        rejection
            .and_then(std::error::Error::source)
            .and_then(|source| source.downcast_ref::<JwtError>())
            .map(JwtError::kind)
    })
}

fn set_back(clock: &Clock, by: Duration) {
    // Forward, around the end of the clock.
    let by = u64::try_from(by.as_millis()).unwrap();
    clock.advance(Duration::from_millis(by.wrapping_neg()));
}

fn with_exp(seconds_from_now: u64) -> String {
    claims_with("exp", Some(&(NOW_S + seconds_from_now).to_string()))
}

fn set<const N: usize>(signers: [(&Signer, &str); N]) -> KeySet {
    KeySet::new(signers.map(|(signer, kid)| signer.key().kid(kid).unwrap())).unwrap()
}

fn named(signer: &Signer, kid: &str, claims: &str) -> String {
    signer.token(&signer.header(&format!(r#","kid":"{kid}""#)), claims)
}

// Fails if: a hit verifies; a service or a clone of the layer has a memory of its own; claims are copied.
#[test]
fn a_token_is_verified_once() {
    for signer in Signer::all() {
        let layer = watched(signer.key()).build().unwrap();
        let token = signer.good();
        let claims = |layer: &JwtVerifyLayer<Watched>| {
            ask(layer, &token)
                .unwrap()
                .claims::<Watched>()
                .unwrap()
                .into_inner()
        };
        let count = verifications(|| {
            let first = claims(&layer);
            for _ in 0..20 {
                assert!(Arc::ptr_eq(&first, &claims(&layer)));
            }
            assert!(Arc::ptr_eq(&first, &claims(&layer.clone())));
        });
        assert_eq!((count, layer.cached_tokens()), (1, 1), "{}", signer.alg());
    }
}

// Fails if: `.no_cache()` is not heard, or `verify_at` uses the memory.
#[test]
fn nothing_is_remembered_without_a_cache() {
    let signer = Signer::hs256();
    let token = signer.good();
    let off = watched(signer.key()).no_cache().build().unwrap();
    let count = verifications(|| (0..3).for_each(|_| assert!(ask(&off, &token).is_ok())));
    assert_eq!((count, off.cached_tokens()), (3, 0));

    let on = watched(signer.key()).build().unwrap();
    let count = verifications(|| {
        assert!(ask(&on, &token).is_ok());
        (0..3).for_each(|_| assert!(on.verify_at(token.as_bytes(), NOW_MS).is_ok()));
    });
    assert_eq!((count, on.cached_tokens()), (4, 1));
}

// Fails if: limits that make no sense are taken.
#[test]
fn limits_are_checked_when_built() {
    let signer = Signer::hs256();
    let limits = |tokens, bytes| watched(signer.key()).cache_limits(tokens, bytes).build();
    for (tokens, bytes) in [
        (0, 1 << 20),
        (10_000_001, 1 << 20),
        (1, 0),
        (1, 16 * 1024 - 1),
    ] {
        assert_eq!(limits(tokens, bytes).unwrap_err().field(), "cache_limits");
    }
    for (tokens, bytes) in [(1, 16 * 1024), (10_000_000, 1 << 34)] {
        assert!(limits(tokens, bytes).is_ok());
    }
    let both = watched(signer.key()).cache_limits(1, 1 << 20).no_cache();
    assert_eq!(both.build().unwrap_err().field(), "no_cache");
}

// Fails if: a hit skips the check of `exp`, `nbf`, `iat` or of the longest life, or is off by a millisecond.
#[test]
fn r76_times_are_judged_on_every_hit() {
    let signer = Signer::hs256();
    let clock = Clock::settable(NOW_MS);
    let layer = watched(signer.key()).clock(clock.clone()).build().unwrap();
    let (ms, s) = (Duration::from_millis, Duration::from_secs);
    let life = 24 * 60 * 60;
    // Claims; how far forward it is still accepted, how far back, and what is said one millisecond beyond.
    let forward = [(with_exp(60), s(65) - ms(1), Why::Expired)];
    let back = [
        (
            claims(&format!(r#","nbf":{NOW_S}"#)),
            s(5),
            Why::NotYetValid,
        ),
        (
            claims(&format!(r#","iat":{NOW_S}"#)),
            s(5),
            Why::IssuedInTheFuture,
        ),
        (with_exp(life), s(5), Why::LivesTooLong),
    ];
    for (claims, last, why) in forward {
        let token = signer.with(&claims);
        let count = verifications(|| {
            assert!(ask(&layer, &token).is_ok());
            clock.advance(last);
            assert!(ask(&layer, &token).is_ok());
            clock.advance(ms(1));
            assert_eq!(ask(&layer, &token).unwrap_err(), Some(why));
        });
        set_back(&clock, last + ms(1));
        // An expired token is not kept.
        assert_eq!((count, layer.cached_tokens()), (1, 0));
    }
    for (claims, last, why) in back {
        let token = signer.with(&claims);
        let count = verifications(|| {
            assert!(ask(&layer, &token).is_ok());
            set_back(&clock, last);
            assert!(ask(&layer, &token).is_ok(), "{why:?}");
            set_back(&clock, ms(1));
            assert_eq!(ask(&layer, &token).unwrap_err(), Some(why));
            clock.advance(last + ms(1));
            assert!(ask(&layer, &token).is_ok());
        });
        assert_eq!(count, 1, "{why:?}");
    }
}

// Fails if: a hit outlives its key, the generations are not part of the name, or only those of the first issuer are.
#[test]
fn r77_a_replaced_key_takes_its_tokens_with_it() {
    let (old, new) = (Signer::hs256(), Signer::Hmac("HS256", vec![1; 32]));
    for second in [false, true] {
        let keys = KeySetHandle::new(set([(&old, "old"), (&new, "new")]));
        let other = KeySetHandle::new(set([(&Signer::Hmac("HS256", vec![2; 32]), "other")]));
        let issuer = "https://second.example";
        let layer = match second {
            false => watched(&keys).or_issuer(issuer, &other),
            true => watched(&other).issuer(issuer).or_issuer(ISS, &keys),
        };
        let layer = layer.build().unwrap();
        let (gone, stays) = (
            named(&old, "old", &claims("")),
            named(&new, "new", &claims("")),
        );
        let both = || [&gone, &stays].map(|token| ask(&layer, token).map(drop));
        assert_eq!(both(), [Ok(()), Ok(())]);
        assert_eq!(verifications(|| assert_eq!(both(), [Ok(()), Ok(())])), 0);

        keys.replace(set([(&new, "new")])).unwrap();
        let count = verifications(|| assert_eq!(both(), [Err(Some(Why::UnknownKey)), Ok(())]));
        // What the key that stays had verified is verified again, once, and the memory of the others is given back.
        assert_eq!((count, layer.cached_tokens()), (1, 1));

        // A key that comes back does not bring anything back that was filed under it.
        keys.replace(set([(&old, "old")])).unwrap();
        let count = verifications(|| assert_eq!(both(), [Ok(()), Err(Some(Why::UnknownKey))]));
        assert_eq!((count, layer.cached_tokens()), (1, 1));
    }
}

/// A token without a key id depends on the keys of every issuer: a second key of its algorithm makes the choice unclear.
// Fails if: only the generation of the token's own issuer is part of the name.
#[test]
fn r77_keys_of_other_issuers_count_as_well() {
    let signer = Signer::es256();
    let other = KeySetHandle::new(Signer::ed25519().key().into());
    let layer = watched(signer.key())
        .or_issuer("https://second.example", &other)
        .build()
        .unwrap();
    let token = signer.good();
    assert!(ask(&layer, &token).is_ok());
    other.replace(Signer::es256().key().into()).unwrap();
    assert_eq!(ask(&layer, &token).unwrap_err(), Some(Why::UnknownKey));
}

// Fails if: the generations are read after the verification.
#[test]
fn r77_keys_that_are_replaced_during_a_verification() {
    let (old, new) = (Signer::hs256(), Signer::Hmac("HS256", vec![1; 32]));
    let keys = KeySetHandle::new(set([(&old, "old")]));
    let layer = watched(&keys).build().unwrap();
    let token = named(&old, "old", &claims(""));
    let (handle, next) = (keys, set([(&new, "new")]));
    MEANWHILE.set(Some(Box::new(move || {
        handle.replace(next).unwrap();
    })));
    // The signature was good when it was looked at; that request may pass, and is the last one.
    assert!(ask(&layer, &token).is_ok());
    assert!(MEANWHILE.take().is_none());
    assert_eq!(ask(&layer, &token).unwrap_err(), Some(Why::UnknownKey));

    // The same, with somebody else who uses the new keys before the verification ends.
    let keys = KeySetHandle::new(set([(&old, "old")]));
    let layer = watched(&keys).build().unwrap();
    let fresh = named(&new, "new", &claims(""));
    let (handle, next, other) = (keys, set([(&new, "new")]), layer.clone());
    MEANWHILE.set(Some(Box::new(move || {
        handle.replace(next).unwrap();
        assert!(ask(&other, &fresh).is_ok());
    })));
    assert!(ask(&layer, &token).is_ok());
    assert_eq!(ask(&layer, &token).unwrap_err(), Some(Why::UnknownKey));
    assert_eq!(layer.cached_tokens(), 1, "what came too late is not filed");
}

// Fails if: a replacement that returned is not seen by every later request.
#[test]
fn r77_no_thread_accepts_a_key_after_it_was_replaced() {
    let (old, new) = (Signer::hs256(), Signer::Hmac("HS256", vec![1; 32]));
    let token = named(&old, "old", &claims(""));
    for _ in 0..200 {
        let keys = KeySetHandle::new(set([(&old, "old")]));
        let layer = watched(&keys).build().unwrap();
        let gone = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    loop {
                        let late = gone.load(Ordering::SeqCst);
                        let accepted = ask(&layer, &token).is_ok();
                        assert!(!(late && accepted), "accepted after its key was gone");
                        if late {
                            break;
                        }
                    }
                });
            }
            thread::yield_now();
            keys.replace(set([(&new, "new")])).unwrap();
            gone.store(true, Ordering::SeqCst);
        });
    }
}

// Fails if: layers share entries, or a hit skips the audience.
#[test]
fn r80_layers_share_nothing() {
    let signer = Signer::hs256();
    let keys = KeySetHandle::from(signer.key());
    let to = |audience: &str| {
        let layer = JwtVerifyLayer::<Watched>::new(&keys).issuer(ISS);
        let layer = layer.audience(audience).clock(Clock::settable(NOW_MS));
        layer.build().unwrap()
    };
    let token = |aud: &str| signer.with(&claims_with("aud", Some(aud)));
    let (a, b) = (to("a"), to("b"));
    let (for_a, for_b, for_both) = (token(r#""a""#), token(r#""b""#), token(r#"["a","b"]"#));
    for _ in 0..3 {
        assert!(ask(&a, &for_a).is_ok() && ask(&b, &for_b).is_ok());
        assert_eq!(ask(&b, &for_a).unwrap_err(), Some(Why::WrongAudience));
        assert_eq!(ask(&a, &for_b).unwrap_err(), Some(Why::WrongAudience));
    }
    let count = verifications(|| {
        assert!(ask(&a, &for_both).is_ok() && ask(&b, &for_both).is_ok());
        assert!(ask(&to("a"), &for_both).is_ok());
    });
    assert_eq!(count, 3);
}

// Fails if: scopes are judged only when a token is verified, or a token without them is refused by memory.
#[test]
fn r126_scopes_are_judged_on_every_hit() {
    let signer = Signer::hs256();
    let (with, without) = (signer.with(&claims(r#","scope":"a b""#)), signer.good());
    let layer = watched(signer.key()).scope("b").build().unwrap();
    let status = |layer: &JwtVerifyLayer<Watched>, token: &str| match ask(layer, token) {
        Ok(_) => 200,
        Err(None) => 403,
        Err(Some(_)) => 401,
    };
    let count = verifications(|| {
        for _ in 0..3 {
            assert_eq!(
                (status(&layer, &with), status(&layer, &without)),
                (200, 403)
            );
        }
    });
    assert_eq!(count, 2);

    let inside = |scope| {
        Stack::new(
            RequireScopeLayer::new(scope).unwrap(),
            crate::jwt_kit::layer(signer.key()),
        )
    };
    let (a, c) = (inside("a"), inside("c"));
    for _ in 0..3 {
        assert_eq!(now(send(&a, bearer(&with))).status, StatusCode::OK);
        assert_eq!(now(send(&c, bearer(&with))).status, StatusCode::FORBIDDEN);
    }
}

// Fails if: a hit turns an optional layer into one that wants a token, or passes a bad token as none.
#[test]
fn optional_stays_optional() {
    let signer = Signer::hs256();
    let layer = rules(signer.key()).optional().build().unwrap();
    for _ in 0..3 {
        let outcome = now(send(&layer, bearer(&signer.good())));
        assert!(outcome.called && outcome.token.is_some());
        let outcome = now(send(&layer, Request::builder()));
        assert!(outcome.called && outcome.token.is_none());
        assert!(!now(send(&layer, bearer("x"))).called);
    }
}

// Fails if: a refusal is remembered.
#[test]
fn a_refusal_is_not_remembered() {
    let signer = Signer::hs256();
    let clock = Clock::settable(NOW_MS);
    let layer = watched(signer.key()).clock(clock.clone()).build().unwrap();
    let early = signer.with(&claims(&format!(r#","nbf":{}"#, NOW_S + 10)));
    let forged = Signer::Hmac("HS256", vec![9; 32]).good();
    for _ in 0..2 {
        assert_eq!(ask(&layer, &early).unwrap_err(), Some(Why::NotYetValid));
        assert_eq!(ask(&layer, &forged).unwrap_err(), Some(Why::BadSignature));
    }
    assert_eq!(layer.cached_tokens(), 0);
    clock.advance(Duration::from_secs(5));
    assert!(ask(&layer, &early).is_ok());
}

// Fails if: a name covers a part of the token only: without the signature, say, or without the end.
#[test]
fn no_variation_of_a_remembered_token_is_a_hit() {
    let signer = Signer::hs256();
    let layer = watched(signer.key()).build().unwrap();
    let good = signer.good();
    assert!(ask(&layer, &good).is_ok());
    let count = verifications(|| {
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut changed = good.clone().into_bytes();
                changed[at] ^= 1 << bit;
                // What no header can carry never comes to the layer.
                let Ok(changed) = String::from_utf8(changed) else {
                    continue;
                };
                if http::HeaderValue::try_from(&changed).is_ok() && changed.trim() == changed {
                    assert!(ask(&layer, &changed).is_err(), "{at} {bit}");
                }
            }
            assert!(at == 0 || ask(&layer, &good[..at]).is_err());
        }
        for more in ["A", ".", "=", "A.A"] {
            assert!(ask(&layer, &format!("{good}{more}")).is_err());
            assert!(ask(&layer, &format!("{more}{good}")).is_err());
        }
    });
    assert_eq!((count, layer.cached_tokens()), (0, 1));
}

/// The order of P-256.
const N: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The other signature (r, n − s) of the same text.
fn twin(token: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0_i16;
    for at in (0..32).rev() {
        let digit = i16::from(N[at]) - i16::from(signature[32 + at]) - borrow;
        borrow = i16::from(digit < 0);
        signature[32 + at] = u8::try_from(digit + 256 * borrow).unwrap();
    }
    format!("{message}.{}", b64(signature))
}

// Fails if: the second spelling of an ECDSA signature is a hit without having been verified.
#[test]
fn the_twin_of_an_ecdsa_signature_is_verified_by_itself() {
    let signer = Signer::es256();
    let layer = watched(signer.key()).build().unwrap();
    let token = signer.good();
    let twin = twin(&token);
    assert_ne!(token, twin);
    let count = verifications(|| {
        for _ in 0..3 {
            let (one, other) = (ask(&layer, &token).unwrap(), ask(&layer, &twin).unwrap());
            assert_eq!(one.sub(), other.sub());
        }
    });
    assert_eq!((count, layer.cached_tokens()), (2, 2));
    // A bit more, and it is no signature.
    let bad = twin.replace(&twin[twin.len() - 10..], "AAAAAAAAAA");
    assert_eq!(ask(&layer, &bad).unwrap_err(), Some(Why::BadSignature));
}

fn numbered(signer: &Signer, number: usize, padding: usize) -> String {
    signer.with(&claims(&format!(
        r#","jti":"{number}","x":"{}""#,
        "x".repeat(padding)
    )))
}

// Fails if: the count is not bounded, in one part or in sixteen.
#[test]
fn no_more_tokens_are_remembered_than_the_limit() {
    let signer = Signer::hs256();
    for limit in [1, 10, 63, 200, 2_000] {
        let layer = watched(signer.key())
            .cache_limits(limit, 1 << 30)
            .build()
            .unwrap();
        for number in 0..limit + 300 {
            assert!(ask(&layer, &numbered(&signer, number, 0)).is_ok());
            assert!(layer.cached_tokens() <= limit);
        }
        // A part may be full before the others are.
        assert!(
            layer.cached_tokens() * 10 >= limit * 8,
            "{} of {limit}",
            layer.cached_tokens()
        );
    }
}

// Fails if: bytes are not counted, the claims are not counted with them, or one large token drives out all others.
#[test]
fn no_more_bytes_are_remembered_than_the_limit() {
    let signer = Signer::hs256();
    let layer = watched(signer.key())
        .cache_limits(10_000, 64 * 1024)
        .build()
        .unwrap();
    let most = |padding: usize| {
        for number in 0..300 {
            assert!(ask(&layer, &numbered(&signer, number, padding)).is_ok());
        }
        layer.cached_tokens()
    };
    let (small, large) = (most(0), most(4_000));
    assert!((40..150).contains(&small), "{small}");
    assert!((5..16).contains(&large), "{large}");

    let tight = watched(signer.key())
        .cache_limits(10_000, 16 * 1024)
        .max_token_size(64 * 1024)
        .build()
        .unwrap();
    let (small, huge) = (numbered(&signer, 0, 0), numbered(&signer, 1, 20_000));
    assert!(ask(&tight, &small).is_ok());
    let count = verifications(|| (0..3).for_each(|_| assert!(ask(&tight, &huge).is_ok())));
    assert_eq!((count, tight.cached_tokens()), (3, 1));
    assert_eq!(verifications(|| drop(ask(&tight, &small))), 0);
}

// Fails if: eviction takes the oldest, or the newest evicts what is in use.
#[test]
fn a_flood_of_tokens_does_not_drive_out_those_in_use() {
    let signer = Signer::hs256();
    let layer = watched(signer.key())
        .cache_limits(60, 1 << 20)
        .build()
        .unwrap();
    let hot: Vec<_> = (0..30).map(|number| numbered(&signer, number, 0)).collect();
    let use_all = || {
        hot.iter()
            .for_each(|token| drop(ask(&layer, token).unwrap()));
    };
    use_all();
    use_all();
    let count = verifications(|| {
        for number in 0..3_000 {
            assert!(ask(&layer, &numbered(&signer, 1_000 + number, 0)).is_ok());
            if number % 20 == 0 {
                use_all();
            }
        }
    });
    assert_eq!((count, layer.cached_tokens()), (3_000, 60));

    // And those that are not used any more do make room.
    for number in 0..300 {
        assert!(ask(&layer, &numbered(&signer, 9_000 + number, 0)).is_ok());
    }
    assert_eq!(verifications(use_all), 30);
}

// Fails if: the text of a token or what is inside of it is printed.
#[test]
fn r121_nothing_of_a_token_is_printed() {
    let signer = Signer::hs256();
    let layer = watched(signer.key()).build().unwrap();
    let token = signer.with(&claims(r#","jti":"the-jti","sid":"the-sid""#));
    let found = ask(&layer, &token).unwrap();
    assert_eq!(layer.cached_tokens(), 1);
    let printed = format!("{layer:#?} {found:#?} {:?}", layer.layer(inner()));
    let parts: HashSet<_> = token
        .split('.')
        .chain(["the-jti", "the-sid", "alice"])
        .collect();
    for part in parts {
        assert!(!printed.contains(part), "{part} in {printed}");
    }
}

// Fails if: a hit allocates anything but its place in the extensions.
#[test]
fn a_hit_costs_one_extension() {
    #[derive(Clone, Copy)]
    struct Already;

    for signer in Signer::all() {
        let hit = |build: fn(JwtVerifyBuilder<Watched>) -> JwtVerifyBuilder<Watched>, already| {
            let layer = build(watched(signer.key())).build().unwrap();
            let token = signer.with(&claims(r#","jti":"abcdefghijklmnopqrstuv","scope":"a b""#));
            assert!(ask(&layer, &token).is_ok());
            let mut service = layer.layer(service_fn(|_: Request<()>| {
                ready(Ok::<_, Infallible>(Response::new(Found::None)))
            }));
            let mut request = bearer(&token).body(()).unwrap();
            if already {
                request.extensions_mut().insert(Already);
            }
            let (count, response) = alloc::count(|| now(service.call(request)));
            assert_eq!(response.unwrap().status(), StatusCode::OK);
            count
        };
        assert_eq!(hit(|builder| builder, true), 1);
        assert_eq!(hit(|builder| builder.scope("a b"), true), 1);
        // The map and its table, where there were none.
        assert_eq!(hit(|builder| builder, false), 3);
        assert_eq!(hit(JwtVerifyBuilder::claims_extension, true), 2);
    }
}

// Fails if: more than two allocations are added to a request to an axum handler.
#[test]
fn a_hit_adds_two_allocations_to_axum() {
    use axum::{Router, body::Body, routing::get};

    let signer = Signer::hs256();
    let token = signer.good();
    let send = |router: &Router| {
        let request = bearer(&token).body(Body::empty()).unwrap();
        let (count, response) = alloc::count(|| now(router.clone().oneshot(request)));
        assert_eq!(response.unwrap().status(), StatusCode::OK);
        count
    };
    // `with_state` as a server does it: else axum makes its layers anew for every request.
    let bare = || Router::new().route("/", get(async || "hello"));
    let plain: Router = bare()
        .layer(tower::layer::util::Identity::new())
        .with_state(());
    let layer = watched(signer.key()).build().unwrap();
    let with: Router = bare().layer(layer.clone()).with_state(());
    for router in [&plain, &with] {
        send(router);
    }
    assert_eq!(layer.cached_tokens(), 1);
    // The token's place, and a larger table: axum's own three extensions fill the smallest one.
    assert_eq!(send(&with), send(&plain) + 2);
    // Beside a handler with no layer at all, also the two boxes that axum puts around any layer.
    assert_eq!(send(&with), send(&bare().with_state(())) + 4);
}

/// Something that happens to a service.
#[derive(Clone, Debug)]
enum Event {
    Request(usize),
    Forward(u64),
    Back(u64),
    Keys { second: bool, set: usize },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => (0..TOKENS).prop_map(Event::Request),
        1 => (0..40_000_u64).prop_map(Event::Forward),
        1 => (0..40_000_u64).prop_map(Event::Back),
        1 => (any::<bool>(), 0..5_usize).prop_map(|(second, set)| Event::Keys { second, set }),
    ];
    prop::collection::vec(event, 1..120)
}

const SECOND: &str = "https://second.example";
const TOKENS: usize = 2 * 4 * 7;

/// Three keys, each with tokens of either issuer, with and without a key id, of all lives.
fn pool(signers: &[Signer; 2]) -> Vec<String> {
    let mut tokens = Vec::new();
    for iss in [ISS, SECOND] {
        for (signer, kid) in [(0, Some("a")), (0, None), (1, Some("b")), (1, Some("a"))] {
            let kid = kid.map_or_else(String::new, |kid| format!(r#","kid":"{kid}""#));
            for times in [
                r#""exp":1800000060"#.to_owned(),
                format!(r#""exp":{}"#, NOW_S + 10),
                format!(r#""exp":{},"nbf":{}"#, NOW_S + 60, NOW_S - 10),
                format!(r#""exp":{},"nbf":{}"#, NOW_S + 60, NOW_S + 10),
                format!(r#""exp":{},"iat":{}"#, NOW_S + 60, NOW_S),
                format!(r#""exp":{}"#, NOW_S + 24 * 60 * 60),
                format!(r#""exp":{}"#, NOW_S - 60),
            ] {
                let claims = format!(r#"{{"iss":"{iss}","sub":"u","aud":"{AUD}",{times}}}"#);
                tokens.push(signers[signer].token(&signers[signer].header(&kid), &claims));
            }
        }
    }
    tokens
}

/// The sets that keys are replaced by.
fn sets(signers: &[Signer; 2]) -> [KeySet; 5] {
    let [one, two] = signers;
    [
        set([(one, "a")]),
        set([(two, "b")]),
        set([(one, "a"), (two, "b")]),
        set([(two, "a")]),
        one.key().into(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 300, ..ProptestConfig::default() })]

    /// A layer with a memory answers as one without, whatever happens.
    // Fails if: any of the rules above is broken.
    #[test]
    fn memory_changes_no_answer(events in events()) {
        let signers = [Signer::hs256(), Signer::Hmac("HS256", vec![1; 32])];
        let (tokens, sets) = (pool(&signers), sets(&signers));
        prop_assert_eq!(tokens.len(), TOKENS);
        let handles = [0, 1].map(|set| KeySetHandle::new(sets[set].clone()));
        let clock = Clock::settable(NOW_MS);
        let build = |with: fn(JwtVerifyBuilder<Watched>) -> JwtVerifyBuilder<Watched>| {
            let rules = watched(&handles[0]).or_issuer(SECOND, &handles[1]);
            with(rules.clock(clock.clone())).build().unwrap()
        };
        let without = build(JwtVerifyBuilder::no_cache);
        let with = [build(|builder| builder), build(|builder| builder.cache_limits(3, 1 << 20))];
        for event in events {
            match event {
                Event::Request(token) => {
                    let answer = |layer| ask(layer, &tokens[token]).map(|token| {
                        (token.iss().to_owned(), token.issuer_index(), token.exp_ms(), token.nbf_ms())
                    });
                    let expected = answer(&without);
                    for layer in &with {
                        prop_assert_eq!(answer(layer), expected.clone());
                    }
                }
                Event::Forward(by) => clock.advance(Duration::from_millis(by)),
                Event::Back(by) => set_back(&clock, Duration::from_millis(by)),
                Event::Keys { second, set } => {
                    handles[usize::from(second)].replace(sets[set].clone()).unwrap();
                }
            }
            prop_assert!(with[1].cached_tokens() <= 3);
        }
    }
}

/// The claims that a layer found, wherever code looks for them.
// Fails if: claims of the nearest layer are hidden by those of another, or the extension is there unasked.
#[test]
fn claims_are_found_in_the_token() {
    #[derive(Deserialize)]
    struct Mine {
        x: u8,
    }

    let signer = Signer::hs256();
    let layer = |header: &str, extension: bool| {
        let layer = JwtVerifyLayer::<Mine>::new(signer.key())
            .issuer(ISS)
            .audience(AUD);
        let layer = layer
            .header(header)
            .clock(Clock::settable(NOW_MS))
            .optional();
        let layer = if extension {
            layer.claims_extension()
        } else {
            layer
        };
        layer.build().unwrap()
    };
    let look = |outer_asks: bool, headers: &[(&str, u8)]| {
        let service = service_fn(|request: Request<()>| {
            let extensions = request.extensions();
            let x = Claims::<Mine>::of(extensions).map(|claims| claims.x);
            assert!(Claims::<u8>::of(extensions).is_none());
            ready(Ok::<_, Infallible>(Response::new((
                x,
                extensions.get::<Claims<Mine>>().map(|claims| claims.x),
            ))))
        });
        let watched = watched(signer.key())
            .header("w")
            .optional()
            .build()
            .unwrap();
        let service =
            layer("outer", outer_asks).layer(layer("inner", false).layer(watched.layer(service)));
        let request = headers
            .iter()
            .fold(Request::builder(), |request, (name, x)| {
                request.header(*name, signer.with(&claims(&format!(r#","x":{x}"#))))
            });
        now(service.oneshot(request.body(()).unwrap()))
            .unwrap()
            .into_body()
    };
    assert_eq!(look(false, &[]), (None, None));
    assert_eq!(look(false, &[("outer", 1)]), (Some(1), None));
    assert_eq!(look(true, &[("outer", 1)]), (Some(1), Some(1)));
    assert_eq!(
        look(true, &[("outer", 1), ("inner", 2)]),
        (Some(2), Some(1))
    );
    assert_eq!(
        look(false, &[("outer", 1), ("inner", 2), ("w", 3)]),
        (Some(2), None)
    );
    assert_eq!(look(false, &[("w", 3)]), (None, None));

    let mut by_hand = http::Extensions::new();
    by_hand.insert(Claims::new(Mine { x: 7 }));
    assert_eq!(Claims::<Mine>::of(&by_hand).map(|claims| claims.x), Some(7));
}
