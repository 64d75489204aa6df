//! Revoking.

use std::{error::Error, fmt};

use super::ops;
use crate::{
    clock::millis,
    jwt::VerifiedToken,
    refuse::{Rejection, RejectionKind},
    store::{Call, Store, StoreError},
    trace::event_info,
};

/// Longer than any layer's leeway, so that an entry outlives its token wherever it is checked.
const LEEWAY_MS: u64 = 61_000;

/// Puts tokens and logins on the list that a [`BlacklistLayer`](super::BlacklistLayer) checks.
///
/// When a method returns `Ok`, the store has acknowledged it: every node that asks refuses from then on.
#[derive(Clone, Debug)]
pub struct Blacklist {
    store: Store,
}

impl Blacklist {
    /// The list in this store.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        store.register(&ops::ALL);
        Self {
            store: store.clone(),
        }
    }

    /// Revokes one token, by its `jti`, until it would be refused for its age. Revoking twice is harmless.
    ///
    /// # Errors
    ///
    /// When the token has no `jti`, or the store cannot confirm it; the token may or may not be revoked then.
    pub async fn revoke(&self, token: &VerifiedToken) -> Result<(), RevokeError> {
        let jti = token.jti().ok_or(RevokeError::NO_ID)?;
        let key = ops::token_key(self.store.namespace(), token, jti);
        // The token's own word, and never a caller's: an entry that ends early is a hole.
        let until = token.accepted_until_ms().max(token.exp_ms()) + LEEWAY_MS;
        self.run(ops::revocation(key, until, "revoked")).await?;
        event_info!(event = "token.revoked", "an access token was revoked");
        Ok(())
    }

    /// Revokes all tokens of one login, by their `sid`: a logout on one device. It holds for as long as the store's
    /// longest credential.
    ///
    /// # Errors
    ///
    /// When the store cannot confirm it.
    pub async fn revoke_session(&self, sid: &str) -> Result<(), RevokeError> {
        if sid.is_empty() {
            return Err(RevokeError::NO_ID);
        }
        let key = ops::session_key(self.store.namespace(), sid);
        let life = millis(self.store.longest_credential());
        let until = self.store.clock().now_millis() + life + LEEWAY_MS;
        self.run(ops::revocation(key, until, "revoked")).await?;
        event_info!(
            event = "session.revoked",
            "all tokens of a login were revoked"
        );
        Ok(())
    }

    /// Whether a verified token was revoked or cut off, in one trip: the question that a
    /// [`BlacklistLayer`](super::BlacklistLayer) asks, for a token that did not come in a request. One that has neither `jti`
    /// nor `sid` counts as revoked, since nobody could revoke it.
    ///
    /// # Errors
    ///
    /// When the store cannot say: nobody knows then whether it is.
    pub async fn is_revoked(&self, token: &VerifiedToken) -> Result<bool, StoreError> {
        if token.jti().is_none() && token.sid().is_none() {
            return Ok(true);
        }
        let question = ops::question(self.store.namespace(), token);
        ops::is_dead(token, self.store.trip(&question).await?)
    }

    async fn run(&self, call: Call) -> Result<(), RevokeError> {
        self.store.run(call).await?.number()?;
        Ok(())
    }
}

/// A revocation that is not known to hold.
#[derive(Debug)]
pub struct RevokeError {
    kind: RevokeErrorKind,
    source: Option<StoreError>,
}

/// Why a revocation is not known to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RevokeErrorKind {
    /// The store did not confirm it: try again.
    Store,
    /// The token has no `jti`, or the `sid` is empty: there is nothing to put on the list.
    NoId,
}

impl RevokeError {
    const NO_ID: Self = Self {
        kind: RevokeErrorKind::NoId,
        source: None,
    };

    /// Why it is not known to hold.
    #[must_use]
    pub fn kind(&self) -> RevokeErrorKind {
        self.kind
    }
}

impl From<StoreError> for RevokeError {
    fn from(error: StoreError) -> Self {
        Self {
            kind: RevokeErrorKind::Store,
            source: Some(error),
        }
    }
}

impl From<RevokeError> for Rejection {
    fn from(error: RevokeError) -> Self {
        let kind = match error.kind {
            RevokeErrorKind::Store => RejectionKind::Unavailable,
            RevokeErrorKind::NoId => RejectionKind::InvalidRequest,
        };
        Self::new(kind).caused_by(error)
    }
}

impl fmt::Display for RevokeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            RevokeErrorKind::Store => "the store did not confirm the revocation",
            RevokeErrorKind::NoId => "there is no id to revoke by",
        })
    }
}

impl Error for RevokeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
