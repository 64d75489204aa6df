//! The other side: tokens that a [`JwtVerifyLayer`](super::JwtVerifyLayer) with its default rules accepts.
//!
//! 1. No token without an audience, an expiry, a subject and an id of its own (RFC 9068 §2.2).
//! 2. What this module writes cannot be overwritten by the application's claims.
//! 3. Tokens are `at+jwt`, always: nothing else that the key signs can be taken for one.

use std::{error::Error, fmt, time::Duration};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Grant, IssuerKeys};
use crate::{
    clock::{Clock, millis},
    error::ConfigError,
    secret,
};

/// Longer tokens are not accepted by a layer with default rules, nor by many proxies.
const LARGEST_TOKEN: usize = 8 * 1024;
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Mints access tokens (RFC 9068).
///
/// ```
/// # use std::time::Duration;
/// use portcullis::jwt::{Grant, Issuer, JwtAlgorithm, JwtVerifyLayer, NoClaims, SigningKey};
///
/// let key = SigningKey::generate(JwtAlgorithm::Es256)?.kid("2026-11")?;
/// let layer = JwtVerifyLayer::<NoClaims>::new(key.verification_key()).issuer("https://id.example").audience("api").build()?;
/// let issuer = Issuer::new(key, "https://id.example").audience("api").lifetime(Duration::from_secs(300)).build()?;
///
/// let now_ms = 1_700_000_000_000;
/// let minted = issuer.mint_at(&Grant::user("alice").scope("orders:read"), now_ms)?;
/// let (token, _) = layer.verify_at(minted.token().as_bytes(), now_ms)?;
/// assert_eq!((token.user(), token.jti()), (Some("alice"), Some(minted.jti())));
///
/// // Without an audience there is no issuer (RFC 8725 §3.9).
/// let key = SigningKey::generate(JwtAlgorithm::Es256)?;
/// assert_eq!(Issuer::new(key, "https://id.example").build().unwrap_err().field(), "audience");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Issuer {
    keys: IssuerKeys,
    iss: Box<str>,
    audiences: Vec<Box<str>>,
    lifetime: Duration,
    /// The largest part of the lifetime that a token may lack.
    jitter: f64,
    clock: Clock,
}

/// The settings of an [`Issuer`], until [`build`](Self::build) checks them.
#[derive(Debug)]
#[must_use = "nothing is minted before the issuer is built"]
pub struct IssuerBuilder {
    keys: IssuerKeys,
    iss: Box<str>,
    audiences: Vec<Box<str>>,
    lifetime: Duration,
    jitter: f64,
    clock: Clock,
}

