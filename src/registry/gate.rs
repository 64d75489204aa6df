//! The decision: are the sessions of the request's tokens active?

use std::{fmt, sync::Arc};

use http::request;

use super::{
    check::{Verdict, name, own_sid},
    database::Patience,
    error::ActiveError,
    layer::Config,
};
use crate::{
    blacklist,
    blacklist::Policy,
    gate::{Entry, Step, Steps},
    jwt::{JwtMark, VerifiedToken},
    refuse::{Rejection, RejectionKind},
    trace::{event_error, event_warn},
};

/// Stands in front of a service behind an [`ActiveSessionLayer`](super::ActiveSessionLayer).
#[derive(Clone)]
pub struct ActiveSessionGate(Arc<Config>);

impl ActiveSessionGate {
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self(config)
    }
}

impl fmt::Debug for ActiveSessionGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveSessionGate").finish_non_exhaustive()
    }
}

impl Steps for ActiveSessionGate {
    type Exit = ();

    fn enter(&self, head: request::Parts) -> Step<()> {
        let Some(mark) = JwtMark::of(&head.extensions) else {
            event_error!(
                event = "registry.misordered",
                "ActiveSessionLayer is not inside of JwtVerifyLayer"
            );
            let rejection = Rejection::new(RejectionKind::Internal).code("jwt_layer_missing");
            return Step::Now(Entry::Refuse(head, rejection));
        };
        let tokens = mark.tokens();
        if tokens.is_empty() {
            return Step::Now(Entry::Pass(head, ()));
        }
        if tokens.iter().any(|token| self.0.is_hopeless(token)) {
            event_warn!(
                event = "registry.sessionless",
                "a token without a session was refused"
            );
            return Step::Now(Entry::Refuse(head, refusal()));
        }
        let inner = self.0.active.inner();
        match inner.look(tokens) {
            blacklist::Verdict::Clear => {
                self.0.note_use(tokens);
                return Step::Now(Entry::Pass(head, ()));
            }
            blacklist::Verdict::Dead => return Step::Now(Entry::Refuse(head, refused())),
            blacklist::Verdict::Ask => {}
        }
        let tokens = tokens.to_vec();
        let config = Arc::clone(&self.0);
        let rider = inner.store.rider(&head.extensions);
        Step::Ask(Box::pin(async move {
            let verdicts = config.active.inner().examine(&tokens, rider).await;
            let mut each = tokens.iter().zip(verdicts);
            match each.try_for_each(|(token, verdict)| config.decide(token, verdict)) {
                Ok(()) => {
                    config.note_use(&tokens);
                    Entry::Pass(head, ())
                }
                Err(rejection) => Entry::Refuse(head, rejection),
            }
        }))
    }
}

/// The same for ended, revoked, unknown and somebody else's.
fn refusal() -> Rejection {
    Rejection::new(RejectionKind::InvalidToken)
}

fn refused() -> Rejection {
    event_warn!(
        event = "registry.refused",
        "a token of a session that is not active was refused"
    );
    refusal()
}

impl Config {
    /// Whether it is refused whatever anybody says of it.
    fn is_hopeless(&self, token: &VerifiedToken) -> bool {
        match own_sid(token) {
            Some(_) => token.sub().is_none(),
            None => !self.sessionless || (token.jti().is_none() && token.sid().is_none()),
        }
    }

    /// In a task of its own: no request waits for it.
    fn note_use(&self, tokens: &[VerifiedToken]) {
        let inner = self.active.inner();
        let sids = tokens.iter().filter_map(own_sid);
        for sid in sids.filter(|sid| self.notes_use && inner.is_touch_due(sid)) {
            let (inner, sid) = (Arc::clone(inner), sid.to_owned());
            tokio::spawn(async move { inner.touch(sid, Patience::Spare).await });
        }
    }

    fn decide(&self, token: &VerifiedToken, verdict: Verdict) -> Result<(), Rejection> {
        let remembers = self.policy != Policy::Closed;
        let now = self.active.inner().store.clock().now_millis();
        let name = name(token.sid().or_else(|| token.jti()).unwrap_or(""));
        match verdict {
            Verdict::Unlisted(error) if self.list_required => {
                self.unknown(token, &name, now, error)
            }
            Verdict::Active | Verdict::Unlisted(_) => {
                if remembers {
                    self.good.note(name, now);
                }
                Ok(())
            }
            Verdict::Gone => {
                // From here on nothing says that it was ever good.
                if remembers {
                    self.good.note(name, 0);
                }
                Err(refused())
            }
            Verdict::Unknown(error) => self.unknown(token, &name, now, error),
        }
    }

    fn unknown(
        &self,
        token: &VerifiedToken,
        name: &[u8; 16],
        now: u64,
        error: ActiveError,
    ) -> Result<(), Rejection> {
        let known = &self.active.inner().known;
        let passes = match self.policy {
            Policy::Closed => false,
            // Whatever the policy is: what this node has ended is not let in by it.
            _ if known.has_ended(own_sid(token), token) => false,
            Policy::Stale(life) => self.good.is_fresh(name, now, life),
            // 0 is one that is known to have ended.
            Policy::Open => self.good.get(name) != Some(0),
        };
        event_warn!(event = "registry.outage", kind = ?error.kind(), passes, "nobody could say whether a session is active");
        match passes {
            true => Ok(()),
            false => Err(Rejection::new(RejectionKind::Unavailable).caused_by(error)),
        }
    }
}
