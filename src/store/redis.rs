//! Calls as Redis commands, and replies as values. This room and `near` are the only ones that name the driver.
//!
//! A script travels as `EVALSHA` once the connection is known to have loaded it, and as `EVAL` before that, so that a
//! first use costs no extra trip. `NOSCRIPT` (flushed scripts, a failover) is healed by sending the same calls once
//! more as `EVAL`: a call answered by `NOSCRIPT` was not carried out, so nothing runs twice.

use redis::{Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind, aio::ConnectionLike};

use super::{
    Few, Key, StoreError, StoreErrorKind,
    key::is_tagged,
    operation::{Arg, Call, Operation, Value, corrupt},
};

/// The reply to one call.
pub(crate) type Reply = Result<Value, StoreError>;

/// The replies to the calls of one trip, in their order.
pub(crate) type Replies = Few<Reply>;

pub(crate) fn script_sha(text: &str) -> String {
    redis::Script::new(text).get_hash().to_owned()
}

/// The digits of the largest number.
const LONGEST_INT: usize = 20;

/// Whether scripts are named by their hash or sent whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Hash,
    Text,
}

/// One command on its way.
pub(super) enum Command {
    /// Nobody else's.
    Own(Cmd),
    /// A plain read of a key that every caller asks about: those who ask together can have one answer.
    Common(&'static str, Key),
}

impl Command {
    /// A plain read of one key. Behind a write of the same trip it is its caller's own: it has to see that write.
    fn read(name: &'static str, key: &Key, only_reads: bool) -> Self {
        match only_reads && !is_tagged(key) {
            true => Self::Common(name, key.clone()),
            false => Self::Own(read(name, key)),
        }
    }

    pub(super) fn into_cmd(self) -> Cmd {
        match self {
            Self::Own(cmd) => cmd,
            Self::Common(name, key) => read(name, &key),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let length = |arg: redis::Arg<&[u8]>| match arg {
            redis::Arg::Simple(bytes) => bytes.len(),
            _ => 0,
        };
        match self {
            Self::Own(cmd) => cmd.args_iter().map(length).sum(),
            Self::Common(_, key) => key.len(),
        }
    }
}

fn read(name: &str, key: &str) -> Cmd {
    let mut cmd = Cmd::with_capacity(2, name.len() + key.len());
    cmd.arg(name).arg(key);
    cmd
}

/// Hands over the commands of a call: one, or one for each key.
fn commands(call: &Call, style: Style, only_reads: bool, mut take: impl FnMut(Command)) {
    if !call.operation.is_each() {
        return take(Command::Own(command(call, style)));
    }
    let name = call.operation.as_command().unwrap_or_default();
    call.keys
        .iter()
        .for_each(|key| take(Command::read(name, key, only_reads)));
}

fn command(call: &Call, style: Style) -> Cmd {
    // One buffer, of the right size from the start.
    let keys = call.keys.iter().map(String::len);
    let args = call.args.iter().map(|arg| match arg {
        Arg::Int(_) => LONGEST_INT,
        Arg::Static(text) => text.len(),
        Arg::Bytes(bytes) => bytes.len(),
    });
    let script = call.operation.as_script().map(|script| match style {
        Style::Hash => ("EVALSHA", &script.sha),
        Style::Text => ("EVAL", &script.text),
    });
    let (name, text) = match script {
        Some((name, text)) => (name, Some(text)),
        None => {
            let name = call.operation.as_command();
            (name.expect("an operation is a script or a command"), None)
        }
    };
    let head = name.len() + text.map_or(0, |text| text.len() + LONGEST_INT);
    let parts = 3 + call.keys.len() + call.args.len();
    let mut cmd = Cmd::with_capacity(parts, head + keys.chain(args).sum::<usize>());
    cmd.arg(name);
    if let Some(text) = text {
        cmd.arg(text).arg(call.keys.len());
    }
    for key in &call.keys {
        cmd.arg(key.as_str());
    }
    for arg in &call.args {
        match arg {
            Arg::Int(value) => cmd.arg(*value),
            Arg::Static(text) => cmd.arg(*text),
            Arg::Bytes(bytes) => cmd.arg(bytes.as_slice()),
        };
    }
    cmd
}

/// Why an exchange gave no replies.
pub(super) enum Failed {
    /// The connection is of no use any more.
    Broken(RedisError),
    /// Nothing was sent: too many callers wait already.
    Crowded,
}

impl From<RedisError> for Failed {
    fn from(error: RedisError) -> Self {
        Self::Broken(error)
    }
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Broken(error) => error_of(&error),
            Failed::Crowded => {
                Self::new(StoreErrorKind::Unavailable).caused_by("too many calls wait already")
            }
        }
    }
}

/// Something that commands can be sent over.
pub(super) trait Exchange {
    /// Sends the commands in one write; as many replies as commands, an error of the server among them.
    fn exchange(
        &mut self,
        commands: Few<Command>,
    ) -> impl Future<Output = Result<Few<redis::Value>, Failed>> + Send;
}

