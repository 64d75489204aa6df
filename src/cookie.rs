//! Cookies on the wire: found among whatever a client sends, written so that a browser takes them.
//!
//! Reading invariants: a request's bytes are taken as they are (browsers put raw UTF-8 into neighbouring cookies); every
//! `Cookie` line counts (HTTP/2 splits the header); a cookie is ours only by its exact name, so the nameless
//! `=__Host-x=..` is not; the work is bounded and allocates nothing. What is found is a *candidate*: nothing is known
//! about it until its tag was checked, and order says nothing (RFC 6265bis §4.2.2).
//!
//! Writing invariants: a cookie that a browser would drop silently cannot be configured; `Max-Age` and `Expires` agree;
//! a removal names the same cookie as the setting did; a response sets a name at most once (§4.1.1).

use std::{borrow::Cow, error::Error, fmt, time::Duration};

use cookie::{Cookie, CookieBuilder};
use http::{HeaderMap, HeaderValue, header::SET_COOKIE};
use time::OffsetDateTime;

use crate::{clock::millis, error::ConfigError};

/// More cookies of one name than this are somebody's attack; each one costs a MAC check.
const MOST_CANDIDATES: usize = 4;
/// Longer values are not ours: no browser stores them (RFC 6265bis §5.6).
const LONGEST_VALUE: usize = 4096;
/// What is looked at of all `Cookie` lines together.
const MOST_LOOKED_AT: usize = 64 * 1024;

/// The values of all cookies of this name in `Cookie` lines that could be ours: at most 4, each 1..=4096 octets of RFC
/// 6265's grammar.
pub(crate) fn candidates<'h>(
    lines: impl IntoIterator<Item = &'h HeaderValue>,
    name: &'h str,
) -> impl Iterator<Item = &'h [u8]> {
    let mut left = MOST_LOOKED_AT;
    let whole = move |line: &'h HeaderValue| within(line.as_bytes(), &mut left);
    values_in(lines.into_iter().map(whole), name).take(MOST_CANDIDATES)
}

/// All different values, however many there are: for a logout, which must not miss one.
pub(crate) fn all<'h>(
    lines: impl IntoIterator<Item = &'h HeaderValue>,
    name: &'h str,
) -> Vec<&'h [u8]> {
    let lines = lines.into_iter().map(HeaderValue::as_bytes);
    let mut values: Vec<_> = values_in(lines, name).collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// Whether cookies of this name may lie where [`candidates`], which found `seen` of them, did not look: whoever plants one can
/// plant others before the right one, and so hide it.
pub(crate) fn left_unseen<'h>(
    lines: impl IntoIterator<Item = &'h HeaderValue>,
    name: &'h str,
    seen: usize,
) -> bool {
    let (mut length, mut named) = (0, 0);
    for line in lines.into_iter().map(HeaderValue::as_bytes) {
        length += line.len();
        if seen >= MOST_CANDIDATES {
            named += values_in([line], name).count();
        }
    }
    length > MOST_LOOKED_AT || named > MOST_CANDIDATES
}

/// The values of all cookies of this name.
fn values_in<'h>(
    lines: impl IntoIterator<Item = &'h [u8]>,
    name: &'h str,
) -> impl Iterator<Item = &'h [u8]> {
    lines
        .into_iter()
        .flat_map(|line| line.split(|byte| *byte == b';'))
        .filter_map(move |pair| value_of(pair, name.as_bytes()))
}

/// The line's whole pairs that fit into what is left to look at.
fn within<'h>(line: &'h [u8], left: &mut usize) -> &'h [u8] {
    let Some(remaining) = left.checked_sub(line.len()) else {
        let seen = &line[..std::mem::take(left)];
        let end = seen.iter().rposition(|byte| *byte == b';').unwrap_or(0);
        return &seen[..end];
    };
    *left = remaining;
    line
}

/// The value of a `name=value` pair of exactly this name, if it is one that we could have written.
fn value_of<'h>(pair: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    let value = trim(trim(pair).strip_prefix(name)?.strip_prefix(b"=")?);
    let ours = !name.is_empty()
        && (1..=LONGEST_VALUE).contains(&value.len())
        // Without a way out in between, so that many bytes are looked at in one step.
        && value.iter().fold(true, |all, byte| all & is_cookie_octet(byte));
    ours.then_some(value)
}

