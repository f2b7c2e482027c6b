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

use super::{Kind, check, cut_short, deadline, is_clock, patched_hub, real, set_errno};
use crate::futex::{self, Waited, Who};
use crate::hub::Hub;
use crate::tcb::as_owner;
use crate::time::{NEVER, Time};
use libc::{
    c_int, c_uint, clockid_t, pthread_barrier_t, pthread_barrierattr_t, pthread_cond_t, pthread_mutex_t,
    pthread_once_t, pthread_rwlock_t, pthread_spinlock_t, sem_t, timespec,
};
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

/// Wakes `most` of those that wait for the object at `address`.
fn wake<T>(address: *mut T, most: usize) {
    if super::super::is_patched(Kind::Locks) {
        futex::wake(address as usize, most, ANY);
    }
}

// ---- what has to be read out of the C library's objects --------------------------------------------------------

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

// ---- trying until it is had ------------------------------------------------------------------------------------

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
        let who = Who::Green { hub, deadline, shield };
        let still = || {
            answer = attempt();
            answer == libc::EBUSY
        };
        match futex::wait(who, address as usize, ANY, still) {
            Waited::Refused => return Taken::Answer(answer),
            Waited::Expired if deadline < limit => {}
            Waited::Expired => return Taken::Expired,
            Waited::Interrupted => return Taken::Interrupted,
            Waited::Unreachable => return Taken::Block,
            Waited::Deadlocked => {
                hub.tell_deadlock(address as usize);
                return Taken::Block;
            }
            Waited::Woken => {}
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

// ---- mutexes ---------------------------------------------------------------------------------------------------

/// Whether the kernel has a part in it, and is to have all of it.
///
/// # Safety
/// A mutex, initialised.
unsafe fn is_the_kernels(mutex: *mut pthread_mutex_t) -> bool {
    // SAFETY: the caller's.
    unsafe { field(mutex, MUTEX_KIND) & MUTEX_KERNEL != 0 }
}

/// # Safety
/// As pthread_mutex_trylock(3).
unsafe fn try_lock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's.
    as_owner(|| unsafe { real::pthread_mutex_trylock(mutex) })
}

/// `None`: block in the C library.
///
/// # Safety
/// As pthread_mutex_lock(3).
unsafe fn lock_mutex(mutex: *mut pthread_mutex_t, until: Option<(clockid_t, timespec)>) -> Option<c_int> {
    let hub = hub()?;
    // SAFETY: the caller's.
    unsafe {
        if is_the_kernels(mutex) {
            return None;
        }
        let kind = field(mutex, MUTEX_KIND);
        let attempt = || {
            let answer = try_lock(mutex);
            let is_mine = || Some(field(mutex, MUTEX_OWNER)) == crate::tcb::owner_number();
            if answer == libc::EBUSY && kind & 3 == ERRORCHECK && is_mine() { libc::EDEADLK } else { answer }
        };
        lock(hub, mutex, until, kind & MUTEX_SHARED != 0, attempt)
    }
}

/// Has the C library lock it, and block if need be: with the owner that will unlock it.
///
/// # Safety
/// A mutex, initialised; `call` does not switch.
unsafe fn lock_in_library(mutex: *mut pthread_mutex_t, call: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the caller's.
    match unsafe { is_the_kernels(mutex) } {
        true => call(),
        false => as_owner(call),
    }
}

/// See pthread_mutex_lock(3).
///
/// # Safety
/// `mutex` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let block = || lock_in_library(mutex, || real::pthread_mutex_lock(mutex));
        lock_mutex(mutex, None).unwrap_or_else(block)
    }
}

/// See pthread_mutex_trylock(3).
///
/// # Safety
/// `mutex` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_trylock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        match is_the_kernels(mutex) {
            true => real::pthread_mutex_trylock(mutex),
            false => try_lock(mutex),
        }
    }
}

/// See pthread_mutex_timedlock(3).
///
/// # Safety
/// `mutex` is initialised, `until` points to a time.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_timedlock(mutex: *mut pthread_mutex_t, until: *const timespec) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let block = || lock_in_library(mutex, || real::pthread_mutex_timedlock(mutex, until));
        lock_mutex(mutex, Some((libc::CLOCK_REALTIME, *until))).unwrap_or_else(block)
    }
}

