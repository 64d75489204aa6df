//! The near replica over real servers: two nodes in one process, each with its own store, connections and replica.

mod chaos;
mod scale;
mod sessions;
mod watcher;

use std::time::{Duration, Instant};

use axum::{
    Router,
    body::Body,
    http::{Request, Response, header},
    routing::{get, post},
};
use portcullis::{
    Clock, Store,
    blacklist::{Blacklist, BlacklistLayer, Outage},
    cutoff::Cutoffs,
    jwt::{Grant, VerifiedToken},
    near::{Near, NearState},
    session::{Login, Session, SessionLayer},
};

use crate::{
    blacklist::{app, get_with, grant, issuer, status, verified, verify},
    means::{
        alloc,
        proxy::{Proxy, named},
        redis::RedisServer,
        wait,
    },
    session::bench::{App, Browser, keys},
};

/// A store with a replica that has been loaded.
struct Node {
    store: Store,
    near: Near,
}

const STALENESS: Duration = Duration::from_millis(200);

impl Node {
    async fn start(url: &str) -> Self {
        Self::with(url, STALENESS).await
    }

    async fn with(url: &str, max_staleness: Duration) -> Self {
        let store = Store::connect(url).await.unwrap();
        let near = store.near().max_staleness(max_staleness).start().unwrap();
        assert!(wait::within("the replica", near.ready()).await);
        Self { store, near }
    }

    fn app(&self) -> App {
        app(BlacklistLayer::builder(&self.store), &Clock::system())
    }

    async fn fresh(&self) {
        wait::until_true("a fresh replica", || self.near.is_fresh()).await;
    }

    /// Waits until everything that was acknowledged before now has arrived.
    async fn caught_up(&self) {
        let start = Instant::now();
        let proved = || {
            let age = self.near.status().age;
            self.near.is_fresh() && age.is_some_and(|age| age < start.elapsed())
        };
        wait::until_true("a proof", proved).await;
        let settled = || self.near.status().provisional == 0;
        wait::until_true("expiries to be fetched", settled).await;
    }
}

fn mint() -> (String, String) {
    let token = issuer(&Clock::system()).mint(&grant()).unwrap();
    (token.token().to_owned(), token.jti().to_owned())
}

async fn revoke(store: &Store, token: &str) -> Result<(), portcullis::blacklist::RevokeError> {
    let token: VerifiedToken = verified(&Clock::system(), token).await;
    Blacklist::new(store).revoke(&token).await
}

/// The commands that were not about keeping the replica.
fn asked(proxy: &Proxy) -> Vec<String> {
    let mut counts = proxy.counts();
    for own in ["TIME", "PTTL", "SCAN", "CLIENT"] {
        counts.remove(own);
    }
    counts.into_keys().collect()
}

/// Guarantee 10: with a fresh replica a revoked token is refused and another passes, both without a command.
///
/// Fails if: the gate asks the store, pushes are not applied, or the id of the push is not the one looked up.
#[tokio::test]
async fn a_revocation_on_one_node_is_refused_on_the_other_at_no_cost() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let a = Node::start(&server.url()).await;
    let b = Node::start(&proxy.url()).await;
    let app = b.app();
    let (revoked, jti) = mint();
    let (other, _) = mint();
    assert_eq!(status(&app, &revoked).await, 200);
    revoke(&a.store, &revoked).await.unwrap();
    b.caught_up().await;
    proxy.reset_counts();
    assert_eq!(status(&app, &revoked).await, 401);
    assert_eq!(status(&app, &other).await, 200);
    // A jti that equals a revoked sid is none.
    Blacklist::new(&a.store)
        .revoke_session("device-1")
        .await
        .unwrap();
    b.caught_up().await;
    assert_eq!(status(&app, &other).await, 401, "by its sid");
    assert_eq!(asked(&proxy), Vec::<String>::new());
    assert_eq!(b.near.status().entries, 2);
    assert_eq!(b.near.status().fallbacks, 0);
    let left: i64 = server.ask(&["PTTL", &format!("jwt:blacklist:{jti}")]).await;
    assert!(left > 0);
    // A strict layer beside it asks, but not about what is known here.
    let strict =
        crate::blacklist::app(BlacklistLayer::builder(&b.store).strict(), &Clock::system());
    let elsewhere = issuer(&Clock::system())
        .mint(&Grant::user("bob").sid("device-2"))
        .unwrap();
    assert_eq!(status(&strict, &revoked).await, 401);
    assert_eq!(asked(&proxy), Vec::<String>::new());
    assert_eq!(status(&strict, elsewhere.token()).await, 200);
    assert!(!asked(&proxy).is_empty());
}

