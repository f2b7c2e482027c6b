//! Name look-ups by std and by C. Under the patch another OS thread makes them, and other green threads run.

#![cfg(feature = "patch")]

mod support;

use libc::{c_char, c_int};
use std::ffi::CStr;
use std::net::{Ipv4Addr, ToSocketAddrs};
use std::ptr::null_mut;
use std::thread;
use support::files::*;

unsafe extern "C" {
    fn gethostbyname(name: *const c_char) -> *mut libc::hostent;
    fn gethostbyname_r(
        name: *const c_char,
        out: *mut libc::hostent,
        buffer: *mut c_char,
        len: usize,
        result: *mut *mut libc::hostent,
        error: *mut c_int,
    ) -> c_int;
    fn __h_errno_location() -> *mut c_int;
}

const HOST_NOT_FOUND: c_int = 1;

fn first_address(host: *const libc::hostent) -> Ipv4Addr {
    // SAFETY: the C library returned it for a look-up of addresses of four bytes.
    unsafe { Ipv4Addr::from(**(*host).h_addr_list.cast::<*const [u8; 4]>()) }
}

fn name_of(address: Ipv4Addr, flags: c_int) -> Result<String, c_int> {
    let mut name = [0; 256];
    // SAFETY: all zeros is a value of the address; all memory is in this frame.
    unsafe {
        let mut socket: libc::sockaddr_in = std::mem::zeroed();
        socket.sin_family = libc::AF_INET as _;
        socket.sin_addr.s_addr = u32::from_ne_bytes(address.octets());
        let (at, len) = ((&raw const socket).cast(), size_of_val(&socket) as _);
        match libc::getnameinfo(at, len, name.as_mut_ptr(), 256, null_mut(), 0, flags) {
            0 => Ok(CStr::from_ptr(name.as_ptr()).to_str().unwrap().to_owned()),
            error => Err(error),
        }
    }
}

#[test]
fn getnameinfo_gethostbyname_and_getaddrinfo_let_other_green_threads_run() {
    let _guard = setup();
    lets_others_run_once(|| ("localhost", 80).to_socket_addrs().unwrap().count());
    lets_others_run_once(|| assert_eq!(name_of(Ipv4Addr::LOCALHOST, 0).unwrap(), "localhost"));
    // SAFETY: the name ends in 0; no other thread uses the function's static result.
    lets_others_run_once(|| unsafe {
        assert_eq!(first_address(gethostbyname(c"localhost".as_ptr())), Ipv4Addr::LOCALHOST);
    });
    lets_others_run_once(|| {
        let (mut buffer, mut result, mut error) = ([0; 4096], null_mut(), 0);
        // SAFETY: all zeros is a value of the address; all memory is in this frame.
        unsafe {
            let mut out = std::mem::zeroed();
            let name = c"localhost".as_ptr();
            let at = buffer.as_mut_ptr();
            assert_eq!(gethostbyname_r(name, &mut out, at, 4096, &mut result, &mut error), 0);
            assert_eq!(first_address(result), Ipv4Addr::LOCALHOST);
            assert_eq!(gethostbyname_r(name, &mut out, at, 1, &mut result, &mut error), libc::ERANGE);
        }
    });
}

#[test]
fn getnameinfo_and_gethostbyname_return_their_errors() {
    let _guard = setup();
    let numeric = name_of(Ipv4Addr::new(192, 0, 2, 1), libc::NI_NUMERICHOST);
    assert_eq!(numeric.as_deref(), Ok("192.0.2.1"));
    assert_eq!(name_of(Ipv4Addr::LOCALHOST, 1 << 30), Err(libc::EAI_BADFLAGS));
    // SAFETY: the name ends in 0; the number is the calling thread's own.
    unsafe {
        *__h_errno_location() = 0;
        assert!(gethostbyname(c"no such name".as_ptr()).is_null());
        assert_eq!(*__h_errno_location(), HOST_NOT_FOUND);
    }
}

#[test]
fn to_socket_addrs_by_100_threads_returns_addresses_or_errors() {
    let _guard = setup();
    let all: Vec<_> = (0..100)
        .map(|_| {
            thread::spawn(|| ("localhost", 80).to_socket_addrs().unwrap().all(|at| at.ip().is_loopback()))
        })
        .collect();
    assert!(all.into_iter().all(|one| one.join().unwrap()));
    assert!(("a name with blanks", 80).to_socket_addrs().is_err());
    let numbers = ("127.0.0.1", 80).to_socket_addrs().unwrap().next().unwrap();
    assert_eq!(numbers.to_string(), "127.0.0.1:80");
}
