//! Refresh tokens that rotate: each is good for one use, and a second use by somebody else ends the login.
//!
//! 1. A token is `family.generation.secret.tag`. The tag is checked first: a forged token costs no trip and ends nothing.
//! 2. Stored are hashes. The successor is derived from the presented token, a key and a random nonce: within the grace
//!    time everybody who presents the same token gets the *same* successor, on every instance and after restarts, and
//!    after the next rotation nobody can derive it any more.
//! 3. One script decides, by the store's clock. A token one generation old inside the grace time is a lost answer or a
//!    parallel tab; outside of it, or older, it is reuse: the family, its session and its access tokens are dead.
//! 4. Idle and absolute timeouts hold over rotations, and so do client, scope and resource; a refresh narrows scope and
//!    resource (the `aud`) for one access token, and never widens them.
//! 5. What the store lost in a failover rolls forward; a key that this node does not hold yet is an outage and no reuse.
//! 6. A cutoff of user, tenant or everyone is read in the same script: whatever races it, nothing that predates it lives
//!    on.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use portcullis::{
//!     KeyRing, Store,
//!     jwt::{Issuer, JwtAlgorithm, SigningKey},
//!     refresh::{RefreshErrorKind, RefreshLogin, RefreshRequest, Rotation},
//! };
//!
//! let store = Store::memory();
//! let keys = KeyRing::new("a secret of at least thirty-two bytes")?;
//! let issuer = Issuer::new(SigningKey::generate(JwtAlgorithm::EdDsa)?, "https://id.example")
//!     .audience("api")
//!     .build()?;
//! let rotation = Rotation::new(&store, &keys, &issuer)?;
//!
//! let first = rotation.issue(&RefreshLogin::new("alice")).await?;
//! let second = rotation.rotate(first.refresh(), RefreshRequest::new()).await?;
//! let retried = rotation.rotate(first.refresh(), RefreshRequest::new()).await?;
//! assert_eq!(second.refresh(), retried.refresh());
//!
//! rotation.revoke(second.refresh()).await?;
//! let error = rotation.rotate(second.refresh(), RefreshRequest::new()).await.unwrap_err();
//! assert_eq!(error.kind(), RefreshErrorKind::Revoked);
//! # Ok(()) }
//! ```

mod adopt;
mod asked;
mod builder;
mod decision;
mod error;
mod inspect;
mod login;
mod ops;
mod place;
#[cfg(test)]
pub(crate) mod probe;
#[cfg(feature = "registry")]
mod registered;
mod rotation;
#[cfg(feature = "registry")]
mod row;
#[cfg(feature = "registry")]
mod takeover;
mod token;
mod twins;

pub use adopt::Adoption;
pub use asked::RefreshRequest;
pub use builder::RotationBuilder;
pub use error::{RefreshError, RefreshErrorKind};
pub(crate) use inspect::Inspected;
pub use login::RefreshLogin;
pub use rotation::{Rotation, TokenPair};
