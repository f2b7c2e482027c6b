//! Socket addresses in the kernel's format.
//!
//! Next: `net/macros.rs`, the methods that sockets have in common.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net as unix;

/// Offset of the path, in bytes.
const PATH: usize = std::mem::offset_of!(libc::sockaddr_un, sun_path);

/// An address, or space for one.
pub(super) struct SockAddr {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl SockAddr {
    /// Returns space for an address of any family.
    pub(super) fn space() -> SockAddr {
        // SAFETY: all zeros is a valid address, of no family.
        let storage = unsafe { std::mem::zeroed() };
        SockAddr { storage, len: size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    /// Stores `address`, of the kernel's type for some family, and of `len` bytes.
    fn new<T>(address: T, len: usize) -> SockAddr {
        let mut new = SockAddr::space();
        const { assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>()) };
        // SAFETY: `T` fits, as asserted, and the storage is aligned for every family.
        unsafe { (&raw mut new.storage).cast::<T>().write(address) };
        new.len = len as libc::socklen_t;
        new
    }

    /// Returns the pointers by which the kernel writes the address and its length.
    pub(super) fn for_writing(&mut self) -> [usize; 2] {
        [&raw mut self.storage as usize, &raw mut self.len as usize]
    }

    /// Returns the pointer to the address, and its length, for the kernel to read.
    pub(super) fn for_reading(&self) -> [usize; 2] {
        [&raw const self.storage as usize, self.len as usize]
    }
}

impl TryFrom<&SockAddr> for SocketAddr {
    type Error = io::Error;

    /// Errors: the address is of another family.
    fn try_from(address: &SockAddr) -> io::Result<SocketAddr> {
        let storage = &raw const address.storage;
        match i32::from(address.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says that the storage contains this type.
                let v4 = unsafe { storage.cast::<libc::sockaddr_in>().read() };
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Ok(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let v6 = unsafe { storage.cast::<libc::sockaddr_in6>().read() };
                let (ip, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
                Ok(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not an Internet address")),
        }
    }
}

impl TryFrom<&SockAddr> for unix::SocketAddr {
    type Error = io::Error;

    /// An address that std cannot represent, such as a path of 108 bytes, becomes an unnamed one. Errors: none.
    fn try_from(address: &SockAddr) -> io::Result<unix::SocketAddr> {
        let len = (address.len as usize).clamp(PATH, size_of::<libc::sockaddr_un>());
        let start = (&raw const address.storage).cast::<u8>();
        // SAFETY: the slice lies in the storage, which is larger than any Unix address.
        let path = unsafe { std::slice::from_raw_parts(start.add(PATH), len - PATH) };
        let named = match path {
            [] => None,
            [0, name @ ..] => unix::SocketAddr::from_abstract_name(name).ok(),
            path => {
                let path = path.split(|&byte| byte == 0).next().unwrap_or(path);
                unix::SocketAddr::from_pathname(OsStr::from_bytes(path)).ok()
            }
        };
        named.map_or_else(|| unix::SocketAddr::from_pathname(""), Ok)
    }
}

impl From<&SocketAddr> for SockAddr {
    fn from(address: &SocketAddr) -> SockAddr {
        match address {
            SocketAddr::V4(address) => {
                let v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as _,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                    sin_zero: [0; 8],
                };
                SockAddr::new(v4, size_of::<libc::sockaddr_in>())
            }
            SocketAddr::V6(address) => {
                let v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as _,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                };
                SockAddr::new(v6, size_of::<libc::sockaddr_in6>())
            }
        }
    }
}

impl From<&unix::SocketAddr> for SockAddr {
    fn from(address: &unix::SocketAddr) -> SockAddr {
        let mut raw = libc::sockaddr_un { sun_family: libc::AF_UNIX as _, sun_path: [0; 108] };
        // A path ends with a zero. An abstract name begins with one.
        let (bytes, start, len) = match (address.as_pathname(), address.as_abstract_name()) {
            (Some(path), _) => (path.as_os_str().as_bytes(), 0, path.as_os_str().len() + 1),
            (_, Some(name)) => (name, 1, name.len() + 1),
            _ => (&[][..], 0, 0),
        };
        for (to, from) in raw.sun_path[start..].iter_mut().zip(bytes) {
            *to = *from as libc::c_char;
        }
        SockAddr::new(raw, PATH + len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sock_addr_from_and_to_std_is_the_identity() {
        let to_unix = |address: &SockAddr| unix::SocketAddr::try_from(address).unwrap();
        for address in ["127.0.0.1:80", "255.0.0.1:65535", "[::1]:80", "[fe80::1%3]:1"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(SocketAddr::try_from(&SockAddr::from(&address)).unwrap(), address);
        }
        let longest = "x".repeat(107);
        for path in ["", "/a", &longest] {
            let address = unix::SocketAddr::from_pathname(path).unwrap();
            let back = to_unix(&SockAddr::from(&address));
            assert_eq!(back.as_pathname(), address.as_pathname());
            assert_eq!(back.is_unnamed(), path.is_empty());
        }
        for name in [&b""[..], b"a\0b", longest.as_bytes()] {
            let address = unix::SocketAddr::from_abstract_name(name).unwrap();
            assert_eq!(to_unix(&SockAddr::from(&address)).as_abstract_name(), Some(name));
        }
        assert!(SocketAddr::try_from(&SockAddr::space()).is_err());
        let named = unix::SocketAddr::from_pathname("/a").unwrap();
        assert!(SocketAddr::try_from(&SockAddr::from(&named)).is_err());
    }
}
