//! Random steps for the conformance suite: every operation, several users and tenants, and now and then a value that
//! this crate never wrote.

use std::collections::{BTreeMap, HashSet};

use super::{
    super::{
        id::SessionId,
        ops::{Changes, Place},
        record::Record,
        short::Short,
    },
    KEPT, LIMIT, life, new_user,
    others::{self, sid},
};
use crate::{
    cutoff, device,
    refresh::probe::Families,
    store::{Call, Content, Entry, Key, Memory, Namespace, Store, Tag},
};

/// SplitMix64: small, and the same everywhere for one seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

const USERS: [(&str, &str); 6] = [
    ("", "alice"),
    ("", "bob"),
    ("acme", "alice"),
    ("acme", "carol"),
    ("zeta", "alice"),
    ("", "übung"),
];
const NAMES: [&str; 7] = ["a", "b", "cart", "ünï", "12:", "a:b", "-"];
/// Ids in play at once; older ones are forgotten, and mostly dead.
const POOL: usize = 48;

pub(super) struct Steps {
    pub(super) random: Random,
    pub(super) store: Store,
    namespace: Namespace,
    ids: Vec<SessionId>,
    pub(super) now: u64,
    pub(super) sids: u64,
    pub(super) families: Families,
    /// The last call that may be sent again when its reply was lost.
    again: Option<Call>,
    /// Records as some save saw them.
    seen: BTreeMap<Key, Record>,
}

impl Steps {
    pub(super) fn new(seed: u64, store: Store, now: u64) -> Self {
        Self {
            random: Random(seed),
            namespace: store.namespace().clone(),
            store,
            ids: vec![SessionId::anonymous().unwrap()],
            now,
            sids: 0,
            families: others::families(),
            again: None,
            seen: BTreeMap::new(),
        }
    }

    /// The next call. `memory` is looked at for values worth damaging.
    pub(super) fn next(&mut self, memory: &Memory) -> Call {
        self.pass_time();
        let id = *self.random.pick(&self.ids.clone());
        let changes = self.changes();
        let store = self.store.clone();
        let place = Place::new(&store, &id, LIMIT);
        let call = match self.random.below(140) {
            0..12 => self.create(&changes),
            12..30 => self.login(&id, &changes),
            30..40 => {
                let new = self.remember(id.successor().unwrap());
                place.renew(&new, &changes)
            }
            40..56 => {
                let short = self.short(memory, &id, &changes);
                place.save(&changes, short)
            }
            56..70 => place.load(*self.random.pick(&[0, 1, 1_000, 60_000])),
            70..78 => place.read(),
            78..83 => place.destroy(),
            83..86 => self.raise(),
            86..89 => cutoff::start_call(&store),
            89..101 => self.issue(memory),
            101..113 => self.rotate().unwrap_or_else(|| place.load(0)),
            113..118 => self.of_token().unwrap_or_else(|| place.load(0)),
            118..123 => self.device(),
            123..127 => self.csrf(&id),
            127..131 => self.again.clone().unwrap_or_else(|| place.load(0)),
            131..138 => self.repair(memory),
            _ => self.damage(memory),
        };
        let resent = ["session.login", "session.renew", "refresh.issue"];
        if resent.contains(&call.operation.name()) {
            self.again = Some(call.clone());
        }
        call
    }

    /// A guess at what a save makes of the record: a right one, one of a record of before, or none.
    fn short(&mut self, memory: &Memory, id: &SessionId, changes: &Changes) -> Option<Short> {
        let key = id.key(&self.namespace);
        let stored = memory.get(&key).ok().flatten().map(<[u8]>::to_vec);
        let stored = stored.and_then(Record::parse);
        let before = self.seen.get(&key).cloned();
        if let Some(stored) = &stored {
            self.seen.insert(key, stored.clone());
        }
        // The server's own clock is a day behind that of the steps: its keys end later than they should.
        let over = |stored: &Record| stored.header.expiry() <= self.now;
        if stored.as_ref().is_none_or(over) {
            return None;
        }
        let record = match self.random.below(4) {
            0 => None,
            1 => before,
            _ => stored,
        };
        Short::of(&record?, changes, LIMIT)
    }