/// Without the optional white space of RFC 9110 at both ends; no other byte is white space here, since what a browser
/// keeps in a name must not vanish from it.
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// RFC 6265 §4.1.1 `cookie-octet`: neither controls, white space, quotes, comma, semicolon nor backslash.
fn is_cookie_octet(byte: &u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

/// RFC 9110 §5.6.2 `tchar`.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Which requests from other sites carry the cookie (RFC 6265bis §4.1.2.7).
///
/// It limits damage and is no protection against CSRF by itself: sibling subdomains are the same site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SameSite {
    /// None, not even when a user follows a link.
    Strict,
    /// Top-level navigations with a safe method. The default; always written out, since its absence means something
    /// weaker to browsers.
    #[default]
    Lax,
    /// All. Browsers take such a cookie only when it is `Secure`.
    None,
}

/// One cookie as it is written: everything but the value and the time.
#[derive(Clone, Debug)]
pub(crate) struct CookieConfig {
    pub(crate) name: Cow<'static, str>,
    pub(crate) path: Cow<'static, str>,
    pub(crate) domain: Option<Cow<'static, str>>,
    pub(crate) secure: bool,
    pub(crate) same_site: SameSite,
    pub(crate) http_only: bool,
    pub(crate) partitioned: bool,
}

impl CookieConfig {
    /// `Secure`, `HttpOnly`, `SameSite=Lax`, `Path=/`, no `Domain`: what a `__Host-` name demands.
    pub(crate) fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            path: Cow::Borrowed("/"),
            domain: None,
            secure: true,
            same_site: SameSite::Lax,
            http_only: true,
            partitioned: false,
        }
    }

    /// Whether browsers will take the cookie; to be asked once, when the layer is built.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.check_name()?;
        self.check_path()?;
        self.check_domain()?;
        self.check_prefix()?;
        if self.same_site == SameSite::None && !self.secure {
            return wrong(
                "same_site",
                "browsers drop a cookie with SameSite=None that is not Secure: make it Secure",
            );
        }
        if self.partitioned && !self.secure {
            return wrong(
                "partitioned",
                "browsers drop a partitioned cookie that is not Secure: make it Secure",
            );
        }
        Ok(())
    }

    fn check_name(&self) -> Result<(), ConfigError> {
        if self.name.is_empty() || !self.name.bytes().all(is_token) {
            return wrong(
                "cookie_name",
                "a cookie's name is one or more letters, digits and !#$%&'*+-.^_`|~",
            );
        }
        if self.name.len() > 256 {
            return wrong(
                "cookie_name",
                "longer than 256 bytes: the name travels with every request, take a short one",
            );
        }
        Ok(())
    }

    fn check_path(&self) -> Result<(), ConfigError> {
        let octets = self
            .path
            .bytes()
            .all(|byte| matches!(byte, 0x21..=0x7e) && byte != b';');
        if !self.path.starts_with('/') || !octets || self.path.len() > 1024 {
            return wrong(
                "cookie_path",
                "a cookie's path starts with a slash and has at most 1024 printable ASCII characters and no semicolon",
            );
        }
        Ok(())
    }

    fn check_domain(&self) -> Result<(), ConfigError> {
        let Some(domain) = &self.domain else {
            return Ok(());
        };
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if domain.len() > 253 || !domain.split('.').all(label) {
            return wrong(
                "cookie_domain",
                "a cookie's domain is a host name such as example.com (in Punycode), without a dot at either end",
            );
        }
        Ok(())
    }

    /// Browsers match the prefixes without regard to case (RFC 6265bis §5.4).
    fn check_prefix(&self) -> Result<(), ConfigError> {
        let prefixed = |prefix: &str| {
            self.name
                .get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        let host = prefixed("__Host-");
        if (host || prefixed("__Secure-") || prefixed("__Http-")) && !self.secure {
            return wrong(
                "cookie_name",
                "browsers drop a cookie of this prefix that is not Secure: make it Secure or rename it",
            );
        }
        if host && (self.domain.is_some() || self.path != "/") {
            return wrong(
                "cookie_name",
                "browsers drop a __Host- cookie with a Domain or a Path other than /: remove these or rename it",
            );
        }
        if (prefixed("__Http-") || prefixed("__Host-Http-")) && !self.http_only {
            return wrong(
                "cookie_name",
                "browsers drop a cookie of this prefix without HttpOnly: add it or rename it",
            );
        }
        Ok(())
    }

    /// `Set-Cookie` with this value; without `max_age` the cookie ends with the browser's session.
    ///
    /// `max_age` counts in whole seconds and is capped to 400 days, as browsers do (RFC 6265bis §5.5). The server has to
    /// check the expiry again: a client may go on sending the cookie.
    pub(crate) fn set(
        &self,
        value: &str,
        max_age: Option<Duration>,
        now_ms: u64,
    ) -> Result<HeaderValue, CookieError> {
        if !value.bytes().all(|byte| is_cookie_octet(&byte)) {
            return Err(CookieError::Value);
        }
        if self.name.len() + value.len() > LONGEST_VALUE {
            return Err(CookieError::TooLong);
        }
        let cookie = self.builder(value);
        let cookie = match max_age {
            None => cookie,
            Some(max_age) => {
                let seconds = max_age.as_secs().min(LONGEST_LIFE);
                let expires = at(now_ms.saturating_add(millis(Duration::from_secs(seconds))));
                cookie
                    .max_age(time::Duration::seconds(seconds.cast_signed()))
                    .expires(expires)
            }
        };
        Ok(header(&cookie.build()))
    }

    /// `Set-Cookie` that makes the browser forget the cookie.
    pub(crate) fn removal(&self) -> HeaderValue {
        let cookie = self
            .builder("")
            .max_age(time::Duration::ZERO)
            .expires(OffsetDateTime::UNIX_EPOCH);
        header(&cookie.build())
    }

    fn builder<'c>(&'c self, value: &'c str) -> CookieBuilder<'c> {
        let same_site = match self.same_site {
            SameSite::Strict => cookie::SameSite::Strict,
            SameSite::Lax => cookie::SameSite::Lax,
            SameSite::None => cookie::SameSite::None,
        };
        let cookie = Cookie::build((&*self.name, value))
            .path(&*self.path)
            .secure(self.secure)
            .http_only(self.http_only)
            .same_site(same_site)
            .partitioned(self.partitioned);
        match &self.domain {
            Some(domain) => cookie.domain(&**domain),
            None => cookie,
        }
    }
}

