//! How a family is written into the row of its session.

use serde::{Deserialize, Serialize};

use super::{decision::Stored, ops::Owner};
use crate::registry::Registered;

/// What a row's `data` holds of a family, beside what it says of the device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Family {
    pub(super) epoch: String,
    pub(super) client: String,
    pub(super) scope: String,
    pub(super) resource: String,
    /// The key that the current token was derived with.
    pub(super) kid: String,
    pub(super) prev: Option<String>,
    pub(super) nonce: Option<String>,
    pub(super) generation: u64,
    /// Absent before the first rotation.
    pub(super) rotated_ms: Option<u64>,
    pub(super) idle_ms: u64,
    /// Counted from when the session or, on the device of a session, the family began.
    pub(super) absolute_ms: u64,
    pub(super) began_ms: Option<u64>,
    /// 0 is when the user authenticated.
    pub(super) login_ms: u64,
}

/// The row's `data`: an object in which the family is one member.
pub(super) struct Data {
    pub(super) about: serde_json::Map<String, serde_json::Value>,
    pub(super) family: Family,
}

const MEMBER: &str = "refresh";

impl Data {
    pub(super) fn of(text: &str) -> Option<Self> {
        let mut about = serde_json::from_str::<serde_json::Map<_, _>>(text).ok()?;
        let family = serde_json::from_value(about.remove(MEMBER)?).ok()?;
        Some(Self { about, family })
    }

    pub(super) fn to_text(&self) -> String {
        let mut whole = self.about.clone();
        if let Ok(family) = serde_json::to_value(&self.family) {
            whole.insert(MEMBER.to_owned(), family);
        }
        serde_json::Value::Object(whole).to_string()
    }
}

impl Family {
    pub(super) fn stored(&self, session: &Registered) -> Stored {
        let began = self.began_ms.unwrap_or(session.created_ms);
        Stored {
            ended: session.ended.clone(),
            current: Some(session.token.clone()).filter(|token| !token.is_empty()),
            previous: self.prev.clone(),
            nonce: self.nonce.clone(),
            epoch: Some(self.epoch.clone()),
            client: Some(self.client.clone()),
            scope: Some(self.scope.clone()),
            resource: Some(self.resource.clone()),
            idle_ms: Some(self.idle_ms),
            ends_ms: Some(began.saturating_add(self.absolute_ms)),
            rotated_ms: Some(self.rotated_ms.unwrap_or(began)),
            generation: Some(self.generation),
            auth_ms: Some(session.auth_ms),
        }
    }

    pub(super) fn ends_ms(&self, session: &Registered) -> u64 {
        let began = self.began_ms.unwrap_or(session.created_ms);
        began.saturating_add(self.absolute_ms)
    }

    pub(super) fn owner(&self, session: &Registered) -> Owner {
        let login_ms = match self.login_ms {
            0 => session.auth_ms,
            login => login,
        };
        Owner {
            auth_ms: session.auth_ms,
            login_ms,
            ends_ms: self.ends_ms(session),
            tenant: session.tenant.clone(),
            user: session.user.clone(),
            client: self.client.clone(),
            scope: self.scope.clone(),
            resource: self.resource.clone(),
        }
    }
}
