//! Steps of the rooms beside sessions, for the conformance suite: devices, refresh families, CSRF secrets.

use super::{KEPT, steps::Steps};
use crate::{
    csrf,
    device::Devices,
    refresh::probe::{Draw, Families},
    secret::encode,
    session::{CsrfPlace, id::SessionId},
    store::{Call, Key, Memory, Store},
};

/// Tokens in play at once.
const TOKENS: usize = 40;

/// The n-th sid of a run.
pub(super) fn sid(number: u64) -> String {
    encode(u128::from(number).to_be_bytes())
}

pub(super) fn csrf_place(store: &Store, id: &SessionId) -> CsrfPlace {
    let namespace = store.namespace();
    CsrfPlace {
        store: store.clone(),
        session: id.key(namespace),
        secret: namespace.tagged("csrf", &id.tag(), &id.hash()),
    }
}

pub(super) fn csrf_calls(place: &CsrfPlace) -> [Call; 2] {
    [
        csrf::secret_call(place, String::new()),
        csrf::secret_call(place, "s".repeat(43)),
    ]
}

/// Every question about devices.
pub(super) fn device_call(
    store: &Store,
    (tenant, user): (&str, &str),
    what: &'static str,
    sid: &str,
) -> Call {
    let tag = store.namespace().user_tag("", tenant, user);
    let mut call = Devices::new(store).call(&tag, tenant, what, sid);
    if what == "token" {
        call.args.push("an epoch".into());
    }
    call
}

impl Steps {
    pub(super) fn csrf(&mut self, id: &SessionId) -> Call {
        let place = csrf_place(&self.store, id);
        let at = self.random.below(2) as usize;
        csrf_calls(&place)[at].clone()
    }

    pub(super) fn device(&mut self) -> Call {
        let owner = self.user();
        let sid = sid(self.sids.saturating_sub(self.random.below(30)));
        let what = *self.random.pick(&[
            "list", "list", "list", "one", "one", "one", "one", "others", "all",
        ]);
        device_call(&self.store, owner, what, &sid)
    }

    /// A family for a user, for a device that may be there, or of nobody's device.
    pub(super) fn issue(&mut self, memory: &Memory) -> Call {
        let (tenant, user) = self.user();
        let listed = self.listed(memory, tenant, user);
        let joins = !listed.is_empty() && self.random.below(3) > 0;
        let sid = if joins {
            self.random.pick(&listed).clone()
        } else {
            self.sids += 1;
            sid(self.sids)
        };
        let draw = Draw {
            number: self.random.next(),
            tenant,
            user,
            sid: &sid,
            auth_ms: if joins && self.random.below(2) == 0 {
                self.now
            } else {
                0
            },
            started_ms: self.started(),
            most_devices: *self.random.pick(&[1_000, 1_000, 1_000, 3, 1]),
            evict: self.random.below(2) == 0,
            kept: KEPT,
        };
        if self.families.count() >= TOKENS {
            let at = self.random.below(TOKENS as u64) as usize;
            self.families.forget(at);
        }
        self.families.issue(&self.store, &draw)
    }

    /// Sids of a user's index that families can have.
    fn listed(&self, memory: &Memory, tenant: &str, user: &str) -> Vec<String> {
        let tag = self.store.namespace().user_tag("", tenant, user);
        let [zset, _] = crate::device::keys(self.store.namespace(), &tag);
        let all = memory.sorted_range(&zset).unwrap_or_default().into_iter();
        let names = all.filter_map(|(sid, _)| String::from_utf8(sid).ok());
        names.filter(|sid| sid.len() == 22).collect()
    }

    pub(super) fn rotate(&mut self) -> Option<Call> {
        let at = self.token()?;
        let number = self.random.next();
        if self.families.count() > 2 * TOKENS {
            let gone = self.random.below(TOKENS as u64) as usize;
            self.families.forget(gone);
            return self.rotate();
        }
        Some(self.families.rotate(&self.store, at, number))
    }

    pub(super) fn of_token(&mut self) -> Option<Call> {
        let at = self.token()?;
        if self.random.below(3) > 0 {
            return Some(self.families.client(&self.store, at));
        }
        let (tag, sid, epoch) = self.families.names(at);
        let mut call = Devices::new(&self.store).call(&tag, "", "token", &sid);
        let epoch = if self.random.below(4) == 0 {
            "another".to_owned()
        } else {
            epoch
        };
        call.args.push(epoch.into());
        Some(call)
    }

    fn token(&mut self) -> Option<usize> {
        let count = self.families.count() as u64;
        (count > 0).then(|| self.random.below(count) as usize)
    }

    pub(super) fn family_key(&mut self) -> Option<Key> {
        let at = self.token()?;
        Some(self.families.key(&self.store, at))
    }

    pub(super) fn family_keys(&self) -> impl Iterator<Item = Key> {
        let keys = 0..self.families.count();
        keys.map(|at| self.families.key(&self.store, at))
    }
}

pub(super) fn families() -> Families {
    Families::new()
}
