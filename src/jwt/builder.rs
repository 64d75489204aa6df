//! The settings of a [`JwtVerifyLayer`].

use std::{borrow::Cow, fmt, marker::PhantomData, sync::Arc, time::Duration};

use http::{
    header::{AUTHORIZATION, HeaderName},
    request,
};

use super::{
    JwtVerifyLayer, KeySetHandle, SubjectKind,
    cache::{Limits, TokenCache},
    layer::Shared,
    rules::{Draft, checked_scopes},
    source::Source,
};
use crate::{clock::Clock, error::ConfigError};

/// The settings of a [`JwtVerifyLayer`], until [`build`](Self::build) checks them all at once.
///
/// An issuer and an audience must be named, everything else has a default.
///
/// ```
/// use portcullis::jwt::{JwtAlgorithm, JwtKey, JwtVerifyLayer, NoClaims};
///
/// let layer = || JwtVerifyLayer::<NoClaims>::new(JwtKey::secret(JwtAlgorithm::Hs256, [7; 32]).unwrap());
/// assert!(layer().issuer("https://id.example").audience("api").build().is_ok());
/// assert_eq!(layer().issuer("https://id.example").build().unwrap_err().field(), "audience");
/// ```
#[must_use = "nothing is verified before the layer is built and added"]
pub struct JwtVerifyBuilder<C> {
    draft: Draft,
    sources: Vec<Source>,
    /// The first name of a cookie or header that is none, kept until the layer is built.
    misnamed: Result<(), ConfigError>,
    optional: bool,
    scope: Option<Box<str>>,
    realm: Option<Cow<'static, str>>,
    clock: Clock,
    kind_of: Option<Arc<dyn Fn(&C) -> SubjectKind + Send + Sync>>,
    cache_limits: Option<Limits>,
    no_cache: bool,
    claims_extension: bool,
    claims: PhantomData<fn() -> C>,
}

/// Whose tokens, and for whom.
impl<C> JwtVerifyBuilder<C> {
    pub(super) fn new(keys: KeySetHandle) -> Self {
        Self {
            draft: Draft::new(keys),
            sources: Vec::new(),
            misnamed: Ok(()),
            optional: false,
            scope: None,
            realm: None,
            clock: Clock::system(),
            kind_of: None,
            cache_limits: None,
            no_cache: false,
            claims_extension: false,
            claims: PhantomData,
        }
    }

    /// The issuer that the layer's keys belong to. Tokens must carry exactly this `iss`: not another case, not a slash
    /// more (RFC 8725 §3.8).
    pub fn issuer(mut self, iss: impl Into<Box<str>>) -> Self {
        self.draft.iss = Some(iss.into());
        self
    }

    /// One more issuer, with its own keys: a token of either is accepted, and no key speaks for the other issuer.
    ///
    /// With several issuers tokens should name their key (`kid`). To demand a token of *each* issuer, stack two layers
    /// that look in different places.
    pub fn or_issuer(mut self, iss: impl Into<Box<str>>, keys: impl Into<KeySetHandle>) -> Self {
        self.draft.other_issuers.push((iss.into(), keys.into()));
        self
    }

    /// Accepts any `iss`, or none. Whoever else signs with these keys is then trusted as well.
    pub fn insecure_any_issuer(mut self) -> Self {
        self.draft.any_issuer = true;
        self
    }

    /// A name of this service. Tokens must carry it in `aud`, alone or among others (RFC 8725 §3.9). Named several times,
    /// any of the names will do.
    pub fn audience(mut self, aud: impl Into<Box<str>>) -> Self {
        self.draft.audiences.push(aud.into());
        self
    }

    /// Accepts tokens for whatever service, and tokens for none. Any service that receives such a token can use it here.
    pub fn insecure_any_audience(mut self) -> Self {
        self.draft.any_audience = true;
        self
    }

    /// The `typ` header that tokens must carry, in any case and with or without `application/` (RFC 7515 §4.1.9).
    /// Default `at+jwt` (RFC 9068 §2.1), replaced by the first call; named several times, any of them will do.
    ///
    /// Issuers that do not know RFC 9068 write `JWT`, and write it on ID tokens as well: then the audience is all that
    /// tells the two apart, so give the service another one than its clients.
    pub fn typ(mut self, typ: impl Into<Box<str>>) -> Self {
        self.draft.types.push(typ.into());
        self
    }

