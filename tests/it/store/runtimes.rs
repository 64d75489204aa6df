//! A store and the runtimes it is used from.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::{Context, Waker},
    thread,
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
