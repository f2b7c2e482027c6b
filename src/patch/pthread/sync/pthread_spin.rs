//! Spin locks.
//!
//! Next: `patch/pthread/sync/pthread_barrier.rs`.

use super::take::hub;
use crate::patch::real;
use crate::patch::symbol::interpose;
use libc::{c_int, pthread_spinlock_t};

interpose! { Locks;
    /// See pthread_spin_lock(3). A parked green thread of the same OS thread may have the lock.
    fn pthread_spin_lock(lock: *mut pthread_spinlock_t) -> c_int,
        "C" => "lets the others run while it is taken";
    {
        let Some(hub) = hub() else { return real::pthread_spin_lock(lock) };
        while libc::pthread_spin_trylock(lock) != 0 {
            hub.yield_now();
        }
        0
    }
}
