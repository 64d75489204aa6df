//! A slow write on one process, and on the other something that ends the id it writes to, in every order of the commands
//! as the server sees them. The orders are forced: the proxies hold commands and replies.
//!
//! The write sends `load` and `save`, the other process one command, here called the end. What is held, and until when:
//!
//! | held | the server sees |
//! |---|---|
//! | `load` until after the end | end, load, save |
//! | the reply to `load` | load, end, save |
//! | `save` | load, end, save; the end has returned |
//! | `save`, and the reply to the end until after `save` | load, end, save; the end has not returned |
//! | the reply to `save` | load, save, end |
//! | the end, until after the write has returned | load, save, end; the end was on its way first |

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{COOKIE, Node, Pair, signed_in};
use crate::means::{
    http::{Answer, Client},
    proxy::Command,
};

/// The default of the store: who waits longer gets 503, rightly.
const DEADLINE: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Load,
    ReplyToLoad,
    Save,
    SaveAndReplyToEnd,
    ReplyToSave,
    End,
}

const ORDERS: [Held; 6] = [
    Held::Load,
    Held::ReplyToLoad,
    Held::Save,
    Held::SaveAndReplyToEnd,
    Held::ReplyToSave,
    Held::End,
];

/// The write of the field `colour`.
pub fn is_write(command: &Command) -> bool {
    command.mentions("colour")
}

fn is_other(command: &Command) -> bool {
    !command.is_housekeeping() && !is_write(command)
}

/// Not the moment that a login asks for first.
fn is_end(command: &Command) -> bool {
    !command.is_housekeeping() && command.mentions("session:{")
}

fn any(command: &Command) -> bool {
    !command.is_housekeeping()
}

async fn write(node: &Node, client: &Client) -> Answer {
    node.set(client, "colour", "red", 0).await
}

/// Runs the write on the first process and `end` on the second in this order. `None` if the machine was so busy that the
/// deadline of the store passed while something was held: such a round shows nothing.
async fn round(
    pair: &Pair,
    held: Held,
    writer: &Client,
    end: impl Future<Output = Answer>,
) -> Option<(Answer, Answer)> {
    let start = Instant::now();
    let (written, ended) = match held {
        Held::Load | Held::ReplyToLoad | Held::Save | Held::ReplyToSave => {
            end_within_write(pair, held, writer, end).await
        }
        Held::SaveAndReplyToEnd => write_within_end(pair, writer, end).await,
        Held::End => {
            let paused = pair.two.proxy.pause_before(is_end);
            let writing = async {
                paused.reached().await;
                let written = write(&pair.one, writer).await;
                paused.resume();
                written
            };
            tokio::join!(writing, end)
        }
    };
    let busy = start.elapsed() >= DEADLINE && (written.status == 503 || ended.status == 503);
    (!busy).then_some((written, ended))
}

async fn end_within_write(
    pair: &Pair,
    held: Held,
    writer: &Client,
    end: impl Future<Output = Answer>,
) -> (Answer, Answer) {
    let proxy = &pair.one.proxy;
    let paused = match held {
        Held::Load => proxy.pause_before(is_other),
        Held::ReplyToLoad => proxy.pause_reply(is_other),
        Held::Save => proxy.pause_before(is_write),
        _ => proxy.pause_reply(is_write),
    };
    tokio::join!(write(&pair.one, writer), async {
        paused.reached().await;
        let ended = end.await;
        paused.resume();
        ended
    })
}

/// The end takes effect before the save, and whoever asked for it learns of it after.
async fn write_within_end(
    pair: &Pair,
    writer: &Client,
    end: impl Future<Output = Answer>,
) -> (Answer, Answer) {
    let save = pair.one.proxy.pause_before(is_write);
    let reply = pair.two.proxy.pause_reply(is_end);
    let (loaded, written) = (Notify::new(), Notify::new());
    let writing = async {
        let answer = write(&pair.one, writer).await;
        written.notify_one();
        answer
    };
    let ending = async {
        loaded.notified().await;
        end.await
    };
    let order = async {
        save.reached().await;
        loaded.notify_one();
        reply.reached().await;
        save.resume();
        written.notified().await;
        reply.resume();
    };
    let (answer, ended, ()) = tokio::join!(writing, ending, order);
    (answer, ended)
}

/// The same until a round counts.
async fn forced<S, E>(pair: &Pair, held: Held, mut start: S, mut end: E) -> Round
where
    S: AsyncFnMut() -> Client,
    E: AsyncFnMut(&Client) -> Answer,
{
    for _ in 0..10 {
        let client = start().await;
        let old = client.clone_cookies();
        if let Some((written, ended)) = round(pair, held, &old, end(&client)).await {
            return Round {
                client,
                old,
                written,
                ended,
            };
        }
    }
    panic!("{held:?}: the machine is too busy");
}

