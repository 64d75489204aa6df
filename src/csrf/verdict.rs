//! What a request's head says about who caused it: a pure decision.
//!
//! A request that can change something passes if any of these holds, asked in this order:
//!
//! 1. it is GET, HEAD or OPTIONS, no WebSocket handshake, and asks for no other method by a header;
//! 2. it authenticates by a Bearer or DPoP token and carries no cookie: no browser sends these on its own;
//! 3. `Sec-Fetch-Site` is there and says `same-origin` or `none`; any other value, known or not, needs a trusted
//!    `Origin`, or for `same-site` the setting that allows it;
//! 4. without that header: `Origin` is there, and is this origin or a trusted one;
//! 5. without both: nothing is carried that a browser would add on its own (cookies, Basic, Digest, Negotiate), or a
//!    token proves where the request comes from.
//!
//! Invariants: a token rescues no request that the browser itself calls foreign; `X-Forwarded-*` is never read; a header
//! sent twice has no value; doubt refuses. The scheme is what a server behind a proxy does not know: unless told, it
//! takes https, and plain http for loopback hosts alone.

use http::Method;

use super::{
    facts::{Facts, Sent},
    origin::{Authority, Origin, TrustedOrigin},
};

/// What is configured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) trusted: Vec<TrustedOrigin>,
    /// The origin that users see, where the server's own view of host and scheme is a proxy's.
    pub(crate) external: Option<Origin<'static>>,
    /// Sibling subdomains may send what the site itself may. Weakens.
    pub(crate) allow_same_site: bool,
    /// Neither `Sec-Fetch-Site` nor `Origin` is as good as the right ones (table F5). Weakens.
    pub(crate) allow_headerless: bool,
    /// A plain-http `Origin` of the right host is this origin, where the scheme is not known. Weakens.
    pub(crate) allow_http: bool,
    /// Other sites may link here, and neither embed nor fetch (R44).
    pub(crate) guard_reads: bool,
    /// POST only with a content type for which browsers ask first, such as JSON (R42).
    pub(crate) preflighted_only: bool,
}

impl Policy {
    fn trusts(&self, origin: Sent<'_>) -> bool {
        let Sent::Once(origin) = origin else {
            return false;
        };
        Origin::parse(origin).is_ok_and(|origin| self.is_trusted(&origin))
    }

    fn is_trusted(&self, origin: &Origin<'_>) -> bool {
        self.trusted.iter().any(|trusted| trusted.is(origin))
    }

    fn is_own(&self, origin: &Origin<'_>, facts: &Facts<'_>) -> Result<bool, Denied> {
        if let Some(external) = &self.external {
            return Ok(external == origin);
        }
        let addressed = Authority::parse(facts.addressed()?).map_err(|_| Denied::NoHost)?;
        let scheme = match facts.scheme {
            Some(scheme) => origin.has_scheme(scheme),
            None => {
                origin.has_scheme("https")
                    || origin.has_scheme("http") && (self.allow_http || origin.is_loopback())
            }
        };
        Ok(scheme && origin.is_at(&addressed))
    }
}

/// What becomes of a request, as far as its head tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It changes nothing.
    Safe,
    Allow(Allowed),
    /// The browser said nothing: a token must prove where the request comes from.
    NeedToken,
    Deny(Denied),
}

/// Why a request passes. The codes say which header decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    SameOrigin,
    UserInitiated,
    SameSite,
    OwnOrigin,
    TrustedOrigin,
    TokenOnly,
    NothingAmbient,
    Headerless,
    /// A token proved it; made by [`Verdict::settle`] alone.
    Token,
}

/// Why a request is refused; the codes are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    CrossSite,
    SameSite,
    UnknownSite,
    NullOrigin,
    BadOrigin,
    ForeignOrigin,
    /// Not addressed to one host; a malformed request rather than a forged one: 400.
    HostConflict,
    NoHost,
    PreflightExempt,
    ForeignRead,
    TokenMissing,
    TokenWrong,
    /// A script that another site's page was about to run with the user's session (R45).
    ForeignScript,
    /// The form is not what its content type says.
    FormMalformed,
    /// The token is not within what is read of a form.
    FormTooLarge,
    /// The body broke off while the token was looked for.
    FormBroken,
}

