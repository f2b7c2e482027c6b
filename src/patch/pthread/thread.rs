//! Making, joining and ending threads.

use super::real::{self, Start};
use super::{Kind, check, deadline, patched_hub};
use crate::green::{Interrupt, Outcome};
use crate::hub::futex;
use crate::hub::futex::{FutexWaitResult, Waiter};
use crate::hub::{Hub, finish_current, try_current};
use crate::patch::offload_blocking;
use crate::stack::StackSize;
use crate::thread::offload::WorkKind;
use crate::time::NEVER;
use crate::tls;
use crate::tls::{DETACHED, ENDED, PthreadKind, Tcb};
use libc::{c_int, c_void, clockid_t, pthread_attr_t, pthread_t, timespec};
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

/// What the result of a thread is that was cancelled, or killed.
const CANCELED: *mut c_void = usize::MAX as *mut c_void;

unsafe extern "C" {
    /// Not in the libc crate.
    fn pthread_attr_getdetachstate(attr: *const pthread_attr_t, state: *mut c_int) -> c_int;
}

/// See pthread_create(3).
///
/// # Safety
/// `out` is valid for a write, `attr` null or initialised, and `start(arg)` may be called, once, on another
/// thread.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    out: *mut pthread_t,
    attr: *const pthread_attr_t,
    start: Start,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let hub = patched_hub(Kind::Threads).filter(|_| !crate::sys::os_thread::is_making_os_thread());
        // A hub that cannot be reached, for want of a file descriptor, cannot wait for what it would make: `join`
        // would block its OS thread.
        match hub.filter(|hub| hub.inbox().is_ok()) {
            Some(hub) => create(hub, out, attr, start, arg),
            None => real::pthread_create(out, attr, start, arg),
        }
    }
}

/// # Safety
/// As above.
unsafe fn create(
    hub: &'static Hub,
    out: *mut pthread_t,
    attr: *const pthread_attr_t,
    start: Start,
    arg: *mut c_void,
) -> c_int {
    let (mut stack, mut state) = (default_stack(), libc::PTHREAD_CREATE_JOINABLE);
    if !attr.is_null() {
        // SAFETY: the caller's.
        unsafe {
            libc::pthread_attr_getstacksize(attr, &raw mut stack);
            pthread_attr_getdetachstate(attr, &raw mut state);
        }
    }
    let Ok(size) = StackSize::for_usable(stack) else { return libc::EINVAL };
    let arg = arg as usize;
    let job = Box::new(move || {
        // SAFETY: the caller of pthread_create says that it may be called, and this is the once.
        let result = crate::green::catch_body(|| unsafe { start(arg as *mut c_void) } as usize);
        tls::with_green_tls(|block| match result {
            Ok(result) => block.result.set(Some(result as *mut c_void)),
            // pthread_exit has noted a result; a kill has not.
            Err(_) if block.result.get().is_none() => block.result.set(Some(CANCELED)),
            Err(_) => {}
        });
        finish_current(Outcome::Returned(Box::new(())));
    });
    let is_detached = state == libc::PTHREAD_CREATE_DETACHED;
    let kind = if is_detached { PthreadKind::Detached } else { PthreadKind::Joinable };
    match hub.spawn_pthread(size, kind, job) {
        Ok(tcb) => {
            // SAFETY: the caller's.
            unsafe { out.write(tcb.pthread()) };
            0
        }
        Err(error) => {
            log::error!("no green thread for pthread_create: {error}");
            libc::EAGAIN
        }
    }
}

/// The stack that threads get who ask for none.
fn default_stack() -> usize {
    static SIZE: OnceLock<usize> = OnceLock::new();
    *SIZE.get_or_init(|| {
        let (mut attr, mut size) = (MaybeUninit::uninit(), 0);
        // SAFETY: initialised by the first call.
        unsafe {
            libc::pthread_attr_init(attr.as_mut_ptr());
            libc::pthread_attr_getstacksize(attr.as_ptr(), &raw mut size);
            libc::pthread_attr_destroy(attr.as_mut_ptr());
        }
        size
    })
}

/// See pthread_exit(3): unwinds to the green thread's beginning. Its result is noted already.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_exit(result: *mut c_void) -> ! {
    let is_green = tls::with_green_tls(|block| block.result.set(Some(result))).is_some();
    if is_green {
        std::panic::resume_unwind(Box::new(Interrupt::Exit));
    }
    // SAFETY: no preconditions.
    unsafe { real::pthread_exit(result) }
}

/// Waits until a green thread has ended, takes its result, and its block back.
///
/// # Safety
/// Nobody else joins or detaches it, before or after; `result` is null or valid for a write.
unsafe fn join(tcb: Tcb, result: *mut *mut c_void, until: Option<(clockid_t, timespec)>) -> c_int {
    // SAFETY: its block lives until it is taken back, below.
    let block = unsafe { tcb.green_tls() };
    if tcb == Tcb::loaded() {
        return libc::EDEADLK;
    }
    if let Some(Err(number)) = until.map(check) {
        return number;
    }
    let word = &block.join_state;
    while word.load(Acquire) & ENDED == 0 {
        if word.load(Acquire) & DETACHED != 0 {
            return libc::EINVAL;
        }
        let waited = match try_current().filter(|hub| hub.can_block()) {
            Some(hub) => wait(hub, word, until),
            // An OS thread without a hub: the kernel's futex will do.
            None => wait_in_kernel(word, until),
        };
        if let Err(number) = waited {
            return number;
        }
    }
    // SAFETY: the caller's; it has ended.
    unsafe {
        if !result.is_null() {
            result.write(block.result.get().unwrap_or(CANCELED));
        }
        tls::release(tcb, try_current().map(Hub::tcbs));
    }
    0
}

