//! What the database said about a session, as far as a check needs it.

use std::{fmt, sync::Arc};

use super::truth::Found;
use crate::secret::sha256_of_parts;

/// Whether a session is active, and whose it is.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Active(Arc<Owner>),
    /// Ended, expired, cut off, or never there: no difference is made.
    Gone,
}

#[derive(PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) tenant: String,
    pub(super) user: String,
    /// When the user authenticated.
    pub(super) auth_ms: u64,
}

impl Standing {
    /// Of what the database found, by its own clock.
    pub(super) fn of(found: Option<&Found>) -> Self {
        match found.filter(|found| found.is_active()) {
            None => Self::Gone,
            Some(Found { session, .. }) => Self::Active(Arc::new(Owner {
                tenant: session.tenant.clone(),
                user: session.user.clone(),
                auth_ms: session.auth_ms,
            })),
        }
    }

    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Gone => "-".to_owned(),
            Self::Active(owner) => {
                let names = serde_json::json!([owner.tenant, owner.user]);
                format!("+{}:{names}", owner.auth_ms)
            }
        }
    }

    pub(super) fn from_text(text: &str) -> Option<Self> {
        if text == "-" {
            return Some(Self::Gone);
        }
        let (auth, names) = text.strip_prefix('+')?.split_once(':')?;
        let (tenant, user) = serde_json::from_str(names).ok()?;
        Some(Self::Active(Arc::new(Owner {
            tenant,
            user,
            auth_ms: auth.parse().ok()?,
        })))
    }
}

/// A user, in the few bytes in which nodes remember one.
pub(super) fn fingerprint(tenant: &str, user: &str) -> [u8; 16] {
    let hash = sha256_of_parts(&[b"owner", tenant.as_bytes(), user.as_bytes()]);
    let mut short = [0; 16];
    short.copy_from_slice(&hash[..16]);
    short
}

// The user is personal data.
impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active(_) => "Active(..)",
            Self::Gone => "Gone",
        })
    }
}
