//! The records that this node holds, and who may put one there. No I/O.
//!
//! 1. A record is put on the shelf only by a reading that was announced to it before the question was sent, and only if
//!    nothing was heard of the key since: a change that raced the answer leaves the shelf empty.
//! 2. What was read over one connection counts while that connection is the one of now: what changes after its end is
//!    announced to nobody.
//! 3. Bounded by count; a record that is large is not held. Whatever has no room is asked for.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use bytes::Bytes;

/// What a record is held under: the end of its key, the hash of the session's id.
pub(crate) type HeldName = [u8; 43];

/// Longer records are read anew each time.
pub(super) const LONGEST: usize = 16 * 1024;
const PARTS: usize = 16;

pub(super) struct Shelf {
    parts: [Mutex<HashMap<HeldName, Slot>>; PARTS],
    /// Names the connection of now.
    line: AtomicU64,
    /// Names the next reading.
    next: AtomicU64,
    /// In each part.
    most: usize,
}

enum Slot {
    /// Being read; nothing was heard of it since this reading began.
    Reading(u64),
    Held(Bytes),
}

/// A reading that was announced; given up when it is dropped.
pub(super) struct Reading<'a> {
    shelf: &'a Shelf,
    name: HeldName,
    ticket: u64,
    line: u64,
}

impl Shelf {
    pub(super) fn new(most: usize) -> Self {
        Self {
            parts: std::array::from_fn(|_| Mutex::default()),
            line: AtomicU64::new(0),
            next: AtomicU64::new(0),
            most: most.div_ceil(PARTS),
        }
    }

    pub(super) fn get(&self, name: &HeldName) -> Option<Bytes> {
        match self.part(name).get(name)? {
            Slot::Held(record) => Some(record.clone()),
            Slot::Reading(_) => None,
        }
    }

    /// To be called before the question is sent on connection `line`. `None` where there is no room.
    pub(super) fn begin(&self, name: HeldName, line: u64) -> Option<Reading<'_>> {
        let ticket = self.next.fetch_add(1, SeqCst);
        let mut part = self.part(&name);
        if part.len() >= self.most && !part.contains_key(&name) {
            // Any will do: it is asked for again if it is used again.
            let held = |slot: &Slot| matches!(slot, Slot::Held(_));
            let victim = *part.iter().find(|(_, slot)| held(slot))?.0;
            part.remove(&victim);
        }
        part.insert(name, Slot::Reading(ticket));
        Some(Reading {
            shelf: self,
            name,
            ticket,
            line,
        })
    }

    /// The key changed, or is about to.
    pub(super) fn forget(&self, name: &HeldName) {
        self.part(name).remove(name);
    }

    /// Everything may have changed.
    pub(super) fn clear(&self) {
        for part in &self.parts {
            lock(part).clear();
        }
    }

    /// From now on only what is read on this connection is held.
    pub(super) fn follow(&self, line: u64) {
        self.line.store(line, SeqCst);
        // After the number: whoever puts something there beside this has it cleared away, or is refused.
        self.clear();
    }

    /// How many are held.
    pub(super) fn count(&self) -> usize {
        let held = |slot: &&Slot| matches!(slot, Slot::Held(_));
        let parts = self.parts.iter();
        parts
            .map(|part| lock(part).values().filter(held).count())
            .sum()
    }

    fn part(&self, name: &HeldName) -> MutexGuard<'_, HashMap<HeldName, Slot>> {
        lock(&self.parts[usize::from(name[0]) % PARTS])
    }
}

/// Nothing panics while it holds the lock, and each step leaves it whole.
fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reading<'_> {
    /// What the answer was; says whether it is held from now on.
    pub(super) fn read(self, record: &Bytes) -> bool {
        let mut part = self.shelf.part(&self.name);
        let undisturbed =
            matches!(part.get(&self.name), Some(Slot::Reading(t)) if *t == self.ticket);
        let held =
            undisturbed && self.shelf.line.load(SeqCst) == self.line && record.len() <= LONGEST;
        if held {
            part.insert(self.name, Slot::Held(record.clone()));
        }
        held
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut part = self.shelf.part(&self.name);
        if matches!(part.get(&self.name), Some(Slot::Reading(t)) if *t == self.ticket) {
            part.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: HeldName = [b'a'; 43];

    fn shelf() -> Shelf {
        let shelf = Shelf::new(32);
        shelf.follow(1);
        shelf
    }

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    /// Every order of a reading, a second reading, a change heard of, and the end of the connection: what is held at the
    /// end was read after the last change, on the connection of now.
    #[test]
    fn nothing_is_held_that_somebody_changed_meanwhile() {
        for order in orders(&["ask1", "answer1", "ask2", "answer2", "change", "reconnect"]) {
            let place = |step| order.iter().position(|s| *s == step).unwrap();
            if place("ask1") > place("answer1") || place("ask2") > place("answer2") {
                continue;
            }
            let shelf = shelf();
            let (mut line, mut version) = (1, "old");
            let mut readings = [None, None];
            for step in &order {
                match *step {
                    "ask1" => readings[0] = Some((shelf.begin(A, line).unwrap(), version)),
                    "ask2" => readings[1] = Some((shelf.begin(A, line).unwrap(), version)),
                    "answer1" | "answer2" => {
                        let which = usize::from(*step == "answer2");
                        let (reading, version) = readings[which].take().unwrap();
                        reading.read(&bytes(version));
                    }
                    "change" => {
                        version = "new";
                        shelf.forget(&A);
                    }
                    _ => {
                        line = 2;
                        shelf.follow(line);
                    }
                }
            }
            if let Some(held) = shelf.get(&A) {
                assert_eq!(held, bytes(version), "{order:?}");
                let answers = [("ask1", "answer1"), ("ask2", "answer2")];
                let good = answers.iter().any(|(ask, answer)| {
                    place(ask) > place("change").max(place("reconnect"))
                        && place(answer) < order.len()
                });
                assert!(good, "{order:?}");
            }
        }
    }

    fn orders(steps: &[&'static str]) -> Vec<Vec<&'static str>> {
        let Some((first, rest)) = steps.split_first() else {
            return vec![Vec::new()];
        };
        let mut all = Vec::new();
        for order in orders(rest) {
            for at in 0..=order.len() {
                let mut order = order.clone();
                order.insert(at, first);
                all.push(order);
            }
        }
        all
    }

    #[test]
    fn a_reading_of_an_earlier_connection_is_not_held() {
        let shelf = shelf();
        shelf.follow(2);
        let late = shelf.begin(A, 1).unwrap();
        assert!(!late.read(&bytes("old")));
        assert_eq!(shelf.get(&A), None);
        assert!(shelf.begin(A, 2).unwrap().read(&bytes("new")));
    }

    #[test]
    fn a_reading_that_was_given_up_leaves_nothing() {
        let shelf = shelf();
        drop(shelf.begin(A, 1));
        assert!(shelf.parts.iter().all(|part| lock(part).is_empty()));
    }

    #[test]
    fn the_number_is_bounded_and_large_records_are_not_held() {
        let shelf = shelf();
        for n in 0..200_u8 {
            let name = [n; 43];
            if let Some(reading) = shelf.begin(name, 1) {
                reading.read(&bytes("x"));
            }
        }
        assert!((1..=32).contains(&shelf.count()), "{}", shelf.count());
        let large = Bytes::from(vec![0; LONGEST + 1]);
        assert!(!shelf.begin(A, 1).unwrap().read(&large));
        assert_eq!(shelf.get(&A), None);
    }
}
