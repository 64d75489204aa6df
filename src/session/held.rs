//! Near sessions: what this node holds of sessions, and when that is as good as asking.
//!
//! A held record counts while nothing about it has changed for all this node can know: its connection is fresh, and so
//! are the cutoffs; its login was not revoked and its time is not over; and no use has to be recorded, which the store
//! would do.

use super::{
    config::Config,
    id::SessionId,
    ops::{Loaded, knows_cutoffs, loaded, scopes},
    record::{Record, is_record},
    state::Question,
};
use crate::{
    near::{self, Held, List, Replica, View},
    store::{StoreError, Value},
};

impl Config {
    /// The session as this node holds it, unless its use is `due` to be recorded.
    pub(super) fn held(&self, question: &Question) -> Option<Loaded> {
        let name = &question.name;
        let (held, view) = self.holding(question)?;
        let (raw, server_ms) = held.get(name.hash(), view.moment())?;
        let record = Record::of(raw, name.check()).ok()?;
        let cut = scopes(name).filter_map(|scope| view.cutoff(scope).moment);
        let cut = cut.max();
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

    /// Asks for the session, over the connection that lets this node hold it where there is one.
    pub(super) async fn fetch(&self, question: &Question) -> Result<Loaded, StoreError> {
        if let Some(answer) = self.hold(question).await {
            return Ok(answer);
        }
        let reply = self.store.run(self.load_call(question)).await?;
        loaded(reply, &question.name, near::of(&self.store))
    }

    /// Reads the session so that this node holds it from then on; `None` where the store has to be asked.
    async fn hold(&self, question: &Question) -> Option<Loaded> {
        let held = self.holding(question).map(|(held, _)| held)?;
        let name = &question.name;
        let key = name.key(self.store.namespace());
        let raw = Box::pin(held.read(*name.hash(), &key, is_record)).await?;
        let raw = raw.map_or(Value::Nil, |raw| Value::Bytes(raw.into()));
        loaded(raw, name, near::of(&self.store)).ok()
    }

    /// What this node may answer by, if it may at all.
    fn holding(&self, question: &Question) -> Option<(&Held, View<'_>)> {
        let held = near::held(&self.store).filter(|_| !question.due)?;
        let view = near::of(&self.store).map(Replica::view)?;
        knows_cutoffs(&view, &question.name).then_some((held, view))
    }

    /// This node is about to change the session: what it holds is forgotten when the change has been answered, and also
    /// when nobody waits for the answer any more.
    pub(super) fn changes(&self, id: &SessionId) -> Changing<'_> {
        Changing(near::held(&self.store).map(|held| (held, *id.name().hash())))
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
