//! Spin locks.

use super::*;

/// See pthread_spin_lock(3). Who has it may be a green thread of this very OS thread, parked.
///
/// # Safety
/// `lock` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_spin_lock(lock: *mut pthread_spinlock_t) -> c_int {
    let Some(hub) = hub() else {
        // SAFETY: the caller's.
        return unsafe { real::pthread_spin_lock(lock) };
    };
    // SAFETY: the caller's.
    while unsafe { libc::pthread_spin_trylock(lock) } != 0 {
        hub.yield_now();
    }
    0
}