impl<C: ConnectionLike + Send + ?Sized> Exchange for C {
    async fn exchange(&mut self, commands: Few<Command>) -> Result<Few<redis::Value>, Failed> {
        let count = commands.len();
        let commands = match commands {
            Few::One([command]) => {
                let command = command.into_cmd();
                let reply = self.req_packed_command(&command).await;
                return Ok(Few::one(reply.or_else(server_error)?));
            }
            Few::Many(commands) => commands,
        };
        let mut pipeline = Pipeline::with_capacity(count);
        for command in commands {
            pipeline.add_command(command.into_cmd());
        }
        let replies = self.req_packed_commands(&pipeline, 0, count).await?;
        // Fewer replies than commands would hand one caller another's answer.
        if replies.len() == count {
            Ok(replies.into())
        } else {
            Err(miscounted().into())
        }
    }
}

/// Sends the calls in one trip. The outer error is the connection's, the inner ones are the server's word on one call.
pub(super) async fn send(
    connection: &mut (impl Exchange + ?Sized),
    calls: &[Call],
    is_loaded: impl Fn(&Operation) -> bool,
) -> Result<Replies, Failed> {
    let style = |call: &Call| {
        if is_loaded(call.operation) {
            Style::Hash
        } else {
            Style::Text
        }
    };
    if let [call] = calls
        && !call.is_many()
    {
        return send_one(connection, call, style(call)).await;
    }
    let count = |call: &Call| match call.is_many() {
        true => call.keys.len(),
        false => 1,
    };
    let only_reads = calls.iter().all(|call| call.operation.is_read());
    let mut all = Vec::with_capacity(calls.iter().map(count).sum());
    for call in calls {
        commands(call, style(call), only_reads, |command| all.push(command));
    }
    let (mut replies, missing) = replies_of(calls, connection.exchange(all.into()).await?);
    if !missing.is_empty() {
        let whole = |index: &usize| Command::Own(command(&calls[*index], Style::Text));
        let whole = missing.iter().map(whole).collect();
        let again = connection.exchange(whole).await?;
        for (index, reply) in missing.into_iter().zip(again) {
            replies[index] = value(reply, &calls[index]);
        }
    }
    Ok(replies)
}

/// One call of one command, which needs no lists.
async fn send_one(
    connection: &mut (impl Exchange + ?Sized),
    call: &Call,
    style: Style,
) -> Result<Replies, Failed> {
    let one = Few::one(Command::Own(command(call, style)));
    let mut replies = connection.exchange(one).await?;
    if replies.first().is_some_and(is_noscript) {
        let whole = Few::one(Command::Own(command(call, Style::Text)));
        replies = connection.exchange(whole).await?;
    }
    let reply = replies.into_last().ok_or_else(miscounted)?;
    Ok(Few::one(value(reply, call)))
}

/// The replies dealt to their calls, and which of these have to be sent once more with their script.
fn replies_of(calls: &[Call], raw: Few<redis::Value>) -> (Replies, Vec<usize>) {
    let (mut raw, mut missing) = (raw.into_iter(), Vec::new());
    let each = calls.iter().enumerate().map_while(|(index, call)| {
        if call.is_many() {
            return Some(list_of(call, &mut raw));
        }
        let reply = raw.next()?;
        if is_noscript(&reply) {
            missing.push(index);
        }
        Some(value(reply, call))
    });
    // Nobody is asked again who has had too few.
    (each.fuse().collect(), missing)
}

/// The replies about each key of a call. All of them are taken, also behind an error.
fn list_of(call: &Call, raw: &mut impl Iterator<Item = redis::Value>) -> Result<Value, StoreError> {
    let mut list = Ok(Vec::with_capacity(call.keys.len()));
    for reply in raw.take(call.keys.len()) {
        match (value(reply, call), &mut list) {
            (Ok(value), Ok(values)) => values.push(value),
            (Err(error), Ok(_)) => list = Err(error),
            (_, Err(_)) => {}
        }
    }
    list.map(Value::List)
}

pub(super) fn miscounted() -> RedisError {
    RedisError::from((ErrorKind::UnexpectedReturnType, "wrong number of replies"))
}

/// Some connection types turn an error reply into an `Err`; it is still an answer, not a fault of the connection.
pub(super) fn server_error(error: RedisError) -> Result<redis::Value, RedisError> {
    if !matches!(error.kind(), ErrorKind::Server(_)) {
        return Err(error);
    }
    match error.clone().into_server_errors() {
        Some(errors) if errors.len() == 1 => Ok(redis::Value::ServerError(errors[0].1.clone())),
        _ => Err(error),
    }
}