    /// Accepts any `typ`, or none. Any kind of token that these keys sign is then taken for an access token.
    pub fn insecure_any_typ(mut self) -> Self {
        self.draft.any_type = true;
        self
    }
}

/// Times and sizes, and what is read.
impl<C> JwtVerifyBuilder<C> {
    /// How far the clocks of issuer and service may differ, from 0 to 60 seconds; default 30. It lengthens every token,
    /// and tokens without `auth_ms` count as that much older than their `iat` where a cutoff is compared with it
    /// ([`blacklist`](crate::blacklist)).
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.draft.leeway = leeway;
        self
    }

    /// The longest time that a token may still be valid for; default 24 hours. Tokens with a later `exp` are refused:
    /// a revocation has to be remembered for as long as the longest token lives.
    pub fn max_token_life(mut self, life: Duration) -> Self {
        self.draft.max_life = life;
        self
    }

    /// The longest token, from 256 bytes to 64 KiB; default 8 KiB.
    pub fn max_token_size(mut self, bytes: usize) -> Self {
        self.draft.max_size = bytes;
        self
    }

    /// Accepts tokens without `sub`. They speak for a client, never for a user.
    pub fn subject_optional(mut self) -> Self {
        self.draft.subject_required = false;
        self
    }

    /// The claim that names the tenant; default `tenant`. It must be a string wherever it occurs.
    pub fn tenant_claim(mut self, name: impl Into<Box<str>>) -> Self {
        self.draft.tenant_claim = name.into();
        self
    }

    /// How to tell users from clients, for issuers that do not say it as RFC 9068 §2.2 does. Asked when a token is verified,
    /// and the answer is remembered with it: it should come from the claims alone.
    pub fn subject_kind(mut self, of: impl Fn(&C) -> SubjectKind + Send + Sync + 'static) -> Self {
        self.kind_of = Some(Arc::new(of));
        self
    }

    /// Accepts tokens that are bound to their sender (`cnf`, RFC 7800: DPoP, mutual TLS) without any proof: a stolen one
    /// works. By default they are refused, since this layer cannot check the proof.
    pub fn insecure_ignore_confirmation(mut self) -> Self {
        self.draft.ignore_confirmation = true;
        self
    }

    /// The clock; default the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }
}

/// What is remembered and handed on.
impl<C> JwtVerifyBuilder<C> {
    /// How many verified tokens are remembered at most, and in how many bytes; default 10 000 and 16 MiB. Tokens in use
    /// stay, others make room. See [`JwtVerifyLayer`].
    ///
    /// A token counts with about 500 bytes, with its strings, and with the length of its claims' text, which stands for what
    /// `C` holds on the heap. The limits are shared out to up to 16 parts, and a token that would take more than a part
    /// (1 MiB by default) is not remembered.
    ///
    /// ```
    /// # use portcullis::jwt::{JwtAlgorithm, JwtKey, JwtVerifyLayer, NoClaims};
    /// # let key = JwtKey::secret(JwtAlgorithm::Hs256, [7; 32])?;
    /// let layer = JwtVerifyLayer::<NoClaims>::new(key)
    ///     .issuer("https://id.example")
    ///     .audience("api")
    ///     .cache_limits(100_000, 128 << 20)
    ///     .build()?;
    /// assert_eq!(layer.cached_tokens(), 0);
    /// # Ok::<_, portcullis::ConfigError>(())
    /// ```
    pub fn cache_limits(mut self, tokens: usize, bytes: usize) -> Self {
        self.cache_limits = Some(Limits {
            entries: tokens,
            bytes,
        });
        self
    }

    /// Remembers nothing: every request costs a signature. Where each token comes once, the memory is of no use.
    pub fn no_cache(mut self) -> Self {
        self.no_cache = true;
        self
    }

    /// Also puts the [`Claims<C>`](super::Claims) into the extensions by themselves, for code that looks for that type. It
    /// costs an allocation per request; [`Claims::of`](super::Claims::of) finds them without.
    pub fn claims_extension(mut self) -> Self {
        self.claims_extension = true;
        self
    }
}

