//! The next pair for a refresh token, and the end of its login.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode, request};
use serde::Serialize;

use super::{
    Client, Endpoint,
    answer::{self, Fault},
    params::{Accept, Params},
    sealed::Sealed,
};
use crate::{
    cookie::{self, CookieConfig, SameSite},
    error::ConfigError,
    refresh::{RefreshError, RefreshErrorKind, RefreshRequest, Rotation, TokenPair},
    refuse::RejectionKind,
    trace::{event_error, event_warn},
};

const NAME: &str = "__Host-refresh";
const PLAIN_NAME: &str = "refresh";

/// Takes a refresh token and answers with the pair that follows (RFC 6749 §6).
///
/// The request is a `POST` of a form or of a JSON object with `refresh_token`, and if wanted `client_id`, `scope` (fewer
/// than were granted), `resource` (fewer than were granted, one or several, for the `aud` of the access token: RFC 8707)
/// and `grant_type`, which must then be `refresh_token`. The answer is
/// `{"access_token", "token_type": "Bearer", "expires_in", "refresh_token", "scope"}`.
///
/// | | answer |
/// |---|---|
/// | forged, expired, used before, revoked, of another client | 400 `invalid_grant` |
/// | more scopes than granted | 400 `invalid_scope` |
/// | a resource that was not granted | 400 `invalid_target` (RFC 8707 §2) |
/// | no token, or a parameter twice | 400 `invalid_request` |
/// | the store cannot say | 503, `Retry-After`: present the same token again |
///
/// `client_id` is a public client's word. Where clients have secrets, check those in front and leave a
/// [`Client`] in the extensions.
///
/// # With a cookie
///
/// [`in_cookie`](Self::in_cookie) keeps the refresh token where no script can read it: in a `__Host-` cookie that is
/// `HttpOnly`, `Secure` and `SameSite=Strict`; the access token comes in the body as before. Set it at login with
/// [`answer`](Self::answer).
///
/// - **No refusal ever removes the cookie**, only [`logout`](Self::logout) does. An answer arrives when it arrives: by then
///   the browser may hold the cookie of a rotation that another tab won, or of a new login, and no response can tell which
///   one it removes. A cookie whose login ended is worth nothing, ends by itself, and is overwritten by the next login.
/// - A page of another site cannot use it: `SameSite=Strict` keeps the cookie away, and bodies must be JSON, which such a
///   page cannot send without being asked for permission first (CORS preflight). Pages of sibling subdomains are the same
///   site; against them there is only the second.
#[derive(Clone)]
pub struct RefreshEndpoint(Arc<Inner>);

struct Inner {
    rotation: Rotation,
    cookie: Option<CookieConfig>,
    accept: Accept,
}

/// Settings of a [`RefreshEndpoint`] with a cookie, checked when it is built.
#[derive(Clone)]
#[must_use]
pub struct RefreshCookieBuilder {
    rotation: Rotation,
    cookie: CookieConfig,
    named: bool,
    accept: Accept,
}

#[derive(Serialize)]
struct Answer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
}

impl RefreshEndpoint {
    /// Refresh tokens come and go in bodies: for apps, and for services that speak to services.
    #[must_use]
    pub fn new(rotation: &Rotation) -> Self {
        Self(Arc::new(Inner {
            rotation: rotation.clone(),
            cookie: None,
            accept: Accept::JsonOrForm,
        }))
    }

    /// Refresh tokens come and go in a cookie: for pages.
    pub fn in_cookie(rotation: &Rotation) -> RefreshCookieBuilder {
        let mut cookie = CookieConfig::new(NAME);
        cookie.same_site = SameSite::Strict;
        RefreshCookieBuilder {
            rotation: rotation.clone(),
            cookie,
            named: false,
            accept: Accept::JsonOnly,
        }
    }

    /// The answer that hands out a pair: for the handler of the login, with what [`Rotation::issue`] made.
    #[must_use]
    pub fn answer(&self, pair: &TokenPair) -> Response<Bytes> {
        let cookie = self.0.cookie.as_ref();
        let mut response = answer::json(&Answer {
            access_token: pair.access().token(),
            token_type: "Bearer",
            expires_in: pair.access().expires_in(),
            refresh_token: cookie.is_none().then_some(pair.refresh()),
            scope: pair.scope(),
        });
        if let Some(config) = cookie {
            let now_ms = self.0.rotation.now_millis();
            let left = Duration::from_millis(pair.ends_ms().saturating_sub(now_ms));
            let life = left.min(self.0.rotation.idle_timeout());
            match config.set(pair.refresh(), Some(life), now_ms) {
                Ok(value) => cookie::put(response.headers_mut(), value),
                // The builder has checked the name, and a token is short.
                Err(error) => {
                    event_error!(event = "refresh.cookie", %error, "a refresh cookie could not be written");
                    return Fault::from(RejectionKind::Internal).into_response();
                }
            }
        }
        response
    }

