//! Issuing, rotating and ending refresh families.

use std::{fmt, sync::Arc};

#[cfg(feature = "registry")]
use super::registered;
use super::{
    Adoption, RefreshRequest,
    asked::{narrowed, spaced},
    builder::{RotationBuilder, Settings},
    error::{RefreshError, RefreshErrorKind},
    login::RefreshLogin,
    ops::{self, Asked, How, Issued, NewFamily, Owner, Rotated},
    token::{Family, Token, sid_bytes},
};
use crate::{
    clock::millis,
    cutoff::AuthStart,
    device::Devices,
    error::ConfigError,
    jwt::{Grant, Issuer, MintedToken},
    keyring::{KeyRing, MacKeys},
    secret::{encode, random_bytes},
    store::Store,
    trace::{event_info, event_warn},
};

/// Refresh-token rotation: hands out pairs of an access and a refresh token, and new pairs for used refresh tokens.
///
/// Clones share everything.
#[derive(Clone)]
pub struct Rotation(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) keys: MacKeys,
    pub(super) issuer: Issuer,
    pub(super) devices: Devices,
    pub(super) adoption: Option<Adoption>,
    /// Where families are kept, if not in the store.
    #[cfg(feature = "registry")]
    pub(super) registry: Option<crate::registry::ActiveSessions>,
    pub(super) settings: Settings,
}

/// An access token and the refresh token that follows it.
#[derive(Clone)]
pub struct TokenPair {
    access: MintedToken,
    refresh: String,
    sid: String,
    scope: String,
    ends_ms: u64,
}

impl TokenPair {
    /// The access token.
    #[must_use]
    pub fn access(&self) -> &MintedToken {
        &self.access
    }

    /// The refresh token. It is a password, and good for one use.
    #[must_use]
    pub fn refresh(&self) -> &str {
        &self.refresh
    }

    /// Names the login on this device, as in the access token.
    #[must_use]
    pub fn sid(&self) -> &str {
        &self.sid
    }

    /// What the access token allows; empty without scopes.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// When the family ends, however much it is used, in milliseconds since the Unix epoch by the store's clock.
    #[must_use]
    pub fn ends_ms(&self) -> u64 {
        self.ends_ms
    }
}

// Both tokens are passwords.
impl fmt::Debug for TokenPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenPair").finish_non_exhaustive()
    }
}

impl Rotation {
    /// Rotation with the default settings; see [`RotationBuilder`].
    ///
    /// # Errors
    ///
    /// As [`RotationBuilder::build`].
    pub fn new(store: &Store, keys: &KeyRing, issuer: &Issuer) -> Result<Self, ConfigError> {
        Self::builder(store, keys, issuer).build()
    }

    /// Settings first.
    pub fn builder(store: &Store, keys: &KeyRing, issuer: &Issuer) -> RotationBuilder {
        RotationBuilder::new(store, keys, issuer)
    }

    /// Starts a family, in one trip: for a login that was checked. On the device of a session, name it with
    /// [`RefreshLogin::of_session`], and both end together.
    ///
    /// # Errors
    ///
    /// When the store cannot confirm it, the session ended meanwhile, there are too many devices, or a cutoff came after
    /// [`RefreshLogin::not_before`].
    pub async fn issue(&self, login: &RefreshLogin) -> Result<TokenPair, RefreshError> {
        self.issue_narrowed(login, RefreshRequest::new()).await
    }