    /// Deletes what no later step will ask for, so that looking at everything stays quick.
    pub(super) fn tidy(&self, memory: &Memory) -> Vec<Call> {
        let ids = self.ids.iter();
        let known = ids.flat_map(|id| {
            let place = others::csrf_place(&self.store, id);
            [place.session, place.secret]
        });
        let known: HashSet<Key> = known.chain(self.family_keys()).collect();
        let forgotten = memory.entries().into_iter().filter(|entry| {
            let rooms = [":session:", ":csrf:", ":refresh:"];
            let is_of_pool = rooms.iter().any(|room| entry.key.contains(room));
            (is_of_pool && !known.contains(&entry.key)) || entry.key.contains("-sid:")
        });
        forgotten.map(|entry| nothing_at(entry.key)).collect()
    }

    /// Mostly none: many steps of one millisecond are the interesting ones.
    fn pass_time(&mut self) {
        let passed = match self.random.below(100) {
            0..70 => 0,
            70..85 => 1,
            85..95 => self.random.below(2_000),
            95..99 => self.random.below(60_000),
            _ => self.random.below(900_000),
        };
        self.now += passed;
    }

    fn remember(&mut self, id: SessionId) -> SessionId {
        if self.ids.len() >= POOL {
            let at = self.random.below(POOL as u64) as usize;
            self.ids.swap_remove(at);
        }
        self.ids.push(id);
        id
    }

    fn life(&mut self) -> super::Life {
        let idle = *self.random.pick(&[Some(60_000), Some(1_800_000), None]);
        let absolute = *self.random.pick(&[1_800_000, 7_200_000]);
        life(idle, absolute, self.random.one_in(3))
    }

    fn create(&mut self, changes: &Changes) -> Call {
        // Now and then one that is taken.
        let id = if self.random.one_in(8) {
            *self.random.pick(&self.ids.clone())
        } else {
            self.remember(SessionId::anonymous().unwrap())
        };
        let life = self.life();
        Place::new(&self.store, &id, LIMIT).create(&life, changes)
    }

    fn login(&mut self, old: &SessionId, changes: &Changes) -> Call {
        let (tenant, user) = self.user();
        let tag = self.namespace.user_tag("", tenant, user);
        let of_tenant = (!tenant.is_empty()).then(|| self.namespace.tenant_tag(tenant));
        let new = SessionId::of_user(&tag, of_tenant.as_ref()).unwrap();
        self.remember(new);
        self.sids += 1;
        let sid = sid(self.sids);
        let mut user = new_user(tenant, user, &sid, self.life());
        user.most_devices = *self.random.pick(&[1_000, 1_000, 1_000, 3, 1]);
        user.evict = self.random.one_in(2);
        user.started = self.started();
        let old = (!self.random.one_in(3)).then_some(old);
        Place::new(&self.store, &new, LIMIT).login(old, &user, changes)
    }

    pub(super) fn user(&mut self) -> (&'static str, &'static str) {
        *self.random.pick(&USERS)
    }

    /// When an authentication began, if that is said: about now, long ago, or in a future that the store has forgotten.
    pub(super) fn started(&mut self) -> u64 {
        match self.random.below(24) {
            0..18 => 0,
            18..20 => self.now,
            20 => self.now - 1,
            21 => self.now + 1,
            22 => self.now - self.random.below(60_000),
            _ => *self
                .random
                .pick(&[self.now - KEPT, self.now - KEPT + 1, self.now + 60_000]),
        }
    }

    fn raise(&mut self) -> Call {
        let key = self.cutoff_key();
        // Seldom everyone: it would leave nobody to test with.
        let key = if self.random.one_in(4) {
            cutoff::global_key(&self.namespace)
        } else {
            key
        };
        cutoff::raise_call(&self.namespace, key, KEPT)
    }

