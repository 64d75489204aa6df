//! Session ids, and the cookie that carries one.
//!
//! An id is 12 bytes that co-locate (the user's hash tag, random for nobody), 20 bytes from the operating system's
//! generator, and for users of a tenant the 12 bytes that name its cutoff. The cookie is the id and an HMAC-SHA256 over
//! cookie name and id: a cookie that this server did not write costs no trip. Stored is only the id's hash.

use std::fmt;

use super::record::CHECK;
use crate::{
    keyring::MacKeys,
    secret::{decode_exact, encode, encode_exact, encode_into, encoded_len, random_bytes, sha256},
    store::{Key, Namespace, Tag},
};

const RANDOM: usize = 20;
const BARE: usize = Tag::BYTES + RANDOM;
const WITH_TENANT: usize = BARE + Tag::BYTES;
const MAC: usize = 32;

/// The identity of a session. Whoever knows it is the session, so it prints as nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionId {
    bytes: [u8; WITH_TENANT],
    length: usize,
}

impl SessionId {
    /// A new id of nobody.
    pub(crate) fn anonymous() -> Result<Self, getrandom::Error> {
        let tag = random_bytes::<{ Tag::BYTES }>()?;
        Self::generate(tag, None)
    }

    /// A new id that lies with the given user's keys.
    pub(crate) fn of_user(tag: &Tag, tenant: Option<&Tag>) -> Result<Self, getrandom::Error> {
        Self::generate(tag.to_bytes(), tenant.map(|tenant| tenant.to_bytes()))
    }

    /// A new id in the same place as this one.
    pub(crate) fn successor(&self) -> Result<Self, getrandom::Error> {
        Self::generate(self.tag_bytes(), self.tenant_bytes())
    }

    fn generate(
        tag: [u8; Tag::BYTES],
        tenant: Option<[u8; Tag::BYTES]>,
    ) -> Result<Self, getrandom::Error> {
        let mut bytes = [0; WITH_TENANT];
        bytes[..Tag::BYTES].copy_from_slice(&tag);
        bytes[Tag::BYTES..BARE].copy_from_slice(&random_bytes::<RANDOM>()?);
        let length = match tenant {
            Some(tenant) => {
                bytes[BARE..].copy_from_slice(&tenant);
                WITH_TENANT
            }
            None => BARE,
        };
        Ok(Self { bytes, length })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn tag_bytes(&self) -> [u8; Tag::BYTES] {
        let mut tag = [0; Tag::BYTES];
        tag.copy_from_slice(&self.bytes[..Tag::BYTES]);
        tag
    }

    fn tenant_bytes(&self) -> Option<[u8; Tag::BYTES]> {
        let mut tenant = [0; Tag::BYTES];
        tenant.copy_from_slice(&self.bytes[BARE..]);
        (self.length == WITH_TENANT).then_some(tenant)
    }

    /// The random part, by which this node may remember the id.
    pub(crate) fn random(&self) -> [u8; RANDOM] {
        let mut random = [0; RANDOM];
        random.copy_from_slice(&self.bytes[Tag::BYTES..BARE]);
        random
    }

    /// Where the keys of this session lie.
    pub(crate) fn tag(&self) -> Tag {
        Tag::from_bytes(&self.tag_bytes())
    }

    /// The tag of the tenant whose cutoff applies.
    pub(crate) fn tenant(&self) -> Option<Tag> {
        self.tenant_bytes().map(|bytes| Tag::from_bytes(&bytes))
    }

    /// How the store calls the session. It costs a hash: to be asked once for a question.
    pub(crate) fn name(&self) -> Name {
        let mut hash = [0; encoded_len(32)];
        encode_exact(&sha256(&[self.as_bytes()]), &mut hash);
        Name {
            hash,
            tag: self.tag(),
            tenant: self.tenant(),
        }
    }

    /// The name under which the session is stored; it does not lead back to the id.
    pub(crate) fn hash(&self) -> String {
        encode(sha256(&[self.as_bytes()]))
    }

    /// The beginning of [`hash`](Self::hash), which a record repeats; allocates nothing.
    pub(super) fn check(&self) -> [u8; CHECK] {
        self.name().check()
    }

    pub(crate) fn key(&self, namespace: &Namespace) -> Key {
        self.name().key(namespace)
    }

    /// The value of the cookie.
    pub(crate) fn to_cookie(self, name: &str, keys: &MacKeys) -> String {
        let mut text = String::with_capacity(encoded_len(WITH_TENANT) + 1 + encoded_len(MAC));
        encode_into(self.as_bytes(), &mut text);
        text.push('.');
        encode_into(keys.sign(&[name.as_bytes(), self.as_bytes()]), &mut text);
        text
    }

    /// The id in a cookie that this server wrote under this name; allocates nothing.
    pub(crate) fn from_cookie(value: &[u8], name: &str, keys: &MacKeys) -> Option<Self> {
        let (id, mac) = value.split_at(value.iter().position(|byte| *byte == b'.')?);
        let mac = decode_exact::<MAC>(mac.get(1..)?)?;
        let mut bytes = [0; WITH_TENANT];
        let length = match decode_exact::<BARE>(id) {
            Some(bare) => {
                bytes[..BARE].copy_from_slice(&bare);
                BARE
            }
            None => {
                bytes = decode_exact::<WITH_TENANT>(id)?;
                WITH_TENANT
            }
        };
        let id = Self { bytes, length };
        keys.verify(&[name.as_bytes(), id.as_bytes()], &mac)
            .then_some(id)
    }
}

/// How the store calls a session, and whose cutoffs it goes by. It does not lead back to the id.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    hash: [u8; encoded_len(32)],
    pub(super) tag: Tag,
    pub(super) tenant: Option<Tag>,
}

