//! Origins and authorities, read strictly and compared as (scheme, host, port).
//!
//! Invariants: nothing is compared as text by prefix or suffix; what a browser would not send is not an origin
//! (userinfo, a path, a trailing dot, port 0, several values, anything outside ASCII); names compare without regard to
//! case, IPv6 addresses by value, and `https://a` is `https://a:443`. Reading allocates nothing.

use std::{
    borrow::Cow,
    net::{Ipv4Addr, Ipv6Addr},
};

use crate::error::ConfigError;

/// A tuple origin (RFC 6454 §4). The opaque one, `null`, is not an origin here.
#[derive(Clone, Debug)]
pub(crate) struct Origin<'o> {
    scheme: Cow<'o, str>,
    host: Host<'o>,
    /// The default port of http and https is filled in; a scheme without one has `None`.
    port: Option<u16>,
}

/// What `:authority` and `Host` carry (RFC 9110 §7.2), without a scheme to tell the default port.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    host: Host<'a>,
    port: Option<u16>,
}

#[derive(Clone, Debug)]
enum Host<'h> {
    Name(Cow<'h, str>),
    V6(Ipv6Addr),
}

/// Why a text is not an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    NotAscii,
    Several,
    NoScheme,
    Userinfo,
    Path,
    Host,
    TrailingDot,
    Port,
}

impl Flaw {
    fn advice(self) -> &'static str {
        match self {
            Self::NotAscii => "an origin is ASCII: write an international name in Punycode",
            Self::Several => "one origin at a time, without white space, commas or wildcards",
            Self::NoScheme => "an origin starts with its scheme, as in https://app.example",
            Self::Userinfo => "an origin has no user name or password",
            Self::Path => "an origin has no path, query, fragment or trailing slash",
            Self::Host => {
                "an origin names one host: letters, digits, hyphens and dots, or an IPv6 address in brackets"
            }
            Self::TrailingDot => "remove the dot at the end of the host",
            Self::Port => "a port is a number from 1 to 65535 without leading zeros",
        }
    }
}

impl<'o> Origin<'o> {
    /// Reads `scheme://host[:port]` and nothing more.
    pub(crate) fn parse(text: &'o [u8]) -> Result<Self, Flaw> {
        let text = ascii(text)?;
        let (scheme, rest) = text.split_once("://").ok_or(Flaw::NoScheme)?;
        let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            || !scheme.bytes().all(in_scheme)
        {
            return Err(Flaw::NoScheme);
        }
        let Authority { host, port } = Authority::read(rest)?;
        Ok(Self {
            port: port.or_else(|| default_port(scheme)),
            scheme: Cow::Borrowed(scheme),
            host,
        })
    }

    /// Reads an origin out of a configuration.
    pub(crate) fn configured(
        field: &'static str,
        text: &str,
    ) -> Result<Origin<'static>, ConfigError> {
        match Origin::parse(text.as_bytes()) {
            Ok(origin) => Ok(origin.into_owned()),
            Err(flaw) => Err(ConfigError::new(
                field,
                format!("{text:?} is not an origin: {}", flaw.advice()),
            )),
        }
    }

    fn into_owned(self) -> Origin<'static> {
        let host = match self.host {
            Host::Name(name) => Host::Name(Cow::Owned(name.to_ascii_lowercase())),
            Host::V6(address) => Host::V6(address),
        };
        Origin {
            scheme: Cow::Owned(self.scheme.to_ascii_lowercase()),
            host,
            port: self.port,
        }
    }

    pub(crate) fn has_scheme(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// Whether host and port are those of the authority, whose missing port is the default one of this scheme.
    pub(crate) fn is_at(&self, authority: &Authority<'_>) -> bool {
        self.host == authority.host
            && self.port == authority.port.or_else(|| default_port(&self.scheme))
    }

    /// Whether the host is this machine itself, as browsers see it: nobody on the network speaks in its name.
    pub(crate) fn is_loopback(&self) -> bool {
        match &self.host {
            Host::V6(address) => address.is_loopback(),
            Host::Name(name) => {
                let top = name.rsplit('.').next().unwrap_or_default();
                top.eq_ignore_ascii_case("localhost")
                    || name.parse().is_ok_and(|v4: Ipv4Addr| v4.is_loopback())
            }
        }
    }
}

