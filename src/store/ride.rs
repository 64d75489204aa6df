//! One layer's question in another's trip.
//!
//! A layer that may soon have to ask the store leaves a [`Rider`] in the request's extensions. A layer that asks
//! anyway takes the riders of the same store along: their calls travel in its trip, and each gets its own replies. No
//! room has to know another for that. A rider that nobody took simply asks by itself later.

use std::sync::Arc;

use http::Extensions;

use super::{Call, Replies, Store, StoreError};

/// A question that can travel with somebody else's.
pub(crate) trait Rider: Send + Sync {
    /// What to ask, or nothing when the answer has come in another way meanwhile.
    fn calls(&self) -> Vec<Call>;

    /// The replies to these calls, in their order, or why there are none.
    fn deliver(&self, replies: Result<Replies, StoreError>);
}

/// The riders waiting in one request.
#[derive(Clone, Default)]
pub(crate) struct Rides(Vec<(Store, Arc<dyn Rider>)>);

impl Rides {
    /// Leaves a rider for whoever asks the same store first.
    pub(crate) fn leave(extensions: &mut Extensions, store: &Store, rider: Arc<dyn Rider>) {
        let rides = extensions.get_or_insert_default::<Self>();
        rides.0.push((store.clone(), rider));
    }

    /// Takes the riders that wait for this store.
    pub(crate) fn take(extensions: &mut Extensions, store: &Store) -> Vec<Arc<dyn Rider>> {
        let Some(rides) = extensions.get_mut::<Self>() else {
            return Vec::new();
        };
        let waiting = std::mem::take(&mut rides.0).into_iter();
        let (taken, left) = waiting.partition(|(of, _)| of.is_same(store));
        rides.0 = left;
        taken
            .into_iter()
            .map(|(_, rider): (Store, _)| rider)
            .collect()
    }
}

impl Store {
    /// Asks `calls` and whatever rides along in one trip, and gives everybody their replies.
    pub(crate) async fn trip_with(
        &self,
        calls: Vec<Call>,
        riders: Vec<Arc<dyn Rider>>,
    ) -> Result<Replies, StoreError> {
        let own = calls.len();
        let mut all = calls;
        let mut shares = Vec::with_capacity(riders.len());
        for rider in riders {
            let calls = rider.calls();
            shares.push((rider, calls.len()));
            all.extend(calls);
        }
        let outcome = self.trip(&all).await;
        let mut replies = match outcome {
            Ok(replies) => replies,
            Err(error) => {
                for (rider, _) in shares {
                    rider.deliver(Err(error.clone()));
                }
                return Err(error);
            }
        };
        let mut rest = replies.split_off(own.min(replies.len())).into_iter();
        for (rider, count) in shares {
            rider.deliver(Ok(rest.by_ref().take(count).collect()));
        }
        Ok(replies)
    }
}
