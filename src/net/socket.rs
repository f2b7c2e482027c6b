//! A socket that yields: what the types of this module have in common.
//!
//! Its descriptor is non-blocking, for it is ours. Calls go to the kernel past the C library, whose functions may be
//! patched; each is one attempt in [`retry`].
#![allow(unsafe_code)]

use crate::arch::syscall::syscall;
use crate::fds;
use crate::hub::hub;
use crate::io::retry;
use crate::reactor::Direction;
use crate::time::{NEVER, Time};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// No timeout.
const NONE: u64 = u64::MAX;

/// An open socket.
#[derive(Debug)]
pub(super) struct Socket {
    /// Taken when it is closed, or given away.
    fd: ManuallyDrop<OwnedFd>,
    /// Nanoseconds.
    read_timeout: AtomicU64,
    write_timeout: AtomicU64,
}

/// A raw answer as a result.
pub(super) fn answer(raw: isize) -> io::Result<usize> {
    usize::try_from(raw).map_err(|_| io::Error::from_raw_os_error(-raw as i32))
}

impl Socket {
    /// Takes over a socket, which becomes non-blocking.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Socket> {
        set_nonblocking(&fd, true)?;
        // Who made it may not have told.
        fds::forget(fd.as_raw_fd());
        Ok(Socket::of_nonblocking(fd))
    }

    /// Takes over one that is so already.
    pub(super) fn of_nonblocking(fd: OwnedFd) -> Socket {
        let fd = ManuallyDrop::new(fd);
        Socket { fd, read_timeout: AtomicU64::new(NONE), write_timeout: AtomicU64::new(NONE) }
    }

    /// Gives it back, blocking again: as std's are.
    pub(super) fn into_fd(mut self) -> io::Result<OwnedFd> {
        set_nonblocking(&self.fd, false)?;
        // SAFETY: taken once, for `self` is forgotten.
        let fd = unsafe { ManuallyDrop::take(&mut self.fd) };
        std::mem::forget(self);
        fds::forget(fd.as_raw_fd());
        Ok(fd)
    }

    pub(super) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub(super) fn timeout(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Read => &self.read_timeout,
            Direction::Write => &self.write_timeout,
        }
    }

    pub(super) fn set_timeout(&self, direction: Direction, timeout: Option<Duration>) -> io::Result<()> {
        let nanos = match timeout {
            None => NONE,
            Some(Duration::ZERO) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a timeout of zero means none to std",
                ));
            }
            Some(timeout) => u64::try_from(timeout.as_nanos()).unwrap_or(NONE - 1).min(NONE - 1),
        };
        self.timeout(direction).store(nanos, Relaxed);
        Ok(())
    }

    pub(super) fn get_timeout(&self, direction: Direction) -> Option<Duration> {
        match self.timeout(direction).load(Relaxed) {
            NONE => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    fn deadline(&self, direction: Direction) -> Time {
        self.get_timeout(direction).map_or(NEVER, |timeout| hub().clock().after(timeout))
    }

    /// The loop, with this socket's timeout.
    #[inline]
    pub(super) fn retry(
        &self,
        direction: Direction,
        attempt: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        retry(hub(), self.raw(), direction, || self.deadline(direction), attempt)
    }

    /// Receives into `buffer`. On a stream, less than what was asked for means that there is no more now.
    #[inline]
    pub(super) fn recv(&self, buffer: &mut [u8], flags: i32, is_stream: bool) -> io::Result<usize> {
        let args = [self.raw() as usize, buffer.as_mut_ptr() as usize, buffer.len(), flags as usize, 0, 0];
        let got = self.retry(Direction::Read, || {
            // SAFETY: the buffer is valid for a write of its length.
            answer(unsafe { syscall(libc::SYS_recvfrom, args) })
        })?;
        if is_stream && got > 0 && got < buffer.len() && flags & libc::MSG_PEEK == 0 {
            hub().reactor().maybe_drained(self.raw(), Direction::Read);
        }
        Ok(got)
    }

    /// Sends `bytes`, or the first of them. SIGPIPE is not raised.
    #[inline]
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = libc::MSG_NOSIGNAL as usize;
        let args = [self.raw() as usize, bytes.as_ptr() as usize, bytes.len(), flags, 0, 0];
        // SAFETY: the bytes are valid for a read.
        self.retry(Direction::Write, || answer(unsafe { syscall(libc::SYS_sendto, args) }))
    }

    /// `readv` and `writev`: the kernel's layout of a slice is that of std's.
    pub(super) fn vectored(
        &self,
        direction: Direction,
        slices: *const u8,
        count: usize,
    ) -> io::Result<usize> {
        let number = if direction == Direction::Read { libc::SYS_recvmsg } else { libc::SYS_sendmsg };
        // SAFETY: all zeros is a message without anything.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = slices as *mut libc::iovec;
        message.msg_iovlen = count.min(1024) as _;
        let args = [self.raw() as usize, &raw mut message as usize, libc::MSG_NOSIGNAL as usize, 0, 0, 0];
        // SAFETY: the callers give slices of theirs, in the kernel's layout.
        self.retry(direction, || answer(unsafe { syscall(number, args) }))
    }

    /// Accepts a connection.
    pub(super) fn accept(&self) -> io::Result<Socket> {
        let flags = (libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as usize;
        let args = [self.raw() as usize, 0, 0, flags, 0, 0];
        // SAFETY: no address is asked for.
        let fd = self.retry(Direction::Read, || answer(unsafe { syscall(libc::SYS_accept4, args) }))?;
        // SAFETY: the kernel has just made it for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        fds::forget(fd.as_raw_fd());
        Ok(Socket::of_nonblocking(fd))
    }

    /// Connects, until `deadline` at most.
    pub(super) fn connect(
        &self,
        address: *const u8,
        len: usize,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        let args = [self.raw() as usize, address as usize, len, 0, 0, 0];
        // SAFETY: the callers give an address of theirs.
        match answer(unsafe { syscall(libc::SYS_connect, args) }) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {}
            connected => return connected.map(drop),
        }
        crate::io::wait_writable(self, deadline)?;
        match take_error(self)? {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        fds::forget(self.raw());
        // SAFETY: taken once.
        drop(unsafe { ManuallyDrop::take(&mut self.fd) });
    }
}

impl IntoRawFd for Socket {
    fn into_raw_fd(mut self) -> RawFd {
        // SAFETY: taken once, for `self` is forgotten.
        let fd = unsafe { ManuallyDrop::take(&mut self.fd) };
        std::mem::forget(self);
        fds::forget(fd.as_raw_fd());
        fd.into_raw_fd()
    }
}

/// The error that the kernel has kept for this socket.
pub(super) fn take_error(socket: &Socket) -> io::Result<Option<io::Error>> {
    let (mut error, mut len) = (0i32, size_of::<i32>() as libc::socklen_t);
    let (level, option) = (libc::SOL_SOCKET, libc::SO_ERROR);
    // SAFETY: room for an int, and its length.
    if unsafe { libc::getsockopt(socket.raw(), level, option, (&raw mut error).cast(), &raw mut len) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((error != 0).then(|| io::Error::from_raw_os_error(error)))
}

fn set_nonblocking(fd: &OwnedFd, on: bool) -> io::Result<()> {
    let mut on = i32::from(on);
    let args = [fd.as_raw_fd() as usize, libc::FIONBIO as usize, &raw mut on as usize, 0, 0, 0];
    // SAFETY: an int of ours. Past the C library, which may be patched.
    answer(unsafe { syscall(libc::SYS_ioctl, args) }).map(drop)
}
