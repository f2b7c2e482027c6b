//! One-time initialisation.
//!
//! Next: `patch/pthread/sync/posix_semaphore.rs`.

use super::take::{is_patched, wait_while, wake};
use crate::patch::symbol::interpose;
use libc::{c_int, pthread_once_t};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

const BEGUN: u32 = 1;
/// Has the same meaning for the C library, which changes the word atomically, too.
const DONE: u32 = 2;

/// Stores `state` and wakes all waiters when it is dropped. If the initialiser unwinds, the state is 0: not initialised.
struct StoreOnDrop<'a>(&'a AtomicU32, u32);

impl Drop for StoreOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(self.1, Release);
        wake(self.0.as_ptr(), usize::MAX);
    }
}

interpose! { Locks, "C-unwind";
    /// See pthread_once(3). `init` may block, and other green threads may call this meanwhile.
    fn pthread_once(once: *mut pthread_once_t, init: unsafe extern "C-unwind" fn()) -> c_int,
        "C, C++" => "parks while another thread initialises";
    {
        if !is_patched() {
            return Real::pthread_once(once, init);
        }
        let word = &*once.cast::<AtomicU32>();
        loop {
            let seen = word.load(Acquire);
            if seen & DONE != 0 {
                return 0;
            }
            if seen & BEGUN != 0 {
                _ = wait_while(word, None, || word.load(Acquire) == seen);
            } else if word.compare_exchange(seen, BEGUN, Acquire, Relaxed).is_ok() {
                let mut end = StoreOnDrop(word, 0);
                init();
                end.1 = DONE;
                return 0;
            }
        }
    }
}