/// See pthread_mutex_clocklock(3).
///
/// # Safety
/// As pthread_mutex_timedlock.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_clocklock(
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    if !is_clock(clock) {
        return libc::EINVAL;
    }
    // SAFETY: the caller's.
    unsafe {
        let block = || lock_in_library(mutex, || real::pthread_mutex_clocklock(mutex, clock, until));
        lock_mutex(mutex, Some((clock, *until))).unwrap_or_else(block)
    }
}

/// See pthread_mutex_unlock(3).
///
/// # Safety
/// `mutex` is initialised, and the caller has it.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_unlock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's. Once it is released, only its address is used.
    unsafe {
        if is_the_kernels(mutex) {
            return real::pthread_mutex_unlock(mutex);
        }
        let answer = as_owner(|| real::pthread_mutex_unlock(mutex));
        wake(mutex, 1);
        answer
    }
}

// ---- conditions ------------------------------------------------------------------------------------------------

/// `None`: let the C library wait.
///
/// # Safety
/// As pthread_cond_wait(3).
unsafe fn wait_condition(
    cond: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    until: Option<(clockid_t, timespec)>,
) -> Option<c_int> {
    if !super::super::is_patched(Kind::Locks) {
        return None;
    }
    // SAFETY: the caller's.
    if unsafe { field(cond, COND_FLAGS) & COND_SHARED != 0 || is_the_kernels(mutex) } {
        return None;
    }
    let hub = hub();
    if let Some(Err(number)) = until.map(check) {
        return Some(number);
    }
    // Not an OS thread's own affair: it releases the mutex, and green threads may wait for that.
    let who = match hub {
        Some(hub) => {
            let deadline = match until.map(|(clock, until)| deadline(hub, clock, until)) {
                None => NEVER,
                Some(Ok(deadline)) => deadline,
                Some(Err(number)) => return Some(number),
            };
            Who::Green { hub, deadline, shield: hub.was_cut_short() }
        }
        None => Who::OsThread { until },
    };
    let mut unlocked = 0;
    // We are in the table before the mutex is released; so whoever signals afterwards finds us.
    // SAFETY: the caller has the mutex.
    let mut release = || unsafe {
        unlocked = pthread_mutex_unlock(mutex);
        unlocked == 0
    };
    let mut waited = futex::wait_after(who, cond as usize, ANY, || true, &mut release);
    if waited == Waited::Unreachable {
        // It never began, and has to be the OS thread that waits.
        let who = Who::OsThread { until };
        waited = futex::wait_after(who, cond as usize, ANY, || true, release);
    }
    if unlocked != 0 {
        return Some(unlocked);
    }
    if let (Waited::Interrupted, Some(hub)) = (waited, hub) {
        cut_short(hub);
    }
    // SAFETY: we had it.
    let locked = unsafe { pthread_mutex_lock(mutex) };
    match waited {
        _ if locked != 0 => Some(locked),
        Waited::Expired => Some(libc::ETIMEDOUT),
        Waited::Deadlocked => {
            if let Some(hub) = hub {
                hub.tell_deadlock(cond as usize);
            }
            None
        }
        _ => Some(0),
    }
}

/// See pthread_cond_wait(3).
///
/// # Safety
/// Both are initialised, and the caller has the mutex.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_wait(cond: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's.
    unsafe { wait_condition(cond, mutex, None).unwrap_or_else(|| real::pthread_cond_wait(cond, mutex)) }
}

/// See pthread_cond_timedwait(3).
///
/// # Safety
/// As pthread_cond_wait, and `until` points to a time.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_timedwait(
    cond: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let monotonic = field(cond, COND_FLAGS) & COND_MONOTONIC != 0;
        let clock = if monotonic { libc::CLOCK_MONOTONIC } else { libc::CLOCK_REALTIME };
        wait_condition(cond, mutex, Some((clock, *until)))
            .unwrap_or_else(|| real::pthread_cond_timedwait(cond, mutex, until))
    }
}

