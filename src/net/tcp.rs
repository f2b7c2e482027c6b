//! TCP.

use super::macros::{delegate, socket, stream};
use super::socket::Socket;
use std::io;
use std::net::{self, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

/// A TCP connection whose calls yield. Source: `std::net::TcpStream`, gevent's `socket`.
#[derive(Debug)]
pub struct TcpStream(Socket);

/// A TCP socket that accepts connections, and yields meanwhile. Source: `std::net::TcpListener`.
#[derive(Debug)]
pub struct TcpListener(Socket);

socket!(TcpStream: net::TcpStream);
socket!(TcpListener: net::TcpListener);
stream!(TcpStream: net::TcpStream, recv_tcp);

fn connect(address: &SocketAddr, deadline: Option<Instant>) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let socket = Socket::open(family, libc::SOCK_STREAM)?;
    socket.connect(&address.into(), deadline)?;
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
}

delegate! { TcpStream: net::TcpStream {
    /// The address of the other end.
    fn peer_addr(&self) -> SocketAddr;
    /// The address of this end.
    fn local_addr(&self) -> SocketAddr;
    /// Whether small writes are sent at once.
    fn set_nodelay(&self, nodelay: bool) -> ();
    /// What was set.
    fn nodelay(&self) -> bool;
    /// How many routers a packet may pass.
    fn set_ttl(&self, ttl: u32) -> ();
    /// What was set.
    fn ttl(&self) -> u32;
}}

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
        let (socket, address) = self.0.accept()?;
        Ok((TcpStream(socket), address.to_ip()?))
    }

    /// The connections, as they come; never ends.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming(self)
    }
}

delegate! { TcpListener: net::TcpListener {
    /// Where it listens.
    fn local_addr(&self) -> SocketAddr;
    /// How many routers a packet of its connections may pass.
    fn set_ttl(&self, ttl: u32) -> ();
    /// What was set.
    fn ttl(&self) -> u32;
}}

/// The connections of a [`TcpListener`], as they come.
#[derive(Debug)]
pub struct Incoming<'a>(&'a TcpListener);

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.0.accept().map(|(stream, _)| stream))
    }
}
