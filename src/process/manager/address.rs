//! Where a manager is, and what it is called in errors.
//!
//! On one machine it is an abstract Unix address: a name that has no file, so nothing has to be removed by whoever
//! survives, and that is gone with the server. It has no file's permissions either; that is made up for by asking the
//! kernel who is at the other end (`sys.rs`), and by the key (`handshake.rs`).

use super::error::ManagerError;
use super::stream::Stream;
use super::sys;
use crate::net::{TcpStream, UnixStream};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net;
use std::time::Duration;

/// How long another host may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Address {
    /// A name in the abstract namespace.
    Unix(String),
    Tcp(SocketAddr),
}

impl Address {
    /// A Unix address that nobody has, for a manager of that name.
    pub(super) fn fresh(name: &str) -> io::Result<Address> {
        let mut random = [0; 8];
        sys::random(&mut random)?;
        // An address holds 107 bytes.
        let name: String = name.chars().filter(char::is_ascii_graphic).take(40).collect();
        Ok(Address::Unix(format!(
            "greenline/{name}/{}-{:016x}",
            std::process::id(),
            u64::from_ne_bytes(random)
        )))
    }

    /// Where to reach who listens at `local` from this host.
    pub(super) fn of_listener(mut local: SocketAddr) -> Address {
        match local.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => local.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => local.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        Address::Tcp(local)
    }

    /// A Unix one, as std has it.
    pub(super) fn to_unix(&self) -> io::Result<net::SocketAddr> {
        match self {
            Address::Unix(name) => net::SocketAddr::from_abstract_name(name),
            Address::Tcp(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Connects. The other end is not yet known to be a manager.
    pub(super) fn connect(&self) -> Result<Stream, ManagerError> {
        match self.try_connect() {
            Ok(stream) => Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(ManagerError::Refused { manager: self.to_string(), cause: error.to_string() })
            }
            Err(error) if is_ours(&error) => Err(ManagerError::Io(error)),
            Err(error) => Err(self.gone(&error)),
        }
    }

    fn try_connect(&self) -> io::Result<Stream> {
        match self {
            Address::Unix(_) => {
                let stream = UnixStream::connect_addr(&self.to_unix()?)?;
                sys::check_peer(&stream)?;
                Ok(Stream::Unix(stream))
            }
            Address::Tcp(address) => Stream::tcp(TcpStream::connect_timeout(address, PATIENCE)?),
        }
    }

    /// What is said when the manager cannot be reached any more.
    pub(super) fn gone(&self, cause: &dyn fmt::Display) -> ManagerError {
        ManagerError::Gone { manager: self.to_string(), cause: cause.to_string() }
    }
}

/// Whether the reason is on this side: nothing is left of something.
fn is_ours(error: &io::Error) -> bool {
    const OURS: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    error.raw_os_error().is_some_and(|code| OURS.contains(&code))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(name) => write!(f, "the manager at @{name}"),
            Address::Tcp(address) => write!(f, "the manager at {address}"),
        }
    }
}
