//! Who has a copy of the database has nothing that is accepted: R101, R121.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Router,
    body::Body,
    http::{Request, header},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis::{
    csrf::{CsrfLayer, CsrfToken},
    refresh::RefreshErrorKind,
    session::SessionLayer,
};
use tokio::task::JoinSet;

use super::kit::{Bench, MINUTE, SECOND, benches};
use crate::{
    means::redis::RedisServer,
    session::bench::{App, Browser, keys},
};

/// All that is stored, as text: names, values, fields, members, each once as a whole.
async fn everything(server: &RedisServer) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for key in server.keys("*").await {
        let kind: String = server.ask(&["TYPE", &key]).await;
        let values: Vec<Vec<u8>> = match &*kind {
            "string" => vec![server.ask(&["GET", &key]).await],
            "hash" => server.ask(&["HGETALL", &key]).await,
            "zset" => server.ask(&["ZRANGE", &key, "0", "-1"]).await,
            // Gone since.
            "none" => Vec::new(),
            other => panic!("a {other} under {key}"),
        };
        all.extend(
            values
                .iter()
                .map(|value| String::from_utf8_lossy(value).into_owned()),
        );
        all.insert(key);
    }
    all
}

/// The words of the strings that could be a part of a token, and what lies at the fixed places of records.
fn words(all: &BTreeSet<String>) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for text in all {
        let parts = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        for part in parts.filter(|part| part.len() >= 8) {
            words.insert(part.to_owned());
            for length in [11, 16, 22, 43] {
                if part.len() > length && part.is_char_boundary(length) {
                    words.insert(part[..length].to_owned());
                    words.insert(part[part.len() - length..].to_owned());
                }
            }
        }
    }
    words
}

fn decoded(words: &BTreeSet<String>, length: usize) -> Vec<Vec<u8>> {
    let bytes = words
        .iter()
        .filter_map(|word| URL_SAFE_NO_PAD.decode(word).ok());
    bytes.filter(|bytes| bytes.len() == length).collect()
}

/// What goes on while the copy is made.
struct Busy {
    bench: Arc<Bench>,
    cookies: Vec<String>,
    tokens: Vec<String>,
    csrf: (Browser, String),
}

fn csrf_app(bench: &Bench) -> App {
    let token = async |token: axum::Extension<CsrfToken>| token.token().await.unwrap();
    let login = async |session: portcullis::session::Session| {
        session
            .login(portcullis::session::Login::new("alice"))
            .await
            .unwrap();
    };
    let router = Router::new()
        .route("/transfer", post(async || "done"))
        .route("/form", get(token))
        .layer(CsrfLayer::builder(&keys()).stored().build().unwrap())
        .route("/in", get(login))
        .layer(SessionLayer::new(&bench.one.store, &keys()));
    App::of(router)
}

async fn transfer(visitor: &Browser, token: &str) -> u16 {
    let request = Request::post("/transfer")
        .header(header::COOKIE, visitor.cookie_header().unwrap())
        .header("x-csrf-token", token);
    visitor
        .app
        .call(request.body(Body::empty()).unwrap())
        .await
        .status
        .as_u16()
}

impl Busy {
    /// Sessions, families, rotations in their grace time, ended and evicted devices, cutoffs.
    async fn start(bench: Bench) -> Self {
        let mut busy = Self {
            csrf: (Browser::new(&csrf_app(&bench)), String::new()),
            bench: Arc::new(bench),
            cookies: Vec::new(),
            tokens: Vec::new(),
        };
        let bench = Arc::clone(&busy.bench);
        busy.csrf.0.get("/in").await;
        busy.csrf.1 = busy.csrf.0.get("/form").await.text;
        for user in ["alice", "bob"] {
            let seat = bench.one.sign_in(user).await;
            let first = bench.one.issue_for(user, &seat).await.unwrap();
            bench.advance(11 * SECOND).await;
            let second = bench.two.rotate(first.refresh()).await.unwrap();
            let cookie = seat.browser.cookie_header().unwrap();
            busy.cookies
                .push(cookie.split_once('=').unwrap().1.to_owned());
            for pair in [&first, &second] {
                let texts = [pair.refresh(), pair.access().token()];
                busy.tokens.extend(texts.map(str::to_owned));
            }
        }
        let gone = bench.one.sign_in("alice").await;
        bench
            .two
            .devices
            .revoke("", "alice", &gone.sid)
            .await
            .unwrap();
        bench.one.cutoffs.user("", "carol").await.unwrap();
        busy
    }

    /// Requests that do not stop.
    fn traffic(&self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for index in 0..4 {
            let bench = Arc::clone(&self.bench);
            tasks.spawn(async move {
                let node = bench.nodes()[index % 2];
                let mut pair = node.issue(&format!("user{index}")).await;
                loop {
                    let user = format!("user{index}");
                    let seat = node.sign_in(&user).await;
                    pair = node.rotate(pair.refresh()).await.unwrap();
                    let other = node.issue_for(&user, &seat).await.unwrap();
                    node.rotate(other.refresh()).await.unwrap();
                    seat.browser.post("/logout").await;
                }
            });
        }
        tasks
    }
}

