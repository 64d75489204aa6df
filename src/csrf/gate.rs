//! The decision of the CSRF layer: does this request pass, and what does its response say about it?
//!
//! Invariants: without a session layer outside nothing passes; a request is refused or reported, never both; a token is
//! looked for only where it decides, and the store is asked only for stored tokens.

use std::{fmt, sync::Arc};

use http::{
    HeaderValue,
    header::{CONTENT_TYPE, HeaderName},
    request, response,
};

use super::{
    config::Config,
    facts::{Facts, Sent, VARY, is_script},
    form::{Found, is_form},
    handle::CsrfToken,
    stored,
    token::Tokens,
    verdict::{Allowed, Denied, Proof, Verdict, verdict},
};
use crate::{
    caching,
    gate::{BoxFuture, Entry, Exit, Leave, Step, Steps},
    refuse::{Rejection, RejectionKind},
    session::{CsrfPlace, Session},
    trace::{event_debug, event_error, event_warn},
};

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Stands in front of a service behind a [`CsrfLayer`](super::CsrfLayer).
#[derive(Clone)]
pub struct CsrfGate {
    config: Arc<Config>,
}

// It holds keys.
impl fmt::Debug for CsrfGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsrfGate").finish_non_exhaustive()
    }
}

type Outcome = Result<Option<Allowed>, Denied>;

/// What a request says in place of, or as, its token.
enum Presented<'r> {
    Nothing,
    Token(&'r [u8]),
    Unreadable(Denied),
}

impl CsrfGate {
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self { config }
    }

    fn judge(&self, head: &request::Parts) -> Judged {
        if self.config.is_exempt(head.uri.path()) {
            return Judged {
                verdict: Verdict::Safe,
                foreign_script_load: false,
            };
        }
        let facts = Facts::of(head);
        Judged {
            verdict: verdict(&facts, &self.config.policy),
            foreign_script_load: facts.is_foreign_script_load(),
        }
    }

    /// Whether a token is needed that can only be in the form that follows.
    pub(super) fn needs_form(&self, head: &request::Parts) -> bool {
        let form = match Sent::find(head, &CONTENT_TYPE) {
            Sent::Once(content_type) => is_form(content_type),
            Sent::No | Sent::Repeatedly => false,
        };
        form && !head.headers.contains_key(&self.config.header)
            && head.extensions.get::<Session>().is_some()
            && self.judge(head).verdict == Verdict::NeedToken
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    fn presented<'r>(&self, head: &'r request::Parts, found: Option<&'r Found>) -> Presented<'r> {
        match (Sent::find(head, &self.config.header), found) {
            (Sent::Once(token), _) => Presented::Token(token),
            // Which of them was meant? None is taken.
            (Sent::Repeatedly, _) => Presented::Token(b""),
            (Sent::No, Some(Found::Token(token))) => Presented::Token(token),
            (Sent::No, Some(Found::Malformed)) => Presented::Unreadable(Denied::FormMalformed),
            (Sent::No, Some(Found::TooLarge)) => Presented::Unreadable(Denied::FormTooLarge),
            (Sent::No, Some(Found::Broken)) => Presented::Unreadable(Denied::FormBroken),
            (Sent::No, Some(Found::Missing) | None) => Presented::Nothing,
        }
    }

    fn entry(&self, mut pass: Pass, outcome: Outcome) -> Entry<CsrfExit> {
        match outcome {
            Err(denied) => {
                if let Some(rejection) = self.object(denied) {
                    return Entry::Refuse(pass.head, rejection);
                }
            }
            Ok(Some(allowed)) => {
                event_debug!(
                    event = "csrf.passed",
                    reason = allowed.code(),
                    "a request passes"
                );
            }
            Ok(None) => {}
        }
        pass.head.extensions.insert(pass.exit.token.clone());
        Entry::Pass(pass.head, pass.exit)
    }

    /// Says that something is refused, and how; or, where only reports are wanted, that it would be.
    fn object(&self, denied: Denied) -> Option<Rejection> {
        let (reason, decided_by) = (denied.code(), denied.decided_by());
        // What is left of a form that broke off must not look like a whole one.
        if self.config.report_only && denied != Denied::FormBroken {
            event_warn!(
                event = "csrf.would_block",
                reason,
                decided_by,
                "a request passes that would be refused"
            );
            return None;
        }
        event_warn!(
            event = "csrf.denied",
            reason,
            decided_by,
            "a request was refused"
        );
        Some(rejection(denied))
    }

    /// Asks the store for the secret that the token has to be made with; a session that is going to be read rides along.
    fn ask(&self, pass: Pass, token: Vec<u8>, place: CsrfPlace) -> BoxFuture<Entry<CsrfExit>> {
        let gate = self.clone();
        let rider = place.store.rider(&pass.head.extensions);
        Box::pin(async move {
            let calls = vec![stored::look(&place)];
            let reply = match place.store.trip_with(calls, rider).await {
                Ok(replies) => replies.into_last(),
                Err(error) => Some(Err(error)),
            };
            match reply
                .map(|reply| reply.and_then(stored::secret_in))
                .transpose()
            {
                Ok(secret) => {
                    let good = pass.exit.token.is_good(&token, secret.flatten().as_ref());
                    let outcome = Verdict::NeedToken.settle(|| proof(good));
                    gate.entry(pass, outcome)
                }
                Err(error) => Entry::Refuse(pass.head, error.into()),
            }
        })
    }
}

