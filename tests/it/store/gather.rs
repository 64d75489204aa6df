//! Commands of many callers in one pipeline: what happens to one of them happens to nobody else.
//!
//! Callers are tasks of a runtime of one thread that start together, so that most of them share a pipeline.

use std::{collections::BTreeMap, time::Duration};

use portcullis::{StoreErrorKind, cutoff::Cutoffs};
use tokio::task::JoinSet;

use super::{Store, ask, in_time, works_within_a_second};
use crate::{
    means::{
        proxy::{Proxy, mentions, named},
        redis::RedisServer,
        wait,
    },
    session::bench::{App, Browser},
};

const CALLERS: usize = 40;

/// Signed in, each with a value of its own, so that a reply in wrong hands is noticed.
async fn crowd(app: &App) -> Vec<Browser> {
    let mut browsers = Vec::new();
    for own in 0..CALLERS {
        let browser = Browser::new(app);
        browser.post(&format!("/set/own/value-{own}")).await;
        assert!(reads_its_own(&browser, own).await);
        browsers.push(browser);
    }
    browsers
}

async fn reads_its_own(browser: &Browser, own: usize) -> bool {
    let answer = browser.get("/get/own").await;
    (answer.status.as_u16(), answer.text) == (200, format!("value-{own}"))
}

/// Fails if: the errors of a pipeline reach all of its callers, or a script that is healed shifts the others' replies.
#[tokio::test]
async fn a_missing_script_and_a_wrong_type_reach_only_their_callers() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let store = Store::connect(&proxy.url()).await.unwrap();
    let browsers = crowd(&App::new(&store)).await;
    let cutoffs = Cutoffs::new(&store);
    cutoffs.user("", "mallory").await.unwrap();
    let keys: Vec<String> = server.ask(&["KEYS", "*cutoff:{*"]).await;
    server.cli(&["DEL", &keys[0]]).await;
    server.cli(&["RPUSH", &keys[0], "x"]).await;
    server.cli(&["SCRIPT", "FLUSH"]).await;
    proxy.delay(Duration::from_millis(10));
    let together = async {
        let (mut readers, mut raisers) = (JoinSet::new(), JoinSet::new());
        for (own, browser) in browsers.into_iter().enumerate() {
            readers.spawn(async move { reads_its_own(&browser, own).await });
            // In the middle of the pipeline, not among the first, who go directly.
            let user = match own {
                20 => "mallory",
                25 => "alice",
                _ => continue,
            };
            let cutoffs = cutoffs.clone();
            raisers.spawn(async move {
                let raised = cutoffs.user("", user).await;
                (user, raised.map_err(|error| error.kind()))
            });
        }
        let raised = raisers.join_all().await;
        (readers.join_all().await, raised)
    };
    let (turns, (read, raised)) = proxy.turns_of(together).await;
    assert!(read.iter().all(|right| *right), "{read:?}");
    let raised: BTreeMap<_, _> = raised.into_iter().collect();
    assert!(raised["alice"].is_ok(), "{raised:?}");
    assert_eq!(raised["mallory"], Err(StoreErrorKind::Corrupt));
    assert_eq!(turns, 2, "all of them, and then the scripts");
}

/// Fails if: the replies of callers who went away are dealt to the next ones, or their going stops the pipeline.
#[tokio::test]
async fn callers_who_leave_in_the_middle_disturb_nobody() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let store = Store::builder()
        .deadline(Duration::from_secs(5))
        .connect(&proxy.url())
        .await
        .unwrap();
    let browsers = crowd(&App::new(&store)).await;
    let before = proxy.connections();
    for _ in 0..5 {
        let held = proxy.pause_reply(named("GET"));
        let mut readers = JoinSet::new();
        let mut impatient = Vec::new();
        for (own, browser) in browsers.iter().cloned().enumerate() {
            let handle = readers.spawn(async move { reads_its_own(&browser, own).await });
            if own % 2 == 1 {
                impatient.push(handle);
            }
        }
        wait::within("the reply to be held", held.reached()).await;
        impatient.iter().for_each(tokio::task::AbortHandle::abort);
        drop(held);
        let mut answered = 0;
        while let Some(outcome) = readers.join_next().await {
            match outcome {
                Ok(right) => {
                    assert!(right);
                    answered += 1;
                }
                Err(error) => assert!(error.is_cancelled()),
            }
        }
        assert_eq!(answered, CALLERS / 2);
    }
    assert_eq!(proxy.connections(), before, "nobody gave up the connection");
}

/// Fails if: a caller of a pipeline that broke waits for its deadline or for ever, or a write is sent again by itself.
#[tokio::test]
async fn a_connection_killed_with_a_pipeline_under_way_tells_everybody() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let store = Store::builder()
        .deadline(Duration::from_secs(5))
        .connect(&proxy.url())
        .await
        .unwrap();
    let cutoffs = Cutoffs::new(&store);
    cutoffs.everyone().await.unwrap();
    proxy.reset_counts();
    let held = proxy.pause_before(mentions("cutoff"));
    let mut callers = JoinSet::new();
    for user in 0..CALLERS {
        let cutoffs = cutoffs.clone();
        callers.spawn(async move {
            let raised = in_time("a raise", cutoffs.user("", &user.to_string())).await;
            raised.map_err(|error| error.kind())
        });
    }
    held.reached().await;
    wait::until_true("all to be sent", || proxy.commands().len() >= CALLERS).await;
    proxy.reset_all().await;
    let outcomes = callers.join_all().await;
    let unavailable = Err(StoreErrorKind::Unavailable);
    assert!(outcomes.iter().all(|o| *o == unavailable), "{outcomes:?}");
    drop(held);
    assert_eq!(proxy.commands().len(), CALLERS, "each was sent once");
    works_within_a_second(&store).await;
}

/// Fails if: the deadline of a caller begins when its pipeline is written, or there is only one for all.
#[tokio::test]
async fn a_pipeline_without_replies_is_a_timeout_for_everybody() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let store = Store::connect(&proxy.url()).await.unwrap();
    works_within_a_second(&store).await;
    let held = proxy.pause_reply(mentions("cutoff"));
    let callers: JoinSet<_> = (0..CALLERS)
        .map(|_| {
            let store = store.clone();
            async move { ask(&store).await }
        })
        .collect();
    let outcomes = callers.join_all().await;
    let timeout = Err(StoreErrorKind::Timeout);
    assert!(outcomes.iter().all(|o| *o == timeout), "{outcomes:?}");
    drop(held);
    works_within_a_second(&store).await;
}
