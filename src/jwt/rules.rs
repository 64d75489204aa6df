//! What a token must satisfy, checked once when a layer is built.
//!
//! Every rule that protects is on from the start; the fields named `any_…` and `ignore_…` are set by the builder's
//! `insecure_…` methods only.

use std::{sync::Arc, time::Duration};

use super::{KeySetHandle, verify::without_application};
use crate::{clock::millis, error::ConfigError, secret::sha256_of_parts};

/// The longest leeway: RFC 7519 §4.1.4 allows "no more than a few minutes", OWASP less.
const LONGEST_LEEWAY: Duration = Duration::from_secs(60);
/// The members of a token that mean something already.
const TAKEN_CLAIMS: [&str; 22] = [
    "iss",
    "sub",
    "aud",
    "jti",
    "sid",
    "client_id",
    "azp",
    "gty",
    "scope",
    "scp",
    "acr",
    "amr",
    "exp",
    "nbf",
    "iat",
    "auth_time",
    "auth_ms",
    "authorization_details",
    "cnf",
    "events",
    "at_hash",
    "c_hash",
];

/// The rules as they are being collected.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) keys: KeySetHandle,
    pub(super) iss: Option<Box<str>>,
    pub(super) any_issuer: bool,
    pub(super) other_issuers: Vec<(Box<str>, KeySetHandle)>,
    pub(super) audiences: Vec<Box<str>>,
    pub(super) any_audience: bool,
    pub(super) types: Vec<Box<str>>,
    pub(super) any_type: bool,
    pub(super) leeway: Duration,
    pub(super) max_life: Duration,
    pub(super) max_size: usize,
    pub(super) subject_required: bool,
    pub(super) tenant_claim: Box<str>,
    pub(super) ignore_confirmation: bool,
}

/// The rules as they are applied.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) issuers: Vec<TrustedIssuer>,
    /// `None`: any, or none at all.
    pub(super) audiences: Option<Vec<Box<str>>>,
    /// `None`: any, or none at all. Without `application/`.
    pub(super) types: Option<Vec<Box<str>>>,
    pub(super) leeway_ms: u64,
    pub(super) max_life_ms: u64,
    pub(super) max_size: usize,
    pub(super) subject_required: bool,
    pub(super) tenant_claim: Box<str>,
    pub(super) ignore_confirmation: bool,
}

/// An issuer and the keys that speak for it, and for nobody else.
#[derive(Debug)]
pub(super) struct TrustedIssuer {
    /// `None`: any, or none at all.
    pub(super) iss: Option<Box<str>>,
    pub(super) keys: KeySetHandle,
}

impl Draft {
    pub(super) fn new(keys: KeySetHandle) -> Self {
        Self {
            keys,
            iss: None,
            any_issuer: false,
            other_issuers: Vec::new(),
            audiences: Vec::new(),
            any_audience: false,
            types: Vec::new(),
            any_type: false,
            leeway: Duration::from_secs(30),
            max_life: Duration::from_secs(24 * 60 * 60),
            max_size: 8 * 1024,
            subject_required: true,
            tenant_claim: "tenant".into(),
            ignore_confirmation: false,
        }
    }

    pub(super) fn check(self) -> Result<Rules, ConfigError> {
        self.check_limits()?;
        let audiences = self.checked_audiences()?;
        let types = self.checked_types()?;
        Ok(Rules {
            audiences,
            types,
            leeway_ms: millis(self.leeway),
            max_life_ms: millis(self.max_life),
            max_size: self.max_size,
            subject_required: self.subject_required,
            ignore_confirmation: self.ignore_confirmation,
            tenant_claim: self.tenant_claim.clone(),
            issuers: self.checked_issuers()?,
        })
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        if self.leeway > LONGEST_LEEWAY {
            return Err(ConfigError::new(
                "leeway",
                "more than 60 seconds; set the clocks instead",
            ));
        }
        if self.max_life.is_zero() {
            return Err(ConfigError::new(
                "max_token_life",
                "no token could ever be accepted",
            ));
        }
        if !(256..=64 * 1024).contains(&self.max_size) {
            return Err(ConfigError::new(
                "max_token_size",
                "between 256 bytes and 64 KiB",
            ));
        }
        if self.tenant_claim.is_empty() || TAKEN_CLAIMS.contains(&&*self.tenant_claim) {
            return Err(ConfigError::new("tenant_claim", "a claim of its own name"));
        }
        Ok(())
    }

    fn checked_audiences(&self) -> Result<Option<Vec<Box<str>>>, ConfigError> {
        match (self.audiences.is_empty(), self.any_audience) {
            (true, false) => Err(ConfigError::new(
                "audience",
                "say who this service is with `.audience(..)`: a token for another service must not open it",
            )),
            (false, true) => Err(ConfigError::new(
                "audience",
                "`.insecure_any_audience()` contradicts `.audience(..)`",
            )),
            _ if self.audiences.iter().any(|audience| audience.is_empty()) => {
                Err(ConfigError::new("audience", "must not be empty"))
            }
            _ => Ok((!self.any_audience).then(|| self.audiences.clone())),
        }
    }

