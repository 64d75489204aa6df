//! For suites that hold a script and its Rust half equal: scripts by whose `TIME` it is what the suite says.

use std::collections::HashMap;

use super::{Call, Operation, Value};

const TIME_IS_SET: &str = r"
local real = redis
local redis = setmetatable({
  call = function(name, ...)
    if name ~= 'TIME' then return real.call(name, ...) end
    local now = real.call('GET', 'the time')
    return { string.sub(now, 1, -4), string.sub(now, -3) .. '000' }
  end,
}, { __index = real })
";

static SET_TIME: Operation =
    Operation::command("test.time", "SET", |_, _, _, _| Ok(Value::bytes("OK")));

/// From here on both halves go by `now`.
pub(crate) fn time_is(now: u64) -> Call {
    Call::new(&SET_TIME, vec!["the time".to_owned()], vec![now.into()])
}

/// The operations with the suite's `TIME` in front.
#[derive(Default)]
pub(crate) struct Shadows(HashMap<&'static str, &'static Operation>);

impl Shadows {
    pub(crate) fn of(&mut self, call: &Call) -> Call {
        let operation = call.operation;
        let shadow = *self
            .0
            .entry(operation.name())
            .or_insert_with(|| Box::leak(Box::new(operation.with_prelude(TIME_IS_SET))));
        Call {
            operation: shadow,
            ..call.clone()
        }
    }
}
