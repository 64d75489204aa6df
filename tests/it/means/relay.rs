//! One connection through the proxy: two readers that cut the streams into frames and count, two writers that pass the
//! frames on, late, in order, and not while something holds them.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        watch,
    },
    time::Instant,
};

use super::{
    resp::{self, Command, Garbage},
    traps::{Caught, Kind, Traps},
};

/// What the proxy and all its connections share.
#[derive(Default)]
pub struct Shared {
    ledger: Mutex<Ledger>,
    pub traps: Traps,
    pub blackhole: watch::Sender<bool>,
    pub delay: Mutex<Duration>,
    pub refuse: Mutex<bool>,
    open: Mutex<HashMap<u64, Arc<watch::Sender<bool>>>>,
    next: AtomicU64,
}

/// What has been counted.
#[derive(Default)]
pub struct Ledger {
    pub turns: usize,
    pub log: Vec<Command>,
    pub connections: usize,
    /// Replies to counted commands that no client has been sent yet.
    pub owed: usize,
}

/// One connection's part of the ledger.
struct Account {
    shared: Arc<Shared>,
    id: u64,
    cut: Arc<watch::Sender<bool>>,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    /// This connection's share of [`Ledger::owed`].
    owed: usize,
    /// The beginning of a command came while a turn was running: the command belongs to it, whenever it is complete.
    mid_turn: bool,
    /// What the server still has to answer, in order.
    expected: VecDeque<Expected>,
    resp3: bool,
}

struct Expected {
    counted: bool,
    caught: Option<Caught>,
}

/// A frame on its way.
struct Late<T> {
    due: Instant,
    bytes: Vec<u8>,
    content: T,
}

impl Shared {
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    pub fn open_connections(&self) -> usize {
        self.open.lock().unwrap().len()
    }

    pub fn is_open(&self, connection: u64) -> bool {
        self.open.lock().unwrap().contains_key(&connection)
    }

    /// Tells every connection to reset itself and says which they were.
    pub fn cut_all(&self) -> Vec<u64> {
        let open = self.open.lock().unwrap();
        for cut in open.values() {
            cut.send_replace(true);
        }
        open.keys().copied().collect()
    }

    fn due(&self) -> Instant {
        Instant::now() + *self.delay.lock().unwrap()
    }

    async fn not_blackholed(&self) {
        let mut blackhole = self.blackhole.subscribe();
        let _ = blackhole.wait_for(|on| !on).await;
    }
}

impl Ledger {
    pub fn reset(&mut self) {
        let owed = self.owed;
        *self = Self {
            owed,
            ..Self::default()
        };
    }
}

impl Account {
    fn open(shared: Arc<Shared>) -> Self {
        let id = shared.next.fetch_add(1, Ordering::Relaxed);
        let cut = Arc::new(watch::Sender::new(false));
        shared.open.lock().unwrap().insert(id, Arc::clone(&cut));
        Self {
            shared,
            id,
            cut,
            pending: Mutex::default(),
        }
    }

    /// Counts commands as they arrive; `unfinished` says that the beginning of another has arrived with them.
    fn received(&self, commands: &[Command], unfinished: bool) {
        let mut ledger = self.shared.ledger();
        let mut pending = self.pending.lock().unwrap();
        for command in commands {
            ledger.log.push(command.clone());
            if command.is_housekeeping() {
                pending.resp3 |= command.name() == "HELLO" && command.text(1) == "3";
                continue;
            }
            ledger.turns += usize::from(ledger.owed == 0 && !pending.mid_turn);
            pending.mid_turn = false;
            if pending.answers(command) {
                ledger.owed += 1;
                pending.owed += 1;
            }
        }
        let went_on = pending.mid_turn && commands.is_empty();
        pending.mid_turn = unfinished && (ledger.owed > 0 || went_on);
    }

    /// Notes that the server is going to get this command.
    fn forwarded(&self, command: &Command) {
        let mut pending = self.pending.lock().unwrap();
        if pending.answers(command) {
            let counted = !command.is_housekeeping();
            let caught = self.shared.traps.catch(command, true);
            pending.expected.push_back(Expected { counted, caught });
        }
    }

    /// Which command a reply answers.
    fn answered(&self) -> Option<Expected> {
        self.pending.lock().unwrap().expected.pop_front()
    }

    /// The client is about to have its reply. Before it has it: its next command may come at once.
    fn settle(&self) {
        let mut ledger = self.shared.ledger();
        let mut pending = self.pending.lock().unwrap();
        ledger.owed -= 1;
        pending.owed -= 1;
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let never_answered = self.pending.get_mut().unwrap().owed;
        self.shared.ledger().owed -= never_answered;
        self.shared.open.lock().unwrap().remove(&self.id);
    }
}

