//! What a client asks for: a form, as OAuth has it, or the same names in a JSON object.
//!
//! A name that comes twice could be read as either by two parties: it is refused (RFC 6749 §3.2), but for `resource`, which
//! may be repeated (RFC 8707 §2). An empty value is none (RFC 6749 §3.1).

use std::{borrow::Cow, fmt};

use http::{header::CONTENT_TYPE, request};
use serde::{
    Deserialize,
    de::{MapAccess, Visitor},
};

use super::{LARGEST_BODY, answer::Fault};
use crate::refuse::RejectionKind;

#[derive(Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

/// Which bodies are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accept {
    JsonOrForm,
    /// What a page of another site cannot send without asking first (CORS preflight).
    JsonOnly,
    /// Also no body at all.
    Anything,
}

impl Params {
    pub(super) fn read(head: &request::Parts, body: &[u8], accept: Accept) -> Result<Self, Fault> {
        if body.len() > LARGEST_BODY {
            return Err(RejectionKind::TooLarge.into());
        }
        let pairs = match (media_type(head).as_deref(), accept) {
            (Some("application/json"), _) if body.trim_ascii().is_empty() => Vec::new(),
            (Some("application/json"), _) => json(body)?,
            (Some("application/x-www-form-urlencoded"), Accept::JsonOrForm | Accept::Anything) => {
                form(body)
            }
            (None, Accept::Anything) if body.is_empty() => Vec::new(),
            _ => return Err(RejectionKind::UnsupportedMediaType.into()),
        };
        let params = Self(pairs);
        let names = params.0.iter().map(|(name, _)| &**name);
        if is_one_twice(names.filter(|name| *name != "resource").collect()) {
            return Err(Fault::bad("invalid_request"));
        }
        Ok(params)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).find(|value| !value.is_empty())
    }

    /// What must be there.
    pub(super) fn need(&self, name: &str) -> Result<&str, Fault> {
        self.get(name).ok_or_else(|| Fault::bad("invalid_request"))
    }

    pub(super) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(found, _)| found == name);
        named.map(|(_, value)| &**value)
    }
}

/// Sorted first: a body has room for ten thousand names, too many to compare each with each.
fn is_one_twice<T: Ord>(mut names: Vec<T>) -> bool {
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

/// Without its parameters, in lower case.
fn media_type(head: &request::Parts) -> Option<String> {
    let text = head.headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let (essence, _) = text.split_once(';').unwrap_or((text, ""));
    Some(essence.trim().to_ascii_lowercase())
}

fn form(body: &[u8]) -> Vec<(String, String)> {
    let pairs = form_urlencoded::parse(body);
    pairs
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

fn json(body: &[u8]) -> Result<Vec<(String, String)>, Fault> {
    let Pairs(pairs) = serde_json::from_slice(body).map_err(|_| Fault::bad("invalid_request"))?;
    Ok(pairs)
}

/// An object in the order of its members, none dropped. Members that are neither texts nor lists of texts mean nothing
/// here and count as empty ones.
struct Pairs(Vec<(String, String)>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Member<'a> {
    One(#[serde(borrow)] Cow<'a, str>),
    Many(Vec<String>),
    Other(serde::de::IgnoredAny),
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, member)) = map.next_entry::<String, Member<'_>>()? {
                    match member {
                        Member::One(text) => pairs.push((name, text.into_owned())),
                        Member::Many(texts) => {
                            pairs.extend(texts.into_iter().map(|text| (name.clone(), text)));
                        }
                        // No value that means anything here, and yet one of this name.
                        Member::Other(_) => pairs.push((name, String::new())),
                    }
                }
                Ok(Pairs(pairs))
            }
        }

        reader.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn read(content_type: &str, body: &str, accept: Accept) -> Result<Params, u16> {
        let mut request = Request::post("/");
        if !content_type.is_empty() {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        let read = Params::read(&head, body.as_bytes(), accept);
        read.map_err(|fault| fault.into_response().status().as_u16())
    }

    const JSON: &str = "application/json";
    const FORM: &str = "Application/X-WWW-Form-Urlencoded; charset=UTF-8";

    // Fails if: the two spellings of one request are read differently.
    #[test]
    fn json_and_forms_say_the_same() {
        let json = r#"{"a":"x y","b":"","n":1,"resource":["r","s"],"o":{"a":"z"}}"#;
        for (kind, body) in [(JSON, json), (FORM, "a=x+y&b=&resource=r&resource=%73")] {
            let params = read(kind, body, Accept::JsonOrForm).expect("readable");
            assert_eq!((params.get("a"), params.get("b")), (Some("x y"), None));
            assert_eq!(params.all("resource").collect::<Vec<_>>(), ["r", "s"]);
            assert!(params.need("n").is_err());
        }
    }

    // Fails if: of two values one is chosen.
    #[test]
    fn what_comes_twice_is_refused() {
        for (kind, body) in [
            (JSON, r#"{"a":"1","a":"2"}"#),
            (JSON, r#"{"a":"1","\u0061":"1"}"#),
            (JSON, r#"{"a":["1","2"]}"#),
            (JSON, r#"{"a":1,"a":"2"}"#),
            (FORM, "a=1&a=2"),
            (FORM, "a=1&%61="),
        ] {
            assert_eq!(
                read(kind, body, Accept::JsonOrForm).err(),
                Some(400),
                "{body}"
            );
        }
    }

    // Fails if: a form or a bodiless post of another site is taken where a cookie speaks.
    #[test]
    fn bodies_of_other_kinds_are_refused() {
        for (kind, body, accept, expected) in [
            (FORM, "a=1", Accept::JsonOnly, Some(415)),
            ("", "", Accept::JsonOnly, Some(415)),
            ("text/plain", "{}", Accept::JsonOnly, Some(415)),
            ("application/jsonx", "{}", Accept::JsonOnly, Some(415)),
            (JSON, "", Accept::JsonOnly, None),
            ("", "", Accept::JsonOrForm, Some(415)),
            ("", "", Accept::Anything, None),
            ("", "a=1", Accept::Anything, Some(415)),
            (JSON, "[]", Accept::Anything, Some(400)),
            (JSON, "{", Accept::Anything, Some(400)),
        ] {
            assert_eq!(read(kind, body, accept).err(), expected, "{kind} {body}");
        }
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(LARGEST_BODY));
        assert_eq!(read(JSON, &long, Accept::Anything).err(), Some(413));
    }

    /// A name that counts how often it is compared.
    struct Name<'c>(u32, &'c std::cell::Cell<usize>);

    impl PartialEq for Name<'_> {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other).is_eq()
        }
    }

    impl Eq for Name<'_> {}

    impl PartialOrd for Name<'_> {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }

    impl Ord for Name<'_> {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            self.1.set(self.1.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    // Fails if: whoever sends a body full of names has each compared with each, a tenth of a second for 32 KiB.
    #[test]
    fn many_names_cost_little() {
        const MANY: u32 = 10_000;
        let compared = std::cell::Cell::new(0);
        // In no order that a sort could like.
        let names = |count| (0..count).map(|n: u32| Name(n.wrapping_mul(0x9e37_79b1), &compared));
        assert!(!is_one_twice(names(MANY).collect()));
        assert!(compared.get() < 400_000, "{} comparisons", compared.get());
        assert!(is_one_twice(names(MANY).chain(names(1)).collect()));
    }
}
