//! Near sessions over real servers: what a node holds, and that it never answers with what it cannot know.

use std::{cell::RefCell, time::Duration};

use portcullis::{
    Store,
    device::Devices,
    session::{SaveOutcome, SessionLayer},
    testing,
};

use super::{Node, STALENESS, asked};
use crate::{
    means::{proxy::Proxy, redis::RedisServer, resp::Command, wait},
    refresh::kit::Events,
    session::bench::{App, Browser, keys},
};

/// A node that holds sessions.
async fn node(url: &str) -> (Node, App) {
    let store = Store::connect(url).await.unwrap();
    let near = store
        .near()
        .max_staleness(STALENESS)
        .sessions(1_000)
        .start()
        .unwrap();
    assert!(wait::within("the replica", near.ready()).await);
    let app = App::new(&store);
    (Node { store, near }, app)
}

/// Reads until the session is held, and then costs nothing.
async fn hold(node: &Node, browser: &Browser, field: &str) {
    wait::until("the session to be held", async || {
        browser.get(&format!("/get/{field}")).await;
        (node.near.status().sessions == 1).then_some(())
    })
    .await;
}

fn reads_of_sessions(command: &Command) -> bool {
    command.name().eq_ignore_ascii_case("GET") && command.mentions("session:")
}

/// Issue: near sessions cost no trip, uses are still recorded, and the node that writes reads its own writes.
///
/// Fails if: what is held is not used, a due use is not recorded, or a write leaves what is held as it was.
#[tokio::test]
async fn reading_a_held_session_costs_nothing_and_writes_are_read_back() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let (node, app) = node(&proxy.url()).await;
    let browser = Browser::new(&app);
    browser.post("/login/alice").await;
    browser.post("/set/theme/dark").await;
    hold(&node, &browser, "theme").await;
    proxy.reset_counts();
    for _ in 0..20 {
        assert_eq!(browser.get("/get/theme").await.text, "dark");
        assert!(browser.is_logged_in().await);
    }
    assert_eq!(asked(&proxy), Vec::<String>::new());
    for value in ["light", "dark", "light"] {
        browser.post(&format!("/set/theme/{value}")).await;
        assert_eq!(browser.get("/get/theme").await.text, value);
    }
    browser.post("/renew").await;
    assert_eq!(browser.get("/get/theme").await.text, "light");
    hold(&node, &browser, "theme").await;
    // A use that is due is recorded, and what was held before is of no use then.
    testing::age_everything(&node.store, Duration::from_secs(120))
        .await
        .unwrap();
    node.fresh().await;
    proxy.reset_counts();
    assert!(browser.is_logged_in().await);
    assert!(
        asked(&proxy).iter().any(|name| name.starts_with("EVAL")),
        "{:?}",
        asked(&proxy)
    );
    let thief = browser.clone();
    browser.post("/logout").await;
    assert!(!thief.is_logged_in().await, "on this node at once");
}

/// What another node writes, ends or cuts off is seen within the bound, by each way of ending.
///
/// Fails if: the connection does not track its own reads, announcements are not heeded, or a held record is believed
/// after its login was revoked.
#[tokio::test]
async fn what_others_change_is_heard_of() {
    let server = RedisServer::start().await;
    let (a, app_a) = node(&server.url()).await;
    let other = Store::connect(&server.url()).await.unwrap();
    let app_b = App::behind(SessionLayer::new(&other, &keys()));
    for way in ["logout", "renew", "device", "everything", "flush"] {
        let at_a = Browser::new(&app_a);
        let sid = at_a.post("/login/alice").await.text;
        at_a.post("/set/theme/dark").await;
        hold(&a, &at_a, "theme").await;
        let at_b = at_a.copy_at(&app_b);
        at_b.post("/set/theme/light").await;
        wait::until("the change", async || {
            (at_a.get("/get/theme").await.text == "light").then_some(())
        })
        .await;
        hold(&a, &at_a, "theme").await;
        match way {
            "logout" | "renew" => drop(at_b.post(&format!("/{way}")).await),
            "device" => assert!(
                Devices::new(&other)
                    .revoke("", "alice", &sid)
                    .await
                    .unwrap()
            ),
            "everything" => drop(Devices::new(&other).revoke_all("", "alice").await.unwrap()),
            _ => drop(server.cli(&["FLUSHALL"]).await),
        }
        let ended = std::time::Instant::now();
        wait::until(way, async || (!at_a.is_logged_in().await).then_some(())).await;
        println!("{way}: heard of after {:?}", ended.elapsed());
        // It stays so.
        assert!(!at_a.is_logged_in().await);
    }
}

