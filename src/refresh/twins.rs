//! The Rust halves of `issue.lua` and `rotate.lua`, step by step.

use super::decision::{self, Decision};
use crate::{
    cutoff,
    device::{Index, Names, Room},
    store::{Arg, Fault, Key, Memory, Value},
};

const NO_SESSION: [u8; 43] = [b'.'; 43];

pub(super) fn arg(args: &[Arg], at: usize) -> Result<&Arg, Fault> {
    args.get(at).ok_or(Fault::Corrupt)
}

pub(super) fn reply(words: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Value {
    Value::List(words.into_iter().map(Value::bytes).collect())
}

/// `HGET`
pub(super) fn field(
    memory: &mut Memory,
    _: u64,
    keys: &[Key],
    args: &[Arg],
) -> Result<Value, Fault> {
    let key = keys.first().ok_or(Fault::Corrupt)?;
    let found = memory.hash_get(key, &arg(args, 0)?.bytes())?;
    Ok(found.map_or(Value::Nil, Value::bytes))
}

/// `issue.lua`
pub(super) fn issue(
    memory: &mut Memory,
    now: u64,
    keys: &[Key],
    args: &[Arg],
) -> Result<Value, Fault> {
    let [family, zset, hash, ahead, cutoffs @ ..] = keys else {
        return Err(Fault::Corrupt);
    };
    let cutoff = cutoff::largest(memory, cutoffs)?;
    let latest = cutoff::read(memory, ahead)?;
    let index = Index { zset, hash };
    index.check(memory)?;
    let kept = arg(args, 13)?.int()?;
    if cutoff::is_outdated(arg(args, 22)?.int()?, now, cutoff, latest, kept) {
        return Ok(reply(["outdated"]));
    }
    let auth = match arg(args, 11)?.int()? {
        0 => cutoff.map_or(now, |cutoff| now.max(cutoff + 1)),
        auth if cutoff.is_some_and(|cutoff| auth <= cutoff) => return Ok(reply(["cut"])),
        auth => auth,
    };
    let sid = arg(args, 5)?.bytes();
    let room = Room {
        limit: arg(args, 14)?.int()?,
        evict: arg(args, 15)?.int()? == 1,
        names: &Names::read(args.get(16..20).ok_or(Fault::Corrupt)?)?,
        cutoff,
    };
    let joins = arg(args, 21)?.int()? == 1;
    if joins && !index.is_alive(memory, now, &sid, cutoff, room.names)? {
        return Ok(reply(["cut"]));
    }
    if !index.admit(memory, now, &sid, &room)? {
        return Ok(reply(["full"]));
    }
    let absolute = now + arg(args, 10)?.int()?;
    let expires = absolute.min(now + arg(args, 9)?.int()?);
    let login = match arg(args, 20)?.int()? {
        0 => auth,
        login => login,
    };
    start_family(memory, family, args, [absolute, auth, login, now, 0])?;
    memory.expire_at(family, expires);
    let meta = meta_of(
        index.meta(memory, &sid)?.as_deref(),
        auth,
        &arg(args, 12)?.bytes(),
    );
    index.put(memory, &sid, expires, &meta)?;
    cutoff::keep_later(memory, ahead, latest, auth, kept)?;
    Ok(reply([
        "ok".to_owned(),
        auth.to_string(),
        absolute.to_string(),
        login.to_string(),
    ]))
}

fn start_family(
    memory: &mut Memory,
    family: &Key,
    args: &[Arg],
    numbers: [u64; 5],
) -> Result<(), Fault> {
    memory.delete(family);
    for (name, at) in [
        ("cur", 0),
        ("kid", 1),
        ("epoch", 2),
        ("tenant", 3),
        ("user", 4),
        ("client", 6),
        ("scope", 7),
        ("resource", 8),
        ("idle", 9),
    ] {
        memory.hash_set(family, name.as_bytes(), &arg(args, at)?.bytes())?;
    }
    for (name, value) in ["abs", "auth", "login", "rot", "gen"]
        .into_iter()
        .zip(numbers)
    {
        memory.hash_set(family, name.as_bytes(), value.to_string().as_bytes())?;
    }
    Ok(())
}

/// What the index is to know, given what it knew.
fn meta_of(known: Option<&[u8]>, auth: u64, about: &[u8]) -> Vec<u8> {
    let session = known.and_then(|meta| meta.get(..43));
    let about = match known.and_then(|meta| meta.get(58..)) {
        Some(known) if about == b"{}" => known,
        _ => about,
    };
    let auth = format!("{auth:015}");
    [session.unwrap_or(&NO_SESSION), auth.as_bytes(), about].concat()
}

/// A family as it is stored.
pub(super) struct Stored<'a> {
    pub(super) memory: &'a Memory,
    pub(super) key: &'a Key,
}

