//! Resetting a forked child: a list of hooks, run by every fork that this crate sees.
//!
//! A forked child has a copy of its parent's memory and of one OS thread only. A lock that another OS thread held stays
//! locked in the child; lists of OS threads, hubs and descriptors are the parent's. So each module that has such state
//! registers a hook here before it first has any, and the child runs them all.
//!
//! Next: `sys/exit_hooks.rs`, the same for the end of the process.
#![allow(unsafe_code)]

use std::ptr::null_mut;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32};

/// Resets a module's state in the child. Only the forking OS thread exists there, and it runs no code of the module.
pub(crate) type Hook = fn();

/// Hooks in the order in which they were registered, then null. The array is fixed, because a child must not need a lock
/// to read it.
static HOOKS: [AtomicPtr<()>; 16] = [const { AtomicPtr::new(null_mut()) }; 16];

/// Number of forks between the first process and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Fork depth at which this process became an independent child. 0: it did not.
static INDEPENDENT_SINCE: AtomicU32 = AtomicU32::new(0);

/// Has every forked child run `hook` from now on. A hook that is registered already is not registered again, so a caller
/// may register whenever it gets state. The order of two hooks must not matter.
///
/// # Panics
/// When the array is full: this crate has more hooks than the array has entries.
pub(crate) fn register(hook: Hook) {
    let hook = hook as *mut ();
    let is_registered = |entry: &AtomicPtr<()>| {
        entry.load(Acquire) == hook
            || match entry.compare_exchange(null_mut(), hook, Release, Acquire) {
                Ok(_) => true,
                Err(other) => other == hook,
            }
    };
    assert!(HOOKS.iter().any(is_registered), "more hooks for a fork than there is room for");
}

/// Runs all hooks. For the child, once.
pub(crate) fn run_hooks() {
    FORKS.fetch_add(1, Relaxed);
    for hook in HOOKS.iter().map(|entry| entry.load(Acquire)).take_while(|hook| !hook.is_null()) {
        // SAFETY: `register` has stored a `Hook`.
        unsafe { std::mem::transmute::<*mut (), Hook>(hook)() };
    }
}

/// Returns the number of forks between the first process and this one.
pub fn forks() -> u32 {
    FORKS.load(Relaxed)
}

/// Makes this process an independent child: it does not run the exit work that its parent's code has left.
pub fn become_independent() {
    INDEPENDENT_SINCE.store(forks(), Relaxed);
}

/// Returns whether exit work that was left after so many `forks` is this process's to run.
pub(crate) fn is_ours_to_run(forks: u32) -> bool {
    forks >= INDEPENDENT_SINCE.load(Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn register_twice_runs_the_hook_once() {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        fn hook() {
            RUNS.fetch_add(1, Relaxed);
        }
        register(hook);
        register(hook);
        let times = HOOKS.iter().filter(|entry| entry.load(Acquire) == hook as *mut ()).count();
        assert_eq!(times, 1);
    }
}
