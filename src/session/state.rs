//! What one request knows of its session. Pure: no I/O, no lock.
//!
//! - A session that was never asked for is `Unread`, and nothing is known about it.
//! - `Missing` after a load means that this request has no session: a change makes a new one under a new id. It never
//!   adopts the id that the client sent.
//! - `Gone` is what a session becomes when it was there and a later step of this request found it ended: nothing is
//!   written then, and no cookie is set.

use http::HeaderValue;

use super::{
    config::Ended,
    error::{SessionError, SessionErrorKind},
    id::{Name, SessionId},
    ops::{Changes, Loaded},
    record::Record,
};
use crate::store::Few;

pub(super) struct State {
    /// The `Cookie` lines of the request, until somebody asks: nothing else is known before.
    pub(super) cookies: Option<Few<HeaderValue>>,
    pub(super) id: Option<SessionId>,
    pub(super) known: Known,
    pub(super) changes: Changes,
    pub(super) cookie: Option<CookieTask>,
    /// Whether the response depends on the session.
    pub(super) asked: bool,
    /// Whether the head of the response has left.
    pub(super) closed: bool,
    /// Why there is no session, where that is known.
    pub(super) ended: Option<Ended>,
    /// What travels with somebody else's trip.
    pub(super) rode: Option<Question>,
    /// The `Cookie` lines of a client that may have named several sessions. Nobody knows which is theirs: nothing is read or
    /// written of any, and only a logout ends them all.
    pub(super) unsure: Option<Few<HeaderValue>>,
    /// The id that a session of nobody gets if one is made, where that was said ahead.
    pub(super) planned: Option<SessionId>,
    /// Whether this request made the session, for nobody.
    pub(super) made: bool,
    /// Whether what is known was held by this node, and may be a little behind the store.
    pub(super) held: bool,
}

/// What does the session hold?
pub(super) struct Question {
    pub(super) id: SessionId,
    pub(super) name: Name,
    /// When it is asked, by the node's clock.
    pub(super) at: u64,
    /// Whether a use may have to be recorded.
    pub(super) due: bool,
}

pub(super) enum Known {
    Unread,
    Loaded(Record),
    Missing,
}

/// What the response is to tell the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CookieTask {
    /// The id of now, until the browser closes or for this many milliseconds.
    Set {
        max_age: Option<u64>,
    },
    Remove,
}

impl State {
    pub(super) fn new(cookies: Few<HeaderValue>) -> Self {
        Self {
            cookies: Some(cookies),
            id: None,
            known: Known::Missing,
            changes: Changes::default(),
            cookie: None,
            asked: false,
            closed: false,
            ended: None,
            rode: None,
            unsure: None,
            planned: None,
            made: false,
            held: false,
        }
    }

    /// This is the session that the client names, if any; unless it is not sure that there is no other.
    pub(super) fn named(&mut self, id: Option<SessionId>, is_sure: bool) {
        self.known = id.map_or(Known::Missing, |_| Known::Unread);
        self.id = id;
        self.unsure = self.cookies.take().filter(|_| !is_sure);
    }

    pub(super) fn is_unread(&self) -> bool {
        matches!(self.known, Known::Unread)
    }

