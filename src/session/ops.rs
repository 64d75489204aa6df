//! What a session asks the store: operations, their calls, and what the replies mean.

use std::collections::BTreeMap;

use super::{
    config::Ended,
    id::{Name, SessionId},
    record::{MOVED, Record},
    short::Short,
    twin_login, twins,
};
use crate::{
    clock::millis,
    cutoff,
    device::{self, ENDED, Names},
    near::{Replica, Scope, View},
    store::{
        Arg, Call, Few, Key, Namespace, Operation, Store, StoreError, StoreErrorKind, Tag, Value,
        get,
    },
};

/// Reads and writes records.
pub(crate) const PRELUDE: &str = include_str!("prelude.lua");
const SHORT: &str = include_str!("save_short.lua");
const SAVE_LUA: &str = include_str!("save.lua");

/// Of one key: `MGET` answers nothing for a key of another kind, and a cutoff that cannot be read is no missing one. Four of
/// these cost the server 1.0 µs where one `MGET` cost 0.7.
pub(super) static READ: Operation = Operation::each("session.read", "GET", get);
pub(super) static LOAD: Operation = Operation::script(
    "session.load",
    &[cutoff::LUA, PRELUDE, device::LUA, include_str!("load.lua")],
    twins::load,
);
pub(super) static SAVE: Operation = Operation::script(
    "session.save",
    &[cutoff::LUA, SHORT, PRELUDE, device::LUA, SAVE_LUA],
    twins::save,
);
pub(super) static CREATE: Operation = Operation::script(
    "session.create",
    &[cutoff::LUA, PRELUDE, include_str!("create.lua")],
    twins::create,
);
pub(super) static RENEW: Operation = Operation::script(
    "session.renew",
    &[cutoff::LUA, PRELUDE, device::LUA, include_str!("renew.lua")],
    twins::renew,
);
/// Old and new session lie in different slots when a visitor signs in; see the slot test.
pub(super) static LOGIN: Operation = Operation::script(
    "session.login",
    &[cutoff::LUA, PRELUDE, device::LUA, include_str!("login.lua")],
    twin_login::login,
);
pub(super) static DESTROY: Operation = Operation::script(
    "session.destroy",
    &[
        cutoff::LUA,
        PRELUDE,
        device::LUA,
        include_str!("destroy.lua"),
    ],
    twins::destroy,
);

pub(super) const ALL: [&Operation; 6] = [&LOAD, &SAVE, &CREATE, &RENEW, &LOGIN, &DESTROY];

/// What a request wants changed: fields set or removed, after everything was cleared if so.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    pub(super) clear: bool,
    /// Field name → JSON text, or `None` for a removed field.
    pub(super) fields: BTreeMap<String, Option<String>>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        !self.clear && self.fields.is_empty()
    }

    /// Whether a session that does not exist has to be made for them.
    pub(super) fn sets_something(&self) -> bool {
        self.fields.values().any(Option::is_some)
    }

    /// How long a record with these fields is at least, with nothing else in it.
    pub(super) fn least(&self) -> u64 {
        let texts = self
            .fields
            .iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let words = texts.flat_map(|(name, value)| [name.len(), value.len()]);
        words.map(|length| length as u64 + 2).sum()
    }

    fn append_to(&self, args: &mut Vec<Arg>) {
        let set = self.fields.values().filter(|value| value.is_some()).count();
        args.push(self.clear.into());
        args.push((set as u64).into());
        for (name, value) in &self.fields {
            if let Some(value) = value {
                args.push(name.clone().into());
                args.push(value.clone().into());
            }
        }
        let removed = self.fields.iter().filter(|(_, value)| value.is_none());
        args.extend(removed.map(|(name, _)| Arg::from(name.clone())));
    }
}

/// How long a session lives, as the store is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    /// Without an idle timeout, the absolute one alone counts.
    pub(super) idle: Option<std::time::Duration>,
    pub(super) absolute: std::time::Duration,
    /// Whether the cookie outlives the browser's session.
    pub(super) persistent: bool,
}

impl Life {
    fn idle_ms(&self) -> u64 {
        // 0 stands for no idle timeout.
        self.idle.map_or(0, |idle| millis(idle).max(1))
    }

    fn flag(&self) -> &'static str {
        if self.persistent { "p" } else { "-" }
    }
}

/// Where the keys of one session are.
pub(super) struct Place<'a> {
    store: &'a Store,
    namespace: &'a Namespace,
    id: &'a SessionId,
    name: Name,
    tag: Tag,
    limit: u64,
}

