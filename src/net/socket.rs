//! A socket whose calls yield. Every type of this module is one.
//!
//! The descriptor is non-blocking, because the socket owns it. System calls bypass the C library, whose functions may be
//! patched. Each is one attempt of [`Hub::retry`](crate::hub::Hub::retry).
//!
//! Next: `net/sockaddr.rs`, addresses.
#![allow(unsafe_code)]

use super::sockaddr::Address;
use crate::api::current_hub::current_hub;
use crate::api::io::result;
use crate::arch::syscall::syscall;
use crate::fd_table;
use crate::hub::{BackoffOpts, EAGAIN, OnInterrupt, RetryOpts, Tracking};
use crate::ids::Direction;
use crate::time::{NEVER, Time};
use socket2::{Domain, SockAddr, Type};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::ManuallyDrop;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// An open socket. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    /// The timeouts of receiving and sending, in nanoseconds, by [`Direction`]. 0: none.
    timeouts: [AtomicU64; 2],
}

impl Socket {
    /// Makes a socket non-blocking and owns it.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Socket> {
        set_nonblocking(&fd, true)?;
        Ok(Socket::of_nonblocking(fd))
    }

    /// Owns a descriptor that is non-blocking. Its number may have been registered, if it was closed unseen.
    fn of_nonblocking(fd: OwnedFd) -> Socket {
        fd_table::invalidate(fd.as_raw_fd());
        Socket { fd, timeouts: Default::default() }
    }

    /// Makes a socket for connections.
    pub(super) fn open(domain: Domain) -> io::Result<Socket> {
        Socket::new(socket2::Socket::new(domain, Type::STREAM, None)?.into())
    }

    /// Returns another descriptor of the socket, with the same timeouts.
    pub(super) fn try_clone(&self) -> io::Result<Socket> {
        let mut clone = Socket::of_nonblocking(self.fd.try_clone()?);
        clone.timeouts = self.timeouts.each_ref().map(|timeout| AtomicU64::new(timeout.load(Relaxed)));
        Ok(clone)
    }

    /// Returns the socket as std's `T`, which must be the type of such a socket.
    pub(super) fn as_std<T: From<OwnedFd>>(&self) -> ManuallyDrop<T> {
        // SAFETY: the descriptor is open as long as `self` is borrowed. The copy is never dropped, so it does not close it.
        ManuallyDrop::new(T::from(unsafe { OwnedFd::from_raw_fd(self.raw()) }))
    }

    /// Returns the descriptor, blocking again, as std's are.
    pub(super) fn into_fd(self) -> io::Result<OwnedFd> {
        set_nonblocking(&self.fd, false)?;
        Ok(self.take_fd())
    }

    /// Returns the descriptor, still non-blocking.
    pub(super) fn take_fd(self) -> OwnedFd {
        fd_table::invalidate(self.raw());
        let this = ManuallyDrop::new(self);
        // SAFETY: moved out once, because `this` is never dropped. The rest of it needs no drop.
        unsafe { std::ptr::read(&raw const this.fd) }
    }

    pub(super) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub(super) fn set_timeout(&self, direction: Direction, timeout: Option<Duration>) -> io::Result<()> {
        if timeout == Some(Duration::ZERO) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "cannot set a timeout of zero"));
        }
        let nanos = timeout.map_or(0, |timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        self.timeouts[direction as usize].store(nanos, Relaxed);
        Ok(())
    }

    pub(super) fn get_timeout(&self, direction: Direction) -> Option<Duration> {
        let nanos = self.timeouts[direction as usize].load(Relaxed);
        (nanos != 0).then(|| Duration::from_nanos(nanos))
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

    /// Receives from a TCP connection, as `recv` does. If it fills less than `buffer`, there is no more now. (Unix sockets
    /// differ: there a read ends before a message that contains descriptors.)
    #[inline]
    pub(super) fn recv_tcp(&self, buffer: &mut [u8], flags: i32) -> io::Result<usize> {
        let drains = if flags & libc::MSG_PEEK == 0 { buffer.len() } else { 0 };
        self.recv_to(buffer, flags, [0; 2], drains)
    }

    /// Receives a message. Returns its length and the address of its sender.
    pub(super) fn recv_from<A: Address>(&self, buffer: &mut [u8], flags: i32) -> io::Result<(usize, A)> {
        let receive =
            |from: *mut _, len: *mut _| self.recv_to(buffer, flags, [from as usize, len as usize], 0);
        // SAFETY: the kernel writes an address and its length.
        let (len, from) = unsafe { SockAddr::try_init(receive) }?;
        Ok((len, A::of(&from)?))
    }

    /// `from`: pointers by which the kernel writes the address and its length, or zeros.
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
        // SAFETY: the buffer is valid for a write of its length, and so are the pointers of the address.
        self.retry(Direction::Read, drains, || unsafe { syscall(libc::SYS_recvfrom, args) })
    }

    /// Sends `bytes`, or the first part of them. Does not raise SIGPIPE.
    #[inline]
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.retry(Direction::Write, 0, || self.try_send(bytes, [0; 2]))
    }

    /// Sends a message to an Internet address.
    pub(super) fn send_to(&self, bytes: &[u8], to: &SockAddr) -> io::Result<usize> {
        self.retry(Direction::Write, 0, || self.try_send(bytes, to_read(to)))
    }

    /// Sends a message to a Unix socket. The kernel does not report when the receiver has room again: each refusal is an edge,
    /// as if it had. So this polls.
    pub(super) fn send_to_unix(&self, bytes: &[u8], to: &SockAddr) -> io::Result<usize> {
        let deadline = self.deadline(Direction::Write);
        poll(deadline, "room in a Unix socket", || self.try_send(bytes, to_read(to)))
    }

    /// `to`: the pointer to the address, and its length, or zeros.
    #[inline]
    fn try_send(&self, bytes: &[u8], [to, to_len]: [usize; 2]) -> isize {
        let flags = (libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) as usize;
        let args = [self.raw() as usize, bytes.as_ptr() as usize, bytes.len(), flags, to, to_len];
        // SAFETY: the bytes are valid for a read, and so is the address.
        unsafe { syscall(libc::SYS_sendto, args) }
    }

    /// Receives into several buffers, as `readv` does.
    pub(super) fn read_slices(&self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        // SAFETY: std's slices have the kernel's layout, and these are valid for writes.
        unsafe { self.vectored(Direction::Read, slices.as_mut_ptr().cast(), slices.len()) }
    }

    /// Sends from several buffers, as `writev` does.
    pub(super) fn write_slices(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // SAFETY: as above. The kernel only reads these.
        unsafe { self.vectored(Direction::Write, slices.as_ptr().cast_mut().cast(), slices.len()) }
    }

    /// # Safety
    /// `slices` points to `count` buffers, valid for what the kernel does with them.
    unsafe fn vectored(
        &self,
        direction: Direction,
        slices: *mut libc::iovec,
        count: usize,
    ) -> io::Result<usize> {
        let number = if direction == Direction::Read { libc::SYS_recvmsg } else { libc::SYS_sendmsg };
        // SAFETY: all zeros is a valid, empty message.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = slices;
        message.msg_iovlen = count.min(1024) as _;
        let flags = (libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) as usize;
        let args = [self.raw() as usize, &raw mut message as usize, flags, 0, 0, 0];
        // SAFETY: the caller's, and the message is in this frame.
        self.retry(direction, 0, || unsafe { syscall(number, args) })
    }

    /// Accepts a connection. Returns it with the address of the peer. The address is part of the call, because a peer that has
    /// gone already has none.
    pub(super) fn accept<A: Address>(&self) -> io::Result<(Socket, A)> {
        let flags = (libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as usize;
        let accept = |from: *mut _, len: *mut _| {
            let args = [self.raw() as usize, from as usize, len as usize, flags, 0, 0];
            // SAFETY: the pointers are valid for a write of an address and its length.
            self.retry(Direction::Read, 0, || match unsafe { syscall(libc::SYS_accept4, args) } {
                // The listener is a Unix socket. For a receive this would be the end, 0, which here is a descriptor.
                EAGAIN if current_hub().is_shut_down(self.raw()) => -(libc::EINVAL as isize),
                answer => answer,
            })
        };
        // SAFETY: the kernel writes an address and its length.
        let (fd, from) = unsafe { SockAddr::try_init(accept) }?;
        // SAFETY: the kernel has just made the descriptor, for this code alone.
        let socket = Socket::of_nonblocking(unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
        Ok((socket, A::of(&from)?))
    }

    /// Connects, waiting until `deadline` at most.
    pub(super) fn connect(&self, to: &SockAddr, deadline: Option<Instant>) -> io::Result<()> {
        match result(self.try_connect(to)) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {}
            connected => return connected.map(drop),
        }
        crate::api::io::wait_writable(self, deadline)?;
        self.as_std::<TcpStream>().take_error()?.map_or(Ok(()), Err)
    }

    /// Connects to a Unix socket. The kernel does not report when a full backlog has room again, so this polls.
    pub(super) fn connect_unix(&self, to: &SockAddr) -> io::Result<()> {
        poll(NEVER, "room in a backlog", || self.try_connect(to)).map(drop)
    }

    fn try_connect(&self, to: &SockAddr) -> isize {
        let [to, len] = to_read(to);
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
        // Before the field is dropped, which closes the descriptor.
        fd_table::invalidate(self.raw());
    }
}

/// Returns the pointer to an address, and its length, for the kernel to read.
fn to_read(address: &SockAddr) -> [usize; 2] {
    [address.as_ptr() as usize, address.len() as usize]
}

fn set_nonblocking(fd: &OwnedFd, on: bool) -> io::Result<()> {
    let mut on = i32::from(on);
    let args = [fd.as_raw_fd() as usize, libc::FIONBIO as usize, &raw mut on as usize, 0, 0, 0];
    // SAFETY: the int is in this frame. The call bypasses the C library, which may be patched.
    result(unsafe { syscall(libc::SYS_ioctl, args) }).map(drop)
}
