//! The refresh token on the wire: `family.generation.secret.tag`.
//!
//! The family is 12 bytes that co-locate (the user's hash tag), the 16 bytes of the `sid`, 8 random bytes that tell one
//! issue from the next on the same device, and for users of a tenant the 12 bytes that name its cutoff. The tag is an
//! HMAC-SHA256 over all of it: a token that this server did not make costs no trip and ends nothing. Stored is the
//! SHA-256 of the secret alone.

use std::fmt;

use crate::{
    keyring::MacKeys,
    secret::{decode_exact, encode, encode_into, random_bytes, sha256},
    store::Tag,
};

const SID: usize = 16;
const EPOCH: usize = 8;
const BARE: usize = Tag::BYTES + SID + EPOCH;
const WITH_TENANT: usize = BARE + Tag::BYTES;
const SECRET: usize = 32;
/// Longer generations than this are none of ours.
const MOST_DIGITS: usize = 10;

/// Which family a token belongs to, and where its keys lie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Family {
    bytes: [u8; WITH_TENANT],
    length: usize,
}

/// A refresh token as its holder presents it. Whoever has it can go on in the user's name, so it prints as nothing.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) family: Family,
    pub(super) generation: u64,
    secret: [u8; SECRET],
}

impl Family {
    pub(super) fn new(
        tag: &Tag,
        sid: [u8; SID],
        tenant: Option<&Tag>,
    ) -> Result<Self, getrandom::Error> {
        let mut bytes = [0; WITH_TENANT];
        bytes[..Tag::BYTES].copy_from_slice(&tag.to_bytes());
        bytes[Tag::BYTES..][..SID].copy_from_slice(&sid);
        bytes[Tag::BYTES + SID..BARE].copy_from_slice(&random_bytes::<EPOCH>()?);
        let length = match tenant {
            Some(tenant) => {
                bytes[BARE..].copy_from_slice(&tenant.to_bytes());
                WITH_TENANT
            }
            None => BARE,
        };
        Ok(Self { bytes, length })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub(super) fn tag(&self) -> Tag {
        let mut tag = [0; Tag::BYTES];
        tag.copy_from_slice(&self.bytes[..Tag::BYTES]);
        Tag::from_bytes(&tag)
    }

    pub(super) fn tenant(&self) -> Option<Tag> {
        let mut tenant = [0; Tag::BYTES];
        tenant.copy_from_slice(&self.bytes[BARE..]);
        (self.length == WITH_TENANT).then(|| Tag::from_bytes(&tenant))
    }

    pub(super) fn sid(&self) -> String {
        encode(&self.bytes[Tag::BYTES..][..SID])
    }

    /// Tells this issue from others on the same device.
    pub(super) fn epoch(&self) -> String {
        encode(&self.bytes[Tag::BYTES + SID..BARE])
    }
}

/// The bytes of a `sid` of this crate.
pub(super) fn sid_bytes(sid: &str) -> Option<[u8; SID]> {
    decode_exact(sid.as_bytes())
}

impl Token {
    /// The first token of a family.
    pub(super) fn first(family: Family) -> Result<Self, getrandom::Error> {
        Ok(Self {
            family,
            generation: 0,
            secret: random_bytes()?,
        })
    }

    /// The token that follows this one: everybody who holds this one, the nonce and the key derives the same, and nobody
    /// derives it without the nonce, which the store forgets at the next rotation.
    ///
    /// `None` if the ring does not hold the key.
    pub(super) fn successor(&self, nonce: &[u8], key_id: [u8; 4], keys: &MacKeys) -> Option<Self> {
        let generation = self.generation.checked_add(1)?;
        let number = generation.to_be_bytes();
        let parts: [&[u8]; 5] = [
            b"successor",
            self.family.as_bytes(),
            &number,
            &self.secret,
            nonce,
        ];
        Some(Self {
            family: self.family,
            generation,
            secret: keys.sign_as(key_id, &parts)?,
        })
    }

    /// What the store knows the token by.
    pub(super) fn hash(&self) -> String {
        encode(sha256(&[&self.secret]))
    }

    fn parts<'a>(&'a self, number: &'a [u8; 8]) -> [&'a [u8]; 4] {
        [b"token", self.family.as_bytes(), number, &self.secret]
    }

