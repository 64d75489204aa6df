//! Revocation: an access token that was logged out stops working at once.
//!
//! A verified token is refused if any of these holds:
//!
//! 1. its `jti` is on the list: [`Blacklist::revoke`];
//! 2. its `sid` is on the list: [`Blacklist::revoke_session`];
//! 3. it was authenticated at or before a cutoff of its user, its tenant or everyone: [`Cutoffs`](crate::cutoff::Cutoffs);
//! 4. it has neither `jti` nor `sid`, so that nobody could ever revoke it;
//! 5. it is of the first issuer, has a `sid`, and lives (`exp` - `iat`) longer than the store's
//!    [`access_token_life`](crate::store::StoreBuilder::access_token_life), which is how long a logout denies its login;
//! 6. the store cannot say, and the layer's [`Outage`] policy does not let it pass.
//!
//! This crate's own tokens say when their user authenticated (`auth_ms`), by the store's clock: a login right after a cutoff
//! works. Of other tokens only `iat` is known, by the clock of whoever issued them, which may run ahead by the
//! [`leeway`](crate::jwt::JwtVerifyBuilder::leeway) of the layer that verified them (default 30 s): they count as that much
//! older. So none from before a cutoff outlives it, and users who sign in at such an issuer within that time after a
//! cutoff of theirs are refused until they sign in again.
//!
//! All of it is one trip, and what else the request wants to ask the same store travels along; with a
//! [replica](crate::near) nearby it is none. A request without a token costs nothing.
//!
//! An entry is the key `jwt:blacklist:<jti>`, or `jwt:blacklist-sid:<sid>` (of the first issuer; of others it is a hash of
//! issuer and id), and so
//! `SETEX jwt:blacklist:<jti> 60 revoked`, written by whatever else there is, is honoured. Entries last until the token
//! would be refused anyway; what is on the list is never taken off.
//!
//! The first issuer is the one of [`issuer`](crate::jwt::JwtVerifyBuilder::issuer). All services over one store have to name
//! the same one first, also those that accept tokens of another issuer alone or in a layer of its own: entries, and cutoffs of
//! users, are named by whose token it is, and a service that counts otherwise does not find what another wrote.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use http::{Request, Response, header};
//! use portcullis::{
//!     Store,
//!     blacklist::{Blacklist, BlacklistLayer},
//!     jwt::{Grant, Issuer, JwtAlgorithm, JwtVerifyLayer, KeySet, NoClaims, SigningKey, VerifiedToken},
//! };
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! let store = Store::memory();
//! let key = SigningKey::generate(JwtAlgorithm::EdDsa)?;
//! let keys = KeySet::new([key.verification_key()])?;
//! let issuer = Issuer::new(key, "https://id.example").audience("api").build()?;
//! let jwt = JwtVerifyLayer::<NoClaims>::new(keys).issuer("https://id.example").audience("api").build()?;
//!
//! // The handler logs the token out with which it was called.
//! let blacklist = Blacklist::new(&store);
//! let logout = service_fn(move |request: Request<String>| {
//!     let blacklist = blacklist.clone();
//!     async move {
//!         let token = request.extensions().get::<VerifiedToken>().expect("behind JwtVerifyLayer");
//!         blacklist.revoke(token).await.map(|()| Response::new(String::new()))
//!     }
//! });
//! // `ServiceBuilder` puts the first layer outermost.
//! let mut app = ServiceBuilder::new().layer(jwt).layer(BlacklistLayer::new(&store)).service(logout);
//!
//! let token = issuer.mint(&Grant::user("alice"))?;
//! let request = || {
//!     let bearer = format!("Bearer {}", token.token());
//!     Request::post("/logout").header(header::AUTHORIZATION, bearer).body(String::new())
//! };
//! assert_eq!(app.ready().await?.call(request()?).await?.status(), 200);
//! assert_eq!(app.ready().await?.call(request()?).await?.status(), 401);
//! # Ok(()) }
//! ```

mod gate;
mod handle;
mod layer;
mod ops;

pub use gate::BlacklistGate;
pub use handle::{Blacklist, RevokeError, RevokeErrorKind};
pub use layer::{BlacklistLayer, BlacklistLayerBuilder, Outage};

pub(crate) use layer::Policy;
#[cfg(feature = "registry")]
pub(crate) use ops::authenticated;
#[cfg(feature = "registry")]
pub(crate) use ops::{Heard, Verdict, look_one, question};
