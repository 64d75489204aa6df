//! Listing and ending devices.

use std::fmt;

use super::{About, LUA, Names, keys, twin};
use crate::{
    clock::millis,
    cutoff,
    near::{self, List, Scope},
    store::{Call, Operation, Store, StoreError, Tag, Value, corrupt},
    trace::event_info,
};

static DEVICES: Operation = Operation::script(
    "device.devices",
    &[cutoff::LUA, LUA, include_str!("devices.lua")],
    twin::devices,
);

/// The devices on which users are signed in.
///
/// Each method is one trip, and takes effect on sessions, refresh tokens and access tokens of the device, on every
/// instance, before it returns; each refuses an empty user ([`Invalid`](crate::store::StoreErrorKind::Invalid)); on other instances with a [replica](crate::near), within its `max_staleness`. `tenant` is empty where there are no tenants.
#[derive(Clone, Debug)]
pub struct Devices {
    store: Store,
}

/// One device of a list.
#[derive(Clone, PartialEq, Eq)]
pub struct Device {
    sid: String,
    created_ms: u64,
    last_used_ms: u64,
    is_current: bool,
    about: About,
}

impl Devices {
    /// The devices in this store.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        store.register(&[&DEVICES]);
        Self {
            store: store.clone(),
        }
    }

    /// Every device on which the user is signed in, once, and no dead one; `current` is the `sid` of the one that asks.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    pub async fn list(
        &self,
        tenant: &str,
        user: &str,
        current: Option<&str>,
    ) -> Result<Vec<Device>, StoreError> {
        let reply = self.run(tenant, user, "list", "").await?;
        let entries = reply.into_list()?.into_iter();
        entries.map(|entry| device(entry, current)).collect()
    }

    /// Ends one device; says whether it was on the user's list. A `sid` of somebody else's device ends nothing.
    ///
    /// # Errors
    ///
    /// When the store cannot confirm it; trying again is safe.
    pub async fn revoke(&self, tenant: &str, user: &str, sid: &str) -> Result<bool, StoreError> {
        let was = self.run(tenant, user, "one", sid).await?.number()? == 1;
        event_info!(event = "device.revoked", was, "a device was signed out");
        Ok(was)
    }

    /// Ends all devices but the one with this `sid`; says how many. For a changed password, and "log out other devices".
    ///
    /// Access tokens that the kept device holds end as well; it gets new ones with its refresh token or session.
    ///
    /// # Errors
    ///
    /// When the store cannot confirm it; trying again is safe.
    pub async fn revoke_others(
        &self,
        tenant: &str,
        user: &str,
        current: &str,
    ) -> Result<u64, StoreError> {
        self.end(tenant, user, "others", current).await
    }

    /// Ends all devices of the user; says how many. A login right after it works; so does one whose password is being checked
    /// meanwhile, unless it says [when it began](cutoff::AuthStart).
    ///
    /// # Errors
    ///
    /// When the store cannot confirm it; trying again is safe.
    pub async fn revoke_all(&self, tenant: &str, user: &str) -> Result<u64, StoreError> {
        self.end(tenant, user, "all", "").await
    }

    async fn end(
        &self,
        tenant: &str,
        user: &str,
        what: &'static str,
        sid: &str,
    ) -> Result<u64, StoreError> {
        let reply = self.run(tenant, user, what, sid).await?.into_list()?;
        let ended = reply.first().ok_or_else(corrupt)?.number()?;
        event_info!(
            event = "devices.revoked",
            what,
            ended,
            "devices of a user were signed out"
        );
        Ok(ended)
    }

    /// Ends the device that a refresh token of this family and epoch names; says whether it was any.
    #[cfg(feature = "refresh")]
    pub(crate) async fn end_of_token(
        &self,
        tag: &Tag,
        sid: &str,
        epoch: String,
    ) -> Result<bool, StoreError> {
        let mut call = self.call(tag, "", "token", sid);
        call.args.push(epoch.into());
        let was = self.store.run(call).await?.number()? == 1;
        if let Some(near) = near::of(&self.store).filter(|_| was) {
            near.revoked_in_store(List::Logins, sid.as_bytes());
        }
        Ok(was)
    }

    /// What [`revoke`](Self::revoke) asks, for whoever ends more in the same trip and tells the replica itself.
    #[cfg(feature = "registry")]
    pub(crate) fn revoke_call(&self, tenant: &str, user: &str, sid: &str) -> Call {
        let tag = self.store.namespace().user_tag("", tenant, user);
        self.call(&tag, tenant, "one", sid)
    }

    async fn run(
        &self,
        tenant: &str,
        user: &str,
        what: &'static str,
        sid: &str,
    ) -> Result<Value, StoreError> {
        cutoff::named(user)?;
        let tag = self.store.namespace().user_tag("", tenant, user);
        let reply = self.store.run(self.call(&tag, tenant, what, sid)).await?;
        if let Some(near) = near::of(&self.store) {
            match what {
                "one" if reply == Value::Int(1) => {
                    near.revoked_in_store(List::Logins, sid.as_bytes());
                }
                "list" | "one" => {}
                _ => near.raised_in_store(Scope::User(tag)),
            }
        }
        Ok(reply)
    }

    pub(crate) fn call(&self, tag: &Tag, tenant: &str, what: &'static str, sid: &str) -> Call {
        let namespace = self.store.namespace();
        let [zset, hash] = keys(namespace, tag);
        let mut keys = vec![
            zset,
            hash,
            cutoff::latest_key(namespace),
            cutoff::largest_key(namespace),
            cutoff::user_key(namespace, tag),
            cutoff::global_key(namespace),
        ];
        if !tenant.is_empty() {
            let tenant = namespace.tenant_tag(tenant);
            keys.push(cutoff::tenant_key(namespace, &tenant));
        }
        let kept = millis(self.store.longest_credential());
        let mut args = vec![what.into(), sid.to_owned().into(), kept.into()];
        Names::new(&self.store, tag).append_to(&mut args);
        Call::new(&DEVICES, keys, args)
    }
}

