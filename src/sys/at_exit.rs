//! The end of the process: who is waited for, and in which order. First the OS threads that are no daemons, then child
//! processes.
//!
//! It is announced by the C library, when `main` has returned or `exit` was called; by then the thread-locals of who
//! calls are gone, and its hub does not run any more.
//!
//! A forked child has a copy of its parent's list of handlers. As they are called in the reverse of the order in which
//! they were registered, one that is registered there anew comes first; in a `process::Process` it does not return.
#![allow(unsafe_code)]

use crate::hub::try_current;
use crate::sys::raw_mutex::Lock;
use crate::thread;
use libc::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// The process that has the handler, or 0: the children of a fork have a copy of it, and of this word.
static PREPARED: AtomicU32 = AtomicU32::new(0);

/// Whether the end has been announced.
static BEGUN: AtomicBool = AtomicBool::new(false);

/// What is done when the OS threads have ended, by a room above this one. It is given the exit code.
static AFTERWARDS: Lock<Option<fn(i32)>> = Lock::new(None);

unsafe extern "C" {
    /// As atexit(3), with the exit code. glibc's, and not in the libc crate.
    fn on_exit(handler: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
}

/// Has the end of this process announced.
pub(crate) fn prepare() {
    let pid = std::process::id();
    if PREPARED.swap(pid, Relaxed) != pid {
        // SAFETY: a function that is always there. If there is no memory for it, nobody is waited for.
        unsafe { on_exit(at_exit, std::ptr::null_mut()) };
    }
}

/// Whether the process ends: who exits now is paused by std for ever, with all green threads of the OS thread.
pub(crate) fn has_begun() -> bool {
    BEGUN.load(Relaxed)
}

/// Has `f` called when the OS threads have ended.
pub(crate) fn prepare_for(f: fn(i32)) {
    prepare();
    *AFTERWARDS.lock() = Some(f);
}

extern "C" fn at_exit(code: c_int, _: *mut c_void) {
    if PREPARED.load(Relaxed) != std::process::id() {
        return;
    }
    BEGUN.store(true, Relaxed);
    wait_for_threads();
    let afterwards = *AFTERWARDS.lock();
    if let Some(afterwards) = afterwards {
        afterwards(code);
    }
}

/// Waits for the OS threads. The hub of this one runs no more; who waits for it there is told.
pub(crate) fn wait_for_threads() {
    if !thread::are_there_others() {
        return;
    }
    if let Some(hub) = try_current() {
        hub.close_inbox();
    }
    thread::wait_for_all();
}
