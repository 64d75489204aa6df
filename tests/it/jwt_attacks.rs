//! The attack table: every line of the requirements 56 to 76 with tokens made here, and beside each refusal the nearest
//! token that must be accepted, so that no line passes because everything is refused.

use std::{net::TcpListener, time::Duration};

use portcullis::jwt::{
    JwtAlgorithm, JwtErrorKind as Why, JwtKey, JwtVerifyLayer, KeySet, KeySetHandle, NoClaims,
    SubjectKind,
};

use crate::jwt_kit::*;

#[test]
fn every_algorithm_accepts_its_own_tokens() {
    for signer in Signer::all() {
        let layer = layer(signer.key());
        let token = accepted(&layer, &signer.good());
        assert_eq!(
            (token.iss(), token.user()),
            (ISS, Some("alice")),
            "{}",
            signer.alg()
        );
        // The same key as a JWK, and as DER.
        let keys =
            KeySet::from_jwks(format!(r#"{{"keys":[{}]}}"#, signer.jwk(r#","kid":"k""#))).unwrap();
        accepted(
            &rules(keys).build().unwrap(),
            &signer.under(&signer.header(r#","kid":"k""#)),
        );
        if !signer.algorithm().is_symmetric() {
            let key = JwtKey::from_der(signer.algorithm(), signer.public_der()).unwrap();
            accepted(&rules(key).build().unwrap(), &signer.good());
        }
    }
}

/// RFC 7515, appendices A.1 to A.3: tokens that none of our tools made.
#[test]
fn the_tokens_of_rfc_7515_are_accepted() {
    const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let secret =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let rsa = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    let vectors = [
        (
            format!(r#"{{"kty":"oct","alg":"HS256","k":"{secret}"}}"#),
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
        (
            format!(r#"{{"kty":"RSA","n":"{rsa}","e":"AQAB"}}"#),
            "eyJhbGciOiJSUzI1NiJ9",
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        (
            r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#.to_owned(),
            "eyJhbGciOiJFUzI1NiJ9",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
    ];
    for (jwk, header, signature) in vectors {
        let layer = JwtVerifyLayer::<NoClaims>::new(JwtKey::from_jwk(&jwk).unwrap())
            .issuer("joe")
            .insecure_any_audience()
            .insecure_any_typ()
            .subject_optional()
            .build()
            .unwrap();
        let token = format!("{header}.{PAYLOAD}.{signature}");
        let (verified, _) = layer
            .verify_at(token.as_bytes(), 1_300_819_370_000)
            .expect(&jwk);
        assert_eq!(
            (verified.iss(), verified.kind()),
            ("joe", SubjectKind::Client)
        );
    }
}

#[test]
fn r56_the_signature_is_over_exactly_these_bytes() {
    for signer in Signer::all() {
        let layer = layer(signer.key());
        let good = signer.good();
        let (message, signature) = good.rsplit_once('.').unwrap();
        let mut altered = signer.sign(message.as_bytes());
        altered[5] ^= 1;
        refused(
            &layer,
            &format!("{message}.{}", b64(altered)),
            Why::BadSignature,
        );
        let shorter = &signer.sign(message.as_bytes())[1..];
        refused(
            &layer,
            &format!("{message}.{}", b64(shorter)),
            Why::BadSignature,
        );
        let longer = [&signer.sign(message.as_bytes())[..], &[0]].concat();
        refused(
            &layer,
            &format!("{message}.{}", b64(longer)),
            Why::BadSignature,
        );
        refused(&layer, &format!("{message}."), Why::BadSignature);
        // The same claims, written with a space more: as good for a parser, but not what was signed.
        let respelled = claims("").replacen(':', ": ", 1);
        refused(
            &layer,
            &format!("{}.{}.{signature}", b64(signer.header("")), b64(respelled)),
            Why::BadSignature,
        );
    }
}

#[test]
fn r57_there_is_no_algorithm_none() {
    let signer = Signer::hs256();
    let layer = layer(signer.key());
    for alg in [
        "none", "None", "NONE", "nOnE", "", " none", "none ", "hs256", "Hs256", "HS256 ", "HS257",
        "ES256K", "ES512",
    ] {
        let header = format!(r#"{{"alg":{alg:?},"typ":"at+jwt"}}"#);
        refused(&layer, &signer.under(&header), Why::UnknownKey);
        let unsigned = format!("{}.{}.", b64(&header), b64(claims("")));
        refused(&layer, &unsigned, Why::UnknownKey);
    }
    for header in [
        r#"{"typ":"at+jwt"}"#,
        r#"{"alg":null,"typ":"at+jwt"}"#,
        r#"{"alg":["HS256"],"typ":"at+jwt"}"#,
    ] {
        refused(&layer, &signer.under(header), Why::Malformed);
    }
    accepted(&layer, &signer.good());
}

#[test]
fn r58_a_public_key_is_no_secret() {
    for signer in [Signer::rsa("RS256"), Signer::es256(), Signer::ed25519()] {
        let layer = layer(signer.key().kid("k").unwrap());
        let jwk = signer.jwk("");
        for secret in [
            signer.public_pem().into_bytes(),
            signer.public_pem().trim().into(),
            signer.public_der(),
            jwk.into_bytes(),
        ] {
            let forger = Signer::Hmac("HS256", secret);
            refused(&layer, &forger.good(), Why::UnknownKey);
            refused(
                &layer,
                &forger.under(&forger.header(r#","kid":"k""#)),
                Why::UnknownKey,
            );
        }
        accepted(&layer, &signer.good());

        // The same confusion made by whoever configures the service.
        let public = JwtKey::secret(JwtAlgorithm::Hs256, signer.public_pem());
        assert_eq!(public.unwrap_err().field(), "secret");
        let public = JwtKey::secret(JwtAlgorithm::Hs256, signer.jwk(""));
        assert_eq!(public.unwrap_err().field(), "secret");
        let mixed = KeySet::new([signer.key(), Signer::hs256().key()]);
        assert_eq!(mixed.unwrap_err().field(), "keys");
        let handle = KeySetHandle::from(signer.key());
        assert_eq!(
            handle
                .replace(Signer::hs256().key().into())
                .unwrap_err()
                .field(),
            "keys"
        );
        let two = rules(signer.key()).or_issuer("https://other.example", Signer::hs256().key());
        assert_eq!(two.build().unwrap_err().field(), "or_issuer");
    }
}

#[test]
fn r59_one_key_has_one_algorithm() {
    let rs256 = Signer::rsa("RS256");
    let layer_of = |signer: &Signer, alg: &str| {
        layer(JwtKey::from_pem(algorithm(alg), signer.public_pem()).unwrap())
    };
    for other in ["RS384", "RS512", "PS256", "PS384", "PS512"] {
        // Signed with the very same key, rightly, under another algorithm.
        refused(
            &layer_of(&rs256, "RS256"),
            &Signer::rsa(other).good(),
            Why::UnknownKey,
        );
        accepted(&layer_of(&rs256, other), &Signer::rsa(other).good());
    }
    // The header lies about the algorithm: the key does not listen.
    let lie = r#"{"alg":"RS256","typ":"at+jwt"}"#;
    refused(
        &layer_of(&rs256, "RS256"),
        &Signer::rsa("PS256").under(lie),
        Why::BadSignature,
    );
    let lie = r#"{"alg":"HS256","typ":"at+jwt"}"#;
    let hs512 = Signer::Hmac("HS512", SECRET.to_vec());
    refused(
        &layer(JwtKey::secret(JwtAlgorithm::Hs256, SECRET).unwrap()),
        &hs512.under(lie),
        Why::BadSignature,
    );

    // A JWK's `alg` must belong to its key, and a key must fit the algorithm that it is loaded for.
    for jwk in [
        Signer::es256().jwk(r#","alg":"ES384""#),
        Signer::es256().jwk(r#","alg":"RS256""#),
        Signer::es256().jwk(r#","alg":"HS256""#),
        Signer::ed25519().jwk(r#","alg":"ES256""#),
        // Members of two kinds of key in one: the curve says which it is.
        Signer::es256().jwk(&format!(r#","alg":"HS256","k":"{}""#, b64(SECRET))),
        Signer::hs256().jwk("").replace("HS256", "RS256"),
        Signer::hs256().jwk("").replace(r#""alg":"HS256","#, ""),
        Signer::rsa("RSA-OAEP").jwk(""),
    ] {
        assert_eq!(JwtKey::from_jwk(&jwk).unwrap_err().field(), "jwk", "{jwk}");
    }
    for (signer, alg) in [
        (Signer::es256(), "ES384"),
        (Signer::es384(), "ES256"),
        (Signer::ed25519(), "ES256"),
        (Signer::es256(), "EdDSA"),
        (Signer::es256(), "RS256"),
        (Signer::rsa("RS256"), "ES256"),
    ] {
        assert!(
            JwtKey::from_pem(algorithm(alg), signer.public_pem()).is_err(),
            "{} as {alg}",
            signer.alg()
        );
    }
    for (signer, alg) in [(Signer::es256(), "HS256"), (Signer::rsa("RS256"), "HS512")] {
        assert!(JwtKey::from_der(algorithm(alg), signer.public_der()).is_err());
        assert!(JwtKey::secret(algorithm(signer.alg()), SECRET).is_err());
    }
    assert_eq!(
        JwtKey::from_jwk(Signer::es256().jwk(r#","alg":"ES256""#))
            .unwrap()
            .algorithm(),
        JwtAlgorithm::Es256
    );
}

#[test]
fn r60_ed25519_has_two_names_and_ecdsa_one_form() {
    let ed = Signer::ed25519();
    let ed_layer = layer(ed.key());
    accepted(&ed_layer, &ed.under(r#"{"alg":"Ed25519","typ":"at+jwt"}"#));
    accepted(&ed_layer, &ed.under(r#"{"alg":"EdDSA","typ":"at+jwt"}"#));
    for alg in ["ed25519", "EDDSA", "Ed448", "X25519"] {
        refused(
            &ed_layer,
            &ed.under(&format!(r#"{{"alg":"{alg}","typ":"at+jwt"}}"#)),
            Why::UnknownKey,
        );
    }
    assert_eq!(
        JwtKey::from_jwk(ed.jwk(r#","alg":"Ed25519""#))
            .unwrap()
            .algorithm(),
        JwtAlgorithm::EdDsa
    );

    const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order: Vec<u8> = (0..32)
        .map(|at| u8::from_str_radix(&ORDER[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    for signer in [Signer::es256(), Signer::es384()] {
        let layer = layer(signer.key());
        let good = signer.good();
        let (message, _) = good.rsplit_once('.').unwrap();
        let signature = signer.sign(message.as_bytes());
        let half = signature.len() / 2;
        let with = |r: &[u8], s: &[u8]| format!("{message}.{}", b64([r, s].concat()));
        let (r, s) = signature.split_at(half);
        accepted(&layer, &with(r, s));
        let zero = vec![0; half];
        // CVE-2022-21449, and its two halves.
        for (r, s) in [(&zero[..], &zero[..]), (&zero, s), (r, &zero)] {
            refused(&layer, &with(r, s), Why::BadSignature);
        }
        // As large as the group's order, or larger.
        let largest = vec![0xff; half];
        for (r, s) in [(&largest[..], &largest[..]), (&largest, s), (r, &largest)] {
            refused(&layer, &with(r, s), Why::BadSignature);
        }
        if half == 32 {
            refused(&layer, &with(&order, s), Why::BadSignature);
            refused(&layer, &with(r, &order), Why::BadSignature);
        }
        // The form of X.509 (RFC 7518 §3.4 wants the plain one).
        refused(
            &layer,
            &format!(
                "{message}.{}",
                b64(signer.der_signature(message.as_bytes()))
            ),
            Why::BadSignature,
        );
    }
}

#[test]
fn r60_weak_rsa_keys_are_refused_when_loaded() {
    let jwk = |bits: usize, last: u8, e: &str| {
        let mut n = vec![0xff; bits / 8];
        *n.last_mut().unwrap() = last;
        JwtKey::from_jwk(format!(r#"{{"kty":"RSA","n":"{}","e":"{e}"}}"#, b64(n)))
    };
    for (bits, last, e) in [
        (512, 1, "AQAB"),
        (1024, 1, "AQAB"),
        (2040, 1, "AQAB"),
        (8200, 1, "AQAB"),
        (2048, 2, "AQAB"),
        (2048, 1, "AQ"),
        (2048, 1, "AgAA"),
        (2048, 1, "AQAAAAE"),
        (2048, 1, ""),
    ] {
        assert!(jwk(bits, last, e).is_err(), "{bits} {last} {e}");
    }
    assert!(jwk(2048, 1, "AQAB").is_ok() && jwk(4096, 1, "Aw").is_ok());
    // Leading zeros are not bits.
    let padded = [vec![0; 128], vec![0xff; 128]].concat();
    assert!(
        JwtKey::from_jwk(format!(
            r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#,
            b64(padded)
        ))
        .is_err()
    );
}

#[test]
fn r61_a_bad_key_is_left_out_and_the_others_stay() {
    let good = Signer::es256();
    let point = |x: &[u8], y: &[u8]| {
        format!(
            r#"{{"kty":"EC","crv":"P-256","kid":"bad","x":"{}","y":"{}"}}"#,
            b64(x),
            b64(y)
        )
    };
    let bad = [
        point(&[1; 32], &[2; 32]),
        point(&[0; 32], &[0; 32]),
        point(&[0xff; 32], &[0xff; 32]),
        point(&[1; 31], &[2; 33]),
        point(&[1; 48], &[2; 48]),
        good.jwk(r#","kid":"bad""#).replace("P-256", "P-384"),
        good.jwk(r#","kid":"bad","use":"enc""#),
        good.jwk(r#","kid":"bad","key_ops":["sign"]"#),
        good.jwk(r#","kid":"bad","kty":"EC""#),
        r#"{"kty":"EC","crv":"P-521","kid":"bad","x":"AA","y":"AA"}"#.to_owned(),
        r#"{"kty":"OKP","crv":"X25519","kid":"bad","x":"AA"}"#.to_owned(),
        r#"{"kty":"OKP","crv":"Ed25519","kid":"bad","x":"AA"}"#.to_owned(),
        r#"{"kty":"RSA","kid":"bad","n":"AQ==","e":"AQAB"}"#.to_owned(),
        Signer::hs256().jwk(r#","kid":"bad""#),
        r#"{"kid":"bad"}"#.to_owned(),
    ];
    let kid = r#","kid":"good""#;
    let all = [&bad[..], &[good.jwk(kid), good.jwk(kid)]]
        .concat()
        .join(",");
    let keys = KeySet::from_jwks(format!(r#"{{"keys":[{all},1,"x",null]}}"#)).unwrap();
    assert_eq!(
        (keys.len(), keys.skipped().len()),
        (1, bad.len() + 4),
        "{:?}",
        keys.skipped()
    );
    assert_eq!(
        keys.skipped()
            .iter()
            .filter(|key| key.key_id() == Some("bad"))
            .count(),
        bad.len()
    );
    accepted(&layer(keys), &good.under(&good.header(kid)));

    for text in [
        r#"{"keys":[]}"#.to_owned(),
        format!(r#"{{"keys":[{}]}}"#, bad[0]),
        "{}".to_owned(),
        "<html>".to_owned(),
        "[]".to_owned(),
        " ".repeat(1024 * 1024 + 1),
        format!(r#"{{"keys":[{}]}}"#, vec![good.jwk(""); 257].join(",")),
    ] {
        assert!(KeySet::from_jwks(&text).is_err());
    }
}

#[test]
fn r61_a_key_set_is_read_from_a_file() {
    let signer = Signer::es256();
    let path = std::env::temp_dir().join(format!("portcullis-jwks-{}.json", std::process::id()));
    std::fs::write(&path, format!(r#"{{"keys":[{}]}}"#, signer.jwk(""))).unwrap();
    let keys = KeySet::from_jwks_file(&path);
    std::fs::remove_file(&path).unwrap();
    accepted(&layer(keys.unwrap()), &signer.good());
    assert_eq!(
        KeySet::from_jwks_file(&path).unwrap_err().field(),
        "jwks_file"
    );
}

#[test]
fn r62_short_secrets_are_refused_when_loaded() {
    for (algorithm, shortest) in [
        (JwtAlgorithm::Hs256, 32),
        (JwtAlgorithm::Hs384, 48),
        (JwtAlgorithm::Hs512, 64),
    ] {
        for len in [0, 1, shortest - 1] {
            assert_eq!(
                JwtKey::secret(algorithm, &SECRET[..len])
                    .unwrap_err()
                    .field(),
                "secret"
            );
            let jwk = format!(
                r#"{{"kty":"oct","alg":"{algorithm}","k":"{}"}}"#,
                b64(&SECRET[..len])
            );
            assert!(JwtKey::from_jwk(jwk).is_err());
        }
        assert!(JwtKey::secret(algorithm, &SECRET[..shortest]).is_ok());
    }
}

#[test]
fn r63_encryption_and_compression_are_not_understood() {
    let signer = Signer::hs256();
    let layer = layer(signer.key());
    refused(
        &layer,
        &signer.under(&signer.header(r#","zip":"DEF""#)),
        Why::UnsupportedHeader,
    );
    refused(
        &layer,
        &signer.under(&signer.header(r#","enc":"A256GCM""#)),
        Why::UnsupportedHeader,
    );
    // RFC 7516 appendix A.2's header in five parts.
    let jwe = "eyJhbGciOiJSU0ExXzUiLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0.QUFB.AxY8DCtDaGlsbGljb3RoZQ.KDlTtXchhZTGufMYmOYGS4HffxPSUrfm.9hH0vgRfYgPnAHOd8stkvw";
    refused(&layer, jwe, Why::Malformed);
    refused(&layer, &format!("{}..", signer.good()), Why::Malformed);
}

#[test]
fn r64_nothing_is_said_twice() {
    let signer = Signer::hs256();
    let layer = layer(signer.key());
    let later = NOW_S + 60;
    for more in [
        format!(r#","exp":{later}"#),
        r#","aud":"api""#.to_owned(),
        r#","iss":"https://id.example""#.to_owned(),
        r#","sub":"mallory""#.to_owned(),
        // The same name in another spelling.
        format!(r#","\u0065xp":{later}"#),
        r#","\u0061\u0075\u0064":"x""#.to_owned(),
        r#","x":1,"x":1"#.to_owned(),
        r#","x":{"y":1,"y":2}"#.to_owned(),
        r#","x":[[{"z":[{"y":1,"y":2}]}]]"#.to_owned(),
        r#","cnf":{"jkt":"a","jkt":"b"}"#.to_owned(),
        r#","authorization_details":[{"type":"a","type":"b"}]"#.to_owned(),
        format!(
            ",{},\"n1\":1",
            (0..40)
                .map(|n| format!(r#""n{n}":1"#))
                .collect::<Vec<_>>()
                .join(",")
        ),
    ] {
        refused(&layer, &signer.with(&claims(&more)), Why::DuplicateMember);
    }
    for more in [
        r#","alg":"HS256""#,
        r#","typ":"at+jwt""#,
        r#","x":1,"x":2"#,
        r#","jwk":{"k":1,"k":2}"#,
    ] {
        refused(
            &layer,
            &signer.under(&signer.header(more)),
            Why::DuplicateMember,
        );
    }
    // Equal names in different objects are different members.
    accepted(
        &layer,
        &signer.with(&claims(
            r#","x":{"exp":1,"y":{"exp":2}},"z":[{"x":1},{"x":1}]"#,
        )),
    );
    let many: Vec<_> = (0..40).map(|n| format!(r#""n{n}":1"#)).collect();
    accepted(
        &layer,
        &signer.with(&claims(&format!(",{}", many.join(",")))),
    );
}

#[test]
fn r64_text_is_utf_8_and_one_json_object() {
    let signer = Signer::hs256();
    let layer = layer(signer.key());
    let sign = |header: &[u8], payload: &[u8]| {
        let message = format!("{}.{}", b64(header), b64(payload));
        format!("{message}.{}", b64(signer.sign(message.as_bytes())))
    };
    let (header, good) = (signer.header("").into_bytes(), claims("").into_bytes());
    accepted(&layer, &sign(&header, &good));
    let latin1 = claims(r#","name":"é""#).replace('é', "\u{1}").into_bytes();
    let latin1: Vec<u8> = latin1
        .into_iter()
        .map(|byte| if byte == 1 { 0xe9 } else { byte })
        .collect();
    let overlong = claims(r#","name":"??""#).into_bytes();
    let overlong: Vec<u8> = overlong
        .into_iter()
        .map(|byte| if byte == b'?' { 0xc0 } else { byte })
        .collect();
    let bom = [b"\xef\xbb\xbf", &good[..]].concat();
    let trailing = [&good[..], b"{}"].concat();
    let deep = format!(r#"{{"x":{}1{}}}"#, "[".repeat(500), "]".repeat(500)).into_bytes();
    for payload in [
        &latin1[..],
        &overlong,
        &bom,
        &trailing,
        &deep,
        b"",
        b"null",
        b"[]",
        b"\"x\"",
        b"{",
        b"{\"exp\":1e}",
        b"{'exp':1}",
        br#"{"x":"\ud800"}"#,
        b"{\"x\":\"\0\"}",
    ] {
        let why = layer
            .verify_at(sign(&header, payload).as_bytes(), NOW_MS)
            .map(|_| ())
            .unwrap_err()
            .kind();
        assert!(matches!(why, Why::Malformed | Why::InvalidClaim), "{why:?}");
        refused(&layer, &sign(&header, payload), why);
    }
    for bad in [
        &latin1[..],
        b"",
        b"[]",
        b"{\"alg\":\"HS256\"",
        b"{\"alg\":\"HS256\"}x",
    ] {
        refused(&layer, &sign(bad, &good), Why::Malformed);
    }
}

#[test]
fn r65_the_audience_is_ours() {
    let signer = Signer::hs256();
    let layer = layer(signer.key());
    refused(
        &layer,
        &signer.with(&claims_with("aud", None)),
        Why::MissingClaim,
    );
    for aud in [
        r#""other""#,
        r#""API""#,
        r#""api ""#,
        r#""ap""#,
        r#""apis""#,
        r#""""#,
        "[]",
        r#"["other"]"#,
        r#"["other","API"]"#,
        r#""api other""#,
    ] {
        refused(
            &layer,
            &signer.with(&claims_with("aud", Some(aud))),
            Why::WrongAudience,
        );
    }
    for aud in [
        "1",
        "null",
        "true",
        r#"{"api":1}"#,
        r#"["api",1]"#,
        r#"[["api"]]"#,
    ] {
        refused(
            &layer,
            &signer.with(&claims_with("aud", Some(aud))),
            Why::InvalidClaim,
        );
    }
    for aud in [
        r#""api""#,
        r#"["api"]"#,
        r#"["other","api"]"#,
        r#""\u0061pi""#,
    ] {
        accepted(&layer, &signer.with(&claims_with("aud", Some(aud))));
    }
    let two = rules(signer.key()).audience("second").build().unwrap();
    accepted(&two, &signer.with(&claims_with("aud", Some(r#""second""#))));

    let forgotten = || JwtVerifyLayer::<NoClaims>::new(Signer::hs256().key()).issuer(ISS);
    assert_eq!(forgotten().build().unwrap_err().field(), "audience");
    assert_eq!(
        forgotten().audience("").build().unwrap_err().field(),
        "audience"
    );
    assert_eq!(
        forgotten()
            .audience("a")
            .insecure_any_audience()
            .build()
            .unwrap_err()
            .field(),
        "audience"
    );
    let any = forgotten().insecure_any_audience().build().unwrap();
    assert!(
        any.verify_at(signer.with(&claims_with("aud", None)).as_bytes(), NOW_MS)
            .is_ok()
    );
}

#[test]
fn r66_a_key_speaks_for_its_own_issuer() {
    let signer = Signer::hs256();
    let layer_a = layer(signer.key());
    refused(
        &layer_a,
        &signer.with(&claims_with("iss", None)),
        Why::MissingClaim,
    );
    for iss in [
        "https://id.example/",
        "https://ID.example",
        "HTTPS://id.example",
        "http://id.example",
        "https://id.example.evil",
        "",
        " https://id.example",
    ] {
        refused(
            &layer_a,
            &signer.with(&claims_with("iss", Some(&format!("{iss:?}")))),
            Why::WrongIssuer,
        );
    }
    refused(
        &layer_a,
        &signer.with(&claims_with("iss", Some(r#"["https://id.example"]"#))),
        Why::InvalidClaim,
    );

    // Two issuers, whose keys may even have the same name.
    let (a, b) = (Signer::es256(), Signer::es256());
    const B: &str = "https://b.example";
    for (kid_a, kid_b) in [("a", "b"), ("same", "same")] {
        let both = rules(a.key().kid(kid_a).unwrap())
            .or_issuer(B, b.key().kid(kid_b).unwrap())
            .build()
            .unwrap();
        let token = |signer: &Signer, kid, iss: &str| {
            signer.token(
                &signer.header(&format!(r#","kid":"{kid}""#)),
                &claims_with("iss", Some(&format!("{iss:?}"))),
            )
        };
        assert_eq!(accepted(&both, &token(&a, kid_a, ISS)).issuer_index(), 0);
        assert_eq!(accepted(&both, &token(&b, kid_b, B)).issuer_index(), 1);
        refused(&both, &token(&a, kid_a, B), Why::WrongIssuer);
        refused(&both, &token(&b, kid_b, ISS), Why::WrongIssuer);
        refused(
            &both,
            &token(&Signer::es256(), kid_a, ISS),
            Why::BadSignature,
        );
        // Without a name there would be a choice.
        refused(&both, &a.good(), Why::UnknownKey);
    }
    for (iss, field) in [(ISS, "or_issuer"), ("", "issuer")] {
        assert_eq!(
            rules(a.key())
                .or_issuer(iss, b.key())
                .build()
                .unwrap_err()
                .field(),
            field
        );
    }
    let nobody = JwtVerifyLayer::<NoClaims>::new(signer.key()).audience(AUD);
    assert_eq!(nobody.build().unwrap_err().field(), "issuer");
}

#[test]
fn r67_the_identity_is_issuer_and_subject() {
    let signer = Signer::hs256();
    let token = accepted(
        &layer(signer.key()),
        &signer.with(&claims(r#","email":"root@id.example","name":"root""#)),
    );
    assert_eq!(
        (token.iss(), token.sub(), token.user()),
        (ISS, Some("alice"), Some("alice"))
    );
    assert!(!format!("{token:?}").contains("root"));
}

#[test]
fn r68_a_key_id_is_only_compared() {
    let signer = Signer::es256();
    let one = layer(
        KeySet::new([
            signer.key().kid("k1").unwrap(),
            Signer::es256().key().kid("k2").unwrap(),
        ])
        .unwrap(),
    );
    let long = "k".repeat(4 * 1024);
    for kid in [
        "../../etc/passwd",
        "/dev/null",
        "k1' OR '1'='1",
        "k1\\u0000",
        "\\u0000k1",
        "k1\\r\\nX: y",
        "K1",
        "k1 ",
        "",
        "k",
        "http://evil.example/k1",
        &long,
    ] {
        refused(
            &one,
            &signer.under(&signer.header(&format!(r#","kid":"{kid}""#))),
            Why::UnknownKey,
        );
    }
    for kid in ["1", "null", "true", r#"["k1"]"#, r#"{"k1":1}"#] {
        refused(
            &one,
            &signer.under(&signer.header(&format!(r#","kid":{kid}"#))),
            Why::Malformed,
        );
    }
    refused(
        &one,
        &signer.under(&signer.header(r#","kid":"k2""#)),
        Why::BadSignature,
    );
    refused(&one, &signer.good(), Why::UnknownKey);
    accepted(&one, &signer.under(&signer.header(r#","kid":"k1""#)));
    accepted(&one, &signer.under(&signer.header(r#","kid":"\u006b1""#)));

    // A key without a name is no answer to a name.
    refused(
        &layer(signer.key()),
        &signer.under(&signer.header(r#","kid":"k1""#)),
        Why::UnknownKey,
    );
    // Without a name, the only key of its algorithm.
    accepted(
        &layer(KeySet::new([signer.key().kid("k1").unwrap(), Signer::ed25519().key()]).unwrap()),
        &signer.good(),
    );
    for kid in [String::new(), "k".repeat(257)] {
        assert_eq!(signer.key().kid(kid).unwrap_err().field(), "kid");
    }
    let twice = KeySet::new([
        signer.key().kid("k").unwrap(),
        Signer::es256().key().kid("k").unwrap(),
    ]);
    assert_eq!(twice.unwrap_err().field(), "keys");
}

#[test]
fn r69_no_key_comes_from_a_token() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/keys.json", listener.local_addr().unwrap());
    let (owner, thief) = (Signer::es256(), Signer::es256());
    let layer = layer(owner.key());
    for more in [
        format!(r#","jku":"{url}""#),
        format!(r#","x5u":"{url}""#),
        format!(r#","jwk":{}"#, thief.jwk("")),
        format!(r#","x5c":["{}"]"#, b64(thief.public_der())),
    ] {
        refused(
            &layer,
            &thief.under(&thief.header(&more)),
            Why::BadSignature,
        );
        accepted(&layer, &owner.under(&owner.header(&more)));
    }
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(
        listener.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
}

#[test]
fn r70_r71_a_token_of_another_kind_is_refused() {
    let signer = Signer::hs256();
    let typed = |typ: &str| signer.under(&format!(r#"{{"alg":"HS256","typ":"{typ}"}}"#));
    let access = layer(signer.key());
    for typ in [
        "at+jwt",
        "AT+JWT",
        "At+Jwt",
        "application/at+jwt",
        "APPLICATION/at+JWT",
    ] {
        accepted(&access, &typed(typ));
    }
    for typ in [
        "JWT",
        "jwt",
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "",
        "at",
        "at+jwt ",
        "x/at+jwt",
        "application/x/at+jwt",
        "application/",
        "text/at+jwt",
    ] {
        refused(&access, &typed(typ), Why::WrongType);
    }
    refused(&access, &signer.under(r#"{"alg":"HS256"}"#), Why::WrongType);

    let foreign = rules(signer.key()).typ("JWT").build().unwrap();
    accepted(&foreign, &typed("jwt"));
    for typ in ["at+jwt", "logout+jwt"] {
        refused(&foreign, &typed(typ), Why::WrongType);
    }
    accepted(
        &rules(signer.key())
            .typ("JWT")
            .typ("application/at+jwt")
            .build()
            .unwrap(),
        &typed("at+jwt"),
    );
    // No token passes two layers of different types.
    for typ in ["at+jwt", "JWT", "logout+jwt"] {
        let passes =
            [&access, &foreign].map(|layer| layer.verify_at(typed(typ).as_bytes(), NOW_MS).is_ok());
        assert_ne!(passes, [true, true]);
    }
    // ID tokens and logout tokens whose issuer writes `JWT` on everything.
    for more in [
        r#","at_hash":"x""#,
        r#","c_hash":"x""#,
        r#","events":{"http://schemas.openid.net/event/backchannel-logout":{}}"#,
    ] {
        refused(
            &foreign,
            &signer.token(r#"{"alg":"HS256","typ":"JWT"}"#, &claims(more)),
            Why::NotAnAccessToken,
        );
    }
    assert_eq!(
        rules(signer.key())
            .typ("JWT")
            .insecure_any_typ()
            .build()
            .unwrap_err()
            .field(),
        "typ"
    );
    assert_eq!(
        rules(signer.key()).typ("").build().unwrap_err().field(),
        "typ"
    );
    accepted(
        &rules(signer.key()).insecure_any_typ().build().unwrap(),
        &signer.under(r#"{"alg":"HS256"}"#),
    );
}

#[test]
fn r72_passwords_are_not_iterated() {
    let signer = Signer::hs256();
    let layer = layer(signer.key());
    let start = std::time::Instant::now();
    for alg in [
        "PBES2-HS256+A128KW",
        "PBES2-HS384+A192KW",
        "PBES2-HS512+A256KW",
    ] {
        let header = format!(r#"{{"alg":"{alg}","typ":"at+jwt","p2c":2147483647,"p2s":"AAAA"}}"#);
        refused(&layer, &signer.under(&header), Why::UnknownKey);
        let encrypted = format!(
            "{}.AAAA.AAAA.AAAA.AAAA",
            b64(header.replace("p2c", r#"enc":"A256GCM","p2c"#))
        );
        refused(&layer, &encrypted, Why::Malformed);
    }
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn r73_a_token_has_one_spelling() {
    let signer = Signer::hs256();
    let layer = layer(signer.key());
    let good = signer.good();
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    for bad in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        "a".into(),
        "a.b".into(),
        format!("{header}.{payload}"),
        format!("{good}."),
        format!(".{good}"),
        format!("{header}..{payload}.{signature}"),
        ".".repeat(8 * 1024),
        format!("{good}{}", ".".repeat(4000)),
    ] {
        refused(&layer, &bad, Why::Malformed);
    }
    for tail in [
        "=", "==", " ", "\n", "\t", "\r\n", "\0", "+", "/", "*", ",", "%3D", "é",
    ] {
        for bad in [
            format!("{header}{tail}.{payload}.{signature}"),
            format!("{header}.{payload}.{signature}{tail}"),
            format!("{tail}{good}"),
        ] {
            refused(&layer, &bad, Why::Malformed);
        }
        let message = format!("{header}.{payload}{tail}");
        refused(
            &layer,
            &format!("{message}.{}", b64(signer.sign(message.as_bytes()))),
            Why::Malformed,
        );
    }
    // 32 bytes leave two bits of the last letter unused: the three other letters with the same first four bits.
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = LETTERS
        .iter()
        .position(|letter| *letter == good.as_bytes()[good.len() - 1])
        .unwrap();
    assert_eq!(last % 4, 0);
    for trailing in 1..4 {
        let other = char::from(LETTERS[last + trailing]);
        refused(
            &layer,
            &format!("{}{other}", &good[..good.len() - 1]),
            Why::Malformed,
        );
    }
    // The other alphabet, where it differs.
    let with_dash = (0..)
        .map(|n| signer.with(&claims(&format!(r#","n":{n}"#))))
        .find(|token| token.contains('-'))
        .unwrap();
    accepted(&layer, &with_dash);
    refused(&layer, &with_dash.replace('-', "+"), Why::Malformed);
}

#[test]
fn r73_size_is_bounded_before_anything_is_decoded() {
    let signer = Signer::hs256();
    let padded = |len: usize| {
        let pad = |n: usize| signer.with(&claims(&format!(r#","pad":"{}""#, "x".repeat(n))));
        (0..len).map(pad).find(|token| token.len() >= len).unwrap()
    };
    let small = rules(signer.key()).max_token_size(512).build().unwrap();
    let token = padded(510);
    assert!(token.len() <= 512, "{}", token.len());
    accepted(&small, &token);
    refused(&small, &padded(513), Why::TooLarge);
    let default = layer(signer.key());
    let pad = "x".repeat(5_900);
    accepted(
        &default,
        &signer.with(&claims(&format!(r#","pad":"{pad}""#))),
    );
    refused(
        &default,
        &signer.with(&claims(&format!(r#","pad":"{pad}{pad}""#))),
        Why::TooLarge,
    );
    refused(&default, &".".repeat(1 << 20), Why::TooLarge);
    for bytes in [0, 255, 64 * 1024 + 1] {
        assert_eq!(
            rules(signer.key())
                .max_token_size(bytes)
                .build()
                .unwrap_err()
                .field(),
            "max_token_size"
        );
    }
}

#[test]
fn r74_no_extension_is_understood() {
    let signer = Signer::hs256();
    let layer = layer(signer.key());
    for crit in [
        r#"["x"],"x":1"#,
        r#"["exp"]"#,
        "[]",
        r#"["alg"]"#,
        r#"["typ","kid"]"#,
        r#"["b64"],"b64":false"#,
        r#"["b64"],"b64":true"#,
        "null",
        "1",
        r#""x""#,
        "{}",
    ] {
        refused(
            &layer,
            &signer.under(&signer.header(&format!(r#","crit":{crit}"#))),
            Why::UnsupportedHeader,
        );
    }
    // RFC 7797 without its `crit`: half the verifiers would read another payload.
    refused(
        &layer,
        &signer.under(&signer.header(r#","b64":false"#)),
        Why::UnsupportedHeader,
    );
    accepted(
        &layer,
        &signer.under(&signer.header(r#","x":{"crit":["x"]}"#)),
    );
}

#[test]
fn r75_expiry_is_required_and_exact() {
    let signer = Signer::hs256();
    let at = |leeway: u64, name: &str, value: String| {
        let layer = rules(signer.key())
            .leeway(Duration::from_secs(leeway))
            .build()
            .unwrap();
        let token = signer.with(&claims_with(name, Some(&value)));
        layer
            .verify_at(token.as_bytes(), NOW_MS)
            .map(|_| ())
            .map_err(|error| error.kind())
    };
    refused(
        &layer(signer.key()),
        &signer.with(&claims_with("exp", None)),
        Why::MissingClaim,
    );
    // At the second of its expiry a token has expired (RFC 7519 §4.1.4: "on or after").
    for leeway in [0, 1, 60] {
        let edge = NOW_S - leeway;
        assert_eq!(at(leeway, "exp", (edge).to_string()), Err(Why::Expired));
        assert_eq!(at(leeway, "exp", (edge - 1).to_string()), Err(Why::Expired));
        assert_eq!(at(leeway, "exp", (edge + 1).to_string()), Ok(()));
        assert_eq!(at(leeway, "exp", format!("{edge}.001")), Ok(()));
        assert_eq!(at(leeway, "nbf", (NOW_S + leeway).to_string()), Ok(()));
        assert_eq!(
            at(leeway, "nbf", (NOW_S + leeway + 1).to_string()),
            Err(Why::NotYetValid)
        );
        assert_eq!(
            at(leeway, "nbf", format!("{}.001", NOW_S + leeway)),
            Err(Why::NotYetValid)
        );
        assert_eq!(at(leeway, "iat", (NOW_S + leeway).to_string()), Ok(()));
        assert_eq!(
            at(leeway, "iat", (NOW_S + leeway + 1).to_string()),
            Err(Why::IssuedInTheFuture)
        );
    }
    let defaults = JwtVerifyLayer::<NoClaims>::new(signer.key())
        .issuer(ISS)
        .audience(AUD)
        .build()
        .unwrap();
    let verdict = |exp: u64| {
        let token = signer.with(&claims_with("exp", Some(&exp.to_string())));
        defaults
            .verify_at(token.as_bytes(), NOW_MS)
            .map(|_| ())
            .map_err(|error| error.kind())
    };
    assert_eq!(
        (verdict(NOW_S - 29), verdict(NOW_S - 30)),
        (Ok(()), Err(Why::Expired))
    );
    assert_eq!(
        (verdict(NOW_S + 86_430), verdict(NOW_S + 86_431)),
        (Ok(()), Err(Why::LivesTooLong))
    );
    for leeway in [Duration::from_millis(60_001), Duration::MAX] {
        assert_eq!(
            rules(signer.key())
                .leeway(leeway)
                .build()
                .unwrap_err()
                .field(),
            "leeway"
        );
    }
    assert_eq!(
        rules(signer.key())
            .max_token_life(Duration::ZERO)
            .build()
            .unwrap_err()
            .field(),
        "max_token_life"
    );
}

#[test]
fn r75_numeric_dates_are_numbers() {
    let signer = Signer::hs256();
    let layer = rules(signer.key())
        .max_token_life(Duration::MAX)
        .build()
        .unwrap();
    for name in ["exp", "nbf", "iat"] {
        let other = [
            r#""1800000060""#,
            r#""x""#,
            "null",
            "true",
            "[1800000060]",
            "{}",
            "-1",
            "-1.5",
            "-1e400",
            "1e400",
            "9007199254740993",
            "18446744073709551616",
            "1e16",
            "99999999999999999999999999",
        ];
        for value in other {
            refused(
                &layer,
                &signer.with(&claims_with(name, Some(value))),
                Why::InvalidClaim,
            );
        }
        for malformed in ["01", "+1", "1.", ".5", "0x10", "1e", "NaN", "Infinity", "-"] {
            refused(
                &layer,
                &signer.with(&claims_with(name, Some(malformed))),
                Why::Malformed,
            );
        }
    }
    for exp in [
        "1.80000006e9",
        "1800000060.0",
        "18000000600E-1",
        "1e10",
        "9007199254740992",
        "9007199254740992.0",
    ] {
        accepted(&layer, &signer.with(&claims_with("exp", Some(exp))));
    }
    for exp in ["1e9", "0", "0.0", "-0.0", "-0", "1799999999.999", "1e-400"] {
        refused(
            &layer,
            &signer.with(&claims_with("exp", Some(exp))),
            Why::Expired,
        );
    }
    let token = accepted(
        &layer,
        &signer.with(&claims_with("exp", Some("1800000060.5009"))),
    );
    assert_eq!(
        (token.exp_ms(), token.accepted_until_ms()),
        (1_800_000_060_500, 1_800_000_060_500)
    );
    for auth_ms in ["1.5", "-1", r#""1""#, "9007199254740993", "null"] {
        refused(
            &layer,
            &signer.with(&claims(&format!(r#","auth_ms":{auth_ms}"#))),
            Why::InvalidClaim,
        );
    }
    let token = accepted(
        &layer,
        &signer.with(&claims(r#","auth_ms":1799999999123,"iat":1799999999"#)),
    );
    assert_eq!(
        (token.auth_ms(), token.iat_ms()),
        (Some(1_799_999_999_123), Some(1_799_999_999_000))
    );
}

/// With the cache of verified tokens still to come, each request is verified anew: what is checked here is that time and
/// keys are looked at every time, not once.
#[test]
fn r76_r77_every_use_is_checked_again() {
    let (old, new) = (Signer::es256(), Signer::es256());
    let keys = KeySetHandle::new(KeySet::new([old.key().kid("old").unwrap()]).unwrap());
    let clock = portcullis::Clock::settable(NOW_MS);
    let layer = rules(&keys)
        .clock(clock.clone())
        .leeway(Duration::from_secs(5))
        .build()
        .unwrap();
    let token = old.under(&old.header(r#","kid":"old""#));
    let status = |token: &str| now(send(&layer, bearer(token))).status.as_u16();
    assert_eq!(status(&token), 200);
    clock.advance(Duration::from_millis(64_999));
    assert_eq!(status(&token), 200);
    clock.advance(Duration::from_millis(1));
    assert_eq!(status(&token), 401);

    let token = old.token(
        &old.header(r#","kid":"old""#),
        &claims_with("exp", Some(&(NOW_S + 600).to_string())),
    );
    assert_eq!(status(&token), 200);
    let before: Vec<_> = layer.key_generations().collect();
    keys.replace(
        KeySet::new([old.key().kid("old").unwrap(), new.key().kid("new").unwrap()]).unwrap(),
    )
    .unwrap();
    assert_eq!(status(&token), 200);
    keys.replace(KeySet::new([new.key().kid("new").unwrap()]).unwrap())
        .unwrap();
    assert_eq!(status(&token), 401);
    assert!(layer.key_generations().collect::<Vec<_>>() > before);
}
