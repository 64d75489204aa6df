//! One ring of secrets for the whole stack.
//!
//! Invariants:
//!
//! - A secret of the ring is used for nothing directly. Each purpose has a subkey of its own (HKDF-SHA256, RFC 5869), so
//!   a tag made for one purpose says nothing to another, and one secret in the environment is enough for the stack.
//! - The first secret signs, all of them verify. What signs is never replaced by adding a key: a new secret is deployed
//!   as verify-only first and promoted when every instance holds it.
//! - A tag covers the borders of its message's parts: `("ab", "c")` and `("a", "bc")` have different tags.
//! - Key ids are public: they name a key across instances and restarts and tell nothing about it.

use std::{env, fmt, fs, path::Path, sync::Arc};

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    error::ConfigError,
    secret::{Secret, ct_eq, framed, random_bytes},
    trace::event_warn,
};

/// HKDF's salt: keeps these subkeys apart from those another program derives from the same secret.
const SALT: &[u8] = b"portcullis/1";
const LEAST_SECRET: usize = 32;

/// The secrets of the stack: one signs, all verify.
///
/// Cookies, CSRF tokens, refresh tokens and login state are authenticated with keys derived from these secrets, one per
/// purpose. All instances of a service hold the same ring. Cheap to clone; prints no secret.
///
/// A secret is at least 32 bytes of randomness, in any text form, for instance 32 random bytes as base64. The text is
/// used as it stands and not decoded.
///
/// # Changing the secret
///
/// Without a moment in which one instance refuses what another has just signed:
///
/// 1. deploy the new secret behind the old one: it verifies, and signs nothing yet;
/// 2. when every instance holds it, deploy the new one first and the old one behind it;
/// 3. when nothing signed with the old one can be alive any more, remove it.
///
/// ```
/// use portcullis::KeyRing;
///
/// let (old, new) = ("an old secret of thirty-two bytes or more", "a new secret of thirty-two bytes or more!");
/// let step_1 = KeyRing::new(old)?.verify_with(new)?;
/// let step_2 = KeyRing::new(new)?.verify_with(old)?;
/// let step_3 = KeyRing::new(new)?;
/// assert_eq!(step_1.key_ids().next(), step_2.key_ids().nth(1));
/// assert_eq!(step_3.key_ids().count(), 1);
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct KeyRing(Arc<[Arc<RingKey>]>);

struct RingKey {
    id: [u8; 4],
    /// HKDF's extracted key; the secret itself is not kept.
    root: Secret,
}

