//! Access tokens. A byte that says which: a good one of some algorithm with changes, the text of any, or one that is
//! signed over a header and claims of the attacker's choice.

use std::cell::OnceCell;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use portcullis::{
    Clock,
    jwt::{Grant, Issuer, JwtAlgorithm, JwtVerifyLayer, NoClaims, SigningKey},
};

use super::{forge::expand, world::*};

pub const SEEDS: &[&[u8]] = &[
    b"\x00\x01",
    b"\x01\x01",
    b"\x02\x01",
    b"\x00\x11\x30\x20\x04",
    b"\x01\x11\xf8\x24\x01",
    b"\x02\x11\xff\x14\x01",
    b"\x00\x01\x01",
    b"\x00\x01=",
    b"\x02eyJhbGciOiJub25lIn0.e30.",
    b"\x03{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}\n{\"iss\":\"https://id.example\",\"sub\":\"alice\",\"aud\":\"api\",\"exp\":1800000060}",
    b"\x03{\"typ\":\"application/at+jwt\",\"alg\":\"HS256\",\"kid\":\"k\",\"crit\":[\"b64\"]}\n{\"iss\":\"https://id.example\",\"sub\":\"a\",\"aud\":[\"api\",\"b\"],\"exp\":1.8e9,\"nbf\":1,\"iat\":1799999999.5,\"jti\":\"j\",\"sid\":\"s\",\"scope\":\"a b\",\"scp\":[\"c\"],\"cnf\":{\"jkt\":\"x\"},\"auth_time\":1,\"amr\":[\"pwd\"],\"acr\":\"1\",\"tenant\":\"t\",\"client_id\":\"web\",\"authorization_details\":[{\"type\":\"x\"}]}",
    b"\x03{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"alg\":\"none\"}\n{\"iss\":\"\\u0068ttps://id.example\",\"iss\":1,\"a\":[[[[{}]]]]}",
];

const ALGORITHMS: [JwtAlgorithm; 3] = [
    JwtAlgorithm::Hs256,
    JwtAlgorithm::EdDsa,
    JwtAlgorithm::Es256,
];
const SECRET: [u8; 32] = [0x5a; 32];

struct Kind {
    layer: JwtVerifyLayer<NoClaims>,
    good: String,
}

thread_local! {
    static KINDS: OnceCell<[Kind; 3]> = const { OnceCell::new() };
}

fn kind(algorithm: JwtAlgorithm) -> Kind {
    let key = match algorithm {
        JwtAlgorithm::Hs256 => SigningKey::secret(algorithm, SECRET),
        _ => SigningKey::generate(algorithm),
    };
    let key = key.expect("a key");
    let layer = JwtVerifyLayer::new(key.verification_key())
        .issuer(ISS)
        .audience(AUD);
    let issuer = Issuer::new(key, ISS).audience(AUD);
    let issuer = issuer
        .clock(Clock::settable(NOW_MS))
        .build()
        .expect("an issuer");
    let grant = Grant::user("alice")
        .sid("sid")
        .client_id("web")
        .scope("read write");
    Kind {
        layer: layer.build().expect("a layer"),
        good: issuer.mint(&grant).expect("a token").token().to_owned(),
    }
}

pub fn run(input: &[u8]) {
    let Some((which, text)) = input.split_first() else {
        return;
    };
    KINDS.with(|kinds| {
        let kinds = kinds.get_or_init(|| ALGORITHMS.map(kind));
        match usize::from(which % 4) {
            3 => signed(&kinds[0], text),
            which => changed(&kinds[which], which == 2, text),
        }
    });
}

/// Nothing but what was handed out is accepted. Of ECDSA there is a second signature, over the same.
fn changed(kind: &Kind, malleable: bool, text: &[u8]) {
    let text = expand(text, std::slice::from_ref(&kind.good));
    let Ok((token, _)) = kind.layer.verify_at(&text, NOW_MS) else {
        return;
    };
    assert_eq!(token.sub(), Some("alice"));
    let good = kind.good.as_bytes();
    let end = good
        .iter()
        .rposition(|byte| *byte == b'.')
        .unwrap_or(good.len());
    let same = match malleable {
        true => text.len() == good.len() && text[..end] == good[..end],
        false => text == good,
    };
    assert!(same, "{}", String::from_utf8_lossy(&text));
}

/// What is signed and accepted says of itself what it must.
fn signed(kind: &Kind, text: &[u8]) {
    let line = text
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(text.len());
    let (header, claims) = (&text[..line], text.get(line + 1..).unwrap_or_default());
    let mut token = [
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims),
    ]
    .join(".");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&SECRET).expect("a key of any length");
    mac.update(token.as_bytes());
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
    let Ok((verified, _)) = kind.layer.verify_at(token.as_bytes(), NOW_MS) else {
        return;
    };
    let header: serde_json::Value = serde_json::from_slice(header).expect("a header");
    let claims: serde_json::Value = serde_json::from_slice(claims).expect("claims");
    assert_eq!(header["alg"], "HS256");
    assert!(header.get("crit").is_none());
    assert_eq!(claims["iss"], ISS);
    assert!(claims["sub"].as_str().is_some_and(|sub| !sub.is_empty()));
    assert!(
        claims["exp"]
            .as_f64()
            .is_some_and(|exp| exp * 1000.0 > NOW_MS as f64 - 121_000.0)
    );
    let ours = |aud: &serde_json::Value| aud == AUD;
    assert!(
        ours(&claims["aud"])
            || claims["aud"]
                .as_array()
                .is_some_and(|all| all.iter().any(ours))
    );
    assert!(
        claims.get("cnf").is_none(),
        "a token that is bound to a key"
    );
    // What it tells is read without harm.
    let _ = (verified.scopes().count(), format!("{verified:?}"));
}
