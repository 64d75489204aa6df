//! Commands of concurrent requests in one write.
//!
//! The driver writes as soon as it gets the processor, which on a runtime of several threads is after every single
//! command. So while others are under way callers hand their commands to a task of the connection. It lets everything
//! run that is ready in this tick of the scheduler, takes what has come together, gives it to the driver as pipelines,
//! and deals the replies out.
//!
//! - The commands of one caller stay together and in order; callers are served in the order of their arrival.
//! - Replies of one pipeline arrive together: its size is bounded, so that nobody waits long for the others' replies.
//! - A caller who has gone away before the write is left out. Later the reply is thrown away. Others never notice.
//! - What all of them ask about, the cutoff of everyone, is asked once in a pipeline.
//! - An error of the server is the reply to one command. An error of the connection reaches all who wait for it.
//! - What waits is bounded. Deadlines are the callers' own.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use redis::{ErrorKind, RedisError, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, oneshot},
    task::{AbortHandle, yield_now},
};

use super::{
    Few,
    flight::{Answer, Flight, Parcel},
    redis::{Command, Exchange, Failed},
};

/// With fewer others under way, a caller goes to the driver directly: there is next to nothing to gather.
const FEW: usize = 8;
/// How many callers may wait to be written. The driver holds what is being written; this is only what came meanwhile.
const MOST_WAITING: usize = 4096;
/// Pipelines under way at a time. Past that the network is full, and waiting makes the next pipeline larger.
const MOST_FLIGHTS: usize = 32;
/// A pipeline is closed when it has this many commands or bytes.
const ENOUGH_COMMANDS: usize = 32;
const ENOUGH_BYTES: usize = 64 * 1024;

/// One connection's callers.
pub(super) struct Gatherer {
    driver: MultiplexedConnection,
    active: AtomicUsize,
    desk: Arc<Desk>,
    task: AbortHandle,
}

/// Where commands are handed in.
struct Desk {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Default)]
struct Waiting {
    parcels: VecDeque<Parcel>,
    /// The task has ended, with its runtime.
    closed: bool,
}

/// A caller under way; counted until it is dropped.
struct Active<'a>(&'a AtomicUsize);

impl Gatherer {
    /// Has to be called inside of the runtime that drives the connection.
    pub(super) fn new(driver: MultiplexedConnection) -> Self {
        let desk = Arc::new(Desk {
            waiting: Mutex::default(),
            arrived: Notify::new(),
        });
        let task = tokio::spawn(serve(Closing(Arc::clone(&desk)), driver.clone()));
        Self {
            driver,
            active: AtomicUsize::new(0),
            desk,
            task: task.abort_handle(),
        }
    }

    async fn gathered(&self, commands: Few<Command>) -> Answer {
        let (answer, reply) = oneshot::channel();
        self.desk.hand_in(Parcel { commands, answer })?;
        reply.await.unwrap_or_else(|_| Err(gone().into()))
    }
}

impl Exchange for &Gatherer {
    async fn exchange(&mut self, commands: Few<Command>) -> Answer {
        let others = self.active.fetch_add(1, Ordering::Relaxed);
        let _active = Active(&self.active);
        if others < FEW {
            // The driver's trait boxes its futures, which are large: handlers and layers carry this one in theirs.
            return self.driver.clone().exchange(commands).await;
        }
        self.gathered(commands).await
    }
}

impl Drop for Gatherer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Desk {
    /// Nothing panics under the lock.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_in(&self, parcel: Parcel) -> Result<(), Failed> {
        let mut waiting = self.waiting();
        if waiting.closed {
            return Err(gone().into());
        }
        if waiting.parcels.len() >= MOST_WAITING {
            waiting.parcels.retain(Parcel::is_wanted);
            if waiting.parcels.len() >= MOST_WAITING {
                return Err(Failed::Crowded);
            }
        }
        waiting.parcels.push_back(parcel);
        let first = waiting.parcels.len() == 1;
        drop(waiting);
        if first {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// The next pipeline and its callers, or `None` if nobody waits.
    fn take(&self) -> Option<Vec<Parcel>> {
        let mut waiting = self.waiting();
        let (mut commands, mut bytes) = (0, 0);
        let mut taken = Vec::new();
        while commands < ENOUGH_COMMANDS && bytes < ENOUGH_BYTES {
            let Some(parcel) = waiting.parcels.pop_front() else {
                break;
            };
            if parcel.is_wanted() {
                commands += parcel.commands.len();
                bytes += parcel.bytes();
                taken.push(parcel);
            }
        }
        (!taken.is_empty()).then_some(taken)
    }
}

/// Tells callers when the task ends, also when it is dropped with its runtime.
struct Closing(Arc<Desk>);

impl Drop for Closing {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.closed = true;
        let left = std::mem::take(&mut waiting.parcels);
        drop(waiting);
        drop(left);
    }
}

