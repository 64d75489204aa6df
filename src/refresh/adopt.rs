//! Refresh tokens of the system before, each taken once for a family of this one.
//!
//! A token is taken in one step on the store, so of two requests that present it one gets a family; from then on it is worth
//! nothing in either system. What goes wrong afterwards costs a login and leaves nothing alive twice.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use super::{RefreshError, RefreshErrorKind, RefreshLogin, RefreshRequest, Rotation, TokenPair};
use crate::{
    jwt::{Claims, JwtVerifyLayer, VerifiedToken},
    secret::{encode, sha256},
    store::{Arg, Call, Fault, Key, Memory, Operation, Store, Value, exists},
    trace::{event_info, event_warn},
};

pub(super) static TAKE: Operation =
    Operation::script("refresh.adopt", &[include_str!("adopt.lua")], take);
static LISTED: Operation = Operation::command("refresh.listed", "EXISTS", exists);

/// Longer texts are nobody's tokens.
const LONGEST: usize = 8 * 1024;

/// Which refresh tokens of another system [`Rotation::rotate`] takes, once each, and for whom: people stay signed in while a
/// service moves to this crate.
///
/// A token that is taken is gone from the other system's whitelist, or marked here where there is none, in the same step;
/// its holder gets a family. An answer that is lost at that moment costs a login. Take the setting away when the other
/// system's last token has expired.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use portcullis::{
///     KeyRing, Store,
///     jwt::{Grant, Issuer, JwtAlgorithm, JwtKey, JwtVerifyLayer, SigningKey},
///     refresh::{Adoption, RefreshLogin, RefreshRequest, Rotation},
/// };
///
/// #[derive(serde::Deserialize)]
/// struct Old {
///     username: String,
/// }
///
/// // As the other system signs them: no issuer, no audience, `"category": "refresh"`.
/// let old = JwtVerifyLayer::<Old>::new(JwtKey::secret(JwtAlgorithm::Hs256, [7; 32])?)
///     .insecure_any_issuer()
///     .insecure_any_audience()
///     .insecure_any_typ()
///     .subject_optional()
///     .max_token_life(std::time::Duration::from_secs(14 * 24 * 60 * 60))
///     .build()?;
/// let adoption = Adoption::jwt(&old, "category", "refresh", |_, claims| Some(RefreshLogin::new(&claims.username)))
///     .whitelist(|login| format!("refresh:user:{}", login.user()));
///
/// let (store, keys) = (Store::memory(), KeyRing::new("a secret of at least thirty-two bytes")?);
/// let issuer = Issuer::new(SigningKey::generate(JwtAlgorithm::EdDsa)?, "https://id.example").audience("api").build()?;
/// let rotation = Rotation::builder(&store, &keys, &issuer).adopt(adoption).build()?;
/// assert!(rotation.rotate("one that nobody signed", RefreshRequest::new()).await.is_err());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Adoption {
    source: Source,
    blacklist: Option<Arc<dyn Fn(&str) -> String + Send + Sync>>,
}

#[derive(Clone)]
enum Source {
    Jwt {
        read: Arc<dyn Fn(&str, u64) -> Option<Foreign> + Send + Sync>,
        whitelist: Option<Arc<dyn Fn(&RefreshLogin) -> String + Send + Sync>>,
    },
    Opaque {
        key: Arc<dyn Fn(&str) -> String + Send + Sync>,
        login: Arc<dyn Fn(&str) -> Option<RefreshLogin> + Send + Sync>,
    },
}

/// A login whose moment nobody knows was made before everything: taken for one of now, it would outlive every cutoff.
fn dated(mut login: RefreshLogin) -> RefreshLogin {
    if login.auth_ms == 0 {
        login.auth_ms = login.login_ms.max(1);
    }
    login
}

/// What a token of another system says.
struct Foreign {
    login: RefreshLogin,
    /// Until when it could be presented again.
    until_ms: u64,
}