impl Issuer {
    /// Begins an issuer that calls itself `iss` and signs with these keys: one [`SigningKey`](super::SigningKey), or
    /// [`IssuerKeys`] that follow one another.
    #[allow(
        clippy::new_ret_no_self,
        reason = "an issuer exists only when its settings were checked"
    )]
    pub fn new(keys: impl Into<IssuerKeys>, iss: impl Into<Box<str>>) -> IssuerBuilder {
        IssuerBuilder {
            keys: keys.into(),
            iss: iss.into(),
            audiences: Vec::new(),
            lifetime: Duration::from_secs(10 * 60),
            jitter: 0.0,
            clock: Clock::system(),
        }
    }

    /// The keys it signs with, for publishing them.
    #[must_use]
    pub fn keys(&self) -> &IssuerKeys {
        &self.keys
    }

    /// How long its tokens live at most.
    #[cfg(feature = "refresh")]
    pub(crate) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// A token for this grant, valid from now on.
    ///
    /// # Errors
    ///
    /// If the grant has an empty subject or a claim that the issuer writes itself, if the token would be larger than
    /// 8 KiB, or if there is no randomness or the key cannot sign.
    pub fn mint(&self, grant: &Grant) -> Result<MintedToken, MintError> {
        self.mint_at(grant, self.clock.now_millis())
    }

    /// The same, valid from `now_ms` on, milliseconds since the Unix epoch.
    ///
    /// # Errors
    ///
    /// As [`mint`](Self::mint).
    pub fn mint_at(&self, grant: &Grant, now_ms: u64) -> Result<MintedToken, MintError> {
        grant.check()?;
        let random = secret::random_bytes::<24>()
            .map_err(|error| MintError::new("no randomness").caused_by(error))?;
        let (jti, rest) = random.split_at(16);
        let (jti, lifetime) = (secret::encode(jti), self.lifetime_of(rest));
        let claims = self.claims(grant, &jti, now_ms, lifetime);
        let claims = serde_json::to_vec(&claims)
            .map_err(|error| MintError::new("the claims cannot be written").caused_by(error))?;
        let signing = self.keys.signing_at(now_ms);
        let mut token = format!("{}.", signing.header);
        secret::encode_into(claims, &mut token);
        let signature = signing
            .key
            .sign(token.as_bytes())
            .ok_or(MintError::new("the key cannot sign"))?;
        token.push('.');
        secret::encode_into(signature, &mut token);
        if token.len() > LARGEST_TOKEN {
            return Err(MintError::new("the token is larger than 8 KiB"));
        }
        Ok(MintedToken {
            token: token.into(),
            jti: jti.into(),
            lifetime,
        })
    }

    /// Never longer than configured: whatever is kept as long as tokens live must outlive them.
    #[allow(
        clippy::cast_precision_loss,
        reason = "a part of a lifetime needs no more than 53 bits"
    )]
    fn lifetime_of(&self, random: &[u8]) -> Duration {
        let bits = random
            .iter()
            .fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
        let part = self.jitter * (bits >> 11) as f64 / (1_u64 << 53) as f64;
        let lifetime = self.lifetime.mul_f64(1.0 - part);
        Duration::from_secs(lifetime.as_secs().max(1))
    }

    fn audiences_of<'a>(&'a self, grant: &'a Grant) -> &'a [Box<str>] {
        if grant.audiences.is_empty() {
            &self.audiences
        } else {
            &grant.audiences
        }
    }

    fn claims<'a>(
        &'a self,
        grant: &'a Grant,
        jti: &'a str,
        now_ms: u64,
        lifetime: Duration,
    ) -> Body<'a> {
        // Whole seconds, rounded down: many verifiers refuse fractions, and all an `iat` in the future.
        let iat = now_ms / 1000;
        Body {
            iss: &self.iss,
            sub: &grant.sub,
            aud: match self.audiences_of(grant) {
                [only] => Audiences::One(only),
                all => Audiences::Many(all),
            },
            iat,
            exp: iat + lifetime.as_secs(),
            jti,
            auth_ms: grant.auth_ms.unwrap_or(now_ms),
            auth_time: grant.login_ms.map(|ms| ms / 1000),
            sid: grant.sid.as_deref(),
            client_id: grant.client_id.as_deref(),
            tenant: grant.tenant.as_deref(),
            scope: grant.scope.as_deref(),
            more: &grant.more,
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: Audiences<'a>,
    iat: u64,
    exp: u64,
    jti: &'a str,
    auth_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    #[serde(flatten)]
    more: &'a Map<String, Value>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Audiences<'a> {
    One(&'a str),
    Many(&'a [Box<str>]),
}

impl IssuerBuilder {
    /// A service that the tokens are for; at least one must be named. A [`Grant`] can name others.
    pub fn audience(mut self, aud: impl Into<Box<str>>) -> Self {
        self.audiences.push(aud.into());
        self
    }

    /// How long tokens are valid, in whole seconds up to 24 hours; default 10 minutes.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Lets each token live up to this part of its lifetime less, at random, so that the clients of a service that was
    /// restarted do not all come for new ones in the same second: 0.1 of 10 minutes is 9 to 10 minutes. Default 0, at most
    /// 0.5.
    pub fn jitter(mut self, part: f64) -> Self {
        self.jitter = part;
        self
    }

    /// The clock; default the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Checks all settings.
    ///
    /// # Errors
    ///
    /// If there is no audience, if a name is empty, if the lifetime is not 1 second to 24 hours, or the jitter not 0 to
    /// 0.5.
    pub fn build(self) -> Result<Issuer, ConfigError> {
        if self.audiences.is_empty() {
            return Err(ConfigError::new(
                "audience",
                "say with `.audience(..)` which service the tokens are for",
            ));
        }
        if self.iss.is_empty() || self.audiences.iter().any(|audience| audience.is_empty()) {
            return Err(ConfigError::new(
                "issuer",
                "neither the issuer nor an audience may be empty",
            ));
        }
        if self.lifetime.as_secs() == 0 || self.lifetime > LONGEST_LIFE {
            return Err(ConfigError::new("lifetime", "from 1 second to 24 hours"));
        }
        if !(0.0..=0.5).contains(&self.jitter) {
            return Err(ConfigError::new("jitter", "from 0 to 0.5 of the lifetime"));
        }
        Ok(Issuer {
            keys: self.keys,
            iss: self.iss,
            audiences: self.audiences,
            lifetime: self.lifetime,
            jitter: self.jitter,
            clock: self.clock,
        })
    }
}

/// A new token. It is a password: its `Debug` does not show it.
#[derive(Clone)]
pub struct MintedToken {
    token: Box<str>,
    jti: Box<str>,
    lifetime: Duration,
}

impl MintedToken {
    /// The token, as it goes behind `Bearer`.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Its id, 128 random bits in base64url.
    #[must_use]
    pub fn jti(&self) -> &str {
        &self.jti
    }

    /// The value of `expires_in` (RFC 6749 §5.1), in seconds.
    #[must_use]
    pub fn expires_in(&self) -> u64 {
        millis(self.lifetime) / 1000
    }
}

impl fmt::Debug for MintedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MintedToken")
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

/// A token that could not be minted.
#[derive(Debug)]
pub struct MintError {
    message: &'static str,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl MintError {
    pub(super) const fn new(message: &'static str) -> Self {
        Self {
            message,
            source: None,
        }
    }

    fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for MintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl Error for MintError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