impl Steps for CsrfGate {
    type Exit = CsrfExit;

    fn enter(&self, mut head: request::Parts) -> Step<CsrfExit> {
        let Some(session) = head.extensions.get::<Session>().cloned() else {
            return Step::Now(Entry::Refuse(head, misordered()));
        };
        let found = head.extensions.remove::<Found>();
        let Judged {
            verdict,
            foreign_script_load,
        } = self.judge(&head);
        let exit = CsrfExit {
            gate: self.clone(),
            token: CsrfToken::new(&self.config, session, &head.headers),
            checked: verdict != Verdict::Safe || self.config.policy.guard_reads,
            foreign_script_load,
        };
        let outcome = match (verdict, self.presented(&head, found.as_ref())) {
            (Verdict::NeedToken, Presented::Unreadable(denied)) => Err(denied),
            (Verdict::NeedToken, Presented::Token(token)) => {
                // What cannot be a token costs no trip.
                if Tokens::could_be(token)
                    && let Some(place) = exit.token.stored_place()
                {
                    let token = token.to_vec();
                    return Step::Ask(self.ask(Pass { head, exit }, token, place));
                }
                verdict.settle(|| proof(exit.token.is_good(token, None)))
            }
            _ => verdict.settle(|| Proof::Missing),
        };
        Step::Now(self.entry(Pass { head, exit }, outcome))
    }
}

/// What the head of a request says.
struct Judged {
    verdict: Verdict,
    foreign_script_load: bool,
}

/// A request on its way in.
struct Pass {
    head: request::Parts,
    exit: CsrfExit,
}

fn proof(good: bool) -> Proof {
    if good { Proof::Good } else { Proof::Wrong }
}

fn misordered() -> Rejection {
    event_error!(
        event = "csrf.misordered",
        "CsrfLayer found no session: put SessionLayer around it"
    );
    Rejection::new(RejectionKind::Internal)
        .code("session_layer_missing")
        .caused_by("CsrfLayer found no session: put SessionLayer around it")
}

fn rejection(denied: Denied) -> Rejection {
    let kind = match denied {
        Denied::HostConflict | Denied::FormMalformed | Denied::FormBroken => {
            RejectionKind::BadRequest
        }
        Denied::PreflightExempt => RejectionKind::UnsupportedMediaType,
        Denied::FormTooLarge => RejectionKind::TooLarge,
        _ => RejectionKind::Csrf,
    };
    Rejection::new(kind)
        .code(denied.code())
        .detail(denied.detail())
}

/// What is left to do when the handler has answered.
#[derive(Debug)]
pub struct CsrfExit {
    gate: CsrfGate,
    token: CsrfToken,
    /// Whether the answer depends on who caused the request.
    checked: bool,
    foreign_script_load: bool,
}

impl Exit for CsrfExit {
    fn exit(self, mut head: response::Parts) -> Leave {
        let script = || {
            head.headers
                .get(CONTENT_TYPE)
                .is_some_and(|value| is_script(value.as_bytes()))
        };
        if self.foreign_script_load
            && self.token.is_of_a_session()
            && script()
            && let Some(rejection) = self.gate.object(Denied::ForeignScript)
        {
            return Leave::Wait(Box::pin(std::future::ready(Err(rejection.into()))));
        }
        self.token.leave(&mut head);
        if self.checked {
            caching::vary(&mut head.headers, VARY);
        }
        if self.gate.config.same_origin_resources {
            head.headers
                .entry(RESOURCE_POLICY)
                .or_insert(HeaderValue::from_static("same-origin"));
        }
        Leave::Now(head)
    }
}