/// See pthread_cond_clockwait(3).
///
/// # Safety
/// As pthread_cond_timedwait.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_clockwait(
    cond: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        wait_condition(cond, mutex, Some((clock, *until)))
            .unwrap_or_else(|| real::pthread_cond_clockwait(cond, mutex, clock, until))
    }
}

/// See pthread_cond_signal(3).
///
/// # Safety
/// `cond` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_signal(cond: *mut pthread_cond_t) -> c_int {
    if super::super::is_patched(Kind::Locks) && futex::wake(cond as usize, 1, ANY) > 0 {
        return 0;
    }
    // SAFETY: the caller's. Somebody may have waited since before the patch.
    unsafe { real::pthread_cond_signal(cond) }
}

/// See pthread_cond_broadcast(3).
///
/// # Safety
/// `cond` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_broadcast(cond: *mut pthread_cond_t) -> c_int {
    wake(cond, usize::MAX);
    // SAFETY: the caller's.
    unsafe { real::pthread_cond_broadcast(cond) }
}

// ---- read-write locks ------------------------------------------------------------------------------------------

/// `None`: block in the C library.
///
/// # Safety
/// As pthread_rwlock_rdlock(3).
unsafe fn lock_rwlock(
    rwlock: *mut pthread_rwlock_t,
    until: Option<(clockid_t, timespec)>,
    attempt: unsafe fn(*mut pthread_rwlock_t) -> c_int,
) -> Option<c_int> {
    let hub = hub()?;
    if let Some(Err(number)) = until.map(check) {
        return Some(number);
    }
    // SAFETY: the caller's.
    unsafe {
        let shared = field(rwlock, RWLOCK_SHARED) != 0;
        let attempt = || {
            let answer = as_owner(|| attempt(rwlock));
            let is_mine = || Some(field(rwlock, RWLOCK_WRITER)) == crate::tcb::owner_number();
            if answer == libc::EBUSY && is_mine() { libc::EDEADLK } else { answer }
        };
        lock(hub, rwlock, until, shared, attempt)
    }
}

/// See pthread_rwlock_rdlock(3).
///
/// # Safety
/// `rwlock` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_rdlock(rwlock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        lock_rwlock(rwlock, None, real::pthread_rwlock_tryrdlock)
            .unwrap_or_else(|| as_owner(|| real::pthread_rwlock_rdlock(rwlock)))
    }
}

/// See pthread_rwlock_wrlock(3).
///
/// # Safety
/// `rwlock` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_wrlock(rwlock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        lock_rwlock(rwlock, None, real::pthread_rwlock_trywrlock)
            .unwrap_or_else(|| as_owner(|| real::pthread_rwlock_wrlock(rwlock)))
    }
}

/// See pthread_rwlock_tryrdlock(3).
///
/// # Safety
/// `rwlock` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_tryrdlock(rwlock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: the caller's.
    as_owner(|| unsafe { real::pthread_rwlock_tryrdlock(rwlock) })
}

/// See pthread_rwlock_trywrlock(3). The C library notes the writer, and by that tells at the release what it was.
///
/// # Safety
/// `rwlock` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_trywrlock(rwlock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: the caller's.
    as_owner(|| unsafe { real::pthread_rwlock_trywrlock(rwlock) })
}

/// See pthread_rwlock_clockrdlock(3).
///
/// # Safety
/// `rwlock` is initialised, `until` points to a time.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_clockrdlock(
    rwlock: *mut pthread_rwlock_t,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        lock_rwlock(rwlock, Some((clock, *until)), real::pthread_rwlock_tryrdlock)
            .unwrap_or_else(|| as_owner(|| real::pthread_rwlock_clockrdlock(rwlock, clock, until)))
    }
}

/// See pthread_rwlock_clockwrlock(3).
///
/// # Safety
/// As pthread_rwlock_clockrdlock.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_clockwrlock(
    rwlock: *mut pthread_rwlock_t,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let block = || {
            let answer = as_owner(|| real::pthread_rwlock_clockwrlock(rwlock, clock, until));
            if answer == libc::ETIMEDOUT {
                // Readers may have let it go first.
                wake(rwlock, usize::MAX);
            }
            answer
        };
        lock_rwlock(rwlock, Some((clock, *until)), real::pthread_rwlock_trywrlock).unwrap_or_else(block)
    }
}