fn device(entry: Value, current: Option<&str>) -> Result<Device, StoreError> {
    let mut parts = entry.into_list()?.into_iter();
    let mut text = || match parts.next() {
        Some(Value::Bytes(bytes)) => String::from_utf8(bytes).map_err(|_| corrupt()),
        _ => Err(corrupt()),
    };
    let (sid, seen, meta) = (text()?, text()?, text()?);
    let (created, about) = meta.split_at_checked(15).ok_or_else(corrupt)?;
    Ok(Device {
        is_current: current == Some(&*sid),
        created_ms: created.parse().map_err(|_| corrupt())?,
        last_used_ms: seen.parse().map_err(|_| corrupt())?,
        about: serde_json::from_str(about).unwrap_or_default(),
        sid,
    })
}

impl Device {
    /// A device that is known elsewhere; `about` is what was said of it, as JSON.
    #[cfg(feature = "registry")]
    pub(crate) fn known(
        sid: String,
        [created_ms, last_used_ms]: [u64; 2],
        is_current: bool,
        about: &str,
    ) -> Self {
        Self {
            sid,
            created_ms,
            last_used_ms,
            is_current,
            about: serde_json::from_str(about).unwrap_or_default(),
        }
    }

    /// Names the device, for [`Devices::revoke`]: the `sid` of its session and tokens. It is no secret.
    #[must_use]
    pub fn sid(&self) -> &str {
        &self.sid
    }

    /// When it signed in, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn created_ms(&self) -> u64 {
        self.created_ms
    }

    /// When it was last used, in milliseconds since the Unix epoch; recorded at intervals, so up to one of them ago.
    #[must_use]
    pub fn last_used_ms(&self) -> u64 {
        self.last_used_ms
    }

    /// Whether it is the device that asks.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.is_current
    }

    /// The name it was given at login.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.about.name.as_deref()
    }

    /// The address it signed in from.
    #[must_use]
    pub fn ip(&self) -> Option<&str> {
        self.about.ip.as_deref()
    }

    /// The `User-Agent` it signed in with. Text of a client: escape it.
    #[must_use]
    pub fn user_agent(&self) -> Option<&str> {
        self.about.ua.as_deref()
    }
}

// Names and addresses are personal data.
impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("created_ms", &self.created_ms)
            .field("last_used_ms", &self.last_used_ms)
            .field("is_current", &self.is_current)
            .finish_non_exhaustive()
    }
}
