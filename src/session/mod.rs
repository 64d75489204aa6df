//! Sessions: a signed cookie, a record in the store, and rules that hold under races and outages.
//!
//! 1. **No lost updates.** Only changed fields are saved, merged by one script into what the session holds by then.
//! 2. **No resurrection.** A session that was ended stays ended, whatever was in flight; a save finds it
//!    [`Gone`](SaveOutcome::Gone).
//! 3. **No fixation.** A login moves the session to a new id in one atomic step; an id that this server did not make is
//!    never adopted, and a forged cookie never reaches the store.
//! 4. **Nothing usable at rest.** Stored is the hash of the id.
//! 5. **An outage is no logout.** Without an answer from the store a session is *unknown*: 503, and the cookie stays.
//!    Requests that do not ask for their session are not affected.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use http::{Request, Response, StatusCode, header};
//! use portcullis::{KeyRing, Rejection, Store, session::{Login, Session, SessionLayer}};
//! use tower::{Layer, Service, ServiceExt, service_fn};
//!
//! async fn app(request: Request<()>) -> Result<Response<String>, std::convert::Infallible> {
//!     let session = request.extensions().get::<Session>().expect("behind SessionLayer");
//!     let text = match request.uri().path() {
//!         "/login" => session.login(Login::new("alice")).await.map(|user| user.id().to_owned()),
//!         _ => session.user().await.map(|user| format!("{:?}", user.map(|user| user.id().to_owned()))),
//!     };
//!     Ok(Response::new(text.expect("the store answers")))
//! }
//!
//! let keys = KeyRing::new("a secret of at least thirty-two bytes")?;
//! let mut app = SessionLayer::new(&Store::memory(), &keys).layer(service_fn(app));
//!
//! let response = app.ready().await?.call(Request::get("/login").body(())?).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! let cookie = response.headers()[header::SET_COOKIE].to_str()?.split(';').next().unwrap_or_default();
//! let me = Request::get("/me").header(header::COOKIE, cookie).body(())?;
//! assert_eq!(app.ready().await?.call(me).await?.into_body(), r#"Some("alice")"#);
//! # Ok(()) }
//! ```
//!
//! # Signing in
//!
//! A password takes a while to check, and may be changed meanwhile. [`Session::auth_start`] asks the store for the moment
//! before the stored hash is read, and [`Login::not_before`] has the login refused if everything of the user was ended since.
//! An authentication of several steps keeps its moment in the visitor's session:
//!
//! ```
//! use portcullis::{Rejection, cutoff::AuthStart, session::{Login, Session}};
//!
//! async fn password_is_right(session: Session, began: AuthStart) -> Result<(), Rejection> {
//!     Ok(session.insert("began", &began).await?)
//! }
//!
//! async fn code_is_right(session: Session) -> Result<(), Rejection> {
//!     let began: AuthStart = session.take("began").await?.ok_or(portcullis::RejectionKind::LoginRequired)?;
//!     session.login(Login::new("alice").not_before(began)).await?;
//!     Ok(())
//! }
//! ```
//!
//! # Caveats
//!
//! - A client that disconnects while its response is being saved may leave its changes unsaved: a save happens at most
//!   once.
//! - What a handler changes while it streams its body is too late for the layer; see [`Session::save`].
//! - `SameSite` limits damage and is no protection against CSRF.

mod binding;
mod config;
#[cfg(feature = "csrf")]
mod csrf;
mod error;
mod gate;
mod handle;
mod held;
mod id;
mod layer;
mod login;
mod ops;
mod record;
mod require;
mod rider;
mod short;
mod state;
mod twin_login;
mod twins;
mod writing;

pub use binding::OnMismatch;
#[cfg(test)]
mod tests;

pub use config::Ended;
pub use config::{OnGone, OnLimit};
#[cfg(feature = "csrf")]
pub(crate) use csrf::{CsrfAfter, CsrfBinding, CsrfPlace};
pub use error::{SessionError, SessionErrorKind};
pub use gate::SessionGate;
pub use handle::{Expiry, SaveOutcome, Session};
pub use layer::{SessionLayer, SessionLayerBuilder};
pub use login::{Login, User};
pub use require::{RequireFreshLoginLayer, RequireGate, RequireLayer, RequireLoginLayer, View};

/// A stored session, made and used this much earlier; what cannot be read stays as it is.
#[cfg(any(test, feature = "test-util"))]
pub(crate) fn aged(raw: &[u8], by: u64) -> Vec<u8> {
    match record::Record::parse(raw.to_vec()) {
        Some(mut record) => {
            record.age(by);
            record.into_raw()
        }
        None => raw.to_vec(),
    }
}
#[cfg(feature = "csrf")]
pub(crate) use {ops::PRELUDE, record::deadline_of, twins::is_mark};
