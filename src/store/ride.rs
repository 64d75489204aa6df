//! One layer's question in another's trip.
//!
//! A layer that may soon have to ask a store says once how it is found in a request. A layer that asks anyway takes it
//! along: its call travels in that trip, and it gets its own reply. No room has to know another for that, and requests
//! that ask nothing pay nothing. What both ask is asked once. A rider that nobody took simply asks by itself later.

use std::sync::Arc;

use http::Extensions;

use super::{Call, Key, Replies, Reply, Store, StoreError, Value, corrupt};

/// A question that can travel with somebody else's.
pub(crate) trait Rider: Send + Sync {
    /// What to ask, or nothing when the answer has come in another way meanwhile.
    fn call(&self) -> Option<Call>;

    /// The reply to it, or why there is none.
    fn deliver(&self, reply: Reply);
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
        let Some((mut call, rider)) = rides else {
            return self.trip(&calls).await;
        };
        let own = calls.len();
        let spared = Spared::of(&calls, &mut call);
        calls.push(call);
        match self.trip(&calls).await {
            Ok(replies) => {
                let mut replies = replies.into_vec();
                let reply = (replies.len() > own).then(|| replies.pop()).flatten();
                let reply = reply.unwrap_or_else(|| Err(corrupt()));
                rider.deliver(spared.restore(reply, &replies));
                Ok(replies.into())
            }
            Err(error) => {
                rider.deliver(Err(error.clone()));
                Err(error)
            }
        }
    }
}

/// What a rider would ask for and is asked for anyway: where the answers to its keys come, if not to itself.
struct Spared(Vec<Option<(usize, usize)>>);

impl Spared {
    /// Leaves out of the call what `own` ask as well.
    fn of(own: &[Call], call: &mut Call) -> Self {
        let each = |call: &Call| {
            call.operation
                .as_command()
                .filter(|_| call.operation.is_each())
        };
        let Some(command) = each(call) else {
            return Self(Vec::new());
        };
        let find = |key: &Key| {
            let own = own.iter().enumerate();
            let mut alike = own.filter(|(_, own)| each(own) == Some(command));
            alike.find_map(|(at, own)| Some((at, own.keys.iter().position(|own| own == key)?)))
        };
        let places: Vec<_> = call.keys.iter().map(find).collect();
        // Nothing, or nothing would be left to ask, which is no call.
        if places.iter().all(Option::is_none) || places.iter().all(Option::is_some) {
            return Self(Vec::new());
        }
        let keys = std::mem::replace(&mut call.keys, Vec::new().into());
        let left = keys.into_iter().zip(&places);
        call.keys = left
            .filter_map(|(key, place)| place.is_none().then_some(key))
            .collect();
        Self(places)
    }