/// R101: none of the strings, alone or put together as parts of a token, is accepted as anything.
///
/// Fails if: an id, a secret, a successor or a tag is stored as it is; families are named by what is presented.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_in_a_copy_of_the_database_is_accepted() {
    let [_, bench] = benches().await;
    let busy = Busy::start(bench).await;
    let own = everything(busy.bench.server()).await;
    let traffic = busy.traffic();
    crate::means::wait::until("logins of the traffic that have ended", async || {
        let count = busy.bench.server().keys("jwt:blacklist-sid:*").await.len();
        (count > 8).then_some(())
    })
    .await;
    let mut all = everything(busy.bench.server()).await;
    drop(traffic);
    all.extend(own.iter().cloned());
    let node = &busy.bench.one;
    for secret in busy
        .cookies
        .iter()
        .chain(&busy.tokens)
        .chain([&busy.csrf.1])
    {
        assert!(!all.iter().any(|text| text.contains(secret)));
    }
    // Alone.
    for text in all.iter().chain(&words(&all)) {
        refused_everywhere(&busy, text).await;
    }
    // Together, in all pairs: what is not of the traffic.
    let words: Vec<_> = words(&own).into_iter().collect();
    let header = busy.tokens[1].split('.').next().unwrap();
    let families = families(&words.iter().cloned().collect());
    // Tags and signatures have 43 letters; with others there is nothing to check.
    for right in words.iter().filter(|word| word.len() == 43) {
        for left in &words {
            let cookie = format!("{left}.{right}");
            assert!(!is_session(&busy, &cookie).await, "{cookie}");
            for family in families.iter().take(2) {
                let token = format!("{family}.1.{left}.{right}");
                let refused = node.rotate(&token).await.unwrap_err();
                assert_eq!(refused, RefreshErrorKind::Forged, "{token}");
            }
        }
        for left in words.iter().filter(|word| word.len() > 43) {
            let access = format!("{header}.{left}.{right}");
            assert_eq!(node.bearer(&access).await.0, 401, "{access}");
        }
    }
    still_works(&busy).await;
}

async fn refused_everywhere(busy: &Busy, text: &str) {
    let node = &busy.bench.two;
    let refused = node.rotate(text).await.unwrap_err();
    assert_eq!(refused, RefreshErrorKind::Forged, "{text}");
    if !text.contains(|c: char| c.is_control() || c == ';' || !c.is_ascii()) {
        assert!(!is_session(busy, text).await, "{text}");
        let (status, _) = node.bearer(text).await;
        assert!([400, 401].contains(&status), "{status} {text}");
        assert_eq!(transfer(&busy.csrf.0, text).await, 403, "{text}");
    }
}

async fn is_session(busy: &Busy, cookie: &str) -> bool {
    let request = Request::get("/me").header(header::COOKIE, format!("__Host-session={cookie}"));
    let answer = busy
        .bench
        .one
        .app
        .call(request.body(Body::empty()).unwrap())
        .await;
    answer.status == 200
}

/// The first parts of refresh tokens that can be put together: where the family lies, its sid and its epoch are stored.
fn families(words: &BTreeSet<String>) -> Vec<String> {
    let mut families = Vec::new();
    for tag in decoded(words, 12) {
        for sid in decoded(words, 16) {
            for epoch in decoded(words, 8) {
                families.push(URL_SAFE_NO_PAD.encode([&*tag, &*sid, &*epoch].concat()));
            }
        }
    }
    assert!(!families.is_empty(), "the parts of a family are found");
    families
}

/// The checks above asked the right questions: what was handed out is accepted in the same way.
async fn still_works(busy: &Busy) {
    for cookie in &busy.cookies {
        assert!(is_session(busy, cookie).await);
    }
    for pair in busy.tokens.chunks(4) {
        assert_eq!(busy.bench.one.bearer(&pair[3]).await.0, 200);
        busy.bench.one.rotate(&pair[2]).await.unwrap();
    }
    assert_eq!(transfer(&busy.csrf.0, &busy.csrf.1).await, 200);
}

/// R101, R121: the file that a backup takes: none of the parts of what was handed out is in it, encoded or decoded.
///
/// Fails if: as above.
#[tokio::test]
async fn nothing_that_was_handed_out_is_in_a_backup() {
    let [_, bench] = benches().await;
    let busy = Busy::start(bench).await;
    let server = busy.bench.server();
    busy.bench.advance(MINUTE).await;
    server.cli(&["CONFIG", "SET", "rdbcompression", "no"]).await;
    server.cli(&["SAVE"]).await;
    let file = std::fs::read(server.dir().join("dump.rdb")).unwrap();
    let holds = |bytes: &[u8]| file.windows(bytes.len()).any(|window| window == bytes);
    let sid = busy.bench.one.sids("bob").await.pop_first().unwrap();
    assert!(holds(sid.as_bytes()), "the file is read as it is");
    // The family and the header of an access token are no secrets.
    let secret = |token: &String| -> Vec<String> {
        let parts: Vec<_> = token.split('.').map(str::to_owned).collect();
        let from = match parts.len() {
            4 => 2,
            3 => 1,
            _ => 0,
        };
        parts[from..].to_vec()
    };
    let handed_out = busy
        .cookies
        .iter()
        .chain(&busy.tokens)
        .chain([&busy.csrf.1]);
    for part in handed_out.flat_map(secret) {
        assert!(!holds(part.as_bytes()), "{part}");
        let bytes = URL_SAFE_NO_PAD.decode(&part).unwrap();
        assert!(!holds(&bytes), "{part}");
    }
}
