//! A proxy between a client and `redis-server` that counts turns, keeps a log and breaks things on demand.
//!
//! **A turn** begins when a command arrives from a client while the proxy owes no client a reply: everything that came
//! before has been answered. Commands that arrive while a reply is owed belong to the running turn. So
//!
//! 1. commands sent one after the other, each after the reply to the one before, count exactly one turn each;
//! 2. a pipeline, or a script with everything in it, counts one, however large and however it is cut into segments;
//! 3. commands of several tasks or connections count one if they overlap. To make "in parallel" certain rather than
//!    likely, set a [`delay`](Proxy::delay): everything sent within it then overlaps;
//! 4. [housekeeping](super::resp::Command::is_housekeeping) neither begins nor prolongs a turn.
//!
//! A reply that a client no longer waits for (it timed out) is still owed: after an outage on a connection that
//! survived it, wait for [`is_idle`](Proxy::is_idle) before counting. RESP2 subscriptions, whose messages look like
//! replies, are not understood; RESP3 is. TLS is not.
//!
//! The proxy runs on a thread of its own, so it neither needs the test's runtime nor shows up in its allocations.

use std::{collections::BTreeMap, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::oneshot,
};

use super::{
    relay::{self, Shared},
    wait,
};
pub use super::{
    resp::Command,
    traps::{Kind, Paused},
};

/// A listening proxy; dropping it cuts every connection.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and passes everything on to `upstream`, a port of the same host.
    pub fn start(upstream: u16) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket of ours");
        let port = listener.local_addr().expect("a bound socket").port();
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let accepting = accept(listener, upstream, Arc::clone(&shared));
        let thread = std::thread::spawn(|| {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                tokio::select! { () = accepting => {}, _ = stopped => {} }
            });
        });
        Self {
            port,
            shared,
            thread: Some((stop, thread)),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://127.0.0.1:…`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Turns since the last reset.
    pub fn turns(&self) -> usize {
        self.shared.ledger().turns
    }

    /// The commands since the last reset without housekeeping, in the order of their arrival.
    pub fn commands(&self) -> Vec<Vec<Vec<u8>>> {
        let ledger = self.shared.ledger();
        let counted = ledger
            .log
            .iter()
            .filter(|command| !command.is_housekeeping());
        counted.map(|command| command.0.clone()).collect()
    }

    /// Everything since the last reset, housekeeping too.
    pub fn log(&self) -> Vec<Command> {
        self.shared.ledger().log.clone()
    }

    /// How often each command came since the last reset, housekeeping too; scripts as `EVALSHA <sha>`.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for command in &self.shared.ledger().log {
            *counts.entry(command.label()).or_default() += 1;
        }
        counts
    }

    /// Connections accepted since the last reset, the refused ones too.
    pub fn connections(&self) -> usize {
        self.shared.ledger().connections
    }

    /// Connections open now.
    pub fn open_connections(&self) -> usize {
        self.shared.open_connections()
    }

    /// True when no reply is owed.
    pub fn is_idle(&self) -> bool {
        self.shared.ledger().owed == 0
    }

    /// Forgets turns, log and connections counted so far.
    pub fn reset_counts(&self) {
        self.shared.ledger().reset();
    }

    /// The turns that `action` takes.
    pub async fn turns_of<T>(&self, action: impl Future<Output = T>) -> (usize, T) {
        wait::until_true("the traffic before the count to end", || self.is_idle()).await;
        self.reset_counts();
        let output = action.await;
        (self.turns(), output)
    }

    /// Everything that arrives from now on, on both sides, is passed on this much later.
    pub fn delay(&self, each_way: Duration) {
        *self.shared.delay.lock().unwrap() = each_way;
    }

    /// While on, connections are accepted and read but nothing is passed on, in either direction. Afterwards what was
    /// held back arrives, as it does when a cut cable is mended: a byte stream has no holes.
    pub fn blackhole(&self, on: bool) {
        self.shared.blackhole.send_replace(on);
    }

    /// While on, new connections are reset as soon as they are there.
    pub fn refuse(&self, on: bool) {
        *self.shared.refuse.lock().unwrap() = on;
    }

    /// Resets (RST) every open connection on both sides; returns when they are gone.
    pub async fn reset_all(&self) {
        let cut = self.shared.cut_all();
        let gone = || {
            cut.iter()
                .all(|connection| !self.shared.is_open(*connection))
        };
        wait::until_true("the connections to be cut", gone).await;
    }

    /// Holds the first command that fits just before the server would get it. What its connection sends later queues
    /// behind it in order; other connections go on.
    pub fn pause_before(&self, fits: impl FnMut(&Command) -> bool + Send + 'static) -> Paused {
        self.shared.traps.set(Kind::HoldCommand, fits)
    }

    /// Lets the server execute the first command that fits and holds its reply; later replies on its connection queue
    /// behind it, later commands reach the server.
    pub fn pause_reply(&self, fits: impl FnMut(&Command) -> bool + Send + 'static) -> Paused {
        self.shared.traps.set(Kind::HoldReply, fits)
    }

    /// Lets the server execute the first command that fits, then cuts its connection without the reply.
    pub fn drop_reply(&self, fits: impl FnMut(&Command) -> bool + Send + 'static) -> Paused {
        self.shared.traps.set(Kind::LoseReply, fits)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

/// A predicate: the command's name, in any case.
pub fn named(name: &'static str) -> impl FnMut(&Command) -> bool + Send + 'static {
    move |command| command.name().eq_ignore_ascii_case(name)
}

/// A predicate: any argument contains this text, such as a part of a key.
pub fn mentions(part: impl Into<String>) -> impl FnMut(&Command) -> bool + Send + 'static {
    let part = part.into();
    move |command| command.mentions(&part)
}

async fn accept(listener: std::net::TcpListener, upstream: u16, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("inside a runtime");
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        shared.ledger().connections += 1;
        let refuse = *shared.refuse.lock().unwrap();
        let server = TcpStream::connect(("127.0.0.1", upstream)).await;
        match server {
            Ok(server) if !refuse => drop(tokio::spawn(relay::run(
                Arc::clone(&shared),
                client,
                server,
            ))),
            _ => relay::reset(&client),
        }
    }
}
