//! What the verdict knows of a request: a few headers, each with one value or none.
//!
//! Invariants: `X-Forwarded-*` is never read; a header sent twice has no value; what a header says is compared exactly.

use http::{HeaderName, Method, request};

use super::{form::media_type, origin::Authority, verdict::Denied};

/// The headers that the verdict reads, for `Vary`.
pub(crate) const VARY: &str = "Sec-Fetch-Site, Origin";

/// A header of which one value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent<'r> {
    No,
    Once(&'r [u8]),
    Repeatedly,
}

impl<'r> Sent<'r> {
    pub(super) fn find(head: &'r request::Parts, name: &HeaderName) -> Self {
        let mut values = head.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::No,
            (Some(value), None) => Self::Once(value.as_bytes()),
            (Some(_), Some(_)) => Self::Repeatedly,
        }
    }

    fn add(&mut self, value: &'r [u8]) {
        *self = match self {
            Self::No => Self::Once(value),
            Self::Once(_) | Self::Repeatedly => Self::Repeatedly,
        };
    }

    fn is(self, value: &str) -> bool {
        self == Sent::Once(value.as_bytes())
    }
}

/// What is read of a request.
#[derive(Clone, Debug)]
pub(crate) struct Facts<'r> {
    pub(crate) method: &'r Method,
    pub(crate) site: Sent<'r>,
    pub(crate) mode: Sent<'r>,
    pub(crate) dest: Sent<'r>,
    pub(crate) origin: Sent<'r>,
    /// `:authority`, or the authority of an absolute request target.
    pub(crate) authority: Option<&'r [u8]>,
    pub(crate) host: Sent<'r>,
    /// The scheme the user's browser speaks, if the server knows it. `:scheme` is not knowledge: behind a proxy it is
    /// that of the last hop.
    pub(crate) scheme: Option<&'r str>,
    pub(crate) content_type: Sent<'r>,
    pub(crate) authorization: Sent<'r>,
    /// A `Cookie` header of any content.
    pub(crate) cookies: bool,
    /// A WebSocket handshake: a GET that opens a channel with the user's cookies, unhindered by CORS.
    pub(crate) websocket: bool,
    /// A header that asks for another method than the one seen here.
    pub(crate) overridden: bool,
}

impl<'r> Facts<'r> {
    /// Everything but the scheme, in one look at each header.
    pub(crate) fn of(head: &'r request::Parts) -> Self {
        let mut facts = Self {
            method: &head.method,
            site: Sent::No,
            mode: Sent::No,
            dest: Sent::No,
            origin: Sent::No,
            authority: head
                .uri
                .authority()
                .map(|authority| authority.as_str().as_bytes()),
            host: Sent::No,
            scheme: None,
            content_type: Sent::No,
            authorization: Sent::No,
            cookies: false,
            websocket: false,
            overridden: false,
        };
        for (name, value) in &head.headers {
            facts.add(name.as_str(), value.as_bytes());
        }
        facts
    }

    fn add(&mut self, name: &str, value: &'r [u8]) {
        match name {
            "sec-fetch-site" => self.site.add(value),
            "sec-fetch-mode" => self.mode.add(value),
            "sec-fetch-dest" => self.dest.add(value),
            "origin" => self.origin.add(value),
            "host" => self.host.add(value),
            "content-type" => self.content_type.add(value),
            "authorization" => self.authorization.add(value),
            "cookie" => self.cookies = true,
            "upgrade" => self.websocket |= names_websocket(value),
            // The names under which frameworks take another method from a header.
            "x-http-method-override" | "x-http-method" | "x-method-override" => {
                self.overridden = true;
            }
            _ => {}
        }
    }

    /// Not `Method::is_safe`: TRACE is none of these, since no browser sends it for a page.
    pub(super) fn is_safe(&self) -> bool {
        matches!(*self.method, Method::GET | Method::HEAD | Method::OPTIONS)
            && !self.websocket
            && !self.overridden
    }

    /// Authenticated by what only a program attaches, and by nothing else.
    pub(super) fn is_token_only(&self) -> bool {
        let Sent::Once(credentials) = self.authorization else {
            return false;
        };
        let scheme = credentials
            .split(|byte| *byte == b' ')
            .next()
            .unwrap_or_default();
        !self.cookies
            && (scheme.eq_ignore_ascii_case(b"bearer") || scheme.eq_ignore_ascii_case(b"dpop"))
    }

