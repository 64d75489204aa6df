//! One question to the database for many who want to know the same, on this node.
//!
//! - A question runs in a task of its own: whoever began it may go away, and nobody who waits is stranded.
//! - Nobody gets an answer that was read before they asked: a question under a lease is joined only by who saw that very
//!   lease in the store, and a question without a lease only before it has begun. Otherwise a revocation that was complete
//!   before a request came could be missed by it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{error::ActiveError, standing::Standing};

/// What became of a question: a standing, and for how many milliseconds it may be remembered.
pub(super) type Answer = Result<(Standing, u64), ActiveError>;

#[derive(Clone)]
pub(super) struct Awaited(watch::Receiver<Option<Answer>>);

impl Awaited {
    /// `None` if the task is no more.
    pub(super) async fn answer(mut self) -> Option<Answer> {
        let answer = self.0.wait_for(Option::is_some).await.ok()?;
        answer.clone()
    }
}

/// Under leases, by what the lease holds; without, by `sid`.
#[derive(Default)]
pub(super) struct Flights {
    leased: Arc<Lanes<Flight>>,
    direct: Arc<Lanes<Flight>>,
}

struct Lanes<T>(Mutex<HashMap<String, T>>);

struct Flight {
    number: u64,
    begun: bool,
    awaited: Awaited,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Lanes<T> {
    /// Nothing panics under the lock.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a flight off its lane when its task ends, however it ends.
struct Landing {
    lanes: Arc<Lanes<Flight>>,
    name: String,
    number: u64,
}

impl Landing {
    /// From here on nobody joins.
    fn begin(&self) {
        if let Some(flight) = self.lanes.lock().get_mut(&self.name)
            && flight.number == self.number
        {
            flight.begun = true;
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut lanes = self.lanes.lock();
        if lanes
            .get(&self.name)
            .is_some_and(|flight| flight.number == self.number)
        {
            lanes.remove(&self.name);
        }
    }
}

/// Called when the database is about to be asked.
pub(super) type Begin = Box<dyn FnOnce() + Send>;

impl Flights {
    /// Asks under a lease that this node has been given.
    pub(super) fn lead(
        &self,
        lease: &str,
        question: impl Future<Output = Answer> + Send + 'static,
    ) -> Awaited {
        let (tell, awaited) = watch::channel(None);
        let awaited = Awaited(awaited);
        let flight = Flight {
            number: 0,
            begun: true,
            awaited: awaited.clone(),
        };
        self.leased.lock().insert(lease.to_owned(), flight);
        let landing = Landing {
            lanes: Arc::clone(&self.leased),
            name: lease.to_owned(),
            number: 0,
        };
        tokio::spawn(async move {
            let _landing = landing;
            tell.send_replace(Some(question.await));
        });
        awaited
    }

    /// The question under this lease, if this node asks it.
    pub(super) fn under(&self, lease: &str) -> Option<Awaited> {
        let lanes = self.leased.lock();
        lanes.get(lease).map(|flight| flight.awaited.clone())
    }

    /// Joins a question without a lease that has not begun yet, or makes one that begins when the one before has ended.
    pub(super) fn direct<F: Future<Output = Answer> + Send + 'static>(
        &self,
        sid: &str,
        question: impl FnOnce(Begin) -> F,
    ) -> Awaited {
        let mut lanes = self.direct.lock();
        let before = match lanes.get(sid) {
            Some(flight) if !flight.begun => return flight.awaited.clone(),
            Some(flight) => Some((flight.number, flight.awaited.clone())),
            None => None,
        };
        let number = before.as_ref().map_or(0, |(number, _)| number + 1);
        let (tell, awaited) = watch::channel(None);
        let awaited = Awaited(awaited);
        let flight = Flight {
            number,
            begun: false,
            awaited: awaited.clone(),
        };
        lanes.insert(sid.to_owned(), flight);
        drop(lanes);
        let landing = Arc::new(Landing {
            lanes: Arc::clone(&self.direct),
            name: sid.to_owned(),
            number,
        });
        let begins = Arc::clone(&landing);
        let question = question(Box::new(move || begins.begin()));
        tokio::spawn(async move {
            let _landing = landing;
            if let Some((_, before)) = before {
                before.answer().await;
            }
            tell.send_replace(Some(question.await));
        });
        awaited
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use tokio::sync::Semaphore;

    use super::*;

    /// Fails if: somebody joins a question that was asked before they came, or every one asks by itself.
    #[tokio::test]
    async fn a_question_without_a_lease_is_joined_only_before_it_begins() {
        let (flights, asked) = (Flights::default(), Arc::new(AtomicU64::new(0)));
        let (go, begun) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let ask = || {
            let (asked, go, open) = (Arc::clone(&asked), Arc::clone(&go), Arc::clone(&begun));
            flights.direct("sid", move |begin| async move {
                begin();
                let number = asked.fetch_add(1, SeqCst);
                open.add_permits(1);
                go.acquire().await.unwrap().forget();
                Ok((Standing::Gone, number))
            })
        };
        let first: Vec<_> = (0..5).map(|_| ask()).collect();
        begun.acquire().await.unwrap().forget();
        let second: Vec<_> = (0..5).map(|_| ask()).collect();
        go.add_permits(2);
        for (awaited, number) in first
            .into_iter()
            .map(|a| (a, 0))
            .chain(second.into_iter().map(|a| (a, 1)))
        {
            assert_eq!(awaited.answer().await.unwrap().unwrap().1, number);
        }
        assert_eq!(asked.load(SeqCst), 2);
        while !flights.direct.lock().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    /// Fails if: whoever waits for a task that is no more waits for ever.
    #[tokio::test]
    async fn nobody_is_stranded() {
        let flights = Flights::default();
        let awaited = flights.lead("lease", async {
            panic!("the driver of a database panicked")
        });
        assert!(awaited.answer().await.is_none());
        assert!(flights.under("lease").is_none());
    }
}
