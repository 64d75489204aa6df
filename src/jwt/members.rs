//! The members of header and claims that decide anything, each with the type it must have.

use std::borrow::Cow;

use serde::{
    Deserialize,
    de::{DeserializeSeed, Error as _, MapAccess},
};
use serde_json::value::RawValue;

use super::{
    JwtErrorKind::{self, InvalidClaim, Malformed, UnsupportedHeader},
    json::{Members, Text, Texts, Walk, object, why},
};

/// RFC 7159 §6: beyond 2^53 a number is not the same number to everybody.
const LARGEST_INTEGER: u64 = 1 << 53;

/// The members of the JOSE header that decide anything.
#[derive(Debug, Default)]
pub(super) struct Header<'a> {
    pub(super) alg: Option<Text<'a>>,
    pub(super) typ: Option<Text<'a>>,
    pub(super) kid: Option<Text<'a>>,
    unsupported: bool,
}

impl<'a> Header<'a> {
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, JwtErrorKind> {
        let header: Self = object(text, "", Malformed)?;
        // No extension is understood here, so every `crit` names one that is not (RFC 7515 §4.1.11).
        if header.unsupported {
            Err(UnsupportedHeader)
        } else {
            Ok(header)
        }
    }
}

/// The claims that decide anything. Times are in milliseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(super) struct Registered<'a> {
    pub(super) iss: Option<Text<'a>>,
    pub(super) sub: Option<Text<'a>>,
    pub(super) aud: Option<Texts<'a>>,
    pub(super) jti: Option<Text<'a>>,
    pub(super) sid: Option<Text<'a>>,
    pub(super) client_id: Option<Text<'a>>,
    pub(super) azp: Option<Text<'a>>,
    pub(super) gty: Option<Texts<'a>>,
    pub(super) tenant: Option<Text<'a>>,
    pub(super) scope: Option<Texts<'a>>,
    pub(super) scp: Option<Texts<'a>>,
    pub(super) acr: Option<Text<'a>>,
    pub(super) amr: Option<Texts<'a>>,
    pub(super) exp: Option<u64>,
    pub(super) nbf: Option<u64>,
    pub(super) iat: Option<u64>,
    pub(super) auth_time: Option<u64>,
    pub(super) auth_ms: Option<u64>,
    pub(super) authorization_details: Option<&'a RawValue>,
    /// `cnf` (RFC 7800): whoever presents the token has to prove something as well.
    pub(super) confirmation: bool,
    /// A claim that only ID tokens, logout tokens or security events have.
    pub(super) other_kind: bool,
}

impl<'a> Registered<'a> {
    pub(super) fn parse(text: &'a [u8], tenant_claim: &str) -> Result<Self, JwtErrorKind> {
        let claims: Self = object(text, tenant_claim, InvalidClaim)?;
        if let Some(details) = claims.authorization_details {
            // It was set aside as text, so its inside has not been walked yet.
            let mut reader = serde_json::Deserializer::from_str(details.get());
            Walk.deserialize(&mut reader)
                .map_err(|error| why(&error, InvalidClaim))?;
        }
        Ok(claims)
    }
}

impl<'a> Members<'a> for Header<'a> {
    fn take<A: MapAccess<'a>>(
        &mut self,
        name: &str,
        _: &str,
        map: &mut A,
    ) -> Result<bool, A::Error> {
        match name {
            "alg" => self.alg = Some(map.next_value()?),
            "typ" => self.typ = Some(map.next_value()?),
            "kid" => self.kid = Some(map.next_value()?),
            "crit" | "zip" | "enc" | "b64" => {
                self.unsupported = true;
                return Ok(false);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl<'a> Members<'a> for Registered<'a> {
    fn take<A: MapAccess<'a>>(
        &mut self,
        name: &str,
        tenant_claim: &str,
        map: &mut A,
    ) -> Result<bool, A::Error> {
        if name == tenant_claim {
            self.tenant = Some(map.next_value()?);
            return Ok(true);
        }
        match name {
            "iss" => self.iss = Some(map.next_value()?),
            "sub" => self.sub = Some(map.next_value()?),
            "aud" => self.aud = Some(map.next_value()?),
            "jti" => self.jti = Some(map.next_value()?),
            "sid" => self.sid = Some(map.next_value()?),
            "client_id" => self.client_id = Some(map.next_value()?),
            "azp" => self.azp = Some(map.next_value()?),
            "gty" => self.gty = Some(map.next_value()?),
            "scope" => self.scope = Some(map.next_value()?),
            "scp" => self.scp = Some(map.next_value()?),
            "acr" => self.acr = Some(map.next_value()?),
            "amr" => self.amr = Some(map.next_value()?),
            "exp" => self.exp = Some(numeric_date(map)?),
            "nbf" => self.nbf = Some(numeric_date(map)?),
            "iat" => self.iat = Some(numeric_date(map)?),
            "auth_time" => self.auth_time = Some(numeric_date(map)?),
            "auth_ms" => self.auth_ms = Some(milliseconds(map)?),
            "authorization_details" => self.authorization_details = Some(map.next_value()?),
            "cnf" => {
                self.confirmation = true;
                return Ok(false);
            }
            "at_hash" | "c_hash" | "events" => {
                self.other_kind = true;
                return Ok(false);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Seconds since the epoch, fractions allowed (RFC 7519 §2 *NumericDate*), as milliseconds rounded down. Negative times
/// and times beyond 2^53 seconds are refused rather than clamped.
fn numeric_date<'a, A: MapAccess<'a>>(map: &mut A) -> Result<u64, A::Error> {
    let text = map.next_value::<&RawValue>()?.get();
    parse_seconds(text).ok_or_else(|| A::Error::custom("not a time in seconds"))
}

fn parse_seconds(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse::<u64>() {
        return (seconds <= LARGEST_INTEGER).then(|| seconds * 1000);
    }
    // Strings, `null`, `true`, arrays and objects: Rust's parser would take `inf` and `nan`, which are no JSON anyway.
    if !text.starts_with(|char: char| char == '-' || char.is_ascii_digit()) {
        return None;
    }
    let seconds: f64 = text.parse().ok()?;
    // Within the range a float is exact to the millisecond for the next 200 000 years.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    (0.0..=LARGEST_INTEGER as f64)
        .contains(&seconds)
        .then_some((seconds * 1000.0) as u64)
}

fn milliseconds<'a, A: MapAccess<'a>>(map: &mut A) -> Result<u64, A::Error> {
    let text = map.next_value::<&RawValue>()?.get();
    let whole = text
        .parse()
        .ok()
        .filter(|&millis| millis <= LARGEST_INTEGER);
    whole.ok_or_else(|| A::Error::custom("not a time in milliseconds"))
}

/// One entry of `authorization_details` (RFC 9396 §2): its type and its own text.
pub(super) fn authorization_details(text: &RawValue) -> Option<Vec<(Box<str>, Box<RawValue>)>> {
    #[derive(Deserialize)]
    struct Entry<'a> {
        #[serde(borrow, rename = "type")]
        name: Cow<'a, str>,
    }
    let entries: Vec<&RawValue> = serde_json::from_str(text.get()).ok()?;
    let typed = entries.into_iter().map(|raw| {
        let entry: Entry<'_> = serde_json::from_str(raw.get()).ok()?;
        Some((entry.name.as_ref().into(), raw.to_owned()))
    });
    typed.collect()
}