/// Requirement: a change that races the answer is not held; nothing is believed after the bound when nothing is heard.
///
/// Fails if: what was read before an announcement is held after it, or the lease is not looked at.
#[tokio::test]
async fn a_change_that_races_the_reading_is_not_lost() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let (a, app_a) = node(&proxy.url()).await;
    let other = Store::connect(&server.url()).await.unwrap();
    let app_b = App::behind(SessionLayer::new(&other, &keys()));
    let at_a = Browser::new(&app_a);
    at_a.post("/login/alice").await;
    at_a.post("/set/theme/dark").await;
    let at_b = at_a.copy_at(&app_b);
    let paused = proxy.pause_reply(reads_of_sessions);
    let reader = {
        let at_a = at_a.clone();
        tokio::spawn(async move { at_a.get("/get/theme").await.text })
    };
    paused.reached().await;
    at_b.post("/set/theme/light").await;
    paused.resume();
    let seen = reader.await.unwrap();
    assert!(["dark", "light"].contains(&seen.as_str()), "{seen}");
    a.caught_up().await;
    for _ in 0..3 {
        assert_eq!(
            at_a.get("/get/theme").await.text,
            "light",
            "it was changed before that"
        );
    }
    // The server is cut off: what is held is not believed past the bound, and nobody is signed out by that.
    hold(&a, &at_a, "theme").await;
    proxy.blackhole(true);
    at_b.post("/logout").await;
    wait::until_true("the node to know", || !a.near.is_fresh()).await;
    let answer = at_a.get("/me").await;
    assert_eq!(answer.status, 503, "it cannot know");
    assert_eq!(a.near.status().sessions, 1, "held, and of no use");
    proxy.blackhole(false);
    wait::until("the logout", async || {
        (at_a.get("/me").await.status == 401).then_some(())
    })
    .await;
}

/// Requirement 113: when the tracking connection drops, what was held is dropped before the next answer.
///
/// Fails if: the shelf outlives its connection, or is not filled again after it.
#[tokio::test]
async fn r113_what_was_held_goes_with_its_connection() {
    let server = RedisServer::start().await;
    let (a, app_a) = node(&server.url()).await;
    let browser = Browser::new(&app_a);
    browser.post("/login/alice").await;
    browser.post("/set/theme/dark").await;
    hold(&a, &browser, "theme").await;
    server
        .cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
        .await;
    wait::until_true("the shelf to be empty", || a.near.status().sessions == 0).await;
    wait::until("an answer", async || {
        (browser.get("/get/theme").await.text == "dark").then_some(())
    })
    .await;
    hold(&a, &browser, "theme").await;
}

/// A value that equals the held one is written all the same: the held one may be behind.
///
/// Fails if: the comparison that saves a write is made with a held record.
#[tokio::test]
async fn a_write_never_trusts_what_is_held() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let (a, app_a) = node(&proxy.url()).await;
    let other = Store::connect(&server.url()).await.unwrap();
    let app_b = App::behind(SessionLayer::new(&other, &keys()));
    let at_a = Browser::new(&app_a);
    at_a.post("/login/alice").await;
    at_a.post("/set/theme/dark").await;
    hold(&a, &at_a, "theme").await;
    proxy.reset_counts();
    let answer = at_a.post("/set/theme/dark").await;
    assert_eq!(answer.outcome, Some(SaveOutcome::Saved));
    let asked = asked(&proxy);
    assert!(
        asked.len() == 1 && asked[0].starts_with("EVAL"),
        "the write alone: {asked:?}"
    );
    let at_b = at_a.copy_at(&app_b);
    assert_eq!(at_b.get("/get/theme").await.text, "dark");
}

