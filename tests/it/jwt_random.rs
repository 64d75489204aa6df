//! Random and exhaustive changes: none is accepted, none panics.

use portcullis::jwt::JwtErrorKind;
use proptest::prelude::*;

use crate::jwt_kit::*;

/// Every other byte at every place of a good token.
#[test]
fn no_changed_byte_is_accepted() {
    let signer = Signer::hs256();
    let layer = layer(signer.key());
    let good = signer.good().into_bytes();
    assert!(layer.verify_at(&good, NOW_MS).is_ok());
    for at in 0..good.len() {
        let mut changed = good.clone();
        for byte in (0..=255).filter(|byte| *byte != good[at]) {
            changed[at] = byte;
            assert!(layer.verify_at(&changed, NOW_MS).is_err(), "{byte} at {at}");
        }
    }
}

#[test]
fn no_shorter_or_longer_token_is_accepted() {
    for signer in Signer::all() {
        let layer = layer(signer.key());
        let good = signer.good().into_bytes();
        for len in 0..good.len() {
            assert!(layer.verify_at(&good[..len], NOW_MS).is_err(), "{len}");
            assert!(
                layer.verify_at(&good[good.len() - len..], NOW_MS).is_err(),
                "{len}"
            );
        }
        for byte in 0..=255 {
            assert!(
                layer
                    .verify_at(&[&good[..], &[byte]].concat(), NOW_MS)
                    .is_err()
            );
            assert!(
                layer
                    .verify_at(&[&[byte], &good[..]].concat(), NOW_MS)
                    .is_err()
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_changed_byte_of_a_signed_token_is_accepted(at: prop::sample::Index, byte: u8, signer in 0..4_usize) {
        let signer = match signer {
            0 => Signer::es256(),
            1 => Signer::es384(),
            2 => Signer::ed25519(),
            _ => Signer::rsa("PS256"),
        };
        let layer = layer(signer.key());
        let mut token = signer.good().into_bytes();
        let at = at.index(token.len());
        prop_assume!(token[at] != byte);
        token[at] = byte;
        prop_assert!(layer.verify_at(&token, NOW_MS).is_err());
    }

    #[test]
    fn random_bytes_never_panic(token: Vec<u8>) {
        let layer = layer(Signer::hs256().key());
        prop_assert!(layer.verify_at(&token, NOW_MS).is_err());
    }

    #[test]
    fn random_texts_of_three_parts_never_panic(header in ".{0,60}", payload in ".{0,60}", signature: Vec<u8>) {
        let layer = layer(Signer::hs256().key());
        let token = format!("{}.{}.{}", b64(header), b64(payload), b64(signature));
        prop_assert!(layer.verify_at(token.as_bytes(), NOW_MS).is_err());
    }

    /// Signed rubbish: whoever holds the key may still write nonsense.
    #[test]
    fn signed_random_json_never_panics(name in "[a-z_]{1,20}|iss|sub|aud|exp|nbf|scope|scp|cnf|authorization_details", value in json()) {
        let signer = Signer::hs256();
        let layer = layer(signer.key());
        let token = signer.with(&claims_with(&name, Some(&value)));
        let _ = layer.verify_at(token.as_bytes(), NOW_MS);
        let token = signer.under(&signer.header(&format!(r#","{name}":{value}"#)));
        let _ = layer.verify_at(token.as_bytes(), NOW_MS);
    }

    /// What another implementation calls a duplicate is one here.
    #[test]
    fn a_repeated_member_is_found_wherever_it_is(depth in 0..30_usize, before in 0..30_usize, list: bool) {
        let signer = Signer::hs256();
        let layer = layer(signer.key());
        let others: String = (0..before).map(|n| format!(r#""n{n}":{n},"#)).collect();
        let (open, close) = if list { ("[", "]") } else { (r#"{"d":"#, "}") };
        let nest = |inner: &str| format!("{}{{{inner}}}{}", open.repeat(depth), close.repeat(depth));
        let twice = signer.with(&claims(&format!(r#","x":{}"#, nest(&format!(r#"{others}"y":1,"y":2"#)))));
        let once = signer.with(&claims(&format!(r#","x":{}"#, nest(&format!(r#"{others}"y":1,"z":2"#)))));
        prop_assert_eq!(layer.verify_at(twice.as_bytes(), NOW_MS).map(|_| ()).unwrap_err().kind(), JwtErrorKind::DuplicateMember);
        prop_assert!(layer.verify_at(once.as_bytes(), NOW_MS).is_ok());
    }
}

/// Small JSON values of every kind.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<u64>().prop_map(|value| value.to_string()),
        (-1e300..1e300).prop_map(|value: f64| format!("{value:e}")),
        ".{0,10}".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|values| format!("[{}]", values.join(","))),
            prop::collection::vec(("[a-z]{0,3}", inner), 0..4).prop_map(|members| {
                let members: Vec<_> = members
                    .into_iter()
                    .map(|(name, value)| format!("{name:?}:{value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}
