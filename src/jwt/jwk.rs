//! JSON Web Keys (RFC 7517): from one JSON object to one [`JwtKey`], or a reason why not; and back.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::{JwtAlgorithm, JwtKey, algorithm::Family};
use crate::secret::encode;

/// The members that matter for verification. Private members (`d`, `p`, …) are not read; `x5c` and `x5u` are not
/// trusted.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

/// The name of a key, for a report about it.
pub(super) fn key_id(text: &str) -> Option<Box<str>> {
    #[derive(Deserialize)]
    struct Named {
        kid: String,
    }
    serde_json::from_str::<Named>(text)
        .ok()
        .map(|named| named.kid.into())
}

pub(super) fn key(text: &[u8]) -> Result<JwtKey, Box<str>> {
    // serde_json quotes no values in its messages about missing or repeated members, but it does in others.
    let jwk: Jwk = serde_json::from_slice(text).map_err(|_| "not a JSON web key")?;
    meant_for_signatures(&jwk)?;
    let algorithm = bound_algorithm(&jwk)?;
    let key = match algorithm.family() {
        Family::Secret => JwtKey::secret(algorithm, bytes("k", jwk.k.as_deref())?),
        Family::Rsa => JwtKey::rsa(
            algorithm,
            &bytes("n", jwk.n.as_deref())?,
            &bytes("e", jwk.e.as_deref())?,
        ),
        Family::P256 | Family::P384 => {
            let (x, y) = (bytes("x", jwk.x.as_deref())?, bytes("y", jwk.y.as_deref())?);
            // RFC 7518 §6.2.1.2: both have the full length of the field, so neither can borrow from the other.
            if x.len() != y.len() {
                return Err("`x` and `y` differ in length".into());
            }
            JwtKey::point(algorithm, &[&[4], &x[..], &y].concat())
        }
        Family::Ed25519 => JwtKey::ed25519(&bytes("x", jwk.x.as_deref())?),
    };
    let named = key.and_then(|key| match jwk.kid {
        Some(kid) => key.kid(kid),
        None => Ok(key),
    });
    named.map_err(|error| error.to_string().into())
}

fn meant_for_signatures(jwk: &Jwk) -> Result<(), Box<str>> {
    if jwk
        .purpose
        .as_deref()
        .is_some_and(|purpose| purpose != "sig")
    {
        return Err("its `use` is not `sig`".into());
    }
    if jwk
        .key_ops
        .as_ref()
        .is_some_and(|ops| !ops.iter().any(|op| op == "verify"))
    {
        return Err("its `key_ops` do not include `verify`".into());
    }
    Ok(())
}

/// One key, one algorithm (RFC 8725 §3.1): `alg` decides and must belong to the key, else there must be no choice.
fn bound_algorithm(jwk: &Jwk) -> Result<JwtAlgorithm, Box<str>> {
    let (family, only) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("EC", Some("P-256")) => (Family::P256, Some(JwtAlgorithm::Es256)),
        ("EC", Some("P-384")) => (Family::P384, Some(JwtAlgorithm::Es384)),
        ("OKP", Some("Ed25519")) => (Family::Ed25519, Some(JwtAlgorithm::EdDsa)),
        // Large providers publish RSA keys without `alg`, and sign RS256 with them.
        ("RSA", _) => (Family::Rsa, Some(JwtAlgorithm::Rs256)),
        ("oct", _) => (Family::Secret, None),
        _ => return Err("its `kty` and `crv` are not supported".into()),
    };
    match jwk.alg.as_deref() {
        None => only.ok_or_else(|| "a symmetric key needs an `alg`".into()),
        Some(name) => JwtAlgorithm::from_name(name)
            .filter(|algorithm| algorithm.family() == family)
            .ok_or_else(|| "its `alg` is unknown or does not belong to its `kty` and `crv`".into()),
    }
}

fn bytes(member: &str, value: Option<&str>) -> Result<Vec<u8>, Box<str>> {
    value
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .ok_or_else(|| format!("`{member}` is missing or not base64url").into())
}

pub(super) fn rsa_members(n: &[u8], e: &[u8]) -> String {
    format!(r#""kty":"RSA","n":"{}","e":"{}""#, encode(n), encode(e))
}

/// Of `x` and `y` behind each other, both as long as the field (RFC 7518 §6.2.1.2).
pub(super) fn point_members(algorithm: JwtAlgorithm, point: &[u8]) -> String {
    let (x, y) = point.split_at(point.len() / 2);
    let curve = match algorithm.family() {
        Family::P256 => "P-256",
        _ => "P-384",
    };
    let (x, y) = (encode(x), encode(y));
    format!(r#""kty":"EC","crv":"{curve}","x":"{x}","y":"{y}""#)
}

pub(super) fn ed25519_members(raw: &[u8]) -> String {
    format!(r#""kty":"OKP","crv":"Ed25519","x":"{}""#, encode(raw))
}

/// One key of a document.
pub(super) fn write(members: &str, algorithm: JwtAlgorithm, kid: Option<&str>) -> String {
    let name = kid.map(|kid| format!(r#""kid":{},"#, serde_json::Value::from(kid)));
    let name = name.unwrap_or_default();
    format!(r#"{{{name}"use":"sig","alg":"{algorithm}",{members}}}"#)
}
