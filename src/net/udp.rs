//! UDP.

use super::macros::{datagrams, delegate, socket};
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

socket!(UdpSocket: net::UdpSocket);
datagrams!(UdpSocket);

impl UdpSocket {
    /// A socket at `address`; of several, at the first that can be had.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        UdpSocket::from_std(net::UdpSocket::bind(address)?)
    }

    /// From here on sends to `address`, and receives from there only. Does not block.
    ///
    /// # Errors
    /// Those of connect(2).
    pub fn connect(&self, address: impl ToSocketAddrs) -> io::Result<()> {
        self.0.as_std::<net::UdpSocket>().connect(address)
    }

    /// Receives a message, and whose it is; what does not fit into `buffer` is lost.
    ///
    /// # Errors
    /// Those of recvfrom(2); `WouldBlock` after the read timeout.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, from) = self.0.recv_from(buffer, 0)?;
        Ok((len, from.to_ip()?))
    }

    /// As `recv_from`, but the message stays to be received.
    ///
    /// # Errors
    /// As for `recv_from`.
    pub fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, from) = self.0.recv_from(buffer, libc::MSG_PEEK)?;
        Ok((len, from.to_ip()?))
    }

    /// Sends a message to `address`; of several, to the first. Blocks while there is no room for it.
    ///
    /// # Errors
    /// Those of sendto(2); `InvalidInput` if there is no address; `WouldBlock` after the write timeout.
    pub fn send_to(&self, bytes: &[u8], address: impl ToSocketAddrs) -> io::Result<usize> {
        match address.to_socket_addrs()?.next() {
            Some(address) => self.0.send_to(bytes, &(&address).into()),
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, "no addresses to send data to")),
        }
    }
}

delegate! { UdpSocket: net::UdpSocket {
    /// The address that it is connected to.
    fn peer_addr(&self) -> SocketAddr;
    /// The address that it is at.
    fn local_addr(&self) -> SocketAddr;
    /// Whether it may send to all.
    fn set_broadcast(&self, broadcast: bool) -> ();
    /// What was set.
    fn broadcast(&self) -> bool;
    /// Whether what it sends to a group comes back to this host.
    fn set_multicast_loop_v4(&self, on: bool) -> ();
    /// What was set.
    fn multicast_loop_v4(&self) -> bool;
    /// How many routers a message to a group may pass.
    fn set_multicast_ttl_v4(&self, ttl: u32) -> ();
    /// What was set.
    fn multicast_ttl_v4(&self) -> u32;
    /// Whether what it sends to a group comes back to this host.
    fn set_multicast_loop_v6(&self, on: bool) -> ();
    /// What was set.
    fn multicast_loop_v6(&self) -> bool;
    /// How many routers a message may pass.
    fn set_ttl(&self, ttl: u32) -> ();
    /// What was set.
    fn ttl(&self) -> u32;
    /// Receives what is sent to a group, from that interface.
    fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> ();
    /// Receives what is sent to a group, from that interface.
    fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> ();
    /// Receives it no more.
    fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> ();
    /// Receives it no more.
    fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> ();
}}
