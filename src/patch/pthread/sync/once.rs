//! What is done once.

use super::barrier::wait_while;
use super::*;

const BEGUN: u32 = 1;
const DONE: u32 = 2;

/// See pthread_once(3). `init` may block, and other green threads come here meanwhile.
///
/// # Safety
/// `once` is initialised; `init` may be called.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_once(
    once: *mut pthread_once_t,
    init: unsafe extern "C-unwind" fn(),
) -> c_int {
    if !is_patched() {
        // SAFETY: the caller's.
        return unsafe { real::pthread_once(once, init) };
    }
    /// An initialiser that unwinds has not initialised.
    struct Undo<'a>(&'a AtomicU32);
    impl Drop for Undo<'_> {
        fn drop(&mut self) {
            self.0.store(0, Release);
            wake(self.0.as_ptr(), usize::MAX);
        }
    }
    // SAFETY: the caller's; an int, which the C library changes atomically, too, and in which it means the same by
    // "done".
    let word = unsafe { &*once.cast::<AtomicU32>() };
    loop {
        let seen = word.load(Acquire);
        if seen & DONE != 0 {
            return 0;
        }
        if seen & BEGUN != 0 {
            wait_while(word, seen);
        } else if word.compare_exchange(seen, BEGUN, Acquire, Relaxed).is_ok() {
            let undo = Undo(word);
            // SAFETY: the caller's.
            unsafe { init() };
            std::mem::forget(undo);
            word.store(DONE, Release);
            wake(word.as_ptr(), usize::MAX);
            return 0;
        }
    }
}