impl Adoption {
    /// Tokens that are JWTs and that this layer accepts, with the claim `category` saying `is`: another token of the same
    /// keys, as an access token, must not be good for a family. `login` says for whom, or that it is for nobody.
    ///
    /// The login counts as made when the token was issued: at its `auth_ms`, or at its `iat` less the layer's
    /// [`leeway`](crate::jwt::JwtVerifyBuilder::leeway), for the issuer's clock may run ahead. A cutoff of later ends it. Of a
    /// token that says neither nobody knows: any cutoff ends it.
    #[must_use]
    pub fn jwt<C: DeserializeOwned + Send + Sync + 'static>(
        layer: &JwtVerifyLayer<C>,
        category: impl Into<String>,
        is: impl Into<String>,
        login: impl Fn(&VerifiedToken, &C) -> Option<RefreshLogin> + Send + Sync + 'static,
    ) -> Self {
        let (layer, category, is) = (layer.clone(), category.into(), is.into());
        let read = move |text: &str, now_ms: u64| {
            let (token, claims): (_, Claims<C>) = layer.verify_at(text.as_bytes(), now_ms).ok()?;
            if claim(text, &category)?.as_str() != Some(&is) {
                event_warn!(
                    event = "refresh.category",
                    "a token of another kind was presented as a refresh token"
                );
                return None;
            }
            let mut login = login(&token, &claims)?;
            if login.auth_ms == 0 {
                // What lies ahead is no moment of a login.
                let said = token.auth_ms().filter(|said| *said <= now_ms);
                let issued = || Some(token.iat_ms()?.saturating_sub(token.leeway_ms()));
                login.auth_ms = said.or_else(issued).unwrap_or(0);
            }
            Some(Foreign {
                login: dated(login),
                until_ms: token.accepted_until_ms(),
            })
        };
        Self {
            source: Source::Jwt {
                read: Arc::new(read),
                whitelist: None,
            },
            blacklist: None,
        }
    }

    /// Tokens that say nothing by themselves: `key` names the Redis key under which the other system keeps whatever it
    /// knows of a token, and `login` reads that. It says with [`signed_in_at`](RefreshLogin::signed_in_at) when the login was
    /// made, so that a cutoff of later ends it; of one that it does not say nobody knows, and any cutoff ends it.
    ///
    /// ```
    /// use portcullis::refresh::{Adoption, RefreshLogin};
    ///
    /// let adoption = Adoption::opaque(|token| format!("refresh:{token}"), |user| Some(RefreshLogin::new(user)));
    /// # let _ = adoption;
    /// ```
    #[must_use]
    pub fn opaque(
        key: impl Fn(&str) -> String + Send + Sync + 'static,
        login: impl Fn(&str) -> Option<RefreshLogin> + Send + Sync + 'static,
    ) -> Self {
        Self {
            source: Source::Opaque {
                key: Arc::new(key),
                login: Arc::new(login),
            },
            blacklist: None,
        }
    }

    /// The Redis key under which the other system keeps the one token of a user that is good, as it is: `RT:{email}`. A
    /// token that is not there is refused, and one that is taken is deleted from there. Keys are outside of the store's prefix.
    ///
    /// Without a whitelist each token is good once until it expires, which this crate notes by itself; for opaque tokens
    /// there is one already, and this changes nothing.
    #[must_use]
    pub fn whitelist(
        mut self,
        key: impl Fn(&RefreshLogin) -> String + Send + Sync + 'static,
    ) -> Self {
        if let Source::Jwt { whitelist, .. } = &mut self.source {
            *whitelist = Some(Arc::new(key));
        }
        self
    }

    /// The Redis key whose existence says that the other system ended a token; it is never written. One trip more.
    #[must_use]
    pub fn blacklist(mut self, key: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        self.blacklist = Some(Arc::new(key));
        self
    }

    /// Takes a token, or says why it is not good. Of an opaque one nobody knows whose it is before it is taken: a wrong
    /// client ends it.
    async fn take(
        &self,
        store: &Store,
        presented: &str,
        check: impl Fn(&RefreshLogin) -> Result<(), RefreshErrorKind>,
    ) -> Result<RefreshLogin, RefreshError> {
        let unknown = || RefreshError::new(RefreshErrorKind::Unknown);
        let (known, call) = self.question(store, presented)?;
        if let Some(login) = &known {
            check(login).map_err(RefreshError::new)?;
        }
        self.not_listed(store, presented).await?;
        let Value::Bytes(found) = store.run(call).await? else {
            return Err(unknown());
        };
        if let Some(login) = known {
            return Ok(login);
        }
        let Source::Opaque { login, .. } = &self.source else {
            return Err(unknown());
        };
        let text = std::str::from_utf8(&found).ok();
        let login = text.and_then(|text| login(text)).ok_or_else(unknown)?;
        check(&login).map_err(RefreshError::new)?;
        Ok(dated(login))
    }

    /// Whose the token is, where it says so itself, and how it is taken.
    fn question(
        &self,
        store: &Store,
        presented: &str,
    ) -> Result<(Option<RefreshLogin>, Call), RefreshError> {
        let take = |key, args| Call::new(&TAKE, vec![key], args);
        let (read, whitelist) = match &self.source {
            Source::Jwt { read, whitelist } => (read, whitelist),
            Source::Opaque { key, .. } => {
                let args = vec!["value".into(), "".into()];
                return Ok((None, take(key(presented), args)));
            }
        };
        let now_ms = store.clock().now_millis();
        let foreign = read(presented, now_ms);
        let foreign = foreign.ok_or(RefreshError::new(RefreshErrorKind::Forged))?;
        let call = match whitelist {
            Some(key) => {
                let args = vec!["whitelist".into(), presented.to_owned().into()];
                take(key(&foreign.login), args)
            }
            None => {
                // The store's clock may be behind this node's.
                let left = foreign.until_ms.saturating_sub(now_ms) + 60_000;
                let args = vec!["mark".into(), "".into(), left.into()];
                take(mark(store, presented), args)
            }
        };
        Ok((Some(foreign.login), call))
    }

    async fn not_listed(&self, store: &Store, presented: &str) -> Result<(), RefreshError> {
        let Some(key) = &self.blacklist else {
            return Ok(());
        };
        let listed = Call::new(&LISTED, vec![key(presented)], Vec::new());
        match store.run(listed).await?.number()? {
            0 => Ok(()),
            _ => Err(RefreshError::new(RefreshErrorKind::Revoked)),
        }
    }
}