/// See pthread_rwlock_timedrdlock(3).
///
/// # Safety
/// As pthread_rwlock_clockrdlock.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_timedrdlock(
    rwlock: *mut pthread_rwlock_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { pthread_rwlock_clockrdlock(rwlock, libc::CLOCK_REALTIME, until) }
}

/// See pthread_rwlock_timedwrlock(3).
///
/// # Safety
/// As pthread_rwlock_clockrdlock.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_timedwrlock(
    rwlock: *mut pthread_rwlock_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { pthread_rwlock_clockwrlock(rwlock, libc::CLOCK_REALTIME, until) }
}

/// See pthread_rwlock_unlock(3).
///
/// # Safety
/// `rwlock` is initialised, and the caller has it.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_unlock(rwlock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: the caller's. Once it is released, only its address is used.
    let answer = as_owner(|| unsafe { real::pthread_rwlock_unlock(rwlock) });
    // All try again: one writer, or all readers.
    wake(rwlock, usize::MAX);
    answer
}

// ---- spin locks ------------------------------------------------------------------------------------------------

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

// ---- barriers --------------------------------------------------------------------------------------------------

/// Ours, in the place of a `pthread_barrier_t` that was initialised after the patch.
#[repr(C)]
struct Barrier {
    magic: u64,
    /// Counts all that ever came. More may come than it waits for: those are of the next round.
    arrived: AtomicU64,
    count: u32,
    /// Counts the rounds that are complete; what is waited for.
    passed: AtomicU32,
    /// How many are inside of `pthread_barrier_wait`; it is not destroyed before they have left.
    inside: AtomicU32,
}

const _: () = assert!(size_of::<Barrier>() <= size_of::<pthread_barrier_t>());
const MAGIC: u64 = 0x6772_6565_6e6c_696e;

/// # Safety
/// `barrier` is initialised, by us or by the C library.
unsafe fn ours<'a>(barrier: *mut pthread_barrier_t) -> Option<&'a Barrier> {
    // SAFETY: the caller's; the C library's begins with counters that are far from the number.
    unsafe { (*barrier.cast::<u64>() == MAGIC).then(|| &*barrier.cast::<Barrier>()) }
}

/// See pthread_barrier_init(3).
///
/// # Safety
/// `barrier` is valid for a write, `attr` null or initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_barrier_init(
    barrier: *mut pthread_barrier_t,
    attr: *const pthread_barrierattr_t,
    count: c_uint,
) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let mut shared = libc::PTHREAD_PROCESS_PRIVATE;
        if !attr.is_null() {
            libc::pthread_barrierattr_getpshared(attr, &raw mut shared);
        }
        let is_shared = shared == libc::PTHREAD_PROCESS_SHARED;
        if count == 0 || is_shared || !super::super::is_patched(Kind::Locks) {
            return real::pthread_barrier_init(barrier, attr, count);
        }
        let zero = || AtomicU32::new(0);
        let ours =
            Barrier { magic: MAGIC, arrived: AtomicU64::new(0), count, passed: zero(), inside: zero() };
        barrier.cast::<Barrier>().write(ours);
    }
    0
}

/// See pthread_barrier_wait(3).
///
/// # Safety
/// `barrier` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_barrier_wait(barrier: *mut pthread_barrier_t) -> c_int {
    // SAFETY: the caller's.
    let Some(ours) = (unsafe { ours(barrier) }) else {
        // SAFETY: the same.
        return unsafe { real::pthread_barrier_wait(barrier) };
    };
    ours.inside.fetch_add(1, AcqRel);
    let (number, count) = (ours.arrived.fetch_add(1, AcqRel), u64::from(ours.count));
    let is_last = (number + 1) % count == 0;
    if is_last {
        ours.passed.fetch_add(1, AcqRel);
        wake(ours.passed.as_ptr(), usize::MAX);
    } else {
        // Should the last of a later round count first, then ours is complete as well.
        let round = (number / count) as u32;
        loop {
            let passed = ours.passed.load(Acquire);
            if passed.wrapping_sub(round) as i32 > 0 {
                break;
            }
            wait_while(&ours.passed, passed);
        }
    }
    ours.inside.fetch_sub(1, Release);
    if is_last { libc::PTHREAD_BARRIER_SERIAL_THREAD } else { 0 }
}

