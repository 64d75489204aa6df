//! The second proof: a token that only this site could have given to this visitor.
//!
//! `base64url(mask ‖ mask ⊕ HMAC-SHA256(csrf key, "csrf" ‖ kind ‖ binding ‖ purpose))`, mask = 32 random bytes.
//!
//! Invariants: a token says nothing without what it is bound to, and what that is comes from a cookie that only we can
//! write (never a bare double submit); a new binding (login, logout) voids every token before it; two tokens of one
//! binding have nothing in common (BREACH); tags are compared in constant time; any key of the ring verifies.

use std::fmt;

use crate::{
    keyring::{KeyRing, MacKeys, Purpose},
    secret::{decode_exact, encode, random_bytes},
};

const MASK: usize = 32;
const NONCE: usize = 16;

/// What a token is bound to.
#[derive(Clone, Copy)]
pub(crate) enum Binding<'b> {
    /// The id of the session.
    Session(&'b [u8]),
    /// The secret that the session's store holds for this.
    Stored(&'b [u8; 32]),
    /// A visitor who has no session.
    Anonymous(&'b PreSession),
}

impl Binding<'_> {
    /// The kind is part of what is signed: bytes of one kind are no binding of another.
    fn parts(&self) -> (&'static [u8], &[u8]) {
        match self {
            Self::Session(id) => (b"session", id),
            Self::Stored(secret) => (b"stored", *secret),
            Self::Anonymous(PreSession(nonce)) => (b"anonymous", nonce),
        }
    }
}

impl fmt::Debug for Binding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Session(_) => "Session(..)",
            Self::Stored(_) => "Stored(..)",
            Self::Anonymous(_) => "Anonymous(..)",
        })
    }
}

/// The nonce in the pre-session cookie: 128 bits that are never a session's id. Replaced at login and at logout.
///
/// When a visitor gets a session of nobody the cookie is *attached* to it, and tokens given out before stay good: a page
/// in another tab goes on working. An attached cookie is good with that one session, a plain one without any.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PreSession([u8; NONCE]);

impl fmt::Debug for PreSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PreSession(..)")
    }
}

/// Makes and checks tokens and pre-session cookies. Allocates for what it makes, never for what it checks.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    csrf: MacKeys,
    pre_session: MacKeys,
}

impl Tokens {
    pub(crate) fn new(keys: &KeyRing) -> Self {
        Self {
            csrf: keys.mac(Purpose::Csrf),
            pre_session: keys.mac(Purpose::PreSession),
        }
    }

    /// A token of 86 characters, another one at each call. `purpose` is what it may be used for: empty for every
    /// request of the visitor, or a name such as `POST /transfer`; the check has to ask for the same.
    ///
    /// # Errors
    ///
    /// If the operating system has no randomness.
    pub(crate) fn make(
        &self,
        binding: Binding<'_>,
        purpose: &str,
    ) -> Result<String, getrandom::Error> {
        let mask = random_bytes::<MASK>()?;
        let tag = self.csrf.sign(&message(&binding, purpose));
        let mut token = [0; 2 * MASK];
        token[..MASK].copy_from_slice(&mask);
        token[MASK..].copy_from_slice(&xor(&mask, &tag));
        Ok(encode(token))
    }

    /// Whether [`make`](Self::make) made this token for the same binding and purpose, under any key of the ring.
    pub(crate) fn check(&self, token: &[u8], binding: Binding<'_>, purpose: &str) -> bool {
        let Some(token) = decode_exact::<{ 2 * MASK }>(token) else {
            return false;
        };
        let (mask, masked) = token.split_at(MASK);
        self.csrf
            .verify(&message(&binding, purpose), &xor(mask, masked))
    }

    /// Whether this has the form of a token.
    pub(crate) fn could_be(token: &[u8]) -> bool {
        decode_exact::<{ 2 * MASK }>(token).is_some()
    }

    /// A new pre-session.
    ///
    /// # Errors
    ///
    /// If the operating system has no randomness.
    pub(crate) fn new_pre_session() -> Result<PreSession, getrandom::Error> {
        random_bytes().map(PreSession)
    }

