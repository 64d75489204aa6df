//! The header and the claims, each read in one pass that takes nothing twice.
//!
//! 1. A name that occurs twice in one object, at any depth, refuses the token: parsers disagree about which one counts
//!    (RFC 8725 §2.6), so an attacker could choose. Names are compared as they read after unescaping.
//! 2. A member that this crate interprets has the type it must have, or the token is refused; there are no conversions.
//! 3. Numbers are interpreted from their text, so that features which others switch on in `serde_json` change nothing.
//! 4. Members that nobody interprets are walked through and forgotten. `jku`, `jwk`, `x5u` and `x5c` are among them: no
//!    key ever comes from a token (RFC 8725 §3.10).

use std::{borrow::Cow, collections::HashSet, fmt};

use super::JwtErrorKind::{self, DuplicateMember, Malformed};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor},
};

/// Names per object that are compared one by one before a table is worth its allocation.
const FEW: usize = 16;
/// What the errors of this module say when it was rule 1.
const TWICE: &str = "duplicate member";

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

/// Reads one JSON object that is the whole of `text`.
pub(super) fn object<'a, M: Members<'a> + Default>(
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
pub(super) fn why(error: &serde_json::Error, otherwise: JwtErrorKind) -> JwtErrorKind {
    match error.classify() {
        serde_json::error::Category::Data if error.to_string().starts_with(TWICE) => {
            DuplicateMember
        }
        serde_json::error::Category::Data => otherwise,
        _ => Malformed,
    }
}

/// The members of an object that somebody wants.
pub(super) trait Members<'a> {
    /// Takes the value of `name`; `false` leaves it where it is.
    fn take<A: MapAccess<'a>>(
        &mut self,
        name: &str,
        tenant_claim: &str,
        map: &mut A,
    ) -> Result<bool, A::Error>;
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
pub(super) struct Walk;

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

/// The names of one object so far. The first ones need no allocation.
struct Names<'a> {
    few: [Text<'a>; FEW],
    len: usize,
    many: HashSet<Text<'a>>,
}

impl Default for Names<'_> {
    fn default() -> Self {
        Self {
            few: std::array::from_fn(|_| Text(Cow::Borrowed(""))),
            len: 0,
            many: HashSet::default(),
        }
    }
}

impl<'a> Names<'a> {
    fn add<E: serde::de::Error>(&mut self, name: Text<'a>) -> Result<(), E> {
        let (taken, free) = self.few.split_at_mut(self.len);
        let mut fresh = !taken.contains(&name);
        match free.first_mut() {
            Some(place) => {
                *place = name;
                self.len += 1;
            }
            None => fresh &= self.many.insert(name),
        }
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
