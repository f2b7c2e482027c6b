//! TCP sockets.
//!
//! Next: `net/udp.rs`.

use super::listener::Connections;
use super::macros::{delegate, listener, stream};
use super::socket::Socket;
use socket2::Domain;
use std::io;
use std::net::{self, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

/// A TCP connection whose calls yield. Source: `std::net::TcpStream`, gevent's `socket`.
#[derive(Debug)]
pub struct TcpStream(Socket);

/// A TCP socket that accepts connections, and whose calls yield. Source: `std::net::TcpListener`.
#[derive(Debug)]
pub struct TcpListener(Socket);

stream!(TcpStream: net::TcpStream, SocketAddr, recv_tcp);
listener!(TcpListener: net::TcpListener, TcpStream, SocketAddr);

fn connect(address: &SocketAddr, deadline: Option<Instant>) -> io::Result<TcpStream> {
    let socket = Socket::open(Domain::for_address(*address))?;
    socket.connect(&(*address).into(), deadline)?;
    Ok(TcpStream(socket))
}

impl TcpStream {
    /// Connects to `address`. If there are several addresses, tries one after the other.
    ///
    /// # Errors
    /// The error of the last attempt. `InvalidInput` if there is no address.
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
    /// [`TimedOut`](io::ErrorKind::TimedOut). `InvalidInput` for a timeout of zero. Errors of connect(2).
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "cannot set a 0 duration timeout"));
        }
        connect(address, Instant::now().checked_add(timeout))
    }
}

delegate! { TcpStream: net::TcpStream {
    /// Sets whether small writes are sent at once.
    fn set_nodelay(&self, nodelay: bool) -> ();
    /// Returns whether small writes are sent at once.
    fn nodelay(&self) -> bool;
    /// Sets the number of routers that a packet may pass.
    fn set_ttl(&self, ttl: u32) -> ();
    /// Returns the number of routers that a packet may pass.
    fn ttl(&self) -> u32;
}}

impl TcpListener {
    /// Listens at `address`. If there are several addresses, takes the first that is free.
    ///
    /// # Errors
    /// Errors of bind(2) and listen(2).
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
        TcpListener::from_std(net::TcpListener::bind(address)?)
    }
}

delegate! { TcpListener: net::TcpListener {
    /// Sets the number of routers that a packet of a connection may pass.
    fn set_ttl(&self, ttl: u32) -> ();
    /// Returns the number of routers that a packet of a connection may pass.
    fn ttl(&self) -> u32;
}}

/// The connections of a [`TcpListener`].
pub type Incoming<'a> = Connections<'a, TcpListener>;