/// 400 days in seconds.
const LONGEST_LIFE: u64 = 34_560_000;

/// The last second that a date with a four-digit year can name.
const LAST_SECOND: u64 = 253_402_300_799;

fn at(ms: u64) -> OffsetDateTime {
    let seconds = (ms / 1000).min(LAST_SECOND);
    OffsetDateTime::from_unix_timestamp(seconds.cast_signed()).expect("a year of four digits")
}

fn header(cookie: &Cookie<'_>) -> HeaderValue {
    let mut value = HeaderValue::try_from(cookie.to_string())
        .expect("checked names and values are printable ASCII");
    value.set_sensitive(true);
    value
}

fn wrong(field: &'static str, message: &'static str) -> Result<(), ConfigError> {
    Err(ConfigError::new(field, message))
}

/// Puts a `Set-Cookie` into a response in place of any earlier one of the same name; the others keep their order.
pub(crate) fn put(headers: &mut HeaderMap, set_cookie: HeaderValue) {
    let replaced = |earlier: &HeaderValue| name_of(earlier) == name_of(&set_cookie);
    if headers.get_all(SET_COOKIE).iter().any(replaced) {
        let kept: Vec<_> = headers
            .get_all(SET_COOKIE)
            .iter()
            .filter(|earlier| !replaced(earlier))
            .cloned()
            .collect();
        headers.remove(SET_COOKIE);
        for earlier in kept {
            headers.append(SET_COOKIE, earlier);
        }
    }
    headers.append(SET_COOKIE, set_cookie);
}

