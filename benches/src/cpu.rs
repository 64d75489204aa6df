//! CPU time of processes, as the system counts it.

use std::{fs, time::Duration};

/// User and system time of a process with all its threads so far, in steps of 10 ms: fields 14 and 15 of
/// `/proc/<pid>/stat`, whose unit is fixed at a hundredth of a second for programs.
pub fn of(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process that runs");
    // The name of the program may contain spaces; what follows its bracket does not.
    let (_, rest) = text.rsplit_once(')').expect("a name in brackets");
    let ticks = |at: usize| -> u64 {
        let field = rest.split_whitespace().nth(at).expect("a field");
        field.parse().expect("a number")
    };
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// The load average of the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|n| n.parse().ok()).unwrap_or(f64::NAN)
}
