//! C's locks. Rust's std does not use them; C libraries do.
//!
//! Each is the C library's own object still, so that OS threads without a hub use it as ever. A green thread
//! *tries* to take it, by the C library's own function; where that does not do, it waits in our table at the
//! object's address, and tries again when woken. Whoever releases it, on whichever OS thread, releases it by the
//! C library's function, and then wakes who waits in the table. The owner that the C library notes is the green
//! thread ([`as_owner`]).
//!
//! Conditions and barriers, which cannot be tried, are made of the table alone; OS threads wait there, too.
//!
//! Not so: mutexes with priority inheritance or a robust list, which the kernel knows by its own thread ids, and
//! conditions that are shared between processes. Those block the OS thread, as they do without us. Other objects
//! that processes share are looked at anew every few milliseconds, for the other process cannot wake us.
//!
//! | file | is about |
//! |---|---|
//! | `mutex.rs` | mutexes |
//! | `condition.rs` | conditions |
//! | `rwlock.rs` | read-write locks |
//! | `spin.rs` | spin locks |
//! | `barrier.rs` | barriers |
//! | `once.rs` | `pthread_once` |
//! | `semaphore.rs` | semaphores |
//!
//! Here: what they share.

mod barrier;
mod condition;
mod mutex;
mod once;
mod owner;
mod rwlock;
mod semaphore;
mod spin;

use super::{Kind, check, deadline, is_clock, patched_hub, real, set_errno};
use crate::hub::Hub;
use crate::hub::futex;
use crate::hub::futex::{FutexWaitResult, Waiter};
use crate::time::{NEVER, Time};
use libc::{
    c_int, c_uint, clockid_t, pthread_barrier_t, pthread_barrierattr_t, pthread_cond_t, pthread_mutex_t,
    pthread_once_t, pthread_rwlock_t, pthread_spinlock_t, sem_t, timespec,
};
use owner::{mutex_owner_tid, with_green_tid};
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};
use std::time::Duration;

/// The waker of any.
const ANY: u32 = u32::MAX;
/// How long one waits for what another process may release, before it tries again.
const SHARED: Duration = Duration::from_millis(5);

fn hub() -> Option<&'static Hub> {
    patched_hub(Kind::Locks)
}

fn is_patched() -> bool {
    crate::patch::is_patched(Kind::Locks)
}

/// Wakes `most` of those that wait for the object at `address`.
fn wake<T>(address: *mut T, most: usize) {
    if is_patched() {
        futex::wake(address as usize, most, ANY);
    }
}

/// `pthread_mutex_t`: the owner's thread id.
const MUTEX_OWNER: usize = 8;
/// `pthread_mutex_t`: 1 recursive, 2 error-checking; and flags.
const MUTEX_KIND: usize = 16;
const MUTEX_KERNEL: i32 = 16 | 32 | 64; // robust, priority inheritance, priority ceiling
const MUTEX_SHARED: i32 = 128;
const ERRORCHECK: i32 = 2;
/// `pthread_cond_t`: flags.
const COND_FLAGS: usize = 36;
const COND_SHARED: i32 = 1;
const COND_MONOTONIC: i32 = 2;
/// `pthread_rwlock_t`: the thread id of the writer that has it.
const RWLOCK_WRITER: usize = 24;
/// `pthread_rwlock_t`: not 0 if processes share it.
const RWLOCK_SHARED: usize = 28;
/// `sem_t`: not 0 if processes share it.
const SEM_SHARED: usize = 8;

/// # Safety
/// `object` points to an object of the C library that has an `int` there: `probe` has looked.
unsafe fn field<T>(object: *const T, at: usize) -> i32 {
    // SAFETY: the caller's. Others may write it meanwhile, and do so atomically.
    unsafe { (*object.byte_add(at).cast::<AtomicI32>()).load(Relaxed) }
}

