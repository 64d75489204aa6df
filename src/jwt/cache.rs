//! Verified tokens, remembered: a signature is verified once per token, not once per request.
//!
//! 1. Only what passed every check is remembered. A refusal never is.
//! 2. An entry is named by a SHA-256 over random bytes of this cache, the layer's rules, the generations of all its keys
//!    and the whole token. The text of a token is not kept, no two tokens share a name, and nobody outside can choose or
//!    foresee one.
//! 3. The generations are read before a verification begins. One that keys were exchanged under files its token under a
//!    name that nobody asks for any more.
//! 4. Whatever depends on the time is judged again at every use, by the function that judged it first.
//! 5. Count and bytes are bounded. What was used since the hand of the clock came by stays, so that a flood of tokens that
//!    come once drives out one another and not those in use. To forget costs a verification and nothing else.
//! 6. Under a lock there is looking up, filing and forgetting; no code of the application's runs there, not even a `Drop`.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasherDefault, Hash, Hasher},
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use sha2::{Digest, Sha256};

use super::VerifiedToken;
use crate::{error::ConfigError, secret::random_bytes};

const MOST_SHARDS: usize = 16;
/// A shard with fewer entries or bytes than these would forget tokens while others are empty.
const SMALLEST_SHARD: Limits = Limits {
    entries: 64,
    bytes: 64 * 1024,
};
/// How often the hand of the clock may come by before a token in use is forgotten.
const MOST_USES: u8 = 3;
/// What an entry costs besides the token itself: its name twice, its places in map and list, and the room that both keep
/// for growing.
const OVERHEAD: usize = 256;

/// How much is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 10_000,
            bytes: 16 * 1024 * 1024,
        }
    }
}

impl Limits {
    pub(super) fn check(self) -> Result<Self, ConfigError> {
        if !(1..=10_000_000).contains(&self.entries) {
            return Err(ConfigError::new(
                "cache_limits",
                "between 1 and 10 000 000 entries; `.no_cache()` remembers nothing",
            ));
        }
        if !(16 * 1024..=16 << 30).contains(&(self.bytes as u64)) {
            return Err(ConfigError::new(
                "cache_limits",
                "between 16 KiB and 16 GiB; `.no_cache()` remembers nothing",
            ));
        }
        Ok(self)
    }

    /// As many shards as are worth it, up to 16.
    fn shards(self) -> usize {
        let by_entries = self.entries / SMALLEST_SHARD.entries;
        let by_bytes = self.bytes / SMALLEST_SHARD.bytes;
        by_entries.min(by_bytes).clamp(1, MOST_SHARDS)
    }

    fn share(self, shards: usize) -> Self {
        Self {
            entries: self.entries / shards,
            bytes: self.bytes / shards,
        }
    }
}

pub(super) struct TokenCache {
    /// A hash that has read what all names begin with.
    prefix: Sha256,
    /// Larger after every exchange of keys; only says when to empty the shards, see [`Name`].
    epoch: AtomicU64,
    shards: Box<[Mutex<Shard>]>,
    limits: Limits,
    share: Limits,
}

/// The name of a token under the keys of this moment.
#[derive(Clone, Copy)]
pub(super) struct Name {
    digest: Key,
    /// The sum of the generations. Each of them only grows, so this is larger after an exchange; two different lists may
    /// still have one sum when read while keys are exchanged, and so only the digest decides what is found.
    epoch: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Key([u8; 32]);

impl TokenCache {
    pub(super) fn new(fingerprint: &[u8; 32], limits: Limits) -> Result<Self, ConfigError> {
        let random = random_bytes::<32>().map_err(|error| {
            ConfigError::new("cache_limits", "the operating system gave no random bytes")
                .caused_by(error)
        })?;
        Ok(Self::seeded(random, fingerprint, limits))
    }

    fn seeded(random: [u8; 32], fingerprint: &[u8; 32], limits: Limits) -> Self {
        let shards = limits.shards();
        Self {
            prefix: Sha256::new_with_prefix(random).chain_update(fingerprint),
            epoch: AtomicU64::new(0),
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            limits,
            share: limits.share(shards),
        }
    }

    /// The name of `token` under keys of these generations: as many as at every other call, so that the token begins at
    /// the same place of what is hashed.
    pub(super) fn name(&self, token: &[u8], generations: impl Iterator<Item = u64>) -> Name {
        let mut hash = self.prefix.clone();
        let mut epoch = 0_u64;
        for generation in generations {
            hash.update(generation.to_be_bytes());
            epoch = epoch.wrapping_add(generation);
        }
        hash.update(token);
        Name {
            digest: Key(hash.finalize().into()),
            epoch,
        }
    }

    /// The token of this name. Whether its time has come or gone is the caller's to judge.
    pub(super) fn get(&self, name: &Name) -> Option<VerifiedToken> {
        self.forget_replaced(name.epoch);
        self.shard(name).get(name.digest)
    }

