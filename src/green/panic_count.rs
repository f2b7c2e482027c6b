//! std's count of panics, kept apart for each green thread.
//!
//! std counts the panics of an OS thread in a thread-local that it does not show. A green thread that
//! blocks in a destructor while it unwinds would leave that count raised, and all the others on its OS
//! thread would see `thread::panicking()`: a `Mutex` would be poisoned by nobody, or not by whoever should.
//! So a green thread that is switched out while unwinding takes its count along.
//!
//! The count has no public name; it is found by looking. Once per OS thread, when its hub is made, we unwind a
//! value and compare the thread's block of thread-local storage before, while and after: the count is the
//! one word that was n, then n + 1, then n again, and while it is set to 0 `thread::panicking()` is false.
//! Unless exactly one word answers to that, nothing is ever written, and the limit above stands; the log
//! says so.
//!
//! A green thread with a thread control block of its own (see `tcb`) has a count of its own, and none of this
//! is needed.
#![allow(unsafe_code)]

use crate::arch::thread_pointer;
use crate::sys::tls_segments::{TlsSegment, tls_segments};
use crate::tls::is_green;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicIsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::panicking;

thread_local! {
    static COUNT: Cell<Search> = const { Cell::new(Search::NotYet) };
}

/// How far from the thread pointer the count was found; 0: not yet, or not at the same place in each thread.
static DISTANCE: AtomicIsize = AtomicIsize::new(0);

#[derive(Clone, Copy)]
enum Search {
    NotYet,
    Failed,
    /// The address of the count, valid as long as this OS thread.
    Found(*mut usize),
}

/// A panic count that was taken along. Put it back before anything else is done on that stack.
pub(crate) struct PanicCount(Option<usize>);

impl PanicCount {
    /// Takes the current count away: call when about to leave a stack that is unwinding.
    pub(crate) fn take() -> PanicCount {
        if is_green() { PanicCount(None) } else { PanicCount(swap(0)) }
    }

    /// The same between a generator and who asks it, who share one count in any case.
    #[inline]
    pub(crate) fn take_along() -> PanicCount {
        if !panicking() {
            return PanicCount(None);
        }
        if let Search::NotYet = COUNT.get() {
            // A block of a green thread's own, in which nobody has looked; and where a generator yields, no panic hook
            // runs.
            prepare();
        }
        PanicCount(swap(0))
    }

    /// Puts the count back: call when on that stack again.
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
        // SAFETY: `find` has proven it to be a word of this OS thread's own storage, which std accesses
        // as a plain Cell and only from this OS thread.
        Search::Found(word) => Some(unsafe { word.replace(count) }),
        Search::Failed | Search::NotYet => None,
    }
}

/// Looks for the count of who calls. Not in a panic hook: there std counts otherwise.
pub(crate) fn prepare() {
    struct WhileUnwinding;
    impl Drop for WhileUnwinding {
        fn drop(&mut self) {
            look();
        }
    }
    let distance = DISTANCE.load(Relaxed);
    if distance != 0 {
        return COUNT.set(Search::Found(thread_pointer::get().wrapping_add_signed(distance) as *mut usize));
    }
    if panicking() {
        return look();
    }
    let _ = catch_unwind(|| {
        let _look = WhileUnwinding;
        resume_unwind(Box::new(()));
    });
}

/// Looks, while the count is not 0.
fn look() {
    COUNT.set(match find() {
        Some(word) => {
            // The executable's own storage is at the same place in every thread. So the loader, which may be busy or
            // (in the child of a fork) locked for ever, is asked but once.
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
    struct LookWhileUnwinding<'a>(&'a RefCell<Vec<usize>>, &'a [TlsSegment]);
    impl Drop for LookWhileUnwinding<'_> {
        fn drop(&mut self) {
            // Into memory allocated before, so that nothing else changes.
            let mut image = self.0.borrow_mut();
            image.clear();
            words(self.1, &mut image);
        }
    }

    let ranges = tls_segments();
    let len = ranges.iter().map(|range| words_of(range).count()).sum();
    let mut before = Vec::with_capacity(len);
    let during = RefCell::new(Vec::with_capacity(len));
    let mut after = Vec::with_capacity(len);
    words(&ranges, &mut before);
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let _look = LookWhileUnwinding(&during, &ranges);
        resume_unwind(Box::new(()));
    }));
    words(&ranges, &mut after);
    let during = during.into_inner();

    let mut counts = ranges
        .iter()
        .flat_map(words_of)
        .enumerate()
        .filter(|&(n, _)| before[n] > 0 && during[n] == before[n] + 1 && after[n] == before[n])
        .map(|(_, at)| at as *mut usize)
        .filter(|&word| {
            // SAFETY: a readable and writable word of our own storage, put back at once; nothing but
            // `panicking` looks at it in between.
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

/// The addresses of a segment's words.
fn words_of(segment: &TlsSegment) -> impl Iterator<Item = usize> + use<> {
    const WORD: usize = size_of::<usize>();
    let first = segment.at.next_multiple_of(WORD);
    let len = segment.len.saturating_sub(first - segment.at) / WORD * WORD;
    (first..first + len).step_by(WORD)
}

fn words(ranges: &[TlsSegment], into: &mut Vec<usize>) {
    for word in ranges.iter().flat_map(words_of) {
        // SAFETY: mapped and readable as long as this OS thread lives. Volatile, for what lies there belongs to
        // others.
        into.push(unsafe { (word as *const usize).read_volatile() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_taken_along_and_put_back() {
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