impl Rotation {
    /// A family in place of a token of another system.
    pub(super) async fn adopt(
        &self,
        adoption: &Adoption,
        presented: &str,
        request: RefreshRequest<'_>,
    ) -> Result<TokenPair, RefreshError> {
        if presented.len() > LONGEST {
            return Err(RefreshError::new(RefreshErrorKind::Forged));
        }
        let now_ms = self.now_millis();
        let check = |login: &RefreshLogin| match login.can_be(now_ms) {
            true => request.fits(login),
            // Before the token is taken: it stays good until whoever reads it is mended.
            false => Err(RefreshErrorKind::Invalid),
        };
        let login = adoption.take(self.store(), presented, check).await?;
        event_info!(
            event = "refresh.adopted",
            "a refresh token of another system was taken for a family"
        );
        self.issue_narrowed(&login, request).await
    }

    /// Ends a token of another system: nobody can take it any more.
    pub(super) async fn discard(
        &self,
        adoption: &Adoption,
        presented: &str,
    ) -> Result<(), RefreshError> {
        if presented.len() > LONGEST {
            return Ok(());
        }
        match adoption.take(self.store(), presented, |_| Ok(())).await {
            Err(error) if error.kind() == RefreshErrorKind::Store => Err(error),
            // Taken now, or before, or none at all: it is good for nothing.
            _ => Ok(()),
        }
    }
}

/// By what was signed: an ECDSA signature has a second spelling that verifies as well.
fn mark(store: &Store, presented: &str) -> Key {
    let signed = presented
        .rsplit_once('.')
        .map_or(presented, |(signed, _)| signed);
    let hash = encode(sha256(&[signed.as_bytes()]));
    store.namespace().plain("refresh:adopted", &hash)
}

/// A claim of a token that has been verified.
fn claim(token: &str, name: &str) -> Option<Json> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let mut claims: Map<String, Json> = serde_json::from_slice(&payload).ok()?;
    claims.remove(name)
}

/// The Rust half of `adopt.lua`.
fn take(memory: &mut Memory, now: u64, keys: &[Key], args: &[Arg]) -> Result<Value, Fault> {
    let ([key], [how, token, rest @ ..]) = (keys, args) else {
        return Err(Fault::Corrupt);
    };
    let (how, token) = (how.bytes(), token.bytes());
    if *how == *b"mark" {
        let left = rest.first().ok_or(Fault::Corrupt)?.int()?;
        if memory.exists(key) {
            return Ok(Value::Nil);
        }
        memory.set(key, b"1".to_vec(), Some(now + left))?;
        return Ok(Value::bytes("1"));
    }
    let Some(found) = memory.get(key)?.map(<[u8]>::to_vec) else {
        return Ok(Value::Nil);
    };
    let quoted = [b"\"", &*token, b"\""].concat();
    if *how == *b"whitelist" && found != *token && found != quoted {
        return Ok(Value::Nil);
    }
    memory.delete(key);
    Ok(Value::bytes(found))
}

impl fmt::Debug for Adoption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adoption").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(memory: &mut Memory, how: &'static str, token: &'static str) -> Value {
        let args = [how.into(), token.into(), 1_000_u64.into()];
        take(memory, 5, &["k".to_owned()], &args).expect("whole")
    }

    // Fails if: the Rust half takes what the script would not, takes twice, or forgets when a mark ends.
    #[test]
    fn the_rust_half_takes_once() {
        let mut memory = Memory::new(100_000);
        let put = |memory: &mut Memory, text: &str| {
            memory
                .set("k", text.as_bytes().to_vec(), None)
                .expect("room");
        };
        for stored in ["token", "\"token\""] {
            put(&mut memory, stored);
            assert_eq!(run(&mut memory, "whitelist", "toke"), Value::Nil);
            assert_eq!(run(&mut memory, "whitelist", "token"), Value::bytes(stored));
            assert_eq!(run(&mut memory, "whitelist", "token"), Value::Nil);
        }
        put(&mut memory, "alice");
        assert_eq!(run(&mut memory, "value", ""), Value::bytes("alice"));
        assert_eq!(run(&mut memory, "value", ""), Value::Nil);
        assert_eq!(run(&mut memory, "mark", ""), Value::bytes("1"));
        assert_eq!(run(&mut memory, "mark", ""), Value::Nil);
        assert_eq!(memory.expires("k"), Some(1_005));
    }
}