/// The name in a `Set-Cookie` as a browser reads it (RFC 6265bis §5.6): without `=` the whole pair is the value.
fn name_of(set_cookie: &HeaderValue) -> &[u8] {
    let pair = set_cookie
        .as_bytes()
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default();
    let name = pair
        .iter()
        .position(|byte| *byte == b'=')
        .map_or(&[] as &[u8], |end| &pair[..end]);
    trim(name)
}

/// A cookie that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CookieError {
    /// Browsers drop name and value of more than 4096 bytes together.
    TooLong,
    /// The value has bytes that a cookie cannot carry.
    Value,
}

impl fmt::Display for CookieError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the cookie's name and value have more than 4096 bytes",
            Self::Value => "the cookie's value has bytes that a cookie cannot carry",
        })
    }
}

impl Error for CookieError {}

#[cfg(test)]
mod tests {
    use std::iter;

    use http::header::COOKIE;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const NAME: &str = "__Host-id";
    /// 2026-01-02 03:04:05.678 UTC.
    const NOW: u64 = 1_767_323_045_678;
    const DAY: Duration = Duration::from_secs(86_400);

    fn request<L: AsRef<[u8]>>(lines: &[L]) -> HeaderMap {
        let value = |line: &L| {
            HeaderValue::from_bytes(line.as_ref()).expect("a line that a server lets through")
        };
        lines.iter().map(|line| (COOKIE, value(line))).collect()
    }

