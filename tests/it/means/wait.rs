//! Waiting for another process or task: a condition, a short interval, a deadline that fails the test.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// How long anything in these tests may take before the test is called failed. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

const INTERVAL: Duration = Duration::from_millis(4);

/// Asks until the answer is `Some`; panics with `what` after [`PATIENCE`].
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain for {what}"
        );
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Asks until the answer is true; panics with `what` after [`PATIENCE`].
pub async fn until_true(what: &str, mut ask: impl FnMut() -> bool) {
    until(what, || std::future::ready(ask().then_some(()))).await;
}

/// The future's output, or a failed test after [`PATIENCE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let bounded = tokio::time::timeout(PATIENCE, future);
    bounded
        .await
        .unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain for {what}"))
}
