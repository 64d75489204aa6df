//! A server that answers every question with something else.

use std::sync::{Arc, Mutex};

use axum::{
    body::Body,
    http::{Request, header},
};
use portcullis::{Clock, Store};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::in_time;
use crate::{
    means::{resp, wait},
    refresh::kit::{Node, Settings},
};

/// What the server says to every script, and how often it was asked to run one.
type Said = Arc<Mutex<(&'static [u8], usize)>>;

/// Sets connections up as a server does, and answers scripts as it is told to.
async fn serve(mut stream: TcpStream, said: Said) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await? > 0 {
        while let Ok(Some(end)) = resp::frame(&bytes) {
            let command = resp::command(&bytes[..end]).expect("clients send commands");
            bytes.drain(..end);
            let answer = match &*command.name() {
                "EVALSHA" | "EVAL" => {
                    let mut said = said.lock().unwrap();
                    said.1 += 1;
                    said.0
                }
                "SCRIPT" => b"$40\r\n0000000000000000000000000000000000000000\r\n",
                "PING" => b"+PONG\r\n",
                _ => b"+OK\r\n",
            };
            stream.write_all(answer).await?;
        }
    }
    Ok(())
}

async fn start() -> (String, Said) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let said = Said::new(Mutex::new((b"+OK\r\n", 0)));
    let says = Arc::clone(&said);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, Arc::clone(&says)));
        }
    });
    (format!("redis://127.0.0.1:{port}/?protocol=resp2"), said)
}

/// Errors that servers, clusters and proxies in front of them answer with.
const ERRORS: [&[u8]; 12] = [
    b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
    b"-READONLY You can't write against a read only replica.\r\n",
    b"-LOADING Redis is loading the dataset in memory\r\n",
    b"-NOSCRIPT No matching script.\r\n",
    b"-MOVED 3999 127.0.0.1:6381\r\n",
    b"-ASK 3999 127.0.0.1:6381\r\n",
    b"-CLUSTERDOWN Hash slot not served\r\n",
    b"-CROSSSLOT Keys in request don't hash to the same slot\r\n",
    b"-MASTERDOWN Link with MASTER is down\r\n",
    b"-BUSY Redis is busy running a script.\r\n",
    b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    b"-\r\n",
];

/// Answers of a form that no script of ours gives, and what is no answer at all.
const NONSENSE: [&[u8]; 7] = [
    b"+OK\r\n",
    b"$3\r\nyes\r\n",
    b":7\r\n",
    b"*0\r\n",
    b"*2\r\n:1\r\n*-1\r\n",
    b"$x\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
];

/// R30: whatever the server says, nobody is let in, nobody is told to forget a cookie, and nobody waits.
///
/// Fails if: an error or an answer of another form is taken for "not revoked", for a session, or for none.
#[tokio::test]
async fn r30_no_answer_of_a_server_lets_anybody_in() {
    // The cookie and the tokens are good ones: another server with the same keys handed them out.
    let settings = Settings::default();
    let clock = Clock::system();
    let good = Node::new(&Store::memory(), &clock, &settings);
    let seat = good.sign_in("alice").await;
    let pair = good.issue_for("alice", &seat).await.unwrap();
    assert_eq!(
        (good.access(&pair).await, seat.is_in(&good).await),
        (200, true)
    );
    let cookie = seat.browser.cookie_header().unwrap();

    let (url, said) = start().await;
    let store = Store::connect_lazy(&url).unwrap();
    let node = Node::new(&store, &clock, &settings);
    for answer in ERRORS.into_iter().chain(NONSENSE) {
        *said.lock().unwrap() = (answer, 0);
        let shown = String::from_utf8_lossy(answer);
        // An answer before this one may have cost the connection, and the next one is made after a pause.
        wait::until("the server to be asked", async || {
            let _ = node.cutoffs.auth_start().await;
            (said.lock().unwrap().1 > 0).then_some(())
        })
        .await;
        for path in ["/me", "/guarded"] {
            let request = Request::get(path).header(header::COOKIE, &cookie);
            let request = request.body(Body::empty()).unwrap();
            let response = in_time(&shown, node.app.call(request)).await;
            let status = response.status.as_u16();
            assert!(
                [500, 503].contains(&status),
                "{shown}: {path} is {response:?}"
            );
            assert!(response.set_cookies().is_empty(), "{shown}: {response:?}");
        }
        let (status, text) = in_time(&shown, node.bearer(pair.access().token())).await;
        assert!([500, 503].contains(&status), "{shown}: {status} {text}");
        in_time(&shown, node.rotate(pair.refresh()))
            .await
            .unwrap_err();
        let login = Request::post("/login/alice").body(Body::empty()).unwrap();
        let response = in_time(&shown, node.app.call(login)).await;
        assert!(response.status.is_server_error(), "{shown}: {response:?}");
        assert!(response.set_cookies().is_empty(), "{shown}: {response:?}");
        let visitor = Request::get("/token").body(Body::empty()).unwrap();
        assert_eq!(
            node.app.call(visitor).await.status,
            200,
            "{shown}: a visitor"
        );
    }
}
