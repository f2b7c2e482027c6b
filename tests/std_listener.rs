//! A listener that was sent to another process. The test is alone in its process, because a process remembers that it
//! has sent one.
#![cfg(feature = "patch")]

mod support;

use std::mem::zeroed;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use support::proc_fs::os_threads_named;

/// Sends a descriptor by `sendmmsg`.
fn send(fd: RawFd, to: &UnixStream) {
    let (mut control, mut byte) = ([0u64; 4], [0u8; 1]);
    let mut slice = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: the message has room for control data, which is written by the macros for it.
    unsafe {
        let mut message: libc::mmsghdr = zeroed();
        let header = &mut message.msg_hdr;
        (header.msg_iov, header.msg_iovlen) = (&mut slice, 1);
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = libc::CMSG_SPACE(4) as _;
        let first = libc::CMSG_FIRSTHDR(header);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = libc::CMSG_LEN(4) as _;
        libc::CMSG_DATA(first).cast::<RawFd>().write_unaligned(fd);
        assert_eq!(libc::sendmmsg(to.as_raw_fd(), &mut message, 1, 0), 1);
    }
}

/// Connects and accepts. Returns the number of OS threads of the pool, which accepts where another process may be quicker.
fn workers_after_accept(listener: &TcpListener) -> usize {
    let _here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    listener.accept().unwrap();
    os_threads_named("greenline-off")
}

#[test]
fn accept_is_offloaded_after_sendmmsg_has_sent_the_listener() {
    greenline::patch::all();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (here, _there) = UnixStream::pair().unwrap();
    greenline::spawn(move || {
        assert_eq!(workers_after_accept(&listener), 0);
        send(listener.as_raw_fd(), &here);
        assert_eq!(workers_after_accept(&listener), 1);
    })
    .join()
    .unwrap();
}
