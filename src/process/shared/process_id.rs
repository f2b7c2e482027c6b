//! Which process that is, and whether it has ended: for those who wait for what another process holds.
//!
//! A number alone does not do, for it is given to another process when its own was reaped. With the time at which the
//! process began it does; that is field 22 of `/proc/PID/stat`, see proc(5).

use super::robust_list::epoch;
use crate::arch::syscall::syscall;
use crate::fd_table;
use crate::process::pidfd;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// A process, this one or another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ProcessId {
    id: u32,
    /// Clock ticks after the machine did; 0: not known, for there is no `/proc`.
    began: u64,
}

/// A descriptor that is readable once that process has ended.
pub(crate) struct ExitFd {
    of: ProcessId,
    fd: OwnedFd,
}

impl ProcessId {
    /// This process. No system call but in the first call of each process.
    #[inline]
    pub(crate) fn current() -> ProcessId {
        static KNOWN_SINCE: AtomicU64 = AtomicU64::new(0);
        static ID: AtomicU64 = AtomicU64::new(0);
        static BEGAN: AtomicU64 = AtomicU64::new(0);
        let epoch = epoch().unwrap_or(0);
        if epoch != 0 && KNOWN_SINCE.load(Acquire) == epoch {
            return ProcessId { id: ID.load(Relaxed) as u32, began: BEGAN.load(Relaxed) };
        }
        // All OS threads find the same.
        let id = std::process::id();
        let peer = ProcessId { id, began: began(id) };
        ID.store(u64::from(id), Relaxed);
        BEGAN.store(peer.began, Relaxed);
        KNOWN_SINCE.store(epoch, Release);
        peer
    }

    /// What to wait for its end by.
    ///
    /// Errors: no descriptor left.
    pub(crate) fn end(self) -> io::Result<ExitFd> {
        let end = match pidfd::open(self.id) {
            Ok(fd) => ExitFd { of: self, fd },
            // No such process; or that is an OS thread's number now.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL)) => {
                ExitFd { of: self, fd: ended()? }
            }
            Err(error) => return Err(error),
        };
        // Asked after: if it was another process's number by then, it is another's descriptor that we have.
        let began = began(self.id);
        if began != 0 && self.began != 0 && began != self.began {
            return Ok(ExitFd { of: self, fd: ended()? });
        }
        Ok(end)
    }
}

impl ExitFd {
    /// Of which process.
    pub(crate) fn of(&self) -> ProcessId {
        self.of
    }

    /// Whether it has ended.
    pub(crate) fn has_come(&self) -> bool {
        pidfd::has_ended(self.fd.as_fd())
    }

    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Drop for ExitFd {
    fn drop(&mut self) {
        fd_table::forget(self.fd.as_raw_fd());
    }
}

/// A descriptor that is readable now.
fn ended() -> io::Result<OwnedFd> {
    let flags = (libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) as usize;
    // SAFETY: no pointers.
    let fd = unsafe { syscall(libc::SYS_eventfd2, [1, flags, 0, 0, 0, 0]) };
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd as i32));
    }
    fd_table::forget(fd as RawFd);
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// When the process of that number began; 0 if that cannot be known.
fn began(id: u32) -> u64 {
    let mut text = [0; 1024];
    let path = format!("/proc/{id}/stat\0");
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
    // SAFETY: a path that ends in 0, and room for the text. Past the C library, whose functions may be patched: who waits
    // for a lock is not to wait for something else first.
    let length = unsafe {
        let at = libc::AT_FDCWD as usize;
        let fd = syscall(libc::SYS_openat, [at, path.as_ptr() as usize, flags, 0, 0, 0]);
        if fd < 0 {
            return 0;
        }
        let length = syscall(libc::SYS_read, [fd as usize, text.as_mut_ptr() as usize, text.len(), 0, 0, 0]);
        syscall(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]);
        length
    };
    let text = text.get(..length.max(0) as usize).unwrap_or(&[]);
    field_22(text).unwrap_or(0)
}

/// The name of the program, which is field 2, may have spaces and brackets in it.
fn field_22(stat: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(&stat[stat.iter().rposition(|&byte| byte == b')')? + 1..]).ok()?;
    text.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_begun_and_has_not_ended() {
        let this = ProcessId::current();
        assert_eq!((this.id, this.began), (std::process::id(), began(std::process::id())));
        assert_ne!(this.began, 0);
        assert!(!this.end().unwrap().has_come());
    }

    #[test]
    fn one_whose_number_is_another_processs_has_ended() {
        let this = ProcessId::current();
        assert!(ProcessId { began: this.began + 1, ..this }.end().unwrap().has_come());
        // Greater than any that is given.
        assert!(ProcessId { id: 1 << 23, began: 1 }.end().unwrap().has_come());
    }

    #[test]
    fn a_name_with_brackets() {
        let stat = b"7 (a) b 1 (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(field_22(stat), Some(4711));
    }
}