    fn found<L: AsRef<[u8]>>(lines: &[L]) -> Vec<String> {
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).expect("only ASCII is ours");
        candidates(request(lines).get_all(COOKIE), NAME)
            .map(text)
            .collect()
    }

    #[test]
    fn r9_crumbs_are_read_as_one_line() {
        assert_eq!(found(&["a=1; __Host-id=v; b=2"]), ["v"]);
        assert_eq!(found(&["a=1", "__Host-id=v", "b=2"]), ["v"]);
        assert_eq!(
            found(&["__Host-id=one; a=1", "__Host-id=two"]),
            ["one", "two"]
        );
        assert!(found::<&str>(&[]).is_empty());
    }

    #[test]
    fn r10_at_most_four_candidates() {
        let many: Vec<_> = (0..9).map(|n| format!("__Host-id=v{n}")).collect();
        assert_eq!(found(&many), ["v0", "v1", "v2", "v3"]);
        assert_eq!(found(&[many.join("; ")]), ["v0", "v1", "v2", "v3"]);
        // What cannot be ours takes no candidate's place.
        assert_eq!(
            found(&[format!("{}__Host-id=v", "__Host-id=\"x\"; ".repeat(9))]),
            ["v"]
        );
    }

    #[test]
    fn r11_garbage_is_passed_over() {
        assert_eq!(
            found(&["næme=ünï; \t __Host-id=v \t; ;;=; x".as_bytes()]),
            ["v"]
        );
        assert_eq!(found(&[b"\xff\xfe=\x80; __Host-id=v" as &[u8]]), ["v"]);
        for value in [
            "", "\"v\"", "a b", "a,b", "a\\b", "ü", "a\tb", "\"", "v\u{a0}",
        ] {
            assert!(
                found(&[format!("__Host-id={value}")]).is_empty(),
                "{value:?}"
            );
        }
        assert_eq!(found(&["__Host-id=a=b=="]), ["a=b=="]);
        assert_eq!(found(&[format!("__Host-id={}", "v".repeat(4096))]).len(), 1);
        assert!(found(&[format!("__Host-id={}", "v".repeat(4097))]).is_empty());
    }

    #[test]
    fn r12_only_the_exact_name_is_ours() {
        for pair in [
            "=__Host-id=v",
            " =__Host-id=v",
            "__host-id=v",
            "__Host-id",
            "__Host-idx=v",
            "x__Host-id=v",
            "__Host-id =v",
            "__Host-i=d=v",
            "\u{a0}__Host-id=v",
            "\u{2000}__Host-id=v",
            "$__Host-id=v",
            "a=\"b, __Host-id=v\"",
        ] {
            assert!(found(&[pair.as_bytes()]).is_empty(), "{pair:?}");
        }
        assert_eq!(
            candidates(request(&["=v; ; x=y"]).get_all(COOKIE), "").count(),
            0
        );
    }

    #[test]
    fn no_more_than_64_kib_are_looked_at() {
        let filler = format!("f={}; ", "x".repeat(1020)).repeat(64);
        assert_eq!(filler.len(), MOST_LOOKED_AT);
        let (before, after) = filler.split_at(MOST_LOOKED_AT - 12);
        assert_eq!(
            found(&[format!("{before};__Host-id=v{after}")]),
            [""; 0],
            "a value cut short is nobody's"
        );
        assert_eq!(
            found(&[format!("{};__Host-id=v;{after}", &before[1..])]),
            ["v"]
        );
        assert_eq!(
            found(&[before, ";__Host-id=v"]),
            ["v"],
            "12 bytes fit exactly"
        );
        assert!(found(&[before, ";__Host-id=vv"]).is_empty());
        assert!(found(&[&filler, "__Host-id=v"]).is_empty());
    }

    #[test]
    fn a_name_may_be_in_neither_case_but_its_own() {
        assert_eq!(
            candidates(request(&["ID=1; id=2; Id=3"]).get_all(COOKIE), "Id").collect::<Vec<_>>(),
            [b"3"]
        );
    }

    /// Another reading of the same rules, for text that browsers would send.
    fn naive(lines: &[Vec<(String, String)>]) -> Vec<String> {
        let pairs = lines.iter().flatten();
        pairs
            .filter(|(name, value)| name == NAME && !value.is_empty())
            .map(|(_, value)| value.clone())
            .take(4)
            .collect()
    }

    fn line_of(pairs: &[(String, String)]) -> String {
        pairs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join("; ")
    }

    proptest! {
        #[test]
        fn valid_cookies_are_found_as_a_naive_reader_finds_them(
            lines in vec(vec(("(__Host-id|__host-id|id|[!#$%&'*+.^_`|~0-9a-z-]{1,9})", "[!#-+.-:<-\\[\\]-~-]{0,30}"), 1..6), 0..4)
        ) {
            let text: Vec<_> = lines.iter().map(|pairs| line_of(pairs)).collect();
            prop_assert_eq!(found(&text), naive(&lines));
        }

        #[test]
        fn no_bytes_break_the_reader(
            parts in vec(prop_oneof![
                vec(any::<u8>(), 0..40),
                "(__Host-id|=|;|\\t| |\"|__Host-id=v;)".prop_map(String::into_bytes),
            ], 0..40),
            cut in 0..4_usize,
        ) {
            let bytes: Vec<_> = parts.concat().into_iter().filter(|byte| *byte >= 32 && *byte != 127 || *byte == 9).collect();
            let lines: Vec<_> = bytes.chunks(bytes.len() / (cut + 1) + 1).collect();
            for value in found(&lines) {
                prop_assert!((1..=4096).contains(&value.len()) && value.bytes().all(|byte| is_cookie_octet(&byte)));
                let pair = format!("{NAME}=");
                prop_assert!(bytes.windows(pair.len()).any(|window| window == pair.as_bytes()));
            }
        }
    }

    fn text(value: &HeaderValue) -> &str {
        value.to_str().expect("written by us")
    }

    fn refused(config: &CookieConfig) -> &'static str {
        match config.check() {
            Ok(()) => "",
            Err(error) => error.field(),
        }
    }

    fn with(name: &'static str, change: impl FnOnce(&mut CookieConfig)) -> CookieConfig {
        let mut config = CookieConfig::new(name);
        change(&mut config);
        config
    }

    #[test]
    fn r1_r4_r6_defaults() {
        let config = CookieConfig::new(NAME);
        assert_eq!(refused(&config), "");
        let set = config.set("v", None, NOW).expect("a small value");
        let mut parts: Vec<_> = text(&set).split("; ").collect();
        assert_eq!(parts.remove(0), "__Host-id=v");
        parts.sort_unstable();
        assert_eq!(parts, ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"]);
        assert_eq!(
            format!("{set:?}"),
            "Sensitive",
            "debug output shows no cookie"
        );
    }

    #[test]
    fn r2_r3_prefixes_bind_in_any_case() {
        for name in ["__Host-x", "__host-x", "__HOST-X", "__hOST-"] {
            assert_eq!(refused(&with(name, |_| ())), "");
            assert_eq!(
                refused(&with(name, |config| config.secure = false)),
                "cookie_name",
                "{name}"
            );
            assert_eq!(
                refused(&with(name, |config| config.path = "/app".into())),
                "cookie_name",
                "{name}"
            );
            assert_eq!(
                refused(&with(name, |config| config.domain = Some("a.example".into()))),
                "cookie_name",
                "{name}"
            );
        }
        for name in ["__Secure-x", "__SECURE-x", "__secure-x"] {
            assert_eq!(
                refused(&with(name, |config| config.secure = false)),
                "cookie_name",
                "{name}"
            );
            assert_eq!(
                refused(&with(name, |config| config.path = "/app".into())),
                "",
                "{name}"
            );
            assert_eq!(
                refused(&with(name, |config| config.domain = Some("a.example".into()))),
                "",
                "{name}"
            );
        }
        for name in ["__Http-x", "__Host-Http-x", "__host-http-x"] {
            assert_eq!(
                refused(&with(name, |config| config.http_only = false)),
                "cookie_name",
                "{name}"
            );
        }
        let plain = with("id", |config| {
            (config.secure, config.path, config.http_only) = (false, "/app".into(), false);
        });
        assert_eq!(refused(&plain), "");
    }

    #[test]
    fn r5_none_and_partitioned_need_secure() {
        for secure in [true, false] {
            let expected = |field| if secure { "" } else { field };
            let none = with("id", |config| {
                (config.same_site, config.secure) = (SameSite::None, secure);
            });
            assert_eq!(refused(&none), expected("same_site"));
            let partitioned = with("id", |config| {
                (config.partitioned, config.secure) = (true, secure);
            });
            assert_eq!(refused(&partitioned), expected("partitioned"));
        }
    }

    #[test]
    fn names_paths_and_domains_follow_the_grammar() {
        for name in ["", "a b", "a=b", "a;b", "\"a\"", "a,b", "é", "a\n", "(a)"] {
            assert_eq!(refused(&with(name, |_| ())), "cookie_name", "{name:?}");
        }
        let long = with("id", |config| config.name = "n".repeat(257).into());
        assert_eq!(refused(&long), "cookie_name");
        for path in ["", "app", "/a;b", "/a b", "/é", "/a\r\nX: y"] {
            assert_eq!(
                refused(&with("id", |config| config.path = path.into())),
                "cookie_path",
                "{path:?}"
            );
        }
        let long = with("id", |config| {
            config.path = format!("/{}", "p".repeat(1024)).into();
        });
        assert_eq!(refused(&long), "cookie_path");
        for domain in [
            "",
            ".a.example",
            "a.example.",
            "a..b",
            "a b",
            "é.example",
            "a.example;x",
            "http://a.example",
        ] {
            assert_eq!(
                refused(&with("id", |config| config.domain = Some(domain.into()))),
                "cookie_domain",
                "{domain:?}"
            );
        }
    }

    #[test]
    fn r7_too_long_or_unspeakable_values_are_not_emitted() {
        let config = CookieConfig::new(NAME);
        assert!(
            config
                .set(&"v".repeat(4096 - NAME.len()), None, NOW)
                .is_ok()
        );
        assert_eq!(
            config.set(&"v".repeat(4097 - NAME.len()), None, NOW),
            Err(CookieError::TooLong)
        );
        for value in ["a;b", "a b", "\"a\"", "a\r\nb", "é", "a,b"] {
            assert_eq!(
                config.set(value, None, NOW),
                Err(CookieError::Value),
                "{value:?}"
            );
        }
    }

    fn attribute<'c>(cookie: &'c HeaderValue, name: &str) -> Option<&'c str> {
        text(cookie)
            .split("; ")
            .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
    }

    #[test]
    fn r8_r115_lifetimes_are_capped_and_agree() {
        let config = CookieConfig::new(NAME);
        let set = |max_age| config.set("v", Some(max_age), NOW).expect("a small value");
        let day = set(DAY + Duration::from_millis(999));
        assert_eq!(attribute(&day, "Max-Age"), Some("86400"));
        assert_eq!(
            attribute(&day, "Expires"),
            Some("Sat, 03 Jan 2026 03:04:05 GMT")
        );
        for long in [400 * DAY, 401 * DAY, Duration::MAX] {
            let long = set(long);
            assert_eq!(attribute(&long, "Max-Age"), Some("34560000"));
            assert_eq!(
                attribute(&long, "Expires"),
                Some("Sat, 06 Feb 2027 03:04:05 GMT")
            );
        }
        for now in [253_402_300_799_000, u64::MAX] {
            let late = config.set("v", Some(DAY), now).expect("a small value");
            assert_eq!(
                attribute(&late, "Expires"),
                Some("Fri, 31 Dec 9999 23:59:59 GMT")
            );
        }
    }

    #[test]
    fn r33_removal_names_the_same_cookie() {
        let configs = [
            CookieConfig::new(NAME),
            with("id", |config| {
                (config.path, config.domain) = ("/app".into(), Some("a.example".into()));
                (config.same_site, config.partitioned) = (SameSite::None, true);
            }),
            with("id", |config| {
                (config.secure, config.http_only, config.same_site) =
                    (false, false, SameSite::Strict);
            }),
        ];
        let everything = configs[1].set("v", None, NOW).expect("a small value");
        let mut parts: Vec<_> = text(&everything).split("; ").collect();
        parts.sort_unstable();
        assert_eq!(
            parts,
            [
                "Domain=a.example",
                "HttpOnly",
                "Partitioned",
                "Path=/app",
                "SameSite=None",
                "Secure",
                "id=v"
            ]
        );
        assert!(text(&configs[2].removal()).contains("SameSite=Strict"));
        for config in configs {
            let set = config.set("", None, NOW).expect("a small value");
            let removal = config.removal();
            let rest: Vec<_> = text(&removal)
                .split("; ")
                .filter(|part| !part.contains("Max-Age") && !part.contains("Expires"))
                .collect();
            assert_eq!(rest, text(&set).split("; ").collect::<Vec<_>>());
            assert_eq!(attribute(&removal, "Max-Age"), Some("0"));
            assert_eq!(
                attribute(&removal, "Expires"),
                Some("Thu, 01 Jan 1970 00:00:00 GMT")
            );
            for name in [
                "Path",
                "Domain",
                "Secure",
                "SameSite",
                "HttpOnly",
                "Partitioned",
                "Max-Age",
                "Expires",
            ] {
                let times = text(&removal)
                    .split("; ")
                    .filter(|part| part.split('=').next() == Some(name))
                    .count();
                assert!(times <= 1, "{name} twice in {removal:?}");
            }
        }
    }

    #[test]
    fn r114_a_name_is_set_once_and_the_others_keep_their_order() {
        let mut headers = HeaderMap::new();
        for cookie in [
            "a=1",
            "__Host-id=old; Path=/; Secure",
            "b=2; Path=/",
            "__Host-id = older",
            "__Host-id",
            "c=__Host-id=3",
        ] {
            headers.append(SET_COOKIE, HeaderValue::from_static(cookie));
        }
        put(
            &mut headers,
            HeaderValue::from_static("__Host-id=new; Path=/"),
        );
        let left: Vec<_> = headers.get_all(SET_COOKIE).iter().map(text).collect();
        assert_eq!(
            left,
            [
                "a=1",
                "b=2; Path=/",
                "__Host-id",
                "c=__Host-id=3",
                "__Host-id=new; Path=/"
            ]
        );
        put(&mut headers, HeaderValue::from_static("d=4"));
        assert_eq!(headers.get_all(SET_COOKIE).iter().count(), 6);
    }

    #[test]
    fn r6_every_candidate_read_back_was_written() {
        let config = CookieConfig::new(NAME);
        let value: String = (0x21..=0x7e)
            .filter(is_cookie_octet)
            .map(char::from)
            .collect();
        let set = config.set(&value, None, NOW).expect("a small value");
        let sent = text(&set).split("; ").next().expect("a pair");
        assert_eq!(found(&iter::once(sent).collect::<Vec<_>>()), [value]);
    }
}