impl KeyRing {
    /// A ring of one secret, which signs and verifies.
    ///
    /// # Errors
    ///
    /// Field `secret`: shorter than 32 bytes, or one byte repeated.
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        Ok(Self(Arc::new([Arc::new(RingKey::new(
            secret.as_ref(),
            "the secret",
        )?)])))
    }

    /// Adds a secret that verifies and does not sign: the one before, or the one to come.
    ///
    /// # Errors
    ///
    /// Field `secret`: shorter than 32 bytes, one byte repeated, or in the ring already.
    pub fn verify_with(self, secret: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        self.and(secret.as_ref(), "the secret")
    }

    /// The ring in an environment variable: secrets separated by commas; the first signs, the others verify.
    ///
    /// White space around a secret is not part of it.
    ///
    /// # Errors
    ///
    /// Field `secret`: the variable is unset, empty or not text, or one of its secrets is empty or refused as by
    /// [`new`](Self::new) and [`verify_with`](Self::verify_with). No message contains any part of a secret.
    ///
    /// ```
    /// let error = portcullis::KeyRing::from_env("A_VARIABLE_NOBODY_SET").unwrap_err();
    /// assert!(error.to_string().contains("environment variable A_VARIABLE_NOBODY_SET is not set"));
    /// ```
    pub fn from_env(variable: &str) -> Result<Self, ConfigError> {
        // `env::var_os` panics on names that no variable can have.
        let settable = !variable.is_empty() && !variable.contains(['=', '\0']);
        let Some(text) = settable.then(|| env::var_os(variable)).flatten() else {
            let message = format!(
                "environment variable {variable} is not set: put at least 32 bytes of randomness there, for instance as base64"
            );
            return Err(ConfigError::new("secret", message));
        };
        let place = format!("environment variable {variable}");
        let text = Zeroizing::new(text.into_encoded_bytes());
        Self::from_list(utf8(&text, &place)?.split(','), &place)
    }

    /// The ring in a file: one secret a line; the first signs, the others verify.
    ///
    /// White space around a secret and empty lines do not count. Made for secrets that an orchestrator mounts; read
    /// once, here.
    ///
    /// # Errors
    ///
    /// Field `secret`: the file cannot be read, is empty or not text, or one of its secrets is refused as by
    /// [`new`](Self::new) and [`verify_with`](Self::verify_with). No message contains any part of a secret.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("portcullis-keyring-doc-{}", std::process::id()));
    /// std::fs::write(&path, "the secret that signs, 32 bytes or more\nthe one before, 32 bytes or more\n")?;
    /// let keys = portcullis::KeyRing::from_file(&path)?;
    /// assert_eq!(keys.key_ids().count(), 2);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let place = format!("file {}", path.as_ref().display());
        let text = fs::read(path).map(Zeroizing::new).map_err(|error| {
            ConfigError::new("secret", format!("{place} cannot be read")).caused_by(error)
        })?;
        Self::from_list(
            utf8(&text, &place)?
                .lines()
                .filter(|line| !line.trim().is_empty()),
            &place,
        )
    }

    /// A ring of a random secret that nobody else has and that ends with the process.
    ///
    /// For the first steps on one machine. Two instances refuse each other's cookies and a restart logs everybody out,
    /// so an event at level *warn* says that this is to be replaced by [`from_env`](Self::from_env) or
    /// [`from_file`](Self::from_file).
    ///
    /// # Errors
    ///
    /// Field `secret`: the operating system gave no randomness.
    ///
    /// ```
    /// let keys = portcullis::KeyRing::insecure_development()?;
    /// assert_eq!(keys.key_ids().count(), 1);
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    pub fn insecure_development() -> Result<Self, ConfigError> {
        let secret = random_bytes::<LEAST_SECRET>()
            .map(Zeroizing::new)
            .map_err(|error| {
                ConfigError::new("secret", "the operating system gave no randomness")
                    .caused_by(error)
            })?;
        event_warn!(
            "the key ring is a random one for development: no other instance shares it and a restart forgets it; \
             use KeyRing::from_env or KeyRing::from_file"
        );
        Self::new(secret)
    }

    /// The public names of the keys, the signing one first: the same on every instance, telling nothing about the keys.
    ///
    /// To compare what instances hold during a change of the secret.
    pub fn key_ids(&self) -> impl Iterator<Item = [u8; 4]> + '_ {
        self.0.iter().map(|key| key.id)
    }

    /// The keys of one purpose, prepared. To be made once per layer.
    pub(crate) fn mac(&self, purpose: Purpose) -> MacKeys {
        MacKeys(
            self.0
                .iter()
                .map(|key| (key.id, key.context(purpose.label())))
                .collect(),
        )
    }

    fn and(self, secret: &[u8], what: &str) -> Result<Self, ConfigError> {
        let key = RingKey::new(secret, what)?;
        // Equal ids without equal secrets come by chance once in four thousand million, and would still be ambiguous.
        if self.0.iter().any(|known| known.id == key.id) {
            let message = format!("{what} is in the ring already: give each secret once");
            return Err(ConfigError::new("secret", message));
        }
        Ok(Self(
            self.0.iter().cloned().chain([Arc::new(key)]).collect(),
        ))
    }

    fn from_list<'t>(
        secrets: impl Iterator<Item = &'t str>,
        place: &str,
    ) -> Result<Self, ConfigError> {
        let mut ring: Option<Self> = None;
        for (number, secret) in (1..).zip(secrets.map(str::trim)) {
            let what = format!("secret {number} in {place}");
            ring = Some(match ring {
                None => Self(Arc::new([Arc::new(RingKey::new(
                    secret.as_bytes(),
                    &what,
                )?)])),
                Some(ring) => ring.and(secret.as_bytes(), &what)?,
            });
        }
        ring.ok_or_else(|| {
            ConfigError::new(
                "secret",
                format!("{place} is empty: at least 32 bytes are needed"),
            )
        })
    }
}

fn utf8<'t>(bytes: &'t [u8], place: &str) -> Result<&'t str, ConfigError> {
    std::str::from_utf8(bytes).map_err(|_| {
        ConfigError::new(
            "secret",
            format!("{place} is not text: write the secret as base64 or in hexadecimal"),
        )
    })
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("keys", &self.0.len())
            .finish_non_exhaustive()
    }
}

