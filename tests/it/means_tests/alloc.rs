use std::hint::black_box;

use crate::means::alloc::{count, count_polls};

#[test]
fn exactly_the_allocations_of_this_thread_are_counted() {
    let (none, _) = count(|| black_box([0_u8; 64]));
    let (one, _) = count(|| black_box(Box::new(1)));
    let (grown, _) = count(|| {
        let mut list = black_box(Vec::with_capacity(1));
        list.extend([1, 2]);
        list
    });
    assert_eq!((none, one, grown), (0, 1, 2));
    let busy =
        std::thread::spawn(|| drop((0..10_000).map(|n| black_box(vec![n])).collect::<Vec<_>>()));
    let (beside, ()) = count(|| while !busy.is_finished() {});
    assert_eq!(beside, 0);
}

#[tokio::test]
async fn of_a_future_only_its_own_polls_are_counted() {
    let noisy = tokio::spawn(async {
        loop {
            black_box(vec![1]);
            tokio::task::yield_now().await;
        }
    });
    // Taking turns with the noisy task on the same thread.
    let (own, ()) = count_polls(async {
        let kept = black_box(Box::new(1));
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        drop(kept);
    })
    .await;
    let (nothing, ()) = count_polls(async {}).await;
    noisy.abort();
    assert!(
        (1..=2).contains(&own),
        "{own}: the box, and what yielding may need once"
    );
    assert_eq!(nothing, 0);
}
