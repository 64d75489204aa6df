//! What refresh families that a database keeps are read and written by.

use super::{
    database::Patience,
    error::ActiveError,
    handle::ActiveSessions,
    revoke::{Revocation, ends},
    truth::{Found, Rotated, Which},
};

/// What decides about a refresh token.
pub(crate) struct RegistryFamily {
    pub(crate) found: Found,
    pub(crate) cutoff_ms: Option<u64>,
}

impl ActiveSessions {
    /// The row of a session.
    pub(crate) async fn row(&self, sid: &str) -> Result<Option<Found>, ActiveError> {
        let (registry, sid) = (self.inner().database.registry(), sid.to_owned());
        let question = async move { registry.find(&sid).await };
        self.inner().database.ask(Patience::Write, question).await
    }

    /// The row of a session, and the largest cutoff that the database or the store has for it. The store is not waited for.
    pub(crate) async fn family(&self, sid: &str) -> Result<Option<RegistryFamily>, ActiveError> {
        let Some(found) = self.row(sid).await? else {
            return Ok(None);
        };
        let in_store = match self.inner().store.connection() {
            Some(_) => {
                let session = &found.session;
                self.cutoff_in_store(&session.tenant, &session.user).await
            }
            None => None,
        };
        Ok(Some(RegistryFamily {
            cutoff_ms: found.cutoff_ms.max(in_store),
            found,
        }))
    }

    /// Replaces the token of a row, if it is still `expected`.
    pub(crate) async fn rotate_row(
        &self,
        sid: &str,
        expected: &str,
        next: Rotated,
    ) -> Result<bool, ActiveError> {
        let registry = self.inner().database.registry();
        let (sid, expected) = (sid.to_owned(), expected.to_owned());
        let question = async move { registry.rotate(&sid, &expected, &next).await };
        self.inner().database.ask(Patience::Write, question).await
    }

    /// Ends a session that is known to be this user's.
    pub(crate) async fn end_row(
        &self,
        tenant: &str,
        user: &str,
        sid: &str,
        reason: &'static str,
    ) -> Result<Revocation, ActiveError> {
        let [tenant, user, sid] = [tenant, user, sid].map(str::to_owned);
        self.whole(|active| async move {
            active.end(Which::Sid(sid.clone()), reason).await?;
            Ok(active.finish(ends(&tenant, &user, vec![sid])).await)
        })
        .await
    }
}
