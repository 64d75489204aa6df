//! The decision of the session layer: which session a request has, and what its response says about it.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, header::COOKIE, request, response};

use super::{
    config::{Config, OnGone},
    handle::{SaveOutcome, Session},
    state::CookieTask,
};
use crate::{
    caching, cookie,
    gate::{Entry, Exit, Leave, Refusal, Step, Steps},
    refuse::{Rejection, RejectionKind},
    trace::event_error,
};

/// Stands in front of a service behind a [`SessionLayer`](super::SessionLayer).
#[derive(Clone)]
pub struct SessionGate {
    config: Arc<Config>,
}

impl fmt::Debug for SessionGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionGate").finish_non_exhaustive()
    }
}

impl SessionGate {
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self { config }
    }
}

impl Steps for SessionGate {
    type Exit = Leaving;

    fn enter(&self, mut head: request::Parts) -> Step<Leaving> {
        let binding = self.config.binding.as_ref();
        let looks = match binding.map(|binding| binding.look(&head)).transpose() {
            Ok(looks) => looks,
            Err(rejection) => return Step::Now(Entry::Refuse(head, rejection)),
        };
        let cookies = head.headers.get_all(COOKIE).iter().cloned().collect();
        let session = Session::new(Arc::clone(&self.config), cookies, looks);
        head.extensions.insert(session.clone());
        Step::Now(Entry::Pass(head, Leaving(session)))
    }
}

/// What is left to do when the handler has answered.
#[derive(Debug)]
pub struct Leaving(Session);

impl Exit for Leaving {
    fn exit(self, mut head: response::Parts) -> Leave {
        let session = self.0;
        if session.close_unasked() {
            return Leave::Now(head);
        }
        let save = {
            let mut state = session.state();
            if head.status.is_server_error() && !state.changes.is_empty() {
                state.changes = super::ops::Changes::default();
                head.extensions.insert(SaveOutcome::Skipped);
            }
            !state.changes.is_empty()
        };
        if save {
            return Leave::Wait(Box::pin(finish(session, head)));
        }
        write_headers(&session, &mut head.headers);
        Leave::Now(head)
    }
}

async fn finish(session: Session, mut head: response::Parts) -> Result<response::Parts, Refusal> {
    let outcome = session.save_at_exit().await.map_err(|error| {
        // The handler ran: whether its changes are stored is unknown, and the client must not believe that they are.
        event_error!(event = "session.unsaved", kind = ?error.kind(), "a session could not be saved: the outcome is unknown");
        refusal(&session, error.into())
    })?;
    if outcome == SaveOutcome::Gone && session.config().on_gone == OnGone::Refuse {
        return Err(refusal(&session, RejectionKind::LoginRequired.into()));
    }
    head.extensions.insert(outcome);
    write_headers(&session, &mut head.headers);
    Ok(head)
}

/// The refusal still tells the browser under which id the session lives by now: the old one is dead.
fn refusal(session: &Session, rejection: Rejection) -> Refusal {
    let mut headers = HeaderMap::new();
    write_headers(session, &mut headers);
    Refusal {
        rejection,
        headers: Some(Box::new(headers)),
    }
}

fn write_headers(session: &Session, headers: &mut HeaderMap) {
    let config = session.config();
    let (asked, cookie) = {
        let state = session.state();
        let task = state.cookie.map(|task| (task, state.id));
        (state.asked, task)
    };
    if asked {
        // A shared cache must not give one user's page to another (CVE-2023-30861).
        caching::vary(headers, "cookie");
    }
    let value = match cookie {
        None => return,
        Some((CookieTask::Set { max_age }, Some(id))) => {
            let text = id.to_cookie(&config.cookie.name, &config.keys);
            let max_age = max_age.map(Duration::from_millis);
            config
                .cookie
                .set(&text, max_age, config.store.clock().now_millis())
        }
        Some(_) => Ok(config.cookie.removal()),
    };
    match value {
        Ok(value) => {
            cookie::put(headers, value);
            // A cache that keeps a `Set-Cookie` gives a session away.
            caching::forbid_storing(headers, &["no-store", "private"]);
        }
        // The builder has checked the name, and an id is short.
        Err(error) => {
            event_error!(event = "session.cookie", %error, "a session cookie could not be written");
        }
    }
}