/// Fails if: the prefixes that are tracked are not those of other writers, or a repeated push is not fetched again.
#[tokio::test]
async fn what_others_write_arrives_by_push_and_is_never_taken_back() {
    let server = RedisServer::start().await;
    let b = Node::start(&server.url()).await;
    let app = b.app();
    let commands: [&[&str]; 3] = [
        &["SETEX", "", "60", "revoked"],
        &["HSET", "", "a", "b"],
        &["SET", "", "x"],
    ];
    for command in commands {
        let (token, jti) = mint();
        assert_eq!(status(&app, &token).await, 200);
        let key = format!("jwt:blacklist:{jti}");
        let mut command = command.to_vec();
        command[1] = &key;
        server.cli(&command).await;
        b.caught_up().await;
        assert_eq!(status(&app, &token).await, 401, "{command:?}");
        server.cli(&["DEL", &key]).await;
        b.caught_up().await;
        assert_eq!(status(&app, &token).await, 401, "there is no un-revoke");
    }
    // Another database: the push does not say which, there is nothing to fetch, and it is not written back.
    let (token, jti) = mint();
    let client = redis::Client::open(format!("{}/1", server.plain_url())).unwrap();
    let mut other = client.get_multiplexed_async_connection().await.unwrap();
    let set = redis::cmd("SETEX")
        .arg(format!("jwt:blacklist:{jti}"))
        .arg(60)
        .arg("x")
        .to_owned();
    set.query_async::<()>(&mut other).await.unwrap();
    wait::until_true("the push", || b.near.status().provisional == 1).await;
    assert_eq!(status(&app, &token).await, 401, "provisionally");
    server.cli(&["FLUSHDB"]).await;
    wait::until_true("healing", || b.near.status().healed >= 3).await;
    b.fresh().await;
    let own = server.keys("*").await;
    assert_eq!(
        own.len(),
        3,
        "provisional entries are not written back: {own:?}"
    );
}

/// Fails if: a cutoff is not tracked, its value not fetched, or a session's load does not look at the replica.
#[tokio::test]
async fn cutoffs_reach_tokens_and_sessions_on_the_other_node() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let a = Node::start(&server.url()).await;
    let b = Node::start(&proxy.url()).await;
    let clock = Clock::system();
    let tokens = b.app();
    let sessions = |store: &Store| {
        let router = Router::new()
            .route(
                "/login",
                post(async |s: Session| {
                    let user = s.login(Login::new("alice").tenant("acme")).await.unwrap();
                    user.auth_ms().to_string()
                }),
            )
            .route(
                "/me",
                get(async |user: portcullis::session::User| user.id().to_owned()),
            )
            .layer(SessionLayer::new(store, &keys()));
        App::of(router)
    };
    let (app_a, app_b) = (sessions(&a.store), sessions(&b.store));
    let cutoffs = Cutoffs::new(&a.store);
    for scope in ["user", "tenant", "everyone"] {
        let browser = Browser::new(&app_a);
        let auth_ms = browser.post("/login").await.text.parse().unwrap();
        let grant = Grant::user("alice")
            .tenant("acme")
            .sid("d")
            .auth_ms(auth_ms);
        let token = issuer(&clock).mint(&grant).unwrap();
        let browser = browser.copy_at(&app_b);
        b.caught_up().await;
        // The first load is due to record the use; those after it read.
        assert_eq!(browser.get("/me").await.text, "alice", "{scope}");
        proxy.reset_counts();
        assert_eq!(browser.get("/me").await.text, "alice", "{scope}");
        let read = proxy.commands().into_iter().filter(|c| c[0] == b"GET");
        assert_eq!(read.count(), 1, "the record alone: {scope}");
        assert_eq!(status(&tokens, token.token()).await, 200);
        match scope {
            "user" => cutoffs.user("acme", "alice").await,
            "tenant" => cutoffs.tenant("acme").await,
            _ => cutoffs.everyone().await,
        }
        .unwrap();
        b.caught_up().await;
        proxy.reset_counts();
        assert_eq!(status(&tokens, token.token()).await, 401, "{scope}");
        assert_eq!(asked(&proxy), Vec::<String>::new());
        assert_eq!(browser.get("/me").await.status, 401, "{scope}");
        // On the node itself at once.
        assert_eq!(
            browser.copy_at(&app_a).get("/me").await.status,
            401,
            "{scope}"
        );
    }
    assert_eq!(b.near.status().cutoffs, 3);
}