    pub(super) async fn issue_narrowed(
        &self,
        login: &RefreshLogin,
        request: RefreshRequest<'_>,
    ) -> Result<TokenPair, RefreshError> {
        let inner = &*self.0;
        let namespace = inner.store.namespace();
        let sid = match &login.sid {
            Some(sid) => sid_bytes(sid).ok_or(RefreshError::new(RefreshErrorKind::Invalid))?,
            None => random_bytes()?,
        };
        let of_tenant = login.tenant.as_deref().unwrap_or_default();
        if !login.can_be(self.now_millis()) {
            return Err(RefreshError::new(RefreshErrorKind::Invalid));
        }
        let tag = namespace.user_tag("", of_tenant, &login.user);
        let tenant = (!of_tenant.is_empty()).then(|| namespace.tenant_tag(of_tenant));
        let token = Token::first(Family::new(&tag, sid, tenant.as_ref())?)?;
        let key_id = inner.keys.signing_key_id();
        let new = NewFamily {
            tenant: of_tenant,
            user: &login.user,
            client: &login.client,
            scope: &spaced(&login.scope),
            resource: &spaced(&login.resource),
            idle_ms: millis(inner.settings.idle),
            absolute_ms: millis(inner.settings.absolute),
            auth_ms: login.auth_ms,
            login_ms: login.login_ms,
            about: &login.device.to_json(),
            joins: login.sid.is_some(),
            started_ms: login.started.map_or(0, AuthStart::millis),
            #[cfg(feature = "registry")]
            started: login.started,
            ahead_kept: millis(inner.store.longest_credential()),
            most_devices: inner.settings.most_devices.into(),
            evict: inner.settings.evict,
        };
        match inner.start(&token, key_id, &new).await? {
            Issued::Done {
                auth_ms,
                ends_ms,
                login_ms,
            } => {
                event_info!(event = "refresh.issued", sid = %token.family.sid(), "a refresh family was started");
                let of = Owner {
                    auth_ms,
                    login_ms,
                    ends_ms,
                    tenant: of_tenant.to_owned(),
                    user: login.user.clone(),
                    client: login.client.clone(),
                    scope: spaced(&login.scope),
                    resource: spaced(&login.resource),
                };
                inner.pair(&token, key_id, &of, request)
            }
            Issued::Outdated => {
                event_warn!(
                    event = "refresh.outdated",
                    "a cutoff came while a login was under way: it was refused"
                );
                Err(RefreshError::new(RefreshErrorKind::Outdated))
            }
            Issued::Cut => Err(RefreshError::new(RefreshErrorKind::Revoked)),
            Issued::Full => Err(RefreshError::new(RefreshErrorKind::TooManyDevices)),
        }
    }

    /// Takes a refresh token and hands out the pair that follows, in one trip.
    ///
    /// Inside the grace time everybody who presents the token of before gets the same refresh token: parallel tabs, and
    /// clients that lost the answer. Outside of it a second use ends the family and its access tokens, once.
    ///
    /// # Errors
    ///
    /// See [`RefreshErrorKind`]. After a [`Store`](RefreshErrorKind::Store) error the token may have been used: present
    /// the same one again.
    pub async fn rotate(
        &self,
        presented: &str,
        request: RefreshRequest<'_>,
    ) -> Result<TokenPair, RefreshError> {
        let inner = &*self.0;
        let Some(token) = Token::parse(presented, &inner.keys) else {
            if let Some(adoption) = &inner.adoption {
                return self.adopt(adoption, presented, request).await;
            }
            event_warn!(
                event = "refresh.forged",
                "a refresh token that is none of ours was presented"
            );
            return Err(RefreshError::new(RefreshErrorKind::Forged));
        };
        match inner.decide(&token, request).await? {
            Rotated::Good {
                how,
                nonce,
                key_id,
                of,
            } => inner.follow(&token, how, &nonce, key_id, &of, request),
            refused => Err(RefreshError::new(refusal(&token, &refused))),
        }
    }

    /// Ends the login that a refresh token belongs to: its family, its session and its access tokens, in one trip. A
    /// token that is forged, whose family was ended, or instead of which others were issued since on the same device ends
    /// nothing, and that is no error (RFC 7009 §2.2).
    ///
    /// # Errors
    ///
    /// When the store cannot confirm it; trying again is safe.
    pub async fn revoke(&self, presented: &str) -> Result<(), RefreshError> {
        let inner = &*self.0;
        let Some(token) = Token::parse(presented, &inner.keys) else {
            return match &inner.adoption {
                Some(adoption) => self.discard(adoption, presented).await,
                None => Ok(()),
            };
        };
        #[cfg(feature = "registry")]
        if let Some(active) = &inner.registry
            && registered::revoke(active, &token).await?.is_some()
        {
            return Ok(());
        }
        let (sid, epoch) = (token.family.sid(), token.family.epoch());
        let devices = &inner.devices;
        let was = devices
            .end_of_token(&token.family.tag(), &sid, epoch)
            .await?;
        event_info!(event = "refresh.revoked", %sid, was, "a refresh family was ended");
        Ok(())
    }

    /// Ends all logins of a user on all devices; see [`Devices::revoke_all`].
    ///
    /// # Errors
    ///
    /// When the store cannot confirm it; trying again is safe.
    pub async fn revoke_all(&self, tenant: &str, user: &str) -> Result<u64, RefreshError> {
        #[cfg(feature = "registry")]
        if let Some(active) = &self.0.registry {
            let ended = active.end_all(tenant, user).await;
            return ended.map(|(_, count)| count).map_err(registered::failed);
        }
        Ok(self.0.devices.revoke_all(tenant, user).await?)
    }
}