    /// Whether this request has no session. One that was saved and has to be read again is none of these.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self.known, Known::Missing)
    }

    /// Whether changes can still be saved: a session that is to be made needs a response that carries its cookie.
    pub(super) fn check_open(&self) -> Result<(), SessionError> {
        if self.closed && self.is_missing() {
            return Err(SessionError::new(SessionErrorKind::TooLate));
        }
        Ok(())
    }

    /// Whether the changes so far make a session of nobody.
    #[cfg(feature = "csrf")]
    pub(super) fn will_be_made(&self) -> bool {
        self.is_missing() && self.changes.sets_something()
    }

    pub(super) fn record(&self) -> Option<&Record> {
        match &self.known {
            Known::Loaded(record) => Some(record),
            Known::Unread | Known::Missing => None,
        }
    }

    /// A load found this, unless the session has moved on meanwhile.
    pub(super) fn found(&mut self, id: &SessionId, loaded: Loaded) {
        if self.is_unread() && self.id.as_ref() == Some(id) {
            self.ended = loaded.ended;
            self.held = loaded.held;
            self.known = loaded.record.map_or(Known::Missing, Known::Loaded);
        }
    }

    /// A load found a session that this request may not use, unless the session has moved on meanwhile. Where a login may
    /// go on with it, the id stays for that.
    pub(super) fn foreign(&mut self, id: &SessionId, goes_on: bool) {
        if self.is_unread() && self.id.as_ref() == Some(id) {
            self.known = Known::Missing;
            self.ended = goes_on.then_some(Ended::Moved);
            self.id = self.id.filter(|_| goes_on);
        }
    }

    /// The session lives under this id now.
    pub(super) fn moved(&mut self, id: SessionId, record: Record) {
        let header = &record.header;
        let remaining = header.deadline.saturating_sub(header.touched);
        self.cookie = Some(CookieTask::Set {
            max_age: header.persistent.then_some(remaining),
        });
        self.made &= header.is_anonymous();
        self.held = false;
        self.id = Some(id);
        self.known = Known::Loaded(record);
    }

    /// It was found ended: nothing of it is written, and no cookie brings it back.
    pub(super) fn gone(&mut self) {
        self.known = Known::Missing;
        self.changes = Changes::default();
        self.cookie = None;
    }

    /// This request ended it.
    pub(super) fn destroyed(&mut self) {
        self.gone();
        self.id = None;
        self.unsure = None;
        self.made = false;
        self.cookie = Some(CookieTask::Remove);
    }

    /// Changes that could not be sent are pending again, below those made since.
    pub(super) fn restore(&mut self, unsent: Changes) {
        let newer = std::mem::replace(&mut self.changes, unsent);
        if newer.clear {
            self.changes = newer;
        } else {
            self.changes.fields.extend(newer.fields);
        }
    }

    /// The JSON text of a field as this request sees it: its own changes first.
    pub(super) fn text(&self, name: &str) -> Option<&[u8]> {
        if let Some(changed) = self.changes.fields.get(name) {
            return changed.as_deref().map(str::as_bytes);
        }
        if self.changes.clear {
            return None;
        }
        self.record()?.field(name)
    }

    /// What is held may be behind: somebody else's newer value is overwritten, as it would be by any later change.
    pub(super) fn put(&mut self, name: &str, text: String) {
        if self.held || self.text(name) != Some(text.as_bytes()) {
            self.changes.fields.insert(name.to_owned(), Some(text));
        }
    }

    /// Whether there was such a field.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let was = self.text(name).is_some();
        if was || self.held {
            self.changes.fields.insert(name.to_owned(), None);
        }
        was
    }

    pub(super) fn clear(&mut self) {
        self.changes = Changes {
            clear: self.record().is_some(),
            ..Changes::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_changes_are_seen_and_equal_values_are_no_change() {
        let mut state = State::new(Vec::new().into());
        state.put("a", "1".to_owned());
        state.put("b", "2".to_owned());
        assert_eq!(state.text("a"), Some(&b"1"[..]));
        assert!(state.remove("a"));
        assert!(!state.remove("a"), "already removed");
        assert_eq!(state.text("a"), None);
        state.clear();
        assert_eq!(state.text("b"), None);
        assert!(
            state.changes.is_empty(),
            "nothing to clear in a session that does not exist"
        );
    }

    #[test]
    fn unsent_changes_lie_below_newer_ones() {
        let mut state = State::new(Vec::new().into());
        state.put("a", "1".to_owned());
        state.put("b", "1".to_owned());
        let unsent = std::mem::take(&mut state.changes);
        state.put("b", "2".to_owned());
        state.restore(unsent);
        assert_eq!(
            (state.text("a"), state.text("b")),
            (Some(&b"1"[..]), Some(&b"2"[..]))
        );
    }

    #[test]
    fn a_late_load_does_not_undo_what_happened_meanwhile() {
        let old = SessionId::anonymous().unwrap();
        let mut state = State::new(Vec::new().into());
        state.named(Some(old), true);
        state.destroyed();
        let nothing = Loaded {
            record: None,
            ended: None,
            age: None,
            held: false,
        };
        state.found(&old, nothing);
        assert_eq!(state.cookie, Some(CookieTask::Remove));
        assert!(state.id.is_none());
    }
}
