//! What it costs.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    http::{Request, header},
    routing::{get, post},
};
use portcullis::{
    Clock, Store,
    registry::ActiveSessionLayer,
    session::{Login, Session, SessionLayer, User},
};

use super::{Node, mock::Mock, near};
use crate::{
    blacklist::verify,
    means::{proxy::Proxy, redis::RedisServer, wait},
    session::bench::{App, keys},
};

/// Guarantee 10: fails if a check asks the store twice, or at all where a replica is fresh.
#[tokio::test]
async fn a_check_is_one_trip_and_none_with_a_replica() {
    let server = RedisServer::start().await;
    let mock = Mock::new(&Clock::system());
    let proxy = Proxy::start(server.port());
    let node = Node::connect(&proxy.url(), &mock).await;
    let (turns, seat) = proxy.turns_of(node.sign_in("alice")).await;
    println!("login: {turns} turn");
    assert!(turns <= 1);
    let (cold, status) = proxy.turns_of(node.status(&seat)).await;
    assert_eq!((cold, status), (2, 200), "the question, and the refill");
    for _ in 0..5 {
        let (turns, status) = proxy.turns_of(node.status(&seat)).await;
        assert_eq!((turns, status), (1, 200));
    }
    assert_eq!(mock.finds(), 1);
    let (turns, _) = proxy.turns_of(node.revoke(&seat)).await;
    assert_eq!(turns, 1, "logout");
    let (turns, status) = proxy.turns_of(node.status(&seat)).await;
    // The lease that it was given goes back, and nobody waits for that.
    assert!(
        (1..=2).contains(&turns) && status == 401,
        "{turns} {status}"
    );

    let proxy = Proxy::start(server.port());
    let store = Store::connect(&proxy.url()).await.unwrap();
    let replica = near(&store).await;
    let fresh = Node::new(&store, &mock, &Clock::system());
    assert!(fresh.active.ready().await);
    let seat = fresh.sign_in("alice").await;
    wait::until_true("a fresh replica", || replica.is_fresh()).await;
    assert_eq!(fresh.status(&seat).await, 200);
    let commands = |proxy: &Proxy| {
        let mut counts = proxy.counts();
        for own in ["TIME", "PTTL", "SCAN", "CLIENT"] {
            counts.remove(own);
        }
        counts.into_values().sum::<usize>()
    };
    proxy.reset_counts();
    let mut answered = 0;
    for _ in 0..100 {
        wait::until_true("a fresh replica", || replica.is_fresh()).await;
        assert_eq!(fresh.status(&seat).await, 200);
        answered += 1;
    }
    let asked = commands(&proxy);
    println!("with a replica: {answered} requests, {asked} commands");
    assert!(
        asked <= 8,
        "{asked}: at most where the replica was stale for a moment"
    );

    // The other node ends it: refused here within the bound of the replica.
    node.revoke(&seat).await;
    let gone = || async { (fresh.status(&seat).await == 401).then_some(()) };
    let end = tokio::time::timeout(Duration::from_secs(5), wait::until("the end", gone));
    end.await.unwrap();
}

/// R113: fails if what this node remembers outlives a flush or a lost connection, during which something may have ended
/// unheard.
#[tokio::test]
async fn r113_what_a_node_remembers_as_active_does_not_outlive_its_connection() {
    let server = RedisServer::start().await;
    let mock = Mock::new(&Clock::system());
    for what in ["flush", "disconnect"] {
        let proxy = Proxy::start(server.port());
        let store = Store::connect(&proxy.url()).await.unwrap();
        let replica = near(&store).await;
        let node = Node::with(&store, &mock, &Clock::system(), |builder| {
            builder.sync_every(Duration::from_secs(3600))
        });
        assert!(node.active.ready().await);
        let seat = node.sign_in("alice").await;
        wait::until_true("a fresh replica", || replica.is_fresh()).await;
        assert_eq!(node.status(&seat).await, 200);
        // By hand, so that nobody is told.
        mock.end_by_hand(&seat.sid);
        wait::until_true("a fresh replica", || replica.is_fresh()).await;
        assert_eq!(node.status(&seat).await, 200, "remembered: the cache works");
        let connections = replica.status().connections;
        if what == "flush" {
            server.cli(&["FLUSHALL"]).await;
        } else {
            // The connection of the replica alone.
            let list: String = server.ask(&["CLIENT", "LIST"]).await;
            for line in list.lines().filter(|line| line.contains("portcullis-near")) {
                let id = line.split(' ').next().unwrap().trim_start_matches("id=");
                server.cli(&["CLIENT", "KILL", "ID", id]).await;
            }
            let made = || replica.status().connections > connections;
            wait::until_true("a new connection", made).await;
            // What Redis has cached would hide what the node remembers.
            for key in server.keys("*active:{*}").await {
                server.cli(&["DEL", &key]).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        wait::until_true("a fresh replica", || replica.is_fresh()).await;
        assert_eq!(node.status(&seat).await, 401, "{what}");
    }
}

/// Guarantee 10: fails if the load of a session that the handler asks for is a trip of its own behind this layer, or is taken
/// along where nothing has to be asked.
#[tokio::test]
async fn a_sessions_load_rides_along() {
    let server = RedisServer::start().await;
    let mock = Mock::new(&Clock::system());
    let proxy = Proxy::start(server.port());
    let node = Node::connect(&proxy.url(), &mock).await;
    let seat = node.sign_in("alice").await;
    let router = Router::new()
        .route(
            "/login",
            post(async |session: Session| {
                session
                    .login(Login::new("alice"))
                    .await
                    .unwrap()
                    .sid()
                    .to_owned()
            }),
        )
        .route("/me", get(async |user: User| user.id().to_owned()))
        .layer(ActiveSessionLayer::new(&node.active))
        .layer(verify(&node.clock))
        .layer(SessionLayer::new(&node.store, &keys()));
    let app = App::of(router);
    let login = Request::post("/login").body(Body::empty()).unwrap();
    let cookie = app.call(login).await.set_cookies()[0].clone();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let visit = async || {
        let request = Request::get("/me")
            .header(header::COOKIE, &cookie)
            .header(header::AUTHORIZATION, format!("Bearer {}", seat.token));
        let call = app.call(request.body(Body::empty()).unwrap());
        let (turns, answer) = proxy.turns_of(call).await;
        (turns, answer.status.as_u16(), answer.text)
    };
    let good = |turns| (turns, 200, "alice".to_owned());
    assert_eq!(visit().await, good(2), "cold: the question, and the refill");
    for _ in 0..5 {
        assert_eq!(visit().await, good(1));
    }
}
