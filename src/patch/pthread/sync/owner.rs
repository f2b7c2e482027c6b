//! The thread id by which C's locks know their owner: for a green thread its own number, for an OS thread the kernel's.
//!
//! Next: `patch/pthread/sync/pthread_mutex.rs`, the locks that note it.

use crate::tls::{Tcb, is_enabled, with_green_tls};

/// Returns the thread id that C's locks note when the caller takes them.
pub(super) fn mutex_owner_tid() -> Option<i32> {
    // SAFETY: the block is loaded.
    let own = || is_enabled().then(|| unsafe { *Tcb::loaded().tid_word() });
    with_green_tls(|green| green.number.get()).or_else(own).map(|tid| tid as i32)
}

/// Calls `f` while the caller's thread control block notes the thread id that C's locks are to note. `f` does not switch.
pub(super) fn with_green_tid<R>(f: impl FnOnce() -> R) -> R {
    let Some(number) = with_green_tls(|green| green.number.get()) else { return f() };
    let word = Tcb::loaded().tid_word();
    // SAFETY: a green thread's block, which is loaded. The kernel does not read the word, and `f` does not switch.
    unsafe {
        let tid = word.replace(number);
        let result = f();
        word.write(tid);
        result
    }
}
