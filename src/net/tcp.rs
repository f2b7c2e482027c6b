//! TCP.
#![allow(unsafe_code)]

use super::socket::{Socket, take_error};
use crate::reactor::Direction;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::ManuallyDrop;
use std::net::{self, Shutdown, SocketAddr, ToSocketAddrs};
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// A TCP connection whose calls yield. Source: `std::net::TcpStream`, gevent's `socket`.
#[derive(Debug)]
pub struct TcpStream(Socket);

/// A TCP socket that accepts connections, and yields meanwhile. Source: `std::net::TcpListener`.
#[derive(Debug)]
pub struct TcpListener(Socket);

/// std's type, of a descriptor that is ours: for the calls that do not block.
struct Borrowed<T>(ManuallyDrop<T>);

impl<T> Deref for Borrowed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

fn std_stream(socket: &Socket) -> Borrowed<net::TcpStream> {
    // SAFETY: open as long as the socket is borrowed, and not closed by this one, which is never dropped.
    Borrowed(ManuallyDrop::new(unsafe { net::TcpStream::from_raw_fd(socket.raw()) }))
}

fn std_listener(socket: &Socket) -> Borrowed<net::TcpListener> {
    // SAFETY: as above.
    Borrowed(ManuallyDrop::new(unsafe { net::TcpListener::from_raw_fd(socket.raw()) }))
}

/// A socket address, as the kernel has it.
#[repr(C)]
union Address {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Address {
    fn new(address: &SocketAddr) -> (Address, usize) {
        match address {
            SocketAddr::V4(address) => {
                let v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as _,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                    sin_zero: [0; 8],
                };
                (Address { v4 }, size_of::<libc::sockaddr_in>())
            }
            SocketAddr::V6(address) => {
                let v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as _,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                };
                (Address { v6 }, size_of::<libc::sockaddr_in6>())
            }
        }
    }
}

fn connect(address: &SocketAddr, deadline: Option<Instant>) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers; the descriptor is ours from the beginning.
    let fd = unsafe {
        let fd = libc::socket(family, kind, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    crate::fds::forget(fd.as_raw_fd());
    let socket = Socket::of_nonblocking(fd);
    let (address, len) = Address::new(address);
    socket.connect((&raw const address).cast(), len, deadline)?;
    Ok(TcpStream(socket))
}

impl TcpStream {
    /// Connects to `address`; of several, to the first that answers.
    ///
    /// # Errors
    /// That of the last attempt; `InvalidInput` if there is no address.
    pub fn connect(address: impl ToSocketAddrs) -> io::Result<TcpStream> {
        let mut error = io::Error::new(io::ErrorKind::InvalidInput, "could not resolve to any addresses");
        for address in address.to_socket_addrs()? {
            match connect(&address, None) {
                Ok(stream) => return Ok(stream),
                Err(refused) => error = refused,
            }
        }
        Err(error)
    }

    /// Connects to `address`, within `timeout`.
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut); `InvalidInput` for a timeout of zero; those of connect(2).
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "cannot set a 0 duration timeout"));
        }
        connect(address, Instant::now().checked_add(timeout))
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// Those of getpeername(2).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        std_stream(&self.0).peer_addr()
    }

    /// The address of this end.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        std_stream(&self.0).local_addr()
    }

    /// Ends one direction of the connection, or both. Who waits for it is woken.
    ///
    /// # Errors
    /// Those of shutdown(2).
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        std_stream(&self.0).shutdown(how)
    }

    /// Another handle to the same connection, with the same timeouts.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        let clone = OwnedFd::from(std_stream(&self.0).try_clone()?);
        crate::fds::forget(clone.as_raw_fd());
        let clone = Socket::of_nonblocking(clone);
        for direction in [Direction::Read, Direction::Write] {
            clone.set_timeout(direction, self.0.get_timeout(direction))?;
        }
        Ok(TcpStream(clone))
    }

    /// How long a read waits before it fails with [`WouldBlock`](io::ErrorKind::WouldBlock); `None`: for ever.
    ///
    /// # Errors
    /// `InvalidInput` for zero, as std has it.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_timeout(Direction::Read, timeout)
    }

    /// How long a write waits, in the same way.
    ///
    /// # Errors
    /// `InvalidInput` for zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_timeout(Direction::Write, timeout)
    }

    /// What was set.
    ///
    /// # Errors
    /// None: as std's.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.0.get_timeout(Direction::Read))
    }

    /// What was set.
    ///
    /// # Errors
    /// None: as std's.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.0.get_timeout(Direction::Write))
    }

    /// As `read`, but what was read stays to be read.
    ///
    /// # Errors
    /// As for `read`.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.recv(buffer, libc::MSG_PEEK, true)
    }

    /// Whether small writes are sent at once.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        std_stream(&self.0).set_nodelay(nodelay)
    }

    /// What was set.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn nodelay(&self) -> io::Result<bool> {
        std_stream(&self.0).nodelay()
    }

    /// How many routers a packet may pass.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        std_stream(&self.0).set_ttl(ttl)
    }

    /// What was set.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn ttl(&self) -> io::Result<u32> {
        std_stream(&self.0).ttl()
    }

    /// The error that the kernel has kept for this connection, if any.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        take_error(&self.0)
    }

    /// Makes a std stream yield.
    ///
    /// # Errors
    /// It cannot be made non-blocking.
    pub fn from_std(stream: net::TcpStream) -> io::Result<TcpStream> {
        Ok(TcpStream(Socket::new(stream.into())?))
    }

    /// Makes it a std stream, blocking, without timeouts.
    ///
    /// # Errors
    /// It cannot be made blocking.
    pub fn into_std(self) -> io::Result<net::TcpStream> {
        self.0.into_fd().map(net::TcpStream::from)
    }
}