    /// The text of the token, tagged with the given key, or `None` if the ring does not hold it.
    pub(super) fn to_text(&self, key_id: [u8; 4], keys: &MacKeys) -> Option<String> {
        let tag = keys.sign_as(key_id, &self.parts(&self.generation.to_be_bytes()))?;
        let mut text = encode(self.family.as_bytes());
        text.push('.');
        text.push_str(&self.generation.to_string());
        text.push('.');
        encode_into(self.secret, &mut text);
        text.push('.');
        encode_into(tag, &mut text);
        Some(text)
    }

    /// The token in a text that this server made.
    pub(super) fn parse(text: &str, keys: &MacKeys) -> Option<Self> {
        let mut parts = text.split('.');
        let (family, number) = (parts.next()?.as_bytes(), parts.next()?);
        let (secret, tag) = (parts.next()?.as_bytes(), parts.next()?.as_bytes());
        if parts.next().is_some() || !is_number(number) {
            return None;
        }
        let mut bytes = [0; WITH_TENANT];
        let length = match decode_exact::<BARE>(family) {
            Some(bare) => {
                bytes[..BARE].copy_from_slice(&bare);
                BARE
            }
            None => {
                bytes = decode_exact::<WITH_TENANT>(family)?;
                WITH_TENANT
            }
        };
        let token = Self {
            family: Family { bytes, length },
            generation: number.parse().ok()?,
            secret: decode_exact(secret)?,
        };
        let tag = decode_exact::<32>(tag)?;
        keys.verify(&token.parts(&token.generation.to_be_bytes()), &tag)
            .then_some(token)
    }
}

/// The one way to write a generation: no sign, no leading zero.
fn is_number(text: &str) -> bool {
    (1..=MOST_DIGITS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'))
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::{KeyRing, Purpose};

    fn keys() -> MacKeys {
        let ring = KeyRing::new("a secret of at least thirty-two bytes").unwrap();
        ring.mac(Purpose::Refresh)
    }

    fn token(tenant: bool) -> Token {
        let tenant = tenant.then(|| Tag::from_bytes(b"some tenant!"));
        let family = Family::new(&Tag::from_bytes(b"a user's tag"), [7; 16], tenant.as_ref());
        Token::first(family.unwrap()).unwrap()
    }

    #[test]
    fn a_text_leads_back_to_its_token_and_no_changed_text_to_any() {
        let keys = keys();
        let id = keys.signing_key_id();
        for tenant in [false, true] {
            let token = token(tenant);
            let text = token.to_text(id, &keys).unwrap();
            assert_eq!(Token::parse(&text, &keys), Some(token.clone()));
            assert_eq!(token.family.tenant().is_some(), tenant);
            assert_eq!(sid_bytes(&token.family.sid()), Some([7; 16]));
            for at in 0..text.len() {
                for byte in [b'A', b'0', b'1', b'.', b'=', b' '] {
                    let mut forged = text.clone().into_bytes();
                    if forged[at] == byte {
                        continue;
                    }
                    forged[at] = byte;
                    let forged = String::from_utf8(forged).unwrap();
                    assert_eq!(Token::parse(&forged, &keys), None, "{forged}");
                }
            }
            for longer in [
                format!("{text}."),
                format!("{text}A"),
                format!(".{text}"),
                format!("{text} "),
            ] {
                assert_eq!(Token::parse(&longer, &keys), None);
            }
            let (family, rest) = text.split_once('.').unwrap();
            let rest = rest.strip_prefix('0').unwrap();
            for number in ["00", "+0", "-0", "0x0", "", "99999999999999999999"] {
                assert_eq!(
                    Token::parse(&format!("{family}.{number}{rest}"), &keys),
                    None
                );
            }
        }
    }

    #[test]
    fn a_successor_depends_on_token_nonce_and_key() {
        let (keys, other) = (
            keys(),
            KeyRing::new("another secret of thirty-two bytes!!").unwrap(),
        );
        let id = keys.signing_key_id();
        let (a, b) = (token(false), token(false));
        let next = a.successor(b"nonce", id, &keys).unwrap();
        assert_eq!(next, a.successor(b"nonce", id, &keys).unwrap());
        assert_eq!(next.generation, 1);
        assert_ne!(next.hash(), a.hash());
        assert_ne!(next, a.successor(b"other", id, &keys).unwrap());
        assert_ne!(next, b.successor(b"nonce", id, &keys).unwrap());
        assert_eq!(
            a.successor(b"nonce", [0; 4], &keys),
            None,
            "a key the ring does not hold"
        );
        let other = other.mac(Purpose::Refresh);
        assert_ne!(
            Some(next),
            a.successor(b"nonce", other.signing_key_id(), &other)
        );
    }
}
