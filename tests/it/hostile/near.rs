//! A server with announcements that tells a replica whatever it likes, over a connection as it is. The input says for each
//! command whether it is answered as it should be, and what is announced before.

use std::{cell::RefCell, collections::VecDeque, io, rc::Rc, time::Duration};

use portcullis::{Clock, Store};
use redis::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

use super::{
    means::block_on,
    replies::{Reader, known},
    stored::exercise,
    world::*,
};

pub const SEEDS: &[&[u8]] = &[
    b"",
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\x00\x01\x00\x00\x01\x01\x00\x00\x01\x02\x00\x00\x01\x03\x01\x04\x00\x00",
    b"\x02\x00\x03\x02\x02\x010\x03\x02\x02\x18portcullis:cutoff:global\x02\x0fjwt:blacklist:x",
    b"\x00\x01\x05\x01\x06\x02\x01\xff\x02\x02\x0299\x02\x00\x02\x04\x00\x02\x05",
    b"\x03\x02\x02\x01\x00\x02\x0c\x00\x02\x0d\x00\x30\x04\x01\x02\x08\x7f\xff\xff\xff\xff\xff\xff\xff",
];

/// What there is to be announced; the last is none of ours, the one before it a mere prefix.
const KEYS: [&str; 8] = [
    "portcullis:cutoff:global",
    "portcullis:cutoff:latest",
    "portcullis:cutoff:{AAAAAAAAAAAAAAAA}",
    "portcullis:cutoff:tenant:AAAAAAAAAAAAAAAA",
    "jwt:blacklist:some-jti",
    "jwt:blacklist-sid:some-sid",
    "jwt:blacklist:",
    "portcullis:cutoff:{A",
];
const PATIENCE: Duration = Duration::from_millis(60);

type Script = Rc<RefCell<VecDeque<u8>>>;

pub fn run(input: &[u8]) {
    let known = known();
    let tasks = LocalSet::new();
    block_on(tasks.run_until(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let script: Script = Rc::new(RefCell::new(input.iter().copied().collect()));
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(serve(stream, Rc::clone(&script)));
            }
        });
        let clock = Clock::settable(NOW_MS);
        let store = Store::builder().clock(clock.clone()).deadline(PATIENCE / 4);
        let url = format!("redis://{address}/?protocol=resp3");
        let store = store.connect_lazy(&url).expect("a store");
        let near = store
            .near()
            .max_staleness(PATIENCE / 3)
            .sessions(8)
            .max_entries(16);
        let near = near.start().expect("a replica");
        let world = known.over(store, clock);
        let _ = tokio::time::timeout(PATIENCE / 6, near.ready()).await;
        let _ = tokio::time::timeout(PATIENCE, exercise(&world)).await;
        let _ = format!("{:?}", near.status());
    }));
}

async fn serve(mut stream: TcpStream, script: Script) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await? > 0 {
        let mut out = Vec::new();
        while let Some((words, length)) = command(&bytes) {
            bytes.drain(..length);
            answer(&words, &mut script.borrow_mut(), &mut out);
        }
        stream.write_all(&out).await?;
    }
    Ok(())
}

/// The first two words of a command, and how long it is.
fn command(bytes: &[u8]) -> Option<(Vec<String>, usize)> {
    let line = |at: usize| {
        let end = at
            + bytes
                .get(at..)?
                .windows(2)
                .position(|pair| pair == b"\r\n")?;
        let number: usize = std::str::from_utf8(&bytes[at + 1..end])
            .ok()?
            .parse()
            .ok()?;
        Some((number, end + 2))
    };
    let (count, mut at) = line(0)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let (length, start) = line(at)?;
        let word = bytes.get(start..start + length)?;
        if words.len() < 2 {
            words.push(String::from_utf8_lossy(word).to_ascii_uppercase());
        }
        at = start + length + 2;
    }
    (at <= bytes.len()).then_some((words, at))
}

/// What comes before the answer, and the answer.
fn answer(words: &[String], script: &mut VecDeque<u8>, out: &mut Vec<u8>) {
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    match (word(0), word(1)) {
        ("HELLO", _) => return out.extend(b"%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n"),
        ("CLIENT" | "SELECT" | "PING", _) => return out.extend(b"+OK\r\n"),
        ("SCRIPT", _) => return out.extend(b"$40\r\n0000000000000000000000000000000000000000\r\n"),
        _ => {}
    }
    let known = known();
    let mut reader = Reader {
        left: script,
        known: &known,
    };
    let value = |reader: &mut Reader<'_>| reader.value(0).unwrap_or(Value::Nil);
    match reader.byte() % 8 {
        1 => {
            let key = KEYS[usize::from(reader.byte()) % KEYS.len()];
            push(&Value::Array(vec![Value::BulkString(key.into())]), out);
        }
        2 => return encode(&value(&mut reader), out),
        3 => push(&value(&mut reader), out),
        _ => {}
    }
    match word(0) {
        "TIME" => out.extend(b"*2\r\n$10\r\n1800000000\r\n$1\r\n0\r\n"),
        "SCAN" => {
            let keys = KEYS.map(|key| Value::BulkString(key.into())).to_vec();
            let next = Value::BulkString(b"0".to_vec());
            encode(&Value::Array(vec![next, Value::Array(keys)]), out);
        }
        "PTTL" => out.extend(b":60000\r\n"),
        "GET" => out.extend(b"$13\r\n1700000000000\r\n"),
        "EVAL" | "EVALSHA" => encode(&value(&mut reader), out),
        _ => out.extend(b"+OK\r\n"),
    }
}

fn push(what: &Value, out: &mut Vec<u8>) {
    out.extend(b">2\r\n$10\r\ninvalidate\r\n");
    encode(what, out);
}

fn encode(value: &Value, out: &mut Vec<u8>) {
    let mut head = |kind: char, length: usize| out.extend(format!("{kind}{length}\r\n").bytes());
    match value {
        Value::Int(number) => out.extend(format!(":{number}\r\n").bytes()),
        Value::BulkString(bytes) => {
            head('$', bytes.len());
            out.extend([bytes, &b"\r\n"[..]].concat());
        }
        Value::Array(values) => {
            head('*', values.len());
            values.iter().for_each(|value| encode(value, out));
        }
        Value::Set(values) => {
            head('~', values.len());
            values.iter().for_each(|value| encode(value, out));
        }
        Value::Map(pairs) => {
            head('%', pairs.len());
            let values = pairs.iter().flat_map(|(name, value)| [name, value]);
            values.for_each(|value| encode(value, out));
        }
        Value::SimpleString(text) => {
            let text = text.replace(['\r', '\n'], " ");
            out.extend(format!("+{text}\r\n").bytes());
        }
        Value::Boolean(yes) => out.extend(if *yes { b"#t\r\n" } else { b"#f\r\n" }),
        Value::ServerError(error) => {
            let text = error.to_string().replace(['\r', '\n'], " ");
            out.extend(format!("-{text}\r\n").bytes());
        }
        Value::Okay => out.extend(b"+OK\r\n"),
        _ => out.extend(b"_\r\n"),
    }
}