    /// The reply to the whole call.
    fn restore(&self, reply: Reply, own: &[Reply]) -> Reply {
        if self.0.is_empty() {
            return reply;
        }
        let mut rest = reply?.into_each().into_iter();
        let whole = self.0.iter().map(|place| match place {
            None => rest.next().ok_or_else(corrupt),
            Some((call, key)) => match own.get(*call).ok_or_else(corrupt)? {
                Ok(Value::List(values)) => values.get(*key).cloned().ok_or_else(corrupt),
                one => one.clone(),
            },
        });
        whole.collect::<Result<Vec<_>, _>>().map(Value::List)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::{collection::vec, option, prelude::*};

    use super::*;
    use crate::store::{Operation, StoreErrorKind, exists, get};

    static GET: Operation = Operation::each("test.get", "GET", get);
    static EXISTS: Operation = Operation::command("test.exists", "EXISTS", exists);

    fn call(operation: &'static Operation, keys: &str) -> Call {
        let keys: Vec<Key> = keys.chars().map(String::from).collect();
        Call::new(operation, keys, Vec::new())
    }

    fn list(values: &str) -> Value {
        Value::List(
            values
                .chars()
                .map(|c| Value::bytes(c.to_string()))
                .collect(),
        )
    }

    /// Fails if: a key gets another's answer, something is asked twice or not at all, or an unknown answer counts as none.
    #[test]
    fn what_both_ask_is_asked_once() {
        let own = [call(&GET, "ab"), call(&EXISTS, "c"), call(&GET, "d")];
        let replies = [Ok(list("AB")), Ok(Value::Int(0)), Ok(Value::bytes("D"))];
        let cases = [
            ("rbac", "rc", list("RC"), "RBAC"),
            ("ra", "r", Value::bytes("R"), "RA"),
            ("rd", "r", Value::bytes("R"), "RD"),
            ("rc", "rc", list("RC"), "RC"),
            ("ba", "ba", list("BA"), "BA"),
        ];
        for (keys, left, reply, whole) in cases {
            let mut rides = call(&GET, keys);
            let spared = Spared::of(&own, &mut rides);
            assert_eq!(rides.keys.concat(), left, "{keys}");
            assert_eq!(spared.restore(Ok(reply), &replies).unwrap(), list(whole));
        }
        let mut rides = call(&GET, "ra");
        let spared = Spared::of(&own, &mut rides);
        let broken = [Err(StoreError::new(StoreErrorKind::Corrupt))];
        assert!(spared.restore(Ok(Value::bytes("R")), &broken).is_err());
        assert!(spared.restore(Ok(Value::bytes("R")), &[]).is_err());
        let gone = Err(StoreError::new(StoreErrorKind::Timeout));
        assert!(spared.restore(gone, &replies).is_err());
    }

    /// Asks for `r` and `a`, and keeps what it was told.
    #[derive(Default)]
    struct Noting(Mutex<Vec<Reply>>);

    impl Rider for Noting {
        fn call(&self) -> Option<Call> {
            Some(call(&GET, "ra"))
        }

        fn deliver(&self, reply: Reply) {
            self.0.lock().unwrap().push(reply);
        }
    }

    fn find(extensions: &Extensions, _: &Store) -> Option<Arc<dyn Rider>> {
        let noting = extensions.get::<Arc<Noting>>()?;
        Some(Arc::clone(noting) as _)
    }

    /// Fails if: nobody is taken along, a later word counts, or own replies and the rider's are mixed up.
    #[tokio::test]
    async fn who_is_found_travels_along() {
        let store = Store::memory();
        let mut extensions = Extensions::new();
        let noting = Arc::new(Noting::default());
        extensions.insert(Arc::clone(&noting));
        assert!(store.rider(&extensions).is_none(), "nobody said how");
        store.take_along(find);
        store.take_along(|_, _| None);
        assert!(store.rider(&Extensions::new()).is_none());
        let rider = store.rider(&extensions);
        assert!(rider.is_some());
        for calls in [
            vec![call(&GET, "ab"), call(&EXISTS, "c")],
            vec![call(&EXISTS, "c")],
        ] {
            let count = calls.len();
            let replies = store.trip_with(calls, rider.clone()).await.unwrap();
            assert_eq!(replies.len(), count);
            assert!(matches!(replies.last(), Some(Ok(Value::Int(0)))));
            let delivered = noting.0.lock().unwrap().pop().unwrap().unwrap();
            assert_eq!(delivered, Value::List(vec![Value::Nil, Value::Nil]));
        }
    }

    proptest! {
        /// Fails if: with any own calls, one of them perhaps an error, the rider is told what the server did not say.
        #[test]
        fn sparing_changes_no_answer(
            own in vec((any::<bool>(), "[a-f]{1,4}"), 0..4),
            keys in "[a-h]{1,5}",
            broken in option::of(0_usize..4),
        ) {
            let one = |key: &Key| if "aceg".contains(&**key) { Value::bytes(key.clone()) } else { Value::Nil };
            let answer = |call: &Call| match &call.keys[..] {
                _ if !call.operation.is_each() => Value::Int(1),
                [key] => one(key),
                keys => Value::List(keys.iter().map(one).collect()),
            };
            let own: Vec<_> = own.iter().map(|(is_get, keys)| call(if *is_get { &GET } else { &EXISTS }, keys)).collect();
            let whole = call(&GET, &keys);
            let mut rides = whole.clone();
            let spared = Spared::of(&own, &mut rides);
            prop_assert!(!rides.keys.is_empty());
            let reply = |(at, call)| match broken == Some(at) {
                true => Err(corrupt()),
                false => Ok(answer(call)),
            };
            let replies: Vec<_> = own.iter().enumerate().map(reply).collect();
            match spared.restore(Ok(answer(&rides)), &replies) {
                Ok(told) => prop_assert_eq!(told.into_each().into_vec(), answer(&whole).into_each().into_vec()),
                Err(_) => prop_assert!(broken.is_some()),
            }
        }
    }
}
