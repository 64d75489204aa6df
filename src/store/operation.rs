//! What the store can be asked: operations, calls and replies.
//!
//! An [`Operation`] is one atomic decision, written twice: as Lua for Redis and as Rust for the in-memory store. One
//! conformance suite holds the two equal. A [`Call`] is an operation with its keys and arguments; calls that travel
//! together are one trip.

use std::sync::OnceLock;

use super::{Few, Key, StoreError, StoreErrorKind, memory::Memory};

/// The Rust half of an operation. `now` is what Redis `TIME` is to the Lua half, in milliseconds.
pub(crate) type Twin = fn(&mut Memory, u64, &[Key], &[Arg]) -> Result<Value, Fault>;

/// One atomic decision. Always a `static`, so that its address and its hash last.
pub(crate) struct Operation {
    name: &'static str,
    form: Form,
    twin: Twin,
}

enum Form {
    /// A script, shared beginnings first, and what the server knows it by.
    Script {
        parts: &'static [&'static str],
        whole: OnceLock<Script>,
    },
    /// A plain command that takes the keys and then the arguments.
    Command(&'static str),
    /// A plain command that takes one key, sent for each of them; the reply is the list of replies, or of one key the reply
    /// itself.
    Each(&'static str),
}

pub(crate) struct Script {
    pub(crate) text: String,
    pub(crate) sha: String,
}

impl Operation {
    pub(crate) const fn script(
        name: &'static str,
        parts: &'static [&'static str],
        twin: Twin,
    ) -> Self {
        let form = Form::Script {
            parts,
            whole: OnceLock::new(),
        };
        Self { name, form, twin }
    }

    pub(crate) const fn command(name: &'static str, command: &'static str, twin: Twin) -> Self {
        Self {
            name,
            form: Form::Command(command),
            twin,
        }
    }

    /// A command of one key, asked about each of the call's keys. An error about one of them is the reply.
    pub(crate) const fn each(name: &'static str, command: &'static str, twin: Twin) -> Self {
        Self {
            name,
            form: Form::Each(command),
            twin,
        }
    }

    /// The same operation with something in front of its script.
    #[cfg(test)]
    pub(crate) fn with_prelude(&'static self, prelude: &'static str) -> Self {
        let form = match &self.form {
            Form::Script { parts, .. } => Form::Script {
                parts: Box::leak([&[prelude], *parts].concat().into_boxed_slice()),
                whole: OnceLock::new(),
            },
            Form::Command(name) => Form::Command(name),
            Form::Each(name) => Form::Each(name),
        };
        Self { form, ..*self }
    }

    /// Whether it only reads, so that sending it twice is harmless.
    pub(crate) fn is_read(&self) -> bool {
        self.as_command()
            .is_some_and(|name| matches!(name, "GET" | "EXISTS"))
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The script of this operation, or `None` for a plain command.
    pub(crate) fn as_script(&self) -> Option<&Script> {
        match &self.form {
            Form::Script { parts, whole } => Some(whole.get_or_init(|| {
                let text = parts.concat();
                let sha = super::redis::script_sha(&text);
                Script { text, sha }
            })),
            Form::Command(_) | Form::Each(_) => None,
        }
    }

    pub(crate) fn is_each(&self) -> bool {
        matches!(self.form, Form::Each(_))
    }

    pub(crate) fn as_command(&self) -> Option<&'static str> {
        match self.form {
            Form::Script { .. } => None,
            Form::Command(name) | Form::Each(name) => Some(name),
        }
    }

    pub(crate) fn on_memory(
        &self,
        memory: &mut Memory,
        now: u64,
        call: &Call,
    ) -> Result<Value, StoreError> {
        memory.begin();
        (self.twin)(memory, now, &call.keys, &call.args)
            .map_err(|fault| fault.into_error().during(self.name))
    }
}

/// An argument of a call.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Int(u64),
    Static(&'static str),
    Bytes(Vec<u8>),
}

impl From<u64> for Arg {
    fn from(value: u64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Arg {
    fn from(value: bool) -> Self {
        Self::Int(u64::from(value))
    }
}

impl From<&'static str> for Arg {
    fn from(value: &'static str) -> Self {
        Self::Static(value)
    }
}

impl From<String> for Arg {
    fn from(value: String) -> Self {
        Self::Bytes(value.into_bytes())
    }
}

impl From<Vec<u8>> for Arg {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl Arg {
    /// The argument as a twin sees it, as a number.
    pub(crate) fn int(&self) -> Result<u64, Fault> {
        match self {
            Self::Int(value) => Ok(*value),
            Self::Static(text) => text.parse().map_err(|_| Fault::Corrupt),
            Self::Bytes(bytes) => std::str::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or(Fault::Corrupt),
        }
    }

    /// The argument as a twin sees it, as text or bytes.
    pub(crate) fn bytes(&self) -> std::borrow::Cow<'_, [u8]> {
        match self {
            Self::Int(value) => value.to_string().into_bytes().into(),
            Self::Static(text) => text.as_bytes().into(),
            Self::Bytes(bytes) => bytes.as_slice().into(),
        }
    }
}

/// An operation with what it is asked about.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) operation: &'static Operation,
    pub(crate) keys: Few<Key>,
    pub(crate) args: Vec<Arg>,
}

impl Call {
    pub(crate) fn new(
        operation: &'static Operation,
        keys: impl Into<Few<Key>>,
        args: Vec<Arg>,
    ) -> Self {
        Self {
            operation,
            keys: keys.into(),
            args,
        }
    }
}

impl Call {
    /// Whether it travels as a command for each key, so that its reply is a list of replies.
    pub(super) fn is_many(&self) -> bool {
        self.operation.is_each() && self.keys.len() != 1
    }
}

/// A reply of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Nil,
    Int(i64),
    Bytes(Vec<u8>),
    List(Vec<Self>),
}

impl Value {
    pub(crate) fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Bytes(bytes.into())
    }

    pub(crate) fn int(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// A number, also when it arrives as text; `Nil` is `None`, anything else is not ours.
    pub(crate) fn as_number(&self) -> Result<Option<u64>, StoreError> {
        match self {
            Self::Nil => Ok(None),
            Self::Int(value) => u64::try_from(*value).map(Some).map_err(|_| corrupt()),
            Self::Bytes(bytes) => std::str::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse().ok())
                .map(Some)
                .ok_or_else(corrupt),
            Self::List(_) => Err(corrupt()),
        }
    }

    /// A number that must be there.
    pub(crate) fn number(&self) -> Result<u64, StoreError> {
        self.as_number()?.ok_or_else(corrupt)
    }

    /// The replies to [`Operation::each`].
    pub(crate) fn into_each(self) -> Few<Self> {
        match self {
            Self::List(values) => values.into(),
            one => Few::one(one),
        }
    }

    pub(crate) fn into_list(self) -> Result<Vec<Self>, StoreError> {
        match self {
            Self::List(values) => Ok(values),
            _ => Err(corrupt()),
        }
    }
}

pub(crate) fn corrupt() -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt)
}

/// Why the Rust half of an operation stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A key holds another kind of value (Redis: `WRONGTYPE`), or one that cannot be read.
    Corrupt,
    /// The memory limit is reached.
    Full,
}

impl Fault {
    fn into_error(self) -> StoreError {
        StoreError::new(match self {
            Self::Corrupt => StoreErrorKind::Corrupt,
            Self::Full => StoreErrorKind::Full,
        })
    }
}
