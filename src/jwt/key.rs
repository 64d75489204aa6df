//! A verification key, bound to exactly one algorithm.
//!
//! 1. The algorithm is a property of the key, never of the token: a header can only agree with it or be refused.
//! 2. A secret never becomes a public key nor the other way round: every constructor knows one family only.
//! 3. A key that could not verify anything (a point off its curve, a short modulus) is refused when it is loaded.
//! 4. The cryptographic provider is named here, directly: jsonwebtoken's process-wide default panics as soon as
//!    somebody else in the build switches on its other backend.

use std::{fmt, sync::Arc};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey};
use jsonwebtoken::{
    DecodingKey,
    crypto::{CryptoProvider, aws_lc},
};

use super::{JwtAlgorithm, algorithm::Family, jwk, pem};
use crate::error::ConfigError;

/// See rule 4.
pub(super) static PROVIDER: &CryptoProvider = &aws_lc::DEFAULT_PROVIDER;

/// Longer key ids are refused, in keys and in tokens.
pub(super) const LONGEST_KID: usize = 256;

/// A key that verifies tokens of exactly one algorithm.
///
/// ```
/// use portcullis::jwt::{JwtAlgorithm, JwtKey};
///
/// let key = JwtKey::secret(JwtAlgorithm::Hs256, [7; 32])?.kid("2026-11")?;
/// assert_eq!(key.algorithm(), JwtAlgorithm::Hs256);
///
/// // RFC 7518 §3.2: a secret is at least as long as the hash.
/// assert_eq!(JwtKey::secret(JwtAlgorithm::Hs512, [7; 32]).unwrap_err().field(), "secret");
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct JwtKey {
    algorithm: JwtAlgorithm,
    kid: Option<Box<str>>,
    material: DecodingKey,
    /// The members of its JWK that are public; `None` for a secret.
    members: Option<Arc<str>>,
}

impl JwtKey {
    /// A shared secret for HS256, HS384 or HS512. It should come from a random generator, not from a keyboard.
    ///
    /// # Errors
    ///
    /// If the algorithm is not an HMAC, if the secret is shorter than 32, 48 or 64 bytes (RFC 7518 §3.2), or if it is
    /// the text of a key file (PEM, JWK, SSH): a *public* key used as a secret lets everybody sign.
    pub fn secret(algorithm: JwtAlgorithm, secret: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let secret = checked_secret(algorithm, secret.as_ref())?;
        Ok(Self::new(algorithm, DecodingKey::from_secret(secret)))
    }

    /// A public key in PEM: `PUBLIC KEY` (SubjectPublicKeyInfo) or, for RSA, `RSA PUBLIC KEY` (PKCS#1).
    ///
    /// # Errors
    ///
    /// If the text is not one such block, or for the reasons of [`from_der`](Self::from_der).
    pub fn from_pem(algorithm: JwtAlgorithm, text: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let not_public = || {
            ConfigError::new(
                "pem",
                "expected one PEM block `PUBLIC KEY` or `RSA PUBLIC KEY`",
            )
        };
        let (label, der) = pem::decode(text.as_ref()).ok_or_else(not_public)?;
        match (label, algorithm.family()) {
            ("PUBLIC KEY", _) | ("RSA PUBLIC KEY", Family::Rsa) => Self::from_der(algorithm, der),
            ("PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY", _) => Err(ConfigError::new(
                "pem",
                "this is a private key: verification needs the public one only",
            )),
            _ => Err(not_public()),
        }
    }