/// Fails if: freshness does not age, a late heartbeat counts from its answer, or stale passes.
#[tokio::test]
async fn a_stopped_server_is_known_within_the_bound_and_the_policy_decides() {
    let server = RedisServer::start().await;
    let b = Node::start(&server.url()).await;
    let app = b.app();
    let life = Duration::from_secs(30);
    let stale = crate::blacklist::app(
        BlacklistLayer::builder(&b.store).outage(Outage::Stale(life)),
        &Clock::system(),
    );
    let (revoked, _) = mint();
    let (token, _) = mint();
    revoke(&b.store, &revoked).await.unwrap();
    assert_eq!(status(&app, &token).await, 200);
    server.stop();
    let stopped = Instant::now();
    // The contract itself: nothing is proved after the stop, whatever was proved last.
    wait::until_true("the node to notice", || !b.near.is_fresh()).await;
    let noticed = stopped.elapsed();
    assert!(noticed <= STALENESS + STALENESS / 2, "{noticed:?}");
    assert_eq!(status(&app, &revoked).await, 401, "known, even when stale");
    assert_eq!(status(&app, &token).await, 503, "closed");
    assert_eq!(status(&stale, &token).await, 200, "clear a moment ago");
    assert_eq!(status(&stale, &revoked).await, 401);
    assert_eq!(b.near.status().state, NearState::Stale);
    server.cont();
    b.fresh().await;
    assert_eq!(status(&app, &token).await, 200);
    println!("a stopped server is known after {noticed:?}, max_staleness {STALENESS:?}");
}