impl PartialEq<Origin<'_>> for Origin<'_> {
    fn eq(&self, other: &Origin<'_>) -> bool {
        self.has_scheme(&other.scheme) && self.host == other.host && self.port == other.port
    }
}

impl<'a> Authority<'a> {
    /// Reads `host[:port]` and nothing more.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, Flaw> {
        Self::read(ascii(text)?)
    }

    fn read(text: &'a str) -> Result<Self, Flaw> {
        if text.contains('@') {
            return Err(Flaw::Userinfo);
        }
        if text.contains(['/', '?', '#', '\\']) {
            return Err(Flaw::Path);
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(literal) => {
                let (address, rest) = literal.split_once(']').ok_or(Flaw::Host)?;
                (Host::V6(address.parse().map_err(|_| Flaw::Host)?), rest)
            }
            None => {
                let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                (Host::name(name)?, port)
            }
        };
        Ok(Self {
            host,
            port: read_port(port)?,
        })
    }
}

impl<'h> Host<'h> {
    fn name(name: &'h str) -> Result<Self, Flaw> {
        if name.len() > 1 && name.ends_with('.') {
            return Err(Flaw::TrailingDot);
        }
        let label = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if name.len() > 253 || !name.split('.').all(label) {
            return Err(Flaw::Host);
        }
        Ok(Self::Name(Cow::Borrowed(name)))
    }
}

impl PartialEq<Host<'_>> for Host<'_> {
    fn eq(&self, other: &Host<'_>) -> bool {
        match (self, other) {
            (Self::Name(left), Host::Name(right)) => left.eq_ignore_ascii_case(right),
            (Self::V6(left), Host::V6(right)) => left == right,
            _ => false,
        }
    }
}

impl Eq for Host<'_> {}

/// Visible ASCII without what separates several values.
fn ascii(text: &[u8]) -> Result<&str, Flaw> {
    let text = std::str::from_utf8(text)
        .ok()
        .filter(|text| text.is_ascii())
        .ok_or(Flaw::NotAscii)?;
    if text
        .bytes()
        .any(|byte| byte <= b' ' || matches!(byte, b',' | b'*' | 0x7f))
    {
        return Err(Flaw::Several);
    }
    Ok(text)
}