impl Inner {
    /// Asks the store, and once more with the same nonce if the answer was lost: the script knows our own resend.
    async fn decide(
        &self,
        token: &Token,
        request: RefreshRequest<'_>,
    ) -> Result<Rotated, RefreshError> {
        let nonce = encode(random_bytes::<16>()?);
        let key_id = self.keys.signing_key_id();
        let successor = token
            .successor(nonce.as_bytes(), key_id, &self.keys)
            .ok_or(RefreshError::new(RefreshErrorKind::KeyMissing))?;
        let asked = Asked {
            client: request.client,
            scope: request.scope,
            resource: request.resource,
            grace_ms: millis(self.settings.grace),
        };
        let next = ops::Next {
            successor: &successor,
            nonce: &nonce,
            key_id,
        };
        #[cfg(feature = "registry")]
        if let Some(active) = &self.registry {
            return self.by_registry(active, token, &next, &asked).await;
        }
        let call = ops::rotate(&self.store, token, &next, &asked);
        let reply = self.store.run_twice(call).await?;
        Ok(ops::rotated(reply)?)
    }

    fn follow(
        &self,
        token: &Token,
        how: How,
        nonce: &str,
        key_id: [u8; 4],
        of: &Owner,
        request: RefreshRequest<'_>,
    ) -> Result<TokenPair, RefreshError> {
        let next = match how {
            How::Current => Some(token.clone()),
            _ => token.successor(nonce.as_bytes(), key_id, &self.keys),
        };
        // Held by another node already, not yet by this one: that is no reuse (DESIGN: key rollover).
        let next = next.ok_or(RefreshError::new(RefreshErrorKind::KeyMissing))?;
        if how == How::Rolled {
            event_warn!(
                event = "refresh.rolled",
                "the store had lost a rotation: the family rolled forward"
            );
        }
        self.pair(&next, key_id, of, request)
    }

    fn pair(
        &self,
        token: &Token,
        key_id: [u8; 4],
        of: &Owner,
        request: RefreshRequest<'_>,
    ) -> Result<TokenPair, RefreshError> {
        let sid = token.family.sid();
        let scope = narrowed(&of.scope, request.scope);
        let mut grant = Grant::user(&*of.user)
            .sid(&*sid)
            .auth_ms(of.auth_ms)
            .login_ms(of.login_ms);
        if !of.tenant.is_empty() {
            grant = grant.tenant(&*of.tenant);
        }
        if !of.client.is_empty() {
            grant = grant.client_id(&*of.client);
        }
        if !scope.is_empty() {
            grant = grant.scope(scope.as_str());
        }
        for resource in narrowed(&of.resource, request.resource).split_ascii_whitespace() {
            grant = grant.audience(resource);
        }
        let access = self
            .issuer
            .mint(&grant)
            .map_err(|error| RefreshError::caused_by(RefreshErrorKind::Mint, error))?;
        let refresh = token
            .to_text(key_id, &self.keys)
            .ok_or(RefreshError::new(RefreshErrorKind::KeyMissing))?;
        Ok(TokenPair {
            access,
            refresh,
            sid,
            scope,
            ends_ms: of.ends_ms,
        })
    }
}

fn refusal(token: &Token, refused: &Rotated) -> RefreshErrorKind {
    let sid = token.family.sid();
    match refused {
        Rotated::Reused => {
            event_warn!(event = "refresh.reused", %sid, "a used refresh token was presented: its login is ended");
            RefreshErrorKind::Reused
        }
        Rotated::Expired => RefreshErrorKind::Expired,
        Rotated::Ended(why) if why == "elsewhere" => RefreshErrorKind::Elsewhere,
        Rotated::Ended(_) => RefreshErrorKind::Revoked,
        Rotated::Client => {
            event_warn!(event = "refresh.client", %sid, "another client presented a refresh token");
            RefreshErrorKind::Client
        }
        Rotated::Scope => RefreshErrorKind::Scope,
        Rotated::Resource => RefreshErrorKind::Resource,
        Rotated::Unknown | Rotated::Good { .. } => RefreshErrorKind::Unknown,
    }
}

impl fmt::Debug for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotation")
            .field("grace", &self.0.settings.grace)
            .finish_non_exhaustive()
    }
}
