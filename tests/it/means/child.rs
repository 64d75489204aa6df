//! A child process that never outlives the tests.
//!
//! Dropping a [`Child`] kills it. Should the test process itself die (a kill, an abort, Ctrl-C), no `Drop` runs, so each
//! child has a watchdog: a shell that waits for the end of its standard input, which only this process holds open, and
//! then kills the child. A parent-death signal would be simpler but fires when the *thread* that started the child
//! ends, and a test's thread ends before a server that several tests share.

use std::{
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{self, Command, ExitStatus, Stdio},
    sync::Mutex,
};

use rustix::process::{Pid, Signal, kill_process};

/// A running process together with its watchdog.
pub struct Child {
    process: Mutex<process::Child>,
    watchdog: Mutex<process::Child>,
}

impl Child {
    /// Starts `command`; if this process dies, the child is killed and `litter`, a directory, is removed.
    pub fn spawn(command: &mut Command, litter: Option<&Path>) -> io::Result<Self> {
        Self::spawn_ended_by(command, "KILL", litter)
    }

    /// The same for a child with something to clear away: if this process dies, the child gets this signal, and is killed
    /// if it is still there two seconds later.
    pub fn spawn_ended_by(
        command: &mut Command,
        signal: &str,
        litter: Option<&Path>,
    ) -> io::Result<Self> {
        let mut process = command.stdin(Stdio::null()).spawn()?;
        match watchdog(process.id(), signal, litter) {
            Ok(watchdog) => Ok(Self {
                process: Mutex::new(process),
                watchdog: Mutex::new(watchdog),
            }),
            Err(error) => {
                process.kill().and_then(|()| process.wait())?;
                Err(error)
            }
        }
    }

    /// The standard output and error, if they were piped; once.
    pub fn take_output(&self) -> (Option<process::ChildStdout>, Option<process::ChildStderr>) {
        let mut process = self.process.lock().unwrap();
        (process.stdout.take(), process.stderr.take())
    }

    pub fn id(&self) -> u32 {
        self.process.lock().unwrap().id()
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&self, signal: Signal) {
        let mut process = self.process.lock().unwrap();
        // Under the lock and only while unreaped: the number cannot belong to another process.
        if process.try_wait().expect("a child can be asked").is_none() {
            let pid = Pid::from_child(&process);
            kill_process(pid, signal).expect("a living child takes signals");
        }
    }

    /// The exit status once the process has ended.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.process
            .lock()
            .unwrap()
            .try_wait()
            .expect("a child can be asked")
    }

    /// Kills the process, also a stopped one, and waits until it is gone. Harmless when repeated.
    pub fn kill(&self) {
        let mut process = self.process.lock().unwrap();
        // `kill` on a process that has been waited for is refused by the standard library, never misdirected.
        let _ = process.kill();
        let _ = process.wait();
        let mut watchdog = self.watchdog.lock().unwrap();
        let _ = watchdog.kill();
        let _ = watchdog.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// In a process group of its own, so that Ctrl-C in a terminal does not reach it before its work is done.
fn watchdog(guarded: u32, signal: &str, litter: Option<&Path>) -> io::Result<process::Child> {
    const SCRIPT: &str = r#"
        read -r _
        kill -s "$2" "$1"
        left=20
        while [ "$2" != KILL ] && [ $left -gt 0 ] && kill -0 "$1" 2>/dev/null; do
            sleep 0.1
            left=$((left - 1))
        done
        kill -s KILL "$1" 2>/dev/null
        [ -z "$3" ] || rm -rf "$3"
    "#;
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "watchdog"]);
    command
        .arg(guarded.to_string())
        .arg(signal)
        .arg(litter.unwrap_or_else(|| Path::new("")));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.process_group(0).spawn()
}
