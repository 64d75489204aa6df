//! What a client asks for, and what the ready-made endpoints ask a rotation beside the public questions.

use std::time::Duration;

use super::{RefreshError, RefreshErrorKind, RefreshLogin, Rotation, ops, token::Token};
use crate::store::Store;

/// What a client asks for beside presenting its refresh token.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct RefreshRequest<'a> {
    pub(super) client: &'a str,
    pub(super) scope: &'a str,
    pub(super) resource: &'a str,
}

impl<'a> RefreshRequest<'a> {
    /// Of a service without clients, for all that was granted.
    pub fn new() -> Self {
        Self::default()
    }

    /// The client that presents it; it must be the one it was issued to.
    pub fn client(mut self, client: &'a str) -> Self {
        self.client = client;
        self
    }

    /// Fewer scopes than were granted, separated by spaces, for this access token alone (RFC 6749 §6). All by default.
    pub fn scope(mut self, scope: &'a str) -> Self {
        self.scope = scope;
        self
    }

    /// Fewer resources than were granted, separated by spaces: the `aud` of this access token alone (RFC 8707 §2.2). All by
    /// default.
    pub fn resource(mut self, resource: &'a str) -> Self {
        self.resource = resource;
        self
    }
}

impl Rotation {
    /// The client that a refresh token of this rotation was issued to, if its family exists.
    pub(crate) async fn client_of(&self, presented: &str) -> Result<Option<String>, RefreshError> {
        let inner = &*self.0;
        let Some(token) = Token::parse(presented, &inner.keys) else {
            return Ok(None);
        };
        #[cfg(feature = "registry")]
        if let Some(active) = &inner.registry {
            return super::registered::client(active, &token).await;
        }
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

impl RefreshRequest<'_> {
    /// Whether a login that was never a family may be continued by this request: what the script asks of families.
    pub(super) fn fits(&self, login: &RefreshLogin) -> Result<(), RefreshErrorKind> {
        let within = |asked: &str, granted: &str| {
            let granted: Vec<&str> = granted.split_ascii_whitespace().collect();
            asked
                .split_ascii_whitespace()
                .all(|word| granted.contains(&word))
        };
        if self.client != login.client {
            return Err(RefreshErrorKind::Client);
        }
        if !within(self.scope, &login.scope) {
            return Err(RefreshErrorKind::Scope);
        }
        if !within(self.resource, &login.resource) {
            return Err(RefreshErrorKind::Resource);
        }
        Ok(())
    }
}

/// The words of a list, each once, one space between them: as they are stored, compared and said.
pub(super) fn spaced(list: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in list.split_ascii_whitespace() {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(" ")
}

/// What was asked for of what was granted: all of it, if nothing was named.
pub(super) fn narrowed(granted: &str, asked: &str) -> String {
    let asked = spaced(asked);
    if asked.is_empty() {
        spaced(granted)
    } else {
        asked
    }
}
