//! The start-up self-check: what about this server would hurt later.

use std::fmt;

use super::{Arg, Backend, Call, Fault, Key, Memory, Operation, Store, StoreError, Value};

static INFO: Operation = Operation::command("check.info", "INFO", silent);
static SCRIPT: Operation =
    Operation::script("check.script", &["return redis.call('TIME')"], silent);
static TRACKING: Operation = Operation::command("check.tracking", "CLIENT", silent);

/// The in-memory store is never asked these.
fn silent(_: &mut Memory, _: u64, _: &[Key], _: &[Arg]) -> Result<Value, Fault> {
    Ok(Value::Nil)
}

/// The oldest server that has everything the scripts use (`PXAT`, 6.2).
const OLDEST_VERSION: (u32, u32) = (6, 2);
/// Scripts go by the server's time, tokens by the node's: from here on the difference matters.
const LARGEST_SKEW_MS: u64 = 1_000;

/// Something that [`Store::check`] noticed. `Display` is a sentence for an operator.
#[derive(Clone, Debug)]
pub struct Finding {
    kind: FindingKind,
    text: String,
}

/// What a [`Finding`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// The server is older than this crate needs.
    Version,
    /// The server may evict what must not be lost: sessions, and worse, revocations.
    Eviction,
    /// Scripts are not permitted; nothing will work.
    Scripts,
    /// Client tracking is not available; a near replica of revocations will not be.
    Tracking,
    /// The clocks of this node and of the server differ.
    ClockSkew,
    /// Nothing is shared with other processes, and nothing outlives this one.
    InMemory,
}

impl Finding {
    fn new(kind: FindingKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    /// What it is about.
    #[must_use]
    pub fn kind(&self) -> FindingKind {
        self.kind
    }

    /// Whether requests will fail because of it; the other findings are warnings.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self.kind, FindingKind::Version | FindingKind::Scripts)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Store {
    /// Looks at the server once, at start-up: version, eviction policy, permission for scripts and tracking, clock.
    ///
    /// No finding is no promise; each one is a sentence that says what to change.
    ///
    /// # Errors
    ///
    /// When the server cannot be asked.
    pub async fn check(&self) -> Result<Vec<Finding>, StoreError> {
        if matches!(self.0.backend, Backend::Memory(_)) {
            let text = "the in-memory store is used: other processes do not see its sessions, and they end with this process";
            return Ok(vec![Finding::new(FindingKind::InMemory, text)]);
        }
        let calls = [
            Call::new(&INFO, Vec::new(), vec!["server".into()]),
            Call::new(&INFO, Vec::new(), vec!["memory".into()]),
            Call::new(&SCRIPT, Vec::new(), Vec::new()),
            // Refused for its last word by a server that would grant the rest: asking changes nothing.
            Call::new(
                &TRACKING,
                Vec::new(),
                vec!["TRACKING".into(), "ASKED".into()],
            ),
        ];
        let before = self.0.clock.now_millis();
        let replies = self.trip(&calls).await?;
        let after = self.0.clock.now_millis();
        let [server, memory, script, tracking] = replies
            .into_vec()
            .try_into()
            .map_err(|_| super::operation::corrupt())?;
        let mut findings = Vec::new();
        findings.extend(server.ok().and_then(|info| version(&text(info))));
        findings.extend(memory.ok().and_then(|info| eviction(&text(info))));
        findings.extend(match script {
            Ok(time) => skew(&time, before, after),
            Err(error) => Some(scripts(&error)),
        });
        findings.extend(
            tracking
                .err()
                .filter(|e| !is_syntax(e))
                .map(|_| no_tracking()),
        );
        Ok(findings)
    }
}

fn text(value: Value) -> String {
    match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => String::new(),
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

fn version(info: &str) -> Option<Finding> {
    let version = field(info, "redis_version")?;
    let mut numbers = version
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    let found = (numbers.next()?, numbers.next().unwrap_or(0));
    (found < OLDEST_VERSION).then(|| {
        Finding::new(
            FindingKind::Version,
            format!("the server is version {version}: 6.2 or newer is needed"),
        )
    })
}

fn eviction(info: &str) -> Option<Finding> {
    let policy = field(info, "maxmemory_policy")?;
    (policy != "noeviction").then(|| {
        let what = if field(info, "maxmemory") == Some("0") { " (no maxmemory is set, so nothing is evicted yet)" } else { "" };
        Finding::new(
            FindingKind::Eviction,
            format!("maxmemory-policy is {policy}{what}: sessions and revocations may be evicted; set it to noeviction"),
        )
    })
}

/// What the server said.
fn word(error: &StoreError) -> String {
    use std::error::Error as _;
    error.source().map(ToString::to_string).unwrap_or_default()
}

fn is_syntax(error: &StoreError) -> bool {
    word(error).contains("syntax error")
}

fn scripts(error: &StoreError) -> Finding {
    let why = word(error);
    Finding::new(
        FindingKind::Scripts,
        format!(
            "the server runs no scripts for this user, nothing will work: grant +@scripting ({why})"
        ),
    )
}

fn no_tracking() -> Finding {
    Finding::new(
        FindingKind::Tracking,
        "client tracking is not available to this user: revocations will be asked for on every request; grant +client|tracking",
    )
}

fn skew(time: &Value, before: u64, after: u64) -> Option<Finding> {
    let Value::List(parts) = time else {
        return None;
    };
    let seconds = parts.first()?.number().ok()?;
    let micros = parts.get(1)?.number().ok()?;
    let server = seconds.saturating_mul(1_000).saturating_add(micros / 1_000);
    let off = before
        .saturating_sub(server)
        .max(server.saturating_sub(after));
    (off > LARGEST_SKEW_MS).then(|| {
        Finding::new(
            FindingKind::ClockSkew,
            format!("the clocks of this node and of the server differ by {off} ms: let both follow a time server"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_read_off_the_answers() {
        assert!(version("redis_version:7.0.15\r\n").is_none());
        assert!(version("redis_version:6.0.9\r\n").is_some_and(|f| f.is_fatal()));
        assert!(eviction("maxmemory:0\r\nmaxmemory_policy:noeviction\r\n").is_none());
        let finding = eviction("maxmemory:1\r\nmaxmemory_policy:allkeys-lru\r\n").unwrap();
        assert_eq!(finding.kind(), FindingKind::Eviction);
        let time = Value::List(vec![Value::bytes("10"), Value::bytes("500000")]);
        assert!(skew(&time, 10_400, 10_600).is_none());
        let absurd = Value::List(vec![Value::Int(i64::MAX), Value::Int(i64::MAX)]);
        assert_eq!(
            skew(&absurd, 10_400, 10_600).unwrap().kind(),
            FindingKind::ClockSkew
        );
        assert!(
            skew(&time, 20_000, 20_001)
                .unwrap()
                .to_string()
                .contains("9500 ms")
        );
    }
}