    /// Files a token that has just passed every check. `weight` is about how many bytes it holds.
    pub(super) fn insert(&self, name: &Name, token: VerifiedToken, weight: usize) {
        let bytes = weight.saturating_add(OVERHEAD);
        if bytes > self.share.bytes {
            return;
        }
        let mut shard = self.shard(name);
        // Read inside of the lock: whoever empties the shards for newer keys has either not come here yet, or is seen.
        if self.epoch.load(Ordering::SeqCst) > name.epoch {
            return;
        }
        let slot = Slot {
            key: name.digest,
            token,
            bytes,
            uses: 0,
        };
        let forgotten = shard.insert(slot, self.share);
        drop(shard);
        drop(forgotten);
    }

    pub(super) fn remove(&self, name: &Name) {
        let mut shard = self.shard(name);
        let forgotten = shard.remove(name.digest);
        drop(shard);
        drop(forgotten);
    }

    pub(super) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| lock(shard).slots.len())
            .sum()
    }

    /// What was verified by keys that are gone is not found any more; this gives back its memory.
    fn forget_replaced(&self, epoch: u64) {
        if self.epoch.load(Ordering::SeqCst) >= epoch
            || self.epoch.fetch_max(epoch, Ordering::SeqCst) >= epoch
        {
            return;
        }
        for shard in &self.shards {
            let forgotten = mem::take(&mut *lock(shard));
            drop(forgotten);
        }
    }

    fn shard(&self, name: &Name) -> MutexGuard<'_, Shard> {
        // Not the bytes that choose the place inside of the shard.
        lock(&self.shards[usize::from(name.digest.0[31]) % self.shards.len()])
    }
}

/// No step under the lock can panic and leave a shard half changed.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sizes only: what is inside are claims about people.
impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache")
            .field("limits", &self.limits)
            .field("tokens", &self.len())
            .finish_non_exhaustive()
    }
}

/// A list that a hand goes around on, and where in it each token is.
#[derive(Default)]
struct Shard {
    places: HashMap<Key, usize, BuildHasherDefault<Direct>>,
    slots: Vec<Slot>,
    hand: usize,
    bytes: usize,
}

struct Slot {
    key: Key,
    token: VerifiedToken,
    bytes: usize,
    uses: u8,
}

impl Shard {
    fn get(&mut self, key: Key) -> Option<VerifiedToken> {
        let slot = self.slots.get_mut(*self.places.get(&key)?)?;
        slot.uses = MOST_USES.min(slot.uses + 1);
        Some(slot.token.clone())
    }

    /// Returns what has to go; the caller drops it when the lock is free.
    fn insert(&mut self, slot: Slot, limits: Limits) -> Vec<Slot> {
        if self.places.contains_key(&slot.key) {
            // Somebody else verified the same token meanwhile.
            return vec![slot];
        }
        let mut forgotten = Vec::new();
        while self.slots.len() >= limits.entries || self.bytes + slot.bytes > limits.bytes {
            forgotten.extend(self.evict());
        }
        self.bytes += slot.bytes;
        self.places.insert(slot.key, self.slots.len());
        self.slots.push(slot);
        forgotten
    }

    /// Forgets the next token that was not used since the hand came by last. Three rounds at most.
    fn evict(&mut self) -> Option<Slot> {
        loop {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            let at = self.hand;
            let slot = self.slots.get_mut(at)?;
            // The youngest token takes the place that becomes free: it is looked at in the next round, not at once.
            self.hand += 1;
            if slot.uses == 0 {
                return Some(self.take(at));
            }
            slot.uses -= 1;
        }
    }

    fn remove(&mut self, key: Key) -> Option<Slot> {
        let at = *self.places.get(&key)?;
        Some(self.take(at))
    }

    fn take(&mut self, at: usize) -> Slot {
        let slot = self.slots.swap_remove(at);
        self.places.remove(&slot.key);
        if let Some(moved) = self.slots.get(at) {
            self.places.insert(moved.key, at);
        }
        self.bytes -= slot.bytes;
        slot
    }
}

/// The name is a hash already, over bytes that nobody outside knows.
#[derive(Default)]
struct Direct(u64);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl Hasher for Direct {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::jwt::{Claims, Grant, Issuer, JwtAlgorithm, JwtVerifyLayer, NoClaims, SigningKey};

    fn cache(entries: usize, bytes: usize) -> TokenCache {
        TokenCache::new(&[7; 32], Limits { entries, bytes }).expect("random bytes")
    }

    /// Some token; the cache never looks inside.
    fn token() -> VerifiedToken {
        minted().1
    }

    fn minted() -> (String, VerifiedToken) {
        let key = SigningKey::secret(JwtAlgorithm::Hs256, [7; 32]).expect("a key");
        let layer = JwtVerifyLayer::<NoClaims>::new(key.verification_key())
            .issuer("https://id.example")
            .audience("api")
            .build()
            .expect("a layer");
        let issuer = Issuer::new(key, "https://id.example").audience("api");
        let issuer = issuer.build().expect("an issuer");
        let grant = Grant::user("alice").sid("s").scope("a b").claim("x", "y");
        let minted = issuer.mint_at(&grant, 1_000).expect("a token");
        let (verified, _): (_, Claims<NoClaims>) = layer
            .verify_at(minted.token().as_bytes(), 1_000)
            .expect("a good token");
        (minted.token().to_owned(), verified)
    }

