//! One layer's question in another's trip.
//!
//! A layer that may soon have to ask the store leaves a [`Rider`] in the request's extensions. A layer that asks
//! anyway takes the riders of the same store along: their calls travel in its trip, and each gets its own replies. No
//! room has to know another for that. A rider that nobody took simply asks by itself later.

use std::sync::{Arc, Mutex, PoisonError};

use http::Extensions;

use super::{Call, Replies, Store, StoreError, Value};

/// A question that can travel with somebody else's.
pub(crate) trait Rider: Send {
    /// What to ask, or nothing when the answer has come in another way meanwhile.
    fn calls(&self) -> Vec<Call>;

    /// The replies to these calls, in their order, or why there are none.
    fn deliver(self: Box<Self>, replies: Result<Replies, StoreError>);
}

/// The riders waiting in one request.
#[derive(Clone, Default)]
pub(crate) struct Rides(Arc<Mutex<Vec<(Store, Box<dyn Rider>)>>>);

impl Rides {
    /// Leaves a rider for whoever asks the same store first.
    pub(crate) fn leave(extensions: &mut Extensions, store: &Store, rider: Box<dyn Rider>) {
        let rides = extensions.get_or_insert_default::<Self>();
        rides.0.lock().unwrap_or_else(PoisonError::into_inner).push((store.clone(), rider));
    }

    /// Takes the riders that wait for this store.
    pub(crate) fn take(extensions: &Extensions, store: &Store) -> Vec<Box<dyn Rider>> {
        let Some(rides) = extensions.get::<Self>() else { return Vec::new() };
        let mut waiting = rides.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, left) = std::mem::take(&mut *waiting).into_iter().partition(|(of, _)| of.is_same(store));
        *waiting = left;
        taken.into_iter().map(|(_, rider): (Store, _)| rider).collect()
    }
}

impl Store {
    /// Asks `calls` and whatever rides along in one trip, and gives everybody their replies.
    pub(crate) async fn trip_with(&self, calls: Vec<Call>, riders: Vec<Box<dyn Rider>>) -> Result<Replies, StoreError> {
        let own = calls.len();
        let mut all = calls;
        let riders: Vec<_> = riders
            .into_iter()
            .map(|rider| {
                let calls = rider.calls();
                let count = calls.len();
                all.extend(calls);
                (rider, count)
            })
            .collect();
        let outcome = self.trip(&all).await;
        let mut replies = match outcome {
            Ok(replies) => replies,
            Err(error) => {
                riders.into_iter().for_each(|(rider, _)| rider.deliver(Err(error.clone())));
                return Err(error);
            }
        };
        let mut rest = replies.split_off(own.min(replies.len())).into_iter();
        for (rider, count) in riders {
            rider.deliver(Ok(rest.by_ref().take(count).collect()));
        }
        Ok(replies)
    }

    /// As [`Store::run`], with riders.
    pub(crate) async fn run_with(&self, call: Call, riders: Vec<Box<dyn Rider>>) -> Result<Value, StoreError> {
        let mut replies = self.trip_with(vec![call], riders).await?;
        replies.pop().unwrap_or_else(|| Err(super::operation::corrupt()))
    }
}
