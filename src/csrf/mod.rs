//! Protection against cross-site request forgery: who caused this request?
//!
//! A browser attaches cookies to requests that other sites cause. Browsers also say who caused a request; where one
//! does not, a token proves it. A request **passes if any of the following holds**, asked in this order:
//!
//! 1. It is GET, HEAD or OPTIONS, no WebSocket handshake, and asks for no other method by a header such as
//!    `X-HTTP-Method-Override`.
//! 2. It authenticates by `Authorization: Bearer` or `DPoP` and carries no cookie at all: no browser sends these on its
//!    own. `Basic`, `Digest` and `Negotiate` it does send.
//! 3. `Sec-Fetch-Site` says `same-origin` or `none`. Every other value, known or not, counts as another site's, and then
//!    no token helps: only an `Origin` that is [trusted](CsrfLayerBuilder::trusted_origin), or for `same-site`
//!    [`insecure_allow_same_site`](CsrfLayerBuilder::insecure_allow_same_site).
//! 4. Without that header: `Origin` is this origin (scheme, host and port) or a trusted one. `null` is nobody's.
//! 5. Without both: it carries neither a cookie nor `Authorization`, so it comes with nothing that a browser adds.
//! 6. Without both, and with those: a token of this visitor is in the header `x-csrf-token` or, behind
//!    [`CsrfFormLayer`], in the form field `csrf_token`.
//!
//! Everything else is refused before the inner service is called: 403 (gRPC 7) with the reason as `code`, and one event
//! `csrf.denied` that says which header decided. Rules 3 and 4 are the table of Go's `CrossOriginProtection`, except that
//! rule 6 is stricter ([`insecure_allow_headerless`](CsrfLayerBuilder::insecure_allow_headerless) is Go's row); values of
//! `Sec-Fetch-Site` that are not known are not passed over as OWASP's cheat sheet has it, but refused.
//!
//! | status | gRPC | `code` |
//! |---|---|---|
//! | 403 | 7 | `cross_site` `same_site` `unknown_site` `null_origin` `bad_origin` `foreign_origin` `no_host` `token_missing` `token_wrong` `cross_site_read` `cross_site_script` |
//! | 400 | 3 | `host_conflict` `form_malformed` `form_broken` |
//! | 413 | 8 | `form_too_large` |
//! | 415 | 3 | `content_type_not_allowed` |
//! | 503 | 14 | `unavailable`: the store of [stored](CsrfLayerBuilder::stored) tokens is away |
//! | 500 | 13 | `session_layer_missing`: put [`SessionLayer`](crate::session::SessionLayer) around this layer |
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use http::{Request, Response, StatusCode, header::{COOKIE, SET_COOKIE}};
//! use portcullis::{KeyRing, Store, csrf::{CsrfLayer, CsrfToken}, session::SessionLayer};
//! use tower::{Layer, Service, ServiceExt, service_fn};
//!
//! async fn app(request: Request<()>) -> Result<Response<String>, std::convert::Infallible> {
//!     let csrf = request.extensions().get::<CsrfToken>().expect("behind CsrfLayer");
//!     Ok(Response::new(csrf.token().await.expect("randomness")))
//! }
//!
//! let keys = KeyRing::new("a secret of at least thirty-two bytes")?;
//! let app = CsrfLayer::new(&keys).layer(service_fn(app));
//! let mut app = SessionLayer::new(&Store::memory(), &keys).layer(app);
//!
//! // What another site's page causes is refused, whatever it carries.
//! let attack = Request::post("/transfer").header("sec-fetch-site", "cross-site").body(())?;
//! assert_eq!(app.ready().await?.call(attack).await?.status(), StatusCode::FORBIDDEN);
//!
//! // A program that sends cookies and no such header needs the token.
//! let page = app.ready().await?.call(Request::get("/form").body(())?).await?;
//! let cookie = page.headers()[SET_COOKIE].to_str()?.split(';').next().unwrap_or_default().to_owned();
//! let token = page.into_body();
//! let without = Request::post("/transfer").header(COOKIE, &cookie).body(())?;
//! assert_eq!(app.ready().await?.call(without).await?.status(), StatusCode::FORBIDDEN);
//! let with = Request::post("/transfer").header(COOKIE, &cookie).header("x-csrf-token", token).body(())?;
//! assert_eq!(app.ready().await?.call(with).await?.status(), StatusCode::OK);
//! # Ok(()) }
//! ```
//!
//! # Tokens
//!
//! A token is `base64url(mask ‖ mask ⊕ HMAC(key, session))`: it is bound to the id of the session and so void after
//! every login, renewal and logout, and good on every instance that holds the key. Checking one asks the store nothing.
//! A visitor without a session gets the cookie `__Host-csrf`, signed and of 128 random bits, and tokens bound to that; it
//! never is a session. When the visitor gets a session without a login, the cookie is attached to that session and pages
//! that are open go on working; a login or logout removes it. So a login form is protected as everything else is.
//!
//! # Caveats
//!
//! - **Plain http.** Browsers send `Sec-Fetch-Site` to https and to loopback hosts only. On other plain-http hosts `Origin`
//!   and the token are all there is, and [`insecure_plain_http`](CsrfLayerBuilder::insecure_plain_http) has to be set.
//! - **Sibling subdomains** are the same site: `SameSite` cookies go with their requests, and they can overwrite cookies
//!   that have no `__Host-` name. This layer refuses `same-site` for that reason; keep the cookies' default names.
//! - **Proxies that rewrite `Host`** make every `Origin` a foreign one: set
//!   [`external_origin`](CsrfLayerBuilder::external_origin). `X-Forwarded-*` is never read.
//! - **A method override** has to be applied outside of this layer. Inside, its header makes a GET one that is checked.
//! - **GETs with effects** are not protected by rule 1: take
//!   [`guard_reads`](CsrfLayerBuilder::guard_reads), or make them POSTs.
//! - Scripts with a user's data can be run by other sites' pages: a GET that carries a session and is answered with
//!   JavaScript is refused where `Sec-Fetch-Site` says `cross-site`, unless it is a CORS request.
//! - Two tabs that a visitor opens at once and for the first time get two cookies, of which the browser keeps one. A token
//!   of the other tab is refused, on browsers that say neither who caused a request nor its origin.

mod config;
mod error;
mod facts;
mod form;
mod gate;
mod handle;
mod layer;
mod origin;
mod stored;
mod token;
mod verdict;

#[cfg(test)]
pub(crate) use stored::call as secret_call;

pub use error::{CsrfError, CsrfErrorKind};
pub use form::{CsrfFormLayer, FormBody, FormFuture, FormReader};
pub use gate::CsrfGate;
pub use handle::CsrfToken;
pub use layer::{CsrfLayer, CsrfLayerBuilder};
