//! The connection of its own over which the server announces what changes. The only file of this room that names the
//! driver.
//!
//! The driver hands over announcements inside its own task in the order of the wire, before it hands over the answers
//! that came after them: what the lease builds on.

use std::sync::Arc;

use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, PushInfo, PushKind, RedisError,
    aio::MultiplexedConnection,
};

use super::replica::Replica;
use crate::store::StoreError;

/// How a line is opened.
pub(super) trait Dial: Send + Sync + 'static {
    type Line: Line;

    /// Connects and asks for announcements, which go to the replica as those of connection `number`.
    fn open(
        &self,
        replica: &Arc<Replica>,
        number: u64,
    ) -> impl Future<Output = Result<Self::Line, Failed>> + Send;

    /// What pauses are jittered by.
    fn random(&self) -> u8;
}

/// An open line.
pub(super) trait Line: Send + Sync {
    /// Sends all of them at once; the answers come in the same order.
    fn ask(&self, asks: Vec<Ask>) -> impl Future<Output = Result<Vec<Answer>, Failed>> + Send;
}

/// Why there is no line, or not any more.
#[derive(Debug)]
pub(super) enum Failed {
    /// It may work in a moment.
    Lost,
    /// Somebody has to change something first.
    Refused(Option<StoreError>),
}

#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// Milliseconds of the server's clock.
    Time,
    Scan {
        cursor: u64,
        pattern: Vec<u8>,
    },
    /// Milliseconds that a key has left.
    Left(Vec<u8>),
    Value(Vec<u8>),
    /// Sets a key that is missing.
    SetMissing {
        key: Vec<u8>,
        left: Option<u64>,
    },
    /// Lets a key last longer, never shorter; without a time, for ever.
    Extend {
        key: Vec<u8>,
        left: Option<u64>,
    },
    /// Raises a cutoff, never lowers it.
    Raise {
        key: Vec<u8>,
        moment: u64,
        left: Option<u64>,
    },
}

#[derive(Debug)]
pub(super) enum Answer {
    /// Done; or, for [`Ask::SetMissing`], `false`: there was no need.
    Done(bool),
    Number(i64),
    Value(Option<Vec<u8>>),
    Page {
        next: u64,
        keys: Vec<Vec<u8>>,
    },
    /// The server refused this one command.
    No,
}

/// How many keys one step of a scan walks over.
pub(super) const PAGE: usize = 1_000;
const HEAL: &str = include_str!("heal.lua");
/// What an entry says that this node wrote again.
const REASON: &str = "revoked";

pub(super) struct Wire(pub(super) Client);

pub(super) struct RedisLine(MultiplexedConnection);

impl Dial for Wire {
    type Line = RedisLine;

    async fn open(&self, replica: &Arc<Replica>, number: u64) -> Result<RedisLine, Failed> {
        let ears = Arc::clone(replica);
        let hear = move |push: PushInfo| hear(&ears, number, &push);
        let connection = connect(&self.0, hear).await;
        let line = RedisLine(connection.map_err(|error| failed(&error))?);
        let mut name = redis::cmd("CLIENT");
        name.arg("SETNAME").arg("portcullis-near");
        let mut tracking = redis::cmd("CLIENT");
        // Without the echo of what this connection itself writes.
        tracking
            .arg("TRACKING")
            .arg("ON")
            .arg("BCAST")
            .arg("NOLOOP");
        for prefix in replica.names.prefixes() {
            tracking.arg("PREFIX").arg(prefix);
        }
        let replies = line.send([name, tracking].into_iter()).await?;
        match replies.into_iter().nth(1) {
            Some(redis::Value::ServerError(error)) => Err(failed(&error.into())),
            Some(_) => Ok(line),
            None => Err(Failed::Lost),
        }
    }

    fn random(&self) -> u8 {
        random()
    }
}

impl Line for RedisLine {
    async fn ask(&self, asks: Vec<Ask>) -> Result<Vec<Answer>, Failed> {
        let replies = self.send(asks.iter().map(command)).await?;
        if replies.len() != asks.len() {
            return Err(Failed::Lost);
        }
        replies.into_iter().map(answer).collect()
    }
}

impl RedisLine {
    async fn send(
        &self,
        commands: impl ExactSizeIterator<Item = Cmd>,
    ) -> Result<Vec<redis::Value>, Failed> {
        let count = commands.len();
        let mut pipeline = redis::Pipeline::with_capacity(count);
        for command in commands {
            pipeline.add_command(command);
        }
        let mut connection = self.0.clone();
        let replies = connection.send_packed_commands(&pipeline, 0, count).await;
        replies.map_err(|error| failed(&error))
    }
}

pub(super) fn random() -> u8 {
    crate::secret::random_bytes::<1>().map_or(128, |[byte]| byte)
}

