//! A key that signs, together with the key that verifies what it signed.

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair,
    },
};
use jsonwebtoken::{EncodingKey, jwk::EllipticCurve};

use super::{
    JwtAlgorithm, JwtKey,
    algorithm::Family,
    key::{PROVIDER, checked_kid, checked_secret, needs_secret},
    pem,
};
use crate::{error::ConfigError, secret::random_bytes};

/// A key that signs tokens of exactly one algorithm.
///
/// ```
/// use portcullis::jwt::{JwtAlgorithm, KeySet, SigningKey};
///
/// let key = SigningKey::generate(JwtAlgorithm::Es256)?.kid("2026-11")?;
/// let keys = KeySet::new([key.verification_key()])?;
/// assert_eq!(keys.len(), 1);
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct SigningKey {
    kid: Option<Box<str>>,
    material: EncodingKey,
    /// Made from the private key, so that the two cannot differ.
    public: JwtKey,
}

impl SigningKey {
    /// A shared secret, as [`JwtKey::secret`]. Every service that verifies with it can also sign.
    ///
    /// # Errors
    ///
    /// As [`JwtKey::secret`].
    pub fn secret(algorithm: JwtAlgorithm, secret: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let secret = checked_secret(algorithm, secret.as_ref())?;
        Ok(Self {
            kid: None,
            material: EncodingKey::from_secret(secret),
            public: JwtKey::secret(algorithm, secret)?,
        })
    }

    /// A private key in PEM: `PRIVATE KEY` (PKCS#8) or, for RSA, `RSA PRIVATE KEY` (PKCS#1). `openssl pkcs8 -topk8
    /// -nocrypt` makes the former of an `EC PRIVATE KEY`.
    ///
    /// # Errors
    ///
    /// If the text is not one such block, or for the reasons of [`from_pkcs8`](Self::from_pkcs8).
    pub fn from_pem(algorithm: JwtAlgorithm, text: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        match pem::decode(text.as_ref()) {
            Some(("PRIVATE KEY", der)) => Self::from_pkcs8(algorithm, der),
            Some(("RSA PRIVATE KEY", der)) if algorithm.family() == Family::Rsa => {
                Self::rsa(algorithm, &der)
            }
            _ => Err(ConfigError::new(
                "pem",
                "expected one unencrypted PEM block `PRIVATE KEY` (PKCS#8)",
            )),
        }
    }

    /// A private key in PKCS#8 (RFC 5208), unencrypted, in DER.
    ///
    /// # Errors
    ///
    /// If the algorithm is an HMAC, if the bytes are no such key or one of another family or curve, or if an RSA key has
    /// fewer than 2048 bits.
    pub fn from_pkcs8(algorithm: JwtAlgorithm, der: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let der = der.as_ref();
        let utils = &PROVIDER.key_utils;
        let unusable = |error| {
            ConfigError::new("key", format!("not a private key for {algorithm}")).caused_by(error)
        };
        match algorithm.family() {
            Family::Secret => Err(needs_secret("key")),
            Family::Rsa => {
                let key = pem::rsa_from_pkcs8(der)
                    .ok_or_else(|| ConfigError::new("key", "not an RSA private key"))?;
                Self::rsa(algorithm, key)
            }
            Family::P256 | Family::P384 => {
                let (_, x, y) =
                    (utils.ec_pub_components_from_private_key)(der, algorithm.backend())
                        .map_err(unusable)?;
                let public = JwtKey::point(algorithm, &[&[4], &x[..], &y].concat())?;
                Ok(Self {
                    kid: None,
                    material: EncodingKey::from_ec_der(der),
                    public,
                })
            }
            Family::Ed25519 => {
                let x = (utils.ed_pub_components_from_private_key)(der, &EllipticCurve::Ed25519)
                    .map_err(unusable)?;
                Ok(Self {
                    kid: None,
                    material: EncodingKey::from_ed_der(der),
                    public: JwtKey::ed25519(&x)?,
                })
            }
        }
    }

    fn rsa(algorithm: JwtAlgorithm, pkcs1: &[u8]) -> Result<Self, ConfigError> {
        let (n, e) = (PROVIDER.key_utils.rsa_pub_components_from_private_key)(pkcs1)
            .map_err(|error| ConfigError::new("key", "not an RSA private key").caused_by(error))?;
        Ok(Self {
            kid: None,
            material: EncodingKey::from_rsa_der(pkcs1),
            public: JwtKey::rsa(algorithm, &n, &e)?,
        })
    }

    /// A new random key, which is gone when the process ends; for first steps and tests. RSA keys take too long to find
    /// and come from a file.
    ///
    /// # Errors
    ///
    /// If the algorithm is one of RSA's, or if the operating system has no randomness to give.
    pub fn generate(algorithm: JwtAlgorithm) -> Result<Self, ConfigError> {
        let no_randomness = || ConfigError::new("key", "the operating system gave no randomness");
        let random = SystemRandom::new();
        let der = match algorithm.family() {
            Family::Secret => {
                let secret =
                    random_bytes::<64>().map_err(|error| no_randomness().caused_by(error))?;
                return Self::secret(algorithm, secret);
            }
            Family::Rsa => {
                return Err(ConfigError::new(
                    "key",
                    "RSA keys are not generated here, load one",
                ));
            }
            Family::P256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random),
            Family::P384 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random),
            Family::Ed25519 => Ed25519KeyPair::generate_pkcs8(&random),
        };
        Self::from_pkcs8(
            algorithm,
            der.map_err(|error| no_randomness().caused_by(error))?,
        )
    }

    /// Names the key: its tokens carry the name in their `kid` header.
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
        self.public.algorithm()
    }

    /// The name of the key, if it has one.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The key that verifies what this one signs, under the same name.
    #[must_use]
    pub fn verification_key(&self) -> JwtKey {
        self.public.clone().renamed(self.kid.clone())
    }

    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let signer = (PROVIDER.signer_factory)(&self.algorithm().backend(), &self.material).ok()?;
        signer.try_sign(message).ok()
    }
}

/// Says which key it is and nothing of what it is made of.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kid,
            material: _,
            public,
        } = self;
        f.debug_struct("SigningKey")
            .field("algorithm", &public.algorithm())
            .field("kid", kid)
            .finish_non_exhaustive()
    }
}
