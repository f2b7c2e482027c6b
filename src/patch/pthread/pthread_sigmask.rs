//! The signals that a thread has blocked. A green thread's mask is its own, and is the OS thread's while the green thread
//! runs. So a library's thread that blocks all signals, to leave them to the program's threads, does not take them from
//! those.
//!
//! Next: `hub/green_sigmask.rs`, which switches the masks.

use crate::patch::kind::{Kind, patched_hub};
use crate::patch::symbol::{failed, interpose, with_errno};
use crate::sys::sigset::Signals;
use libc::{c_int, sigset_t};
use std::mem::zeroed;

interpose! { Locks;
    /// See pthread_sigmask(3).
    fn pthread_sigmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int,
        "std::process, C" => "what a green thread blocks is blocked while it runs";
    {
        let mut before = zeroed();
        let number = Real::pthread_sigmask(how, set, &raw mut before);
        if number != 0 {
            return number;
        }
        if let Some(hub) = patched_hub(Kind::Locks).filter(|_| !set.is_null()) {
            hub.note_mask(Signals::of(&before), Signals::blocked());
        }
        if !old.is_null() {
            *old = before;
        }
        0
    }

    /// See sigprocmask(2).
    fn sigprocmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int,
        "std::process, C" => "the same";
    {
        with_errno(failed(pthread_sigmask(how, set, old)))
    }
}
