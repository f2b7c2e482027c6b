//! A socket that yields: what the types of this module have in common.
//!
//! Its descriptor is non-blocking, for it is ours. Calls go to the kernel past the C library, whose functions may be
//! patched; each is one attempt of [`Hub::retry`](crate::hub::Hub::retry).
#![allow(unsafe_code)]

use super::address::Address;
use crate::api::current_hub::current_hub;
use crate::api::io::result;
use crate::arch::syscall::syscall;
use crate::fd_table;
use crate::hub::{BackoffOpts, OnInterrupt, RetryOpts, Tracking};
use crate::ids::Direction;
use crate::time::{NEVER, Time};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::ManuallyDrop;
use std::ops::Deref;
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

/// std's type, of a descriptor that is ours: for the calls that do not block.
pub(super) struct Borrowed<T>(ManuallyDrop<T>);

impl<T> Deref for Borrowed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl Socket {
    /// Takes over a socket, which becomes non-blocking.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Socket> {
        set_nonblocking(&fd, true)?;
        // Who made it may not have told.
        fd_table::invalidate(fd.as_raw_fd());
        Ok(Socket::of_nonblocking(fd))
    }

    /// Takes over one that is so already.
    pub(super) fn of_nonblocking(fd: OwnedFd) -> Socket {
        let fd = ManuallyDrop::new(fd);
        Socket { fd, read_timeout: AtomicU64::new(NONE), write_timeout: AtomicU64::new(NONE) }
    }

    /// Makes one, of a family and a kind that is a stream or sends datagrams.
    pub(super) fn open(family: i32, kind: i32) -> io::Result<Socket> {
        // SAFETY: no pointers.
        let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it for us.
        Ok(unsafe { Socket::of_new(fd) })
    }

    /// Makes two Unix sockets that are connected to each other.
    pub(super) fn pair(kind: i32) -> io::Result<(Socket, Socket)> {
        let mut fds = [0; 2];
        let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: room for two.
        if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made them for us.
        Ok(unsafe { (Socket::of_new(fds[0]), Socket::of_new(fds[1])) })
    }

    /// Takes over one that the kernel has just made, non-blocking.
    ///
    /// # Safety
    /// It is open, and nobody else's.
    unsafe fn of_new(fd: RawFd) -> Socket {
        fd_table::invalidate(fd);
        // SAFETY: the caller's contract.
        Socket::of_nonblocking(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Another descriptor for it, with the same timeouts.
    pub(super) fn try_clone(&self) -> io::Result<Socket> {
        let fd = self.fd.try_clone()?;
        fd_table::invalidate(fd.as_raw_fd());
        let clone = Socket::of_nonblocking(fd);
        for direction in [Direction::Read, Direction::Write] {
            clone.timeout(direction).store(self.timeout(direction).load(Relaxed), Relaxed);
        }
        Ok(clone)
    }

    /// As std's `T`, which is the type of such a socket.
    pub(super) fn as_std<T: From<OwnedFd>>(&self) -> Borrowed<T> {
        // SAFETY: open as long as the socket is borrowed, and not closed by this one, which is never dropped.
        Borrowed(ManuallyDrop::new(T::from(unsafe { OwnedFd::from_raw_fd(self.raw()) })))
    }

    /// Gives it back, blocking again: as std's are.
    pub(super) fn into_fd(mut self) -> io::Result<OwnedFd> {
        set_nonblocking(&self.fd, false)?;
        // SAFETY: taken once, for `self` is forgotten.
        let fd = unsafe { ManuallyDrop::take(&mut self.fd) };
        std::mem::forget(self);
        fd_table::invalidate(fd.as_raw_fd());
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
        self.get_timeout(direction).map_or(NEVER, |timeout| current_hub().clock().after(timeout))
    }

    /// [`Hub::retry`](crate::hub::Hub::retry) with this socket's timeout. A read that the reactor knows to be drained waits
    /// first. A read of something, but of less than `drains` bytes, has drained the socket.
    #[inline]
    fn retry(
        &self,
        direction: Direction,
        drains: usize,
        attempt: impl FnMut() -> isize,
    ) -> io::Result<usize> {
        let (hub, fd) = (current_hub(), self.raw());
        // A write is tried in any case, because there mostly is room.
        let known = if direction == Direction::Read { hub.reactor().state(fd) } else { None };
        let drained = known.filter(|state| !state.is_ready(direction));
        let opts = RetryOpts {
            deadline: || Some(self.deadline(direction)),
            on_interrupt: OnInterrupt::Unwind,
            tracking: Tracking::Complete,
            drained,
        };
        let answer = hub.retry(fd, direction, opts, attempt)?;
        if answer > 0 && (answer as usize) < drains {
            // No other green thread has run since the read.
            if let Some(state) = drained.or_else(|| hub.reactor().state(fd)) {
                state.assume_not_ready(direction);
            }
        }
        result(answer)
    }

    /// Receives into `buffer`.
    #[inline]
    pub(super) fn recv(&self, buffer: &mut [u8], flags: i32) -> io::Result<usize> {
        self.recv_to(buffer, flags, [0; 2], 0)
    }

    /// As `recv`, from a TCP connection: less than what was asked for means that there is no more now. Not so with Unix
    /// sockets, where a read ends before a message with descriptors in it.
    #[inline]
    pub(super) fn recv_tcp(&self, buffer: &mut [u8], flags: i32) -> io::Result<usize> {
        let drains = if flags & libc::MSG_PEEK == 0 { buffer.len() } else { 0 };
        self.recv_to(buffer, flags, [0; 2], drains)
    }

    /// Receives a message, and from whom it is.
    pub(super) fn recv_from(&self, buffer: &mut [u8], flags: i32) -> io::Result<(usize, Address)> {
        let mut from = Address::room();
        let got = self.recv_to(buffer, flags, from.for_writing(), 0)?;
        Ok((got, from))
    }

    /// `from`: where to write the address, and its length; or zeros.
    #[inline]
    fn recv_to(
        &self,
        buffer: &mut [u8],
        flags: i32,
        [from, from_len]: [usize; 2],
        drains: usize,
    ) -> io::Result<usize> {
        let flags = (flags | libc::MSG_DONTWAIT) as usize;
        let args = [self.raw() as usize, buffer.as_mut_ptr() as usize, buffer.len(), flags, from, from_len];
        // SAFETY: the buffer is valid for a write of its length, and so is the address.
        self.retry(Direction::Read, drains, || unsafe { syscall(libc::SYS_recvfrom, args) })
    }

    /// Sends `bytes`, or the first of them. SIGPIPE is not raised.
    #[inline]
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.retry(Direction::Write, 0, || self.try_send(bytes, [0; 2]))
    }

    /// Sends a message to an address of the Internet.
    pub(super) fn send_to(&self, bytes: &[u8], to: &Address) -> io::Result<usize> {
        self.retry(Direction::Write, 0, || self.try_send(bytes, to.for_reading()))
    }

    /// Sends a message to a Unix socket. Nothing says when the other one has room again; rather, each refusal is an
    /// edge, as if it had.
    pub(super) fn send_to_unix(&self, bytes: &[u8], to: &Address) -> io::Result<usize> {
        let deadline = self.deadline(Direction::Write);
        poll(deadline, "room in a Unix socket", || self.try_send(bytes, to.for_reading()))
    }

    /// `to`: the address, and its length; or zeros.
    #[inline]
    fn try_send(&self, bytes: &[u8], [to, to_len]: [usize; 2]) -> isize {
        let flags = (libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) as usize;
        let args = [self.raw() as usize, bytes.as_ptr() as usize, bytes.len(), flags, to, to_len];
        // SAFETY: the bytes are valid for a read, and so is the address.
        unsafe { syscall(libc::SYS_sendto, args) }
    }

    /// Receives into several, as `readv` does.
    pub(super) fn read_slices(&self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        // SAFETY: the kernel's layout of a slice is that of std's, and these are valid for writes.
        unsafe { self.vectored(Direction::Read, slices.as_mut_ptr().cast(), slices.len()) }
    }

    /// Sends from several, as `writev` does.
    pub(super) fn write_slices(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // SAFETY: as above; these are only read.
        unsafe { self.vectored(Direction::Write, slices.as_ptr().cast_mut().cast(), slices.len()) }
    }

    /// # Safety
    /// There are so many slices, valid for what the kernel does with them.
    unsafe fn vectored(
        &self,
        direction: Direction,
        slices: *mut libc::iovec,
        count: usize,
    ) -> io::Result<usize> {
        let number = if direction == Direction::Read { libc::SYS_recvmsg } else { libc::SYS_sendmsg };
        // SAFETY: all zeros is a message without anything.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = slices;
        message.msg_iovlen = count.min(1024) as _;
        let flags = (libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) as usize;
        let args = [self.raw() as usize, &raw mut message as usize, flags, 0, 0, 0];
        // SAFETY: the caller's, and the message is ours.
        self.retry(direction, 0, || unsafe { syscall(number, args) })
    }

    /// Accepts a connection: it, and whose it is. The address is asked for here, for who has gone already has none.
    pub(super) fn accept(&self) -> io::Result<(Socket, Address)> {
        let mut from = Address::room();
        let [address, len] = from.for_writing();
        let flags = (libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as usize;
        let args = [self.raw() as usize, address, len, flags, 0, 0];
        // SAFETY: room for an address, and its length.
        let fd = self.retry(Direction::Read, 0, || unsafe { syscall(libc::SYS_accept4, args) })?;
        // SAFETY: the kernel has just made it for us.
        Ok((unsafe { Socket::of_new(fd as RawFd) }, from))
    }

    /// Connects, until `deadline` at most.
    pub(super) fn connect(&self, to: &Address, deadline: Option<Instant>) -> io::Result<()> {
        match result(self.try_connect(to)) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {}
            connected => return connected.map(drop),
        }
        crate::api::io::wait_writable(self, deadline)?;
        match take_error(self)? {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }

    /// Connects to a Unix socket. Nothing says when a full backlog has room again.
    pub(super) fn connect_unix(&self, to: &Address) -> io::Result<()> {
        poll(NEVER, "room in a backlog", || self.try_connect(to)).map(drop)
    }

    fn try_connect(&self, to: &Address) -> isize {
        let [to, len] = to.for_reading();
        // SAFETY: the address is valid for a read.
        unsafe { syscall(libc::SYS_connect, [self.raw() as usize, to, len, 0, 0, 0]) }
    }
}

/// Calls `attempt` at growing intervals until it returns something else than EAGAIN.
///
/// Errors: those of `attempt`; EAGAIN when the deadline has passed.
fn poll(deadline: Time, what: &'static str, attempt: impl FnMut() -> isize) -> io::Result<usize> {
    let opts = BackoffOpts { deadline, on_interrupt: OnInterrupt::Unwind, what, changed: None };
    result(current_hub().poll_with_backoff(&opts, attempt)?)
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        fd_table::invalidate(self.raw());
        // SAFETY: taken once.
        drop(unsafe { ManuallyDrop::take(&mut self.fd) });
    }
}

impl IntoRawFd for Socket {
    fn into_raw_fd(mut self) -> RawFd {
        // SAFETY: taken once, for `self` is forgotten.
        let fd = unsafe { ManuallyDrop::take(&mut self.fd) };
        std::mem::forget(self);
        fd_table::invalidate(fd.as_raw_fd());
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
    result(unsafe { syscall(libc::SYS_ioctl, args) }).map(drop)
}