    /// A type that a page of any site may send without asking first (Fetch, "CORS-safelisted request-header").
    pub(super) fn is_preflight_exempt(&self) -> bool {
        let exempt: [&[u8]; 3] = [
            b"text/plain",
            b"application/x-www-form-urlencoded",
            b"multipart/form-data",
        ];
        match self.content_type {
            Sent::Once(value) => match media_type(value) {
                Some(media_type) => exempt
                    .iter()
                    .any(|exempt| media_type.eq_ignore_ascii_case(exempt)),
                None => true,
            },
            Sent::No | Sent::Repeatedly => true,
        }
    }

    /// Another site's page, by the browser's own word; what is not a known word counts as that.
    fn is_cross_site(&self) -> bool {
        let ours = ["same-origin", "same-site", "none"];
        self.site != Sent::No && !ours.into_iter().any(|value| self.site.is(value))
    }

    /// Something embeds or fetches this from another site; a user who follows a link does not.
    pub(super) fn is_foreign_read(&self) -> bool {
        let read = matches!(*self.method, Method::GET | Method::HEAD);
        let navigation =
            self.mode.is("navigate") && (self.dest.is("document") || self.dest == Sent::No);
        read && self.is_cross_site() && !navigation
    }

    /// Whether another site's page could run a script in the response, and so read it (R45).
    pub(crate) fn is_foreign_script_load(&self) -> bool {
        *self.method == Method::GET && self.is_foreign_read() && !self.mode.is("cors")
    }

    /// Where the request is addressed: `:authority`, else `Host`; both must say the same.
    pub(super) fn addressed(&self) -> Result<&'r [u8], Denied> {
        match (self.authority, self.host) {
            (Some(authority), Sent::No) => Ok(authority),
            (Some(authority), Sent::Once(host)) if same_place(authority, host) => Ok(authority),
            (None, Sent::Once(host)) => Ok(host),
            (None, Sent::No) => Err(Denied::NoHost),
            (_, Sent::Repeatedly) | (Some(_), Sent::Once(_)) => Err(Denied::HostConflict),
        }
    }
}

/// Whether a browser takes this for a script (WHATWG MIME Sniffing, "JavaScript MIME type").
pub(crate) fn is_script(content_type: &[u8]) -> bool {
    media_type(content_type).is_some_and(|media_type| {
        let name = media_type.to_ascii_lowercase();
        name.ends_with(b"javascript") || name.ends_with(b"ecmascript")
    })
}

fn names_websocket(upgrade: &[u8]) -> bool {
    let mut protocols = upgrade.split(|byte| *byte == b',');
    protocols.any(|one| one.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

fn same_place(left: &[u8], right: &[u8]) -> bool {
    left.eq_ignore_ascii_case(right)
        || matches!((Authority::parse(left), Authority::parse(right)), (Ok(left), Ok(right)) if left == right)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    const NAMES: [&str; 13] = [
        "sec-fetch-site",
        "sec-fetch-mode",
        "sec-fetch-dest",
        "origin",
        "host",
        "content-type",
        "authorization",
        "cookie",
        "upgrade",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-other",
    ];
    const VALUES: [&[u8]; 7] = [
        b"",
        b"a",
        b"websocket",
        b"h2c, WebSocket ",
        b"websocketx",
        b"\xff",
        b",websocket,",
    ];

    proptest! {
        /// Fails if: one header is taken for another, or one that was sent twice has a value.
        #[test]
        fn each_header_is_itself(lines in vec((select(&NAMES), select(&VALUES)), 0..10)) {
            let (mut head, ()) = Request::new(()).into_parts();
            for (name, value) in &lines {
                head.headers.append(*name, HeaderValue::from_bytes(value).unwrap());
            }
            let facts = Facts::of(&head);
            let find = |name: &'static str| Sent::find(&head, &HeaderName::from_static(name));
            let sent = |name| lines.iter().any(|(sent, _)| *sent == name);
            prop_assert_eq!(
                [facts.site, facts.mode, facts.dest, facts.origin, facts.host, facts.content_type, facts.authorization],
                [&NAMES[0], &NAMES[1], &NAMES[2], &NAMES[3], &NAMES[4], &NAMES[5], &NAMES[6]].map(|name| find(name)),
            );
            prop_assert_eq!(facts.cookies, sent("cookie"));
            prop_assert_eq!(facts.overridden, NAMES[9..12].iter().any(|name| sent(name)));
            let opens = |value: &[u8]| [&b"websocket"[..], b"h2c, WebSocket ", b",websocket,"].contains(&value);
            let websocket = lines.iter().any(|(name, value)| *name == "upgrade" && opens(value));
            prop_assert_eq!(facts.websocket, websocket);
        }
    }
}