    /// The endpoint that ends the login.
    #[must_use]
    pub fn logout(&self) -> LogoutEndpoint {
        LogoutEndpoint(self.clone())
    }

    async fn refresh(&self, head: &request::Parts, body: &[u8]) -> Result<TokenPair, Fault> {
        let params = Params::read(head, body, self.0.accept)?;
        if params
            .get("grant_type")
            .is_some_and(|grant| grant != "refresh_token")
        {
            return Err(Fault::bad("unsupported_grant_type"));
        }
        let presented = self.presented(head, &params)?;
        let presented = presented.ok_or(RejectionKind::InvalidGrant)?;
        let client = client(head, &params)?;
        let resources: Vec<&str> = params.all("resource").collect();
        let resources = resources.join(" ");
        let request = RefreshRequest::new()
            .client(client)
            .scope(params.get("scope").unwrap_or_default())
            .resource(&resources);
        let pair = self.0.rotation.rotate(presented, request).await;
        pair.map_err(refused)
    }

    /// The token of the request; `None` only where it would be in a cookie.
    fn presented<'a>(
        &'a self,
        head: &'a request::Parts,
        params: &'a Params,
    ) -> Result<Option<&'a str>, Fault> {
        let Some(config) = self.cookie_alone(params)? else {
            return params.need("refresh_token").map(Some);
        };
        let (mut found, mut seen): (Vec<&str>, _) = (Vec::new(), 0);
        let lines = || head.headers.get_all(http::header::COOKIE).iter();
        let values = cookie::candidates(lines(), &config.name).inspect(|_| seen += 1);
        for value in values.filter_map(|value| std::str::from_utf8(value).ok()) {
            if !found.contains(&value) {
                found.push(value);
            }
        }
        if found.len() > 1 {
            // A sibling domain can plant a cookie beside ours where its name has no `__Host-`; it cannot make a token.
            found.retain(|value| self.0.rotation.made(value));
        }
        match found[..] {
            [] => Ok(None),
            [only] if !cookie::left_unseen(lines(), &config.name, seen) => Ok(Some(only)),
            _ => Err(ambiguous()),
        }
    }

    /// Every token of the request, those of our making and the others: of several cookies all but one were planted, and who could
    /// stop a logout with them would keep the user signed in.
    fn all_presented<'a>(
        &'a self,
        head: &'a request::Parts,
        params: &'a Params,
    ) -> Result<(Vec<&'a str>, Vec<&'a str>), Fault> {
        let Some(config) = self.cookie_alone(params)? else {
            return Ok((vec![params.need("refresh_token")?], Vec::new()));
        };
        let lines = head.headers.get_all(http::header::COOKIE);
        let values = cookie::all(lines, &config.name).into_iter();
        let texts = values.filter_map(|value| std::str::from_utf8(value).ok());
        Ok(texts.partition(|value| self.0.rotation.made(value)))
    }

    /// Where tokens come in cookies, they come in nothing else.
    fn cookie_alone(&self, params: &Params) -> Result<Option<&CookieConfig>, Fault> {
        match &self.0.cookie {
            Some(_) if params.get("refresh_token").is_some() => Err(Fault::bad("invalid_request")),
            cookie => Ok(cookie.as_ref()),
        }
    }
}

fn ambiguous() -> Fault {
    event_warn!(
        event = "refresh.ambiguous",
        "two authentic refresh cookies in one request, or more cookies than are looked at"
    );
    Fault::bad("invalid_request")
}

/// Who asks: as the application authenticated it, or by its own word.
fn client<'a>(head: &'a request::Parts, params: &'a Params) -> Result<&'a str, Fault> {
    let stated = params.get("client_id");
    match head.extensions.get::<Client>() {
        Some(client) if stated.is_some_and(|stated| stated != client.id()) => {
            Err(Fault::bad("invalid_client"))
        }
        Some(client) => Ok(client.id()),
        None => Ok(stated.unwrap_or_default()),
    }
}

fn refused(error: RefreshError) -> Fault {
    match error.kind() {
        RefreshErrorKind::Resource => Fault::bad("invalid_target"),
        _ => error.into(),
    }
}

