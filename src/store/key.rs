//! Names of keys: prefix, hash tag, hashed secrets.
//!
//! All keys of one user carry the same hash tag `{t}`, so that they share a Cluster slot and one script can reach
//! them. `t` is the first 12 bytes of SHA-256 over prefix, issuer, tenant and user, written as 16 characters; anonymous
//! sessions carry a random one. The user cutoff and the device index are addressed by `t` alone, so that a read can
//! ask for them before it knows the user: two users whose 96 bits collide would share a cutoff, which refuses too much
//! and never too little.

use std::fmt;

use crate::{
    error::ConfigError,
    secret::{decode_exact, encode_exact, sha256_of_parts},
};

/// The name of a key as the server sees it.
pub(crate) type Key = String;

/// What follows the prefix in the name of a key, up to the next colon.
const ROOMS: [&str; 6] = ["session", "csrf", "devices", "cutoff", "refresh", "active"];

/// Whether the key lies with somebody's others. Those that do not are few, and everybody asks about them.
pub(super) fn is_tagged(key: &str) -> bool {
    key.contains('{')
}

fn is_room(room: &str) -> bool {
    ROOMS.contains(&room.split(':').next().unwrap_or_default())
}

/// The prefixes under which everything is stored.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    prefix: Box<str>,
    blacklist: Box<str>,
}

impl Namespace {
    pub(crate) const PREFIX: &'static str = "portcullis:";
    pub(crate) const BLACKLIST: &'static str = "jwt:blacklist:";

    pub(crate) fn new(prefix: &str, blacklist: &str) -> Result<Self, ConfigError> {
        check_prefix("prefix", prefix)?;
        check_prefix("blacklist_prefix", blacklist)?;
        if blacklist.is_empty() {
            return Err(ConfigError::new(
                "blacklist_prefix",
                "must not be empty, or every key of the database would be a revoked token",
            ));
        }
        let namespace = Self {
            prefix: prefix.into(),
            blacklist: blacklist.into(),
        };
        namespace.check_overlap()?;
        Ok(namespace)
    }