impl Allowed {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::SameOrigin => "sec_fetch_site_same_origin",
            Self::UserInitiated => "sec_fetch_site_none",
            Self::SameSite => "sec_fetch_site_same_site",
            Self::OwnOrigin => "origin_own",
            Self::TrustedOrigin => "origin_trusted",
            Self::TokenOnly => "authorization_token_only",
            Self::NothingAmbient => "no_ambient_credentials",
            Self::Headerless => "headerless_allowed",
            Self::Token => "csrf_token",
        }
    }
}

impl Denied {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::CrossSite => "cross_site",
            Self::SameSite => "same_site",
            Self::UnknownSite => "unknown_site",
            Self::NullOrigin => "null_origin",
            Self::BadOrigin => "bad_origin",
            Self::ForeignOrigin => "foreign_origin",
            Self::HostConflict => "host_conflict",
            Self::NoHost => "no_host",
            Self::PreflightExempt => "content_type_not_allowed",
            Self::ForeignRead => "cross_site_read",
            Self::TokenMissing => "token_missing",
            Self::TokenWrong => "token_wrong",
            Self::ForeignScript => "cross_site_script",
            Self::FormMalformed => "form_malformed",
            Self::FormTooLarge => "form_too_large",
            Self::FormBroken => "form_broken",
        }
    }

    /// One sentence for whoever has to mend it.
    pub(crate) const fn detail(self) -> &'static str {
        match self {
            Self::CrossSite => "the browser says that another site caused this request",
            Self::SameSite => "the browser says that another host of this site caused this request",
            Self::UnknownSite => "the browser says something unknown of what caused this request",
            Self::NullOrigin => "the page that caused this request has no origin of its own",
            Self::BadOrigin => "the origin of this request is not one",
            Self::ForeignOrigin => "another origin caused this request",
            Self::HostConflict => "the request is addressed to more than one host",
            Self::NoHost => "the request is not addressed to a host",
            Self::PreflightExempt => "this content type is not accepted here, JSON is",
            Self::ForeignRead => "other sites may link here, and neither embed nor fetch",
            Self::TokenMissing => "the request needs the CSRF token of this visitor",
            Self::TokenWrong => "the CSRF token is not one of this visitor: fetch a new one",
            Self::ForeignScript => "other sites may not run this script",
            Self::FormMalformed => "the form is not what its content type says",
            Self::FormTooLarge => "the CSRF token is not at the beginning of the form",
            Self::FormBroken => "the form broke off",
        }
    }

    /// What decided: the name of a header, or what stands for it.
    pub(crate) const fn decided_by(self) -> &'static str {
        match self {
            Self::CrossSite
            | Self::SameSite
            | Self::UnknownSite
            | Self::ForeignRead
            | Self::ForeignScript => "sec-fetch-site",
            Self::NullOrigin | Self::BadOrigin | Self::ForeignOrigin => "origin",
            Self::HostConflict | Self::NoHost => "host",
            Self::PreflightExempt => "content-type",
            Self::TokenMissing | Self::TokenWrong => "token",
            Self::FormMalformed | Self::FormTooLarge | Self::FormBroken => "form",
        }
    }
}

/// What a request's token turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    Missing,
    Wrong,
    Good,
}

impl Verdict {
    /// The end of it. The token is looked for only where it decides; `None` is a safe request.
    pub(crate) fn settle(self, token: impl FnOnce() -> Proof) -> Result<Option<Allowed>, Denied> {
        match self {
            Self::Safe => Ok(None),
            Self::Allow(allowed) => Ok(Some(allowed)),
            Self::Deny(denied) => Err(denied),
            Self::NeedToken => match token() {
                Proof::Good => Ok(Some(Allowed::Token)),
                Proof::Wrong => Err(Denied::TokenWrong),
                Proof::Missing => Err(Denied::TokenMissing),
            },
        }
    }
}

