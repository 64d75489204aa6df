//! Access tokens: JWTs that are verified before anything inside is called.

mod algorithm;
mod builder;
mod claims;
mod error;
mod grant;
mod issuer;
mod json;
mod jwk;
mod key;
mod keyset;
mod layer;
mod members;
mod pem;
mod rules;
mod scope;
mod signing;
mod source;
mod token;
mod verify;

pub use algorithm::JwtAlgorithm;
pub use builder::JwtVerifyBuilder;
pub use claims::{Claims, NoClaims};
pub use error::{JwtError, JwtErrorKind};
pub use grant::Grant;
pub use issuer::{Issuer, IssuerBuilder, MintError, MintedToken};
pub use key::JwtKey;
pub use keyset::{KeySet, KeySetHandle, SkippedKey};
pub use layer::{JwtGate, JwtVerifyLayer};
pub use scope::{RequireScopeLayer, ScopeGate};
pub use signing::SigningKey;
pub use token::{AuthorizationDetail, SubjectKind, VerifiedToken};
