//! Barriers: ours, for one cannot try them.

use super::*;

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
        if count == 0 || is_shared || !is_patched() {
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
pub(super) fn wait_while(word: &AtomicU32, value: u32) {
    let mut os_thread = false;
    while word.load(Acquire) == value {
        let who = match hub().filter(|_| !os_thread) {
            Some(hub) => Waiter::Green { hub, deadline: NEVER, shield: true },
            None => Waiter::OsThread { until: None },
        };
        let address = word.as_ptr() as usize;
        match futex::wait(who, address, ANY, || word.load(Acquire) == value) {
            FutexWaitResult::Deadlocked => {
                if let Some(hub) = hub() {
                    hub.tell_deadlock(address);
                }
                os_thread = true;
            }
            FutexWaitResult::Unreachable => os_thread = true,
            _ => {}
        }
    }
}
