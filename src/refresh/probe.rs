//! For the conformance suite: calls about families, and the tokens that they may be about.

use super::{
    ops::{self, Asked, NewFamily},
    token::{Family, Token, sid_bytes},
};
use crate::{
    keyring::{KeyRing, MacKeys, Purpose},
    store::{Call, Key, Store, Tag},
};

pub(crate) struct Families {
    keys: MacKeys,
    tokens: Vec<Token>,
}

/// What is drawn for one call.
pub(crate) struct Draw<'a> {
    pub(crate) number: u64,
    pub(crate) tenant: &'a str,
    pub(crate) user: &'a str,
    pub(crate) sid: &'a str,
    pub(crate) auth_ms: u64,
    pub(crate) started_ms: u64,
    pub(crate) most_devices: u64,
    pub(crate) evict: bool,
    pub(crate) kept: u64,
}

const SCOPES: [&str; 3] = ["", "read", "read write"];
const CLIENTS: [&str; 3] = ["", "", "web"];

impl Families {
    pub(crate) fn new() -> Self {
        let ring = KeyRing::new("a secret of at least thirty-two bytes").expect("long enough");
        Self {
            keys: ring.mac(Purpose::Refresh),
            tokens: Vec::new(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.tokens.len()
    }

    pub(crate) fn issue(&mut self, store: &Store, draw: &Draw<'_>) -> Call {
        let namespace = store.namespace();
        let tag = namespace.user_tag("", draw.tenant, draw.user);
        let tenant = (!draw.tenant.is_empty()).then(|| namespace.tenant_tag(draw.tenant));
        let sid = sid_bytes(draw.sid).expect("of our making");
        let family = Family::new(&tag, sid, tenant.as_ref()).expect("randomness");
        let token = Token::first(family).expect("randomness");
        let new = NewFamily {
            tenant: draw.tenant,
            user: draw.user,
            client: CLIENTS[draw.number as usize % 3],
            scope: SCOPES[draw.number as usize / 3 % 3],
            resource: "",
            idle_ms: [60_000, 1_800_000][draw.number as usize / 9 % 2],
            absolute_ms: [1_800_000, 7_200_000][draw.number as usize / 18 % 2],
            auth_ms: draw.auth_ms,
            login_ms: draw.auth_ms / 2,
            about: ["{}", r#"{"name":"a phone"}"#][draw.number as usize / 36 % 2],
            ahead_kept: draw.kept,
            most_devices: draw.most_devices,
            evict: draw.evict,
            joins: draw.auth_ms > 0,
            started_ms: draw.started_ms,
            #[cfg(feature = "registry")]
            started: None,
        };
        let call = ops::issue(store, &token, self.keys.signing_key_id(), &new);
        self.tokens.push(token);
        call
    }

    pub(crate) fn rotate(&mut self, store: &Store, at: usize, number: u64) -> Call {
        let token = self.tokens[at].clone();
        let nonce = format!("nonce-{}", number % 4);
        let key_id = self.keys.signing_key_id();
        let successor = token.successor(nonce.as_bytes(), key_id, &self.keys);
        let successor = successor.expect("our own key");
        let asked = Asked {
            client: CLIENTS[number as usize / 4 % 3],
            scope: SCOPES[(number as usize / 12 % 8).saturating_sub(5)],
            resource: ["", "https://api.example"][usize::from((number / 96).is_multiple_of(9))],
            grace_ms: [0, 10_000][number as usize / 4 % 2],
        };
        let next = ops::Next {
            successor: &successor,
            nonce: &nonce,
            key_id,
        };
        let call = ops::rotate(store, &token, &next, &asked);
        self.tokens.push(successor);
        call
    }

    pub(crate) fn client(&self, store: &Store, at: usize) -> Call {
        ops::client(store, &self.tokens[at])
    }

    /// Tag, sid and epoch of a token's family.
    pub(crate) fn names(&self, at: usize) -> (Tag, String, String) {
        let family = &self.tokens[at].family;
        (family.tag(), family.sid(), family.epoch())
    }

    pub(crate) fn key(&self, store: &Store, at: usize) -> Key {
        let (tag, sid, _) = self.names(at);
        store.namespace().tagged("refresh", &tag, &sid)
    }

    pub(crate) fn forget(&mut self, at: usize) {
        self.tokens.swap_remove(at);
    }
}
