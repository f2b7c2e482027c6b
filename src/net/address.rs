//! Socket addresses, as the kernel has them.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net as unix;

/// Where the path begins.
const PATH: usize = std::mem::offset_of!(libc::sockaddr_un, sun_path);

/// An address, or room for one.
pub(super) struct Address {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl Address {
    /// Room for any.
    pub(super) fn room() -> Address {
        // SAFETY: all zeros is an address, of no family.
        let storage = unsafe { std::mem::zeroed() };
        Address { storage, len: size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    /// `T` is the kernel's type of address for some family.
    fn new<T>(address: T, len: usize) -> Address {
        let mut new = Address::room();
        const { assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>()) };
        // SAFETY: it fits, and the storage is aligned for all of them.
        unsafe { (&raw mut new.storage).cast::<T>().write(address) };
        new.len = len as libc::socklen_t;
        new
    }

    /// For the kernel to write to: the address, and its length.
    pub(super) fn for_writing(&mut self) -> [usize; 2] {
        [&raw mut self.storage as usize, &raw mut self.len as usize]
    }

    /// For the kernel to read: the address, and how long it is.
    pub(super) fn for_reading(&self) -> [usize; 2] {
        [&raw const self.storage as usize, self.len as usize]
    }

    /// Errors: it is of another family.
    pub(super) fn to_ip(&self) -> io::Result<SocketAddr> {
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: that is what the family says.
                let v4 = unsafe { (&raw const self.storage).cast::<libc::sockaddr_in>().read() };
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Ok(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let v6 = unsafe { (&raw const self.storage).cast::<libc::sockaddr_in6>().read() };
                let (ip, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
                Ok(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not an Internet address")),
        }
    }

    /// One that std cannot hold, as one of 108 bytes, is unnamed.
    pub(super) fn to_unix(&self) -> unix::SocketAddr {
        let len = (self.len as usize).clamp(PATH, size_of::<libc::sockaddr_un>());
        let start = (&raw const self.storage).cast::<u8>();
        // SAFETY: of the storage, which is larger than any Unix address.
        let path = unsafe { std::slice::from_raw_parts(start.add(PATH), len - PATH) };
        let named = match path {
            [] => None,
            [0, name @ ..] => unix::SocketAddr::from_abstract_name(name).ok(),
            path => {
                let path = path.split(|&byte| byte == 0).next().unwrap_or(path);
                unix::SocketAddr::from_pathname(OsStr::from_bytes(path)).ok()
            }
        };
        named.unwrap_or_else(|| unix::SocketAddr::from_pathname("").expect("an empty path is short enough"))
    }
}

impl From<&SocketAddr> for Address {
    fn from(address: &SocketAddr) -> Address {
        match address {
            SocketAddr::V4(address) => {
                let v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as _,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                    sin_zero: [0; 8],
                };
                Address::new(v4, size_of::<libc::sockaddr_in>())
            }
            SocketAddr::V6(address) => {
                let v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as _,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                };
                Address::new(v6, size_of::<libc::sockaddr_in6>())
            }
        }
    }
}

impl From<&unix::SocketAddr> for Address {
    fn from(address: &unix::SocketAddr) -> Address {
        let mut raw = libc::sockaddr_un { sun_family: libc::AF_UNIX as _, sun_path: [0; 108] };
        // A path ends with a zero, a name begins with one.
        let (bytes, start, len) = match (address.as_pathname(), address.as_abstract_name()) {
            (Some(path), _) => (path.as_os_str().as_bytes(), 0, path.as_os_str().len() + 1),
            (_, Some(name)) => (name, 1, name.len() + 1),
            _ => (&[][..], 0, 0),
        };
        for (to, from) in raw.sun_path[start..].iter_mut().zip(bytes) {
            *to = *from as libc::c_char;
        }
        Address::new(raw, PATH + len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_to_the_kernel_comes_back() {
        for address in ["127.0.0.1:80", "255.0.0.1:65535", "[::1]:80", "[fe80::1%3]:1"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(Address::from(&address).to_ip().unwrap(), address);
        }
        let longest = "x".repeat(107);
        for path in ["", "/a", &longest] {
            let address = unix::SocketAddr::from_pathname(path).unwrap();
            let back = Address::from(&address).to_unix();
            assert_eq!(back.as_pathname(), address.as_pathname());
            assert_eq!(back.is_unnamed(), path.is_empty());
        }
        for name in [&b""[..], b"a\0b", longest.as_bytes()] {
            let address = unix::SocketAddr::from_abstract_name(name).unwrap();
            assert_eq!(Address::from(&address).to_unix().as_abstract_name(), Some(name));
        }
        assert!(Address::room().to_ip().is_err());
        let named = unix::SocketAddr::from_pathname("/a").unwrap();
        assert!(Address::from(&named).to_ip().is_err());
    }
}
