//! The allocator of this binary: the system's, with a count per thread.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    pin::pin,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

thread_local! {
    // Const and without a destructor: touching it never allocates, not even while a thread ends.
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged to the system's allocator; counting neither allocates nor unwinds.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }
}

fn note() {
    // A thread that is ending may have no thread-locals left; it has nothing to count either.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

/// How often `action` allocated (or grew what it had) on this thread. What other threads do does not count.
pub fn count<T>(action: impl FnOnce() -> T) -> (usize, T) {
    let before = COUNT.get();
    let output = action();
    (COUNT.get() - before, output)
}

/// The same for a future: what happens inside its own polls, not what the runtime or other tasks do between them.
pub async fn count_polls<T>(future: impl Future<Output = T>) -> (usize, T) {
    let mut future = pin!(future);
    let mut total = 0;
    let output = std::future::poll_fn(|context| {
        let (polled, state) = count(|| future.as_mut().poll(context));
        total += polled;
        state
    })
    .await;
    (total, output)
}
