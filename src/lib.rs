//! Tower layers for sessions, revocable JWTs, CSRF protection and refresh-token rotation over one Redis handle, for axum,
//! tonic and plain hyper.
//!
//! One [`Store`] and one [`KeyRing`] per process are shared by all layers. Each layer is a decision in front of a
//! service: it passes a request on, with what it found in the extensions, or refuses it with a [`Rejection`].
//!
//! 1. **What returned holds everywhere.** A logout, a login, a cutoff hold on all instances when the call returns, also
//!    for requests that are under way.
//! 2. **Parallel requests never undo each other.** Only changed fields are saved, merged into what is there by then.
//! 3. **Unknown is not no.** While the store cannot say, requests that ask for their session get 503 within the deadline,
//!    and keep their cookie. All others do not notice.
//! 4. **What is not used costs nothing.** No round trip before a handler asks; then one. With a replica ([`near`])
//!    revocation checks need none, and hold within its bound.
//!
//! # The stack
//!
//! ```
//! use axum::{Router, body::Body, routing::{get, post}};
//! use http::{Request, StatusCode, header};
//! use portcullis::{KeyRing, Rejection, Store, cutoff::Cutoffs, session::{Login, RequireLoginLayer, Session, SessionLayer, User}};
//! use tower::ServiceExt;
//!
//! async fn login(session: Session) -> Result<(), Rejection> {
//!     session.login(Login::new("alice")).await?; // once the password is checked
//!     session.insert("theme", &"dark").await?;
//!     Ok(())
//! }
//!
//! async fn account(user: User, session: Session) -> Result<String, Rejection> {
//!     let theme: Option<String> = session.get("theme").await?;
//!     Ok(format!("{} likes it {}", user.id(), theme.unwrap_or_default()))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Store::memory(); // or Store::connect("redis://127.0.0.1").await?
//! let keys = KeyRing::new("a secret of at least thirty-two bytes")?; // or KeyRing::from_env("PORTCULLIS_SECRET")?
//! let app: Router = Router::new()
//!     .route("/account", get(account))
//!     .layer(RequireLoginLayer::new())
//!     .route("/login", post(login))
//!     .layer(SessionLayer::new(&store, &keys));
//!
//! let visit = Request::get("/account").body(Body::empty())?;
//! assert_eq!(app.clone().oneshot(visit).await?.status(), StatusCode::UNAUTHORIZED);
//!
//! let response = app.clone().oneshot(Request::post("/login").body(Body::empty())?).await?;
//! let cookie = response.headers()[header::SET_COOKIE].to_str()?.split(';').next().unwrap_or_default();
//! let visit = || Request::get("/account").header(header::COOKIE, cookie).body(Body::empty());
//! let response = app.clone().oneshot(visit()?).await?;
//! assert_eq!(axum::body::to_bytes(response.into_body(), 100).await?, "alice likes it dark");
//!
//! Cutoffs::new(&store).user("", "alice").await?; // a changed password: ends the sessions on all devices
//! assert_eq!(app.oneshot(visit()?).await?.status(), StatusCode::UNAUTHORIZED);
//! # Ok(()) }
//! ```
//!
//! Without axum the session is found in the request's extensions: see [`session`], and `examples/hyper.rs` for a service
//! on plain hyper.
//!
//! [`guide`] tells when to use sessions, tokens with a revocation list, or tokens with a database behind them.
//!
//! # Layer order
//!
//! A request passes the layers from the outside in. [`SessionLayer`](session::SessionLayer) is outermost, because the
//! others look for the session that it put there.
//!
//! [`StripHeadersLayer`](peer::StripHeadersLayer) goes around even that, so that nobody inside reads what a stranger wrote about
//! the client.
//!
//! - `axum::Router::layer` goes around the routes added so far: the outermost layer comes **last**, as above.
//! - `tower::ServiceBuilder`, and `layer` of tonic's `Server`: the outermost layer comes **first**.
//!
//! A layer that misses another one refuses every request with 500, and its event says what to change.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `session` | yes | [`session`]: the layer, the handle, login guards |
//! | `csrf` | yes | [`csrf`]: who caused a request, tokens and forms |
//! | `jwt` | yes | [`jwt`]: verification of access tokens |
//! | `blacklist` | yes | [`blacklist`]: tokens that stop working at once |
//! | `refresh` | yes | [`refresh`]: rotation of refresh tokens; [`endpoint`]: ready-made token endpoints |
//! | `registry` | | [`registry`]: a database as the truth about who is signed in, the store as its cache |
//! | `axum` | | [`frameworks::axum`]: extractors |
//! | `tonic` | | refusals with tonic's body type |
//! | `tls` | | `rediss://` addresses and TLS to PostgreSQL, by rustls |
//! | `tracing` | | structured events |
//! | `full` | | all of the above |
//! | `postgres` | | [`registry::PostgresRegistry`], through sqlx; implies `registry` |
//! | `sqlite` | | [`registry::SqliteRegistry`], through sqlx, with a SQLite of its own (a C compiler); implies `registry` |
//! | `test-util` | | a settable clock and pause points for tests; for `dev-dependencies` only |
//!
//! Features only add. The databases are not in `full`: they are heavy, and one is enough.
//!
//! # Stability
//!
//! Semantic versioning covers the public items of this crate, the names and meanings of settings and their defaults where
//! a documented guarantee depends on them, status codes and reason codes of refusals, and what is stored: a minor version
//! reads what the one before has written, so that versions can run side by side while they are replaced. Not covered are
//! texts for people (`Display`, `Debug`, details of refusals), names and fields of events, the layout of keys and records
//! for other programs, and everything hidden in these docs or behind `test-util`. The oldest supported Rust is 1.88; it is
//! raised in minor versions only, and never to one that is younger than six months.

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that panics has failed")
)]
#![cfg_attr(docsrs, feature(doc_cfg))]
// With some rooms left out, the rooms below them offer more than is used; with all of them nothing may be dead.
#![cfg_attr(
    not(all(
        feature = "session",
        feature = "csrf",
        feature = "blacklist",
        feature = "refresh",
        feature = "registry",
        feature = "axum",
        feature = "tonic"
    )),
    allow(dead_code, unused_imports)
)]

