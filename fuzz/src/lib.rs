//! The targets themselves are `tests/it/hostile`, where the crate's own tests replay their seeds. Here is what only the
//! fuzzer needs: a bound on memory.

#[path = "../../tests/it/hostile/mod.rs"]
pub mod hostile;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fs,
    path::Path,
};

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Counts what this thread holds.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn note(change: isize) {
    // Nothing is counted while the thread ends.
    let _ = HELD.try_with(|held| {
        let now = held.get() + change;
        held.set(now);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now)));
    });
}

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size as isize - layout.size() as isize);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Runs what an input causes: it must not hold more than a mebibyte and a hundred times its own length.
pub fn bounded(input: &[u8], run: impl FnOnce(&[u8])) {
    let before = HELD.get();
    PEAK.set(before);
    run(input);
    let most = PEAK.get() - before;
    let allowed = (1 << 20) + 100 * input.len() as isize;
    assert!(
        most < allowed,
        "{most} bytes for an input of {}",
        input.len()
    );
}

/// Puts the seeds of a target where libFuzzer is about to look for them.
pub fn sow(name: &str) {
    let target = hostile::TARGETS.iter().find(|target| target.name == name);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    fs::create_dir_all(&folder).expect("a folder for the corpus");
    for (number, seed) in target
        .expect("a target of this name")
        .seeds
        .iter()
        .enumerate()
    {
        fs::write(folder.join(format!("seed-{number:02}")), seed).expect("a seed");
    }
}