/// Decides about one request.
pub(crate) fn verdict(facts: &Facts<'_>, policy: &Policy) -> Verdict {
    use Verdict::{Allow, Deny, Safe};

    if facts.is_safe() {
        return if policy.guard_reads && facts.is_foreign_read() && !policy.trusts(facts.origin) {
            Deny(Denied::ForeignRead)
        } else {
            Safe
        };
    }
    // Of the methods that a page may use without asking first, only POST has a body.
    if policy.preflighted_only && *facts.method == Method::POST && facts.is_preflight_exempt() {
        return Deny(Denied::PreflightExempt);
    }
    if facts.is_token_only() {
        return Allow(Allowed::TokenOnly);
    }
    if facts.addressed() == Err(Denied::HostConflict) {
        return Deny(Denied::HostConflict);
    }
    match facts.site {
        Sent::No => by_origin(facts, policy),
        Sent::Once(b"same-origin") => Allow(Allowed::SameOrigin),
        Sent::Once(b"none") => Allow(Allowed::UserInitiated),
        _ if policy.trusts(facts.origin) => Allow(Allowed::TrustedOrigin),
        Sent::Once(b"same-site") if policy.allow_same_site => Allow(Allowed::SameSite),
        Sent::Once(b"same-site") => Deny(Denied::SameSite),
        Sent::Once(b"cross-site") => Deny(Denied::CrossSite),
        Sent::Once(_) | Sent::Repeatedly => Deny(Denied::UnknownSite),
    }
}