#[cfg(feature = "blacklist")]
pub mod blacklist;
#[cfg(feature = "csrf")]
pub mod csrf;
pub mod cutoff;
pub mod device;
#[cfg(feature = "refresh")]
pub mod endpoint;
pub mod frameworks;
pub mod guide;
#[cfg(feature = "jwt")]
pub mod jwt;
pub mod near;
pub mod peer;
#[cfg(feature = "refresh")]
pub mod refresh;
#[cfg(feature = "registry")]
pub mod registry;
#[cfg(feature = "session")]
pub mod session;
pub mod store;
#[cfg(feature = "test-util")]
pub mod testing;

mod breaker;
#[cfg(feature = "session")]
mod caching;
mod clock;
#[cfg(any(feature = "session", feature = "refresh"))]
mod cookie;
mod error;
mod gate;
mod keyring;
mod recent;
mod refuse;
mod secret;
mod trace;

pub use clock::Clock;
#[cfg(any(feature = "session", feature = "refresh"))]
pub use cookie::SameSite;
pub use error::ConfigError;
pub use gate::{Gate, Gated, ResponseFuture};
#[cfg(feature = "test-util")]
#[doc(hidden)]
pub use gate::{Plan, TestGate};
pub use keyring::KeyRing;
pub use refuse::{DefaultRefuse, Refuse, Refused, Rejection, RejectionKind};
pub use store::{Store, StoreError, StoreErrorKind};

/// The code in the README compiles.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// Real servers, for the tests that need what is private to the crate as well.
#[cfg(test)]
#[path = "../tests/it/means"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]
mod means {
    pub mod child;
    pub mod redis;
    pub mod wait;
}
