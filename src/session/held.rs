//! Near sessions: what this node holds of sessions, and when that is as good as asking.
//!
//! A held record counts while nothing about it has changed for all this node can know: its connection is fresh, and so
//! are the cutoffs; its login was not revoked and its time is not over; and no use has to be recorded, which the store
//! would do.

use super::{
    config::Config,
    id::SessionId,
    ops::{Loaded, knows_cutoffs, loaded},
    record::{Record, is_record},
};
use crate::{
    near::{self, Held, List, Replica, Scope},
    store::Value,
};

impl Config {
    /// The session as this node holds it.
    pub(super) fn held(&self, id: &SessionId, now: u64) -> Option<Loaded> {
        let (held, near) = self.holding(id, now)?;
        let name = id.hash_text();
        let (raw, server_ms) = held.get(&name)?;
        let record = Record::of(raw.to_vec(), id.check()).ok()?;
        let view = near.view();
        let cut = [
            Some(Scope::User(id.tag())),
            Some(Scope::Everyone),
            id.tenant().map(Scope::Tenant),
        ]
        .into_iter()
        .flatten()
        .filter_map(|scope| view.cutoff(scope).moment)
        .max();
        let header = &record.header;
        let over = server_ms >= header.expiry()
            || header.is_cut(cut)
            || (!header.sid.is_empty() && view.lists(List::Logins, &header.sid));
        (!over).then_some(Loaded {
            record: Some(record),
            ended: None,
            age: None,
            held: true,
        })
    }

    /// Reads the session so that this node holds it from then on; `None` where the store has to be asked.
    pub(super) async fn hold(&self, id: &SessionId, now: u64) -> Option<Loaded> {
        let (held, near) = self.holding(id, now)?;
        let key = id.key(self.store.namespace());
        let raw = held.read(id.hash_text(), &key, is_record).await?;
        let raw = raw.map_or(Value::Nil, |raw| Value::Bytes(raw.into()));
        loaded(Value::List(vec![raw]), id, Some(near)).ok()
    }

    /// Whether this node may answer at all.
    fn holding(&self, id: &SessionId, now: u64) -> Option<(&Held, &Replica)> {
        let held = near::held(&self.store)?;
        let near = near::of(&self.store)?;
        let may = !self.is_use_due(id, now) && knows_cutoffs(&near.view(), id);
        may.then_some((held, near))
    }

    /// This node is about to change the session: what it holds is forgotten when the change has been answered, and also
    /// when nobody waits for the answer any more.
    pub(super) fn changes(&self, id: &SessionId) -> Changing<'_> {
        Changing(near::held(&self.store).map(|held| (held, id.hash_text())))
    }
}

/// See [`Config::changes`].
#[must_use = "what is held is forgotten when this is dropped"]
pub(super) struct Changing<'a>(Option<(&'a Held, near::HeldName)>);

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        if let Some((held, name)) = &self.0 {
            held.forget(name);
        }
    }
}