impl Sealed for RefreshEndpoint {}

impl Endpoint for RefreshEndpoint {
    async fn handle(&self, head: &request::Parts, body: &[u8]) -> Response<Bytes> {
        if let Some(refusal) = answer::not_post(head) {
            return refusal;
        }
        match self.refresh(head, body).await {
            Ok(pair) => self.answer(&pair),
            Err(fault) => fault.into_response(),
        }
    }
}

impl fmt::Debug for RefreshEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshEndpoint")
            .field("cookie", &self.0.cookie.as_ref().map(|cookie| &cookie.name))
            .finish_non_exhaustive()
    }
}

/// What is no token of ours may be one of a system before, about which the store has to be asked. A browser has one of them.
const MOST_FOREIGN: usize = 16;

/// Ends the login that a refresh token belongs to, its access tokens and its session included, and removes the cookie if
/// there is one: 204. A token whose login is gone already, or that is none of ours, is no error. Of several cookies of the name
/// all logins end, and more than 16 that are none of ours are 400 `invalid_request`, after all that are.
///
/// The request is that of its [`RefreshEndpoint`]. While the store cannot confirm it the answer is 503, and the cookie
/// stays: the login is not ended.
#[derive(Clone, Debug)]
pub struct LogoutEndpoint(RefreshEndpoint);

impl LogoutEndpoint {
    async fn end(&self, head: &request::Parts, body: &[u8]) -> Result<(), Fault> {
        let Inner {
            rotation, accept, ..
        } = &*self.0.0;
        let params = Params::read(head, body, *accept)?;
        let (ours, others) = self.0.all_presented(head, &params)?;
        let too_many = others.len() > MOST_FOREIGN;
        let mut outcome = Ok(());
        for token in ours
            .into_iter()
            .chain(others.into_iter().take(MOST_FOREIGN))
        {
            // One that cannot be ended is no reason to leave the others.
            let ended = rotation.revoke(token).await.map_err(Fault::from);
            outcome = outcome.and(ended);
        }
        match too_many {
            true => outcome.and_then(|()| Err(ambiguous())),
            false => outcome,
        }
    }
}

impl Sealed for LogoutEndpoint {}

impl Endpoint for LogoutEndpoint {
    async fn handle(&self, head: &request::Parts, body: &[u8]) -> Response<Bytes> {
        if let Some(refusal) = answer::not_post(head) {
            return refusal;
        }
        if let Err(fault) = self.end(head, body).await {
            return fault.into_response();
        }
        let mut response = answer::empty(StatusCode::NO_CONTENT);
        if let Some(config) = &self.0.0.cookie {
            cookie::put(response.headers_mut(), config.removal());
        }
        response
    }
}

impl RefreshCookieBuilder {
    /// The name of the cookie. Default `__Host-refresh`.
    pub fn cookie_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.cookie.name = name.into();
        self.named = true;
        self
    }

    /// The path of the cookie, so that only requests to the endpoints carry it. Default `/`, which a `__Host-` name
    /// demands: take a `__Secure-` name with another one. A path keeps no other application of the host out.
    pub fn cookie_path(mut self, path: impl Into<Cow<'static, str>>) -> Self {
        self.cookie.path = path.into();
        self
    }

    /// A cookie without `Secure`, which browsers send over plain http, where everybody on the way reads it: for
    /// development on a loopback address. The name becomes `refresh` unless another is set.
    pub fn insecure_plain_http(mut self) -> Self {
        self.cookie.secure = false;
        if !self.named {
            self.cookie.name = Cow::Borrowed(PLAIN_NAME);
        }
        self
    }

    /// Takes forms, and requests without a body, too. Pages of sibling subdomains can send those without being asked: only
    /// behind a layer that checks where a request comes from.
    pub fn insecure_any_content_type(mut self) -> Self {
        self.accept = Accept::Anything;
        self
    }

    /// Checks the settings and makes the endpoint.
    ///
    /// # Errors
    ///
    /// For a cookie that browsers would drop.
    pub fn build(self) -> Result<RefreshEndpoint, ConfigError> {
        self.cookie.check()?;
        Ok(RefreshEndpoint(Arc::new(Inner {
            rotation: self.rotation,
            cookie: Some(self.cookie),
            accept: self.accept,
        })))
    }
}

impl fmt::Debug for RefreshCookieBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshCookieBuilder")
            .field("cookie", &self.cookie)
            .finish_non_exhaustive()
    }
}