/// Looks whether these are where they are expected.
pub(super) fn probe() -> Result<(), &'static str> {
    // SAFETY: each object is initialised, looked at and destroyed; nobody else has it.
    unsafe {
        let mut attr = MaybeUninit::uninit();
        libc::pthread_mutexattr_init(attr.as_mut_ptr());
        libc::pthread_mutexattr_settype(attr.as_mut_ptr(), libc::PTHREAD_MUTEX_ERRORCHECK);
        libc::pthread_mutexattr_setpshared(attr.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
        let mut mutex = MaybeUninit::<pthread_mutex_t>::zeroed();
        libc::pthread_mutex_init(mutex.as_mut_ptr(), attr.as_ptr());
        real::pthread_mutex_lock(mutex.as_mut_ptr());
        let (owner, kind) = (field(mutex.as_ptr(), MUTEX_OWNER), field(mutex.as_ptr(), MUTEX_KIND));
        real::pthread_mutex_unlock(mutex.as_mut_ptr());
        libc::pthread_mutex_destroy(mutex.as_mut_ptr());
        libc::pthread_mutexattr_destroy(attr.as_mut_ptr());
        if i64::from(owner) != libc::syscall(libc::SYS_gettid) as i64 || kind != ERRORCHECK | MUTEX_SHARED {
            return Err("a pthread_mutex_t is not laid out as expected");
        }

        let cond_flags = |clock, shared| {
            let (mut attr, mut cond) = (MaybeUninit::uninit(), MaybeUninit::<pthread_cond_t>::zeroed());
            libc::pthread_condattr_init(attr.as_mut_ptr());
            libc::pthread_condattr_setclock(attr.as_mut_ptr(), clock);
            libc::pthread_condattr_setpshared(attr.as_mut_ptr(), shared);
            libc::pthread_cond_init(cond.as_mut_ptr(), attr.as_ptr());
            let flags = field(cond.as_ptr(), COND_FLAGS);
            libc::pthread_cond_destroy(cond.as_mut_ptr());
            libc::pthread_condattr_destroy(attr.as_mut_ptr());
            flags
        };
        let (private, shared) = (libc::PTHREAD_PROCESS_PRIVATE, libc::PTHREAD_PROCESS_SHARED);
        if cond_flags(libc::CLOCK_REALTIME, private) != 0
            || cond_flags(libc::CLOCK_MONOTONIC, private) != COND_MONOTONIC
            || cond_flags(libc::CLOCK_REALTIME, shared) != COND_SHARED
        {
            return Err("a pthread_cond_t is not laid out as expected");
        }

        let rwlock_shared = |shared| {
            let (mut attr, mut lock) = (MaybeUninit::uninit(), MaybeUninit::<pthread_rwlock_t>::zeroed());
            libc::pthread_rwlockattr_init(attr.as_mut_ptr());
            libc::pthread_rwlockattr_setpshared(attr.as_mut_ptr(), shared);
            libc::pthread_rwlock_init(lock.as_mut_ptr(), attr.as_ptr());
            let field_shared = field(lock.as_ptr(), RWLOCK_SHARED);
            real::pthread_rwlock_wrlock(lock.as_mut_ptr());
            let writer = field(lock.as_ptr(), RWLOCK_WRITER);
            real::pthread_rwlock_unlock(lock.as_mut_ptr());
            libc::pthread_rwlock_destroy(lock.as_mut_ptr());
            libc::pthread_rwlockattr_destroy(attr.as_mut_ptr());
            (field_shared != 0, writer == owner)
        };
        if rwlock_shared(private) != (false, true) || rwlock_shared(shared) != (true, true) {
            return Err("a pthread_rwlock_t is not laid out as expected");
        }

        let sem_shared = |shared| {
            let mut sem = MaybeUninit::<sem_t>::zeroed();
            libc::sem_init(sem.as_mut_ptr(), shared, 1);
            let field = field(sem.as_ptr(), SEM_SHARED);
            libc::sem_destroy(sem.as_mut_ptr());
            field != 0
        };
        if sem_shared(0) || !sem_shared(1) {
            return Err("a sem_t is not laid out as expected");
        }
    }
    Ok(())
}

/// How it went with an object that is tried.
enum Taken {
    /// Had, or refused: the C library's answer.
    Answer(c_int),
    Expired,
    Interrupted,
    /// Nobody here can release it, or wake us: block in the C library.
    Block,
}

/// Tries `attempt` until it answers something else than `EBUSY`, waiting at `address` in between.
fn take<T>(
    hub: &'static Hub,
    address: *mut T,
    limit: Time,
    shield: bool,
    shared: bool,
    attempt: impl Fn() -> c_int,
) -> Taken {
    loop {
        let mut answer = attempt();
        if answer != libc::EBUSY {
            return Taken::Answer(answer);
        }
        let deadline = if shared { limit.min(hub.clock().after(SHARED)) } else { limit };
        let who = Waiter::Green { hub, deadline, shield };
        let still = || {
            answer = attempt();
            answer == libc::EBUSY
        };
        match futex::wait(who, address as usize, ANY, still) {
            FutexWaitResult::Refused => return Taken::Answer(answer),
            FutexWaitResult::Expired if deadline < limit => {}
            FutexWaitResult::Expired => return Taken::Expired,
            FutexWaitResult::Interrupted => return Taken::Interrupted,
            FutexWaitResult::Unreachable => return Taken::Block,
            FutexWaitResult::Deadlocked => {
                hub.tell_deadlock(address as usize);
                return Taken::Block;
            }
            FutexWaitResult::Woken => {}
        }
    }
}

/// `take`, for locks: these are not interrupted. `None`: block in the C library.
fn lock<T>(
    hub: &'static Hub,
    address: *mut T,
    until: Option<(clockid_t, timespec)>,
    shared: bool,
    attempt: impl Fn() -> c_int,
) -> Option<c_int> {
    let limit = match until.map(|(clock, until)| deadline(hub, clock, until)) {
        None => NEVER,
        Some(Ok(limit)) => limit,
        // Only who would have to wait is told so.
        Some(Err(number)) => {
            let answer = attempt();
            return Some(if answer == libc::EBUSY { number } else { answer });
        }
    };
    match take(hub, address, limit, true, shared, attempt) {
        Taken::Answer(answer) => Some(answer),
        Taken::Expired => Some(libc::ETIMEDOUT),
        Taken::Interrupted | Taken::Block => None,
    }
}