/// Guarantee 6: what one living node has seen survives the loss of the server's memory.
///
/// Fails if: entries are dropped on a disconnect or flush, nothing is written back, or a cutoff is written back with SET.
#[tokio::test]
async fn an_emptied_server_is_told_again_by_the_nodes_that_live() {
    let mut server = RedisServer::start().await;
    let a = Node::start(&server.url()).await;
    let b = Node::start(&server.url()).await;
    let (token, jti) = mint();
    revoke(&a.store, &token).await.unwrap();
    Blacklist::new(&a.store)
        .revoke_session("device-9")
        .await
        .unwrap();
    let user = Cutoffs::new(&a.store).user("", "alice").await.unwrap();
    let everyone = Cutoffs::new(&a.store).everyone().await.unwrap();
    server
        .cli(&["SETEX", "jwt:blacklist:foreign", "600", "x"])
        .await;
    server.cli(&["SET", "jwt:blacklist:for-ever", "x"]).await;
    b.caught_up().await;
    a.caught_up().await;
    // No node keeps the largest cutoff: the clock has passed it by then.
    let told = async |server: &RedisServer| -> Vec<String> {
        let keys = server.keys("*").await.into_iter();
        keys.filter(|key| !key.ends_with(":largest")).collect()
    };
    let before = told(&server).await;
    assert_eq!(before.len(), 6, "{before:?}");
    // The node that revoked is gone: the other one has only seen it.
    drop(a);
    for loss in ["restart", "flush", "kill clients"] {
        let healed = b.near.status().healed;
        match loss {
            "restart" => server.restart().await,
            "flush" => drop(server.cli(&["FLUSHALL"]).await),
            _ => {
                server
                    .cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
                    .await;
                server.cli(&["DEL", &format!("jwt:blacklist:{jti}")]).await;
                server.cli(&["DEL", "portcullis:cutoff:global"]).await;
            }
        }
        wait::until_true("healing", || b.near.status().healed > healed).await;
        wait::until(loss, async || (told(&server).await == before).then_some(())).await;
        b.fresh().await;
        assert_eq!(status(&b.app(), &token).await, 401, "{loss}");
        let left: i64 = server.ask(&["PTTL", &format!("jwt:blacklist:{jti}")]).await;
        assert!(left > 0, "{loss}: {left}");
        let for_ever: i64 = server.ask(&["PTTL", "jwt:blacklist:for-ever"]).await;
        assert_eq!(for_ever, -1, "{loss}");
        let global: u64 = server.ask(&["GET", "portcullis:cutoff:global"]).await;
        assert_eq!(global, everyone, "{loss}");
    }
    // A node that starts later learns it from the server.
    let c = Node::start(&server.url()).await;
    assert_eq!(status(&c.app(), &token).await, 401);
    assert!(user <= everyone);
    // A larger cutoff on the server is not lowered.
    server
        .cli(&["SET", "portcullis:cutoff:global", "99999999999999"])
        .await;
    b.caught_up().await;
    server.restart().await;
    server
        .cli(&["SET", "portcullis:cutoff:global", "199999999999999"])
        .await;
    b.fresh().await;
    let (fresh, _) = mint();
    wait::until("the server's own", async || {
        (status(&b.app(), &fresh).await == 401).then_some(())
    })
    .await;
    let global: u64 = server.ask(&["GET", "portcullis:cutoff:global"]).await;
    assert_eq!(global, 199_999_999_999_999);
}

/// Fails if: the replica is told after the store, or a failed revocation is forgotten.
#[tokio::test]
async fn an_unacknowledged_revocation_holds_here_and_is_made_good() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let a = Node::start(&proxy.url()).await;
    let app = a.app();
    let (lost, lost_jti) = mint();
    // The command does not arrive, the connection of the replica goes on.
    let trap = proxy.pause_before(|c| c.mentions("jwt:blacklist:") && c.name().starts_with("EVAL"));
    let error = revoke(&a.store, &lost).await.unwrap_err();
    assert_eq!(error.kind(), portcullis::blacklist::RevokeErrorKind::Store);
    assert_eq!(status(&app, &lost).await, 401);
    let key = format!("jwt:blacklist:{lost_jti}");
    wait::until("the debt to be paid", async || {
        (server.ask::<i64>(&["EXISTS", &key]).await == 1).then_some(())
    })
    .await;
    trap.resume();
    // A cutoff likewise, to the moment at which it was asked for.
    let before = Clock::system().now_millis();
    server.kill();
    wait::until_true("the loss", || !a.near.is_fresh()).await;
    Cutoffs::new(&a.store).user("", "alice").await.unwrap_err();
    let after = Clock::system().now_millis();
    let mut server = server;
    server.restart().await;
    a.fresh().await;
    let kept = wait::until("the cutoff to be raised", async || {
        let keys = server.keys("portcullis:cutoff:{*").await;
        let key = keys.first()?;
        Some(server.ask::<u64>(&["GET", key]).await)
    })
    .await;
    assert!(
        (before - 50..=after).contains(&kept),
        "{before} {kept} {after}"
    );
}

