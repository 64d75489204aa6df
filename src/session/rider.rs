//! The session's load in another layer's trip.

use std::sync::Arc;

use http::Extensions;

use super::{
    handle::{Inner, Session},
    ops::loaded,
};
use crate::{
    near,
    store::{Call, Reply, Rider, Store},
};

impl Session {
    /// The session of a request, where it is in this store and may have to be read: as who may travel in another's trip.
    pub(super) fn rider_in(extensions: &Extensions, store: &Store) -> Option<Arc<dyn Rider>> {
        let Self(inner) = extensions.get()?;
        let rides = inner.config.store.is_same(store) && inner.state().is_unread();
        rides.then(|| Arc::clone(inner) as _)
    }
}

impl Rider for Inner {
    fn call(&self) -> Option<Call> {
        let mut state = self.state();
        let id = state.id.filter(|_| state.is_unread())?;
        let question = self.config.question(id);
        if self.config.held(&question).is_some() {
            return None;
        }
        let call = self.config.load_call(&question);
        state.rode = Some(question);
        Some(call)
    }

    /// What cannot be read here is asked again by whoever needs it, and reported to them.
    fn deliver(&self, reply: Reply) {
        let rode = self.state().rode.take();
        if let (Some(rode), Ok(reply)) = (rode, reply)
            && let Ok(loaded) = loaded(reply, &rode.name, near::of(&self.config.store))
        {
            self.absorb(&rode, loaded);
        }
    }
}