    fn checked_types(&self) -> Result<Option<Vec<Box<str>>>, ConfigError> {
        if self.any_type && !self.types.is_empty() {
            return Err(ConfigError::new(
                "typ",
                "`.insecure_any_typ()` contradicts `.typ(..)`",
            ));
        }
        let types = if self.types.is_empty() {
            &["at+jwt".into()][..]
        } else {
            &self.types
        };
        if types.iter().any(|typ| typ.is_empty()) {
            return Err(ConfigError::new("typ", "must not be empty"));
        }
        Ok((!self.any_type).then(|| {
            types
                .iter()
                .map(|typ| without_application(typ).into())
                .collect()
        }))
    }

    fn checked_issuers(self) -> Result<Vec<TrustedIssuer>, ConfigError> {
        match (&self.iss, self.any_issuer) {
            (None, false) => {
                return Err(ConfigError::new(
                    "issuer",
                    "say whose tokens these keys verify with `.issuer(..)`",
                ));
            }
            (Some(_), true) => {
                return Err(ConfigError::new(
                    "issuer",
                    "`.insecure_any_issuer()` contradicts `.issuer(..)`",
                ));
            }
            (None, true) if !self.other_issuers.is_empty() => {
                return Err(ConfigError::new(
                    "issuer",
                    "`.or_issuer(..)` needs the first issuer to be named as well",
                ));
            }
            _ => {}
        }
        let first = TrustedIssuer {
            iss: self.iss,
            keys: self.keys,
        };
        let others = self
            .other_issuers
            .into_iter()
            .map(|(iss, keys)| TrustedIssuer {
                iss: Some(iss),
                keys,
            });
        let issuers: Vec<_> = std::iter::once(first).chain(others).collect();
        check_issuers(&issuers)?;
        Ok(issuers)
    }
}

fn check_issuers(issuers: &[TrustedIssuer]) -> Result<(), ConfigError> {
    let symmetric = |issuer: &TrustedIssuer| issuer.keys.current().keys.is_symmetric();
    if issuers
        .iter()
        .any(|issuer| symmetric(issuer) != symmetric(&issuers[0]))
    {
        return Err(ConfigError::new(
            "or_issuer",
            "secrets and public keys cannot share a layer",
        ));
    }
    for (at, issuer) in issuers.iter().enumerate() {
        if issuer.iss.as_deref().is_some_and(str::is_empty) {
            return Err(ConfigError::new("issuer", "must not be empty"));
        }
        if issuers[..at].iter().any(|other| other.iss == issuer.iss) {
            return Err(ConfigError::new(
                "or_issuer",
                "an issuer is named twice: give it one set of all its keys",
            ));
        }
    }
    Ok(())
}

impl Rules {
    /// Two layers with the same fingerprint and the same generations of keys accept the same tokens. Whatever remembers
    /// verified tokens keeps them under it, so that no layer answers for another.
    pub(super) fn fingerprint(&self, claims_type: &str) -> [u8; 32] {
        let limits = [self.leeway_ms, self.max_life_ms, self.max_size as u64].map(u64::to_be_bytes);
        let flags = [
            u8::from(self.subject_required),
            u8::from(self.ignore_confirmation),
        ];
        let issuers = list(self.issuers.iter().map(|issuer| issuer.iss.as_deref()));
        let optional = |texts: &Option<Vec<Box<str>>>| match texts {
            Some(texts) => list(texts.iter().map(|text| Some(&**text))),
            None => list(std::iter::once(None)),
        };
        sha256_of_parts(&[
            b"portcullis jwt rules 1",
            claims_type.as_bytes(),
            limits.as_flattened(),
            &flags,
            self.tenant_claim.as_bytes(),
            &issuers,
            &optional(&self.audiences),
            &optional(&self.types),
        ])
    }

    /// The generations of all key sets, in the order of the issuers.
    pub(super) fn generations(&self) -> impl Iterator<Item = u64> {
        self.issuers.iter().map(|issuer| issuer.keys.generation())
    }
}

/// A hash of a list that tells its borders and its absent entries.
fn list<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> [u8; 32] {
    let parts: Vec<&[u8]> = texts
        .flat_map(|text| {
            [
                if text.is_some() { b"1" } else { &b"0"[..] },
                text.unwrap_or_default().as_bytes(),
            ]
        })
        .collect();
    sha256_of_parts(&parts)
}

/// The scopes of a setting: tokens of RFC 6749 §3.3, separated by single spaces.
pub(super) fn checked_scopes(scopes: &str) -> Result<Arc<str>, ConfigError> {
    let is_scope = |scope: &str| {
        !scope.is_empty()
            && scope
                .bytes()
                .all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
    };
    if !scopes.split(' ').all(is_scope) {
        return Err(ConfigError::new(
            "scope",
            "one or more scopes, separated by single spaces, as in `read write`",
        ));
    }
    Ok(scopes.into())
}