    // Fails if: a name leaves out the generations, their order, the rules or the cache's own bytes.
    #[test]
    fn every_part_is_in_the_name() {
        let seeded = |random, fingerprint| {
            TokenCache::seeded([random; 32], &[fingerprint; 32], Limits::default())
        };
        let (one, other) = (cache(10, 1 << 20), cache(10, 1 << 20));
        let name = |cache: &TokenCache, token: &[u8], generations: [u64; 2]| {
            cache.name(token, generations.into_iter()).digest.0
        };
        let names = [
            name(&one, b"a", [1, 2]),
            name(&one, b"b", [1, 2]),
            name(&one, b"", [1, 2]),
            name(&one, b"a", [2, 1]),
            name(&one, b"a", [1, 3]),
            name(&one, b"a", [0, 3]),
            name(&other, b"a", [1, 2]),
            name(&seeded(1, 7), b"a", [1, 2]),
            name(&seeded(1, 8), b"a", [1, 2]),
        ];
        for (at, name) in names.iter().enumerate() {
            assert!(!names[..at].contains(name), "{at}");
        }
        assert_eq!(name(&one, b"a", [1, 2]), names[0]);
    }

    // Fails if: the text of a token, or a piece of it, is anywhere in what is kept.
    #[test]
    fn r121_the_text_of_a_token_is_not_kept() {
        let (text, token) = minted();
        let cache = cache(10, 1 << 20);
        cache.insert(&cache.name(text.as_bytes(), [1].into_iter()), token, 100);
        let shard = lock(&cache.shards[0]);
        let [slot] = &shard.slots[..] else {
            panic!("one token")
        };
        let mut kept = slot.token.dump().into_bytes();
        kept.extend(slot.key.0);
        assert!(kept.windows(5).any(|piece| piece == b"alice"), "a dump");
        for piece in text.as_bytes().windows(8) {
            assert!(!kept.windows(8).any(|kept| kept == piece), "{piece:?}");
        }
    }

    // Fails if: a verification that ends after the keys were exchanged is filed, or shards keep what was verified before.
    #[test]
    fn newer_keys_empty_the_cache() {
        let cache = cache(10_000, 1 << 20);
        let names = |generation: u64| (0..200_u32).map(move |n| (n.to_be_bytes(), generation));
        let name = |(n, generation): ([u8; 4], u64)| cache.name(&n, [generation].into_iter());
        assert!(cache.shards.len() > 1);
        for pair in names(5) {
            assert!(cache.get(&name(pair)).is_none());
            cache.insert(&name(pair), token(), 100);
        }
        assert_eq!(cache.len(), 200);
        assert!(cache.get(&name(([0; 4], 6))).is_none());
        assert_eq!(cache.len(), 0);
        for pair in names(5) {
            cache.insert(&name(pair), token(), 100);
            assert!(cache.get(&name(pair)).is_none());
        }
        assert_eq!(cache.len(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        // Fails if: list, map and count of bytes ever disagree, a limit is passed, or something not filed is found.
        #[test]
        fn a_shard_stays_consistent(steps in prop::collection::vec((0..4_u8, 0..40_u8, 1..60_usize), 1..300)) {
            let limits = Limits { entries: 12, bytes: 300 };
            let some = token();
            let mut shard = Shard::default();
            let mut filed = std::collections::HashSet::new();
            for (what, n, bytes) in steps {
                let key = Key([n; 32]);
                match what {
                    0 => prop_assert!(shard.get(key).is_none() || filed.contains(&n)),
                    1 => {
                        prop_assert_eq!(shard.remove(key).is_some(), filed.remove(&n));
                    }
                    _ => {
                        let known = filed.contains(&n);
                        let slot = Slot { key, token: some.clone(), bytes, uses: 0 };
                        for gone in shard.insert(slot, limits) {
                            prop_assert!(known == (gone.key == key));
                            filed.remove(&gone.key.0[0]);
                        }
                        filed.insert(n);
                    }
                }
                prop_assert_eq!(shard.slots.len(), filed.len());
                prop_assert_eq!(shard.places.len(), filed.len());
                prop_assert_eq!(shard.bytes, shard.slots.iter().map(|slot| slot.bytes).sum::<usize>());
                prop_assert!(shard.slots.len() <= limits.entries && shard.bytes <= limits.bytes);
                for (at, slot) in shard.slots.iter().enumerate() {
                    prop_assert_eq!(shard.places.get(&slot.key), Some(&at));
                    prop_assert!(filed.contains(&slot.key.0[0]));
                }
            }
        }
    }
}
