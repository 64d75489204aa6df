//! One layer's question in another's trip.
//!
//! A layer that may soon have to ask a store says once how it is found in a request. A layer that asks anyway takes it
//! along: its call travels in that trip, and it gets its own reply. No room has to know another for that, and requests
//! that ask nothing pay nothing. A rider that nobody took simply asks by itself later.

use std::sync::Arc;

use http::Extensions;

use super::{Call, Replies, Store, StoreError, Value, corrupt};

/// A question that can travel with somebody else's.
pub(crate) trait Rider: Send + Sync {
    /// What to ask, or nothing when the answer has come in another way meanwhile.
    fn call(&self) -> Option<Call>;

    /// The reply to it, or why there is none.
    fn deliver(&self, reply: Result<Value, StoreError>);
}

/// Finds who would travel along to this store in a request.
pub(crate) type FindRider = fn(&Extensions, &Store) -> Option<Arc<dyn Rider>>;

impl Store {
    /// From now on trips of this store take along whom `find` finds. The first word counts: one room has riders.
    pub(crate) fn take_along(&self, find: FindRider) {
        let _ = self.0.find_rider.set(find);
    }

    /// Who would travel along in a trip for this request.
    pub(crate) fn rider(&self, extensions: &Extensions) -> Option<Arc<dyn Rider>> {
        self.0.find_rider.get()?(extensions, self)
    }

    /// Asks `calls` and what the rider asks in one trip, and gives both their replies.
    pub(crate) async fn trip_with(
        &self,
        mut calls: Vec<Call>,
        rider: Option<Arc<dyn Rider>>,
    ) -> Result<Replies, StoreError> {
        let rides = rider.and_then(|rider| Some((rider.call()?, rider)));
        let Some((call, rider)) = rides else {
            return self.trip(&calls).await;
        };
        let own = calls.len();
        calls.push(call);
        match self.trip(&calls).await {
            Ok(replies) => {
                let mut replies = replies.into_vec();
                let reply = (replies.len() > own).then(|| replies.pop()).flatten();
                rider.deliver(reply.unwrap_or_else(|| Err(corrupt())));
                Ok(replies.into())
            }
            Err(error) => {
                rider.deliver(Err(error.clone()));
                Err(error)
            }
        }
    }
}
