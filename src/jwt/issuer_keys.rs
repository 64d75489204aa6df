//! The signing keys of an issuer, and how one follows another without a token being refused in between.
//!
//! 1. A key is published before it signs: whoever verifies has the time to fetch it. Its time is fixed when it is
//!    scheduled, so that all instances that were given the same schedule change over together and need not talk.
//! 2. A key that no longer signs stays published until the last token that it signed is dead, and no longer: whoever finds
//!    it later can make nothing of it.
//! 3. Private keys never leave; secrets are not published at all.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;

use super::{KeySet, KeySetHandle, SigningKey};
use crate::{
    clock::{Clock, millis},
    error::ConfigError,
    secret::encode,
};

/// How long a key is published before it signs. Caches of the published document must be younger than this.
pub(crate) const PUBLISHED_BEFORE: Duration = Duration::from_secs(60 * 60);
/// The longest life of a token (24 hours), and an hour for clocks that differ.
const PUBLISHED_AFTER: Duration = Duration::from_secs(25 * 60 * 60);

/// The keys of an [`Issuer`](super::Issuer): the one that signs, those that will, and those whose tokens still live.
///
/// Clones share the keys. A single [`SigningKey`] converts by itself, and can be followed by another if it has a name.
///
/// ```
/// use portcullis::jwt::{Grant, Issuer, IssuerKeys, JwtAlgorithm, JwtVerifyLayer, NoClaims, SigningKey};
///
/// let keys = IssuerKeys::new(SigningKey::generate(JwtAlgorithm::EdDsa)?.kid("winter")?)?;
/// let issuer = Issuer::new(&keys, "https://id.example").audience("api").build()?;
/// let layer = JwtVerifyLayer::<NoClaims>::new(keys.verification_keys())
///     .issuer("https://id.example")
///     .audience("api")
///     .build()?;
///
/// // The same call on every instance, at least an hour ahead: the document has the key at once, tokens have it then.
/// let now_ms = 1_700_000_000_000;
/// let spring = now_ms + 24 * 60 * 60 * 1_000;
/// keys.schedule_at(SigningKey::generate(JwtAlgorithm::EdDsa)?.kid("spring")?, spring, now_ms)?;
/// assert!(keys.jwks_at(now_ms).contains("spring"));
///
/// let before = issuer.mint_at(&Grant::user("alice"), spring - 1)?;
/// let after = issuer.mint_at(&Grant::user("alice"), spring)?;
/// for minted in [before, after] {
///     assert!(layer.verify_at(minted.token().as_bytes(), spring).is_ok());
/// }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct IssuerKeys(Arc<Shared>);

struct Shared {
    /// By the time from which they sign. Never empty.
    schedule: RwLock<Vec<Arc<Entry>>>,
    published: KeySetHandle,
    /// When the next key is to be forgotten.
    next_end_ms: AtomicU64,
    clock: Clock,
}

pub(super) struct Entry {
    pub(super) key: SigningKey,
    /// The base64url text of the header, the same for all tokens of the key.
    pub(super) header: Box<str>,
    from_ms: u64,
}

impl Entry {
    fn new(key: SigningKey, from_ms: u64) -> Arc<Self> {
        #[derive(Serialize)]
        struct Header<'a> {
            alg: &'static str,
            typ: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            kid: Option<&'a str>,
        }
        let header = Header {
            alg: key.algorithm().name(),
            typ: "at+jwt",
            kid: key.key_id(),
        };
        let header = serde_json::to_vec(&header).expect("strings can be written as JSON");
        Arc::new(Self {
            header: encode(header).into(),
            key,
            from_ms,
        })
    }
}

impl IssuerKeys {
    /// A key that signs from now on, and can be followed by others.
    ///
    /// # Errors
    ///
    /// If the key has no name: verifiers could not tell it from the next one.
    pub fn new(key: SigningKey) -> Result<Self, ConfigError> {
        check_named(&key)?;
        Ok(key.into())
    }

    /// Lets a key sign from `from_ms` on, in milliseconds since the Unix epoch, and publishes it now. The key of before
    /// signs until then, and stays published for another 25 hours.
    ///
    /// # Errors
    ///
    /// If `from_ms` is less than an hour away, if a key has no name or the name of another, or if it is a secret among key
    /// pairs or the other way round.
    pub fn schedule(&self, key: SigningKey, from_ms: u64) -> Result<(), ConfigError> {
        self.schedule_at(key, from_ms, self.0.clock.now_millis())
    }

    /// The same, as of `now_ms`.
    ///
    /// # Errors
    ///
    /// As [`schedule`](Self::schedule).
    pub fn schedule_at(
        &self,
        key: SigningKey,
        from_ms: u64,
        now_ms: u64,
    ) -> Result<(), ConfigError> {
        if from_ms < now_ms + millis(PUBLISHED_BEFORE) {
            return Err(ConfigError::new(
                "from_ms",
                "a key is published for an hour before it signs, or verifiers would refuse its first tokens",
            ));
        }
        self.insert(key, from_ms, now_ms)
    }

