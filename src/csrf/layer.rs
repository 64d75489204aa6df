//! The layer and its settings.

use std::{borrow::Cow, fmt, sync::Arc};

use http::HeaderName;
use tower_layer::Layer;

use super::{
    config::Config,
    form::CsrfFormLayer,
    gate::CsrfGate,
    origin::{Origin, TrustedOrigin},
    token::Tokens,
    verdict::Policy,
};
use crate::{
    cookie::CookieConfig, error::ConfigError, gate::Gated, keyring::KeyRing, refuse::DefaultRefuse,
};

const COOKIE: &str = "__Host-csrf";
const PLAIN_COOKIE: &str = "csrf";
const HEADER: &str = "x-csrf-token";
const FIELD: &str = "csrf_token";
const FORM_LIMIT: usize = 64 * 1024;
/// A page of another site may set these without asking, or browsers and proxies set them themselves.
const NO_PROOF: [&str; 9] = [
    "accept",
    "accept-language",
    "content-language",
    "content-type",
    "range",
    "cookie",
    "authorization",
    "origin",
    "host",
];

/// Refuses requests that another site caused, before the inner service is called.
///
/// It belongs inside of [`SessionLayer`](crate::session::SessionLayer); without one every request is refused as an
/// internal error (`session_layer_missing`). The [module](super) says which requests pass. Defaults:
///
/// | setting | default |
/// |---|---|
/// | trusted origins | none but the site's own |
/// | sibling subdomains | refused |
/// | neither `Sec-Fetch-Site` nor `Origin` | a token, if the request carries cookies or credentials of the browser |
/// | token | stateless, bound to the session; header `x-csrf-token` |
/// | token of a visitor without a session | bound to the cookie `__Host-csrf` (`Secure`, `HttpOnly`, `SameSite=Lax`) |
/// | forms | not read, see [`form`](Self::form) |
///
/// OWASP ASVS 5.0 V3.5.1–V3.5.3; instances that hold the same [`KeyRing`] take each other's tokens.
pub struct CsrfLayer<R = DefaultRefuse> {
    config: Arc<Config>,
    responder: R,
}

impl CsrfLayer {
    /// The default settings.
    #[must_use]
    pub fn new(keys: &KeyRing) -> Self {
        Self::builder(keys)
            .build()
            .expect("the default settings can be used")
    }

    /// Settings first.
    pub fn builder(keys: &KeyRing) -> CsrfLayerBuilder {
        CsrfLayerBuilder::new(keys)
    }
}

impl<R> CsrfLayer<R> {
    /// Makes refusals with another responder.
    #[must_use]
    pub fn refuse_with<Other>(self, responder: Other) -> CsrfLayer<Other> {
        CsrfLayer {
            config: self.config,
            responder,
        }
    }

    /// The same layer for services whose pages submit forms without a script: it also finds the token in a field of the
    /// body. To be used instead of this layer.
    #[must_use]
    pub fn form(self) -> CsrfFormLayer<R> {
        CsrfFormLayer::of(self)
    }

    pub(super) fn gate(&self) -> CsrfGate {
        CsrfGate::new(Arc::clone(&self.config))
    }
}

impl<S, R: Clone> Layer<S> for CsrfLayer<R> {
    type Service = Gated<S, CsrfGate, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Gated::new(inner, self.gate(), self.responder.clone())
    }
}

impl<R: Clone> Clone for CsrfLayer<R> {
    fn clone(&self) -> Self {
        Self {
            config: Arc::clone(&self.config),
            responder: self.responder.clone(),
        }
    }
}

impl<R> fmt::Debug for CsrfLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsrfLayer")
            .field("policy", &self.config.policy)
            .field("exempt", &self.config.exempt)
            .field("report_only", &self.config.report_only)
            .finish_non_exhaustive()
    }
}

/// Settings of a [`CsrfLayer`], checked when it is built.
#[derive(Clone, Debug)]
#[must_use]
pub struct CsrfLayerBuilder {
    keys: KeyRing,
    trusted: Vec<String>,
    insecurely_trusted: Vec<String>,
    external: Option<String>,
    policy: Policy,
    header: Cow<'static, str>,
    field: Cow<'static, str>,
    cookie: CookieConfig,
    named: bool,
    exempt: Vec<String>,
    form_limit: usize,
    stored: bool,
    report_only: bool,
    same_origin_resources: bool,
}

