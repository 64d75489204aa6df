//! Bytes that must not leak, and the few things done with them.
//!
//! Invariants: a [`Secret`] is wiped when dropped and prints no byte of itself; whatever is compared with something a
//! client sent is compared by [`ct_eq`]; randomness comes from the operating system and from nowhere else. Nothing here
//! is cryptography of our own: SHA-256, base64 and the comparison are other crates'.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes that are wiped from memory when dropped and redact themselves in `Debug`; compared in constant time.
#[derive(Clone)]
pub(crate) struct Secret(Zeroizing<Box<[u8]>>);

impl Secret {
    /// Takes the bytes over. A copy that the caller keeps is the caller's to wipe.
    pub(crate) fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes themselves; the name is what one greps for.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        ct_eq(self.expose(), other.expose())
    }
}

impl Eq for Secret {}

/// Whether two byte strings are equal, in a time that tells no more than their lengths.
pub(crate) fn ct_eq(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// `N` bytes of the operating system's CSPRNG.
///
/// # Errors
///
/// If the operating system has no randomness to give; nothing secret may be made then.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Base64url without padding (RFC 4648 §5).
pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The same, appended to `out`.
pub(crate) fn encode_into(bytes: impl AsRef<[u8]>, out: &mut String) {
    URL_SAFE_NO_PAD.encode_string(bytes, out);
}

/// The same, into a text of exactly [`encoded_len`] characters; allocates nothing.
pub(crate) fn encode_exact(bytes: &[u8], text: &mut [u8]) {
    let written = URL_SAFE_NO_PAD.encode_slice(bytes, text);
    debug_assert!(written.is_ok(), "the text has room for the bytes");
}

/// The length of [`encode`]'s text for `bytes` bytes.
pub(crate) const fn encoded_len(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

/// Exactly `N` bytes out of their one base64url text; allocates nothing.
///
/// Every value has one text: padding, whitespace, the other alphabet, a wrong length and trailing bits that are not
/// zero are refused, so a token cannot be varied into a second text that is still taken for the same token.
pub(crate) fn decode_exact<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != encoded_len(N) {
        return None;
    }
    let mut bytes = [0; N];
    match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
        Ok(written) if written == N => Some(bytes),
        _ => None,
    }
}

/// SHA-256 of the parts as if they were one string: `("ab", "c")` and `("a", "bc")` hash alike.
///
/// For one part, or parts whose borders are fixed; otherwise [`sha256_of_parts`].
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// SHA-256 of the parts, each behind its length: no two lists of parts are hashed as the same string.
pub(crate) fn sha256_of_parts(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    framed(parts, |bytes| hash.update(bytes));
    hash.finalize().into()
}

/// Feeds each part behind its length (8 bytes, big endian), which makes the list of parts readable from the whole and
/// so keeps `("ab", "c")` apart from `("a", "bc")`.
pub(crate) fn framed(parts: &[&[u8]], mut feed: impl FnMut(&[u8])) {
    for part in parts {
        feed(&(part.len() as u64).to_be_bytes());
        feed(part);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_secret_prints_nothing_and_compares_by_content() {
        let secret = Secret::new(*b"hunter2");
        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(..) Secret(..)");
        assert_eq!(secret, Secret::new(*b"hunter2"));
        assert_ne!(secret, Secret::new(*b"hunter3"));
        assert_ne!(secret, Secret::new(*b"hunter"));
    }

    #[test]
    fn random_bytes_differ() {
        assert_ne!(
            random_bytes::<16>().expect("randomness"),
            random_bytes::<16>().expect("randomness")
        );
    }

    #[test]
    fn sha256_is_sha256() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&sha256(&[b"abc"])), abc);
        assert_eq!(hex(&sha256(&[b"a", b"", b"bc"])), abc);
    }

    #[test]
    fn framed_parts_keep_their_borders() {
        assert_ne!(
            sha256_of_parts(&[b"ab", b"c"]),
            sha256_of_parts(&[b"a", b"bc"])
        );
        assert_ne!(sha256_of_parts(&[b"a"]), sha256_of_parts(&[b"a", b""]));
        assert_eq!(
            sha256_of_parts(&[b"a"]),
            sha256(&[&[0, 0, 0, 0, 0, 0, 0, 1, b'a']])
        );
    }

    #[test]
    fn a_value_has_one_text() {
        assert_eq!(decode_exact::<1>(b"_w"), Some([0xff]));
        assert_eq!(decode_exact::<2>(b"-_8"), Some([0xfb, 0xff]));
        assert_eq!(decode_exact::<3>(b"AAAA"), Some([0; 3]));
        let refused: [&[u8]; 9] = [
            b"_x", b"_w==", b"_w=", b" _w", b"_w\n", b"/w", b"_", b"", b"_\xc3",
        ];
        for text in refused {
            assert_eq!(decode_exact::<1>(text), None, "{text:?}");
        }
        // Trailing bits: two in the last letter of a two-byte value.
        assert_eq!(decode_exact::<2>(b"-_9"), None);
        assert_eq!(decode_exact::<0>(b""), Some([]));
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding_and_nothing_else(bytes: [u8; 20], text: Vec<u8>) {
            let good = encode(bytes);
            prop_assert_eq!(good.len(), encoded_len(20));
            prop_assert_eq!(decode_exact::<20>(good.as_bytes()), Some(bytes));
            let mut appended = String::from("v1.");
            encode_into(bytes, &mut appended);
            prop_assert_eq!(appended, format!("v1.{good}"));
            if let Some(decoded) = decode_exact::<4>(&text) {
                prop_assert_eq!(encode(decoded).into_bytes(), text);
            }
        }

        #[test]
        fn one_changed_letter_is_another_value_or_none(bytes: [u8; 16], at in 0..22_usize, to: u8) {
            let mut text = encode(bytes).into_bytes();
            prop_assume!(text[at] != to);
            text[at] = to;
            prop_assert_ne!(decode_exact::<16>(&text), Some(bytes));
        }
    }
}