/// A node reads its own writes, also when the server's announcement of them is late.
///
/// Fails if: what is held is left to the announcement.
#[tokio::test]
async fn own_writes_are_seen_before_they_are_announced() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let (a, app) = node(&proxy.url()).await;
    let (writer, other) = (Browser::new(&app), Browser::new(&app));
    writer.post("/login/alice").await;
    writer.post("/set/theme/dark").await;
    other.post("/login/bob").await;
    hold(&a, &writer, "theme").await;
    // The other's answer is held up, and whatever comes behind it on the connection that tracks.
    let paused = proxy.pause_reply(reads_of_sessions);
    let late = {
        let other = other.clone();
        tokio::spawn(async move { other.get("/me").await.text })
    };
    paused.reached().await;
    writer.post("/set/theme/light").await;
    assert_eq!(writer.get("/get/theme").await.text, "light");
    paused.resume();
    assert_eq!(late.await.unwrap(), "bob", "by the store, after a moment");
}

/// Fails if: a server that refuses to announce is asked again and again, nobody is told, or a read fails for it.
#[tokio::test]
async fn where_announcements_are_refused_the_store_is_asked() {
    let server = RedisServer::start().await;
    server
        .cli(&[
            "ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all",
        ])
        .await;
    server
        .cli(&[
            "ACL",
            "SETUSER",
            "app",
            "-client|tracking",
            "-client|setname",
        ])
        .await;
    let proxy = Proxy::start(server.port());
    let url = format!("redis://app:secret@127.0.0.1:{}", proxy.port());
    let events = Events::capture();
    let store = Store::connect(&url).await.unwrap();
    let near = store.near().sessions(1_000).start().unwrap();
    let told = RefCell::new(Vec::new());
    wait::until("both to be told", async || {
        told.borrow_mut().extend(events.take_names());
        (told.borrow().len() >= 2).then_some(())
    })
    .await;
    let app = App::new(&store);
    let browser = Browser::new(&app);
    browser.post("/login/alice").await;
    proxy.reset_counts();
    for _ in 0..300 {
        assert!(browser.is_logged_in().await);
    }
    assert_eq!(proxy.connections(), 0, "nobody knocks again");
    assert_eq!(near.status().sessions, 0);
    let mut told = told.into_inner();
    told.extend(events.take_names());
    told.sort_unstable();
    assert_eq!(
        told,
        ["near.refused", "near.sessions_refused", "session.login"]
    );
}

/// A logout denies the access tokens of its login, and the node that carried it out knows so before anything is announced.
///
/// Fails if: only the announcement tells the node of its own logout.
#[tokio::test]
async fn a_logout_counts_at_once_where_it_was_made() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let node = Node::with(&proxy.url(), Duration::from_secs(5)).await;
    let browser = Browser::new(&App::new(&node.store));
    let sid = browser.post("/login/alice").await.text;
    let clock = portcullis::Clock::system();
    let grant = portcullis::jwt::Grant::user("alice").sid(&*sid);
    let token = crate::blacklist::issuer(&clock).mint(&grant).unwrap();
    let app = node.app();
    node.caught_up().await;
    assert_eq!(crate::blacklist::status(&app, token.token()).await, 200);
    let held_back = proxy.pause_reply(crate::means::proxy::named("TIME"));
    held_back.reached().await;
    browser.post("/logout").await;
    assert!(node.near.is_fresh());
    assert_eq!(crate::blacklist::status(&app, token.token()).await, 401);
    held_back.resume();
}
