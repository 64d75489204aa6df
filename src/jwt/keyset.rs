//! Sets of verification keys, and the handle through which a set is exchanged while the service runs.
//!
//! 1. A token that names a key (`kid`) is verified by the key of exactly that name and algorithm; one that does not, by
//!    the only key of its algorithm. Never by "whichever works".
//! 2. Secrets and public keys never share a set (RFC 8725 §3.1): whoever can read a public key cannot sign with it.
//! 3. Exchanging a set is one step: a request sees the old set or the new one, and the generation that belongs to it.
//!    Generations are unique in the process, so whatever is remembered under one is never mistaken for another's.

use std::{
    fmt, fs, io,
    path::Path,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{JwtAlgorithm, JwtKey, jwk};
use crate::error::ConfigError;

/// Larger documents are not key sets but attacks or accidents.
const LARGEST_DOCUMENT: usize = 1024 * 1024;
/// Keys are looked up one by one, and issuers publish a handful.
const MOST_KEYS: usize = 256;

/// The verification keys of one issuer.
///
/// ```
/// use portcullis::jwt::{JwtAlgorithm, JwtKey, KeySet};
///
/// let keys = KeySet::from_jwks(
///     r#"{"keys": [
///         {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
///         {"kty": "OKP", "crv": "Ed25519", "kid": "b", "x": "too short"}
///     ]}"#,
/// )?;
/// assert_eq!(keys.len(), 1);
/// assert_eq!(keys.skipped()[0].key_id(), Some("b"));
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Arc<[JwtKey]>,
    skipped: Arc<[SkippedKey]>,
}

/// A key of a JWKS document that was left out, and why.
#[derive(Clone, Debug)]
pub struct SkippedKey {
    kid: Option<Box<str>>,
    reason: Box<str>,
}

impl KeySet {
    /// A set of these keys. A single [`JwtKey`] converts by itself.
    ///
    /// # Errors
    ///
    /// If there is no key, if secrets and public keys are mixed, or if two keys have the same name and algorithm (or the
    /// same algorithm and no name, so that neither could ever be chosen).
    pub fn new(keys: impl IntoIterator<Item = JwtKey>) -> Result<Self, ConfigError> {
        let keys: Arc<[JwtKey]> = keys.into_iter().collect();
        let Some(first) = keys.first() else {
            return Err(ConfigError::new("keys", "a key set needs at least one key"));
        };
        let symmetric = first.algorithm().is_symmetric();
        if keys
            .iter()
            .any(|key| key.algorithm().is_symmetric() != symmetric)
        {
            return Err(ConfigError::new(
                "keys",
                "secrets and public keys cannot share a key set",
            ));
        }
        let repeated =
            |(at, key): (usize, &JwtKey)| keys[..at].iter().any(|other| same_name(other, key));
        if keys.iter().enumerate().any(repeated) {
            return Err(ConfigError::new(
                "keys",
                "two keys of one algorithm need different key ids",
            ));
        }
        Ok(Self {
            keys,
            skipped: Arc::new([]),
        })
    }

