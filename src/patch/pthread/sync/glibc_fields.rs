//! Where glibc's objects have the fields that are used, and the check that they are there.
//!
//! Next: `patch/pthread/sync/pthread_mutex.rs`.

use crate::patch::real;
use crate::sys::tid::gettid;
use libc::{c_int, pthread_cond_t, pthread_mutex_t, pthread_rwlock_t, sem_t};
use std::mem::MaybeUninit;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;

/// `pthread_mutex_t`: thread id of the owner.
pub(super) const MUTEX_OWNER: usize = 8;
/// `pthread_mutex_t`: kind and flags.
pub(super) const MUTEX_KIND: usize = 16;
/// Flags of `MUTEX_KIND`: robust, priority inheritance, priority ceiling.
pub(super) const MUTEX_KERNEL: i32 = 16 | 32 | 64;
pub(super) const MUTEX_SHARED: i32 = 128;
/// Kind of an error-checking mutex (1 is a recursive one).
pub(super) const ERRORCHECK: i32 = 2;
/// `pthread_cond_t`: flags.
pub(super) const COND_FLAGS: usize = 36;
pub(super) const COND_SHARED: i32 = 1;
pub(super) const COND_MONOTONIC: i32 = 2;
/// `pthread_rwlock_t`: thread id of the writer that has it.
pub(super) const RWLOCK_WRITER: usize = 24;
/// `pthread_rwlock_t`: not 0 if processes share it.
pub(super) const RWLOCK_SHARED: usize = 28;
/// `sem_t`: not 0 if processes share it.
pub(super) const SEM_SHARED: usize = 8;

const PRIVATE: c_int = libc::PTHREAD_PROCESS_PRIVATE;
const SHARED: c_int = libc::PTHREAD_PROCESS_SHARED;

/// Reads an `int` of a C library's object.
///
/// # Safety
/// `object` points to an object of the C library that has an `int` at this offset. `probe` has checked the offsets above.
pub(super) unsafe fn field<T>(object: *const T, offset: usize) -> i32 {
    // SAFETY: the caller upholds that there is an `int`. Others write it atomically.
    unsafe { (*object.byte_add(offset).cast::<AtomicI32>()).load(Relaxed) }
}

/// Checks that the fields are where they are expected.
///
/// Errors: which object is laid out otherwise.
pub(crate) fn probe() -> Result<(), &'static str> {
    // SAFETY: each object is initialised, read and destroyed by the function that makes it. Nobody else has it.
    unsafe {
        if mutex() != (gettid(), ERRORCHECK | MUTEX_SHARED) {
            return Err("a pthread_mutex_t is not laid out as expected");
        }
        if cond(libc::CLOCK_REALTIME, PRIVATE) != 0
            || cond(libc::CLOCK_MONOTONIC, PRIVATE) != COND_MONOTONIC
            || cond(libc::CLOCK_REALTIME, SHARED) != COND_SHARED
        {
            return Err("a pthread_cond_t is not laid out as expected");
        }
        if rwlock(PRIVATE) != (false, gettid()) || rwlock(SHARED) != (true, gettid()) {
            return Err("a pthread_rwlock_t is not laid out as expected");
        }
        if semaphore(0) || !semaphore(1) {
            return Err("a sem_t is not laid out as expected");
        }
    }
    Ok(())
}

/// Returns owner and kind of an error-checking mutex that processes share, while the caller has it.
unsafe fn mutex() -> (i32, i32) {
    let (mut attr, mut mutex) = (MaybeUninit::uninit(), MaybeUninit::<pthread_mutex_t>::zeroed());
    // SAFETY: both are initialised first, and destroyed last.
    unsafe {
        libc::pthread_mutexattr_init(attr.as_mut_ptr());
        libc::pthread_mutexattr_settype(attr.as_mut_ptr(), libc::PTHREAD_MUTEX_ERRORCHECK);
        libc::pthread_mutexattr_setpshared(attr.as_mut_ptr(), SHARED);
        libc::pthread_mutex_init(mutex.as_mut_ptr(), attr.as_ptr());
        real::pthread_mutex_lock(mutex.as_mut_ptr());
        let fields = (field(mutex.as_ptr(), MUTEX_OWNER), field(mutex.as_ptr(), MUTEX_KIND));
        real::pthread_mutex_unlock(mutex.as_mut_ptr());
        libc::pthread_mutex_destroy(mutex.as_mut_ptr());
        libc::pthread_mutexattr_destroy(attr.as_mut_ptr());
        fields
    }
}

/// Returns the flags of a condition.
unsafe fn cond(clock: libc::clockid_t, shared: c_int) -> i32 {
    let (mut attr, mut cond) = (MaybeUninit::uninit(), MaybeUninit::<pthread_cond_t>::zeroed());
    // SAFETY: both are initialised first, and destroyed last.
    unsafe {
        libc::pthread_condattr_init(attr.as_mut_ptr());
        libc::pthread_condattr_setclock(attr.as_mut_ptr(), clock);
        libc::pthread_condattr_setpshared(attr.as_mut_ptr(), shared);
        libc::pthread_cond_init(cond.as_mut_ptr(), attr.as_ptr());
        let flags = field(cond.as_ptr(), COND_FLAGS);
        libc::pthread_cond_destroy(cond.as_mut_ptr());
        libc::pthread_condattr_destroy(attr.as_mut_ptr());
        flags
    }
}

/// Returns whether a read-write lock says that processes share it, and its writer, while the caller is that.
unsafe fn rwlock(shared: c_int) -> (bool, i32) {
    let (mut attr, mut lock) = (MaybeUninit::uninit(), MaybeUninit::<pthread_rwlock_t>::zeroed());
    // SAFETY: both are initialised first, and destroyed last.
    unsafe {
        libc::pthread_rwlockattr_init(attr.as_mut_ptr());
        libc::pthread_rwlockattr_setpshared(attr.as_mut_ptr(), shared);
        libc::pthread_rwlock_init(lock.as_mut_ptr(), attr.as_ptr());
        real::pthread_rwlock_wrlock(lock.as_mut_ptr());
        let fields = (field(lock.as_ptr(), RWLOCK_SHARED) != 0, field(lock.as_ptr(), RWLOCK_WRITER));
        real::pthread_rwlock_unlock(lock.as_mut_ptr());
        libc::pthread_rwlock_destroy(lock.as_mut_ptr());
        libc::pthread_rwlockattr_destroy(attr.as_mut_ptr());
        fields
    }
}

/// Returns whether a semaphore says that processes share it.
unsafe fn semaphore(shared: c_int) -> bool {
    let mut sem = MaybeUninit::<sem_t>::zeroed();
    // SAFETY: initialised first, and destroyed last.
    unsafe {
        libc::sem_init(sem.as_mut_ptr(), shared, 1);
        let is_shared = field(sem.as_ptr(), SEM_SHARED) != 0;
        libc::sem_destroy(sem.as_mut_ptr());
        is_shared
    }
}
