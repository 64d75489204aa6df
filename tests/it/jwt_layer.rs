//! What a request meets at the layer: the requirements 80 to 85, 125, 126, 130 and 132, and the issuer.

use std::{error::Error, time::Duration};

use http::{Request, StatusCode};
use portcullis::{
    Clock, Refused, Rejection, RejectionKind,
    jwt::{
        Claims, Grant, Issuer, JwtAlgorithm, JwtErrorKind as Why, JwtKey, JwtVerifyLayer, KeySet,
        KeySetHandle, NoClaims, RequireScopeLayer, SigningKey, StepUpLayer, SubjectKind,
        VerifiedToken,
    },
};
use serde::Deserialize;
use tower::layer::util::Stack;

use crate::jwt_kit::*;

/// `inner` around the probe, `outer` around both.
fn stack<I, O>(inner: I, outer: O) -> Stack<I, O> {
    Stack::new(inner, outer)
}

fn challenge(outcome: &Outcome) -> &str {
    outcome.headers["www-authenticate"].to_str().unwrap()
}

#[test]
fn r80_layers_with_other_rules_have_other_fingerprints() {
    let signer = Signer::hs256();
    let keys = KeySetHandle::from(signer.key());
    let fingerprint = |build: &dyn Fn() -> portcullis::jwt::JwtVerifyBuilder<NoClaims>| {
        build().build().unwrap().fingerprint()
    };
    let base = || rules(&keys);
    let all = [
        fingerprint(&base),
        fingerprint(&|| base().audience("b")),
        fingerprint(&|| base().audience("b").audience("c")),
        fingerprint(&|| base().audience("bc")),
        fingerprint(&|| base().issuer("https://b.example")),
        fingerprint(&|| base().or_issuer("https://b.example", Signer::hs256().key())),
        fingerprint(&|| base().typ("JWT")),
        fingerprint(&|| base().insecure_any_typ()),
        fingerprint(&|| base().leeway(Duration::from_secs(1))),
        fingerprint(&|| base().max_token_life(Duration::from_secs(1))),
        fingerprint(&|| base().max_token_size(1024)),
        fingerprint(&|| base().subject_optional()),
        fingerprint(&|| base().tenant_claim("tid")),
        fingerprint(&|| base().insecure_ignore_confirmation()),
        JwtVerifyLayer::<Mine>::new(&keys)
            .issuer(ISS)
            .audience(AUD)
            .leeway(Duration::ZERO)
            .build()
            .unwrap()
            .fingerprint(),
    ];
    for (at, one) in all.iter().enumerate() {
        assert!(!all[..at].contains(one), "{at}");
    }
    assert_eq!(fingerprint(&base), all[0]);
}

#[test]
fn r81_credentials_come_one_way() {
    let signer = Signer::hs256();
    let good = signer.good();
    let header = || bearer(&good);
    let layer = rules(signer.key()).bearer().cookie("at").build().unwrap();
    assert_eq!(now(send(&layer, header())).status, StatusCode::OK);
    let cookie = |request: http::request::Builder| {
        request.header("cookie", format!("a=\u{e9}; at={good}; b=2"))
    };
    assert_eq!(
        now(send(&layer, cookie(Request::builder()))).status,
        StatusCode::OK
    );
    for two in [
        header().header("authorization", format!("Bearer {good}")),
        header().header("authorization", "Basic x"),
        cookie(header()),
        Request::builder().header("authorization", "Bearer"),
    ] {
        let outcome = now(send(&layer, two));
        assert_eq!(
            (outcome.status, outcome.called),
            (StatusCode::BAD_REQUEST, false)
        );
        assert_eq!(
            challenge(&outcome),
            r#"Bearer realm="api", error="invalid_request""#
        );
    }
    // A named place replaces the default.
    let cookie_only = rules(signer.key()).cookie("at").build().unwrap();
    assert_eq!(
        now(send(&cookie_only, header())).status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        now(send(&cookie_only, cookie(Request::builder()))).status,
        StatusCode::OK
    );
    let own_header = rules(signer.key()).header("x-token").build().unwrap();
    assert_eq!(
        now(send(
            &own_header,
            Request::builder().header("x-token", &good)
        ))
        .status,
        StatusCode::OK
    );
    let own = rules(signer.key())
        .source(|head| head.uri.query().map(Into::into))
        .build()
        .unwrap();
    assert_eq!(
        now(send(&own, Request::builder().uri(format!("/?{good}")))).status,
        StatusCode::OK
    );
    for (builder, field) in [
        (rules(signer.key()).cookie("a b"), "cookie"),
        (rules(signer.key()).cookie(""), "cookie"),
        (rules(signer.key()).header("a b"), "header"),
    ] {
        assert_eq!(builder.build().unwrap_err().field(), field);
    }
}

