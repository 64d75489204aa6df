//! What the gates and handles of one layer share, and the choices in it.

use http::HeaderValue;

use super::{
    binding::Binding,
    id::SessionId,
    ops::{self, Life, Place},
    state::Question,
};
use crate::{
    cookie::{self, CookieConfig},
    keyring::MacKeys,
    near,
    recent::Recent,
    store::{Call, Store},
    trace::{event_info, event_warn},
};

/// What happens to a response whose changes found the session ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnGone {
    /// The response of the handler passes, without a cookie; its extensions say
    /// [`SaveOutcome::Gone`](super::SaveOutcome::Gone). The default.
    #[default]
    Pass,
    /// The response is replaced by a 401.
    Refuse,
}

/// What happens to a login on one device more than a user may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnLimit {
    /// The device that signed in first is signed out; it can learn so from [`Session::ended`](super::Session::ended).
    /// The default.
    #[default]
    EvictOldest,
    /// The login is refused: 409.
    Refuse,
}

/// Why a session ended that the client still has a cookie of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ended {
    /// The user signed in on another device, and there were too many.
    Elsewhere,
    /// The device was signed out from elsewhere, or a cutoff ended it.
    Revoked,
    /// It is bound to another browser or network than this request's, and its user has to sign in again
    /// ([`OnMismatch::RequireLogin`](super::OnMismatch::RequireLogin)).
    Moved,
}

/// What the gates and handles of one layer share.
pub(super) struct Config {
    pub(super) store: Store,
    pub(super) keys: MacKeys,
    pub(super) cookie: CookieConfig,
    pub(super) life: Life,
    pub(super) remembered: Life,
    /// Milliseconds for which a recorded use stays fresh.
    pub(super) touch_interval: u64,
    pub(super) limit: u64,
    pub(super) on_gone: OnGone,
    pub(super) most_devices: u64,
    pub(super) on_limit: OnLimit,
    /// What logins are bound to, if anything.
    pub(super) binding: Option<Binding>,
    /// When the last recorded use of a session was, by this node's clock and from the store's own word.
    pub(super) memo: Recent<20>,
}

impl Config {
    pub(super) fn place<'a>(&'a self, id: &'a SessionId) -> Place<'a> {
        Place::new(&self.store, id, self.limit)
    }

    /// The one authentic id among the cookies of our name, whatever their order; and whether that is sure, or there may be others.
    pub(super) fn id_in(&self, lines: &[HeaderValue]) -> (Option<SessionId>, bool) {
        let name = &*self.cookie.name;
        let (mut found, mut is_one, mut seen) = (None, true, 0);
        for value in cookie::candidates(lines, name) {
            seen += 1;
            if let Some(id) = SessionId::from_cookie(value, name, &self.keys) {
                is_one &= *found.get_or_insert(id) == id;
            }
        }
        let is_sure = is_one && !cookie::left_unseen(lines, name, seen);
        if found.is_some() && !is_sure {
            // Somebody planted a session of theirs beside the user's, or hid the user's behind others: it cannot be told which is
            // which.
            event_warn!(
                event = "session.ambiguous",
                "two authentic session cookies in one request, or more cookies than are looked at"
            );
            return (None, false);
        }
        if found.is_none() && seen > 0 {
            event_info!(
                event = "session.forged",
                "a session cookie that is none of ours was presented"
            );
        }
        (found, is_sure)
    }

    /// All authentic ids, also those that [`id_in`](Self::id_in) does not look at.
    pub(super) fn all_in(&self, lines: &[HeaderValue]) -> Vec<SessionId> {
        let name = &*self.cookie.name;
        let values = cookie::all(lines, name).into_iter();
        values
            .filter_map(|value| SessionId::from_cookie(value, name, &self.keys))
            .collect()
    }

    pub(super) fn life(&self, remember: bool) -> Life {
        if remember { self.remembered } else { self.life }
    }

    /// Whether a use may have to be recorded, for all this node knows.
    pub(super) fn is_use_due(&self, id: &SessionId, now: u64) -> bool {
        let never_due = self.life.idle.is_none() && self.remembered.idle.is_none();
        !never_due && !self.memo.is_fresh(&id.random(), now, self.touch_interval)
    }

    /// A question of now.
    pub(super) fn question(&self, id: SessionId) -> Question {
        let at = self.store.clock().now_millis();
        Question {
            name: id.name(),
            due: self.is_use_due(&id, at),
            id,
            at,
        }
    }

    /// The cheapest call that still records the use where that is due.
    pub(super) fn load_call(&self, question: &Question) -> Call {
        let Question { id, name, .. } = question;
        let place = Place::named(&self.store, id, *name, self.limit);
        if question.due {
            return place.load(self.touch_interval);
        }
        match near::of(&self.store) {
            Some(near) if ops::knows_cutoffs(&near.view(), name) => place.read_alone(),
            Some(near) => {
                near.fell_back();
                place.read()
            }
            None => place.read(),
        }
    }
}
