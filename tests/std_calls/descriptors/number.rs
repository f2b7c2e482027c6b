//! Descriptor numbers that are used again, and large ones.

use super::{Answer, pair, receive_byte};
use crate::support::differential::{answer, exclusive, ms};
use crate::support::files::Temp;
use crate::support::proc_fs::resident_kib;
use crate::support::subprocess::output;
use std::fs::File;
use std::io::{Read, Write};
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;
use std::thread;

/// Closes `fd` by a system call that the patch does not see. Then calls `make`, whose first descriptor gets the number.
fn in_place_of<T>(fd: RawFd, make: impl FnOnce() -> T) -> T {
    // All lower numbers are taken.
    let mut taken = vec![File::open("/dev/null").unwrap()];
    while taken[taken.len() - 1].as_raw_fd() < fd {
        taken.push(File::open("/dev/null").unwrap());
    }
    // SAFETY: the callers have given up the descriptor.
    assert_eq!(unsafe { libc::syscall(libc::SYS_close, fd) }, 0);
    make()
}

/// Makes a descriptor to read from, and one to write to.
type Make = fn() -> (RawFd, RawFd);

/// A number is closed without the patch's knowledge, and a new object gets it. The patch does not take the settings of
/// the old object for those of the new one, and an edge of the new object does not wake a waiter of the old one.
#[test]
fn descriptor_number_reused_by_a_new_object_is_not_taken_for_the_old() {
    let _exclusive = exclusive();
    // SAFETY: `pair` passes room for two; the others have no pointers.
    let makes: [(&str, Make); 5] = unsafe {
        [
            ("socketpair", || pair(|fds| libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, fds).into())),
            ("pipe2", || pair(|fds| libc::pipe2(fds, 0).into())),
            ("pipe", || pair(|fds| libc::pipe(fds).into())),
            // The patch does not see these made.
            ("a system call", || pair(|fds| libc::syscall(libc::SYS_pipe2, fds, 0))),
            ("eventfd", || {
                let counter = libc::eventfd(0, 0);
                (counter, libc::dup(counter))
            }),
        ]
    };
    for (name, make) in makes {
        for has_waiter in [false, true] {
            let (fd, _peer) = drained_socket();
            let waiter = has_waiter.then(|| {
                set_timeout(fd, 0);
                let waiter = thread::spawn(move || receive(fd));
                thread::sleep(ms(5));
                waiter
            });
            let (reads, writes) = in_place_of(fd, make);
            assert_eq!(reads, fd, "{name}");
            let reader = thread::spawn(move || if name == "socketpair" { receive(fd) } else { read(fd) });
            thread::sleep(ms(10));
            assert!(!reader.is_finished(), "{name}: the reader does not wait");
            let bytes = NUMBER.to_ne_bytes();
            // SAFETY: there are eight bytes.
            assert_eq!(answer(unsafe { libc::write(writes, bytes.as_ptr().cast(), 8) }), Ok(8));
            assert_eq!(reader.join().unwrap(), Ok(NUMBER), "{name}");
            if let Some(waiter) = waiter {
                assert_eq!(waiter.join().unwrap(), Err(libc::EBADF), "{name}");
            }
            // SAFETY: the test has made both.
            unsafe { assert_eq!((libc::close(reads), libc::close(writes)), (0, 0)) };
        }
    }
}

/// Returns a socket and its peer. The patch knows the socket's settings, and that it is not ready.
fn drained_socket() -> (RawFd, UnixStream) {
    let (old, peer) = UnixStream::pair().unwrap();
    let fd = old.into_raw_fd();
    set_timeout(fd, 1000);
    assert_eq!(receive(fd), Err(libc::EAGAIN));
    (fd, peer)
}

fn set_timeout(fd: RawFd, micros: libc::suseconds_t) {
    let time = libc::timeval { tv_sec: 0, tv_usec: micros };
    let (at, len) = ((&raw const time).cast(), size_of_val(&time) as u32);
    // SAFETY: the time is in this frame.
    assert_eq!(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, at, len) }, 0);
}

const NUMBER: i64 = 0x0807_0605_0403_0201;

/// Returns eight bytes as a number, or the error.
fn receive(fd: RawFd) -> Answer {
    let mut number = 0i64;
    // SAFETY: the number has room for eight bytes.
    answer(unsafe { libc::recv(fd, (&raw mut number).cast(), 8, 0) }).map(|_| number)
}

fn read(fd: RawFd) -> Answer {
    let mut number = 0i64;
    // SAFETY: the number has room for eight bytes.
    answer(unsafe { libc::read(fd, (&raw mut number).cast(), 8) }).map(|_| number)
}