/// For browsers without Fetch Metadata, and for those that withhold it from plain http.
fn by_origin(facts: &Facts<'_>, policy: &Policy) -> Verdict {
    use Verdict::{Allow, Deny, NeedToken};

    let origin = match facts.origin {
        Sent::Once(b"null") => return Deny(Denied::NullOrigin),
        Sent::Once(origin) => Origin::parse(origin),
        Sent::Repeatedly => return Deny(Denied::BadOrigin),
        Sent::No if policy.allow_headerless => return Allow(Allowed::Headerless),
        // Whatever else is in `Authorization` (Basic, Digest, Negotiate) browsers send on their own.
        Sent::No if facts.cookies || facts.authorization != Sent::No => return NeedToken,
        Sent::No => return Allow(Allowed::NothingAmbient),
    };
    let Ok(origin) = origin else {
        return Deny(Denied::BadOrigin);
    };
    if policy.is_trusted(&origin) {
        return Allow(Allowed::TrustedOrigin);
    }
    match policy.is_own(&origin, facts) {
        Ok(true) => Allow(Allowed::OwnOrigin),
        Ok(false) => Deny(Denied::ForeignOrigin),
        Err(denied) => Deny(denied),
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, request};

    use super::*;
    use crate::{
        KeyRing,
        csrf::{
            facts::is_script,
            token::{Binding, Tokens},
        },
    };

    type Headers<'h> = &'h [(&'h str, &'h str)];

    fn head(method: &str, uri: &str, headers: Headers<'_>) -> request::Parts {
        let request = Request::builder().method(method).uri(uri);
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        request.body(()).expect("a request").into_parts().0
    }

    fn judge(policy: &Policy, method: &str, headers: Headers<'_>) -> Verdict {
        let head = head(
            method,
            "/x",
            &[&[("host", "app.example")], headers].concat(),
        );
        verdict(&Facts::of(&head), policy)
    }

    fn post(headers: Headers<'_>) -> Verdict {
        judge(&Policy::default(), "POST", headers)
    }

    fn trusting(origins: &[&str]) -> Policy {
        let trusted = origins
            .iter()
            .map(|origin| TrustedOrigin::parse(origin).expect("an origin"))
            .collect();
        Policy {
            trusted,
            ..Policy::default()
        }
    }

    /// Written out by hand from DESIGN §6.11 and the requirements; the first row that matches counts.
    ///
    /// Columns: method | Sec-Fetch-Site | Origin | Cookie | Authorization | token | outcome. `*` matches all, `a/b` either.
    /// Upper-case outcomes hold under every setting; the others are those of the default settings.
    const TABLE: &str = "
        GET/HEAD/OPTIONS | *                | *                 | *  | *           | *       | PASS
        *                | *                | *                 | no | Bearer/dpop | *       | PASS
        *                | same-origin/none | *                 | *  | *           | *       | PASS
        *                | absent           | absent            | no | absent      | *       | PASS
        *                | absent           | absent            | *  | *           | good    | PASS
        *                | absent           | absent            | *  | *           | *       | headerless
        *                | absent           | own/own:443/OWN   | *  | *           | *       | PASS
        *                | absent           | trusted           | *  | *           | *       | PASS
        *                | absent           | own-http          | *  | *           | *       | http
        *                | absent           | *                 | *  | *           | *       | REFUSE
        *                | *                | trusted           | *  | *           | *       | PASS
        *                | same-site        | *                 | *  | *           | *       | same-site
        *                | *                | *                 | *  | *           | *       | REFUSE
    ";

    const METHODS: [&str; 10] = [
        "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "get", "PROPFIND",
    ];
    const SITES: [(&str, &[&str]); 8] = [
        ("absent", &[]),
        ("same-origin", &["same-origin"]),
        ("none", &["none"]),
        ("same-site", &["same-site"]),
        ("cross-site", &["cross-site"]),
        ("empty", &[""]),
        ("garbage", &["Same-Origin"]),
        ("twice", &["same-origin", "same-origin"]),
    ];
    const ORIGINS: [(&str, &[&str]); 13] = [
        ("absent", &[]),
        ("own", &["https://app.example"]),
        ("own:443", &["https://app.example:443"]),
        ("OWN", &["HTTPS://App.Example"]),
        ("own-http", &["http://app.example"]),
        ("trusted", &["https://friend.example"]),
        ("other", &["https://evil.example"]),
        ("prefix", &["https://app.example.evil.example"]),
        ("port", &["https://app.example:8443"]),
        ("null", &["null"]),
        ("empty", &[""]),
        ("path", &["https://app.example/"]),
        ("twice", &["https://app.example", "https://app.example"]),
    ];
    const AUTHORIZATIONS: [(&str, &[&str]); 6] = [
        ("absent", &[]),
        ("Bearer", &["Bearer x"]),
        ("dpop", &["dpop x"]),
        ("Basic", &["Basic eDp5"]),
        ("odd", &["Bearerx"]),
        ("twice", &["Bearer x", "Basic eDp5"]),
    ];

    fn expected<'t>(cells: &[&str; 6], table: &'t str) -> &'t str {
        let row = table
            .lines()
            .filter(|line| line.contains('|'))
            .map(|line| line.split('|').map(str::trim));
        let mut row = row.map(Iterator::collect::<Vec<_>>);
        let row = row.find(|row| {
            row.iter().zip(cells).all(|(wanted, cell)| {
                *wanted == "*" || wanted.split('/').any(|wanted| wanted == *cell)
            })
        });
        row.expect("the last row matches everything")[6]
    }

    /// Calls `visit` with the names of one combination and its headers.
    fn each_combination(mut visit: impl FnMut([&str; 5], &request::Parts)) {
        for method in METHODS {
            for (site, sites) in SITES {
                for (origin, origins) in ORIGINS {
                    for (authorization, authorizations) in AUTHORIZATIONS {
                        for cookie in ["yes", "no"] {
                            let mut headers = vec![("host", "app.example")];
                            headers.extend(sites.iter().map(|value| ("sec-fetch-site", *value)));
                            headers.extend(origins.iter().map(|value| ("origin", *value)));
                            headers.extend(
                                authorizations.iter().map(|value| ("authorization", *value)),
                            );
                            headers.extend((cookie == "yes").then_some(("cookie", "id=x")));
                            visit(
                                [method, site, origin, cookie, authorization],
                                &head(method, "/x", &headers),
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_decision_table() {
        let tokens = Tokens::new(
            &KeyRing::new("a test secret of thirty-two bytes or more").expect("a good secret"),
        );
        let make = |id| tokens.make(Binding::Session(id), "").expect("randomness");
        let proofs = [
            ("none", None),
            ("good", Some(make(b"sid"))),
            ("wrong", Some(make(b"another sid"))),
        ];
        let base = trusting(&["https://friend.example"]);
        let settings = [
            ("", base.clone()),
            (
                "same-site",
                Policy {
                    allow_same_site: true,
                    ..base.clone()
                },
            ),
            (
                "headerless",
                Policy {
                    allow_headerless: true,
                    ..base.clone()
                },
            ),
            (
                "http",
                Policy {
                    allow_http: true,
                    ..base
                },
            ),
        ];
        let mut seen = 0;
        each_combination(|[method, site, origin, cookie, authorization], head| {
            for (setting, policy) in &settings {
                for (name, token) in &proofs {
                    let cells = [method, site, origin, cookie, authorization, name];
                    let outcome = expected(&cells, TABLE);
                    let passes = outcome == "PASS" || outcome == *setting;
                    let settled = verdict(&Facts::of(head), policy).settle(|| match token {
                        None => Proof::Missing,
                        Some(token)
                            if tokens.check(token.as_bytes(), Binding::Session(b"sid"), "") =>
                        {
                            Proof::Good
                        }
                        Some(_) => Proof::Wrong,
                    });
                    assert_eq!(settled.is_ok(), passes, "{cells:?} {setting} {settled:?}");
                    seen += 1;
                }
            }
        });
        assert_eq!(seen, 10 * 8 * 13 * 6 * 2 * 4 * 3);
    }

    #[test]
    fn r36_a_token_rescues_nothing_that_the_browser_calls_foreign() {
        let never = || panic!("the token was looked for");
        let refused = post(&[("sec-fetch-site", "cross-site"), ("cookie", "id=x")]).settle(never);
        assert_eq!(refused, Err(Denied::CrossSite));
        assert_eq!(
            post(&[("origin", "null")]).settle(never),
            Err(Denied::NullOrigin)
        );
    }

    #[test]
    fn codes_name_what_decided() {
        for (headers, expected) in [
            (
                &[("sec-fetch-site", "same-origin")] as Headers<'_>,
                Verdict::Allow(Allowed::SameOrigin),
            ),
            (
                &[("sec-fetch-site", "none")],
                Verdict::Allow(Allowed::UserInitiated),
            ),
            (
                &[("sec-fetch-site", "same-site")],
                Verdict::Deny(Denied::SameSite),
            ),
            (
                &[("sec-fetch-site", "new-value")],
                Verdict::Deny(Denied::UnknownSite),
            ),
            (
                &[("origin", "https://app.example")],
                Verdict::Allow(Allowed::OwnOrigin),
            ),
            (
                &[("origin", "https://evil.example")],
                Verdict::Deny(Denied::ForeignOrigin),
            ),
            (
                &[("origin", "https://app.example@evil.example")],
                Verdict::Deny(Denied::BadOrigin),
            ),
            (
                &[("authorization", "Bearer x")],
                Verdict::Allow(Allowed::TokenOnly),
            ),
            (&[("authorization", "Negotiate x")], Verdict::NeedToken),
            (
                &[("authorization", "Bearer x"), ("cookie", "")],
                Verdict::NeedToken,
            ),
            (&[], Verdict::Allow(Allowed::NothingAmbient)),
        ] {
            assert_eq!(post(headers), expected, "{headers:?}");
        }
        let codes = [
            Denied::CrossSite,
            Denied::SameSite,
            Denied::UnknownSite,
            Denied::NullOrigin,
            Denied::BadOrigin,
        ]
        .map(Denied::code);
        assert_eq!(
            codes,
            [
                "cross_site",
                "same_site",
                "unknown_site",
                "null_origin",
                "bad_origin"
            ]
        );
    }

    #[test]
    fn r41_forwarded_headers_have_no_effect() {
        let forwarded = [
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "http"),
            ("forwarded", "host=evil.example;proto=http"),
            ("cookie", "id=x"),
        ];
        let with = |origin| post(&[&[("origin", origin)], &forwarded[..]].concat());
        assert_eq!(
            with("https://app.example"),
            Verdict::Allow(Allowed::OwnOrigin)
        );
        assert_eq!(
            with("https://evil.example"),
            Verdict::Deny(Denied::ForeignOrigin)
        );
        assert_eq!(
            with("http://app.example"),
            Verdict::Deny(Denied::ForeignOrigin)
        );
    }

    #[test]
    fn the_host_is_authority_or_host_and_they_agree() {
        let own = |uri: &str, headers: Headers<'_>| {
            let head = head(
                "POST",
                uri,
                &[
                    headers,
                    &[("origin", "https://app.example"), ("cookie", "id=x")],
                ]
                .concat(),
            );
            verdict(&Facts::of(&head), &Policy::default())
        };
        let allowed = Verdict::Allow(Allowed::OwnOrigin);
        assert_eq!(
            own("http://app.example/x", &[]),
            allowed,
            "the scheme of the hop says nothing"
        );
        assert_eq!(
            own("https://App.Example/x", &[("host", "app.example")]),
            allowed
        );
        assert_eq!(own("/x", &[("host", "app.example:443")]), allowed);
        assert_eq!(own("/x", &[]), Verdict::Deny(Denied::NoHost));
        assert_eq!(
            own("/x", &[("host", "app.example."),]),
            Verdict::Deny(Denied::NoHost)
        );
        for (uri, headers) in [
            (
                "https://app.example/x",
                &[("host", "evil.example")] as Headers<'_>,
            ),
            ("https://app.example/x", &[("host", "app.example:8443")]),
            ("/x", &[("host", "app.example"), ("host", "app.example")]),
        ] {
            assert_eq!(
                own(uri, headers),
                Verdict::Deny(Denied::HostConflict),
                "{uri} {headers:?}"
            );
            let metadata = [headers, &[("sec-fetch-site", "same-origin")]].concat();
            assert_eq!(
                own(uri, &metadata),
                Verdict::Deny(Denied::HostConflict),
                "also where the site is known"
            );
        }
    }

    #[test]
    fn a_known_origin_or_scheme_is_exact() {
        let external =
            Origin::configured("external_origin", "https://app.example").expect("an origin");
        let policy = Policy {
            external: Some(external),
            allow_http: true,
            ..Policy::default()
        };
        for (origin, allowed) in [
            ("https://app.example", true),
            ("https://app.example:443", true),
            ("http://app.example", false),
            ("https://internal:8080", false),
        ] {
            let head = head(
                "POST",
                "/x",
                &[("host", "internal:8080"), ("origin", origin)],
            );
            let settled = verdict(&Facts::of(&head), &policy).settle(|| Proof::Missing);
            assert_eq!(settled.is_ok(), allowed, "{origin}");
        }
        for (scheme, origin, allowed) in [
            ("http", "http://app.example", true),
            ("http", "https://app.example", false),
            ("https", "https://app.example", true),
            ("https", "http://app.example", false),
        ] {
            let head = head("POST", "/x", &[("host", "app.example"), ("origin", origin)]);
            let facts = Facts {
                scheme: Some(scheme),
                ..Facts::of(&head)
            };
            let settled = verdict(&facts, &Policy::default()).settle(|| Proof::Missing);
            assert_eq!(settled.is_ok(), allowed, "{scheme} {origin}");
        }
        let local = head(
            "POST",
            "/x",
            &[
                ("host", "localhost:3000"),
                ("origin", "http://localhost:3000"),
            ],
        );
        assert_eq!(
            verdict(&Facts::of(&local), &Policy::default()),
            Verdict::Allow(Allowed::OwnOrigin)
        );
    }

    #[test]
    fn r43_a_get_that_asks_for_another_method_or_a_websocket_is_checked() {
        let get = |headers: Headers<'_>| judge(&Policy::default(), "GET", headers);
        let foreign = [("origin", "https://evil.example"), ("cookie", "id=x")];
        assert_eq!(get(&foreign), Verdict::Safe);
        for header in [
            ("x-http-method-override", "DELETE"),
            ("X-HTTP-Method", "PUT"),
            ("x-method-override", "post"),
            ("upgrade", "websocket"),
            ("upgrade", "h2c, WebSocket"),
        ] {
            let headers = [&foreign[..], &[header]].concat();
            assert_eq!(
                get(&headers),
                Verdict::Deny(Denied::ForeignOrigin),
                "{header:?}"
            );
        }
        assert_eq!(
            get(&[&foreign[..], &[("upgrade", "h2c")]].concat()),
            Verdict::Safe
        );
        assert_eq!(
            get(&[("upgrade", "websocket"), ("origin", "https://app.example")]),
            Verdict::Allow(Allowed::OwnOrigin)
        );
    }

    #[test]
    fn r42_types_that_pages_send_without_asking_are_refused() {
        let policy = Policy {
            preflighted_only: true,
            ..Policy::default()
        };
        let own = ("sec-fetch-site", "same-origin");
        let with =
            |method, content_type| judge(&policy, method, &[own, ("content-type", content_type)]);
        for exempt in [
            "text/plain",
            "Text/Plain; charset=utf-8",
            "text/plain;application/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "",
            "json",
            "application/json, text/plain",
        ] {
            assert_eq!(
                with("POST", exempt),
                Verdict::Deny(Denied::PreflightExempt),
                "{exempt}"
            );
        }
        assert_eq!(
            judge(&policy, "POST", &[own]),
            Verdict::Deny(Denied::PreflightExempt)
        );
        let twice = [
            own,
            ("content-type", "application/json"),
            ("content-type", "application/json"),
        ];
        assert_eq!(
            judge(&policy, "POST", &twice),
            Verdict::Deny(Denied::PreflightExempt)
        );
        for preflighted in [
            "application/json",
            "application/merge-patch+json; charset=utf-8",
            "application/grpc-web+proto",
        ] {
            assert_eq!(
                with("POST", preflighted),
                Verdict::Allow(Allowed::SameOrigin),
                "{preflighted}"
            );
        }
        assert_eq!(
            judge(&policy, "DELETE", &[own]),
            Verdict::Allow(Allowed::SameOrigin)
        );
        assert_eq!(judge(&policy, "GET", &[own]), Verdict::Safe);
    }

    #[test]
    fn r44_other_sites_may_link_and_not_embed() {
        let policy = Policy {
            guard_reads: true,
            ..trusting(&["https://friend.example"])
        };
        let get = |headers: Headers<'_>| judge(&policy, "GET", headers);
        let refused = Verdict::Deny(Denied::ForeignRead);
        let (cross, navigate) = (
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
        );
        assert_eq!(
            get(&[
                cross,
                ("sec-fetch-mode", "no-cors"),
                ("sec-fetch-dest", "image")
            ]),
            refused
        );
        assert_eq!(
            get(&[
                cross,
                ("sec-fetch-mode", "no-cors"),
                ("sec-fetch-dest", "script")
            ]),
            refused
        );
        assert_eq!(
            get(&[
                cross,
                ("sec-fetch-mode", "cors"),
                ("origin", "https://evil.example")
            ]),
            refused
        );
        assert_eq!(
            get(&[cross, navigate, ("sec-fetch-dest", "iframe")]),
            refused
        );
        assert_eq!(get(&[cross]), refused);
        assert_eq!(get(&[("sec-fetch-site", "new-value")]), refused);
        assert_eq!(judge(&policy, "HEAD", &[cross]), refused);
        for headers in [
            &[cross, navigate, ("sec-fetch-dest", "document")] as Headers<'_>,
            &[cross, navigate],
            &[
                cross,
                ("sec-fetch-mode", "cors"),
                ("origin", "https://friend.example"),
            ],
            &[("sec-fetch-site", "same-site")],
            &[
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-dest", "script"),
            ],
            &[("sec-fetch-site", "none")],
            &[],
        ] {
            assert_eq!(get(headers), Verdict::Safe, "{headers:?}");
        }
        assert_eq!(
            judge(&policy, "OPTIONS", &[cross]),
            Verdict::Safe,
            "preflights"
        );
        assert_eq!(
            judge(&Policy::default(), "GET", &[cross]),
            Verdict::Safe,
            "only where asked for"
        );
    }

    #[test]
    fn r45_scripts_are_not_for_other_sites() {
        let leaks = |method, headers: Headers<'_>, content_type: &str| {
            let head = head(method, "/x", headers);
            Facts::of(&head).is_foreign_script_load() && is_script(content_type.as_bytes())
        };
        let cross = ("sec-fetch-site", "cross-site");
        for script in [
            "text/javascript",
            "application/javascript; charset=utf-8",
            "Application/X-JavaScript",
            "text/ecmascript",
        ] {
            assert!(
                leaks("GET", &[cross, ("sec-fetch-mode", "no-cors")], script),
                "{script}"
            );
        }
        assert!(!leaks("GET", &[cross], "application/json"));
        assert!(!leaks(
            "GET",
            &[cross, ("sec-fetch-mode", "cors")],
            "text/javascript"
        ));
        assert!(!leaks(
            "GET",
            &[("sec-fetch-site", "same-origin")],
            "text/javascript"
        ));
        assert!(!leaks("GET", &[], "text/javascript"));
        assert!(!leaks("POST", &[cross], "text/javascript"));
        assert!(!leaks(
            "GET",
            &[cross, ("sec-fetch-mode", "navigate")],
            "text/javascript"
        ));
    }
}
