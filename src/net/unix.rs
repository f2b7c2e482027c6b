//! Unix sockets.

use super::macros::{datagrams, delegate, socket, stream};
use super::socket::Socket;
use std::io;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;

/// A connection between processes of one host whose calls yield. Source: `std::os::unix::net::UnixStream`.
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

/// A Unix socket that accepts connections, and yields meanwhile. Source: `std::os::unix::net::UnixListener`.
#[derive(Debug)]
pub struct UnixListener(Socket);

/// A Unix socket for messages, whose calls yield. Source: `std::os::unix::net::UnixDatagram`.
#[derive(Debug)]
pub struct UnixDatagram(Socket);

socket!(UnixStream: net::UnixStream);
socket!(UnixListener: net::UnixListener);
socket!(UnixDatagram: net::UnixDatagram);
stream!(UnixStream: net::UnixStream, recv);
datagrams!(UnixDatagram);

impl UnixStream {
    /// Connects to the socket at `path`. Blocks while the backlog there is full, and looks again now and then.
    ///
    /// # Errors
    /// Those of connect(2): nobody listens there, ...; `InvalidInput` for a path that is too long.
    pub fn connect(path: impl AsRef<Path>) -> io::Result<UnixStream> {
        UnixStream::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// As `connect`, to an address, which may be an abstract one.
    ///
    /// # Errors
    /// As for `connect`.
    pub fn connect_addr(address: &SocketAddr) -> io::Result<UnixStream> {
        let socket = Socket::open(libc::AF_UNIX, libc::SOCK_STREAM)?;
        socket.connect_unix(&address.into())?;
        Ok(UnixStream(socket))
    }

    /// Two that are connected to each other.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (one, other) = Socket::pair(libc::SOCK_STREAM)?;
        Ok((UnixStream(one), UnixStream(other)))
    }
}

delegate! { UnixStream: net::UnixStream {
    /// The address of the other end.
    fn peer_addr(&self) -> SocketAddr;
    /// The address of this end.
    fn local_addr(&self) -> SocketAddr;
}}

impl UnixListener {
    /// Listens at `path`, where there must be nothing yet.
    ///
    /// # Errors
    /// Those of bind(2) and listen(2).
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        UnixListener::from_std(net::UnixListener::bind(path)?)
    }

    /// Listens at an address, which may be an abstract one.
    ///
    /// # Errors
    /// As for `bind`.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixListener> {
        UnixListener::from_std(net::UnixListener::bind_addr(address)?)
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// Those of accept(2): no descriptor is left, ...
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (socket, address) = self.0.accept()?;
        Ok((UnixStream(socket), address.to_unix()))
    }

    /// The connections, as they come; never ends.
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming(self)
    }
}

delegate! { UnixListener: net::UnixListener {
    /// Where it listens.
    fn local_addr(&self) -> SocketAddr;
}}

/// The connections of a [`UnixListener`], as they come.
#[derive(Debug)]
pub struct UnixIncoming<'a>(&'a UnixListener);

impl Iterator for UnixIncoming<'_> {
    type Item = io::Result<UnixStream>;

    fn next(&mut self) -> Option<io::Result<UnixStream>> {
        Some(self.0.accept().map(|(stream, _)| stream))
    }
}

impl UnixDatagram {
    /// A socket at `path`, where there must be nothing yet.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(net::UnixDatagram::bind(path)?)
    }

    /// A socket at an address, which may be an abstract one.
    ///
    /// # Errors
    /// As for `bind`.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(net::UnixDatagram::bind_addr(address)?)
    }

    /// A socket without an address.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn unbound() -> io::Result<UnixDatagram> {
        Socket::open(libc::AF_UNIX, libc::SOCK_DGRAM).map(UnixDatagram)
    }

    /// Two that are connected to each other.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (one, other) = Socket::pair(libc::SOCK_DGRAM)?;
        Ok((UnixDatagram(one), UnixDatagram(other)))
    }

    /// From here on sends to the socket at `path`, and receives from there only. Does not block.
    ///
    /// # Errors
    /// Those of connect(2).
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.0.as_std::<net::UnixDatagram>().connect(path)
    }

    /// Receives a message, and whose it is; what does not fit into `buffer` is lost.
    ///
    /// # Errors
    /// Those of recvfrom(2); `WouldBlock` after the read timeout.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, from) = self.0.recv_from(buffer, 0)?;
        Ok((len, from.to_unix()))
    }

    /// As `recv_from`, but the message stays to be received.
    ///
    /// # Errors
    /// As for `recv_from`.
    pub fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, from) = self.0.recv_from(buffer, libc::MSG_PEEK)?;
        Ok((len, from.to_unix()))
    }

    /// Sends a message to the socket at `path`. Blocks while that one has no room, and looks again now and then.
    ///
    /// # Errors
    /// Those of sendto(2); `WouldBlock` after the write timeout.
    pub fn send_to(&self, bytes: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        self.send_to_addr(bytes, &SocketAddr::from_pathname(path)?)
    }

    /// As `send_to`, to an address, which may be an abstract one.
    ///
    /// # Errors
    /// As for `send_to`.
    pub fn send_to_addr(&self, bytes: &[u8], address: &SocketAddr) -> io::Result<usize> {
        self.0.send_to_unix(bytes, &address.into())
    }
}

delegate! { UnixDatagram: net::UnixDatagram {
    /// As `connect`, to an address, which may be an abstract one.
    fn connect_addr(&self, address: &SocketAddr) -> ();
    /// The address that it is connected to.
    fn peer_addr(&self) -> SocketAddr;
    /// The address that it is at.
    fn local_addr(&self) -> SocketAddr;
    /// Ends one direction, or both. Who waits for it is woken.
    fn shutdown(&self, how: std::net::Shutdown) -> ();
}}
