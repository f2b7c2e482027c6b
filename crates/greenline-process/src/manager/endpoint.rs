//! The address of a manager, its name in errors, and the connections to it.
//!
//! Next: `manager/client.rs`, which keeps the connections.
//!
//! On one machine it is an abstract Unix address: a name without a file. No process has to remove it, and it vanishes
//! with the server. It has no file permissions either. Instead, each end asks the kernel for the user of the other end
//! (`sys.rs`), and both prove that they have the key (`handshake.rs`).

use super::manager_error::ManagerError;
use super::sys;
use greenline::net::{TcpStream, UnixListener, UnixStream};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net;
use std::time::Duration;

/// Longest time for another host to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connected stream socket, Unix or TCP. Once connected, both are used by the same system calls (send, receive, shut
/// down), so one type holds either.
pub(super) type Stream = UnixStream;

/// Prepares a TCP connection: small frames are sent at once, and the kernel notices a peer that vanished silently.
pub(super) fn from_tcp(stream: TcpStream) -> io::Result<Stream> {
    stream.set_nodelay(true)?;
    sys::keep_alive(&stream)?;
    UnixStream::from_std(net::UnixStream::from(OwnedFd::from(stream.into_std()?)))
}

/// Shuts the connection down in all processes that have a copy of its descriptor.
pub(super) fn shut_down(stream: &Stream) {
    // An error means that the connection has ended already.
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Address {
    /// A name in the abstract namespace.
    Unix(String),
    Tcp(SocketAddr),
}

impl Address {
    /// Listens at an unused Unix address for a manager of that name.
    pub(super) fn listen(name: &str) -> io::Result<(UnixListener, Address)> {
        let random = u64::from_ne_bytes(sys::random()?);
        // An address holds at most 107 bytes.
        let name: String = name.chars().filter(char::is_ascii_graphic).take(40).collect();
        let name = format!("greenline/{name}/{}-{random:016x}", std::process::id());
        Ok((UnixListener::bind_addr(&net::SocketAddr::from_abstract_name(&name)?)?, Address::Unix(name)))
    }

    /// Returns the address by which clients on this host reach a listener that is bound to `local`.
    pub(super) fn of_listener(mut local: SocketAddr) -> Address {
        match local.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => local.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => local.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        Address::Tcp(local)
    }

    /// Connects. Whether the other end is a manager is not yet known.
    pub(super) fn connect(&self) -> io::Result<Stream> {
        match self {
            Address::Unix(name) => {
                let stream = UnixStream::connect_addr(&net::SocketAddr::from_abstract_name(name)?)?;
                sys::check_peer(&stream).map(|_| stream)
            }
            Address::Tcp(address) => from_tcp(TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?),
        }
    }

    pub(super) fn gone(&self, cause: impl fmt::Display) -> ManagerError {
        ManagerError::Gone { manager: self.to_string(), cause: cause.to_string() }
    }

    /// Returns the error of a client that could not connect, or not complete the handshake.
    pub(super) fn unreached(&self, error: io::Error) -> ManagerError {
        match error.raw_os_error() {
            // This process or this machine lacks a resource.
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => ManagerError::Io(error),
            _ if error.kind() == io::ErrorKind::PermissionDenied => {
                ManagerError::Refused { manager: self.to_string(), cause: error.to_string() }
            }
            _ => self.gone(error),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(name) => write!(f, "the manager at @{name}"),
            Address::Tcp(address) => write!(f, "the manager at {address}"),
        }
    }
}