    /// Adds a key of a schedule that other instances follow already, whatever its time: for a service that starts.
    ///
    /// # Errors
    ///
    /// If a key has no name or the name of another, or if it is a secret among key pairs or the other way round.
    pub fn resume(&self, key: SigningKey, from_ms: u64) -> Result<(), ConfigError> {
        self.insert(key, from_ms, self.0.clock.now_millis())
    }

    /// Signs with another key at once, because the one of now is not to be trusted any more; then
    /// [`remove`](Self::remove) that one. Verifiers that keep the document for a while refuse the new tokens until they
    /// fetch it again.
    ///
    /// # Errors
    ///
    /// As [`resume`](Self::resume).
    pub fn switch_now(&self, key: SigningKey) -> Result<(), ConfigError> {
        let now_ms = self.0.clock.now_millis();
        self.insert(key, now_ms, now_ms)
    }

    /// Forgets a key at once, with all tokens that it signed: for one that was stolen.
    ///
    /// # Errors
    ///
    /// If there is no key of this name, or it is the one that signs: switch to another first.
    pub fn remove(&self, kid: &str) -> Result<(), ConfigError> {
        let now_ms = self.0.clock.now_millis();
        self.change(now_ms, |schedule| {
            let named = |entry: &Arc<Entry>| entry.key.key_id() == Some(kid);
            if !schedule.iter().any(named) {
                return Err(ConfigError::new("kid", "no key has this name"));
            }
            if named(current(schedule, now_ms)) {
                return Err(ConfigError::new(
                    "kid",
                    "this is the key that signs: switch to another one first",
                ));
            }
            schedule.retain(|entry| !named(entry));
            Ok(())
        })
    }

    /// The public halves, for layers of this process; they follow every change by themselves.
    #[must_use]
    pub fn verification_keys(&self) -> KeySetHandle {
        self.0.published.clone()
    }

    /// The public halves as a JWKS document (RFC 7517 §5), for verifiers elsewhere. Secrets are left out: a document of
    /// nothing but secrets is empty.
    #[must_use]
    pub fn jwks(&self) -> String {
        self.jwks_at(self.0.clock.now_millis())
    }

    /// The same, as of `now_ms`.
    #[must_use]
    pub fn jwks_at(&self, now_ms: u64) -> String {
        self.forget_ended(now_ms);
        let schedule = self.0.schedule.read();
        let schedule = schedule.unwrap_or_else(PoisonError::into_inner);
        let keys = schedule.iter().map(|entry| entry.key.verification_key());
        let texts: Vec<String> = keys.filter_map(|key| key.to_jwk()).collect();
        format!(r#"{{"keys":[{}]}}"#, texts.join(","))
    }

    /// The key that signs.
    pub(super) fn signing_at(&self, now_ms: u64) -> Arc<Entry> {
        self.forget_ended(now_ms);
        let schedule = self.0.schedule.read();
        let schedule = schedule.unwrap_or_else(PoisonError::into_inner);
        Arc::clone(current(&schedule, now_ms))
    }

    fn insert(&self, key: SigningKey, from_ms: u64, now_ms: u64) -> Result<(), ConfigError> {
        check_named(&key)?;
        self.change(now_ms, |schedule| {
            schedule
                .iter()
                .try_for_each(|entry| check_named(&entry.key))?;
            let at = schedule.partition_point(|entry| entry.from_ms <= from_ms);
            schedule.insert(at, Entry::new(key, from_ms));
            Ok(())
        })
    }

    fn forget_ended(&self, now_ms: u64) {
        if now_ms >= self.0.next_end_ms.load(Ordering::Relaxed) {
            // The keys that stay are a set already: taking some away cannot make them unusable.
            let _ = self.change(now_ms, |_| Ok(()));
        }
    }

    /// Changes the schedule and what is published together, or neither.
    fn change(
        &self,
        now_ms: u64,
        edit: impl FnOnce(&mut Vec<Arc<Entry>>) -> Result<(), ConfigError>,
    ) -> Result<(), ConfigError> {
        let schedule = self.0.schedule.write();
        let mut schedule = schedule.unwrap_or_else(PoisonError::into_inner);
        let mut new = schedule.clone();
        edit(&mut new)?;
        let ended = ended(&new, now_ms);
        new.drain(..ended);
        let keys = new.iter().map(|entry| entry.key.verification_key());
        self.0.published.replace(KeySet::new(keys)?)?;
        let next = new.get(1).map_or(u64::MAX, |next| end_before(next));
        self.0.next_end_ms.store(next, Ordering::Relaxed);
        *schedule = new;
        Ok(())
    }
}

fn check_named(key: &SigningKey) -> Result<(), ConfigError> {
    match key.key_id() {
        Some(_) => Ok(()),
        None => Err(ConfigError::new(
            "kid",
            "a key that others follow or precede needs a name",
        )),
    }
}

/// The last one whose time has come; before the first time, the first.
fn current(schedule: &[Arc<Entry>], now_ms: u64) -> &Arc<Entry> {
    let begun = schedule.partition_point(|entry| entry.from_ms <= now_ms);
    &schedule[begun.saturating_sub(1)]
}

/// When whatever precedes this key is dead.
fn end_before(next: &Entry) -> u64 {
    next.from_ms.saturating_add(millis(PUBLISHED_AFTER))
}

/// How many of the first keys have nothing alive any more.
fn ended(schedule: &[Arc<Entry>], now_ms: u64) -> usize {
    let following = schedule.iter().skip(1);
    following
        .take_while(|next| end_before(next) <= now_ms)
        .count()
}

impl From<SigningKey> for IssuerKeys {
    fn from(key: SigningKey) -> Self {
        Self(Arc::new(Shared {
            published: key.verification_key().into(),
            schedule: RwLock::new(vec![Entry::new(key, 0)]),
            next_end_ms: AtomicU64::new(u64::MAX),
            clock: Clock::system(),
        }))
    }
}

impl From<&Self> for IssuerKeys {
    fn from(keys: &Self) -> Self {
        keys.clone()
    }
}

/// Says which keys there are and nothing of what they are made of.
impl fmt::Debug for IssuerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schedule = self.0.schedule.read();
        let schedule = schedule.unwrap_or_else(PoisonError::into_inner);
        let keys = schedule.iter().map(|entry| &entry.key);
        f.debug_list().entries(keys).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::JwtAlgorithm;

