//! Threads and what they wait for each other by, interposed.
//!
//! | file          | is about                                                        |
//! |---------------|-----------------------------------------------------------------|
//! | `futex.rs`    | `syscall(SYS_futex, ...)`, by which all of `std::sync` blocks    |
//! | `thread.rs`   | making, joining, ending threads                                 |
//! | `identity.rs` | what a thread is asked about itself; its destructors            |
//! | `fork.rs`     | `fork`, and what is made of it                                  |
//! | `mask.rs`     | which signals a thread has blocked                              |
//! | `sync/`       | C's mutexes, conditions, read-write locks, semaphores, barriers |
//! | `real.rs`     | the C library's own functions, behind these                     |
//!
//! Calls made by OS threads without a hub, and those made before the patch, go to the C library.

mod fork;
mod futex;
pub(super) mod real;
mod sigmask;
mod sync;
mod thread;
mod thread_attr;

use super::{Covered, Kind, Unsupported, patched_hub};
use crate::api::current::current_or_init;
use crate::hub::Hub;
use crate::sys::sigset::Signals;
use crate::time::Time;
use libc::{c_int, clockid_t, timespec};
use std::time::Duration;

pub(super) const COVERAGE: &[&[Covered]] = &[ALL];

const ALL: &[Covered] = {
    const fn covered(
        kind: Kind,
        symbol: &'static str,
        called_by: &'static str,
        when_patched: &'static str,
    ) -> Covered {
        Covered { symbol, kind, called_by, when_patched }
    }
    use Kind::{Locks, Threads};
    const C: &str = "C";
    &[
        covered(
            Locks,
            "syscall",
            "std::sync, std::thread::park, parking_lot; anybody",
            "FUTEX_WAIT and its like park; FUTEX_WAKE and its like wake green threads, then OS threads; all else, \
             and futexes with priority inheritance, go to the kernel",
        ),
        covered(
            Locks,
            "__cxa_thread_atexit_impl",
            "thread_local!, C++",
            "a green thread's destructors run when it ends",
        ),
        covered(Locks, "pthread_key_create", "std, C", "noted, so that a green thread's destructors run"),
        covered(Locks, "__pthread_key_create", "libgcc", "the same"),
        covered(Locks, "pthread_key_delete", "std, C", "noted"),
        covered(Locks, "fork", "C, std::process", "runs on the OS thread's own thread control block"),
        covered(Locks, "_Fork", C, "the same"),
        covered(Locks, "vfork", C, "is fork, patched or not"),
        covered(Locks, "forkpty", C, "as fork"),
        covered(Locks, "daemon", C, "as fork"),
        covered(
            Locks,
            "pthread_sigmask",
            "std::process, C",
            "what a green thread blocks is blocked while it runs",
        ),
        covered(Locks, "sigprocmask", "std::process, C", "the same"),
        covered(Locks, "pthread_mutex_lock", C, "parks; the owner is the green thread"),
        covered(Locks, "pthread_mutex_trylock", C, "the owner is the green thread"),
        covered(Locks, "pthread_mutex_timedlock", C, "parks"),
        covered(Locks, "pthread_mutex_clocklock", C, "parks"),
        covered(Locks, "pthread_mutex_unlock", C, "wakes a green thread, too"),
        covered(Locks, "pthread_cond_wait", C, "parks; may end early for a kill or a timeout"),
        covered(Locks, "pthread_cond_timedwait", C, "the same"),
        covered(Locks, "pthread_cond_clockwait", C, "the same"),
        covered(Locks, "pthread_cond_signal", C, "wakes a green thread, else an OS thread"),
        covered(Locks, "pthread_cond_broadcast", C, "wakes all of both"),
        covered(Locks, "pthread_rwlock_rdlock", C, "parks"),
        covered(Locks, "pthread_rwlock_tryrdlock", C, "as the green thread"),
        covered(Locks, "pthread_rwlock_timedrdlock", C, "parks"),
        covered(Locks, "pthread_rwlock_clockrdlock", C, "parks"),
        covered(Locks, "pthread_rwlock_wrlock", C, "parks"),
        covered(Locks, "pthread_rwlock_trywrlock", C, "the writer is the green thread"),
        covered(Locks, "pthread_rwlock_timedwrlock", C, "parks"),
        covered(Locks, "pthread_rwlock_clockwrlock", C, "parks"),
        covered(Locks, "pthread_rwlock_unlock", C, "wakes green threads, too"),
        covered(Locks, "pthread_spin_lock", C, "lets the others run while it is taken"),
        covered(Locks, "pthread_barrier_init", C, "makes a barrier that both kinds of thread can wait at"),
        covered(Locks, "pthread_barrier_wait", C, "parks"),
        covered(Locks, "pthread_barrier_destroy", C, "lets the others run until they have left"),
        covered(Locks, "pthread_once", "C, C++", "parks while another thread initialises"),
        covered(Locks, "sem_wait", C, "parks; EINTR for a kill or a timeout"),
        covered(Locks, "sem_timedwait", C, "the same"),
        covered(Locks, "sem_clockwait", C, "the same"),
        covered(Locks, "sem_post", C, "wakes a green thread, too"),
        covered(Threads, "pthread_create", "std::thread, C", "makes a green thread"),
        covered(
            Threads,
            "pthread_join",
            "std::thread, C",
            "parks; for an OS thread, while a helper of its own joins it",
        ),
        covered(Threads, "pthread_tryjoin_np", C, "answers for green threads, too"),
        covered(Threads, "pthread_timedjoin_np", C, "parks"),
        covered(Threads, "pthread_clockjoin_np", C, "parks"),
        covered(Threads, "pthread_detach", "std::thread, C", "answers for green threads, too"),
        covered(Threads, "pthread_exit", C, "unwinds the green thread"),
        covered(Threads, "pthread_cancel", C, "ENOTSUP for a green thread"),
        covered(Threads, "pthread_kill", C, "for a green thread, signals its OS thread"),
        covered(
            Threads,
            "pthread_getattr_np",
            "std::thread",
            "the green thread's stack, guard page included",
        ),
        covered(Threads, "pthread_setname_np", "std::thread", "names the green thread, not the OS thread"),
        covered(Threads, "pthread_getname_np", C, "the green thread's name"),
    ]
};