    /// The usable keys of a JWKS document (RFC 7517 §5). Keys that are malformed, weak, unsupported or not meant for
    /// signatures, secrets among public keys, and repeated names are left out and reported by
    /// [`skipped`](Self::skipped): one bad key does not take the good ones with it.
    ///
    /// # Errors
    ///
    /// If the text is longer than 1 MiB, is no JWKS document, lists more than 256 keys, or has no usable one.
    pub fn from_jwks(text: impl AsRef<str>) -> Result<Self, ConfigError> {
        #[derive(Deserialize)]
        struct Document<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }
        let text = text.as_ref();
        if text.len() > LARGEST_DOCUMENT {
            return Err(ConfigError::new("jwks", "a key set has at most 1 MiB"));
        }
        let document: Document<'_> = serde_json::from_str(text)
            .map_err(|error| ConfigError::new("jwks", "not a JWKS document").caused_by(error))?;
        if document.keys.len() > MOST_KEYS {
            return Err(ConfigError::new("jwks", "a key set has at most 256 keys"));
        }
        Self::of_usable(document.keys.iter().map(|raw| raw.get()))
    }

    /// The same, from a file that is read now.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or as [`from_jwks`](Self::from_jwks).
    pub fn from_jwks_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let read = || -> io::Result<String> {
            let file = fs::File::open(path.as_ref())?;
            io::read_to_string(io::Read::take(file, LARGEST_DOCUMENT as u64 + 1))
        };
        let text = read()
            .map_err(|error| ConfigError::new("jwks_file", "cannot be read").caused_by(error))?;
        Self::from_jwks(text)
    }

    fn of_usable<'t>(texts: impl Iterator<Item = &'t str>) -> Result<Self, ConfigError> {
        let (mut keys, mut skipped) = (Vec::<JwtKey>::new(), Vec::new());
        for text in texts {
            match jwk::key(text.as_bytes()) {
                Ok(key) if keys.iter().any(|other| same_name(other, &key)) => {
                    skipped.push(SkippedKey::new(
                        text,
                        "another key has this name and algorithm",
                    ));
                }
                Ok(key) => keys.push(key),
                Err(reason) => skipped.push(SkippedKey::new(text, reason)),
            }
        }
        // A secret in a document of public keys was published with them: it is nobody's secret.
        if keys.iter().any(|key| !key.algorithm().is_symmetric()) {
            keys.retain(|key| {
                let public = !key.algorithm().is_symmetric();
                if !public {
                    skipped.push(SkippedKey {
                        kid: key.key_id().map(Into::into),
                        reason: "a secret among public keys".into(),
                    });
                }
                public
            });
        }
        if keys.is_empty() {
            let reasons: Vec<&str> = skipped.iter().map(|key| &*key.reason).collect();
            return Err(ConfigError::new(
                "jwks",
                format!("no usable key: {}", reasons.join("; ")),
            ));
        }
        Ok(Self {
            keys: keys.into(),
            skipped: skipped.into(),
        })
    }

    /// The keys of the document that were left out.
    #[must_use]
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// How many keys can verify.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn is_symmetric(&self) -> bool {
        self.keys
            .first()
            .is_some_and(|key| key.algorithm().is_symmetric())
    }

    /// An exact comparison in memory: whatever a `kid` contains, nothing is done with it but this.
    pub(super) fn named(&self, kid: &str, algorithm: JwtAlgorithm) -> Option<&JwtKey> {
        self.keys
            .iter()
            .find(|key| key.algorithm() == algorithm && key.key_id() == Some(kid))
    }

    /// The places of the keys of this algorithm.
    pub(super) fn of_algorithm(&self, algorithm: JwtAlgorithm) -> impl Iterator<Item = usize> {
        let fitting = self
            .keys
            .iter()
            .enumerate()
            .filter(move |(_, key)| key.algorithm() == algorithm);
        fitting.map(|(at, _)| at)
    }

    pub(super) fn at(&self, place: usize) -> Option<&JwtKey> {
        self.keys.get(place)
    }
}

impl From<JwtKey> for KeySet {
    fn from(key: JwtKey) -> Self {
        Self {
            keys: Arc::new([key]),
            skipped: Arc::new([]),
        }
    }
}

fn same_name(one: &JwtKey, other: &JwtKey) -> bool {
    one.algorithm() == other.algorithm() && one.key_id() == other.key_id()
}

impl SkippedKey {
    fn new(text: &str, reason: impl Into<Box<str>>) -> Self {
        Self {
            kid: jwk::key_id(text),
            reason: reason.into(),
        }
    }