    /// A public key in DER: SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) or, for RSA, PKCS#1.
    ///
    /// # Errors
    ///
    /// If the algorithm is an HMAC, if the bytes are no such key or a key of another family or curve, if a point is
    /// not on its curve, or if an RSA key has fewer than 2048 or more than 8192 bits.
    pub fn from_der(algorithm: JwtAlgorithm, der: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        const ED25519_PREFIX: [u8; 12] = [
            0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
        ];
        let der = der.as_ref();
        match algorithm.family() {
            Family::Secret => Err(needs_secret("der")),
            Family::Rsa => {
                let (n, e) = (PROVIDER.key_utils.rsa_pub_components_from_public_key)(der).map_err(
                    |error| ConfigError::new("der", "not an RSA public key").caused_by(error),
                )?;
                Self::rsa(algorithm, &n, &e)
            }
            Family::P256 | Family::P384 => {
                on_curve(algorithm, der)?;
                // The point is the last field of a SubjectPublicKeyInfo, and `point` checks it again.
                Self::point(
                    algorithm,
                    &der[der.len().saturating_sub(point_len(algorithm))..],
                )
            }
            Family::Ed25519 => match der.strip_prefix(&ED25519_PREFIX) {
                Some(raw) => Self::ed25519(raw),
                None => Err(ConfigError::new("der", "not an Ed25519 public key")),
            },
        }
    }

    /// One JSON Web Key (RFC 7517). Its algorithm is the member `alg` or, where that is missing, the only one its
    /// curve has; an RSA key without `alg` verifies RS256.
    ///
    /// # Errors
    ///
    /// If the key is malformed, of an unsupported kind, not meant for signatures (`use`, `key_ops`), too weak, or
    /// names an algorithm that does not belong to its `kty` and `crv`.
    pub fn from_jwk(text: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        jwk::key(text.as_ref()).map_err(|reason| ConfigError::new("jwk", reason))
    }

    /// Names the key: a token with a `kid` header is verified by the key of exactly this name.
    ///
    /// # Errors
    ///
    /// If the name is empty or longer than 256 bytes.
    pub fn kid(mut self, kid: impl Into<Box<str>>) -> Result<Self, ConfigError> {
        self.kid = Some(checked_kid(kid.into())?);
        Ok(self)
    }

    /// The one algorithm of this key.
    #[must_use]
    pub fn algorithm(&self) -> JwtAlgorithm {
        self.algorithm
    }

    /// The name of the key, if it has one.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The key as a JSON Web Key (RFC 7517), for those who verify elsewhere; `None` for a secret, which is not published.
    #[must_use]
    pub fn to_jwk(&self) -> Option<String> {
        let members = self.members.as_deref()?;
        Some(jwk::write(members, self.algorithm, self.kid.as_deref()))
    }

    pub(super) fn renamed(self, kid: Option<Box<str>>) -> Self {
        Self { kid, ..self }
    }

    /// Whether `signature` is one of `message`. It is handed over because the backend wants a `Vec`.
    pub(super) fn verify(&self, message: &[u8], signature: &Vec<u8>) -> bool {
        if self
            .algorithm
            .signature_len()
            .is_some_and(|len| len != signature.len())
            || self.has_zero_half(signature)
        {
            return false;
        }
        (PROVIDER.verifier_factory)(&self.algorithm.backend(), &self.material)
            .is_ok_and(|verifier| verifier.verify(message, signature).is_ok())
    }

    /// r = 0 or s = 0, the signature that once fitted every message (CVE-2022-21449). The backend refuses it too.
    fn has_zero_half(&self, signature: &[u8]) -> bool {
        let is_ecdsa = matches!(self.algorithm.family(), Family::P256 | Family::P384);
        let (r, s) = signature.split_at(signature.len() / 2);
        is_ecdsa && [r, s].iter().any(|half| half.iter().all(|&byte| byte == 0))
    }