impl CsrfLayerBuilder {
    fn new(keys: &KeyRing) -> Self {
        Self {
            keys: keys.clone(),
            trusted: Vec::new(),
            insecurely_trusted: Vec::new(),
            external: None,
            policy: Policy::default(),
            header: Cow::Borrowed(HEADER),
            field: Cow::Borrowed(FIELD),
            cookie: CookieConfig::new(COOKIE),
            named: false,
            exempt: Vec::new(),
            form_limit: FORM_LIMIT,
            stored: false,
            report_only: false,
            same_origin_resources: false,
        }
    }

    /// Lets the pages of another origin send what the site's own may: `https://app.example`, with a port if it is not
    /// 443. Exactly this origin, none of its subdomains; call it once for each. Default none.
    ///
    /// Building fails for anything that is not an origin, and for plain http and loopback hosts, in whose name others
    /// can speak.
    pub fn trusted_origin(mut self, origin: impl Into<String>) -> Self {
        self.trusted.push(origin.into());
        self
    }

    /// The same for a plain-http or loopback origin, such as the development server of a front end: whoever is on the
    /// network, or runs a program on the user's machine, speaks in its name.
    pub fn insecure_trusted_origin(mut self, origin: impl Into<String>) -> Self {
        self.insecurely_trusted.push(origin.into());
        self
    }

    /// The origin that users see, where a proxy rewrites `Host`: `https://shop.example`. `Origin` headers are then
    /// compared with this and no longer with what the request is addressed to.
    ///
    /// Default: where the request is addressed, by https, or by plain http for loopback hosts. `X-Forwarded-Host` and
    /// its like are never read: anybody can send them.
    pub fn external_origin(mut self, origin: impl Into<String>) -> Self {
        self.external = Some(origin.into());
        self
    }

    /// The header that takes the token. Default `x-csrf-token`.
    pub fn header_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.header = name.into();
        self
    }

    /// The form field that takes the token, see [`CsrfLayer::form`]. Default `csrf_token`.
    pub fn field_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.field = name.into();
        self
    }

    /// The name of the cookie to which the tokens of visitors without a session bind. Default `__Host-csrf`.
    pub fn cookie_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.cookie.name = name.into();
        self.named = true;
        self
    }

    /// The token has to be within this many bytes of a form, see [`CsrfLayer::form`]. Default 64 KiB. What follows is
    /// not read here and may be of any size.
    pub fn form_limit(mut self, bytes: usize) -> Self {
        self.form_limit = bytes;
        self
    }

    /// Leaves one path out, with every method: for a webhook that brings its own proof. Default none.
    ///
    /// Exactly this path as the inner service gets it. `/hook/`, `//hook`, `/a/../hook` and `/%68ook` are other paths
    /// and stay protected, and in a nested axum router the path is the one without the prefix. Building fails for a path
    /// in which nobody would see that (CVE-2025-47910).
    pub fn exempt(mut self, path: impl Into<String>) -> Self {
        self.exempt.push(path.into());
        self
    }

    /// Takes POST only with a content type for which browsers ask first, such as JSON: no plain text, no forms, not
    /// none; 415 otherwise (ASVS 3.5.2). Default no. For APIs without forms.
    pub fn json_only(mut self) -> Self {
        self.policy.preflighted_only = true;
        self
    }

    /// Other sites may link here and neither embed nor fetch anything: a GET whose `Sec-Fetch-Site` says `cross-site`
    /// passes only as the navigation of a user (ASVS 3.5.3, Fetch Metadata's resource isolation). Default no. For routes
    /// whose answers are sensitive, or whose GETs have effects.
    pub fn guard_reads(mut self) -> Self {
        self.policy.guard_reads = true;
        self
    }

    /// Adds `Cross-Origin-Resource-Policy: same-origin` to responses that say nothing of it: browsers do not let other
    /// origins embed them (ASVS 3.5.8). Default no.
    pub fn same_origin_resources(mut self) -> Self {
        self.same_origin_resources = true;
        self
    }

    /// Binds the tokens of a session to a secret in its store, beside the session, instead of to its id: they end with
    /// the session, and who deletes the secret voids them. Default no.
    ///
    /// A request that needs a token then costs a trip, in which the session is read as well, and so does a page that
    /// shows one. While the store is away such requests are refused with 503.
    pub fn stored(mut self) -> Self {
        self.stored = true;
        self
    }

    /// Sibling subdomains, and on older browsers plain-http pages of the same host, may send what the site itself may.
    pub fn insecure_allow_same_site(mut self) -> Self {
        self.policy.allow_same_site = true;
        self
    }

    /// Requests with neither `Sec-Fetch-Site` nor `Origin` pass without a token, cookies or not: programs that use
    /// cookies need none, and browsers of before 2020 are unprotected.
    pub fn insecure_allow_headerless(mut self) -> Self {
        self.policy.allow_headerless = true;
        self
    }

    /// For sites that are served over plain http to other machines: an `http://` origin counts as the site's own, and
    /// the cookie has no `Secure`; its name becomes `csrf` unless another is set. Whoever is on the network can read and
    /// change everything.
    pub fn insecure_plain_http(mut self) -> Self {
        self.policy.allow_http = true;
        self.cookie.secure = false;
        if !self.named {
            self.cookie.name = Cow::Borrowed(PLAIN_COOKIE);
        }
        self
    }

    /// Refuses nothing: what would be refused passes with an event `csrf.would_block`. To see, before the layer is
    /// armed, whom it would hit.
    pub fn insecure_report_only(mut self) -> Self {
        self.report_only = true;
        self
    }

    /// Checks the settings and makes the layer.
    ///
    /// # Errors
    ///
    /// For what is not an origin, a trusted origin in whose name others can speak, a cookie that browsers would drop, a
    /// header that proves nothing, and an exempt path that is not in its plain form.
    pub fn build(self) -> Result<CsrfLayer, ConfigError> {
        self.cookie.check()?;
        let mut policy = self.policy;
        for origin in &self.trusted {
            policy.trusted.push(TrustedOrigin::parse(origin)?);
        }
        for origin in &self.insecurely_trusted {
            policy.trusted.push(TrustedOrigin::insecure(origin)?);
        }
        if let Some(origin) = &self.external {
            policy.external = Some(external(origin, policy.allow_http)?);
        }
        if self.field.is_empty() {
            return Err(ConfigError::new("field_name", "must not be empty"));
        }
        if !(1024..=8 * 1024 * 1024).contains(&self.form_limit) {
            let message = "must be between 1 KiB and 8 MiB";
            return Err(ConfigError::new("form_limit", message));
        }
        self.exempt.iter().try_for_each(|path| check_path(path))?;
        Ok(CsrfLayer {
            config: Arc::new(Config {
                policy,
                tokens: Tokens::new(&self.keys),
                cookie: self.cookie,
                header: header(&self.header)?,
                field: self.field,
                exempt: self.exempt.into(),
                form_limit: self.form_limit,
                stored: self.stored,
                report_only: self.report_only,
                same_origin_resources: self.same_origin_resources,
            }),
            responder: DefaultRefuse::new(),
        })
    }
}