impl Read for &TcpStream {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.recv(buffer, 0, true)
    }

    fn read_vectored(&mut self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.0.vectored(Direction::Read, slices.as_ptr().cast(), slices.len())
    }
}

impl Write for &TcpStream {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.vectored(Direction::Write, slices.as_ptr().cast(), slices.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_vectored(&mut self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(slices)
    }
}

impl Write for TcpStream {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TcpListener {
    /// Listens at `address`; of several, at the first that can be had.
    ///
    /// # Errors
    /// Those of bind(2) and listen(2).
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
        TcpListener::from_std(net::TcpListener::bind(address)?)
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// Those of accept(2): no descriptor is left, the peer has gone already, ...
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let stream = TcpStream(self.0.accept()?);
        let address = stream.peer_addr()?;
        Ok((stream, address))
    }

    /// The connections, as they come; never ends.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming(self)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        std_listener(&self.0).local_addr()
    }

    /// Another handle to the same listener.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        let clone = OwnedFd::from(std_listener(&self.0).try_clone()?);
        crate::fds::forget(clone.as_raw_fd());
        Ok(TcpListener(Socket::of_nonblocking(clone)))
    }

    /// The error that the kernel has kept for this listener, if any.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        take_error(&self.0)
    }

    /// Makes a std listener yield.
    ///
    /// # Errors
    /// It cannot be made non-blocking.
    pub fn from_std(listener: net::TcpListener) -> io::Result<TcpListener> {
        Ok(TcpListener(Socket::new(listener.into())?))
    }

    /// Makes it a std listener, blocking.
    ///
    /// # Errors
    /// It cannot be made blocking.
    pub fn into_std(self) -> io::Result<net::TcpListener> {
        self.0.into_fd().map(net::TcpListener::from)
    }
}

/// The connections of a [`TcpListener`], as they come.
#[derive(Debug)]
pub struct Incoming<'a>(&'a TcpListener);

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.0.accept().map(|(stream, _)| stream))
    }
}

macro_rules! descriptor {
    ($($type:ty)*) => {$(
        impl AsFd for $type {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.as_fd()
            }
        }
        impl AsRawFd for $type {
            fn as_raw_fd(&self) -> RawFd {
                self.0.raw()
            }
        }
        impl IntoRawFd for $type {
            /// Non-blocking still.
            fn into_raw_fd(self) -> RawFd {
                self.0.into_raw_fd()
            }
        }
    )*};
}
descriptor!(TcpStream TcpListener);