impl<'a> Place<'a> {
    pub(super) fn new(store: &'a Store, id: &'a SessionId, limit: u64) -> Self {
        Self::named(store, id, id.name(), limit)
    }

    /// The same, where the name of the id is known.
    pub(super) fn named(store: &'a Store, id: &'a SessionId, name: Name, limit: u64) -> Self {
        Self {
            store,
            namespace: store.namespace(),
            id,
            name,
            tag: name.tag,
            limit,
        }
    }

    fn key(&self) -> Key {
        self.name.key(self.namespace)
    }

    fn devices(&self) -> [Key; 2] {
        device::keys(self.namespace, &self.tag)
    }

    fn user_cutoff(&self) -> Key {
        cutoff::user_key(self.namespace, &self.tag)
    }

    /// User, everyone, and the tenant if there is one.
    fn cutoffs(&self) -> impl Iterator<Item = Key> {
        let common = [self.user_cutoff(), cutoff::global_key(self.namespace)];
        let tenant = self.name.tenant;
        let tenant = tenant.map(|tenant| cutoff::tenant_key(self.namespace, &tenant));
        common.into_iter().chain(tenant)
    }

    /// The record alone, for when this node knows the cutoffs.
    pub(super) fn read_alone(&self) -> Call {
        Call::new(&READ, Few::one(self.key()), Vec::new())
    }

    /// A plain read, for when a recorded use is known to be fresh.
    pub(super) fn read(&self) -> Call {
        let mut keys = Vec::with_capacity(4);
        keys.push(self.key());
        keys.extend(self.cutoffs());
        Call::new(&READ, keys, Vec::new())
    }

    /// A read that records the use if the last recorded one is at least `fresh` milliseconds ago.
    pub(super) fn load(&self, fresh: u64) -> Call {
        let mut keys = Vec::with_capacity(6);
        keys.push(self.key());
        keys.extend(self.devices());
        keys.extend(self.cutoffs());
        Call::new(&LOAD, keys, vec![fresh.into()])
    }

    pub(super) fn save(&self, changes: &Changes, short: Option<Short>) -> Call {
        let [zset, hash] = self.devices();
        let mut args = Vec::with_capacity(6 + 2 * changes.fields.len());
        args.push(self.limit.into());
        Short::append_to(short, &mut args);
        changes.append_to(&mut args);
        Call::new(
            &SAVE,
            vec![self.key(), zset, hash, self.user_cutoff()],
            args,
        )
    }

    pub(super) fn create(&self, life: &Life, changes: &Changes) -> Call {
        let mut args = vec![
            self.limit.into(),
            self.id.check().to_vec().into(),
            life.idle_ms().into(),
            millis(life.absolute).into(),
            life.flag().into(),
        ];
        changes.append_to(&mut args);
        Call::new(&CREATE, vec![self.key()], args)
    }

    pub(super) fn renew(&self, to: &SessionId, changes: &Changes) -> Call {
        let [zset, hash] = self.devices();
        let keys = vec![
            self.key(),
            to.key(self.namespace),
            zset,
            hash,
            self.user_cutoff(),
        ];
        let mut args = vec![self.limit.into(), to.hash().into()];
        changes.append_to(&mut args);
        Call::new(&RENEW, keys, args)
    }

    pub(super) fn destroy(&self) -> Call {
        let [zset, hash] = self.devices();
        let mut args = Vec::new();
        Names::new(self.store, &self.tag).append_to(&mut args);
        Call::new(&DESTROY, vec![self.key(), zset, hash], args)
    }

    /// Starts this session for a user in place of `old`.
    pub(super) fn login(
        &self,
        old: Option<&SessionId>,
        user: &NewUser<'_>,
        changes: &Changes,
    ) -> Call {
        let from = Place::new(self.store, old.unwrap_or(self.id), self.limit);
        let mut keys = vec![from.key(), self.key()];
        keys.extend(self.devices());
        keys.extend(from.devices());
        keys.push(cutoff::latest_key(self.namespace));
        keys.extend(self.cutoffs());
        keys.push(from.user_cutoff());
        let mut args = vec![
            self.limit.into(),
            self.id.hash().into(),
            old.is_some().into(),
            user.tenant.to_owned().into(),
            user.user.to_owned().into(),
            user.sid.to_owned().into(),
            user.life.idle_ms().into(),
            millis(user.life.absolute).into(),
            user.life.flag().into(),
            user.meta.to_owned().into(),
            user.ahead_kept.into(),
            user.most_devices.into(),
            user.evict.into(),
        ];
        Names::new(self.store, &self.tag).append_to(&mut args);
        Names::new(self.store, &from.tag).append_to(&mut args);
        args.push(user.started.into());
        changes.append_to(&mut args);
        Call::new(&LOGIN, keys, args)
    }
}