    /// What follows the blacklist's prefix is up to whoever makes tokens: it must not lead to keys of ours.
    fn check_overlap(&self) -> Result<(), ConfigError> {
        let denied = self.denied_sid("");
        for room in ROOMS {
            let ours = [&self.prefix, room, ":"].concat();
            for listed in [&*self.blacklist, &denied] {
                if ours.starts_with(listed) || listed.starts_with(&ours) {
                    return Err(ConfigError::new(
                        "blacklist_prefix",
                        format!(
                            "keys that begin with {listed} and with {ours} (prefix and room) could be the same: choose a blacklist_prefix that neither begins like those keys nor is their beginning"
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn blacklist_prefix(&self) -> &str {
        &self.blacklist
    }

    /// The entry that denies all tokens of a login, under a prefix of its own: a `jti` may equal somebody's `sid`.
    pub(crate) fn denied_sid(&self, sid: &str) -> Key {
        let prefix = self.blacklist.strip_suffix(':').unwrap_or(&self.blacklist);
        [prefix, "-sid:", sid].concat()
    }

    /// `{prefix}{room}:{{tag}}:{rest}`.
    pub(crate) fn tagged(&self, room: &str, tag: &Tag, rest: &str) -> Key {
        debug_assert!(is_room(room), "{room} is not among ROOMS");
        let colon = if rest.is_empty() { "" } else { ":" };
        [&self.prefix, room, ":{", tag.as_str(), "}", colon, rest].concat()
    }

    /// `{prefix}{room}:{rest}`, in no particular slot.
    pub(crate) fn plain(&self, room: &str, rest: &str) -> Key {
        debug_assert!(is_room(room), "{room} is not among ROOMS");
        [&self.prefix, room, ":", rest].concat()
    }

    /// The tag shared by all keys of a user. `issuer` is empty for users of this application.
    pub(crate) fn user_tag(&self, issuer: &str, tenant: &str, user: &str) -> Tag {
        Tag::from_hash(&sha256_of_parts(&[
            b"user",
            self.prefix.as_bytes(),
            issuer.as_bytes(),
            tenant.as_bytes(),
            user.as_bytes(),
        ]))
    }

    /// The tag that stands for a `sid` in keys.
    #[cfg(feature = "registry")]
    pub(crate) fn sid_tag(&self, sid: &str) -> Tag {
        Tag::from_hash(&sha256_of_parts(&[
            b"sid",
            self.prefix.as_bytes(),
            sid.as_bytes(),
        ]))
    }

    /// The tag that stands for a tenant in keys and session ids.
    pub(crate) fn tenant_tag(&self, tenant: &str) -> Tag {
        Tag::from_hash(&sha256_of_parts(&[
            b"tenant",
            self.prefix.as_bytes(),
            tenant.as_bytes(),
        ]))
    }
}

/// Braces would move the hash tag of every key, control characters have no business in a key.
fn check_prefix(field: &'static str, prefix: &str) -> Result<(), ConfigError> {
    if prefix
        .chars()
        .any(|c| matches!(c, '{' | '}') || c.is_control())
        || prefix.len() > 128
    {
        return Err(ConfigError::new(
            field,
            "must have at most 128 bytes and no braces or control characters",
        ));
    }
    Ok(())
}

/// Twelve bytes that co-locate keys, as 16 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tag([u8; Self::CHARS]);

impl Tag {
    pub(crate) const BYTES: usize = 12;
    pub(crate) const CHARS: usize = 16;

    pub(crate) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut text = [0; Self::CHARS];
        encode_exact(bytes, &mut text);
        Self(text)
    }

    /// A tag in the name of a key.
    pub(crate) fn from_text(text: &[u8]) -> Option<Self> {
        decode_exact::<{ Self::BYTES }>(text).map(|bytes| Self::from_bytes(&bytes))
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        decode_exact(&self.0).expect("a tag is the text of its bytes")
    }

    fn from_hash(hash: &[u8; 32]) -> Self {
        let mut bytes = [0; Self::BYTES];
        bytes.copy_from_slice(&hash[..Self::BYTES]);
        Self::from_bytes(&bytes)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base64url is ASCII")
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The Cluster slot of a key: CRC16 (XMODEM) of its hash tag, or of all of it, modulo 16384.
#[cfg(test)]
pub(crate) fn slot(key: &str) -> u16 {
    let hashed = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(tag, _)| tag)
        .filter(|tag| !tag.is_empty())
        .unwrap_or(key);
    let crc = hashed.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    });
    crc % 16_384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis_cluster() {
        // From the Redis Cluster specification and `CLUSTER KEYSLOT`.
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!(slot("foo"), 12_182);
        assert_eq!(slot("a{foo}b"), slot("foo"));
        assert_eq!(slot("a{}foo"), slot("a{}foo"));
    }

    #[test]
    fn tags_keep_prefix_issuer_tenant_and_user_apart() {
        let one = Namespace::new("a:", "c:").unwrap();
        let two = Namespace::new("b:", "c:").unwrap();
        assert_ne!(one.user_tag("", "t", "u"), two.user_tag("", "t", "u"));
        assert_ne!(one.user_tag("", "tu", ""), one.user_tag("", "t", "u"));
        assert_ne!(one.user_tag("t", "", "u"), one.user_tag("", "t", "u"));
        assert_eq!(
            one.tagged("session", &one.user_tag("", "t", "u"), "x")
                .matches('{')
                .count(),
            1
        );
    }

    // Fails if: a token's id could name a key of ours, or ours lie among revoked tokens.
    #[test]
    fn prefixes_whose_keys_could_meet_are_refused() {
        let listed = |prefix, blacklist| Namespace::new(prefix, blacklist).map(|_| ());
        for (prefix, blacklist) in [
            ("app:", "app:"),
            ("app:", "a"),
            ("app:", "app:session:"),
            ("app:", "app:cutoff"),
            ("app:", "app:cutoff:global"),
            ("", "refresh:"),
            ("", "s"),
            ("a:", "a:"),
            ("", "c"),
            ("x", "xcutoff"),
            // The logins that are denied lie under a name of their own.
            ("app-sid:", "app:"),
            ("app-sid:x:", "app"),
        ] {
            let error = listed(prefix, blacklist).unwrap_err();
            assert_eq!(error.field(), "blacklist_prefix", "{prefix} {blacklist}");
            assert!(error.to_string().contains("choose a blacklist_prefix"));
        }
        for (prefix, blacklist) in [
            (Namespace::PREFIX, Namespace::BLACKLIST),
            ("", Namespace::BLACKLIST),
            ("app:", "app:jwt:blacklist:"),
            ("app:", "app:sessions-denied:"),
            ("a:", "b:"),
        ] {
            assert!(listed(prefix, blacklist).is_ok(), "{prefix} {blacklist}");
        }
    }

    #[test]
    fn prefixes_are_checked() {
        assert!(Namespace::new("", "jwt:blacklist:").is_ok());
        assert_eq!(Namespace::new("a{b}", "x").unwrap_err().field(), "prefix");
        assert_eq!(
            Namespace::new("a", "").unwrap_err().field(),
            "blacklist_prefix"
        );
        assert_eq!(
            Namespace::new("a", "x\n").unwrap_err().field(),
            "blacklist_prefix"
        );
    }
}
