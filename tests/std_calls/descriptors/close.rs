//! Descriptors that are closed while green threads wait for them.

use super::{owned, receive_byte};
use crate::support::differential::{answer, exclusive, ms, same, spawn_delayed, waits};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// Returns a connection that lingers for a minute, and how many bytes are on their way. Its `close` waits until the other
/// end has read enough.
fn lingering() -> (TcpStream, TcpStream, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let there = listener.accept().unwrap().0;
    here.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while let Ok(len) = here.write(&[7; 65536]) {
        sent += len;
    }
    here.set_nonblocking(false).unwrap();
    socket2::SockRef::from(&here).set_linger(Some(Duration::from_secs(60))).unwrap();
    (here, there, sent)
}

#[test]
fn close_of_a_lingering_socket_waits_until_all_is_sent() {
    let _exclusive = exclusive();
    for replaced in [false, true] {
        let results = same(move || {
            let (here, mut there, sent) = lingering();
            let reader = spawn_delayed(move || there.read_to_end(&mut Vec::new()).unwrap());
            let fd = here.into_raw_fd();
            // SAFETY: the test owns the descriptor and gives it up here.
            let closed = waits(ms(15), || unsafe {
                if replaced {
                    answer(libc::dup2(2, fd)).map(|new| new - i64::from(fd))
                } else {
                    answer(libc::close(fd))
                }
            });
            if replaced {
                // SAFETY: the test owns the number, and does not use it again.
                unsafe { libc::close(fd) };
            }
            (closed, reader.join().unwrap() == sent)
        });
        assert_eq!(results, (Ok(0), true));
    }
}

#[test]
fn close_of_a_lingering_socket_frees_its_number_at_once() {
    let _exclusive = exclusive();
    let (here, mut there, sent) = lingering();
    let fd = here.as_raw_fd();
    let closer = thread::spawn(move || drop(here));
    while thread::spawn(move || is_open(fd)).join().unwrap() {
        thread::yield_now();
    }
    // SAFETY: no pointers; each descriptor is new.
    let mut counters: Vec<File> = (0..100).map(|_| unsafe { owned(libc::eventfd(0, 0)) }).collect();
    let counter = counters
        .iter()
        .position(|counter| counter.as_raw_fd() == fd)
        .expect("the kernel gives out the lowest free numbers");
    let counter = counters.swap_remove(counter);
    let start = Instant::now();
    let waited = greenline::io::wait_readable(&counter, Some(start + ms(20)));
    assert_eq!(waited.unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(20) && !closer.is_finished(), "{:?}", start.elapsed());
    assert_eq!(there.read_to_end(&mut Vec::new()).unwrap(), sent);
    closer.join().unwrap();
}

fn is_open(fd: RawFd) -> bool {
    // SAFETY: no pointers.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

#[test]
fn close_range_wakes_waiters_and_with_cloexec_does_not() {
    let _exclusive = exclusive();
    let (mut old, _peer) = UnixStream::pair().unwrap();
    // No other test has numbers in this range.
    let fd = 700;
    // SAFETY: as above.
    unsafe { assert_eq!(libc::dup2(old.as_raw_fd(), fd), fd) };
    let waiter = thread::spawn(move || receive_byte(fd));
    thread::sleep(ms(5));
    // The first call only marks the descriptors, the second closes them.
    // SAFETY: as above.
    unsafe {
        assert_eq!(libc::close_range(699, 701, libc::CLOSE_RANGE_CLOEXEC as i32), 0);
        thread::sleep(ms(5));
        assert!(!waiter.is_finished());
        assert_eq!(libc::close_range(699, 701, 0), 0);
    }
    assert_eq!(waiter.join().unwrap(), Err(libc::EBADF));
    old.set_nonblocking(true).unwrap();
    assert_eq!(old.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// One OS thread closes a descriptor just as a green thread of another begins to wait for it. The wait always ends.
#[test]
fn close_by_another_os_thread_ends_a_recv_that_begins_to_wait() {
    let _exclusive = exclusive();
    let start = Instant::now();
    let mut rounds = 0;
    while rounds < 300 && start.elapsed() < Duration::from_secs(10) {
        rounds += 1;
        let (here, there) = UnixStream::pair().unwrap();
        let fd = here.into_raw_fd();
        let (go, gone) = std::sync::mpsc::channel();
        let reader = greenline::thread::Thread::new(move || {
            greenline::patch::all();
            let reader = thread::spawn(move || {
                go.send(()).unwrap();
                receive_byte(fd)
            });
            reader.join().unwrap()
        });
        let reader = reader.start().unwrap();
        gone.recv().unwrap();
        for _ in 0..rounds * 7 % 200 {
            std::hint::spin_loop();
        }
        // SAFETY: the test has taken the descriptor from its owner.
        assert_eq!(unsafe { libc::close(fd) }, 0);
        // The descriptor was closed before or during the wait. Or something else has the number by now, with another
        // peer.
        drop(there);
        assert!(matches!(reader.join().unwrap(), Err(libc::EBADF | libc::ENOTSOCK) | Ok(_)));
    }
}