/// Fails if: past the bound a miss passes, or a replica with room again does not load what it turned away.
#[tokio::test]
async fn past_the_bound_a_miss_is_a_question() {
    let server = RedisServer::start().await;
    let (token, jti) = mint();
    let (other, _) = mint();
    server
        .cli(&["SETEX", &format!("jwt:blacklist:{jti}"), "600", "x"])
        .await;
    for i in 0..50 {
        server
            .cli(&["SETEX", &format!("jwt:blacklist:other-{i}"), "600", "x"])
            .await;
    }
    let store = Store::connect(&server.url()).await.unwrap();
    let near = store.near().max_entries(10).start().unwrap();
    assert!(wait::within("the replica", near.ready()).await);
    let app = app(BlacklistLayer::builder(&store), &Clock::system());
    assert_eq!(near.status().state, NearState::Full);
    assert!(!near.is_fresh());
    assert_eq!(near.status().entries, 10);
    assert_eq!(status(&app, &token).await, 401);
    assert_eq!(status(&app, &other).await, 200);
    assert!(near.status().fallbacks >= 1);
    revoke(&store, &other).await.unwrap();
    assert_eq!(status(&app, &other).await, 401, "by the store");
}

/// Fails if: a refusal is retried in a storm, hangs `ready`, or lets tokens pass unasked.
#[tokio::test]
async fn where_announcements_are_refused_every_request_asks() {
    let server = RedisServer::start().await;
    server
        .cli(&[
            "ACL",
            "SETUSER",
            "app",
            "on",
            ">secret",
            "~*",
            "&*",
            "+@all",
            "-client|tracking",
        ])
        .await;
    let port = server.port();
    for url in [
        format!("redis://app:secret@127.0.0.1:{port}"),
        format!("redis://127.0.0.1:{port}?protocol=resp2"),
    ] {
        let store = Store::connect(&url).await.unwrap();
        let near = store.near().start().unwrap();
        assert!(!wait::within("the refusal", near.ready()).await);
        assert_eq!(near.status().state, NearState::Refused);
        let app = app(BlacklistLayer::builder(&store), &Clock::system());
        let (token, _) = mint();
        assert_eq!(status(&app, &token).await, 200);
        revoke(&store, &token).await.unwrap();
        assert_eq!(status(&app, &token).await, 401);
        assert_eq!(near.status().connections, 0);
    }
}

/// Fails if: an outage at the start keeps `ready` from coming true later, or lets anything pass before.
#[tokio::test]
async fn a_node_that_starts_while_redis_is_away_becomes_fresh_later() {
    let mut server = RedisServer::start().await;
    let url = server.url();
    server.kill();
    let store = Store::connect_lazy(&url).unwrap();
    let near = store.near().max_staleness(STALENESS).start().unwrap();
    let app = app(BlacklistLayer::builder(&store), &Clock::system());
    let (token, _) = mint();
    assert_eq!(status(&app, &token).await, 503);
    server.restart().await;
    assert!(wait::within("the replica", near.ready()).await);
    assert_eq!(status(&app, &token).await, 200);
}

/// While the load runs every request asks, and what is pushed meanwhile counts.
///
/// Fails if: the replica is called fresh before the load has ended.
#[tokio::test]
async fn before_the_load_has_ended_the_store_is_asked() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let (old, old_jti) = mint();
    let (new, new_jti) = mint();
    server
        .cli(&["SETEX", &format!("jwt:blacklist:{old_jti}"), "600", "x"])
        .await;
    let trap = proxy.pause_reply(named("SCAN"));
    let store = Store::connect(&proxy.url()).await.unwrap();
    let near = store.near().max_staleness(STALENESS).start().unwrap();
    trap.reached().await;
    let app = app(BlacklistLayer::builder(&store), &Clock::system());
    assert_eq!(near.status().state, NearState::Loading);
    assert_eq!(status(&app, &old).await, 401, "by the store");
    assert_eq!(near.status().fallbacks, 1);
    server
        .cli(&["SETEX", &format!("jwt:blacklist:{new_jti}"), "600", "x"])
        .await;
    trap.resume();
    assert!(wait::within("the replica", near.ready()).await);
    for token in [&old, &new] {
        assert_eq!(get_with(&app, token).await.status, 401);
    }
}