impl Pending {
    fn answers(&self, command: &Command) -> bool {
        !(self.resp3 && command.is_subscription())
    }
}

/// Serves one connection until either side ends it or it is cut.
pub async fn run(shared: Arc<Shared>, mut client: TcpStream, mut server: TcpStream) {
    let account = Account::open(shared);
    let mut cut = account.cut.subscribe();
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let was_cut = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let (commands, to_forward) = unbounded_channel();
        let (replies, to_answer) = unbounded_channel();
        tokio::select! {
            _ = cut.wait_for(|cut| *cut) => true,
            // A side that ends closes its queue; what is in it is still passed on.
            () = both(read_client(&account, from_client, commands), write_server(&account, to_server, to_forward)) => false,
            () = both(read_server(&account, from_server, replies), write_client(&account, to_client, to_answer)) => false,
        }
    };
    if was_cut {
        reset(&client);
        reset(&server);
    }
    drop((client, server));
}

/// Closing this socket will send RST, not FIN.
pub fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

async fn both(reader: impl Future<Output = Option<()>>, writer: impl Future<Output = Option<()>>) {
    // The writer ends last, or first if its side is gone: then there is no point in reading on.
    tokio::pin!(writer);
    tokio::select! {
        _ = &mut writer => {}
        _ = reader => { writer.await; }
    }
}

async fn read_client(
    account: &Account,
    from: ReadHalf<'_>,
    queue: UnboundedSender<Late<Command>>,
) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        read(&from, &mut bytes).await.ok()?;
        let frames = frames(&mut bytes).ok()?;
        let commands: Vec<_> = frames
            .iter()
            .map(|frame| resp::command(frame))
            .collect::<Result<_, _>>()
            .ok()?;
        account.received(&commands, !bytes.is_empty());
        let due = account.shared.due();
        for (bytes, content) in frames.into_iter().zip(commands) {
            queue
                .send(Late {
                    due,
                    bytes,
                    content,
                })
                .ok()?;
        }
    }
}

async fn write_server(
    account: &Account,
    mut to: WriteHalf<'_>,
    mut queue: UnboundedReceiver<Late<Command>>,
) -> Option<()> {
    let shared = &account.shared;
    loop {
        let Late {
            due,
            bytes,
            content,
        } = queue.recv().await?;
        tokio::time::sleep_until(due).await;
        shared.not_blackholed().await;
        if let Some(caught) = shared.traps.catch(&content, false) {
            caught.announce();
            caught.resumed().await;
        }
        account.forwarded(&content);
        to.write_all(&bytes).await.ok()?;
    }
}

async fn read_server(
    account: &Account,
    from: ReadHalf<'_>,
    queue: UnboundedSender<Late<()>>,
) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        read(&from, &mut bytes).await.ok()?;
        let due = account.shared.due();
        for bytes in frames(&mut bytes).ok()? {
            queue
                .send(Late {
                    due,
                    bytes,
                    content: (),
                })
                .ok()?;
        }
    }
}

async fn write_client(
    account: &Account,
    mut to: WriteHalf<'_>,
    mut queue: UnboundedReceiver<Late<()>>,
) -> Option<()> {
    loop {
        let Late { due, bytes, .. } = queue.recv().await?;
        tokio::time::sleep_until(due).await;
        account.shared.not_blackholed().await;
        let expected = if resp::is_push(&bytes) {
            None
        } else {
            account.answered()
        };
        if let Some(expected) = expected {
            if let Some(caught) = expected.caught {
                hold(account, &caught).await;
            }
            if expected.counted {
                account.settle();
            }
        }
        to.write_all(&bytes).await.ok()?;
    }
}

/// Returns when the reply may go, which a lost reply never may.
async fn hold(account: &Account, caught: &Caught) {
    if caught.kind == Kind::LoseReply {
        account.cut.send_replace(true);
        caught.announce();
        std::future::pending::<()>().await;
    }
    caught.announce();
    caught.resumed().await;
}

/// Everything there is to read, so that what was sent together is seen together.
async fn read(from: &ReadHalf<'_>, into: &mut Vec<u8>) -> io::Result<()> {
    let before = into.len();
    loop {
        match from.try_read_buf(into) {
            Ok(0) if into.len() > before => return Ok(()),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Err(_) if into.len() > before => return Ok(()),
            Err(_) => from.readable().await?,
        }
    }
}

/// Takes the whole frames from the front.
fn frames(bytes: &mut Vec<u8>) -> Result<Vec<Vec<u8>>, Garbage> {
    let mut frames = Vec::new();
    let mut at = 0;
    while let Some(length) = resp::frame(&bytes[at..])? {
        frames.push(bytes[at..at + length].to_vec());
        at += length;
    }
    bytes.drain(..at);
    Ok(frames)
}