/// Parks as long as the green thread has not ended.
fn wait(hub: &'static Hub, word: &AtomicU32, until: Option<(clockid_t, timespec)>) -> Result<(), c_int> {
    let deadline = match until {
        Some((clock, until)) => deadline(hub, clock, until)?,
        None => NEVER,
    };
    let who = Waiter::Green { hub, deadline, shield: true };
    let address = word.as_ptr() as usize;
    match futex::wait(who, address, u32::MAX, || word.load(Acquire) & ENDED == 0) {
        FutexWaitResult::Expired => return Err(libc::ETIMEDOUT),
        FutexWaitResult::Deadlocked => {
            hub.tell_deadlock(address);
            return wait_in_kernel(word, until);
        }
        FutexWaitResult::Unreachable => return wait_in_kernel(word, until),
        FutexWaitResult::Woken | FutexWaitResult::Refused | FutexWaitResult::Interrupted => {}
    }
    Ok(())
}

/// Blocks the OS thread as long as the green thread has not ended.
fn wait_in_kernel(word: &AtomicU32, until: Option<(clockid_t, timespec)>) -> Result<(), c_int> {
    let who = Waiter::OsThread { until };
    match futex::wait(who, word.as_ptr() as usize, u32::MAX, || word.load(Acquire) & ENDED == 0) {
        FutexWaitResult::Expired => Err(libc::ETIMEDOUT),
        _ => Ok(()),
    }
}

/// Joins an OS thread while the others run: another OS thread blocks in our place.
///
/// # Safety
/// As pthread_join(3).
unsafe fn join_os_thread(
    result: *mut *mut c_void,
    join: impl Fn(*mut *mut c_void) -> c_int + Send + 'static,
) -> c_int {
    let (answer, value) = offload_blocking(WorkKind::ExternalWait, "an OS thread to end", move || {
        let mut result = null_mut();
        let answer = join(&raw mut result);
        (answer, result as usize)
    });
    if answer == 0 && !result.is_null() {
        // SAFETY: the caller's.
        unsafe { result.write(value as *mut c_void) };
    }
    answer
}

/// See pthread_join(3).
///
/// # Safety
/// `thread` is valid and joined once; `result` is null or valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_join(thread: pthread_t, result: *mut *mut c_void) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        if let Some(tcb) = Tcb::of_pthread(thread) {
            return join(tcb, result, None);
        }
        // Who joins itself is told so by the C library.
        if thread == libc::pthread_self() || patched_hub(Kind::Threads).is_none() {
            return real::pthread_join(thread, result);
        }
        // One that has ended need not be waited for.
        match real::pthread_tryjoin_np(thread, result) {
            libc::EBUSY => join_os_thread(result, move |out| real::pthread_join(thread, out)),
            answer => answer,
        }
    }
}

/// See pthread_tryjoin_np(3).
///
/// # Safety
/// As pthread_join.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_tryjoin_np(thread: pthread_t, result: *mut *mut c_void) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let Some(tcb) = Tcb::of_pthread(thread) else { return real::pthread_tryjoin_np(thread, result) };
        if tcb.green_tls().join_state.load(Acquire) & ENDED == 0 {
            return libc::EBUSY;
        }
        join(tcb, result, None)
    }
}

/// See pthread_clockjoin_np(3).
///
/// # Safety
/// As pthread_join; `until` is null or points to a time.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_clockjoin_np(
    thread: pthread_t,
    result: *mut *mut c_void,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let time = until.as_ref().copied();
        if let Some(tcb) = Tcb::of_pthread(thread) {
            return join(tcb, result, time.map(|time| (clock, time)));
        }
        match patched_hub(Kind::Threads).filter(|_| thread != libc::pthread_self()) {
            Some(_) => join_os_thread(result, move |out| {
                let until = time.as_ref().map_or(std::ptr::null(), |time| &raw const *time);
                real::pthread_clockjoin_np(thread, out, clock, until)
            }),
            None => real::pthread_clockjoin_np(thread, result, clock, until),
        }
    }
}

/// See pthread_timedjoin_np(3).
///
/// # Safety
/// As pthread_clockjoin_np.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_timedjoin_np(
    thread: pthread_t,
    result: *mut *mut c_void,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { pthread_clockjoin_np(thread, result, libc::CLOCK_REALTIME, until) }
}

/// See pthread_detach(3).
///
/// # Safety
/// `thread` is valid, and was not joined.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_detach(thread: pthread_t) -> c_int {
    // SAFETY: the caller's; one that has ended is taken back by us, and one that ends later by its hub.
    unsafe {
        let Some(tcb) = Tcb::of_pthread(thread) else { return real::pthread_detach(thread) };
        let before = tcb.green_tls().join_state.fetch_or(DETACHED, AcqRel);
        if before & DETACHED != 0 {
            return libc::EINVAL;
        }
        if before & ENDED != 0 {
            tls::release(tcb, try_current().map(Hub::tcbs));
        }
        0
    }
}
