//! Where a test stops the traffic: chosen commands and replies are held until the test lets them go.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::{resp::Command, wait};

type Predicate = Box<dyn FnMut(&Command) -> bool + Send>;

/// What a trap does with the command that it catches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The server does not see the command before the test says so.
    HoldCommand,
    /// The server executes the command, the client does not hear of it before the test says so.
    HoldReply,
    /// The server executes the command, then the connection is cut: the lost response.
    LoseReply,
}

/// The traps of one proxy; each catches one command, the first that fits.
#[derive(Default)]
pub struct Traps(Mutex<Vec<Trap>>);

struct Trap {
    kind: Kind,
    fits: Predicate,
    signals: Arc<Signals>,
}

#[derive(Default)]
struct Signals {
    reached: watch::Sender<bool>,
    resumed: watch::Sender<bool>,
}

/// The test's end of a trap. Dropping it lets go what was caught, or removes the trap if nothing was.
#[must_use = "a dropped trap catches nothing"]
pub struct Paused {
    signals: Arc<Signals>,
}

/// The proxy's end of a trap that has caught something.
pub struct Caught {
    pub kind: Kind,
    signals: Arc<Signals>,
}

impl Traps {
    pub fn set(&self, kind: Kind, fits: impl FnMut(&Command) -> bool + Send + 'static) -> Paused {
        let signals = Arc::new(Signals::default());
        let trap = Trap {
            kind,
            fits: Box::new(fits),
            signals: Arc::clone(&signals),
        };
        self.0.lock().unwrap().push(trap);
        Paused { signals }
    }

    /// The trap that holds this command itself, or (`replies`) its reply.
    pub fn catch(&self, command: &Command, replies: bool) -> Option<Caught> {
        let mut traps = self.0.lock().unwrap();
        traps.retain(|trap| !*trap.signals.resumed.borrow());
        let fitting =
            |trap: &mut Trap| (trap.kind != Kind::HoldCommand) == replies && (trap.fits)(command);
        let found = traps.iter_mut().position(fitting)?;
        let Trap { kind, signals, .. } = traps.remove(found);
        Some(Caught { kind, signals })
    }
}

impl Paused {
    /// Returns once the command is caught: for a held command before the server has it, for a held or lost reply after
    /// the server has executed it.
    pub async fn reached(&self) {
        let mut reached = self.signals.reached.subscribe();
        let caught = reached.wait_for(|reached| *reached);
        wait::within("a command that fits the trap", caught)
            .await
            .expect("we hold the sender");
    }

    /// Whether it has happened yet.
    pub fn is_reached(&self) -> bool {
        *self.signals.reached.borrow()
    }

    /// Lets the traffic go on. (Dropping does the same; this says it.)
    pub fn resume(self) {}
}

impl Drop for Paused {
    fn drop(&mut self) {
        self.signals.resumed.send_replace(true);
    }
}

impl Caught {
    pub fn announce(&self) {
        self.signals.reached.send_replace(true);
    }

    pub async fn resumed(&self) {
        let mut resumed = self.signals.resumed.subscribe();
        let _ = resumed.wait_for(|resumed| *resumed).await;
    }
}
