//! The shared handle from outside: outages, answers that are no, addresses, the self-check, the in-memory store.

mod addresses;
mod aging;
mod check;
mod external;
mod gather;
mod hostile;
mod memory;
mod outages;
mod refusals;
mod runtimes;

use std::{error::Error, time::Duration};

use portcullis::{Store, StoreError, StoreErrorKind, cutoff::Cutoffs};
use tokio::time::Instant;

use crate::means::wait;

/// What every call is bounded by unless the builder is told otherwise.
const DEADLINE: Duration = Duration::from_millis(250);
/// For the machine, which is busy with other tests. The bound is the contract; this is not measured.
const SLACK: Duration = Duration::from_secs(1);

/// The future's output; fails the test if a caller had to wait longer than the contract allows.
async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let output = wait::within(what, future).await;
    let taken = start.elapsed();
    assert!(taken <= DEADLINE + SLACK, "{what} took {taken:?}");
    output
}

/// One question to the store, in time.
async fn ask(store: &Store) -> Result<u64, StoreErrorKind> {
    let asked = Cutoffs::new(store);
    let answer = in_time("a call", asked.user("", "nobody in particular")).await;
    answer.map_err(|error| error.kind())
}

/// Asks until it works; fails the test if that takes longer than the contract allows.
async fn works_within_a_second(store: &Store) {
    let start = Instant::now();
    wait::until("the store to answer", async || ask(store).await.ok()).await;
    let taken = start.elapsed();
    assert!(
        taken <= Duration::from_secs(1) + SLACK,
        "recovery took {taken:?}"
    );
}

/// Everything an error says, to its last cause.
fn all_of(error: &StoreError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(" {cause} {cause:?}"));
        source = cause.source();
    }
    text
}