impl Stored<'_> {
    pub(super) fn text(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self
            .memory
            .hash_get(self.key, name.as_bytes())?
            .map(<[u8]>::to_vec))
    }

    pub(super) fn number(&self, name: &str) -> Result<u64, Fault> {
        let text = self.text(name)?.ok_or(Fault::Corrupt)?;
        let number = std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.parse().ok());
        number.ok_or(Fault::Corrupt)
    }

    fn decide(&self, now: u64, cutoff: Option<u64>, args: &[Arg]) -> Result<Decision, Fault> {
        let lossy = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        let text = |name| Ok::<_, Fault>(self.text(name)?.map(|text| lossy(&text)));
        let asked = |at| Ok::<_, Fault>(lossy(&arg(args, at)?.bytes()));
        let stored = decision::Stored {
            ended: text("ended")?,
            current: text("cur")?,
            previous: text("prev")?,
            nonce: text("nonce")?,
            epoch: text("epoch")?,
            client: text("client")?,
            scope: text("scope")?,
            resource: text("resource")?,
            idle_ms: self.number("idle").ok(),
            ends_ms: self.number("abs").ok(),
            rotated_ms: self.number("rot").ok(),
            generation: self.number("gen").ok(),
            auth_ms: self.number("auth").ok(),
        };
        let presented = decision::Presented {
            epoch: &asked(0)?,
            hash: &asked(1)?,
            generation: arg(args, 2)?.int()?,
            nonce: &asked(4)?,
            grace_ms: arg(args, 6)?.int()?,
            client: &asked(7)?,
            scope: &asked(8)?,
            resource: &asked(9)?,
        };
        decision::decide(&stored, now, cutoff, &presented).ok_or(Fault::Corrupt)
    }

    pub(super) fn is(&self, name: &str, value: &[u8]) -> Result<bool, Fault> {
        Ok(self.text(name)?.as_deref() == Some(value))
    }

    fn good(&self, what: &str, nonce: &[u8], kid: &[u8]) -> Result<Value, Fault> {
        let mut words = vec![what.as_bytes().to_vec(), nonce.to_vec(), kid.to_vec()];
        for name in [
            "auth", "abs", "tenant", "user", "client", "scope", "resource", "login",
        ] {
            words.push(self.text(name)?.unwrap_or_default());
        }
        Ok(reply(words))
    }
}

/// What `rotate.lua` finds out before it writes anything.
enum Verdict {
    Say(Value),
    /// The family ends, and this is said.
    Kill(Value),
    Rotate {
        rolled: bool,
    },
}

/// `rotate.lua`
pub(super) fn rotate(
    memory: &mut Memory,
    now: u64,
    keys: &[Key],
    args: &[Arg],
) -> Result<Value, Fault> {
    let [family, zset, hash, cutoffs @ ..] = keys else {
        return Err(Fault::Corrupt);
    };
    let sid = arg(args, 10)?.bytes();
    let index = Index { zset, hash };
    index.check(memory)?;
    match verdict(memory, now, family, cutoffs, args)? {
        Verdict::Say(value) => Ok(value),
        Verdict::Kill(value) => {
            let names = Names::read(args.get(11..15).ok_or(Fault::Corrupt)?)?;
            index.kill(memory, now, &sid, &names, Some("revoked"))?;
            Ok(value)
        }
        Verdict::Rotate { rolled } => {
            let (expires, generation) = {
                let stored = Stored {
                    memory,
                    key: family,
                };
                let expires = stored.number("abs")?.min(now + stored.number("idle")?);
                (expires, arg(args, 2)?.int()? + 1)
            };
            for (name, at) in [("prev", 1), ("cur", 3), ("nonce", 4), ("kid", 5)] {
                memory.hash_set(family, name.as_bytes(), &arg(args, at)?.bytes())?;
            }
            for (name, value) in [("gen", generation), ("rot", now)] {
                memory.hash_set(family, name.as_bytes(), value.to_string().as_bytes())?;
            }
            memory.expire_at(family, expires);
            index.touch(memory, &sid, expires)?;
            let what = if rolled { "rolled" } else { "rotated" };
            Stored {
                memory,
                key: family,
            }
            .good(what, &arg(args, 4)?.bytes(), &arg(args, 5)?.bytes())
        }
    }
}

fn verdict(
    memory: &Memory,
    now: u64,
    family: &Key,
    cutoffs: &[Key],
    args: &[Arg],
) -> Result<Verdict, Fault> {
    let stored = Stored {
        memory,
        key: family,
    };
    let decision = stored.decide(now, cutoff::largest(memory, cutoffs)?, args)?;
    let kid = || Ok::<_, Fault>(stored.text("kid")?.unwrap_or_default());
    let say = |word: &str| Ok(Verdict::Say(reply([word])));
    match decision {
        Decision::Ended(why) => Ok(Verdict::Say(reply(["ended".to_owned(), why]))),
        Decision::Unknown => say("unknown"),
        Decision::Expired => say("expired"),
        Decision::Client => say("client"),
        Decision::Scope => say("scope"),
        Decision::Resource => say("resource"),
        Decision::Cut => Ok(Verdict::Kill(reply(["cut"]))),
        Decision::Replayed => {
            let nonce = stored.text("nonce")?.unwrap_or_default();
            Ok(Verdict::Say(stored.good("replayed", &nonce, &kid()?)?))
        }
        Decision::Current => Ok(Verdict::Say(stored.good("current", b"", &kid()?)?)),
        Decision::Rotate { rolled } => Ok(Verdict::Rotate { rolled }),
        Decision::Reused => Ok(Verdict::Kill(stored.good("reused", b"", b"")?)),
    }
}