#[test]
fn r82_challenges_are_those_of_rfc_6750() {
    let signer = Signer::hs256();
    let outcome = now(send(&layer(signer.key()), Request::builder()));
    assert_eq!(
        (outcome.status, outcome.called),
        (StatusCode::UNAUTHORIZED, false)
    );
    assert_eq!(challenge(&outcome), r#"Bearer realm="api""#);
    let outcome = now(send(
        &layer(signer.key()),
        Request::builder().header("authorization", "Basic dTpw"),
    ));
    assert_eq!(challenge(&outcome), r#"Bearer realm="api""#);

    let layer = rules(signer.key()).realm("orders").build().unwrap();
    assert_eq!(
        challenge(&now(send(&layer, Request::builder()))),
        r#"Bearer realm="orders""#
    );
    assert!(
        challenge(&now(send(&layer, bearer("x"))))
            .starts_with(r#"Bearer realm="orders", error="invalid_token""#)
    );

    let grpc = |request: http::request::Builder| request.header("content-type", "application/grpc");
    let outcome = now(send(&layer, grpc(bearer("x"))));
    assert_eq!(
        (
            outcome.status,
            outcome.headers["grpc-status"].to_str().unwrap()
        ),
        (StatusCode::OK, "16")
    );
    assert!(!outcome.called);
}

#[test]
fn r83_scopes_are_all_needed() {
    let signer = Signer::hs256();
    let layer = rules(signer.key()).scope("read write").build().unwrap();
    let with = |more: &str| bearer(&signer.with(&claims(more)));
    for more in [
        r#","scope":"read write""#,
        r#","scope":"x write  y read""#,
        r#","scp":["write","read"]"#,
        r#","scp":"read write""#,
        r#","scope":["read","write"]"#,
    ] {
        assert_eq!(
            now(send(&layer, with(more))).status,
            StatusCode::OK,
            "{more}"
        );
    }
    for more in [
        "",
        r#","scope":"""#,
        r#","scope":"read""#,
        r#","scope":"read writer""#,
        r#","scope":"READ WRITE""#,
        r#","scope":"read,write""#,
        r#","scp":[]"#,
        r#","scope":"read","scp":["write"]"#,
    ] {
        let outcome = now(send(&layer, with(more)));
        assert_eq!(
            (outcome.status, outcome.called),
            (StatusCode::FORBIDDEN, false),
            "{more}"
        );
        assert_eq!(
            challenge(&outcome),
            r#"Bearer realm="api", error="insufficient_scope", scope="read write""#
        );
    }
    for more in [
        r#","scope":1"#,
        r#","scope":null"#,
        r#","scp":["read write"]"#,
        r#","scp":["read",""]"#,
        r#","scp":{"read":1}"#,
    ] {
        assert_eq!(
            now(send(&layer, with(more))).cause,
            Some(Why::InvalidClaim),
            "{more}"
        );
    }
    for scope in ["", " ", "a  b", "a b ", "a\"b", "é"] {
        assert_eq!(
            rules(signer.key())
                .scope(scope)
                .build()
                .unwrap_err()
                .field(),
            "scope",
            "{scope:?}"
        );
    }
    // It would not be enforced for those who come without a token.
    assert_eq!(
        rules(signer.key())
            .scope("a")
            .optional()
            .build()
            .unwrap_err()
            .field(),
        "scope"
    );
}

#[test]
fn r83_r126_single_routes_need_scopes() {
    let signer = Signer::hs256();
    let scope = RequireScopeLayer::new("write").unwrap();
    let optional = rules(signer.key()).optional().build().unwrap();
    let status = |request| {
        now(send(&stack(scope.clone(), optional.clone()), request))
            .status
            .as_u16()
    };
    assert_eq!(
        status(bearer(&signer.with(&claims(r#","scope":"write""#)))),
        200
    );
    assert_eq!(status(bearer(&signer.good())), 403);
    assert_eq!(status(Request::builder()), 401);

    // Outside of every layer that verifies: refused, and the log is told how to mend it.
    let outcome = now(send(&scope, bearer(&signer.good())));
    assert_eq!(
        (outcome.status, outcome.called),
        (StatusCode::INTERNAL_SERVER_ERROR, false)
    );
    assert!(!outcome.body.contains("JwtVerifyLayer"));
    let misplaced = stack(optional.clone(), scope.clone());
    assert_eq!(
        now(send(&misplaced, bearer(&signer.good()))).status,
        StatusCode::INTERNAL_SERVER_ERROR
    );
}

#[test]
fn r25_r83_some_routes_want_a_recent_or_a_strong_login() {
    let signer = Signer::hs256();
    let clock = Clock::settable(NOW_MS);
    let recent = StepUpLayer::within(Duration::from_secs(300)).clock(clock);
    let strong = recent.clone().acr_values("gold urn:mfa").unwrap();
    let outcome = |layer: &StepUpLayer, more: &str| {
        now(send(
            &stack(layer.clone(), crate::jwt_kit::layer(signer.key())),
            bearer(&signer.with(&claims(more))),
        ))
    };
    let at = |name: &str, value: u64| format!(r#","{name}":{value}"#);
    for more in [
        at("auth_time", NOW_S - 300),
        at("auth_time", NOW_S + 5),
        at("auth_ms", NOW_MS - 300_000),
        at("auth_ms", NOW_MS - 300_000) + &at("auth_time", NOW_S),
    ] {
        assert_eq!(outcome(&recent, &more).status, StatusCode::OK, "{more}");
        let outcome = outcome(&strong, &more);
        assert_eq!(
            (outcome.status, outcome.called),
            (StatusCode::UNAUTHORIZED, false)
        );
        assert_eq!(
            challenge(&outcome),
            r#"Bearer realm="api", error="insufficient_user_authentication", acr_values="gold urn:mfa", max_age="300""#
        );
    }
    for more in [
        String::new(),
        at("iat", NOW_S),
        at("auth_time", NOW_S - 301),
        at("auth_ms", NOW_MS - 300_001),
        // `auth_ms` moves when the user signs other devices out, which proves nothing.
        at("auth_ms", NOW_MS) + &at("auth_time", NOW_S - 9_000),
    ] {
        let outcome = outcome(&recent, &more);
        assert_eq!(
            (outcome.status, outcome.called),
            (StatusCode::UNAUTHORIZED, false),
            "{more}"
        );
        assert_eq!(
            challenge(&outcome),
            r#"Bearer realm="api", error="insufficient_user_authentication", max_age="300""#
        );
    }
    let with = |acr: &str| at("auth_ms", NOW_MS) + &format!(r#","acr":"{acr}""#);
    assert_eq!(outcome(&strong, &with("gold")).status, StatusCode::OK);
    assert_eq!(outcome(&strong, &with("urn:mfa")).status, StatusCode::OK);
    for acr in ["", "go", "gold urn:mfa", "GOLD", "golden"] {
        assert_eq!(
            outcome(&strong, &with(acr)).status,
            StatusCode::UNAUTHORIZED,
            "{acr}"
        );
    }
    for values in ["", "a  b"] {
        assert!(recent.clone().acr_values(values).is_err());
    }
    let misplaced = now(send(&recent, bearer(&signer.good())));
    assert_eq!(misplaced.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[test]
fn r84_a_bound_token_is_no_bearer_token() {
    let signer = Signer::hs256();
    for cnf in [
        r#"{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}"#,
        r#"{"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}"#,
        "{}",
        "null",
    ] {
        let token = signer.with(&claims(&format!(r#","cnf":{cnf}"#)));
        refused(&layer(signer.key()), &token, Why::SenderConstrained);
        accepted(
            &rules(signer.key())
                .insecure_ignore_confirmation()
                .build()
                .unwrap(),
            &token,
        );
    }
}

#[test]
fn optional_is_not_lenient() {
    let signer = Signer::hs256();
    let layer = rules(signer.key()).optional().build().unwrap();
    let outcome = now(send(&layer, Request::builder()));
    assert!(outcome.called && outcome.token.is_none());
    let outcome = now(send(&layer, bearer(&signer.good())));
    assert!(outcome.called && outcome.token.is_some());
    for bad in [
        bearer("x"),
        bearer(&signer.with(&claims_with("exp", Some("1")))),
        Request::builder().header("authorization", "Bearer"),
    ] {
        let outcome = now(send(&layer, bad));
        assert!(!outcome.called && outcome.status.is_client_error());
    }
}

/// Every one of several issuers: one layer for each, looking in different places.
#[test]
fn stacked_layers_each_want_their_token() {
    let (user, workload) = (Signer::es256(), Signer::es256());
    let outer = rules(workload.key())
        .issuer("https://mesh.example")
        .header("x-workload")
        .build()
        .unwrap();
    let both = stack(layer(user.key()), outer);
    let workload_token = workload.with(&claims_with("iss", Some(r#""https://mesh.example""#)));
    let outcome = now(send(
        &both,
        bearer(&user.good()).header("x-workload", &workload_token),
    ));
    assert_eq!(outcome.token.expect("the nearest layer's token").iss(), ISS);
    assert_eq!(
        now(send(&both, bearer(&user.good()))).status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        now(send(
            &both,
            Request::builder().header("x-workload", &workload_token)
        ))
        .status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        now(send(
            &both,
            bearer(&workload_token).header("x-workload", user.good())
        ))
        .status,
        StatusCode::UNAUTHORIZED
    );
}

#[derive(Deserialize)]
struct Mine {
    email: String,
    admin: Option<bool>,
}

#[test]
fn claims_are_typed_and_shared() {
    let signer = Signer::hs256();
    let layer = JwtVerifyLayer::<Mine>::new(signer.key())
        .issuer(ISS)
        .audience(AUD)
        .build()
        .unwrap();
    let verify = |more: &str| layer.verify_at(signer.with(&claims(more)).as_bytes(), NOW_MS);
    let (_, claims) = verify(r#","email":"a@b.example","admin":true"#).unwrap();
    assert_eq!(
        (claims.email.as_str(), claims.clone().admin),
        ("a@b.example", Some(true))
    );
    for more in ["", r#","email":1"#, r#","email":"a","admin":"yes""#] {
        assert_eq!(
            verify(more).map(|_| ()).unwrap_err().kind(),
            Why::ClaimsShape
        );
    }
    // Not even a claims type that fails says more than 401 to a client.
    assert!(matches!(
        verify(r#","email":"a","email":"b""#)
            .map(|_| ())
            .unwrap_err()
            .kind(),
        Why::DuplicateMember
    ));
}

#[test]
fn r125_a_client_is_not_the_user_of_its_name() {
    let signer = Signer::hs256();
    let layer = layer(signer.key());
    let kind = |more: &str| {
        let token = accepted(&layer, &signer.with(&claims(more)));
        assert_eq!(token.sub(), Some("alice"));
        assert_eq!(token.user().is_some(), token.kind() == SubjectKind::User);
        token.kind()
    };
    for more in [
        r#","client_id":"alice""#,
        r#","azp":"alice""#,
        r#","client_id":"web","azp":"alice""#,
        r#","gty":"client-credentials""#,
        r#","gty":["client-credentials"]"#,
    ] {
        assert_eq!(kind(more), SubjectKind::Client, "{more}");
    }
    for more in [
        "",
        r#","client_id":"web""#,
        r#","azp":"web""#,
        r#","client_id":"Alice""#,
        r#","gty":"password""#,
    ] {
        assert_eq!(kind(more), SubjectKind::User, "{more}");
    }
    let mapped = rules(signer.key())
        .subject_kind(|_| SubjectKind::Client)
        .build()
        .unwrap();
    assert_eq!(accepted(&mapped, &signer.good()).user(), None);
}

#[test]
fn r130_authorization_details_absent_is_not_empty() {
    let signer = Signer::hs256();
    let layer = layer(signer.key());
    let token =
        |details: &str| signer.with(&claims(&format!(r#","authorization_details":{details}"#)));
    assert!(
        accepted(&layer, &signer.good())
            .authorization_details()
            .is_none()
    );
    assert_eq!(
        accepted(&layer, &token("[]"))
            .authorization_details()
            .map(<[_]>::len),
        Some(0)
    );
    let payment = accepted(
        &layer,
        &token(r#"[{"type":"payment","amount":"12.30"},{"amount":1,"type":"x"}]"#),
    );
    let [first, second] = payment.authorization_details().unwrap() else {
        panic!("two entries")
    };
    #[derive(Deserialize)]
    struct Payment {
        amount: String,
    }
    assert_eq!(
        (
            first.type_name(),
            first.read::<Payment>().unwrap().amount.as_str()
        ),
        ("payment", "12.30")
    );
    assert!(second.read::<Payment>().is_err());
    for bad in [
        "null",
        "{}",
        r#""payment""#,
        "[1]",
        "[{}]",
        r#"[{"type":1}]"#,
        r#"[{"type":"a"},{}]"#,
        "[[]]",
    ] {
        refused(&layer, &token(bad), Why::InvalidClaim);
    }
}

#[test]
fn r132_the_subject_is_a_string() {
    let signer = Signer::hs256();
    let strict = layer(signer.key());
    refused(
        &strict,
        &signer.with(&claims_with("sub", None)),
        Why::MissingClaim,
    );
    let optional = rules(signer.key()).subject_optional().build().unwrap();
    let token = accepted(&optional, &signer.with(&claims_with("sub", None)));
    assert_eq!(
        (token.sub(), token.user(), token.kind()),
        (None, None, SubjectKind::Client)
    );
    for layer in [&strict, &optional] {
        for sub in ["1", "null", "true", r#"["alice"]"#, "{}", r#""""#] {
            refused(
                layer,
                &signer.with(&claims_with("sub", Some(sub))),
                Why::InvalidClaim,
            );
        }
    }
}

#[test]
fn ids_are_strings_and_not_empty() {
    let signer = Signer::hs256();
    let layer = rules(signer.key()).tenant_claim("tid").build().unwrap();
    let token = accepted(&layer, &signer.with(&claims(r#","jti":"j","sid":"s","tid":"t","tenant":7,"acr":"gold","client_id":"web","nbf":1799999999,"auth_time":1799999000"#)));
    assert_eq!(
        (token.jti(), token.sid(), token.tenant(), token.acr()),
        (Some("j"), Some("s"), Some("t"), Some("gold"))
    );
    assert_eq!(
        (token.client_id(), token.nbf_ms(), token.auth_ms()),
        (Some("web"), Some(1_799_999_999_000), None)
    );
    assert_eq!(token.auth_time_ms(), Some(1_799_999_000_000));
    for name in ["jti", "sid", "tid", "client_id"] {
        for value in [r#""""#, "1", "null", "[]"] {
            refused(
                &layer,
                &signer.with(&claims(&format!(r#","{name}":{value}"#))),
                Why::InvalidClaim,
            );
        }
    }
    for name in ["", "sub", "exp"] {
        assert_eq!(
            rules(signer.key())
                .tenant_claim(name)
                .build()
                .unwrap_err()
                .field(),
            "tenant_claim"
        );
    }
}

#[test]
fn a_responder_of_ones_own_sees_why() {
    let signer = Signer::hs256();
    let layer = layer(signer.key()).refuse_with(|_: &Refused, rejection: &Rejection| {
        let mut response = http::Response::new(
            rejection
                .source()
                .map(ToString::to_string)
                .unwrap_or_default(),
        );
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    });
    let outcome = now(send(
        &layer,
        bearer(&signer.with(&claims_with("exp", Some("1")))),
    ));
    assert_eq!(
        (outcome.status, outcome.body.as_str()),
        (StatusCode::IM_A_TEAPOT, "the token has expired")
    );
    let rejection = Rejection::new(RejectionKind::InvalidToken);
    assert!(rejection.source().is_none());
}

#[test]
fn nothing_printed_shows_a_secret() {
    let secret = "correct horse battery staple, and then some more";
    let signing = SigningKey::secret(JwtAlgorithm::Hs256, secret)
        .unwrap()
        .kid("k")
        .unwrap();
    let keys = KeySetHandle::from(signing.verification_key());
    let builder = rules(&keys);
    let building = format!("{builder:?}");
    let layer = builder.build().unwrap();
    let issuer = Issuer::new(signing.clone(), ISS).audience(AUD);
    let issuing = format!("{issuer:?}");
    let issuer = issuer.build().unwrap();
    let minted = issuer
        .mint_at(&Grant::user("alice").sid("session-7"), NOW_MS)
        .unwrap();
    let (token, _) = layer.verify_at(minted.token().as_bytes(), NOW_MS).unwrap();
    let printed = format!(
        "{building} {layer:?} {keys:?} {signing:?} {issuing} {issuer:?} {minted:?} {token:#?} {:?}",
        signing.verification_key()
    );
    for hidden in [
        secret,
        "correct",
        "session-7",
        minted.token(),
        minted.jti(),
        "67, 111, 114",
    ] {
        assert!(!printed.contains(hidden), "{hidden} in {printed}");
    }
}

#[test]
fn r85_what_the_issuer_mints_the_layer_verifies() {
    let rsa = pem("PRIVATE KEY", rsa_pkcs8());
    let signers = [
        SigningKey::secret(JwtAlgorithm::Hs256, SECRET).unwrap(),
        SigningKey::generate(JwtAlgorithm::Hs512).unwrap(),
        SigningKey::generate(JwtAlgorithm::Es256).unwrap(),
        SigningKey::generate(JwtAlgorithm::Es384).unwrap(),
        SigningKey::generate(JwtAlgorithm::EdDsa).unwrap(),
        SigningKey::from_pem(JwtAlgorithm::Rs256, &rsa).unwrap(),
        SigningKey::from_pem(JwtAlgorithm::Ps384, &rsa).unwrap(),
        SigningKey::from_pem(
            JwtAlgorithm::Es256,
            rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
                .unwrap()
                .serialize_pem(),
        )
        .unwrap(),
        SigningKey::from_pem(
            JwtAlgorithm::EdDsa,
            rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)
                .unwrap()
                .serialize_pem(),
        )
        .unwrap(),
    ];
    for signer in signers {
        let signer = signer.kid("2026-11").unwrap();
        let layer = layer(KeySet::new([signer.verification_key()]).unwrap());
        let issuer = Issuer::new(signer, ISS)
            .audience(AUD)
            .lifetime(Duration::from_secs(300))
            .build()
            .unwrap();
        let grant = Grant::user("alice")
            .client_id("web")
            .sid("s")
            .tenant("t")
            .scope("a b")
            .auth_ms(NOW_MS - 5)
            .claim("email", "a@b.example");
        let minted = issuer.mint_at(&grant, NOW_MS + 999).unwrap();
        let token = accepted(&layer, minted.token());
        assert_eq!(
            (token.user(), token.client_id(), token.sid(), token.tenant()),
            (Some("alice"), Some("web"), Some("s"), Some("t"))
        );
        assert_eq!(
            (token.iat_ms(), token.exp_ms(), token.auth_ms()),
            (Some(NOW_MS), NOW_MS + 300_000, Some(NOW_MS - 5))
        );
        assert_eq!(
            (token.jti(), minted.expires_in(), token.has_scopes("b a")),
            (Some(minted.jti()), 300, true)
        );
        assert_eq!(minted.jti().len(), 22);
        let again = issuer.mint_at(&grant, NOW_MS).unwrap();
        assert_ne!(again.jti(), minted.jti());
        let client = issuer.mint_at(&Grant::client("cron"), NOW_MS).unwrap();
        assert_eq!(accepted(&layer, client.token()).kind(), SubjectKind::Client);
    }
}

/// The bytes of a minted token, read by hand.
#[test]
fn r85_the_issuers_tokens_are_those_of_rfc_9068() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    let key = SigningKey::secret(JwtAlgorithm::Hs256, &SECRET[..32])
        .unwrap()
        .kid("k")
        .unwrap();
    let issuer = Issuer::new(key, ISS)
        .audience("a")
        .audience("b")
        .clock(Clock::settable(NOW_MS))
        .build()
        .unwrap();
    let minted = issuer.mint(&Grant::user("alice").claim("x", 1)).unwrap();
    let parts: Vec<_> = minted.token().split('.').collect();
    let json = |part: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    assert_eq!(
        json(parts[0]),
        r#"{"alg":"HS256","typ":"at+jwt","kid":"k"}"#
    );
    let expected = format!(
        r#"{{"iss":"{ISS}","sub":"alice","aud":["a","b"],"iat":{NOW_S},"exp":{},"jti":"{}","auth_ms":{NOW_MS},"x":1}}"#,
        NOW_S + 600,
        minted.jti()
    );
    assert_eq!(json(parts[1]), expected);
    assert_eq!(
        parts[2],
        b64(hmac(
            "HS256",
            &SECRET[..32],
            format!("{}.{}", parts[0], parts[1]).as_bytes()
        ))
    );
}

#[test]
fn r85_an_issuer_needs_an_audience() {
    let builder = || Issuer::new(SigningKey::generate(JwtAlgorithm::EdDsa).unwrap(), ISS);
    assert_eq!(builder().build().unwrap_err().field(), "audience");
    assert!(builder().audience("").build().is_err());
    for lifetime in [
        Duration::ZERO,
        Duration::from_millis(999),
        Duration::from_secs(86_401),
    ] {
        assert_eq!(
            builder()
                .audience("a")
                .lifetime(lifetime)
                .build()
                .unwrap_err()
                .field(),
            "lifetime"
        );
    }
    let issuer = builder().audience("a").build().unwrap();
    for grant in [
        Grant::user(""),
        Grant::user("a").sid(""),
        Grant::client(""),
        Grant::user("a").claim("exp", 1),
        Grant::user("a").claim("aud", "b"),
        Grant::user("a").claim("nbf", 1),
        Grant::user("a").claim("cnf", 1),
        Grant::user("a").claim("x", "y".repeat(9000)),
    ] {
        assert!(issuer.mint_at(&grant, NOW_MS).is_err());
    }
}

#[test]
fn r85_signing_keys_are_checked_when_loaded() {
    let es = Signer::es256();
    let ec_private = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
        .unwrap()
        .serialize_pem();
    for (algorithm, text) in [
        (JwtAlgorithm::Es384, ec_private.clone()),
        (JwtAlgorithm::EdDsa, ec_private.clone()),
        (JwtAlgorithm::Rs256, ec_private.clone()),
        (JwtAlgorithm::Hs256, ec_private.clone()),
        (JwtAlgorithm::Es256, es.public_pem()),
        (JwtAlgorithm::Es256, pem("PRIVATE KEY", rsa_pkcs8())),
        (JwtAlgorithm::Es256, "nothing".to_owned()),
        (
            JwtAlgorithm::Es256,
            ec_private.replace("PRIVATE KEY", "EC PRIVATE KEY"),
        ),
    ] {
        assert!(
            SigningKey::from_pem(algorithm, &text).is_err(),
            "{algorithm} {text}"
        );
    }
    assert!(SigningKey::secret(JwtAlgorithm::Hs256, [1; 31]).is_err());
    assert!(SigningKey::secret(JwtAlgorithm::Es256, [1; 64]).is_err());
    assert!(SigningKey::generate(JwtAlgorithm::Rs256).is_err());
    assert!(
        JwtKey::from_pem(JwtAlgorithm::Es256, &ec_private)
            .unwrap_err()
            .to_string()
            .contains("private")
    );
}

#[test]
fn promises_to_the_compiler() {
    fn shared<T: Send + Sync + Clone + std::fmt::Debug>() {}
    shared::<JwtVerifyLayer<NoClaims>>();
    shared::<RequireScopeLayer>();
    shared::<StepUpLayer>();
    shared::<KeySetHandle>();
    shared::<KeySet>();
    shared::<JwtKey>();
    shared::<SigningKey>();
    shared::<Issuer>();
    shared::<VerifiedToken>();
    shared::<Claims<NoClaims>>();
}