/// Nothing, or a colon and a number.
fn read_port(text: &str) -> Result<Option<u16>, Flaw> {
    if text.is_empty() {
        return Ok(None);
    }
    // `u16::from_str` would take a plus sign and leading zeros.
    let digits = text.strip_prefix(':').filter(|digits| {
        !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    digits
        .and_then(|digits| digits.parse().ok())
        .map(Some)
        .ok_or(Flaw::Port)
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case("https") => Some(443),
        _ if scheme.eq_ignore_ascii_case("http") => Some(80),
        _ => None,
    }
}

/// An origin whose cross-site requests are let through: exactly this one.
#[derive(Clone, Debug)]
pub(crate) struct TrustedOrigin(Origin<'static>);

impl TrustedOrigin {
    /// Reads `scheme://host[:port]`.
    ///
    /// Plain http and loopback hosts are refused: whoever sits on the network, or runs a program on the user's machine,
    /// speaks in their name. For development there is [`insecure`](Self::insecure).
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let Self(origin) = Self::insecure(text)?;
        let loopback = origin.has_scheme("https") && origin.is_loopback();
        if loopback || origin.has_scheme("http") {
            let message = format!(
                "{text:?} can be spoken for by others than its owner: trust an https origin, \
                 or take insecure_trusted_origin for development"
            );
            return Err(ConfigError::new(TRUSTED, message));
        }
        Ok(Self(origin))
    }

    /// The same, with plain http and loopback hosts.
    pub(crate) fn insecure(text: &str) -> Result<Self, ConfigError> {
        if text.eq_ignore_ascii_case("null") {
            let message =
                "\"null\" is sent by every sandboxed frame, of anybody: it cannot be trusted";
            return Err(ConfigError::new(TRUSTED, message));
        }
        Origin::configured(TRUSTED, text).map(Self)
    }

    pub(crate) fn is(&self, origin: &Origin<'_>) -> bool {
        self.0 == *origin
    }
}

const TRUSTED: &str = "trusted_origin";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin(text: &str) -> Origin<'_> {
        Origin::parse(text.as_bytes()).unwrap_or_else(|flaw| panic!("{text}: {flaw:?}"))
    }

    #[test]
    fn r39_r40_canonical_forms_are_equal() {
        for (left, right) in [
            ("https://a.example", "https://a.example:443"),
            ("https://a.example", "HTTPS://A.Example"),
            ("http://a.example:80", "http://a.example"),
            ("https://[::1]:8443", "https://[0:0:0:0:0:0:0:1]:8443"),
            ("https://[2001:DB8::A]", "https://[2001:db8:0::000a]:443"),
            ("capacitor://localhost", "capacitor://LOCALHOST"),
        ] {
            assert!(origin(left) == origin(right), "{left} {right}");
        }
    }

    #[test]
    fn r39_r40_what_differs_in_one_part_is_different() {
        for (left, right) in [
            ("https://a.example", "http://a.example"),
            ("https://a.example:80", "http://a.example"),
            ("https://a.example", "https://a.example:444"),
            ("https://a.example", "https://a.example.evil"),
            ("https://a.example", "https://evil-a.example"),
            ("https://a.example", "https://b.a.example"),
            ("https://a.example", "https://a.exampl"),
            ("https://[::1]", "https://[::2]"),
            ("https://[::ffff:127.0.0.1]", "https://127.0.0.1"),
            ("app://a", "app://a:443"),
        ] {
            assert!(origin(left) != origin(right), "{left} {right}");
        }
    }

    #[test]
    fn r40_what_no_browser_sends_is_no_origin() {
        for (text, flaw) in [
            ("https://a.example@evil.example", Flaw::Userinfo),
            ("https://user:pw@a.example", Flaw::Userinfo),
            ("https://a.example/", Flaw::Path),
            ("https://a.example/path", Flaw::Path),
            ("https://a.example?q", Flaw::Path),
            ("https://a.example#f", Flaw::Path),
            ("https://evil.example\\a.example", Flaw::Path),
            ("https://a.example.", Flaw::TrailingDot),
            ("https://a.example.:443", Flaw::TrailingDot),
            ("https://a.example:0", Flaw::Port),
            ("https://a.example:", Flaw::Port),
            ("https://a.example:0443", Flaw::Port),
            ("https://a.example:+443", Flaw::Port),
            ("https://a.example:65536", Flaw::Port),
            ("https://a.example:443:443", Flaw::Port),
            ("https://[::1]443", Flaw::Port),
            ("https://a.example https://b.example", Flaw::Several),
            ("https://a.example,https://b.example", Flaw::Several),
            ("https://*.a.example", Flaw::Several),
            (" https://a.example", Flaw::Several),
            ("https://ä.example", Flaw::NotAscii),
            ("https://a\u{3002}example", Flaw::NotAscii),
            ("a.example", Flaw::NoScheme),
            ("//a.example", Flaw::NoScheme),
            ("://a.example", Flaw::NoScheme),
            ("1s://a.example", Flaw::NoScheme),
            ("https:a.example", Flaw::NoScheme),
            ("null", Flaw::NoScheme),
            ("", Flaw::NoScheme),
            ("https://", Flaw::Host),
            ("https://.", Flaw::Host),
            ("https://.a.example", Flaw::Host),
            ("https://a..example", Flaw::Host),
            ("https://a%2eexample", Flaw::Host),
            ("https://[::1", Flaw::Host),
            ("https://[fe80::1%25eth0]", Flaw::Host),
            ("https://::1", Flaw::Host),
        ] {
            assert_eq!(Origin::parse(text.as_bytes()).err(), Some(flaw), "{text}");
        }
        assert_eq!(
            Origin::parse(b"https://a\xff.example").err(),
            Some(Flaw::NotAscii)
        );
    }

    #[test]
    fn an_authority_takes_its_port_from_the_scheme() {
        let at = |authority: &str, text: &str| {
            origin(text).is_at(&Authority::parse(authority.as_bytes()).expect("an authority"))
        };
        assert!(at("A.example", "https://a.example"));
        assert!(at("a.example:443", "https://a.example"));
        assert!(at("a.example", "http://a.example"));
        assert!(at("[::1]:3000", "http://[0::1]:3000"));
        assert!(!at("a.example", "https://a.example:8443"));
        assert!(!at("a.example:8443", "https://a.example"));
        assert!(!at("a.example:443", "http://a.example"));
        assert!(!at("b.example", "https://a.example"));
    }

    #[test]
    fn loopback_is_this_machine_only() {
        for local in [
            "http://localhost",
            "http://LOCALHOST:3000",
            "http://app.localhost",
            "http://127.0.0.1",
            "http://127.9.9.9",
            "http://[::1]",
        ] {
            assert!(origin(local).is_loopback(), "{local}");
        }
        for other in [
            "http://localhost.example",
            "http://notlocalhost",
            "http://127.0.0.1.example",
            "http://128.0.0.1",
            "http://[::2]",
        ] {
            assert!(!origin(other).is_loopback(), "{other}");
        }
    }

    #[test]
    fn trusted_origins_say_what_is_wrong_with_them() {
        let app = TrustedOrigin::parse("https://App.example").expect("an origin");
        assert!(
            app.is(&origin("https://app.example:443")) && !app.is(&origin("https://b.app.example"))
        );
        assert!(TrustedOrigin::parse("capacitor://localhost").is_ok());
        for (text, advice) in [
            ("https://a.example/", "trailing slash"),
            ("a.example", "starts with its scheme"),
            ("https://*.a.example", "wildcards"),
            ("null", "cannot be trusted"),
            ("http://a.example", "insecure_trusted_origin"),
            ("http://localhost:3000", "insecure_trusted_origin"),
            ("https://localhost", "insecure_trusted_origin"),
        ] {
            let error = TrustedOrigin::parse(text).expect_err(text);
            assert_eq!(error.field(), "trusted_origin");
            assert!(error.to_string().contains(advice), "{error}");
        }
        assert!(TrustedOrigin::insecure("http://localhost:3000").is_ok());
        assert!(TrustedOrigin::insecure("null").is_err());
    }

    proptest! {
        #[test]
        fn only_four_spellings_are_our_origin(
            text in prop_oneof!["(https?|HTTPS)(://|:/|//)[ax.@/:%\\[\\]]{0,3}a[.]x[.:/@0-9a]{0,6}", "[ -~]{0,40}", ".*"]
        ) {
            let ours = Origin::parse(text.as_bytes()).is_ok_and(|origin| origin == self::origin("https://a.x"));
            let spelled = ["https://a.x", "https://a.x:443"].contains(&text.to_lowercase().as_str());
            prop_assert_eq!(ours, spelled, "{}", text);
        }

        #[test]
        fn no_bytes_break_the_parser(bytes: Vec<u8>) {
            let _ = Origin::parse(&bytes).map(|origin| origin.is_loopback());
            let _ = Authority::parse(&bytes);
        }
    }
}