impl Name {
    /// The end of the session's key.
    pub(super) fn hash(&self) -> &[u8; encoded_len(32)] {
        &self.hash
    }

    /// The beginning of the hash, which a record repeats.
    pub(super) fn check(&self) -> [u8; CHECK] {
        let mut check = [0; CHECK];
        check.copy_from_slice(&self.hash[..CHECK]);
        check
    }

    pub(super) fn key(&self, namespace: &Namespace) -> Key {
        let hash = std::str::from_utf8(&self.hash).expect("base64url is ASCII");
        namespace.tagged("session", &self.tag, hash)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::keyring::{KeyRing, Purpose};

    fn keys(secret: &str) -> MacKeys {
        KeyRing::new(secret).unwrap().mac(Purpose::SessionCookie)
    }

    const SECRET: &str = "a secret of at least thirty-two bytes";

    #[test]
    fn a_cookie_leads_back_to_its_id_and_to_no_other() {
        let keys = keys(SECRET);
        let tag = Tag::from_bytes(b"a user's tag");
        let ids = [
            SessionId::anonymous().unwrap(),
            SessionId::of_user(&tag, None).unwrap(),
            SessionId::of_user(&tag, Some(&Tag::from_bytes(b"some tenant!"))).unwrap(),
        ];
        for id in ids {
            let cookie = id.to_cookie("id", &keys);
            assert_eq!(
                SessionId::from_cookie(cookie.as_bytes(), "id", &keys),
                Some(id)
            );
            assert_eq!(
                SessionId::from_cookie(cookie.as_bytes(), "other", &keys),
                None
            );
            assert!(cookie.len() <= 103);
            for at in 0..cookie.len() {
                let mut forged = cookie.clone().into_bytes();
                forged[at] ^= 1;
                assert_eq!(
                    SessionId::from_cookie(&forged, "id", &keys),
                    None,
                    "byte {at}"
                );
            }
            let successor = id.successor().unwrap();
            assert_ne!(successor, id);
            assert_eq!(
                (successor.tag(), successor.tenant()),
                (id.tag(), id.tenant())
            );
        }
    }

    #[test]
    fn another_secret_makes_other_cookies() {
        let id = SessionId::anonymous().unwrap();
        let cookie = id.to_cookie("id", &keys("another secret of thirty-two bytes"));
        assert_eq!(
            SessionId::from_cookie(cookie.as_bytes(), "id", &keys(SECRET)),
            None
        );
    }

    #[test]
    fn garbage_is_no_cookie() {
        for value in [&b""[..], b".", b"a.b", b"....", &[0xff; 87], &[b'A'; 4096]] {
            assert_eq!(SessionId::from_cookie(value, "id", &keys(SECRET)), None);
        }
    }

    /// R14, with fewer than its million, so that the suite stays quick: a collision among 160 random bits is none of
    /// chance.
    #[test]
    fn ids_are_random_and_distinct() {
        let tag = Tag::from_bytes(b"a user's tag");
        let ids: HashSet<_> = (0..20_000)
            .map(|_| SessionId::of_user(&tag, None).unwrap().as_bytes().to_vec())
            .collect();
        assert_eq!(ids.len(), 20_000);
        const { assert!(RANDOM * 8 >= 128) };
    }
}
