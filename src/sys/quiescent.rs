//! OS threads of this crate that do not keep a process from forking, because they wait where they hold no lock (quiescent,
//! as read-copy-update calls it).
//!
//! A forked child has a copy of every lock, and of the OS threads only the one that forks. So a lock that another OS thread
//! holds at that moment stays locked in the child. [`hold_quiescent`] returns a guard that lists the other OS threads. The
//! [`quiescent`] ones do not count, and they stay quiescent as long as the guard lives, even if what they wait for has come.
//!
//! Next: `sys/os_thread.rs`.
#![allow(unsafe_code)]

use crate::sys::at_fork;
use crate::sys::raw_mutex::Guard;
use crate::sys::raw_mutex::Lock;
use crate::sys::tid::gettid;
use std::{fs, io};

/// The ids of the quiescent OS threads.
static QUIESCENT: Lock<Vec<i32>> = Lock::new(Vec::new());

/// Calls `wait`. Meanwhile the calling OS thread holds no lock that another may want, and does nothing but wait.
pub(crate) fn quiescent<R>(wait: impl FnOnce() -> R) -> R {
    at_fork::register(reset_after_fork);
    let tid = gettid();
    QUIESCENT.lock().push(tid);
    let result = wait();
    QUIESCENT.lock().retain(|&other| other != tid);
    result
}

/// While this lives, the quiescent OS threads stay quiescent.
pub struct QuiescentThreads(Guard<'static, Vec<i32>>);

impl QuiescentThreads {
    /// Returns the names of all other OS threads that are not quiescent.
    ///
    /// Errors: `/proc` cannot be read.
    pub fn others(&self) -> io::Result<Vec<String>> {
        let own = gettid();
        let tids = fs::read_dir("/proc/self/task").map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let text = format!("OS threads cannot be counted by /proc/self/task: {error}");
                io::Error::new(error.kind(), text)
            }
            // For one, that no descriptor is left.
            _ => error,
        })?;
        let tids = tids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        Ok(tids.filter(|tid| *tid != own && !self.0.contains(tid)).filter_map(name_of).collect())
    }

    /// Forgets the guard: in a forked child the lock was reset.
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

fn reset_after_fork() {
    // SAFETY: the child has one OS thread. If it holds `QuiescentThreads`, it forgets them.
    unsafe { QUIESCENT.reset_after_fork(Vec::new()) };
}

/// Keeps the quiescent OS threads quiescent. While the guard lives nothing may park, so the caller has disabled blocking.
pub fn hold_quiescent() -> QuiescentThreads {
    // A caller that forks holds the lock meanwhile: the child has to reset it, also if `quiescent` was never called.
    at_fork::register(reset_after_fork);
    QuiescentThreads(QUIESCENT.lock())
}

/// Returns the name of an OS thread. `None`: it is gone, or is exiting and will not run any code of the program again.
fn name_of(tid: i32) -> Option<String> {
    /// The kernel's PF_EXITING.
    const ENDS: u32 = 4;
    let stat = fs::read_to_string(format!("/proc/self/task/{tid}/stat")).ok()?;
    // `4711 (name) S ppid pgrp session tty tpgid flags ...`; the name may contain anything.
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
    let flags: u32 = rest.split(' ').nth(6)?.parse().ok()?;
    (flags & ENDS == 0).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiescent_in_a_child_finds_the_lock_free_that_another_held() {
        quiescent(|| ());
        QUIESCENT.seize();
        // SAFETY: the child uses no lock but this one, and ends.
        unsafe {
            let child = crate::hub::fork().unwrap();
            if child == 0 {
                libc::alarm(20);
                libc::_exit(quiescent(|| 0));
            }
            QUIESCENT.release();
            let mut status = 0;
            assert_eq!(libc::waitpid(child as i32, &raw mut status, 0), child as i32);
            assert_eq!(status, 0);
        }
    }
}
