//! Threads, and their ways to wait for each other, interposed.
//!
//! | file             | concept                                                          |
//! |------------------|------------------------------------------------------------------|
//! | `futex.rs`       | `syscall(SYS_futex, ...)`, by which all of `std::sync` blocks     |
//! | `thread.rs`, `exit.rs`, `join.rs` | making, ending and joining threads              |
//! | `thread_attr.rs` | name, stack and signals of a thread                              |
//! | `destructors.rs` | destructors of thread-locals and of keys                         |
//! | `fork.rs`        | `fork`, and functions that call it                               |
//! | `sigmask.rs`     | signals that a thread has blocked                                |
//! | `sync/`          | C's mutexes, conditions, read-write locks, semaphores, barriers  |
//! | `clock.rs`       | absolute times of C's clocks                                     |
//! | `real.rs`        | the C library's own functions                                    |
//!
//! Calls made by OS threads without a hub, and those made before the patch, go to the C library.
//!
//! Next: `patch/pthread/futex.rs`.

mod clock;
mod destructors;
mod exit;
mod fork;
mod futex;
mod join;
pub(super) mod real;
mod sigmask;
mod sync;
mod thread;
mod thread_attr;

use super::kind::Covered;
use crate::api::current::current_or_init;

pub(super) const COVERAGE: &[&[Covered]] = &[
    futex::COVERAGE,
    destructors::COVERAGE,
    fork::COVERAGE,
    sigmask::COVERAGE,
    sync::mutex::COVERAGE,
    sync::condition::COVERAGE,
    sync::rwlock::COVERAGE,
    sync::spin::COVERAGE,
    sync::barrier::COVERAGE,
    sync::once::COVERAGE,
    sync::semaphore::COVERAGE,
    thread::COVERAGE,
    join::COVERAGE,
    exit::COVERAGE,
    thread_attr::COVERAGE,
];

/// Checks whether locks and threads can be patched, and prepares for it. Nothing is patched yet.
pub(super) fn support() -> Result<(), String> {
    crate::tls::probe()?;
    sync::probe::probe()?;
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
