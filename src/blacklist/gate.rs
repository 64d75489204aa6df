//! The decision: is any of the request's tokens revoked?

use std::{fmt, sync::Arc, time::Duration};

use http::request;

use super::{
    layer::{Config, Policy},
    ops::{self, Verdict},
};
use crate::{
    gate::{Entry, Step, Steps},
    jwt::{JwtMark, VerifiedToken},
    near,
    refuse::{Rejection, RejectionKind},
    secret::sha256_of_parts,
    store::{Few, StoreError},
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

    fn enter(&self, head: request::Parts) -> Step<()> {
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
        if let Some(rejection) = self.0.unfit(mark.tokens()) {
            return Step::Now(Entry::Refuse(head, rejection));
        }
        match self.0.look(mark.tokens()) {
            Verdict::Clear => return Step::Now(Entry::Pass(head, ())),
            Verdict::Dead => return Step::Now(Entry::Refuse(head, refused())),
            Verdict::Ask => {}
        }
        let tokens: Few<_> = mark.tokens().iter().cloned().collect();
        let config = Arc::clone(&self.0);
        let rider = config.store.rider(&head.extensions);
        Step::Ask(Box::pin(async move {
            let calls = tokens
                .iter()
                .flat_map(|token| ops::question(config.store.namespace(), token))
                .collect();
            let replies = config.store.trip_with(calls, rider).await;
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

fn refused() -> Rejection {
    event_warn!(event = "blacklist.refused", "a revoked token was refused");
    refusal()
}

impl Config {
    /// Refuses what could not be revoked for as long as it is good.
    fn unfit(&self, tokens: &[VerifiedToken]) -> Option<Rejection> {
        if !self.unidentified && !tokens.iter().all(ops::has_id) {
            event_warn!(
                event = "blacklist.unidentified",
                "a token with neither jti nor sid was refused"
            );
            return Some(refusal());
        }
        let longest = self.store.longest_access_token();
        if tokens
            .iter()
            .any(|token| ops::outlives_logout(token, longest))
        {
            event_error!(
                event = "blacklist.outlives_logout",
                longest_s = longest.as_secs(),
                "a token with a sid may outlive its logout: its exp - iat is above the store's access_token_life, or it has no iat; raise access_token_life, or shorten the issuer's lifetime"
            );
            return Some(refusal());
        }
        None
    }

    /// What this node can say by itself.
    fn look(&self, tokens: &[VerifiedToken]) -> Verdict {
        let Some(near) = near::of(&self.store) else {
            return Verdict::Ask;
        };
        let verdict = ops::look(&near.view(), self.store.namespace(), tokens);
        if self.strict && verdict == Verdict::Clear {
            return Verdict::Ask;
        }
        if !self.strict && verdict == Verdict::Ask {
            near.fell_back();
        }
        verdict
    }

    /// Whether this node knew, at most `life` ago, that the token was not revoked.
    fn was_clear(&self, token: &VerifiedToken, life: u64) -> bool {
        let now = self.store.clock().now_millis();
        if self.clear.is_fresh(&name(token), now, life) {
            return true;
        }
        near::of(&self.store).is_some_and(|near| {
            let view = near.view_within(Duration::from_millis(life));
            let tokens = std::slice::from_ref(token);
            ops::look(&view, self.store.namespace(), tokens) == Verdict::Clear
        })
    }

    fn verdict(
        &self,
        tokens: &[VerifiedToken],
        replies: Result<crate::store::Replies, StoreError>,
    ) -> Result<(), Rejection> {
        let mut replies = match replies {
            Ok(replies) => replies.into_iter(),
            Err(error) => {
                return tokens
                    .iter()
                    .try_for_each(|token| self.unknown(token, &error));
            }
        };
        for token in tokens {
            match ops::is_dead(token, &mut replies) {
                Ok(dead) => self.known(token, dead)?,
                Err(error) => self.unknown(token, &error)?,
            }
        }
        Ok(())
    }

    fn known(&self, token: &VerifiedToken, dead: bool) -> Result<(), Rejection> {
        if self.policy != Policy::Closed {
            let now = self.store.clock().now_millis();
            if dead {
                self.dead.note(name(token), now);
            }
            // Once it is dead nothing may say that it was clear, also when `dead` has forgotten it.
            self.clear.note(name(token), if dead { 0 } else { now });
        }
        if dead {
            return Err(refused());
        }
        Ok(())
    }

    fn unknown(&self, token: &VerifiedToken, error: &StoreError) -> Result<(), Rejection> {
        let name = name(token);
        if self.policy != Policy::Closed && self.dead.get(&name).is_some() {
            return Err(refused());
        }
        let passes = match self.policy {
            Policy::Closed => false,
            Policy::Stale(life) => self.was_clear(token, life),
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
    let hash = sha256_of_parts(&[
        token.iss().as_bytes(),
        text(token.jti()).as_bytes(),
        text(token.sid()).as_bytes(),
        text(token.tenant()).as_bytes(),
        text(token.sub()).as_bytes(),
        &ops::authenticated(token).to_be_bytes(),
    ]);
    let mut name = [0; 16];
    name.copy_from_slice(&hash[..16]);
    name
}
