//! 64 users while Redis is flushed, killed, stopped.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use portcullis::Clock;
use tokio::task::JoinSet;

use super::{Node, Seat, mock::Mock};
use crate::means::redis::RedisServer;

const USERS: usize = 64;

#[derive(Default)]
struct Figures {
    ok: AtomicUsize,
    unknown: AtomicUsize,
    wrong_401: AtomicUsize,
    wrong_200: AtomicUsize,
    slowest_ms: AtomicUsize,
}

/// One user: stays signed in, or is signed out in the middle and must stay out.
async fn visit(
    nodes: [Arc<Node>; 2],
    seat: Seat,
    leave: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    figures: Arc<Figures>,
    number: usize,
) {
    let leaves = number.is_multiple_of(4);
    let mut left = false;
    let mut turn = number;
    while !stop.load(SeqCst) {
        if leaves && !left && leave.load(SeqCst) {
            // What is pending may be unknown to the other node until it is finished; tried again it is everywhere.
            let node = &nodes[turn % 2];
            left = matches!(
                node.active.revoke(&seat.sid).await,
                Ok(portcullis::registry::Revocation::Everywhere)
            );
        }
        let gone = left;
        turn += 1;
        let start = Instant::now();
        let status = nodes[turn % 2].status(&seat).await;
        let took = usize::try_from(start.elapsed().as_millis()).unwrap();
        figures.slowest_ms.fetch_max(took, SeqCst);
        match status {
            200 if gone => figures.wrong_200.fetch_add(1, SeqCst),
            200 => figures.ok.fetch_add(1, SeqCst),
            // One that is leaving may be out already.
            401 if leaves && leave.load(SeqCst) => 0,
            401 => figures.wrong_401.fetch_add(1, SeqCst),
            _ => figures.unknown.fetch_add(1, SeqCst),
        };
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!leaves || left, "it could leave in the end");
}

/// Fails if: an outage of Redis signs somebody out, lets somebody in who left, or makes a request hang.
#[tokio::test]
async fn no_outage_of_redis_signs_out_or_lets_in() {
    for what in ["FLUSHALL", "kill", "SIGSTOP"] {
        let mut server = RedisServer::start().await;
        let mock = Mock::new(&Clock::system());
        let nodes = [
            Arc::new(Node::connect(&server.url(), &mock).await),
            Arc::new(Node::connect(&server.url(), &mock).await),
        ];
        let [leave, stop] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let figures = Arc::new(Figures::default());
        let mut users = JoinSet::new();
        for number in 0..USERS {
            let seat = nodes[0].sign_in(&format!("user-{number}")).await;
            let flags = (Arc::clone(&leave), Arc::clone(&stop), Arc::clone(&figures));
            users.spawn(visit(
                nodes.clone(),
                seat,
                flags.0,
                flags.1,
                flags.2,
                number,
            ));
        }
        let pause = Duration::from_millis(400);
        tokio::time::sleep(pause).await;
        match what {
            "FLUSHALL" => drop(server.cli(&["FLUSHALL"]).await),
            "kill" => server.kill(),
            _ => server.stop(),
        }
        tokio::time::sleep(pause).await;
        leave.store(true, SeqCst);
        tokio::time::sleep(pause * 2).await;
        match what {
            "kill" => server.restart().await,
            "SIGSTOP" => server.cont(),
            _ => {}
        }
        tokio::time::sleep(pause * 4).await;
        stop.store(true, SeqCst);
        users.join_all().await;
        let read = |figure: &AtomicUsize| figure.load(SeqCst);
        println!(
            "{what}: {} × 200, {} × 503, {} wrong 401, {} wrong 200, slowest {} ms, {} reads",
            read(&figures.ok),
            read(&figures.unknown),
            read(&figures.wrong_401),
            read(&figures.wrong_200),
            read(&figures.slowest_ms),
            mock.finds(),
        );
        assert_eq!(read(&figures.wrong_401), 0, "{what}");
        assert_eq!(read(&figures.wrong_200), 0, "{what}");
        assert!(read(&figures.ok) > 0);
        assert!(read(&figures.slowest_ms) < 5_000, "{what}");
    }
}