/// See pthread_barrier_destroy(3).
///
/// # Safety
/// `barrier` is initialised, and nobody comes to it any more.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_barrier_destroy(barrier: *mut pthread_barrier_t) -> c_int {
    // SAFETY: the caller's.
    let Some(ours) = (unsafe { ours(barrier) }) else {
        // SAFETY: the same.
        return unsafe { real::pthread_barrier_destroy(barrier) };
    };
    while ours.inside.load(Acquire) > 0 {
        // SAFETY: no preconditions.
        unsafe { libc::sched_yield() };
    }
    // SAFETY: ours, and nobody is in it.
    unsafe { barrier.cast::<u64>().write(0) };
    0
}

/// Waits until `word` is not `value` any more: green or not, and not to be interrupted.
fn wait_while(word: &AtomicU32, value: u32) {
    let mut os_thread = false;
    while word.load(Acquire) == value {
        let who = match hub().filter(|_| !os_thread) {
            Some(hub) => Who::Green { hub, deadline: NEVER, shield: true },
            None => Who::OsThread { until: None },
        };
        let address = word.as_ptr() as usize;
        match futex::wait(who, address, ANY, || word.load(Acquire) == value) {
            Waited::Deadlocked => {
                if let Some(hub) = hub() {
                    hub.tell_deadlock(address);
                }
                os_thread = true;
            }
            Waited::Unreachable => os_thread = true,
            _ => {}
        }
    }
}

// ---- once ------------------------------------------------------------------------------------------------------

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
    if !super::super::is_patched(Kind::Locks) {
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

// ---- semaphores ------------------------------------------------------------------------------------------------

/// `None`: block in the C library.
///
/// # Safety
/// As sem_wait(3).
unsafe fn wait_semaphore(sem: *mut sem_t, until: Option<(clockid_t, timespec)>) -> Option<c_int> {
    let hub = hub()?;
    // SAFETY: the caller's.
    let attempt = || unsafe { if libc::sem_trywait(sem) == 0 { 0 } else { libc::EBUSY } };
    let limit = match until.map(|(clock, until)| deadline(hub, clock, until)) {
        None => Ok(NEVER),
        Some(limit) => limit,
    };
    // SAFETY: the caller's.
    let shared = unsafe { field(sem, SEM_SHARED) != 0 };
    let number = match limit {
        Err(number) => number,
        Ok(limit) => match take(hub, sem, limit, hub.was_cut_short(), shared, attempt) {
            Taken::Answer(answer) => answer,
            Taken::Expired => libc::ETIMEDOUT,
            Taken::Interrupted => {
                cut_short(hub);
                libc::EINTR
            }
            Taken::Block => return None,
        },
    };
    if number == 0 {
        return Some(0);
    }
    set_errno(number);
    Some(-1)
}

/// See sem_wait(3).
///
/// # Safety
/// `sem` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_wait(sem: *mut sem_t) -> c_int {
    // SAFETY: the caller's.
    unsafe { wait_semaphore(sem, None).unwrap_or_else(|| real::sem_wait(sem)) }
}

/// See sem_clockwait(3).
///
/// # Safety
/// `sem` is initialised, `until` points to a time.
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_clockwait(sem: *mut sem_t, clock: clockid_t, until: *const timespec) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        wait_semaphore(sem, Some((clock, *until))).unwrap_or_else(|| real::sem_clockwait(sem, clock, until))
    }
}

/// See sem_timedwait(3).
///
/// # Safety
/// As sem_clockwait.
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_timedwait(sem: *mut sem_t, until: *const timespec) -> c_int {
    // SAFETY: the caller's.
    unsafe { sem_clockwait(sem, libc::CLOCK_REALTIME, until) }
}

/// See sem_post(3).
///
/// # Safety
/// `sem` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_post(sem: *mut sem_t) -> c_int {
    // SAFETY: the caller's. Afterwards only its address is used.
    let answer = unsafe { real::sem_post(sem) };
    wake(sem, 1);
    answer
}
