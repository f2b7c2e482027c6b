//! UDP sockets.
//!
//! Next: `net/unix.rs`.

use super::macros::{datagrams, delegate};
use super::socket::Socket;
use std::io;
use std::net::{self, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// A UDP socket whose calls yield. Source: `std::net::UdpSocket`, gevent's `socket`.
///
/// ```
/// use greenline::net::UdpSocket;
///
/// let here = UdpSocket::bind("127.0.0.1:0").unwrap();
/// let address = here.local_addr().unwrap();
/// greenline::spawn(move || UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"hello", address).unwrap());
/// let mut bytes = [0; 10];
/// let (len, _from) = here.recv_from(&mut bytes).unwrap();
/// assert_eq!(&bytes[..len], b"hello");
/// ```
#[derive(Debug)]
pub struct UdpSocket(Socket);

datagrams!(UdpSocket: net::UdpSocket, SocketAddr);

impl UdpSocket {
    /// Makes a socket at `address`. If there are several addresses, takes the first that is free.
    ///
    /// # Errors
    /// Errors of bind(2).
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        UdpSocket::from_std(net::UdpSocket::bind(address)?)
    }

    /// Makes `address` the peer: from now on the socket sends to it, and receives only from it. Does not block.
    ///
    /// # Errors
    /// Errors of connect(2).
    pub fn connect(&self, address: impl ToSocketAddrs) -> io::Result<()> {
        self.0.as_std::<net::UdpSocket>().connect(address)
    }

    /// Sends a message to `address`. If there are several addresses, takes the first. Blocks while there is no room for the
    /// message.
    ///
    /// # Errors
    /// Errors of sendto(2); `InvalidInput` if there is no address; `WouldBlock` after the write timeout.
    pub fn send_to(&self, bytes: &[u8], address: impl ToSocketAddrs) -> io::Result<usize> {
        match address.to_socket_addrs()?.next() {
            Some(address) => self.0.send_to(bytes, &address.into()),
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, "no addresses to send data to")),
        }
    }
}

delegate! { UdpSocket: net::UdpSocket {
    /// Sets whether the socket may send to broadcast addresses.
    fn set_broadcast(&self, broadcast: bool) -> ();
    /// Returns whether the socket may send to broadcast addresses.
    fn broadcast(&self) -> bool;
    /// Sets whether messages to a group come back to this host.
    fn set_multicast_loop_v4(&self, on: bool) -> ();
    /// Returns whether messages to a group come back to this host.
    fn multicast_loop_v4(&self) -> bool;
    /// Sets the number of routers that a message to a group may pass.
    fn set_multicast_ttl_v4(&self, ttl: u32) -> ();
    /// Returns the number of routers that a message to a group may pass.
    fn multicast_ttl_v4(&self) -> u32;
    /// Sets whether messages to a group come back to this host.
    fn set_multicast_loop_v6(&self, on: bool) -> ();
    /// Returns whether messages to a group come back to this host.
    fn multicast_loop_v6(&self) -> bool;
    /// Sets the number of routers that a message may pass.
    fn set_ttl(&self, ttl: u32) -> ();
    /// Returns the number of routers that a message may pass.
    fn ttl(&self) -> u32;
    /// Joins a group on an interface: receives the messages to the group.
    fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> ();
    /// Joins a group on an interface: receives the messages to the group.
    fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> ();
    /// Leaves a group.
    fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> ();
    /// Leaves a group.
    fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> ();
}}
