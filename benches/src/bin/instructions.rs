//! Requests of one row, one after the other in one thread and without sockets of HTTP, for a counter of instructions:
//!
//! ```sh
//! redis-server --port 7000 --save '' &
//! valgrind --tool=callgrind --toggle-collect='*measured*' target/release/instructions full_near redis://127.0.0.1:7000 500
//! ```
//!
//! The count divided by the number of requests is what one costs this process, with the work of the driver. Valgrind's
//! processor has no instructions for SHA-256, which a real one has: there the hashes are far cheaper than they look here.

use std::{env, hint::black_box, process};

use axum::{Router, body::Body};
use http::Request;
use portcullis_benches::{cpu, serve};
use tokio::runtime::{self, Runtime};
use tower::ServiceExt;

fn main() {
    let mut arguments = env::args().skip(1);
    let name = arguments.next().expect("the name of a row");
    let redis = arguments.next().expect("the address of Redis");
    let times = arguments.next().expect("a number of requests");
    let times: usize = times.parse().expect("a number");
    let mut builder = runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().expect("a runtime");
    let row = runtime.block_on(serve::row(&name, &redis));
    let requests = row.headers.iter().map(|headers| parsed(&row, headers));
    let requests: Vec<_> = requests.collect();
    // Everything is seen before, loaded and held.
    for request in requests.iter().cycle().take(3 * requests.len()) {
        runtime.block_on(ask(&row.app, request.clone()));
    }
    let measured_requests: Vec<_> = requests.iter().cycle().take(times).cloned().collect();
    let before = cpu::of(process::id());
    measured(&runtime, &row.app, measured_requests);
    let took = cpu::of(process::id()) - before;
    eprintln!(
        "{name}: {:.3} microseconds of CPU",
        took.as_secs_f64() * 1e6 / times as f64
    );
}

#[inline(never)]
fn measured(runtime: &Runtime, app: &Router, requests: Vec<Request<()>>) {
    runtime.block_on(async {
        for request in requests {
            ask(app, request).await;
        }
    });
}

async fn ask(app: &Router, request: Request<()>) {
    let answer = app.clone().oneshot(request.map(|()| Body::empty())).await;
    assert_eq!(black_box(answer).expect("an answer").status(), 200);
}

fn parsed(row: &serve::Row, headers: &str) -> Request<()> {
    let mut request = Request::builder()
        .method(row.method)
        .uri("/")
        .header("host", "localhost");
    for (name, value) in headers.lines().filter_map(|line| line.split_once(": ")) {
        request = request.header(name, value);
    }
    request.body(()).expect("a request")
}