/// A number was a socket's, is closed without the patch's knowledge, and is now a pipe's: bytes are written to the pipe, and
/// are not sent as to a socket, which would fail with ENOTSOCK.
#[test]
fn sendfile_and_splice_to_a_reused_number_write_to_the_new_object() {
    let _exclusive = exclusive();
    let temp = Temp::with(b"hello");
    let file = temp.open();
    let file = file.as_raw_fd();
    let copies: [fn(RawFd, RawFd) -> isize; 2] = [
        |file, to| {
            let mut offset = 0;
            // SAFETY: the offset is in this frame.
            unsafe { libc::sendfile(to, file, &raw mut offset, 5) }
        },
        |_, to| {
            let (from, mut into) = std::io::pipe().unwrap();
            into.write_all(b"hello").unwrap();
            // SAFETY: no offsets.
            unsafe { libc::splice(from.as_raw_fd(), null_mut(), to, null_mut(), 5, 0) }
        },
    ];
    for copy in copies {
        let (fd, _peer) = drained_socket();
        // Now the kind is noted, too.
        assert_eq!(receive(fd), Err(libc::EAGAIN));
        let (mut reads, writes) = std::io::pipe().unwrap();
        // SAFETY: no pointers.
        let dup = |fd: RawFd| unsafe { libc::syscall(libc::SYS_dup3, writes.as_raw_fd(), fd, 0) };
        assert_eq!(in_place_of(fd, || dup(fd)), i64::from(fd));
        assert_eq!(answer(copy(file, fd)), Ok(5));
        let mut bytes = [0; 5];
        reads.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
        // SAFETY: the test has made it.
        assert_eq!(unsafe { libc::close(fd) }, 0);
    }
}

#[test]
fn dup_to_a_reused_number_is_not_taken_for_the_old() {
    let _exclusive = exclusive();
    let (sender, socket) = UnixStream::pair().unwrap();
    let socket = socket.as_raw_fd();
    // SAFETY: no pointers.
    let dups: [fn(RawFd) -> RawFd; 3] = unsafe {
        [
            |fd| libc::dup(fd),
            |fd| libc::fcntl(fd, libc::F_DUPFD, 0),
            |fd| libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0),
        ]
    };
    for dup in dups {
        let (fd, _peer) = drained_socket();
        assert_eq!(in_place_of(fd, || dup(socket)), fd);
        let reader = thread::spawn(move || receive(fd));
        thread::sleep(ms(5));
        assert!(!reader.is_finished());
        (&sender).write_all(&NUMBER.to_ne_bytes()).unwrap();
        assert_eq!(reader.join().unwrap(), Ok(NUMBER));
        // SAFETY: the test has made the duplicate.
        unsafe { libc::close(fd) };
    }
}

#[test]
fn recvmsg_of_a_descriptor_with_a_reused_number_is_not_taken_for_the_old() {
    let _exclusive = exclusive();
    let (fd, _peer) = drained_socket();
    let (here, there) = UnixStream::pair().unwrap();
    let (sent, mut sender) = UnixStream::pair().unwrap();
    let mut control = [0u64; 4];
    let mut byte = [0u8; 1];
    let mut slice = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: the message has room for control data, which is written and read by the macros for it.
    let received = unsafe {
        let mut message: libc::msghdr = zeroed();
        (message.msg_iov, message.msg_iovlen) = (&mut slice, 1);
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as _;
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as _;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(sent.as_raw_fd());
        assert_eq!(libc::sendmsg(there.as_raw_fd(), &message, 0), 1);
        assert_eq!(in_place_of(fd, || libc::recvmsg(here.as_raw_fd(), &mut message, 0)), 1);
        libc::CMSG_DATA(libc::CMSG_FIRSTHDR(&message)).cast::<RawFd>().read_unaligned()
    };
    drop(sent);
    assert_eq!(received, fd);
    // SAFETY: the descriptor came with the message.
    let mut received = unsafe { UnixStream::from_raw_fd(received) };
    let reader = thread::spawn(move || {
        let mut three = [0; 3];
        received.read_exact(&mut three).unwrap();
        three
    });
    thread::sleep(ms(5));
    sender.write_all(b"new").unwrap();
    assert_eq!(&reader.join().unwrap(), b"new");
}

/// A large number costs one page of a table, and no more. The case runs in a child, because the kernel's table of
/// descriptors stays large, and `select` then reads as many bits.
#[test]
fn recv_on_a_large_descriptor_number_waits_and_costs_little_memory() {
    output("large number").success();
}

pub(crate) fn large_number() {
    let _exclusive = exclusive();
    // SAFETY: the limit is in this frame.
    let most = unsafe {
        let mut limit: libc::rlimit = zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        limit.rlim_max.min(1_000_000)
    };
    let large = most as RawFd - 1;

    let (mut here, there) = UnixStream::pair().unwrap();
    // SAFETY: no other test has so large a number.
    unsafe { assert_eq!(libc::dup2(there.as_raw_fd(), large), large) };
    let before = resident_kib();
    let reader = thread::spawn(move || receive_byte(large));
    thread::sleep(ms(5));
    assert!(!reader.is_finished());
    // A record for each lower number would take more than 100 bytes.
    assert!((resident_kib().saturating_sub(before) << 10) < 50 * large as usize + (4 << 20));
    here.write_all(b"x").unwrap();
    assert_eq!(reader.join().unwrap(), Ok(1));
    // SAFETY: as above.
    unsafe { libc::close(large) };
}
