//! std's count of panics, kept apart for each green thread.
//!
//! std counts the panics of an OS thread in a thread-local without a public name. If a green thread blocks in a destructor
//! while it unwinds, the count stays raised, and all other green threads of the OS thread see `thread::panicking()`. A
//! `Mutex` would then be poisoned without a panic. So a green thread that leaves its stack while it unwinds takes its count
//! along.
//!
//! The count is found by experiment. Once per OS thread, when its hub is made, we unwind a value and compare the OS thread's
//! thread-local storage before, during and after. The count is the one word that was n, then n + 1, then n again, and while
//! it is set to 0, `thread::panicking()` is false. Unless exactly one word passes, nothing is ever written, the limit above
//! stands, and the log says so.
//!
//! A green thread with its own thread control block (see `tls`) has its own count and needs none of this.
//!
//! Next: `green/completions.rs`.
#![allow(unsafe_code)]

use crate::arch::thread_pointer;
use crate::sys::tls_segments::{TlsSegment, tls_segments};
use crate::tls::is_green;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicIsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::panicking;

thread_local! {
    static COUNT: Cell<Search> = const { Cell::new(Search::NotYet) };
}

/// Distance in bytes of the count from the thread pointer. 0: it was not found yet, or it is not at the same place in each OS
/// thread.
static DISTANCE: AtomicIsize = AtomicIsize::new(0);

#[derive(Clone, Copy)]
enum Search {
    NotYet,
    Failed,
    /// Address of the count, valid as long as this OS thread.
    Found(*mut usize),
}

/// A panic count that was taken along. The caller puts it back before it does anything else on that stack.
pub(crate) struct PanicCount(Option<usize>);

impl PanicCount {
    /// Takes the current count away. Called before leaving a stack that is unwinding.
    pub(crate) fn take() -> PanicCount {
        if is_green() { PanicCount(None) } else { PanicCount(swap(0)) }
    }

    /// As `take`, between a generator and its consumer, which share one count in any case.
    #[inline]
    pub(crate) fn take_along() -> PanicCount {
        if !panicking() {
            return PanicCount(None);
        }
        if let Search::NotYet = COUNT.get() {
            // In a green thread's own thread control block the count was not searched yet. No panic hook runs where a
            // generator yields, so the search is possible.
            prepare();
        }
        PanicCount(swap(0))
    }

    /// Puts the count back. Called on the stack that it was taken from.
    #[inline]
    pub(crate) fn put_back(self) {
        if let Some(count) = self.0 {
            swap(count);
        }
    }
}

#[cold]
fn swap(count: usize) -> Option<usize> {
    match COUNT.get() {
        // SAFETY: `find` has proven that the word lies in this OS thread's storage. std accesses it as a plain Cell and only
        // from this OS thread.
        Search::Found(word) => Some(unsafe { word.replace(count) }),
        Search::Failed | Search::NotYet => None,
    }
}

/// Searches the count of the calling OS thread. Must not be called in a panic hook, where std counts differently.
pub(crate) fn prepare() {
    let distance = DISTANCE.load(Relaxed);
    if distance != 0 {
        return COUNT.set(Search::Found(thread_pointer::get().wrapping_add_signed(distance) as *mut usize));
    }
    if panicking() { look() } else { while_unwinding(look) }
}

/// Calls `f` during the unwind of a value, which raises the count by one.
fn while_unwinding(f: impl FnMut()) {
    struct OnDrop<F: FnMut()>(F);
    impl<F: FnMut()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let _on_drop = OnDrop(f);
        resume_unwind(Box::new(()));
    }));
}

/// Searches while the count is not 0.
fn look() {
    COUNT.set(match find() {
        Some(word) => {
            // The executable's segment is at the same place in every OS thread. So the loader is asked only once; it may be
            // busy, or (in a forked child) locked for ever.
            let is_executables = |segment: &TlsSegment| segment.module == 1 && words_of(segment).any(|at| at == word as usize);
            if tls_segments().iter().any(is_executables) {
                DISTANCE.store((word as usize).wrapping_sub(thread_pointer::get()) as isize, Relaxed);
            }
            Search::Found(word)
        }
        None => {
            log::warn!(
                "std's panic count was not found: while a green thread blocks in a destructor during unwinding, \
                 thread::panicking() is true for the others as well"
            );
            Search::Failed
        }
    });
}

fn find() -> Option<*mut usize> {
    let ranges = tls_segments();
    let len = ranges.iter().map(|range| words_of(range).count()).sum();
    // The memory is allocated first, so that no other word changes meanwhile.
    let [mut before, mut during, mut after] = [(); 3].map(|()| Vec::with_capacity(len));
    words(&ranges, &mut before);
    while_unwinding(|| words(&ranges, &mut during));
    words(&ranges, &mut after);

    let mut counts = ranges
        .iter()
        .flat_map(words_of)
        .enumerate()
        .filter(|&(n, _)| before[n] > 0 && during[n] == before[n] + 1 && after[n] == before[n])
        .map(|(_, at)| at as *mut usize)
        .filter(|&word| {
            // SAFETY: the word lies in this OS thread's own storage and is put back at once. Only `panicking` reads it in
            // between.
            unsafe {
                let count = word.replace(0);
                let is_it = !panicking();
                word.write(count);
                is_it && panicking()
            }
        });
    match (counts.next(), counts.next()) {
        (Some(word), None) => Some(word),
        _ => None,
    }
}

/// Returns the addresses of a segment's words.
fn words_of(segment: &TlsSegment) -> impl Iterator<Item = usize> + use<> {
    const WORD: usize = size_of::<usize>();
    let first = segment.at.next_multiple_of(WORD);
    let len = segment.len.saturating_sub(first - segment.at) / WORD * WORD;
    (first..first + len).step_by(WORD)
}

fn words(ranges: &[TlsSegment], into: &mut Vec<usize>) {
    for word in ranges.iter().flat_map(words_of) {
        // SAFETY: the segment is mapped and readable as long as this OS thread lives. The read is volatile, because other
        // code owns the word.
        into.push(unsafe { (word as *const usize).read_volatile() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_count_take_clears_panicking_until_put_back() {
        prepare();
        struct OnDrop;
        impl Drop for OnDrop {
            fn drop(&mut self) {
                assert!(panicking());
                let taken = PanicCount::take();
                assert!(!panicking(), "std's panic count was not found");
                let caught = catch_unwind(|| resume_unwind(Box::new(1)));
                assert!(caught.is_err() && !panicking());
                taken.put_back();
                assert!(panicking());
            }
        }
        let caught = catch_unwind(|| {
            let _on_drop = OnDrop;
            resume_unwind(Box::new(2));
        });
        assert_eq!(*caught.unwrap_err().downcast::<i32>().unwrap(), 2);
        assert!(!panicking());
    }
}