impl RingKey {
    fn new(secret: &[u8], what: &str) -> Result<Self, ConfigError> {
        let refuse = |message: String| Err(ConfigError::new("secret", message));
        if secret.is_empty() {
            return refuse(format!("{what} is empty: at least 32 bytes are needed"));
        }
        if secret.len() < LEAST_SECRET {
            let length = secret.len();
            return refuse(format!(
                "{what} has {length} bytes: at least 32 bytes of randomness are needed"
            ));
        }
        if secret.iter().all(|byte| *byte == secret[0]) {
            return refuse(format!(
                "{what} is one byte repeated: at least 32 bytes of randomness are needed"
            ));
        }
        let (root, _) = Hkdf::<Sha256>::extract(Some(SALT), secret);
        let root = Secret::new(root.as_slice());
        let id = expand::<4>(&root, b"key id");
        Ok(Self { id: *id, root })
    }

    fn context(&self, label: &[u8]) -> Hmac<Sha256> {
        let key = expand::<32>(&self.root, label);
        Hmac::new_from_slice(key.as_slice()).expect("HMAC takes a key of any length")
    }
}

fn expand<const N: usize>(root: &Secret, label: &[u8]) -> Zeroizing<[u8; N]> {
    let mut key = Zeroizing::new([0; N]);
    Hkdf::<Sha256>::from_prk(root.expose())
        .expect("the root has the length of a SHA-256 hash")
        .expand(label, key.as_mut_slice())
        .expect("far below HKDF's limit of 255 hashes");
    key
}

/// What a subkey is for. A key of one purpose never serves another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The session id in the cookie.
    SessionCookie,
    /// Masked CSRF tokens.
    Csrf,
    /// The cookie that CSRF tokens of anonymous visitors bind to.
    PreSession,
    /// Refresh tokens and the derivation of successors.
    Refresh,
}

impl Purpose {
    /// Part of the wire format of everything signed: a changed label voids what is out there.
    const fn label(self) -> &'static [u8] {
        match self {
            Self::SessionCookie => b"session cookie",
            Self::Csrf => b"csrf",
            Self::PreSession => b"pre-session",
            Self::Refresh => b"refresh",
        }
    }
}

/// The keys of one purpose, ready for use: signing and verifying allocate nothing.
#[derive(Clone)]
pub(crate) struct MacKeys(Box<[([u8; 4], Hmac<Sha256>)]>);

impl MacKeys {
    /// HMAC-SHA256 (RFC 2104) of the parts under the signing key.
    pub(crate) fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        tag(&self.0[0].1, parts)
    }

    /// The same under the key of that id, or `None` if the ring does not hold it.
    pub(crate) fn sign_as(&self, key_id: [u8; 4], parts: &[&[u8]]) -> Option<[u8; 32]> {
        let (_, context) = self.0.iter().find(|(id, _)| *id == key_id)?;
        Some(tag(context, parts))
    }

    /// The id of the key that [`sign`](Self::sign) uses.
    pub(crate) fn signing_key_id(&self) -> [u8; 4] {
        self.0[0].0
    }

    /// Whether `tag` is a full tag of the parts under any key.
    pub(crate) fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.verify_key(parts, tag).is_some()
    }

    /// The place in the ring of the key that made `tag`; 0 is the signing one, anything else is due for renewal.
    ///
    /// Each comparison is in constant time. Which key matched may show, and is no secret.
    pub(crate) fn verify_key(&self, parts: &[&[u8]], tag: &[u8]) -> Option<usize> {
        self.0
            .iter()
            .position(|(_, context)| ct_eq(&self::tag(context, parts), tag))
    }
}

fn tag(context: &Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = context.clone();
    framed(parts, |bytes| mac.update(bytes));
    mac.finalize().into_bytes().into()
}

