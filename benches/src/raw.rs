//! The least that one value from Redis can cost: the requests of one tick of the scheduler in one write to a bare socket.
//!
//! No driver, no layer, no deadline, nothing that could fail: whatever reads over the network pays this and something more.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Write as _},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    net::TcpStream,
    sync::{Notify, oneshot},
    task::yield_now,
};

/// Room for what comes in one read.
const INPUT: usize = 64 * 1024;

type Answer = oneshot::Sender<Vec<u8>>;

/// One socket and who waits for it.
#[derive(Clone)]
pub struct Raw(Arc<Desk>);

#[derive(Default)]
struct Desk {
    ready: Mutex<Ready>,
    arrived: Notify,
}

#[derive(Default)]
struct Ready {
    commands: Vec<u8>,
    answers: Vec<Answer>,
}

impl Desk {
    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Ready {
        mem::take(&mut *self.ready())
    }
}

impl Raw {
    pub async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("Redis");
        stream.set_nodelay(true).expect("an option");
        let desk = Arc::<Desk>::default();
        tokio::spawn(serve(stream, Arc::clone(&desk)));
        Self(desk)
    }

    /// The value of a key that is there.
    pub async fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let (answer, value) = oneshot::channel();
        let first = {
            let mut ready = self.0.ready();
            let _ = write!(ready.commands, "*2\r\n$3\r\nGET\r\n${}\r\n", key.len());
            ready.commands.extend_from_slice(key);
            ready.commands.extend_from_slice(b"\r\n");
            ready.answers.push(answer);
            ready.answers.len() == 1
        };
        if first {
            self.0.arrived.notify_one();
        }
        value.await.ok()
    }
}

async fn serve(stream: TcpStream, desk: Arc<Desk>) {
    let mut flying = VecDeque::new();
    let mut input = Vec::with_capacity(INPUT);
    loop {
        tokio::select! {
            biased;
            _ = stream.readable() => match stream.try_read_buf(&mut input) {
                Ok(0) => return,
                Ok(_) => deal(&mut input, &mut flying),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            },
            () = desk.arrived.notified() => {
                yield_now().await;
                let Ready { commands, answers } = desk.take();
                flying.extend(answers);
                send(&stream, &commands).await;
            }
        }
    }
}

async fn send(stream: &TcpStream, mut commands: &[u8]) {
    while !commands.is_empty() {
        match stream.try_write(commands) {
            Ok(sent) => commands = &commands[sent..],
            Err(_) => stream.writable().await.expect("a connection"),
        }
    }
}

/// Hands out the values that are there whole: `$<length>`, the value, each with the end of its line.
fn deal(input: &mut Vec<u8>, flying: &mut VecDeque<Answer>) {
    let mut at = 0;
    while let Some(end) = input[at..].iter().position(|byte| *byte == b'\n') {
        let length = std::str::from_utf8(&input[at + 1..at + end - 1]);
        let length: usize = length
            .ok()
            .and_then(|text| text.parse().ok())
            .expect("a value");
        let value = at + end + 1..at + end + 1 + length;
        if input.len() < value.end + 2 {
            break;
        }
        at = value.end + 2;
        if let Some(answer) = flying.pop_front() {
            let _ = answer.send(input[value].to_vec());
        }
    }
    input.drain(..at);
}
