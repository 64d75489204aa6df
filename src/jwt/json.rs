//! The header and the claims, each read in one pass that takes nothing twice.
//!
//! 1. A name that occurs twice in one object, at any depth, refuses the token: parsers disagree about which one counts
//!    (RFC 8725 §2.6), so an attacker could choose. Names are compared as they read after unescaping.
//! 2. A member that this crate interprets has the type it must have, or the token is refused; there are no conversions.
//! 3. Numbers are interpreted from their text, so that features which others switch on in `serde_json` change nothing.
//! 4. Members that nobody interprets are walked through and forgotten. `jku`, `jwk`, `x5u` and `x5c` are among them: no
//!    key ever comes from a token (RFC 8725 §3.10).

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::JwtErrorKind::{self, DuplicateMember, InvalidClaim, Malformed, UnsupportedHeader};

/// Names per object that are compared one by one before a table is worth its allocation.
const FEW: usize = 16;
/// What the errors of this module say when it was rule 1.
const TWICE: &str = "duplicate member";
/// RFC 7159 §6: beyond 2^53 a number is not the same number to everybody.
const LARGEST_INTEGER: u64 = 1 << 53;

/// A string, borrowed unless it was escaped.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A string or an array of strings.
#[derive(Debug)]
pub(super) enum Texts<'a> {
    One(Text<'a>),
    Many(Vec<Text<'a>>),
}

impl Texts<'_> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let texts = match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        };
        texts.iter().map(Text::as_str)
    }
}

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

/// Reads one JSON object that is the whole of `text`.
fn object<'a, M: Members<'a> + Default>(
    text: &'a [u8],
    tenant_claim: &str,
    otherwise: JwtErrorKind,
) -> Result<M, JwtErrorKind> {
    let text = std::str::from_utf8(text).map_err(|_| Malformed)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let mut members = M::default();
    reader
        .deserialize_map(Object {
            members: &mut members,
            tenant_claim,
        })
        .and_then(|()| reader.end())
        .map_err(|error| why(&error, otherwise))?;
    Ok(members)
}

/// `serde_json` cannot carry an error type of ours, only its text.
fn why(error: &serde_json::Error, otherwise: JwtErrorKind) -> JwtErrorKind {
    match error.classify() {
        serde_json::error::Category::Data if error.to_string().starts_with(TWICE) => {
            DuplicateMember
        }
        serde_json::error::Category::Data => otherwise,
        _ => Malformed,
    }
}

/// The members of an object that somebody wants.
trait Members<'a> {
    /// Takes the value of `name`; `false` leaves it where it is.
    fn take<A: MapAccess<'a>>(
        &mut self,
        name: &str,
        tenant_claim: &str,
        map: &mut A,
    ) -> Result<bool, A::Error>;
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

struct Object<'m, M> {
    members: &'m mut M,
    tenant_claim: &'m str,
}

impl<'a, M: Members<'a>> Visitor<'a> for Object<'_, M> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = Names::default();
        while let Some(name) = map.next_key::<Text<'a>>()? {
            if !self
                .members
                .take(name.as_str(), self.tenant_claim, &mut map)?
            {
                map.next_value_seed(Walk)?;
            }
            names.add(name)?;
        }
        Ok(())
    }
}

/// Walks through a value of any shape and keeps rule 1.
struct Walk;

impl<'a> DeserializeSeed<'a> for Walk {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Walk {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    // With `arbitrary_precision` on, a number arrives here as an object of one member: nothing is lost by that.
    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = Names::default();
        while let Some(name) = map.next_key::<Text<'a>>()? {
            names.add(name)?;
            map.next_value_seed(Self)?;
        }
        Ok(())
    }
}

/// The names of one object so far.
#[derive(Default)]
struct Names<'a> {
    few: Vec<Text<'a>>,
    many: HashSet<Text<'a>>,
}

impl<'a> Names<'a> {
    fn add<E: serde::de::Error>(&mut self, name: Text<'a>) -> Result<(), E> {
        let fresh = if self.few.len() < FEW {
            let fresh = !self.few.contains(&name);
            self.few.push(name);
            fresh
        } else {
            !self.few.contains(&name) && self.many.insert(name)
        };
        if fresh { Ok(()) } else { Err(E::custom(TWICE)) }
    }
}

impl<'a> Deserialize<'a> for Text<'a> {
    fn deserialize<D: Deserializer<'a>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'a> Visitor<'a> for TextVisitor {
    type Value = Text<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Text<'a>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'a>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

impl<'a> Deserialize<'a> for Texts<'a> {
    fn deserialize<D: Deserializer<'a>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_any(TextsVisitor)
    }
}

struct TextsVisitor;

impl<'a> Visitor<'a> for TextsVisitor {
    type Value = Texts<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of strings")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'a str) -> Result<Texts<'a>, E> {
        TextVisitor.visit_borrowed_str(text).map(Texts::One)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Texts<'a>, E> {
        TextVisitor.visit_str(text).map(Texts::One)
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<Texts<'a>, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = seq.next_element()? {
            texts.push(text);
        }
        Ok(Texts::Many(texts))
    }
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