/// Where tokens are, and what happens without one.
impl<C> JwtVerifyBuilder<C> {
    /// Looks for `Authorization: Bearer ..`. The default; say it when it is to be one place of several.
    ///
    /// The places that are named replace the default. A request with tokens in two of them is refused with 400.
    pub fn bearer(mut self) -> Self {
        self.sources.push(Source::Bearer);
        self
    }

    /// Looks for a cookie. Browsers send cookies by themselves: what such a layer guards needs protection against CSRF,
    /// and the cookie a `__Host-` name, so that no sibling domain can plant one.
    pub fn cookie(mut self, name: impl Into<Box<str>>) -> Self {
        let name = name.into();
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            self.misnamed = Err(ConfigError::new(
                "cookie",
                "not the name of a cookie (RFC 9110 §5.6.2)",
            ));
        }
        self.sources.push(Source::Cookie(name));
        self
    }

    /// Looks for a header that carries the token alone, or behind `Bearer`.
    pub fn header(mut self, name: &str) -> Self {
        match HeaderName::try_from(name) {
            Ok(AUTHORIZATION) => self.sources.push(Source::Bearer),
            Ok(name) => self.sources.push(Source::Header(name)),
            Err(error) => {
                self.misnamed =
                    Err(ConfigError::new("header", "not the name of a header").caused_by(error));
            }
        }
        self
    }

    /// Looks wherever the function says. A token in a URL ends up in logs and histories (RFC 9700 §4.3.2).
    pub fn source(
        mut self,
        look: impl Fn(&request::Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.sources.push(Source::Custom(Arc::new(look)));
        self
    }

    /// Lets requests without a token pass. A token that is there must still be good: a bad one is refused, not ignored.
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// The scopes, separated by spaces, that every token must have; others are refused with 403 `insufficient_scope`
    /// (RFC 6750 §3.1). For single routes see [`RequireScopeLayer`](super::RequireScopeLayer).
    pub fn scope(mut self, scopes: impl Into<Box<str>>) -> Self {
        self.scope = Some(scopes.into());
        self
    }

    /// The realm of the challenges (RFC 9110 §11.5); default `api`.
    pub fn realm(mut self, realm: impl Into<Cow<'static, str>>) -> Self {
        self.realm = Some(realm.into());
        self
    }

    /// Checks all settings.
    ///
    /// # Errors
    ///
    /// If no issuer or audience was named (and nothing insecure was said instead), if a setting is outside its range or
    /// contradicts another, if an issuer is named twice, if secrets and public keys would share the layer, or if a scope is
    /// demanded of a layer that lets requests without a token pass.
    pub fn build(self) -> Result<JwtVerifyLayer<C>, ConfigError> {
        self.misnamed?;
        if self.optional && self.scope.is_some() {
            return Err(ConfigError::new(
                "scope",
                "an optional layer passes requests without a token: put a `RequireScopeLayer` around what needs the scope",
            ));
        }
        let rules = self.draft.check()?;
        let fingerprint = rules.fingerprint(std::any::type_name::<C>());
        let cache = checked_cache(self.no_cache, self.cache_limits, &fingerprint)?;
        Ok(JwtVerifyLayer::of(Shared {
            fingerprint,
            rules,
            sources: if self.sources.is_empty() {
                vec![Source::Bearer]
            } else {
                self.sources
            },
            optional: self.optional,
            scope: self.scope.as_deref().map(checked_scopes).transpose()?,
            realm: self.realm,
            clock: self.clock,
            kind_of: self.kind_of,
            cache,
            claims_extension: self.claims_extension,
        }))
    }
}

fn checked_cache(
    no_cache: bool,
    limits: Option<Limits>,
    fingerprint: &[u8; 32],
) -> Result<Option<TokenCache>, ConfigError> {
    match (no_cache, limits) {
        (true, Some(_)) => Err(ConfigError::new(
            "no_cache",
            "contradicts `.cache_limits(..)`",
        )),
        (true, None) => Ok(None),
        (false, limits) => {
            TokenCache::new(fingerprint, limits.unwrap_or_default().check()?).map(Some)
        }
    }
}

impl<C> fmt::Debug for JwtVerifyBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtVerifyBuilder")
            .field("rules", &self.draft)
            .field("sources", &self.sources)
            .field("optional", &self.optional)
            .finish_non_exhaustive()
    }
}