/// Who signs in, and how.
pub(super) struct NewUser<'a> {
    pub(super) tenant: &'a str,
    pub(super) user: &'a str,
    pub(super) sid: &'a str,
    pub(super) life: Life,
    /// What the device index is to know about the device, as JSON.
    pub(super) meta: &'a str,
    pub(super) ahead_kept: u64,
    /// When the authentication began; 0 is not said.
    pub(super) started: u64,
    pub(super) most_devices: u64,
    pub(super) evict: bool,
}

/// What a load found.
pub(super) struct Loaded {
    pub(super) record: Option<Record>,
    /// Why there is none, where that is known.
    pub(super) ended: Option<Ended>,
    /// Milliseconds since the last recorded use, where the store was asked for it.
    pub(super) age: Option<u64>,
    /// Whether this node held it, and nobody was asked.
    pub(super) held: bool,
}

/// The cutoffs that apply to a session.
pub(super) fn scopes(name: &Name) -> impl Iterator<Item = Scope> {
    let common = [Scope::User(name.tag), Scope::Everyone].into_iter();
    common.chain(name.tenant.map(Scope::Tenant))
}

/// Whether this node knows the cutoffs of a session, so that they need not be asked for.
pub(super) fn knows_cutoffs(view: &View<'_>, name: &Name) -> bool {
    view.is_fresh() && scopes(name).all(|scope| !view.cutoff(scope).unsure)
}

/// Reads the reply to [`Place::read`], [`Place::read_alone`] or [`Place::load`]: what a cutoff ended is as good as
/// gone. What this node knows of cutoffs counts in any case: it only rises, and a store may have lost it.
pub(super) fn loaded(
    reply: Value,
    name: &Name,
    near: Option<&Replica>,
) -> Result<Loaded, StoreError> {
    // What is no list is the record alone: that was asked for when the cutoffs were known.
    let alone = !matches!(reply, Value::List(_));
    let mut values = reply.into_each().into_iter();
    let (mut record, mut ended) = match values.next() {
        Some(Value::Bytes(raw)) => match raw.first() {
            Some(&MOVED) => (None, None),
            Some(&ENDED) if raw.ends_with(b"elsewhere") => (None, Some(Ended::Elsewhere)),
            Some(&ENDED) => (None, Some(Ended::Revoked)),
            _ => (Some(Record::of(raw, name.check())?), None),
        },
        Some(Value::Nil) => (None, None),
        _ => return Err(StoreError::new(StoreErrorKind::Corrupt)),
    };
    let known = near.map(Replica::view);
    let known = scopes(name).filter_map(|scope| known.as_ref()?.cutoff(scope).moment);
    let mut largest = known.max();
    let cutoffs = if alone && near.is_some() {
        0
    } else {
        scopes(name).count()
    };
    for _ in 0..cutoffs {
        let value = values.next().ok_or(StoreErrorKind::Corrupt);
        largest = largest.max(value.map_err(StoreError::new)?.as_number()?);
    }
    let age = match values.next() {
        Some(Value::Int(age)) => u64::try_from(age).ok(),
        _ => None,
    };
    if record
        .as_ref()
        .is_some_and(|record| record.header.is_cut(largest))
    {
        (record, ended) = (None, Some(Ended::Revoked));
    }
    Ok(Loaded {
        record,
        ended,
        age,
        held: false,
    })
}

/// What became of a write.
pub(super) enum Written {
    Done(Record),
    /// There is no such session any more.
    Gone,
    TooLarge,
    /// The user has as many devices as allowed.
    TooMany,
    /// A cutoff came after the authentication began.
    Outdated,
}

/// Reads the reply to a call that writes a whole record.
pub(super) fn written(reply: Value, id: &SessionId) -> Result<Written, StoreError> {
    match reply {
        Value::Bytes(raw) => Record::of(raw, id.check()).map(Written::Done),
        Value::Nil => Ok(Written::Gone),
        Value::Int(2) => Ok(Written::TooLarge),
        Value::Int(3) => Ok(Written::TooMany),
        Value::Int(4) => Ok(Written::Outdated),
        _ => Err(StoreError::new(StoreErrorKind::Corrupt)),
    }
}
