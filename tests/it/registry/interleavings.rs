//! A reader stopped at every point between its question and its write, while a revocation runs from beginning to end.

use std::sync::Arc;

use super::{
    Bench, Seat, benches,
    mock::{Point, Stop},
};
use crate::{
    means::wait,
    session::bench::{Held, hold},
};

#[derive(Clone, Copy, Debug)]
enum At {
    Operation(&'static str),
    Database(Point),
}

const POINTS: [At; 5] = [
    At::Operation("registry.marked"),
    At::Operation("registry.read"),
    At::Database(Point::BeforeFind),
    At::Database(Point::AfterFind),
    At::Operation("registry.fill"),
];

/// What else goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Nothing,
    GenerationBefore,
    GenerationAfter,
    AllBefore,
    AllAfter,
    /// The store hears of the revocation twice, and another reader comes in between.
    Twice,
}

const LOSSES: [Loss; 6] = [
    Loss::Nothing,
    Loss::GenerationBefore,
    Loss::GenerationAfter,
    Loss::AllBefore,
    Loss::AllAfter,
    Loss::Twice,
];

enum Stopped {
    Operation(Held),
    Database(Arc<Stop>),
}

impl Stopped {
    fn at(bench: &Bench, at: At) -> Self {
        match at {
            At::Operation(name) => Self::Operation(hold(&bench.one.store, name)),
            At::Database(point) => Self::Database(bench.mock.stop_at(point)),
        }
    }

    async fn reached(&self) {
        match self {
            Self::Operation(held) => held.reached().await,
            Self::Database(stop) => stop.reached().await,
        }
    }

    fn resume(&self) {
        match self {
            Self::Operation(held) => held.resume(),
            Self::Database(stop) => stop.resume(),
        }
    }
}

impl Bench {
    async fn lose(&self, loss: Loss) {
        let Some(server) = &self.server else { return };
        if matches!(loss, Loss::AllBefore | Loss::AllAfter) {
            server.cli(&["FLUSHALL"]).await;
            return;
        }
        for key in server.keys("*generation*").await {
            server.cli(&["DEL", &key]).await;
        }
    }

    async fn assert_gone(&self, seat: &Seat, when: &str) {
        for _ in 0..3 {
            for node in [&self.one, &self.two] {
                assert_eq!(node.status(seat).await, 401, "{} {when}", self.name);
            }
        }
    }
}

/// R109: whatever a reader was doing, nobody who comes after the revocation is let in, and nothing that the reader writes
/// changes that.
///
/// Fails if: the write is not guarded, the lease is not deleted, somebody joins a question that was asked before they came,
/// or the store is told before the database.
#[tokio::test]
async fn r109_a_reader_under_way_never_brings_back_what_was_revoked() {
    for bench in benches().await {
        let mut late = 0;
        for at in POINTS {
            for loss in LOSSES {
                let seat = bench.two.sign_in("alice").await;
                let stopped = Stopped::at(&bench, at);
                let (node, asking) = (Arc::clone(&bench.one), seat.clone());
                let reader = tokio::spawn(async move { node.status(&asking).await });
                stopped.reached().await;
                if matches!(loss, Loss::GenerationBefore | Loss::AllBefore) {
                    bench.lose(loss).await;
                }
                bench.two.revoke(&seat).await;
                if matches!(loss, Loss::GenerationAfter | Loss::AllAfter) {
                    bench.lose(loss).await;
                }
                let when = format!("{at:?} {loss:?}");
                bench
                    .assert_gone(&seat, &format!("{when}, the reader still under way"))
                    .await;
                if loss == Loss::Twice {
                    bench.two.revoke(&seat).await;
                    bench.assert_gone(&seat, &when).await;
                }
                stopped.resume();
                let answer = wait::within("the reader", reader).await.unwrap();
                assert!(matches!(answer, 200 | 401), "{when}: {answer}");
                late += usize::from(answer == 200);
                bench
                    .assert_gone(&seat, &format!("{when}, afterwards"))
                    .await;
                // Also by the word of the store alone.
                if let Some(server) = &bench.server {
                    for key in server.keys("*jwt:blacklist*").await {
                        server.cli(&["DEL", &key]).await;
                    }
                    bench
                        .assert_gone(&seat, &format!("{when}, without the list"))
                        .await;
                }
                bench.one.store.pause_before(|_| std::future::ready(()));
            }
        }
        println!(
            "{}: {late} readers that came before were answered with 200",
            bench.name
        );
    }
}

/// The same without leases: two questions at once while the store is away for one node. Who comes after the revocation does
/// not get the answer of who came before.
#[tokio::test]
async fn r109_who_asks_the_database_directly_is_not_given_an_older_answer() {
    for bench in benches().await {
        let seat = bench.two.sign_in("alice").await;
        let Some(server) = &bench.server else {
            continue;
        };
        let proxy = crate::means::proxy::Proxy::start(server.port());
        let apart = Arc::new(super::Node::connect(&proxy.url(), &bench.mock).await);
        proxy.refuse(true);
        proxy.reset_all().await;
        let stop = bench.mock.stop_at(Point::AfterFind);
        let (node, asking) = (Arc::clone(&apart), seat.clone());
        let before = tokio::spawn(async move { node.status(&asking).await });
        stop.reached().await;
        bench.two.revoke(&seat).await;
        let (node, asking) = (Arc::clone(&apart), seat.clone());
        let after = tokio::spawn(async move { node.status(&asking).await });
        // It waits for the one before to end, and then asks by itself.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        stop.resume();
        assert_eq!(wait::within("the answer", before).await.unwrap(), 200);
        assert_eq!(wait::within("the answer", after).await.unwrap(), 401);
    }
}