fn external(text: &str, allow_http: bool) -> Result<Origin<'static>, ConfigError> {
    const FIELD: &str = "external_origin";
    let origin = Origin::configured(FIELD, text)?;
    let http = origin.has_scheme("http");
    if !http && !origin.has_scheme("https") {
        return Err(ConfigError::new(
            FIELD,
            "users reach a site by https, so begin with https://",
        ));
    }
    if http && !allow_http && !origin.is_loopback() {
        return Err(ConfigError::new(
            FIELD,
            "over plain http everybody on the way can speak for the site: take https, or insecure_plain_http as well",
        ));
    }
    Ok(origin)
}

fn header(name: &str) -> Result<HeaderName, ConfigError> {
    const FIELD: &str = "header_name";
    let Ok(header) = HeaderName::try_from(name) else {
        return Err(ConfigError::new(
            FIELD,
            format!("{name:?} is not the name of a header"),
        ));
    };
    if NO_PROOF.contains(&header.as_str()) || header.as_str().starts_with("sec-") {
        let message = format!(
            "{name} has another meaning: take one of the application's own, such as {HEADER}"
        );
        return Err(ConfigError::new(FIELD, message));
    }
    Ok(header)
}

/// A path that is its own normal form: what looks like it and is not it stays protected.
fn check_path(path: &str) -> Result<(), ConfigError> {
    let plain =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'%' | b'\\' | b'*');
    let dots = path.split('/').any(|segment| matches!(segment, "." | ".."));
    if !path.starts_with('/') || path.contains("//") || dots || !path.bytes().all(plain) {
        let message = format!(
            "{path:?} is not one path: give it as /hook/name, without dot segments, doubled slashes, escapes, \
             wildcards and query"
        );
        return Err(ConfigError::new("exempt", message));
    }
    Ok(())
}
