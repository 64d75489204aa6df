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

/// The riders waiting in one request. Nearly always there is one, which needs no list.
#[derive(Clone, Default)]
pub(crate) struct Rides {
    first: Option<Waiting>,
    more: Vec<Waiting>,
}

type Waiting = (Store, Arc<dyn Rider>);

impl Rides {
    /// Leaves a rider for whoever asks the same store first.
    pub(crate) fn leave(extensions: &mut Extensions, store: &Store, rider: Arc<dyn Rider>) {
        let rides = extensions.get_or_insert_default::<Self>();
        let waiting = (store.clone(), rider);
        match &rides.first {
            None => rides.first = Some(waiting),
            Some(_) => rides.more.push(waiting),
        }
    }

    /// Takes the riders that wait for this store.
    pub(crate) fn take(extensions: &mut Extensions, store: &Store) -> Vec<Arc<dyn Rider>> {
        let Some(rides) = extensions.get_mut::<Self>() else {
            return Vec::new();
        };
        let waiting = rides.first.take().into_iter();
        let waiting = waiting.chain(std::mem::take(&mut rides.more));
        let (taken, left): (Vec<_>, _) = waiting.partition(|(of, _)| of.is_same(store));
        rides.more = left;
        taken.into_iter().map(|(_, rider)| rider).collect()
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
        if riders.is_empty() {
            return self.trip(&calls).await;
        }
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