    /// The value of the cookie, 64 characters. The cookie's name is signed along, so that a cookie of another application
    /// under the same keys is not taken for this one.
    pub(crate) fn pre_session_cookie(
        &self,
        cookie_name: &str,
        pre: &PreSession,
        attached: Option<&[u8; 32]>,
    ) -> String {
        let mut value = [0; NONCE + 32];
        value[..NONCE].copy_from_slice(&pre.0);
        value[NONCE..].copy_from_slice(&self.pre_session.sign(&signed(cookie_name, pre, attached)));
        encode(value)
    }

    /// The pre-session in a cookie's value, if that is one of ours and attached to this and nothing else.
    pub(crate) fn pre_session(
        &self,
        cookie_name: &str,
        value: &[u8],
        attached: Option<&[u8; 32]>,
    ) -> Option<PreSession> {
        let value = decode_exact::<{ NONCE + 32 }>(value)?;
        let (nonce, tag) = value.split_first_chunk::<NONCE>()?;
        let pre = PreSession(*nonce);
        let ours = self
            .pre_session
            .verify(&signed(cookie_name, &pre, attached), tag);
        ours.then_some(pre)
    }
}

fn signed<'m>(
    cookie_name: &'m str,
    pre: &'m PreSession,
    attached: Option<&'m [u8; 32]>,
) -> [&'m [u8]; 3] {
    let attached = attached.map_or(&[] as &[u8], |binding| binding);
    [cookie_name.as_bytes(), &pre.0, attached]
}

fn message<'m>(binding: &'m Binding<'_>, purpose: &'m str) -> [&'m [u8]; 4] {
    let (kind, binding) = binding.parts();
    [b"csrf", kind, binding, purpose.as_bytes()]
}