    const HOUR: u64 = 60 * 60 * 1_000;
    const NOW: u64 = 1_700_000_000_000;

    fn key(kid: &str) -> SigningKey {
        let key = SigningKey::generate(JwtAlgorithm::Es256).expect("a key");
        key.kid(kid).expect("a name")
    }

    fn signing(keys: &IssuerKeys, now: u64) -> String {
        let entry = keys.signing_at(now);
        entry.key.key_id().expect("named").to_owned()
    }

    // Fails if: a key signs before its time or is published only then, or goes while its tokens live, or never goes.
    #[test]
    fn a_key_is_published_signs_and_goes() {
        let keys = IssuerKeys::new(key("a")).expect("keys");
        let verify = keys.verification_keys();
        assert_eq!(signing(&keys, 0), "a");
        let change = NOW + 2 * HOUR;
        keys.schedule_at(key("b"), change, NOW).expect("in time");
        assert_eq!(verify.current().keys.len(), 2);
        assert_eq!(signing(&keys, change - 1), "a");
        assert_eq!(signing(&keys, change), "b");
        let end = change + 25 * HOUR;
        assert!(keys.jwks_at(end - 1).contains(r#""kid":"a""#));
        assert_eq!(verify.current().keys.len(), 2);
        assert!(!keys.jwks_at(end).contains(r#""kid":"a""#));
        assert_eq!(verify.current().keys.len(), 1);
        assert_eq!(signing(&keys, end), "b");
    }

    // Fails if: a key could sign that verifiers had no time to fetch, or two keys could not be told apart.
    #[test]
    fn what_cannot_work_is_refused_and_changes_nothing() {
        let keys = IssuerKeys::new(key("a")).expect("keys");
        let schedule = |key, from| {
            keys.schedule_at(key, from, NOW)
                .expect_err("refused")
                .field()
        };
        assert_eq!(schedule(key("b"), NOW + HOUR - 1), "from_ms");
        assert_eq!(schedule(key("a"), NOW + HOUR), "keys");
        let nameless = SigningKey::generate(JwtAlgorithm::Es256).expect("a key");
        assert_eq!(schedule(nameless.clone(), NOW + HOUR), "kid");
        let secret = SigningKey::secret(JwtAlgorithm::Hs256, [7; 32]).expect("a key");
        assert_eq!(
            schedule(secret.kid("c").expect("a name"), NOW + HOUR),
            "keys"
        );
        assert!(IssuerKeys::new(nameless).is_err());
        assert_eq!(keys.remove("a").expect_err("it signs").field(), "kid");
        assert_eq!(keys.verification_keys().current().keys.len(), 1);
    }

    // Fails if: a stolen key goes on verifying after it was removed.
    #[test]
    fn a_stolen_key_is_replaced_at_once() {
        let keys = IssuerKeys::new(key("a")).expect("keys");
        keys.switch_now(key("b")).expect("a switch");
        let now = Clock::system().now_millis();
        assert_eq!(signing(&keys, now), "b");
        keys.remove("a").expect("gone");
        assert!(!keys.jwks().contains(r#""kid":"a""#));
        assert_eq!(keys.verification_keys().current().keys.len(), 1);
    }

    // Fails if: a private member, or a secret, is published.
    #[test]
    fn only_public_members_are_published() {
        let document = IssuerKeys::from(key("a")).jwks();
        assert!(!document.contains(r#""d":"#), "{document}");
        let set = KeySet::from_jwks(&document).expect("readable by ourselves");
        assert_eq!((set.len(), set.skipped().len()), (1, 0));
        let secret = SigningKey::secret(JwtAlgorithm::Hs256, [7; 32]).expect("a key");
        assert_eq!(IssuerKeys::from(secret).jwks(), r#"{"keys":[]}"#);
    }
}