    fn cutoff_key(&mut self) -> Key {
        let (tenant, user) = *self.random.pick(&USERS);
        if self.random.one_in(4) {
            cutoff::tenant_key(&self.namespace, &self.namespace.tenant_tag(tenant))
        } else {
            cutoff::user_key(&self.namespace, &self.user_tag(tenant, user))
        }
    }

    fn user_tag(&self, tenant: &str, user: &str) -> Tag {
        self.namespace.user_tag("", tenant, user)
    }

    fn changes(&mut self) -> Changes {
        let mut fields = BTreeMap::new();
        for _ in 0..self.random.below(4) {
            let name = (*self.random.pick(&NAMES)).to_owned();
            let value = match self.random.below(20) {
                0..5 => None,
                5 => Some("\"x\"".repeat(self.random.below(1_000) as usize)),
                6 => Some(String::new()),
                _ => Some(format!("\"{}\"", self.random.below(1_000))),
            };
            fields.insert(name, value);
        }
        let clear = self.random.one_in(20);
        Changes { clear, fields }
    }

    /// Any of the keys that operations touch.
    fn any_key(&mut self) -> Key {
        let (tenant, user) = *self.random.pick(&USERS);
        let tag = self.user_tag(tenant, user);
        let place = others::csrf_place(&self.store, self.random.pick(&self.ids));
        match self.random.below(13) {
            8 | 10 | 11 => self.family_key().unwrap_or(place.secret),
            9 => place.secret,
            0 => self.cutoff_key(),
            1 => self
                .random
                .pick(&device::keys(&self.namespace, &tag))
                .clone(),
            2 if self.random.one_in(2) => cutoff::largest_key(&self.namespace),
            2 => cutoff::latest_key(&self.namespace),
            _ => self.random.pick(&self.ids).key(&self.namespace),
        }
    }

    /// Deletes what a step before damaged, or something sound.
    fn repair(&mut self, memory: &Memory) -> Call {
        let broken = memory
            .entries()
            .into_iter()
            .find(|entry| !self.is_sound(entry));
        let key = broken.map_or_else(|| self.any_key(), |entry| entry.key);
        nothing_at(key)
    }

    fn is_sound(&self, entry: &Entry) -> bool {
        let expected = match entry.key.split(':').nth(1) {
            Some("session") => {
                return matches!(&entry.content, Content::Text(raw)
                    if raw.first().is_some_and(|first| b">!".contains(first)) || Record::parse(raw.clone())
                        .is_some_and(|record| record.all_fields().is_ok()));
            }
            Some("cutoff") => {
                return matches!(&entry.content, Content::Text(raw) if raw.iter().all(u8::is_ascii_digit) && !raw.is_empty());
            }
            Some("csrf") => return matches!(&entry.content, Content::Text(_)),
            Some("refresh") => true,
            _ => entry.key.ends_with("meta"),
        };
        matches!(entry.content, Content::Hash(_)) == expected
    }

    /// Puts under one of our keys what nobody of us wrote.
    fn damage(&mut self, memory: &Memory) -> Call {
        let key = self.any_key();
        let now = self.now;
        let stored = memory.get(&key).ok().flatten().map(<[u8]>::to_vec);
        let content = match (self.random.below(8), stored) {
            (0, _) => Content::Hash([(b"f".to_vec(), b"v".to_vec())].into()),
            (1, _) => Content::Sorted([(b"m".to_vec(), now)].into()),
            (2, _) | (_, None) => Content::Text(b"garbage".to_vec()),
            (3, Some(raw)) => {
                Content::Text(raw[..self.random.below(raw.len() as u64 + 1) as usize].to_vec())
            }
            (_, Some(mut raw)) if !raw.is_empty() => {
                let at = self.random.below(raw.len() as u64) as usize;
                raw[at] = *self.random.pick(b"0123456789:-p xe.");
                Content::Text(raw)
            }
            _ => Content::Text(Vec::new()),
        };
        let expires = Some(now + 1_000_000);
        Entry {
            key,
            content,
            expires,
        }
        .put()
    }
}

fn nothing_at(key: Key) -> Call {
    Entry {
        key,
        content: Content::Foreign("none".to_owned()),
        expires: None,
    }
    .put()
}