fn xor(left: &[u8], right: &[u8]) -> [u8; MASK] {
    std::array::from_fn(|at| left[at] ^ right[at])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: &str = "the old secret of thirty-two bytes or more";
    const NEW: &str = "the new secret of thirty-two bytes or more";
    const COOKIE: &str = "__Host-pre";

    fn tokens(signing: &str, verifying: &[&str]) -> Tokens {
        let ring = KeyRing::new(signing).expect("a good secret");
        Tokens::new(&verifying.iter().fold(ring, |ring, secret| {
            ring.verify_with(secret).expect("a good secret")
        }))
    }

    fn make(tokens: &Tokens, binding: Binding<'_>, purpose: &str) -> String {
        tokens.make(binding, purpose).expect("randomness")
    }

    #[test]
    fn the_token_is_a_wire_format() {
        // HMAC-SHA256 under HKDF's subkey, computed by another program; the mask is 32 times 0x55.
        let keys = Tokens::new(
            &KeyRing::new(std::array::from_fn::<u8, 32, _>(|at| at as u8)).expect("a good secret"),
        );
        let token = "VVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVWq13S2JwRVcvgPBYz26LZxebpfc4Nm9iYH4MSwwoakZg";
        assert!(keys.check(token.as_bytes(), Binding::Session(b"session-id"), "POST /x"));
    }

    #[test]
    fn r49_two_tokens_differ_and_both_verify() {
        let tokens = tokens(NEW, &[]);
        let pair = [(); 2].map(|()| make(&tokens, Binding::Session(b"id"), ""));
        let halves = pair.each_ref().map(|token| token.split_at(43));
        assert_ne!(halves[0].0, halves[1].0, "masks");
        assert_ne!(halves[0].1, halves[1].1, "masked tags");
        for token in pair {
            assert_eq!(token.len(), 86);
            assert!(tokens.check(token.as_bytes(), Binding::Session(b"id"), ""));
        }
    }

    #[test]
    fn r46_r47_a_token_is_of_one_binding_and_purpose() {
        let tokens = tokens(NEW, &[]);
        let (one, other) = (PreSession([1; 16]), PreSession([2; 16]));
        let places: [(Binding<'_>, &str); 8] = [
            (Binding::Session(&[1; 16]), ""),
            (Binding::Session(&[1; 32]), ""),
            (Binding::Session(&[1; 32]), "POST /x"),
            (Binding::Stored(&[1; 32]), ""),
            (Binding::Stored(&[2; 32]), ""),
            (Binding::Anonymous(&one), ""),
            (Binding::Anonymous(&one), "POST /x"),
            (Binding::Anonymous(&other), ""),
        ];
        for (at, (binding, purpose)) in places.iter().enumerate() {
            let token = make(&tokens, *binding, purpose);
            for (other_at, (binding, purpose)) in places.iter().enumerate() {
                let good = tokens.check(token.as_bytes(), *binding, purpose);
                assert_eq!(good, at == other_at, "{at} {other_at}");
            }
        }
    }

    #[test]
    fn keys_roll_over() {
        let (before, during, after) = (tokens(OLD, &[]), tokens(NEW, &[OLD]), tokens(NEW, &[]));
        let token = make(&before, Binding::Session(b"id"), "");
        assert!(during.check(token.as_bytes(), Binding::Session(b"id"), ""));
        assert!(!after.check(token.as_bytes(), Binding::Session(b"id"), ""));
        let cookie = before.pre_session_cookie(COOKIE, &PreSession([7; 16]), None);
        let read = |tokens: &Tokens| tokens.pre_session(COOKIE, cookie.as_bytes(), None);
        assert!(read(&during).is_some());
        assert!(read(&after).is_none());
    }

    #[test]
    fn no_changed_letter_is_overlooked() {
        let tokens = tokens(NEW, &[]);
        let token = make(&tokens, Binding::Session(b"id"), "").into_bytes();
        let cookie = tokens.pre_session_cookie(COOKIE, &PreSession([7; 16]), None);
        let cookie = cookie.into_bytes();
        assert_eq!((token.len(), cookie.len()), (86, 64));
        let other = |letter: u8| if letter == b'A' { b'B' } else { b'A' };
        for at in 0..token.len() {
            let mut changed = token.clone();
            changed[at] = other(changed[at]);
            assert!(
                !tokens.check(&changed, Binding::Session(b"id"), ""),
                "letter {at}"
            );
            assert!(
                !tokens.check(&token[..at], Binding::Session(b"id"), ""),
                "{at} letters"
            );
        }
        for at in 0..cookie.len() {
            let mut changed = cookie.clone();
            changed[at] = other(changed[at]);
            assert!(
                tokens.pre_session(COOKIE, &changed, None).is_none(),
                "letter {at}"
            );
            assert!(
                tokens.pre_session(COOKIE, &cookie[..at], None).is_none(),
                "{at} letters"
            );
        }
    }

    #[test]
    fn a_pre_session_is_of_one_cookie_name_and_carries_its_tokens() {
        let tokens = tokens(NEW, &[]);
        let [made, next] = [(); 2].map(|()| Tokens::new_pre_session().expect("randomness"));
        let token = make(&tokens, Binding::Anonymous(&made), "");
        let good = |pre: &PreSession| tokens.check(token.as_bytes(), Binding::Anonymous(pre), "");
        let value = tokens.pre_session_cookie(COOKIE, &made, None);
        let read = |name, attached| tokens.pre_session(name, value.as_bytes(), attached);
        assert!(good(&read(COOKIE, None).expect("ours")));
        assert!(read("__Host-other", None).is_none());
        assert!(read(COOKIE, Some(&[1; 32])).is_none(), "of no session");
        assert!(!good(&next), "replaced at login");
    }

    #[test]
    fn an_attached_pre_session_is_of_one_session() {
        let tokens = tokens(NEW, &[]);
        let made = Tokens::new_pre_session().expect("randomness");
        let value = tokens.pre_session_cookie(COOKIE, &made, Some(&[1; 32]));
        let read = |attached| tokens.pre_session(COOKIE, value.as_bytes(), attached);
        assert_eq!(read(Some(&[1; 32])), Some(made));
        assert_eq!(read(Some(&[2; 32])), None, "of another session");
        assert_eq!(read(None), None, "after logout");
    }

    #[test]
    fn debug_shows_neither_binding_nor_key() {
        let pre = PreSession([77; 16]);
        let shown = format!(
            "{pre:?} {:?} {:?} {:?}",
            Binding::Session(b"hunter2"),
            Binding::Stored(&[77; 32]),
            tokens(NEW, &[])
        );
        assert!(
            !shown.contains("77") && !shown.contains("hunter2"),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn nothing_but_a_token_is_one(text: Vec<u8>, letters in "[A-Za-z0-9_-]{86}") {
            let tokens = tokens(NEW, &[OLD]);
            prop_assert!(!tokens.check(&text, Binding::Session(b"id"), ""));
            prop_assert!(!tokens.check(letters.as_bytes(), Binding::Session(b"id"), ""));
            prop_assert!(tokens.pre_session(COOKIE, &text, None).is_none());
            prop_assert!(tokens.pre_session(COOKIE, &letters.as_bytes()[..64], None).is_none());
        }
    }
}
