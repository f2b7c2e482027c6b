//! Unix sockets.
//!
//! Next: `net/listener.rs`, the sockets from which a server gets its work.

use super::listener::Connections;
use super::macros::{datagrams, delegate, listener, stream};
use super::sockaddr::of_unix;
use super::socket::Socket;
use socket2::Domain;
use std::io;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;

/// A connection between processes of one host, whose calls yield. Source: `std::os::unix::net::UnixStream`.
///
/// ```
/// use greenline::net::UnixStream;
/// use std::io::{Read, Write};
///
/// let (mut here, mut there) = UnixStream::pair().unwrap();
/// greenline::spawn(move || there.write_all(b"hello").unwrap());
/// let mut said = String::new();
/// here.read_to_string(&mut said).unwrap();
/// assert_eq!(said, "hello");
/// ```
#[derive(Debug)]
pub struct UnixStream(Socket);

/// A Unix socket that accepts connections, and whose calls yield. Source: `std::os::unix::net::UnixListener`.
#[derive(Debug)]
pub struct UnixListener(Socket);

/// A Unix socket for messages, whose calls yield. Source: `std::os::unix::net::UnixDatagram`.
#[derive(Debug)]
pub struct UnixDatagram(Socket);

stream!(UnixStream: net::UnixStream, SocketAddr, recv);
listener!(UnixListener: net::UnixListener, UnixStream, SocketAddr);
datagrams!(UnixDatagram: net::UnixDatagram, SocketAddr);

impl UnixStream {
    /// Connects to the socket at `path`. While the backlog of that socket is full, blocks and tries again at intervals.
    ///
    /// # Errors
    /// Errors of connect(2): no socket listens there, ...; `InvalidInput` for a path that is too long.
    pub fn connect(path: impl AsRef<Path>) -> io::Result<UnixStream> {
        UnixStream::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Connects to an address as `connect` does. It may be an abstract one.
    ///
    /// # Errors
    /// As for `connect`.
    pub fn connect_addr(address: &SocketAddr) -> io::Result<UnixStream> {
        let socket = Socket::open(Domain::UNIX)?;
        socket.connect_unix(&of_unix(address)?)?;
        Ok(UnixStream(socket))
    }

    /// Makes two sockets that are connected to each other.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (one, other) = net::UnixStream::pair()?;
        Ok((UnixStream::from_std(one)?, UnixStream::from_std(other)?))
    }
}

impl UnixListener {
    /// Listens at `path`, which must not exist yet.
    ///
    /// # Errors
    /// Errors of bind(2) and listen(2).
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        UnixListener::from_std(net::UnixListener::bind(path)?)
    }

    /// Listens at an address. It may be an abstract one.
    ///
    /// # Errors
    /// As for `bind`.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixListener> {
        UnixListener::from_std(net::UnixListener::bind_addr(address)?)
    }
}

/// The connections of a [`UnixListener`].
pub type UnixIncoming<'a> = Connections<'a, UnixListener>;

impl UnixDatagram {
    /// Makes a socket at `path`, which must not exist yet.
    ///
    /// # Errors
    /// Errors of bind(2).
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(net::UnixDatagram::bind(path)?)
    }

    /// Makes a socket at an address. It may be an abstract one.
    ///
    /// # Errors
    /// As for `bind`.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(net::UnixDatagram::bind_addr(address)?)
    }

    /// Makes a socket without an address.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn unbound() -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(net::UnixDatagram::unbound()?)
    }

    /// Makes two sockets that are connected to each other.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (one, other) = net::UnixDatagram::pair()?;
        Ok((UnixDatagram::from_std(one)?, UnixDatagram::from_std(other)?))
    }

    /// Makes the socket at `path` the peer: from now on this socket sends to it, and receives only from it. Does not block.
    ///
    /// # Errors
    /// Errors of connect(2).
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.0.as_std::<net::UnixDatagram>().connect(path)
    }

    /// Sends a message to the socket at `path`. While that socket has no room, blocks and tries again at intervals.
    ///
    /// # Errors
    /// Errors of sendto(2); `WouldBlock` after the write timeout.
    pub fn send_to(&self, bytes: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        self.send_to_addr(bytes, &SocketAddr::from_pathname(path)?)
    }

    /// Sends a message to an address as `send_to` does. It may be an abstract one.
    ///
    /// # Errors
    /// As for `send_to`.
    pub fn send_to_addr(&self, bytes: &[u8], address: &SocketAddr) -> io::Result<usize> {
        self.0.send_to_unix(bytes, &of_unix(address)?)
    }
}

delegate! { UnixDatagram: net::UnixDatagram {
    /// Makes an address the peer, as `connect` does. It may be an abstract one.
    fn connect_addr(&self, address: &SocketAddr) -> ();
    /// Shuts down one direction, or both. Wakes the green threads that wait for it.
    fn shutdown(&self, how: std::net::Shutdown) -> ();
}}
