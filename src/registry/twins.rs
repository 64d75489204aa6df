//! The Rust halves of the scripts.

use crate::{
    cutoff,
    store::{Arg, Fault, Key, Memory, Value},
};

const DIGITS: usize = 15;

fn arg(args: &[Arg], at: usize) -> Result<&Arg, Fault> {
    args.get(at).ok_or(Fault::Corrupt)
}

fn three(keys: &[Key]) -> Result<[&Key; 3], Fault> {
    match keys {
        [value, generation, lease] => Ok([value, generation, lease]),
        _ => Err(Fault::Corrupt),
    }
}

fn reply<T: Into<Vec<u8>>, const N: usize>(words: [T; N]) -> Value {
    Value::List(words.map(Value::bytes).into())
}

/// `read.lua`
pub(super) fn read(
    memory: &mut Memory,
    now: u64,
    keys: &[Key],
    args: &[Arg],
) -> Result<Value, Fault> {
    let [value, generation, lease] = three(keys)?;
    let value = memory.get(value)?.unwrap_or_default().to_vec();
    let old = value.get(DIGITS..).unwrap_or_default().to_vec();
    if !value.is_empty() {
        let fresh = fresh_until(&value)?;
        if now < fresh {
            let left = (fresh - now).to_string().into_bytes();
            return Ok(reply([b"hit".to_vec(), old, left]));
        }
    }
    if let Some(held) = memory.get(lease)? {
        return Ok(reply([b"wait".to_vec(), held.to_vec(), old]));
    }
    let until = now + arg(args, 1)?.int()?;
    memory.set(lease, arg(args, 0)?.bytes().into_owned(), Some(until))?;
    let generation = memory.get(generation)?.unwrap_or(b"0").to_vec();
    Ok(reply([b"lease".to_vec(), generation, old]))
}

/// What the digits in front of a value say; something must follow them.
fn fresh_until(value: &[u8]) -> Result<u64, Fault> {
    let digits = value.get(..DIGITS).filter(|_| value.len() > DIGITS);
    let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_digit));
    let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    number.ok_or(Fault::Corrupt)
}

/// `fill.lua`
pub(super) fn fill(
    memory: &mut Memory,
    now: u64,
    keys: &[Key],
    args: &[Arg],
) -> Result<Value, Fault> {
    let [value, generation, lease] = three(keys)?;
    let mine = memory.get(lease)? == Some(&*arg(args, 0)?.bytes());
    if !mine || memory.get(generation)?.unwrap_or(b"0") != &*arg(args, 1)?.bytes() {
        return Ok(Value::Int(0));
    }
    memory.delete(lease);
    let mut text = format!("{:015}", now + arg(args, 3)?.int()?).into_bytes();
    text.extend_from_slice(&arg(args, 2)?.bytes());
    memory.set(value, text, Some(now + arg(args, 4)?.int()?))?;
    Ok(Value::Int(1))
}

/// `forget.lua`
pub(super) fn forget(
    memory: &mut Memory,
    now: u64,
    keys: &[Key],
    args: &[Arg],
) -> Result<Value, Fault> {
    let [value, generation, lease] = three(keys)?;
    memory.delete(value);
    memory.delete(lease);
    let text = memory.get(generation)?.unwrap_or(b"0");
    let is_number = (1..=DIGITS).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    let old = std::str::from_utf8(text)
        .ok()
        .filter(|_| is_number)
        .and_then(|text| text.parse::<u64>().ok())
        .unwrap_or(0);
    let next = now.max(old + 1).to_string();
    let until = now + arg(args, 0)?.int()?;
    memory.set(generation, next.clone().into_bytes(), Some(until))?;
    Ok(Value::bytes(next))
}

/// `release.lua`
pub(super) fn release(
    memory: &mut Memory,
    _: u64,
    keys: &[Key],
    args: &[Arg],
) -> Result<Value, Fault> {
    let [.., lease] = three(keys)?;
    let mine = memory.get(lease)? == Some(&*arg(args, 0)?.bytes());
    Ok(Value::Int(i64::from(mine && memory.delete(lease))))
}

/// `clock.lua`
pub(super) fn clock(
    memory: &mut Memory,
    now: u64,
    keys: &[Key],
    _: &[Arg],
) -> Result<Value, Fault> {
    let mark = memory.get(keys.first().ok_or(Fault::Corrupt)?)?;
    let mark = mark.unwrap_or_default().to_vec();
    Ok(reply([now.to_string().into_bytes(), mark]))
}

/// `mark.lua`
pub(super) fn mark(
    memory: &mut Memory,
    _: u64,
    keys: &[Key],
    args: &[Arg],
) -> Result<Value, Fault> {
    let key = keys.first().ok_or(Fault::Corrupt)?;
    let (old, new) = (cutoff::read(memory, key)?, arg(args, 0)?.int()?);
    if old.is_none_or(|old| new > old) {
        let until = new + arg(args, 1)?.int()?;
        memory.set(key, new.to_string().into_bytes(), Some(until))?;
    }
    Ok(Value::Int(1))
}
