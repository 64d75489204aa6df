//! Revoking.

use std::{error::Error, fmt};

use super::ops::{self, Name};
use crate::{
    clock::millis,
    jwt::VerifiedToken,
    near::{self, List},
    refuse::{Rejection, RejectionKind},
    store::{Call, Store, StoreError},
    trace::event_info,
};

/// Longer than any layer's leeway, so that an entry outlives its token wherever it is checked.
const LEEWAY_MS: u64 = 61_000;

/// Puts tokens and logins on the list that a [`BlacklistLayer`](super::BlacklistLayer) checks.
///
/// When a method returns `Ok`, the store has acknowledged it: every node that asks refuses from then on, and one with a
/// [replica](crate::near) within its `max_staleness`. A replica of this process knows at once, keeps what the store did
/// not acknowledge, and writes it when it can.
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
        // The token's own word, and never a caller's: an entry that ends early is a hole.
        let until = token.accepted_until_ms().max(token.exp_ms()) + LEEWAY_MS;
        self.note(List::Tokens, &Name::of_token(token, jti), until)
            .await?;
        event_info!(event = "token.revoked", "an access token was revoked");
        Ok(())
    }

    /// Revokes all tokens of one login at the layer's first issuer, by their `sid`: a logout on one device. It holds for as long as the store's
    /// longest credential.
    ///
    /// # Errors
    ///
    /// When the store cannot confirm it.
    pub async fn revoke_session(&self, sid: &str) -> Result<(), RevokeError> {
        if sid.is_empty() {
            return Err(RevokeError::NO_ID);
        }
        self.end_session(&Name::of(sid)).await
    }

    /// As [`revoke_session`](Self::revoke_session), for a login at another issuer than the layer's first: `iss` and `sid` as
    /// in its tokens. Issuers name their logins without asking each other, so that each has a list of its own.
    ///
    /// # Errors
    ///
    /// As [`revoke_session`](Self::revoke_session).
    pub async fn revoke_session_of(&self, iss: &str, sid: &str) -> Result<(), RevokeError> {
        if sid.is_empty() {
            return Err(RevokeError::NO_ID);
        }
        self.end_session(&Name::of_other(iss, sid)).await
    }

    async fn end_session(&self, name: &Name<'_>) -> Result<(), RevokeError> {
        let life = millis(self.store.longest_credential());
        let until = self.store.clock().now_millis() + life + LEEWAY_MS;
        self.note(List::Logins, name, until).await?;
        event_info!(
            event = "session.revoked",
            "all tokens of a login were revoked"
        );
        Ok(())
    }

    /// What [`revoke_session`](Self::revoke_session) tells this node, and asks the store: for whoever ends more in the
    /// same trip.
    #[cfg(feature = "registry")]
    pub(crate) fn revoking(&self, sid: &str) -> (Option<near::Pledge<'_>>, Call) {
        let life = millis(self.store.longest_credential()) + LEEWAY_MS;
        let until = self.store.clock().now_millis() + life;
        let name = Name::of(sid);
        let pledge = near::of(&self.store)
            .map(|near| near.revoke(List::Logins, name.as_str().as_bytes(), life));
        let key = ops::key(self.store.namespace(), List::Logins, &name);
        (pledge, ops::revocation(key, until, life))
    }

    /// Whether a verified token was revoked or cut off, in one trip: the question that a
    /// [`BlacklistLayer`](super::BlacklistLayer) asks, for a token that did not come in a request. One that has neither `jti`
    /// nor `sid` counts as revoked, since nobody could revoke it, and so does one that could outlive a logout.
    ///
    /// # Errors
    ///
    /// When the store cannot say: nobody knows then whether it is.
    pub async fn is_revoked(&self, token: &VerifiedToken) -> Result<bool, StoreError> {
        if !ops::has_id(token) || ops::outlives_logout(token, self.store.longest_access_token()) {
            return Ok(true);
        }
        let question: Vec<_> = ops::question(self.store.namespace(), token).collect();
        ops::is_dead(token, self.store.trip(&question).await?)
    }

    /// On this node first: it refuses from here on, and makes good what the store does not acknowledge.
    async fn note(&self, list: List, name: &Name<'_>, until: u64) -> Result<(), RevokeError> {
        let left = until.saturating_sub(self.store.clock().now_millis());
        let pledge =
            near::of(&self.store).map(|near| near.revoke(list, name.as_str().as_bytes(), left));
        let key = ops::key(self.store.namespace(), list, name);
        self.store.run(ops::revocation(key, until, left)).await?;
        if let Some(pledge) = pledge {
            pledge.kept();
        }
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
