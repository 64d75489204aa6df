//! A store and the runtimes it is used from.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::{Context, Waker},
    thread,
    time::Duration,
};

use portcullis::{Store, cutoff::Cutoffs};
use tokio::runtime::{Builder, Runtime};

use super::works_within_a_second;
use crate::means::{redis::RedisServer, wait};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A store in a `static`, used by one test after the other: each has a runtime of its own.
///
/// Fails if: a connection whose runtime has ended is kept, or nobody tries to connect any more.
#[tokio::test]
async fn a_store_outlives_the_runtime_that_connected_it() {
    let server = RedisServer::start().await;
    let store = Store::connect_lazy(&server.url()).unwrap();
    for _ in 0..3 {
        let store = store.clone();
        let used = thread::spawn(move || runtime().block_on(works_within_a_second(&store)));
        wait::until_true("the other runtime", || used.is_finished()).await;
        used.join().unwrap();
    }
    works_within_a_second(&store).await;
}

/// A call that is polled while its runtime shuts down: the task that it starts is dropped on the spot.
///
/// Fails if: that task is started under the lock that its end takes.
#[tokio::test]
async fn a_call_in_a_runtime_that_shuts_down_does_not_hang() {
    let server = RedisServer::start().await;
    let store = Store::connect_lazy(&server.url()).unwrap();
    let (url, asked) = (store.clone(), store.clone());
    let caller = thread::spawn(move || {
        let ended = runtime();
        let handle = ended.handle().clone();
        ended.shutdown_background();
        let _inside = handle.enter();
        // Timers of an ended runtime panic, which is the runtime's affair.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let cutoffs = Cutoffs::new(&asked);
            let call = pin!(cutoffs.everyone());
            let _ = call.poll(&mut Context::from_waker(Waker::noop()));
        }));
    });
    wait::until_true("the call to return", || caller.is_finished()).await;
    works_within_a_second(&url).await;
}

/// Runs this in a runtime that lives on afterwards and that nobody drives.
async fn then_stand_still<F>(runtime: Runtime, act: impl FnOnce() -> F + Send + 'static) -> Runtime
where
    F: Future<Output = ()>,
{
    let driven = tokio::task::spawn_blocking(move || {
        runtime.block_on(act());
        runtime
    });
    driven.await.unwrap()
}

/// One poll of a call, which starts the task that connects, and no more.
async fn begin(store: Store) {
    let cutoffs = Cutoffs::new(&store);
    let mut call = pin!(cutoffs.everyone());
    std::future::poll_fn(|context| {
        let _ = call.as_mut().poll(context);
        std::task::Poll::Ready(())
    })
    .await;
}

/// The runtime of whoever asked first stands still, as between two `block_on`: while it connects, while it waits to try
/// again, and with a connection that nobody reads from. A caller in another runtime must not wait or fail for ever.
///
/// Fails if: a turn of connecting never ends; a stalled one is looked for only where no attempt has failed yet; a caller
/// with a long deadline looks once.
#[tokio::test]
async fn a_runtime_that_stands_still_keeps_no_other_from_the_server() {
    for stands_still in ["connecting", "trying again", "connected"] {
        let mut server = RedisServer::start().await;
        let store = Store::connect_lazy(&server.url()).unwrap();
        let (first, asked) = (runtime(), store.clone());
        if stands_still == "trying again" {
            server.kill();
        }
        let first = then_stand_still(first, move || async move {
            match stands_still {
                "connecting" => begin(asked).await,
                "trying again" => assert!(super::ask(&asked).await.is_err()),
                _ => works_within_a_second(&asked).await,
            }
        });
        let first = first.await;
        if stands_still == "trying again" {
            server.restart().await;
        }
        works_within_a_second(&store).await;
        // The task of before finds that its turn is over, and takes nothing away.
        let asked = store.clone();
        let first = then_stand_still(first, || async move { works_within_a_second(&asked).await });
        first.await.shutdown_background();
        works_within_a_second(&store).await;
    }
}

/// Fails if: a waiting caller does not look again before its deadline.
#[tokio::test]
async fn a_patient_caller_takes_over_from_a_runtime_that_stands_still() {
    let server = RedisServer::start().await;
    let patient = Store::builder().deadline(Duration::from_secs(4));
    let store = patient.connect_lazy(&server.url()).unwrap();
    let asked = store.clone();
    let first = then_stand_still(runtime(), || begin(asked)).await;
    // An attempt may take as long as the deadline, so one wait is never enough: another begins where it ends.
    let ask = async || Cutoffs::new(&store).everyone().await;
    let outcomes = [ask().await.is_ok(), ask().await.is_ok()];
    assert!(outcomes[1], "{outcomes:?}");
    first.shutdown_background();
}
