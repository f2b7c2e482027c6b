//! The end of the process: a list of hooks, run in the order of their stages.
//!
//! The C library announces the end, when `main` has returned or `exit` was called. By then the thread-locals of the calling
//! OS thread are destroyed, and its hub does not run any more.
//!
//! A forked child has a copy of its parent's list of C handlers. The C library runs them in the reverse of the order in
//! which they were registered. So the handler that is registered again in a child runs first; in a `greenline_process::Process` it
//! does not return.
//!
//! Next: `sys/tid.rs`.
#![allow(unsafe_code)]

use libc::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32};

/// When a hook runs.
#[derive(Clone, Copy)]
pub(crate) enum Stage {
    /// First: waits for OS threads.
    Threads,
    /// Then: waits for child processes.
    Children,
}

/// A function that runs at the end of the process. Its argument is the exit code.
type Hook = fn(i32);

/// One hook for each stage, or null. There is no lock, because a forked child would find it held if another OS thread of its
/// parent held it.
static HOOKS: [AtomicPtr<()>; 2] = [const { AtomicPtr::new(null_mut()) }; 2];

/// Id of the process that has registered `at_exit` with the C library, or 0. A forked child has a copy of this word.
static REGISTERED_IN: AtomicU32 = AtomicU32::new(0);

/// Whether the end was announced.
static BEGUN: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    /// As atexit(3), with the exit code. It is glibc's, and the libc crate does not have it.
    fn on_exit(handler: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
}

/// Runs `hook` when this process ends. Replaces an earlier hook of that stage.
pub(crate) fn register(stage: Stage, hook: Hook) {
    HOOKS[stage as usize].store(hook as *mut (), Release);
    let pid = std::process::id();
    if REGISTERED_IN.swap(pid, Relaxed) != pid {
        // SAFETY: glibc has the function, and `at_exit` is valid for ever. If glibc has no memory for the entry, no hook
        // runs.
        unsafe { on_exit(at_exit, null_mut()) };
    }
}

/// Returns whether the process ends. std then pauses for ever every other OS thread that calls `exit`, with all green
/// threads of that OS thread.
pub(crate) fn has_begun() -> bool {
    BEGUN.load(Relaxed)
}

extern "C" fn at_exit(code: c_int, _: *mut c_void) {
    if REGISTERED_IN.load(Relaxed) != std::process::id() {
        return;
    }
    BEGUN.store(true, Relaxed);
    for hook in HOOKS.iter().map(|hook| hook.load(Acquire)).filter(|hook| !hook.is_null()) {
        // SAFETY: `register` has stored a `Hook`.
        unsafe { std::mem::transmute::<*mut (), Hook>(hook)(code) };
    }
}
