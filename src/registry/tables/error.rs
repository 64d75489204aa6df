//! What sqlx says, without what was in the statement.

use std::{error::Error as StdError, fmt, io};

use super::super::RegistryError;

/// Codes of SQLite that say "not now": busy, locked, input or output failed, full, cannot be opened.
const SQLITE_NOT_NOW: [u32; 5] = [5, 6, 10, 13, 14];

/// What is likely the reason then.
const WITHOUT_TLS: &str = if cfg!(feature = "tls") {
    ""
} else {
    "; the feature `tls` of this crate is off"
};

/// A database's error, without its text where that could repeat a value.
#[derive(Debug)]
enum DatabaseError {
    Code { code: String, text: String },
    Driver(String),
    Deadline,
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code { code, text } if text.is_empty() => write!(f, "the database says {code}"),
            Self::Code { code, text } => write!(f, "the database says {code}: {text}"),
            Self::Driver(text) => f.write_str(text),
            Self::Deadline => f.write_str("the database did not answer within the deadline"),
        }
    }
}

impl StdError for DatabaseError {}

pub(super) fn deadline() -> RegistryError {
    RegistryError::unavailable(DatabaseError::Deadline)
}

pub(super) fn unexpected(what: &str) -> RegistryError {
    RegistryError::failed(DatabaseError::Driver(what.to_owned()))
}

/// What cannot be a database's address; without the address, which has a password in it.
pub(super) fn address() -> RegistryError {
    unexpected("this is not an address of the database")
}

pub(super) fn registry(error: sqlx::Error) -> RegistryError {
    match error {
        // What TLS says of certificates and alerts, which names hosts and no values.
        sqlx::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            unavailable(&format!("TLS to the database failed: {error}"))
        }
        sqlx::Error::Io(error) if error.kind() == io::ErrorKind::NotFound => {
            unavailable("there is no such socket, or no such file as the address names for TLS")
        }
        sqlx::Error::Io(error) => RegistryError::unavailable(io::Error::from(error.kind())),
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default().into_owned();
            from_code(code, error.message())
        }
        // Files that cannot be read, a server or a build without TLS: no later try is better.
        sqlx::Error::Tls(error) => {
            unexpected(&format!("TLS to the database failed: {error}{WITHOUT_TLS}"))
        }
        sqlx::Error::Configuration(_) => {
            unexpected("the address of the database cannot be used as it is")
        }
        sqlx::Error::PoolTimedOut => unavailable("no connection to the database came free"),
        sqlx::Error::PoolClosed => unavailable("the pool is closed"),
        sqlx::Error::WorkerCrashed => unavailable("the database's thread has ended"),
        sqlx::Error::BeginFailed => unavailable("the database began no transaction"),
        sqlx::Error::Protocol(_) => unavailable("the database broke its protocol"),
        _ => unexpected("the driver cannot read what the database says"),
    }
}

fn unavailable(text: &str) -> RegistryError {
    RegistryError::unavailable(DatabaseError::Driver(text.to_owned()))
}

/// SQLSTATE has five characters, a code of SQLite is a number of fewer.
fn from_code(code: String, message: &str) -> RegistryError {
    let (not_now, harmless) = if code.len() == 5 {
        (state_not_now(&code), state_is_harmless(&code))
    } else {
        let primary = code.parse::<u32>().map_or(0, |code| code & 0xff);
        // 1 is "SQL error", for instance a missing table; what SQLite says names tables and columns, not values.
        (SQLITE_NOT_NOW.contains(&primary), true)
    };
    let text = if harmless { message } else { "" }.to_owned();
    let error = DatabaseError::Code { code, text };
    if not_now {
        RegistryError::unavailable(error)
    } else {
        RegistryError::failed(error)
    }
}

/// Lost connections, transactions that stood in one another's way, too little of something, asked to stop, no lock in
/// time, and a replica that takes no writes: after a failover the pool finds the new primary.
fn state_not_now(state: &str) -> bool {
    let classes = ["08", "40", "53", "57", "58"];
    classes.iter().any(|class| state.starts_with(class)) || matches!(state, "55P03" | "25006")
}

/// Missing tables, rights, databases and logins, and what a pooler does not take: texts about the statement, which is ours,
/// and not about values.
fn state_is_harmless(state: &str) -> bool {
    ["08", "26", "28", "3D", "42", "53", "57"]
        .iter()
        .any(|class| state.starts_with(class))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::RegistryErrorKind;

    #[test]
    fn codes_of_both_databases_are_told_apart() {
        let kind = |code: &str| from_code(code.to_owned(), "text").kind();
        for code in [
            "08006", "40P01", "57014", "53300", "25006", "55P03", "5", "261", "10", "14",
        ] {
            assert_eq!(kind(code), RegistryErrorKind::Unavailable, "{code}");
        }
        for code in ["22021", "23505", "42P01", "28P01", "1", "19", "2067", ""] {
            assert_eq!(kind(code), RegistryErrorKind::Failed, "{code}");
        }
    }

    /// Fails if: the text of an error that repeats values is kept.
    #[test]
    fn texts_that_could_repeat_a_value_are_dropped() {
        for code in ["22P02", "23505", "22021"] {
            let error = from_code(code.to_owned(), "invalid: \"alice's secret\"");
            assert!(!format!("{error:?}").contains("alice"), "{error:?}");
        }
    }
}
