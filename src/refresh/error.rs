//! Why there is no new token.

use std::{error::Error, fmt, sync::Arc};

use crate::{
    refuse::{Rejection, RejectionKind},
    store::StoreError,
};

/// A refresh token was not issued or not taken.
///
/// It converts into a [`Rejection`]: `invalid_grant` (400, RFC 6749 §5.2) whatever is wrong with the token, 503 when
/// nobody can say. A client keeps its token on a 503 and tries again.
#[derive(Clone, Debug)]
pub struct RefreshError {
    kind: RefreshErrorKind,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// Why a refresh token was not issued or not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefreshErrorKind {
    /// It is none of ours, or was tampered with. The store was not asked, and no family is affected.
    Forged,
    /// Its family does not exist: logged out, expired, or lost by the store.
    Unknown,
    /// Its family reached its idle or absolute timeout.
    Expired,
    /// It was used before, and not just now: somebody else has it. Its family and the access tokens of its login are
    /// dead.
    Reused,
    /// The user signed in on another device, and there were too many.
    Elsewhere,
    /// The device was signed out from elsewhere, or a cutoff ended it.
    Revoked,
    /// Everything of the user was ended after the authentication began ([`RefreshLogin::not_before`]): authenticate again.
    ///
    /// [`RefreshLogin::not_before`]: super::RefreshLogin::not_before
    Outdated,
    /// It belongs to another client.
    Client,
    /// It asks for more than was granted.
    Scope,
    /// It asks for a resource that was not granted (RFC 8707 §2).
    Resource,
    /// The user is signed in on as many devices as allowed.
    TooManyDevices,
    /// The key its successor was derived with is not in this node's ring: promote keys only after all nodes verify them.
    KeyMissing,
    /// The store could not say.
    Store,
    /// The access token could not be minted, or there are no random numbers.
    Mint,
    /// An argument cannot be used: an empty user or tenant, a `sid` that this crate did not make, or a moment of
    /// authentication that lies more than a day ahead, as one in another unit than milliseconds does.
    Invalid,
}

impl RefreshError {
    pub(super) const fn new(kind: RefreshErrorKind) -> Self {
        Self { kind, source: None }
    }

    pub(super) fn caused_by(
        kind: RefreshErrorKind,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            kind,
            source: Some(Arc::new(source)),
        }
    }

    /// Why it was not issued or not taken.
    #[must_use]
    pub fn kind(&self) -> RefreshErrorKind {
        self.kind
    }
}

impl From<StoreError> for RefreshError {
    fn from(error: StoreError) -> Self {
        Self::caused_by(RefreshErrorKind::Store, error)
    }
}

impl From<getrandom::Error> for RefreshError {
    fn from(error: getrandom::Error) -> Self {
        Self::caused_by(RefreshErrorKind::Mint, error)
    }
}

impl From<RefreshError> for Rejection {
    fn from(error: RefreshError) -> Self {
        let kind = match error.kind {
            RefreshErrorKind::Store | RefreshErrorKind::KeyMissing => RejectionKind::Unavailable,
            RefreshErrorKind::Scope | RefreshErrorKind::Resource => RejectionKind::InvalidScope,
            RefreshErrorKind::TooManyDevices => RejectionKind::Conflict,
            RefreshErrorKind::Mint | RefreshErrorKind::Invalid => RejectionKind::Internal,
            _ => RejectionKind::InvalidGrant,
        };
        Self::new(kind).caused_by(error)
    }
}

impl fmt::Display for RefreshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            RefreshErrorKind::Forged => "the refresh token is none of this server's",
            RefreshErrorKind::Unknown => "the refresh token's family does not exist",
            RefreshErrorKind::Expired => "the refresh token has expired",
            RefreshErrorKind::Reused => "the refresh token was used before",
            RefreshErrorKind::Elsewhere => "the user signed in elsewhere",
            RefreshErrorKind::Revoked => "the device was signed out",
            RefreshErrorKind::Outdated => {
                "the authentication began before a cutoff: authenticate again"
            }
            RefreshErrorKind::Client => "the refresh token belongs to another client",
            RefreshErrorKind::Scope => "more was asked for than was granted",
            RefreshErrorKind::Resource => "a resource was asked for that was not granted",
            RefreshErrorKind::TooManyDevices => "the user is signed in on too many devices",
            RefreshErrorKind::KeyMissing => "the key of the refresh token is not held here",
            RefreshErrorKind::Store => "the store could not say",
            RefreshErrorKind::Mint => "a token could not be made",
            RefreshErrorKind::Invalid => "an argument cannot be used",
        })
    }
}

impl Error for RefreshError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