/// Guarantee 10 and the budget of part D: nothing is allocated for a lookup, hit or miss, with cutoffs about.
#[tokio::test]
async fn a_lookup_allocates_nothing() {
    use tower::{Service, ServiceBuilder, service_fn};
    let server = RedisServer::start().await;
    let b = Node::with(&server.url(), Duration::from_secs(60)).await;
    Cutoffs::new(&b.store).user("", "bob").await.unwrap();
    Cutoffs::new(&b.store).tenant("acme").await.unwrap();
    let (token, _) = mint();
    let request = || {
        let request = Request::get("/").header(header::AUTHORIZATION, format!("Bearer {token}"));
        request.body(String::new()).unwrap()
    };
    let handler = || {
        service_fn(async |_: Request<String>| {
            Ok::<_, std::convert::Infallible>(Response::new(String::new()))
        })
    };
    let clock = Clock::system();
    let mut bare = ServiceBuilder::new()
        .layer(verify(&clock))
        .service(handler());
    let mut both = ServiceBuilder::new()
        .layer(verify(&clock))
        .layer(BlacklistLayer::new(&b.store))
        .service(handler());
    let mut counted = [0; 2];
    for _ in 0..2 {
        let response = bare.call(request());
        counted[0] = alloc::count_polls(response).await.0;
        let response = both.call(request());
        counted[1] = alloc::count_polls(response).await.0;
    }
    assert_eq!(counted[0], counted[1], "with and without the blacklist");
    assert_eq!(b.near.status().fallbacks, 0);
    let _ = Body::empty();
}

#[tokio::test]
async fn contradictory_settings_cannot_be_built() {
    let store = Store::memory();
    let field = |result: Result<Near, portcullis::ConfigError>| result.unwrap_err().field();
    let short = store.near().max_staleness(Duration::from_millis(1));
    assert_eq!(field(short.start()), "max_staleness");
    assert_eq!(field(store.near().max_entries(0).start()), "max_entries");
    assert!(Near::of(&store).is_none());
    let near = store.near().start().unwrap();
    assert!(near.ready().await && near.is_fresh() && Near::of(&store).is_some());
    assert_eq!(field(store.near().start()), "near", "twice");
    let server = RedisServer::start().await;
    let client = redis::Client::open(server.url()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let store = Store::builder().from_redis(connection).unwrap();
    assert_eq!(field(store.near().start()), "near");
    std::thread::spawn(move || {
        let store = Store::connect_lazy("redis://127.0.0.1:1").unwrap();
        assert_eq!(
            store.near().start().unwrap_err().field(),
            "near",
            "no runtime"
        );
    })
    .join()
    .unwrap();
}

/// Fails if: the task outlives the store and its handles.
#[tokio::test]
async fn it_ends_with_the_store() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let node = Node::start(&proxy.url()).await;
    assert!(proxy.open_connections() >= 2);
    drop(node);
    wait::until_true("the connections to end", || proxy.open_connections() == 0).await;
}

/// A server that was demoted while this node has something to write back takes neither that nor a hint: the replica may
/// neither walk through it without pause nor be gone when it is promoted again.
///
/// Fails if: a connection that was loaded and lost at once is made again at once.
#[tokio::test]
async fn a_demoted_server_is_not_loaded_again_and_again() {
    let (server, other) = (RedisServer::start().await, RedisServer::start().await);
    let node = Node::start(&server.url()).await;
    let (token, _) = mint();
    revoke(&node.store, &token).await.unwrap();
    node.caught_up().await;
    let port = other.port().to_string();
    server.cli(&["REPLICAOF", "127.0.0.1", &port]).await;
    let made = || node.near.status().connections;
    wait::until_true("the first refusals", || made() >= 3).await;
    let started = Instant::now();
    let before = made();
    wait::until_true("more of them", || made() >= before + 6).await;
    let took = started.elapsed();
    assert!(took > Duration::from_millis(600), "{took:?}");
    server.cli(&["REPLICAOF", "NO", "ONE"]).await;
    node.fresh().await;
    wait::until("what was lost to be written", async || {
        let keys: Vec<String> = server.ask(&["KEYS", "jwt:blacklist:*"]).await;
        (keys.len() == 1).then_some(())
    })
    .await;
}
