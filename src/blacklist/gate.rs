//! The decision: is any of the request's tokens revoked?

use std::{fmt, sync::Arc};

use http::request;

use super::{
    layer::{Config, Policy},
    ops,
};
use crate::{
    gate::{Entry, Step, Steps},
    jwt::{JwtMark, VerifiedToken},
    refuse::{Rejection, RejectionKind},
    secret::sha256_of_parts,
    store::{Rides, StoreError},
    trace::{event_error, event_warn},
};

/// Stands in front of a service behind a [`BlacklistLayer`](super::BlacklistLayer).
#[derive(Clone)]
pub struct BlacklistGate(Arc<Config>);

impl BlacklistGate {
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self(config)
    }
}

impl fmt::Debug for BlacklistGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlacklistGate").finish_non_exhaustive()
    }
}

impl Steps for BlacklistGate {
    type Exit = ();

    fn enter(&self, mut head: request::Parts) -> Step<()> {
        let Some(mark) = JwtMark::of(&head.extensions) else {
            event_error!(
                event = "blacklist.misordered",
                "BlacklistLayer is not inside of JwtVerifyLayer"
            );
            let rejection = Rejection::new(RejectionKind::Internal).code("jwt_layer_missing");
            return Step::Now(Entry::Refuse(head, rejection));
        };
        if mark.tokens().is_empty() {
            return Step::Now(Entry::Pass(head, ()));
        }
        let tokens = mark.tokens().to_vec();
        let anonymous = |token: &VerifiedToken| token.jti().is_none() && token.sid().is_none();
        if !self.0.unidentified && tokens.iter().any(anonymous) {
            event_warn!(
                event = "blacklist.unidentified",
                "a token with neither jti nor sid was refused"
            );
            return Step::Now(Entry::Refuse(head, refusal()));
        }
        let config = Arc::clone(&self.0);
        let riders = Rides::take(&mut head.extensions, &config.store);
        Step::Ask(Box::pin(async move {
            let calls = tokens
                .iter()
                .flat_map(|token| ops::question(config.store.namespace(), token))
                .collect();
            let replies = config.store.trip_with(calls, riders).await;
            match config.verdict(&tokens, replies) {
                Ok(()) => Entry::Pass(head, ()),
                Err(rejection) => Entry::Refuse(head, rejection),
            }
        }))
    }
}

/// The same for revoked, cut off and unknown: a refusal says nothing about the list.
fn refusal() -> Rejection {
    Rejection::new(RejectionKind::InvalidToken)
}

impl Config {
    fn verdict(
        &self,
        tokens: &[VerifiedToken],
        replies: Result<crate::store::Replies, StoreError>,
    ) -> Result<(), Rejection> {
        let mut replies = match replies {
            Ok(replies) => replies,
            Err(error) => {
                return tokens
                    .iter()
                    .try_for_each(|token| self.unknown(token, &error));
            }
        };
        for token in tokens {
            let rest = replies.split_off(2.min(replies.len()));
            let own = std::mem::replace(&mut replies, rest);
            match ops::is_dead(token, own) {
                Ok(dead) => self.known(token, dead)?,
                Err(error) => self.unknown(token, &error)?,
            }
        }
        Ok(())
    }

    fn known(&self, token: &VerifiedToken, dead: bool) -> Result<(), Rejection> {
        if self.policy != Policy::Closed {
            let seen = if dead { &self.dead } else { &self.clear };
            seen.note(name(token), self.store.clock().now_millis());
        }
        if dead {
            event_warn!(event = "blacklist.refused", "a revoked token was refused");
            return Err(refusal());
        }
        Ok(())
    }

    fn unknown(&self, token: &VerifiedToken, error: &StoreError) -> Result<(), Rejection> {
        let name = name(token);
        if self.policy != Policy::Closed && self.dead.get(&name).is_some() {
            event_warn!(event = "blacklist.refused", "a revoked token was refused");
            return Err(refusal());
        }
        let now = self.store.clock().now_millis();
        let passes = match self.policy {
            Policy::Closed => false,
            Policy::Stale(life) => self.clear.is_fresh(&name, now, life),
            Policy::Open => true,
        };
        event_warn!(event = "blacklist.outage", kind = ?error.kind(), passes, "the store could not say whether a token was revoked");
        if passes {
            return Ok(());
        }
        Err(Rejection::new(RejectionKind::Unavailable).caused_by(error.clone()))
    }
}

/// What this node remembers a token by: all that its revocation can depend on.
fn name(token: &VerifiedToken) -> [u8; 16] {
    let text = |part: Option<&str>| part.unwrap_or("").to_owned();
    let moment = token.auth_ms().or_else(|| token.iat_ms()).unwrap_or(0);
    let hash = sha256_of_parts(&[
        token.iss().as_bytes(),
        text(token.jti()).as_bytes(),
        text(token.sid()).as_bytes(),
        text(token.tenant()).as_bytes(),
        text(token.sub()).as_bytes(),
        &moment.to_be_bytes(),
    ]);
    let mut name = [0; 16];
    name.copy_from_slice(&hash[..16]);
    name
}