    /// The name of the key, if it has a readable one.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Why it was left out, for logs.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// The way to exchange the keys of running layers. Clones share the keys.
///
/// ```
/// use portcullis::jwt::{JwtAlgorithm, JwtKey, JwtVerifyLayer, KeySet, KeySetHandle, NoClaims};
///
/// let key = |byte| JwtKey::secret(JwtAlgorithm::Hs256, [byte; 32])?.kid(format!("key {byte}"));
/// let keys = KeySetHandle::new(KeySet::new([key(1)?])?);
/// let layer = JwtVerifyLayer::<NoClaims>::new(&keys).issuer("https://id.example").audience("api").build()?;
///
/// // Later, from anywhere: first both keys, then the new one alone. Tokens of a key that is gone are refused at once.
/// let before = keys.generation();
/// keys.replace(KeySet::new([key(1)?, key(2)?])?)?;
/// assert!(keys.generation() > before);
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct KeySetHandle(Arc<Current>);

struct Current {
    published: RwLock<Arc<Published>>,
    /// The generation of `published`, set just after it: whoever reads a number here finds those keys, or newer ones.
    generation: AtomicU64,
}

/// A set and its generation, which only change together.
pub(super) struct Published {
    pub(super) keys: KeySet,
    pub(super) generation: u64,
}

impl Published {
    fn new(keys: KeySet) -> Arc<Self> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            keys,
            generation: LAST.fetch_add(1, Ordering::Relaxed) + 1,
        })
    }
}

impl KeySetHandle {
    /// A handle to this set.
    #[must_use]
    pub fn new(keys: KeySet) -> Self {
        let published = Published::new(keys);
        Self(Arc::new(Current {
            generation: AtomicU64::new(published.generation),
            published: RwLock::new(published),
        }))
    }

    /// Exchanges the whole set. A request that is being verified finishes with the set it began with; every later one
    /// sees the new set. Returns the new generation.
    ///
    /// # Errors
    ///
    /// If secrets were to replace public keys, or the other way round.
    pub fn replace(&self, keys: KeySet) -> Result<u64, ConfigError> {
        let published = self.0.published.write();
        let mut current = published.unwrap_or_else(PoisonError::into_inner);
        if current.keys.is_symmetric() != keys.is_symmetric() {
            return Err(ConfigError::new(
                "keys",
                "secrets cannot replace public keys, nor public keys secrets",
            ));
        }
        // Numbered inside of the lock: two sets that arrive at once must not end with the lower number.
        *current = Published::new(keys);
        self.0
            .generation
            .store(current.generation, Ordering::SeqCst);
        Ok(current.generation)
    }

    /// The number of the current set: larger after every [`replace`](Self::replace), unique in the process.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::SeqCst)
    }

    pub(super) fn current(&self) -> Arc<Published> {
        let published = self.0.published.read();
        Arc::clone(&published.unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for KeySetHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.current();
        f.debug_struct("KeySetHandle")
            .field("generation", &current.generation)
            .field("keys", &current.keys.keys)
            .finish_non_exhaustive()
    }
}

impl From<KeySet> for KeySetHandle {
    fn from(keys: KeySet) -> Self {
        Self::new(keys)
    }
}

impl From<JwtKey> for KeySetHandle {
    fn from(key: JwtKey) -> Self {
        Self::new(key.into())
    }
}

impl From<&Self> for KeySetHandle {
    fn from(handle: &Self) -> Self {
        handle.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn generations_only_grow_whoever_replaces() {
        let set = KeySet::from(JwtKey::secret(JwtAlgorithm::Hs256, [7; 32]).expect("a key"));
        let (handle, other) = (
            KeySetHandle::new(set.clone()),
            KeySetHandle::new(set.clone()),
        );
        assert_ne!(handle.generation(), other.generation());
        thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..100_000).for_each(|_| {
                            let own = handle.replace(set.clone()).expect("the same family");
                            assert!(handle.generation() >= own);
                        });
                    })
                })
                .collect();
            let mut last = 0;
            while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
                let now = handle.generation();
                assert!(now >= last, "{now} after {last}");
                last = now;
            }
        });
    }
}