/// A connection whose announcements are heard. How long anything may take is for those to decide who keep it.
pub(super) async fn connect(
    client: &Client,
    hear: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<MultiplexedConnection, RedisError> {
    let hear = move |push: PushInfo| -> Result<(), redis::aio::SendError> {
        hear(push);
        Ok(())
    };
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_connection_timeout(None)
        .set_push_sender(hear);
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

fn hear(replica: &Replica, number: u64, push: &PushInfo) {
    match (&push.kind, push.data.as_slice()) {
        (PushKind::Disconnection, _) => replica.lease.lost(number),
        (PushKind::Invalidate, [redis::Value::Array(keys)]) => {
            replica.announced(keys.iter().filter_map(|key| match key {
                redis::Value::BulkString(key) => Some(key.as_slice()),
                _ => None,
            }));
        }
        (PushKind::Invalidate, _) => replica.flushed(number),
        _ => {}
    }
}

fn command(ask: &Ask) -> Cmd {
    let mut cmd = Cmd::new();
    match ask {
        Ask::Time => cmd.arg("TIME"),
        Ask::Scan { cursor, pattern } => {
            cmd.arg("SCAN").arg(*cursor).arg("MATCH").arg(pattern);
            cmd.arg("COUNT").arg(PAGE)
        }
        Ask::Left(key) => cmd.arg("PTTL").arg(key),
        Ask::Value(key) => cmd.arg("GET").arg(key),
        Ask::SetMissing { key, left } => {
            cmd.arg("SET").arg(key).arg(REASON).arg("NX");
            match left {
                Some(left) => cmd.arg("PX").arg(*left),
                None => &mut cmd,
            }
        }
        Ask::Extend { key, left: None } => cmd.arg("PERSIST").arg(key),
        // Redis 6.2 does not know `GT`, refuses, and the key ends as it would have.
        Ask::Extend {
            key,
            left: Some(left),
        } => cmd.arg("PEXPIRE").arg(key).arg(*left).arg("GT"),
        Ask::Raise { key, moment, left } => {
            cmd.arg("EVAL").arg(HEAL).arg(1).arg(key).arg(*moment);
            cmd.arg(left.unwrap_or(0))
        }
    };
    cmd
}

fn answer(reply: redis::Value) -> Result<Answer, Failed> {
    Ok(match reply {
        redis::Value::Okay | redis::Value::SimpleString(_) => Answer::Done(true),
        redis::Value::Nil => Answer::Value(None),
        redis::Value::Int(number) => Answer::Number(number),
        redis::Value::BulkString(bytes) => Answer::Value(Some(bytes)),
        redis::Value::ServerError(error) => match failed(&error.into()) {
            Failed::Lost => return Err(Failed::Lost),
            Failed::Refused(_) => Answer::No,
        },
        redis::Value::Array(parts) => list(parts)?,
        _ => return Err(Failed::Lost),
    })
}

/// A page of a scan, or the time: seconds and microseconds.
fn list(parts: Vec<redis::Value>) -> Result<Answer, Failed> {
    if let Some(millis) = millis_of(&parts) {
        return Ok(Answer::Number(millis));
    }
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<u64>().ok();
    match <[redis::Value; 2]>::try_from(parts) {
        Ok([redis::Value::BulkString(next), redis::Value::Array(keys)]) => {
            let keys = keys.into_iter().filter_map(|key| match key {
                redis::Value::BulkString(key) => Some(key),
                _ => None,
            });
            let next = number(&next).ok_or(Failed::Lost)?;
            let keys = keys.collect();
            Ok(Answer::Page { next, keys })
        }
        _ => Err(Failed::Lost),
    }
}

/// What `TIME` answers, in milliseconds: seconds and microseconds.
pub(super) fn millis_of(parts: &[redis::Value]) -> Option<i64> {
    let number = |part: &redis::Value| match part {
        redis::Value::BulkString(digits) => std::str::from_utf8(digits).ok()?.parse::<i64>().ok(),
        _ => None,
    };
    let [seconds, micros] = parts else {
        return None;
    };
    let seconds = number(seconds)?.checked_mul(1_000)?;
    seconds.checked_add(number(micros)? / 1_000)
}

/// What only somebody else can mend is a refusal; a server that is loading, demoted, busy or gone is not.
pub(super) fn failed(error: &RedisError) -> Failed {
    let refused = match (error.kind(), error.code()) {
        (ErrorKind::RESP3NotSupported, _) => true,
        (ErrorKind::Server(_) | ErrorKind::Extension, code) => !matches!(
            code,
            Some(
                "LOADING"
                    | "MASTERDOWN"
                    | "READONLY"
                    | "BUSY"
                    | "TRYAGAIN"
                    | "CLUSTERDOWN"
                    | "UNBLOCKED"
            )
        ),
        _ => false,
    };
    if refused {
        Failed::Refused(Some(crate::store::error_of(error)))
    } else {
        Failed::Lost
    }
}
