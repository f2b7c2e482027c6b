//! Threads, and their ways to wait for each other, interposed.
//!
//! | file                | concept                                                          |
//! |---------------------|------------------------------------------------------------------|
//! | `futex_call.rs`     | `syscall(SYS_futex, ...)`, by which all of `std::sync` blocks     |
//! | `pthread_create.rs`, `pthread_exit.rs`, `pthread_join.rs` | making, ending and joining threads |
//! | `pthread_attr.rs`   | name, stack and signals of a thread                              |
//! | `pthread_key.rs`    | destructors of keys and of thread-locals                         |
//! | `pthread_sigmask.rs` | signals that a thread has blocked                               |
//! | `fork_calls.rs`     | `fork`, and functions that call it                               |
//! | `sync/`             | C's mutexes, conditions, read-write locks, semaphores, barriers  |
//! | `clock_time.rs`     | absolute times of C's clocks                                     |
//!
//! Calls made by OS threads without a hub, and those made before the patch, go to the C library.
//!
//! Next: `patch/pthread/futex_call.rs`.

mod clock_time;
mod fork_calls;
mod futex_call;
mod pthread_attr;
mod pthread_create;
mod pthread_exit;
mod pthread_join;
mod pthread_key;
mod pthread_sigmask;
mod sync;

use super::kind::Covered;
use crate::api::current_hub::current_or_init;

pub(super) const COVERAGE: &[&[Covered]] = &[
    futex_call::COVERAGE,
    pthread_key::COVERAGE,
    fork_calls::COVERAGE,
    pthread_sigmask::COVERAGE,
    sync::pthread_mutex::COVERAGE,
    sync::pthread_cond::COVERAGE,
    sync::pthread_rwlock::COVERAGE,
    sync::pthread_barrier::COVERAGE,
    sync::pthread_once::COVERAGE,
    sync::posix_semaphore::COVERAGE,
    pthread_create::COVERAGE,
    pthread_join::COVERAGE,
    pthread_exit::COVERAGE,
    pthread_attr::COVERAGE,
];

/// Checks whether locks and threads can be patched, and prepares for it. Nothing is patched yet.
pub(super) fn support() -> Result<(), String> {
    crate::tls::probe()?;
    sync::probe()?;
    reach_hub()?;
    crate::tls::enable_per_green_tcb();
    Ok(())
}

/// Makes the hub of this OS thread, and makes it reachable from other OS threads.
pub(super) fn reach_hub() -> Result<(), String> {
    let hub = current_or_init().ok_or("this OS thread is ending")?;
    hub.inbox().map_err(|error| error.to_string())?;
    Ok(())
}