    pub(super) fn rsa(algorithm: JwtAlgorithm, n: &[u8], e: &[u8]) -> Result<Self, ConfigError> {
        let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
        let bits = n
            .first()
            .map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) {
            return Err(ConfigError::new(
                "key",
                format!("an RSA key has 2048 to 8192 bits, this one {bits}"),
            ));
        }
        // With the exponent 1 every padded message is its own signature; larger ones than 32 bits only cost time.
        let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
        if !odd(n) || !odd(e) || e == [1] || e.len() > 4 {
            return Err(ConfigError::new("key", "not an RSA public key"));
        }
        Ok(
            Self::new(algorithm, DecodingKey::from_rsa_raw_components(n, e))
                .publishable(jwk::rsa_members(n, e)),
        )
    }

    /// An uncompressed point.
    pub(super) fn point(algorithm: JwtAlgorithm, point: &[u8]) -> Result<Self, ConfigError> {
        if point.len() != point_len(algorithm) || point[0] != 4 {
            return Err(ConfigError::new(
                "key",
                "an EC key must be an uncompressed point of the algorithm's curve",
            ));
        }
        on_curve(algorithm, point)?;
        let key = Self::new(algorithm, DecodingKey::from_ec_der(point));
        Ok(key.publishable(jwk::point_members(algorithm, &point[1..])))
    }

    pub(super) fn ed25519(raw: &[u8]) -> Result<Self, ConfigError> {
        if raw.len() != 32 {
            return Err(ConfigError::new(
                "key",
                "an Ed25519 public key has 32 bytes",
            ));
        }
        Ok(
            Self::new(JwtAlgorithm::EdDsa, DecodingKey::from_ed_der(raw))
                .publishable(jwk::ed25519_members(raw)),
        )
    }

    fn new(algorithm: JwtAlgorithm, material: DecodingKey) -> Self {
        Self {
            algorithm,
            kid: None,
            material,
            members: None,
        }
    }

    fn publishable(self, members: String) -> Self {
        Self {
            members: Some(members.into()),
            ..self
        }
    }
}

/// Says which key it is and nothing of what it is made of.
impl fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            algorithm,
            kid,
            material: _,
            members: _,
        } = self;
        f.debug_struct("JwtKey")
            .field("algorithm", algorithm)
            .field("kid", kid)
            .finish_non_exhaustive()
    }
}

pub(super) fn checked_secret(algorithm: JwtAlgorithm, secret: &[u8]) -> Result<&[u8], ConfigError> {
    if !algorithm.is_symmetric() {
        return Err(ConfigError::new(
            "algorithm",
            format!("{algorithm} needs a key pair, not a secret"),
        ));
    }
    if pem::looks_like_a_key_file(secret) {
        return Err(ConfigError::new(
            "secret",
            "this is the text of a key file, not a secret",
        ));
    }
    let shortest = algorithm.shortest_secret();
    if secret.len() < shortest {
        return Err(ConfigError::new(
            "secret",
            format!("{algorithm} needs at least {shortest} bytes"),
        ));
    }
    Ok(secret)
}

pub(super) fn checked_kid(kid: Box<str>) -> Result<Box<str>, ConfigError> {
    if kid.is_empty() || kid.len() > LONGEST_KID {
        return Err(ConfigError::new(
            "kid",
            format!("a key id has 1 to {LONGEST_KID} bytes"),
        ));
    }
    Ok(kid)
}

pub(super) fn needs_secret(field: &'static str) -> ConfigError {
    ConfigError::new(
        field,
        "an HMAC algorithm is given its secret, not a key pair",
    )
}

fn on_curve(algorithm: JwtAlgorithm, key: &[u8]) -> Result<(), ConfigError> {
    let curve = if algorithm.family() == Family::P256 {
        &ECDSA_P256_SHA256_FIXED
    } else {
        &ECDSA_P384_SHA384_FIXED
    };
    ParsedPublicKey::new(curve, key).map(drop).map_err(|error| {
        ConfigError::new("key", format!("not a public key for {algorithm}")).caused_by(error)
    })
}

fn point_len(algorithm: JwtAlgorithm) -> usize {
    if algorithm.family() == Family::P256 {
        65
    } else {
        97
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    /// RFC 8037, appendix A.4: its payload is text, so it can be tried on the key only.
    #[test]
    fn the_signature_of_rfc_8037_is_accepted() {
        let key =
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let key = JwtKey::from_jwk(key).expect("the key of the RFC");
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let mut signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        assert!(key.verify(message, &signature));
        signature[0] ^= 1;
        assert!(!key.verify(message, &signature));
    }

    /// The backend is asked nothing about lengths and zeros that it might one day be lenient about.
    #[test]
    fn signatures_of_another_length_never_reach_the_backend() {
        let key = JwtKey::secret(JwtAlgorithm::Hs256, [7; 32]).expect("a key");
        for len in [0, 1, 31, 33, 64] {
            assert!(!key.verify(b"m", &vec![0; len]));
        }
    }
}
