//! Which signals a thread has blocked: of a green thread that is its own, and put in the place of the OS thread's while it
//! runs. So a library's thread that blocks all signals, to leave them to the program's, does not take them from it.

use super::*;
use libc::sigset_t;
use std::mem::zeroed;

/// See pthread_sigmask(3).
///
/// # Safety
/// As pthread_sigmask(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_sigmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    // SAFETY: the caller's, and sets of ours.
    unsafe {
        let mut before = zeroed();
        let number = real::pthread_sigmask(how, set, &raw mut before);
        if number != 0 {
            return number;
        }
        if let Some(hub) = patched_hub(Kind::Locks).filter(|_| !set.is_null()) {
            hub.note_mask(Signals::of(&before), Signals::blocked());
        }
        if !old.is_null() {
            *old = before;
        }
    }
    0
}

/// See sigprocmask(2).
///
/// # Safety
/// As sigprocmask(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sigprocmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    // SAFETY: the caller's.
    match unsafe { pthread_sigmask(how, set, old) } {
        0 => 0,
        number => {
            set_errno(number);
            -1
        }
    }
}
