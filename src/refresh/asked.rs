//! What the ready-made endpoints ask a rotation beside the public questions.

use std::time::Duration;

use super::{RefreshError, Rotation, ops, token::Token};
use crate::store::Store;

impl Rotation {
    /// The client that a refresh token of this rotation was issued to, if its family exists.
    pub(crate) async fn client_of(&self, presented: &str) -> Result<Option<String>, RefreshError> {
        let inner = &*self.0;
        let Some(token) = Token::parse(presented, &inner.keys) else {
            return Ok(None);
        };
        let reply = inner.store.run(ops::client(&inner.store, &token)).await?;
        Ok(ops::client_in(reply)?)
    }

    /// Whether a text is a token of ours, good or not.
    pub(crate) fn made(&self, presented: &str) -> bool {
        Token::parse(presented, &self.0.keys).is_some()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        self.0.settings.idle
    }

    pub(crate) fn now_millis(&self) -> u64 {
        self.0.store.clock().now_millis()
    }
}