/// Looks whether it can be done, and makes ready; nothing is patched yet.
pub(super) fn support() -> Result<(), Unsupported> {
    crate::tls::probe().map_err(Unsupported::new)?;
    sync::probe().map_err(Unsupported::new)?;
    reach_hub()?;
    crate::tls::enable_per_green_tcb();
    Ok(())
}

/// Makes the hub of this OS thread, and has it reachable from others.
pub(super) fn reach_hub() -> Result<(), Unsupported> {
    let hub = current_or_init().ok_or_else(|| Unsupported::new("this OS thread is ending"))?;
    hub.inbox().map_err(|error| Unsupported::new(error.to_string()))?;
    Ok(())
}

/// The length of a `timespec`; an error number for one that the kernel refuses.
fn length(time: timespec) -> Result<Duration, c_int> {
    let nanos = u32::try_from(time.tv_nsec).ok().filter(|&nanos| nanos < 1_000_000_000);
    match (nanos, u64::try_from(time.tv_sec)) {
        (Some(nanos), Ok(seconds)) => Ok(Duration::new(seconds, nanos)),
        _ => Err(libc::EINVAL),
    }
}

/// Whether it is a clock that threads may wait by. C refuses others even to who need not wait.
fn is_clock(clock: clockid_t) -> bool {
    matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC)
}

/// The error number for an absolute time that C refuses, or a clock.
fn check((clock, until): (clockid_t, timespec)) -> Result<(), c_int> {
    let is_time = (0..1_000_000_000).contains(&until.tv_nsec);
    if is_clock(clock) && is_time { Ok(()) } else { Err(libc::EINVAL) }
}

/// The hub's time for an absolute time of a clock. The past is now.
fn deadline(hub: &Hub, clock: clockid_t, until: timespec) -> Result<Time, c_int> {
    check((clock, until))?;
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is ours.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    // A time before the clock's own beginning has passed.
    let until = if until.tv_sec < 0 { Duration::ZERO } else { length(until)? };
    Ok(hub.clock().after(until.saturating_sub(length(now)?)))
}

/// `errno`'s way of a raw answer: -1 and the number.
fn with_errno(answer: isize) -> isize {
    if (-4095..0).contains(&answer) {
        set_errno(-answer as c_int);
        return -1;
    }
    answer
}

fn set_errno(number: c_int) {
    // SAFETY: the address is this thread's own.
    unsafe { *libc::__errno_location() = number };
}