fn is_noscript(reply: &redis::Value) -> bool {
    matches!(reply, redis::Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}

fn value(reply: redis::Value, call: &Call) -> Result<Value, StoreError> {
    let value = match convert(reply) {
        // The reply about one key is no list: an empty one would read as replies about none.
        Ok(Value::List(_)) if call.operation.is_each() => Err(corrupt()),
        value => value,
    };
    value.map_err(|error| error.during(call.operation.name()))
}

fn convert(reply: redis::Value) -> Result<Value, StoreError> {
    Ok(match reply {
        redis::Value::Nil => Value::Nil,
        redis::Value::Int(value) => Value::Int(value),
        redis::Value::BulkString(bytes) => Value::Bytes(bytes),
        // `INFO` is verbatim text in RESP3.
        redis::Value::SimpleString(text) | redis::Value::VerbatimString { text, .. } => {
            Value::Bytes(text.into_bytes())
        }
        redis::Value::Okay => Value::bytes("OK"),
        redis::Value::Boolean(yes) => Value::Int(i64::from(yes)),
        redis::Value::Array(values) | redis::Value::Set(values) => {
            Value::List(values.into_iter().map(convert).collect::<Result<_, _>>()?)
        }
        redis::Value::Map(pairs) => Value::List(
            pairs
                .into_iter()
                .flat_map(|(k, v)| [k, v])
                .map(convert)
                .collect::<Result<_, _>>()?,
        ),
        redis::Value::ServerError(error) => return Err(error_of(&RedisError::from(error))),
        _ => return Err(corrupt()),
    })
}

/// Sorts an error of the driver. The text of a server's error stays in the source chain, for logs.
pub(crate) fn error_of(error: &RedisError) -> StoreError {
    let kind = match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS" | "NOPERM")) => {
            StoreErrorKind::Denied
        }
        (_, Some("WRONGTYPE" | "CORRUPT")) => StoreErrorKind::Corrupt,
        (ErrorKind::Server(_) | ErrorKind::Extension, _) => StoreErrorKind::Server,
        (ErrorKind::InvalidClientConfig, _) => StoreErrorKind::Config,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind).caused_by(error.clone())
}

/// Whether a write went to a server that no longer takes any: a demoted primary. Only a new connection finds the right
/// one.
pub(super) fn is_demoted(error: &StoreError) -> bool {
    use std::error::Error as _;
    error
        .source()
        .and_then(|source| source.downcast_ref::<RedisError>())
        .is_some_and(|error| matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Memory, get};

    static READ: Operation = Operation::each("test.read", "GET", get);
    static WRITE: Operation = Operation::command("test.write", "SET", |_: &mut Memory, _, _, _| {
        Ok(Value::Nil)
    });

    /// Answers nothing to everything, and notes which commands others could share.
    struct Noting(Vec<bool>);

    impl Exchange for Noting {
        async fn exchange(&mut self, commands: Few<Command>) -> Result<Few<redis::Value>, Failed> {
            let common = |command: &Command| matches!(command, Command::Common(..));
            self.0 = commands.iter().map(common).collect();
            Ok(commands.iter().map(|_| redis::Value::Nil).collect())
        }
    }

    /// Answers everything with the same.
    struct Odd(redis::Value);

    impl Exchange for Odd {
        async fn exchange(&mut self, commands: Few<Command>) -> Result<Few<redis::Value>, Failed> {
            Ok(commands.iter().map(|_| self.0.clone()).collect())
        }
    }

    /// Fails if: what is no answer about a key counts as none.
    #[tokio::test]
    async fn a_list_is_no_answer_about_one_key() {
        let one = || Call::new(&READ, Few::one("k".to_owned()), Vec::new());
        let two = || Call::new(&READ, vec!["k".to_owned(), "l".to_owned()], Vec::new());
        let none = || redis::Value::Array(vec![redis::Value::Nil]);
        for odd in [
            none(),
            redis::Value::Set(Vec::new()),
            redis::Value::Map(Vec::new()),
        ] {
            for calls in [vec![one()], vec![two()], vec![one(), two()]] {
                let replies = send(&mut Odd(odd.clone()), &calls, |_| true).await;
                let replies = replies.unwrap_or_else(|_| panic!("replies"));
                for reply in replies {
                    assert_eq!(reply.unwrap_err().kind(), StoreErrorKind::Corrupt);
                }
            }
        }
    }

    /// Fails if: somebody's own key is shared, or a read is answered from before a write of its own trip.
    #[tokio::test]
    async fn only_a_read_of_what_is_everybodys_is_shared() {
        let keys = || vec!["p:cutoff:global".to_owned(), "p:cutoff:{tag}".to_owned()];
        let read = || Call::new(&READ, keys(), Vec::new());
        let write = || Call::new(&WRITE, keys(), Vec::new());
        let trips: [(Vec<Call>, &[bool]); 3] = [
            (vec![read()], &[true, false]),
            (vec![read(), read()], &[true, false, true, false]),
            (vec![write(), read()], &[false, false, false]),
        ];
        for (calls, expected) in trips {
            let mut noting = Noting(Vec::new());
            assert!(send(&mut noting, &calls, |_| true).await.is_ok());
            assert_eq!(noting.0, expected);
        }
    }
}
