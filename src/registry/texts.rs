//! What may stand in the tables: the same for every implementation of this crate, so that a test on one speaks for all.

use std::{error::Error as StdError, fmt};

use super::{NewSession, RegistryError, Rotated, Which, truth::CutoffScope};

/// Longer names do not fit into an index of PostgreSQL, two of them and a time together.
const LONGEST_NAME: usize = 1024;
/// Far more than this crate writes.
const LONGEST_DATA: usize = 64 * 1024;
/// The year 287396: room to count on from, in 64 bits with a sign and in the floating point of other programs.
const LAST_MOMENT: u64 = (1 << 53) - 1;

/// What a text or number is refused for; without the text.
#[derive(Debug)]
struct Refused(&'static str);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl StdError for Refused {}

pub(super) fn refused(why: &'static str) -> RegistryError {
    RegistryError::failed(Refused(why))
}

pub(super) fn name(text: &str) -> Result<(), RegistryError> {
    if text.len() > LONGEST_NAME {
        return Err(refused("a text is longer than 1024 bytes"));
    }
    no_nul(text)
}

pub(super) fn data(text: &str) -> Result<(), RegistryError> {
    if text.len() > LONGEST_DATA {
        return Err(refused("the data is longer than 64 KiB"));
    }
    no_nul(text)
}

/// PostgreSQL has no such character.
fn no_nul(text: &str) -> Result<(), RegistryError> {
    if text.contains('\0') {
        return Err(refused("a text has a NUL in it"));
    }
    Ok(())
}

pub(super) fn session(new: &NewSession) -> Result<(), RegistryError> {
    // Whoever asks for the session of an empty text shall find none.
    if new.sid.is_empty() {
        return Err(refused("the sid is empty"));
    }
    for text in [&new.sid, &new.tenant, &new.user, &new.token] {
        name(text)?;
    }
    moment(new.auth_at_least_ms)?;
    data(&new.data)
}

pub(super) fn rotated(sid: &str, expected: &str, next: &Rotated) -> Result<(), RegistryError> {
    for text in [sid, expected, &next.token] {
        name(text)?;
    }
    data(&next.data)
}

pub(super) fn which(which: &Which) -> Result<(), RegistryError> {
    let texts: [&str; 3] = match which {
        Which::Sid(sid) => [sid, "", ""],
        Which::One { tenant, user, sid } => [tenant, user, sid],
        Which::Others { tenant, user, keep } => [tenant, user, keep],
        Which::All { tenant, user } => [tenant, user, ""],
    };
    texts.into_iter().try_for_each(name)
}

pub(super) fn scope(scope: &CutoffScope) -> Result<(), RegistryError> {
    match scope {
        CutoffScope::Everyone => Ok(()),
        CutoffScope::Tenant(tenant) => name(tenant),
        CutoffScope::User { tenant, user } => name(tenant).and_then(|()| name(user)),
    }
}

pub(super) fn moment(ms: u64) -> Result<(), RegistryError> {
    if ms > LAST_MOMENT {
        return Err(refused("a moment is too far in the future"));
    }
    Ok(())
}

/// A life that ends after the last moment ends with it.
pub(super) fn lifetime(ms: u64) -> u64 {
    ms.min(LAST_MOMENT)
}
