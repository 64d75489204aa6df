//! The clients of a load run: keep-alive connections that send the next request when the last was answered with 200.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::{JoinSet, LocalSet},
};

/// One connection.
pub struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).await;
        let socket = socket.expect("the server listens");
        socket.set_nodelay(true).expect("a socket");
        Self {
            socket,
            buffer: Vec::with_capacity(4096),
        }
    }

    /// One request and its answer, which must be 200 and say how long it is; gives its body.
    pub async fn send(&mut self, request: &[u8]) -> &[u8] {
        self.socket.write_all(request).await.expect("sent");
        self.buffer.clear();
        let head = loop {
            let more = self.socket.read_buf(&mut self.buffer).await;
            assert!(more.expect("an answer") > 0, "the server hung up");
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]);
        assert!(
            text.starts_with("HTTP/1.1 200 "),
            "{text}\nto {}",
            String::from_utf8_lossy(request)
        );
        let length = content_length(&self.buffer[..head]);
        while self.buffer.len() < head + length {
            let more = self.socket.read_buf(&mut self.buffer).await;
            assert!(more.expect("a body") > 0, "the server hung up");
        }
        &self.buffer[head..head + length]
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|part| part == what)
}

fn content_length(head: &[u8]) -> usize {
    let at = find(head, b"content-length: ").expect("a length") + 16;
    let digits = head[at..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |n, digit| n * 10 + usize::from(digit - b'0'))
}

/// What the clients saw between two looks.
pub struct Window {
    pub requests: u64,
    pub took: Duration,
    /// Microseconds, sorted.
    pub latencies: Vec<u32>,
}

/// One connection for each request of the list. `look` is called when the window opens, after the warm-up, and when it
/// closes; the load goes on meanwhile.
pub async fn load<T>(
    port: u16,
    requests: &[String],
    warm_up: Duration,
    window: Duration,
    look: impl Fn() -> T,
) -> (Window, T, T) {
    let count = Rc::new(Cell::new(0_u64));
    let times = Rc::new(RefCell::new(Vec::with_capacity(1 << 20)));
    let local = LocalSet::new();
    let measured = local.run_until(async {
        let mut clients = JoinSet::new();
        for request in requests {
            let (request, count, times) = (request.clone(), Rc::clone(&count), Rc::clone(&times));
            let mut connection = Connection::open(port).await;
            clients.spawn_local(async move {
                loop {
                    let sent = Instant::now();
                    connection.send(request.as_bytes()).await;
                    count.set(count.get() + 1);
                    times.borrow_mut().push(sent.elapsed().as_micros() as u32);
                }
            });
        }
        let watched = async {
            tokio::time::sleep(warm_up).await;
            times.borrow_mut().clear();
            let before = look();
            let (opened, from) = (Instant::now(), count.get());
            tokio::time::sleep(window).await;
            let (took, to) = (opened.elapsed(), count.get());
            let after = look();
            let mut latencies = std::mem::take(&mut *times.borrow_mut());
            latencies.sort_unstable();
            let window = Window {
                requests: to - from,
                took,
                latencies,
            };
            (window, before, after)
        };
        tokio::select! {
            done = watched => done,
            Some(ended) = clients.join_next() => panic!("a client gave up: {ended:?}"),
        }
    });
    measured.await
}