/// Pipelines whose replies have not come yet.
#[derive(Default)]
struct Flights(VecDeque<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Flights {
    /// Lets those land that have their replies; ready when there is room for another.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0
            .retain_mut(|flight| flight.as_mut().poll(cx).is_pending());
        if self.0.len() < MOST_FLIGHTS {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

async fn serve(desk: Closing, driver: MultiplexedConnection) {
    let mut flights = Flights::default();
    loop {
        tokio::select! {
            biased;
            () = desk.0.arrived.notified() => {}
            () = poll_fn(|cx| {
                let _ = flights.poll_room(cx);
                Poll::Pending
            }) => {}
        }
        // Everything that is ready in this tick has run when this returns.
        yield_now().await;
        while let Some(parcels) = desk.0.take() {
            flights.0.push_back(Box::pin(fly(driver.clone(), parcels)));
            // The first poll of a flight hands it to the driver.
            poll_fn(|cx| flights.poll_room(cx)).await;
        }
    }
}

async fn fly(mut driver: MultiplexedConnection, parcels: Vec<Parcel>) {
    let flight = Flight::load(parcels);
    let outcome = driver
        .send_packed_commands(&flight.pipeline, 0, flight.count)
        .await;
    match outcome {
        // Fewer replies than commands would hand one caller another's answer.
        Ok(replies) if replies.len() != flight.count => {
            flight.fail(&super::redis::miscounted());
        }
        Ok(replies) => flight.deal(replies),
        Err(error) => flight.fail(&error),
    }
}

fn gone() -> RedisError {
    RedisError::from((ErrorKind::Io, "the connection is gone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk() -> Desk {
        Desk {
            waiting: Mutex::default(),
            arrived: Notify::new(),
        }
    }

    fn parcel(commands: usize, bytes: usize) -> (Parcel, oneshot::Receiver<Answer>) {
        let (answer, reply) = oneshot::channel();
        let mut command = redis::cmd("SET");
        command.arg(vec![b'x'; bytes]);
        let commands = (0..commands).map(|_| Command::Own(command.clone()));
        let commands = commands.collect();
        (Parcel { commands, answer }, reply)
    }

    fn hand_in(desk: &Desk, commands: usize, bytes: usize) -> oneshot::Receiver<Answer> {
        let (parcel, reply) = parcel(commands, bytes);
        assert!(desk.hand_in(parcel).is_ok());
        reply
    }

    #[test]
    fn pipelines_are_bounded_and_in_the_order_of_arrival() {
        let desk = desk();
        let sizes = [1, 20, 15, 2, 1, 1];
        let replies: Vec<_> = sizes.iter().map(|size| hand_in(&desk, *size, 1)).collect();
        let taken = || -> Option<Vec<usize>> {
            let parcels = desk.take()?;
            Some(parcels.iter().map(|parcel| parcel.commands.len()).collect())
        };
        // A caller's own are never torn apart.
        assert_eq!(taken(), Some(vec![1, 20, 15]));
        assert_eq!(taken(), Some(vec![2, 1, 1]));
        assert_eq!(taken(), None);
        drop(replies);
        let large: Vec<_> = (0..3)
            .map(|_| hand_in(&desk, 1, ENOUGH_BYTES / 2))
            .collect();
        assert_eq!(taken(), Some(vec![1, 1]));
        assert_eq!(taken(), Some(vec![1]));
        drop(large);
    }

    #[test]
    fn who_has_gone_is_left_out() {
        let desk = desk();
        let (stays, goes) = (hand_in(&desk, 1, 1), hand_in(&desk, 2, 1));
        drop(goes);
        assert_eq!(desk.take().map(|parcels| parcels.len()), Some(1));
        drop(hand_in(&desk, 1, 1));
        assert!(desk.take().is_none());
        drop(stays);
    }

    #[test]
    fn a_full_desk_refuses_until_somebody_goes() {
        let desk = desk();
        let mut replies: Vec<_> = (0..MOST_WAITING).map(|_| hand_in(&desk, 1, 1)).collect();
        let (parcel, _reply) = parcel(1, 1);
        assert!(matches!(desk.hand_in(parcel), Err(Failed::Crowded)));
        replies.pop();
        let _reply = hand_in(&desk, 1, 1);
    }

    #[test]
    fn the_end_of_the_task_tells_who_waits_and_who_comes() {
        let desk = Arc::new(desk());
        let mut waits = hand_in(&desk, 1, 1);
        drop(Closing(Arc::clone(&desk)));
        assert!(matches!(
            waits.try_recv(),
            Err(oneshot::error::TryRecvError::Closed)
        ));
        assert!(matches!(
            desk.hand_in(parcel(1, 1).0),
            Err(Failed::Broken(_))
        ));
    }
}
