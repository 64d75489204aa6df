//! A server that answers whatever it likes. The input is the replies, one after the other; where it ends the server is
//! away.

use std::{
    cell::OnceCell,
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use portcullis::{Clock, Store, testing};
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, Value, aio::ConnectionLike};

use super::{forge::changed, means::block_on, stored::exercise, world::*};

pub const SEEDS: &[&[u8]] = &[
    b"",
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\x01\x00\x01\x01\x01\x02\x01\xff\x01\x7f\x01\x01\x01\x01\x01\x00",
    b"\x02\x03yes\x03\x02\x01\x01\x00\x04\x00\x05\x06\x02ab\x07\x01\x01\x02\x02\x01a",
    b"\x08\x01\x00\x00\x00\x00\x00\x00\x01\x09\x0a\x03\x00\x0b\x00",
    b"\x03\x04\x0c\x00\x01\x01\x00\x00\x03\x03\x01\x01\x0c\x01\x0d\x01\x30\x04\x01\x03\x00\x04\x01\x04\x02\x04\x03\x04\x04",
    b"\x0c\x00\x0c\x01\x0c\x02\x0c\x03\x0c\x04\x0c\x05\x0c\x06\x0c\x07\x0c\x08\x0c\x09\x0c\x0a\x0c\x0b\x0c\x0c\x0c\x0d\x0c\x0e\x0c\x0f",
];

const ERRORS: [&str; 8] = [
    "NOSCRIPT No matching script.",
    "WRONGTYPE Operation against a key",
    "READONLY You can't write against a read only replica.",
    "LOADING Redis is loading",
    "MOVED 1 127.0.0.1:1",
    "OOM command not allowed",
    "CORRUPT x",
    "",
];
const DEEPEST: usize = 8;

/// A sound service, what it has handed out, and what it has stored.
pub struct Known {
    pub credentials: Vec<String>,
    pub sid: String,
    pub texts: Vec<Vec<u8>>,
}

thread_local! {
    static KNOWN: OnceCell<Arc<Known>> = const { OnceCell::new() };
}

pub fn known() -> Arc<Known> {
    KNOWN.with(|kept| Arc::clone(kept.get_or_init(|| Arc::new(block_on(Known::new())))))
}

impl Known {
    async fn new() -> Self {
        let world = World::in_memory().await;
        let mut texts = Vec::new();
        let all = testing::change_everything(&world.store, |_, text| texts.push(text.clone()));
        all.await.expect("a store in memory");
        Self {
            credentials: world.credentials,
            sid: world.sid,
            texts,
        }
    }

    /// A service over another store, which knows its keys.
    pub fn over(&self, store: Store, clock: Clock) -> World {
        let mut world = World::over(store, clock);
        world.credentials.clone_from(&self.credentials);
        world.sid.clone_from(&self.sid);
        world
    }
}

pub fn run(input: &[u8]) {
    let clock = Clock::settable(NOW_MS);
    let server = Server {
        left: Arc::new(Mutex::new(input.iter().copied().collect())),
        known: known(),
    };
    let store = Store::builder().clock(clock.clone()).from_redis(server);
    let world = known().over(store.expect("a store"), clock);
    block_on(exercise(&world));
}

#[derive(Clone)]
struct Server {
    left: Arc<Mutex<VecDeque<u8>>>,
    known: Arc<Known>,
}

impl Server {
    fn reply(&self, count: usize) -> Result<Vec<Value>, RedisError> {
        let mut left = self.left.lock().expect("nothing panics here");
        let mut reader = Reader {
            left: &mut left,
            known: &self.known,
        };
        if reader.left.is_empty() {
            return Err(ErrorKind::Io.into_error());
        }
        (0..count).map(|_| reader.value(0)).collect()
    }
}

/// So that an error has a text.
trait IntoError {
    fn into_error(self) -> RedisError;
}

impl IntoError for ErrorKind {
    fn into_error(self) -> RedisError {
        RedisError::from((self, "the test"))
    }
}

/// Reads replies out of bytes.
pub struct Reader<'a> {
    pub left: &'a mut VecDeque<u8>,
    pub known: &'a Known,
}

impl Reader<'_> {
    pub fn byte(&mut self) -> u8 {
        self.left.pop_front().unwrap_or_default()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte());
        self.left.drain(..length.min(self.left.len())).collect()
    }

    fn text(&mut self) -> Vec<u8> {
        let which = usize::from(self.byte());
        self.known.texts[which % self.known.texts.len()].clone()
    }

    fn values(&mut self, depth: usize) -> Result<Vec<Value>, RedisError> {
        let count = if depth < DEEPEST { self.byte() % 16 } else { 0 };
        (0..count).map(|_| self.value(depth + 1)).collect()
    }

    pub fn value(&mut self, depth: usize) -> Result<Value, RedisError> {
        Ok(match self.byte() % 16 {
            0 => Value::Nil,
            1 => Value::Int(i64::from(self.byte().cast_signed())),
            2 => Value::BulkString(self.bytes()),
            3 => Value::Array(self.values(depth)?),
            4 => {
                let error = ERRORS[usize::from(self.byte()) % ERRORS.len()];
                let line = format!("-{error}\r\n");
                redis::parse_redis_value(line.as_bytes())?
            }
            5 => Value::Okay,
            6 => Value::SimpleString(String::from_utf8_lossy(&self.bytes()).into_owned()),
            7 => Value::Map(
                self.values(depth)?
                    .into_iter()
                    .map(|v| (Value::Nil, v))
                    .collect(),
            ),
            8 => Value::Int(i64::from_be_bytes(std::array::from_fn(|_| self.byte()))),
            9 => Value::Boolean(true),
            10 => Value::Set(self.values(depth)?),
            11 => return Err(ErrorKind::Io.into_error()),
            12 | 14 => Value::BulkString(self.text()),
            13 => {
                let text = self.text();
                Value::BulkString(changed(&text, [self.byte(), self.byte(), self.byte()]))
            }
            // A moment near that of the test, as a number or a text.
            _ => {
                let moment = NOW_MS.cast_signed() + i64::from(self.byte().cast_signed()) * 60_000;
                match self.byte() % 2 {
                    0 => Value::Int(moment),
                    _ => Value::BulkString(moment.to_string().into_bytes()),
                }
            }
        })
    }
}

impl ConnectionLike for Server {
    fn req_packed_command<'a>(&'a mut self, _: &'a Cmd) -> RedisFuture<'a, Value> {
        let reply = self.reply(1).map(|mut all| all.remove(0));
        Box::pin(async { reply })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        _: &'a Pipeline,
        _: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let reply = self.reply(count);
        Box::pin(async { reply })
    }

    fn get_db(&self) -> i64 {
        0
    }
}
