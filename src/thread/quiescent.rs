//! OS threads that may be there when a process is forked: those of greenline's own, while they wait where they hold
//! nothing.
//!
//! A forked child has a copy of every lock, and of the OS threads only the one that forks. So a lock that another has at
//! that moment stays locked in the child. [`halt`] answers who else is there; those that [rest](at_rest) do not count,
//! and stay where they are for as long as the answer is kept, even if what they wait for has come.
#![allow(unsafe_code)]

use crate::hub::status::gettid;
use crate::sys::raw_mutex::{Guard, Lock};
use std::{fs, io};

/// The ids of those that rest.
static RESTING: Lock<Vec<i32>> = Lock::new(Vec::new());

/// Calls `wait`, during which the OS thread holds no lock that anybody else may want, and does nothing but wait.
pub(crate) fn quiescent<R>(wait: impl FnOnce() -> R) -> R {
    let tid = gettid();
    RESTING.lock().push(tid);
    let answer = wait();
    RESTING.lock().retain(|&resting| resting != tid);
    answer
}

/// Those that rest go on resting while this lives.
pub(crate) struct QuiescentThreads(Guard<'static, Vec<i32>>);

impl QuiescentThreads {
    /// The names of all other OS threads, but for those that rest.
    ///
    /// Errors: `/proc` cannot be read.
    pub(crate) fn others(&self) -> io::Result<Vec<String>> {
        let own = gettid();
        let tids = fs::read_dir("/proc/self/task").map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let text = format!("OS threads cannot be counted by /proc/self/task: {error}");
                io::Error::new(error.kind(), text)
            }
            // Such as that no descriptor is left.
            _ => error,
        })?;
        let tids = tids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        Ok(tids.filter(|tid| *tid != own && !self.0.contains(tid)).filter_map(name_of).collect())
    }

    /// In the child of a fork, where all of it has begun anew.
    pub(crate) fn forget(self) {
        std::mem::forget(self);
    }
}

/// In the child of a fork there are none.
pub(super) fn reset_after_fork() {
    // SAFETY: the one OS thread of the child. If it has `QuiescentThreads`, that is forgotten.
    unsafe { RESTING.reset_after_fork(Vec::new()) };
}

/// Keeps those that rest from doing anything else. While it lives nobody may park, so it is called as nobody.
pub(crate) fn hold_quiescent() -> QuiescentThreads {
    QuiescentThreads(RESTING.lock())
}

/// The name of an OS thread. `None`: it is gone, or about to be, and will not run a line of the program again.
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
    use crate::thread::are_there_others;

    #[test]
    fn what_another_has_locked_is_free_in_a_child() {
        RESTING.seize();
        crate::thread::non_daemon::seize();
        // SAFETY: the child does nothing that could want another's lock, and ends.
        unsafe {
            let child = crate::hub::fork().unwrap();
            if child == 0 {
                libc::alarm(20);
                let others = quiescent(are_there_others);
                libc::_exit(i32::from(others));
            }
            RESTING.release();
            crate::thread::non_daemon::release();
            let mut status = 0;
            assert_eq!(libc::waitpid(child as i32, &raw mut status, 0), child as i32);
            assert_eq!(status, 0);
        }
    }
}