impl fmt::Debug for MacKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MacKeys")
            .field("keys", &self.0.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{iter, process::Command};

    use super::*;

    const OLD: &str = "the old secret of thirty-two bytes or more";
    const NEW: &str = "the new secret of thirty-two bytes or more";
    const PURPOSES: [Purpose; 4] = [
        Purpose::SessionCookie,
        Purpose::Csrf,
        Purpose::PreSession,
        Purpose::Refresh,
    ];

    fn ring(secrets: &[&str]) -> KeyRing {
        KeyRing::from_list(secrets.iter().copied(), "the test").expect("good secrets")
    }

    fn refusal(ring: Result<KeyRing, ConfigError>) -> String {
        let error = ring.expect_err("wrong configuration");
        assert_eq!(error.field(), "secret");
        error.to_string()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn derivation_is_a_wire_format() {
        // Computed from RFC 5869 and RFC 2104 by another program.
        let ring =
            KeyRing::new(std::array::from_fn::<u8, 32, _>(|at| at as u8)).expect("a good secret");
        let mac = ring.mac(Purpose::SessionCookie);
        assert_eq!(hex(&mac.signing_key_id()), "2b203460");
        assert_eq!(
            hex(&mac.sign(&[b"ab", b"c"])),
            "917965f9caa757a755b3d985f899bc60f5ef00f5aa9b14edf490caee0d0564d7"
        );
    }

    #[test]
    fn a_tag_is_bound_to_purpose_parts_and_their_borders() {
        let ring = ring(&[NEW]);
        for (at, purpose) in PURPOSES.into_iter().enumerate() {
            let tag = ring.mac(purpose).sign(&[b"ab", b"c"]);
            for (other_at, other) in PURPOSES.into_iter().enumerate() {
                assert_eq!(
                    ring.mac(other).verify(&[b"ab", b"c"], &tag),
                    at == other_at,
                    "{purpose:?} {other:?}"
                );
            }
            let mac = ring.mac(purpose);
            let others: [&[&[u8]]; 5] = [
                &[b"a", b"bc"],
                &[b"abc"],
                &[b"ab", b"c", b""],
                &[],
                &[b"ab", b"C"],
            ];
            for parts in others {
                assert!(!mac.verify(parts, &tag), "{parts:?}");
            }
        }
    }

    #[test]
    fn no_changed_or_shortened_tag_verifies() {
        let mac = ring(&[NEW, OLD]).mac(Purpose::Csrf);
        let good = mac.sign(&[b"message"]);
        assert!(mac.verify(&[b"message"], &good));
        for bit in 0..256 {
            let mut tag = good;
            tag[bit / 8] ^= 1 << (bit % 8);
            assert!(!mac.verify(&[b"message"], &tag), "bit {bit}");
        }
        for length in 0..32 {
            assert!(
                !mac.verify(&[b"message"], &good[..length]),
                "{length} bytes"
            );
        }
        assert!(!mac.verify(&[b"message"], &[&good[..], b"\0"].concat()));
    }

    #[test]
    fn a_secret_is_rolled_over_without_a_gap() {
        // Each deployed step beside the one before it: whatever one signs the other verifies.
        let steps = [
            ring(&[OLD]),
            ring(&[OLD, NEW]),
            ring(&[NEW, OLD]),
            ring(&[NEW]),
        ];
        for neighbours in steps.windows(2) {
            for (signer, verifier) in [(0, 1), (1, 0)] {
                let [signer, verifier] =
                    [signer, verifier].map(|at: usize| neighbours[at].mac(Purpose::Refresh));
                assert!(verifier.verify(&[b"m"], &signer.sign(&[b"m"])));
            }
        }
        assert!(
            !steps[3]
                .mac(Purpose::Refresh)
                .verify(&[b"m"], &steps[0].mac(Purpose::Refresh).sign(&[b"m"]))
        );
        let both = ring(&[NEW, OLD]).mac(Purpose::Refresh);
        assert_eq!(both.verify_key(&[b"m"], &both.sign(&[b"m"])), Some(0));
        assert_eq!(
            both.verify_key(&[b"m"], &ring(&[OLD]).mac(Purpose::Refresh).sign(&[b"m"])),
            Some(1)
        );
    }

    #[test]
    fn key_ids_name_keys_wherever_they_stand() {
        let (old, new) = (ring(&[OLD]), ring(&[NEW]));
        let both: Vec<_> = ring(&[NEW, OLD]).key_ids().collect();
        assert_eq!(
            both,
            [
                new.key_ids().next().expect("one"),
                old.key_ids().next().expect("one")
            ]
        );
        let mac = ring(&[NEW, OLD]).mac(Purpose::Refresh);
        assert_eq!(mac.signing_key_id(), both[0]);
        assert_eq!(mac.sign_as(both[0], &[b"m"]), Some(mac.sign(&[b"m"])));
        assert_eq!(
            mac.sign_as(both[1], &[b"m"]),
            Some(old.mac(Purpose::Refresh).sign(&[b"m"]))
        );
        assert_eq!(new.mac(Purpose::Refresh).sign_as(both[1], &[b"m"]), None);
    }

    #[test]
    fn poor_secrets_are_refused() {
        assert!(refusal(KeyRing::new("too short")).contains("has 9 bytes: at least 32 bytes"));
        assert!(refusal(KeyRing::new([7; 31])).contains("at least 32 bytes"));
        assert!(refusal(KeyRing::new("")).contains("is empty"));
        assert!(refusal(KeyRing::new([0; 64])).contains("one byte repeated"));
        assert!(
            refusal(KeyRing::new(NEW).expect("good").verify_with(NEW))
                .contains("in the ring already")
        );
        assert!(refusal(ring(&[NEW, OLD]).verify_with(OLD)).contains("in the ring already"));
        assert!(refusal(ring(&[NEW]).verify_with("short")).contains("at least 32 bytes"));
    }

    #[test]
    fn messages_and_debug_show_no_secret() {
        let duplicate = refusal(KeyRing::from_list([NEW, NEW].into_iter(), "file x"));
        assert_eq!(
            duplicate,
            "secret: secret 2 in file x is in the ring already: give each secret once"
        );
        let short = refusal(KeyRing::from_list([NEW, "hunter2"].into_iter(), "file x"));
        assert!(
            short.contains("secret 2 in file x has 7 bytes") && !short.contains("hunter2"),
            "{short}"
        );
        let ring = ring(&[NEW, OLD]);
        assert_eq!(format!("{ring:?}"), "KeyRing { keys: 2, .. }");
        assert_eq!(
            format!("{:?}", ring.mac(Purpose::Csrf)),
            "MacKeys { keys: 2, .. }"
        );
    }

    #[test]
    fn a_file_holds_one_secret_a_line() {
        let path = env::temp_dir().join(format!("portcullis-keyring-test-{}", std::process::id()));
        let read = |content: &[u8]| {
            fs::write(&path, content).expect("a writable temporary directory");
            KeyRing::from_file(&path)
        };
        let good = read(format!("\r\n  {NEW}\t\r\n\n{OLD}").as_bytes()).expect("a good file");
        assert!(good.key_ids().eq(ring(&[NEW, OLD]).key_ids()));
        assert!(refusal(read(b" \n\n")).contains("is empty: at least 32 bytes"));
        assert!(refusal(read(b"\xff\xfe")).contains("is not text"));
        fs::remove_file(&path).expect("the file just written");
        let missing = KeyRing::from_file(&path).expect_err("no such file");
        assert!(missing.to_string().contains("cannot be read"));
        assert!(std::error::Error::source(&missing).is_some());
    }

    /// What the environment holds is set for a child, since setting it in a running process is unsafe.
    #[test]
    fn a_variable_holds_secrets_between_commas() {
        const VARIABLE: &str = "PORTCULLIS_TEST_RING";
        if env::var_os(VARIABLE).is_some() {
            return match KeyRing::from_env(VARIABLE) {
                Ok(ring) => assert!(ring.key_ids().eq(self::ring(&[NEW, OLD]).key_ids())),
                Err(error) => panic!("{error}"),
            };
        }
        let in_child = |value: &str| {
            let child = Command::new(env::current_exe().expect("the test binary"))
                .args([
                    "--exact",
                    "keyring::tests::a_variable_holds_secrets_between_commas",
                ])
                .env(VARIABLE, value)
                .output()
                .expect("the test binary runs");
            (
                child.status.success(),
                String::from_utf8_lossy(&child.stdout).into_owned(),
            )
        };
        let good = in_child(&format!(" {NEW} ,{OLD}\n"));
        assert!(good.0 && good.1.contains("1 passed"), "{good:?}");
        for value in ["", " ", &format!("{NEW},"), &format!("{NEW},,{OLD}")] {
            let empty = in_child(value);
            assert!(
                !empty.0 && empty.1.contains("PORTCULLIS_TEST_RING is empty"),
                "{empty:?}"
            );
        }
        for unset in ["PORTCULLIS_TEST_UNSET", "", "A=B", "A\0B"] {
            assert!(refusal(KeyRing::from_env(unset)).contains("is not set"));
        }
    }

    #[test]
    fn development_rings_have_nothing_in_common() {
        let ids = iter::repeat_with(|| {
            KeyRing::insecure_development()
                .expect("randomness")
                .key_ids()
                .next()
        });
        let [one, other] = ids.take(2).collect::<Vec<_>>()[..] else {
            unreachable!("two were taken")
        };
        assert_ne!(one, other);
    }
}
