//! Socket addresses: std's, and the kernel's as the socket2 crate keeps them.
//!
//! Next: `net/macros.rs`, the methods that sockets have in common.

use socket2::SockAddr;
use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net as unix;
use std::path::Path;

/// An address of std's.
pub(super) trait Address: Sized {
    /// Converts an address that the kernel has written.
    fn of(address: &SockAddr) -> io::Result<Self>;
}

impl Address for SocketAddr {
    /// Errors: the address is of another family.
    fn of(address: &SockAddr) -> io::Result<SocketAddr> {
        let other = || io::Error::new(io::ErrorKind::InvalidInput, "not an Internet address");
        address.as_socket().ok_or_else(other)
    }
}

impl Address for unix::SocketAddr {
    /// An address that std cannot represent, such as a path of 108 bytes, becomes an unnamed one. Errors: none.
    fn of(address: &SockAddr) -> io::Result<unix::SocketAddr> {
        let path = address.as_pathname().unwrap_or(Path::new(""));
        let abstract_name = address.as_abstract_namespace().map(unix::SocketAddr::from_abstract_name);
        let named = abstract_name.unwrap_or_else(|| unix::SocketAddr::from_pathname(path));
        named.or_else(|_| unix::SocketAddr::from_pathname(""))
    }
}

/// Converts the address of a Unix socket. Errors: none, because std's has room for no name that is too long.
pub(super) fn of_unix(address: &unix::SocketAddr) -> io::Result<SockAddr> {
    match address.as_abstract_name() {
        // An abstract name begins with a zero.
        Some(name) => SockAddr::unix(OsStr::from_bytes(&[b"\0", name].concat())),
        None => SockAddr::unix(address.as_pathname().unwrap_or(Path::new(""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code)]
    fn address_of_the_kernels_is_the_one_that_it_was_made_from() {
        let to_unix = |address: &SockAddr| <unix::SocketAddr as Address>::of(address).unwrap();
        for address in ["127.0.0.1:80", "255.0.0.1:65535", "[::1]:80", "[fe80::1%3]:1"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(<SocketAddr as Address>::of(&address.into()).unwrap(), address);
        }
        let longest = "x".repeat(107);
        for path in ["", "/a", &longest] {
            let address = unix::SocketAddr::from_pathname(path).unwrap();
            let back = to_unix(&of_unix(&address).unwrap());
            assert_eq!(back.as_pathname(), address.as_pathname());
            assert_eq!(back.is_unnamed(), path.is_empty());
        }
        for name in [&b""[..], b"a\0b", longest.as_bytes()] {
            let address = unix::SocketAddr::from_abstract_name(name).unwrap();
            assert_eq!(to_unix(&of_unix(&address).unwrap()).as_abstract_name(), Some(name));
        }
        // SAFETY: all zeros is an address of no family.
        let ((), space) = unsafe { SockAddr::try_init(|_, _| Ok(())) }.unwrap();
        assert!(<SocketAddr as Address>::of(&space).is_err());
        assert!(to_unix(&space).is_unnamed());
        assert!(<SocketAddr as Address>::of(&SockAddr::unix("/a").unwrap()).is_err());
    }
}