struct Round {
    /// Who ended the session, with the cookies that it got for it.
    client: Client,
    /// Who wrote.
    old: Client,
    written: Answer,
    ended: Answer,
}

impl Round {
    /// The writer hears neither of a failure nor of a session, except where its request began after the end as far as
    /// anybody can tell: then it is a visitor's.
    fn writer_gets_nothing(&self, held: Held, old_id: &str) {
        assert_eq!(
            self.written.status,
            200,
            "{held:?}: {}",
            self.written.text()
        );
        let cookies = self.written.set_cookies();
        if held == Held::Load {
            assert_ne!(self.old.cookie(COOKIE).as_deref(), Some(old_id));
        } else {
            assert!(cookies.is_empty(), "{held:?}: {cookies:?}");
        }
    }
}

/// What a thief who kept a copy of the cookie can do with it.
async fn is_dead(pair: &Pair, id: &str) {
    let thief = Client::new();
    thief.set_cookie(COOKIE, id);
    assert_eq!(pair.me(&thief).await, [401, 401]);
    for node in pair.nodes() {
        assert_eq!(node.field(&thief, "colour").await, Value::Null);
        assert_eq!(node.field(&thief, "counter").await, Value::Null);
    }
}

// Fails if: `save.lua` wrote without a record there (`if not raw` building a new one instead of returning 0), if
// `Session::merge` made a new session on 0, or if `State::gone` kept the cookie task.
#[tokio::test]
async fn a_logout_stays_one_whatever_was_under_way() {
    let pair = Pair::start().await;
    for held in ORDERS {
        let mut id = String::new();
        let start = async || {
            pair.redis.cli(&["FLUSHDB"]).await;
            signed_in(&pair.one, "alice").await
        };
        let end = async |client: &Client| {
            id = client.cookie(COOKIE).unwrap();
            pair.two.logout(client).await
        };
        let round = forced(&pair, held, start, end).await;
        assert_eq!(round.ended.status, 204, "{held:?}");
        round.writer_gets_nothing(held, &id);
        is_dead(&pair, &id).await;
        assert_eq!(pair.me(&round.old).await, [401, 401], "{held:?}");
        let left = usize::from(held == Held::Load);
        assert_eq!(pair.sessions().await.len(), left, "{held:?}");
    }
}

// Fails if: `login.lua` left the old record in place (without its `DEL`), or `save.lua` wrote without a record there.
#[tokio::test]
async fn a_login_leaves_the_old_id_dead_whatever_was_under_way() {
    let pair = Pair::start().await;
    for held in ORDERS {
        for visitor in [true, false] {
            let mut id = String::new();
            let start = async || {
                pair.redis.cli(&["FLUSHDB"]).await;
                if visitor {
                    let client = Client::new();
                    pair.one.get(&client, "/counter").await;
                    client
                } else {
                    let client = signed_in(&pair.one, "alice").await;
                    pair.one.get(&client, "/counter").await;
                    client
                }
            };
            let end = async |client: &Client| {
                id = client.cookie(COOKIE).unwrap();
                pair.two.login(client, "alice").await
            };
            let round = forced(&pair, held, start, end).await;
            assert_eq!(round.ended.status, 200, "{held:?}");
            round.writer_gets_nothing(held, &id);
            is_dead(&pair, &id).await;
            let new = &round.client;
            assert_eq!(pair.me(new).await, [200, 200], "{held:?}");
            assert_eq!(pair.one.field(new, "counter").await, json!(1));
            // A write that the server saw before the login moved along, any other is lost: it has no session.
            let moved = matches!(held, Held::ReplyToSave | Held::End);
            let colour = if moved { json!("red") } else { Value::Null };
            assert_eq!(pair.two.field(new, "colour").await, colour, "{held:?}");
            let sessions = 1 + usize::from(held == Held::Load);
            assert_eq!(pair.sessions().await.len(), sessions, "{held:?}");
        }
    }
}

// Fails if: `/set` did not wait, or the example saved before it.
#[tokio::test]
async fn the_delay_of_the_example_is_long_enough_to_try_it_by_hand() {
    let pair = Pair::start().await;
    let client = signed_in(&pair.one, "alice").await;
    let id = client.cookie(COOKIE).unwrap();
    let writer = client.clone_cookies();
    let race = pair.one.proxy.turns_of(async {
        let loaded = pair.one.proxy.pause_reply(any);
        let ending = async {
            loaded.reached().await;
            loaded.resume();
            pair.two.logout(&client).await
        };
        let (written, ended) = tokio::join!(pair.one.set(&writer, "colour", "red", 500), ending);
        assert_eq!((written.status.as_u16(), ended.status.as_u16()), (200, 204));
        assert!(written.set_cookies().is_empty());
    });
    assert_eq!(race.await.0, 2);
    is_dead(&pair, &id).await;
}
