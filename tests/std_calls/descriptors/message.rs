//! Messages: several by one call, and messages that are sent or received whole.

use super::{Answer, owned, pair};
use crate::support::differential::{answer, exclusive, ms, same, spawn_delayed, waits};
use std::io::{Read, Write};
use std::mem::zeroed;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::ptr::null_mut;
use std::thread;
use std::time::Duration;

/// Returns messages of one slice each.
fn messages<'a>(slices: &'a mut [libc::iovec]) -> Vec<libc::mmsghdr> {
    let of = |slice: &'a mut libc::iovec| {
        // SAFETY: all zeros is an empty message.
        let mut message: libc::mmsghdr = unsafe { zeroed() };
        (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (slice, 1);
        message
    };
    slices.iter_mut().map(of).collect()
}

fn recvmmsg(
    socket: &UnixDatagram,
    count: usize,
    flags: i32,
    timeout: Option<Duration>,
) -> (Answer, Vec<u8>, bool) {
    let mut bytes = vec![0u8; count];
    let mut slices: Vec<_> =
        bytes.iter_mut().map(|byte| libc::iovec { iov_base: (&raw mut *byte).cast(), iov_len: 1 }).collect();
    let mut all = messages(&mut slices);
    let whole = timeout.unwrap_or_default();
    let mut time = libc::timespec { tv_sec: whole.as_secs() as _, tv_nsec: whole.subsec_nanos() as _ };
    let time_at = if timeout.is_some() { &raw mut time } else { null_mut() };
    // SAFETY: there are `count` messages, with room for a byte each.
    let result = answer(unsafe {
        libc::recvmmsg(socket.as_raw_fd(), all.as_mut_ptr(), count as _, flags as _, time_at)
    });
    let left = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
    (result, bytes, left < whole)
}

fn slices_of(bytes: &[u8], each: usize) -> Vec<libc::iovec> {
    let slice =
        |piece: &[u8]| libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() };
    bytes.chunks(each).map(slice).collect()
}

fn sendmmsg(socket: RawFd, bytes: &[u8], each: usize) -> (Answer, Vec<u32>) {
    let mut slices = slices_of(bytes, each);
    let mut all = messages(&mut slices);
    // SAFETY: the messages are as many as their vector is long.
    let result = answer(unsafe { libc::sendmmsg(socket, all.as_mut_ptr(), all.len() as _, 0) });
    (result, all.iter().map(|one| one.msg_len).collect())
}

#[test]
fn recvmmsg_waits_for_all_messages_or_the_timeout() {
    let _exclusive = exclusive();
    let results = same(|| {
        let (here, there) = UnixDatagram::pair().unwrap();
        let mut all = Vec::new();
        let sent = sendmmsg(there.as_raw_fd(), b"abc", 1);
        all.push(recvmmsg(&here, 2, 0, None));
        all.push(recvmmsg(&here, 5, libc::MSG_WAITFORONE, None));
        all.push(recvmmsg(&here, 2, libc::MSG_DONTWAIT, None));
        let other = there.try_clone().unwrap();
        let writer = spawn_delayed(move || {
            other.send(b"d").unwrap();
            thread::sleep(ms(10));
            other.send(b"e").unwrap();
        });
        // The call waits for all messages that it asks for.
        all.push(waits(ms(20), || recvmmsg(&here, 2, 0, None)));
        writer.join().unwrap();
        // The call checks its timeout after each message, and not before the first.
        let other = there.try_clone().unwrap();
        let writer = spawn_delayed(move || other.send(b"f").unwrap());
        all.push(waits(ms(10), || recvmmsg(&here, 2, 0, Some(ms(1)))));
        writer.join().unwrap();
        there.send(b"g").unwrap();
        there.send(b"h").unwrap();
        all.push(recvmmsg(&here, 2, 0, Some(Duration::from_secs(60))));
        // The socket's own timeout ends the wait. The call returns the messages that it has, if any.
        here.set_read_timeout(Some(ms(30))).unwrap();
        all.push(waits(ms(30), || recvmmsg(&here, 2, 0, None)));
        there.send(b"i").unwrap();
        all.push(waits(ms(30), || recvmmsg(&here, 2, 0, None)));
        (sent, all)
    });
    assert_eq!(results.0, (Ok(3), vec![1, 1, 1]));
    let counts: Vec<Answer> = results.1.iter().map(|one| one.0).collect();
    let again = Err(libc::EAGAIN);
    assert_eq!(counts, [Ok(2), Ok(1), again, Ok(2), Ok(1), Ok(2), again, Ok(1)]);
    assert!(results.1[5].2);
}

/// Each of the calls sends more than fits into the buffer, and returns when all is sent.
#[test]
fn writev_sendmsg_and_sendmmsg_send_1_mib_whole() {
    let _exclusive = exclusive();
    const PIECE: usize = 1 << 20;
    type Send = fn(RawFd, &[u8]) -> i64;
    let sends: [Send; 3] = [
        |fd, bytes| {
            let slices = slices_of(bytes, bytes.len() / 3 + 1);
            // SAFETY: the slices are as many as their vector is long.
            answer(unsafe { libc::writev(fd, slices.as_ptr(), slices.len() as _) }).unwrap()
        },
        |fd, bytes| {
            let mut slices = slices_of(bytes, bytes.len() / 3 + 1);
            // SAFETY: the message's slices are as many as their vector is long.
            answer(unsafe {
                let mut message: libc::msghdr = zeroed();
                (message.msg_iov, message.msg_iovlen) = (slices.as_mut_ptr(), slices.len() as _);
                libc::sendmsg(fd, &message, 0)
            })
            .unwrap()
        },
        |fd, bytes| {
            let (results, lengths) = sendmmsg(fd, bytes, bytes.len() / 3 + 1);
            assert_eq!(results, Ok(3));
            lengths.into_iter().map(i64::from).sum()
        },
    ];
    // `writev` is tested on a pipe, too.
    for (send, by_pipe) in sends.into_iter().map(|send| (send, false)).chain([(sends[0], true)]) {
        same(move || {
            let (here, mut there) = match by_pipe {
                true => {
                    // SAFETY: `pair` passes room for two.
                    let (there, here) = pair(|two| answer(unsafe { libc::pipe(two) }).unwrap());
                    (owned(here), owned(there))
                }
                false => {
                    let (here, there) = UnixStream::pair().unwrap();
                    (owned(here.into_raw_fd()), owned(there.into_raw_fd()))
                }
            };
            let bytes: Vec<u8> = (0..PIECE).map(|n| (n % 251) as u8).collect();
            let reader = thread::spawn(move || {
                let mut all = Vec::new();
                there.read_to_end(&mut all).unwrap();
                all
            });
            assert_eq!(send(here.as_raw_fd(), &bytes), PIECE as i64);
            drop(here);
            assert!(reader.join().unwrap() == bytes);
        });
    }
}

#[test]
fn recv_with_msg_waitall_of_datagrams_returns_one_message() {
    let _exclusive = exclusive();
    let results = same(|| {
        let (here, there) = UnixDatagram::pair().unwrap();
        here.send(b"one").unwrap();
        here.send(b"another").unwrap();
        let mut bytes = [0; 10];
        // SAFETY: the ten bytes are in this frame.
        let mut receive = || unsafe {
            answer(libc::recv(there.as_raw_fd(), bytes.as_mut_ptr().cast(), 10, libc::MSG_WAITALL))
        };
        (receive(), receive())
    });
    assert_eq!(results, (Ok(3), Ok(7)));
}

#[test]
fn recvmsg_with_msg_waitall_fills_all_slices() {
    let _exclusive = exclusive();
    for with_control in [false, true] {
        let results = same(move || {
            let (here, mut there) = UnixStream::pair().unwrap();
            let writer = spawn_delayed(move || {
                there.write_all(b"one").unwrap();
                thread::sleep(ms(20));
                there.write_all(b"and the other").unwrap();
                there
            });
            let (mut first, mut second) = ([0u8; 5], [0u8; 7]);
            let mut slices = [
                libc::iovec { iov_base: first.as_mut_ptr().cast(), iov_len: 5 },
                libc::iovec { iov_base: second.as_mut_ptr().cast(), iov_len: 7 },
            ];
            let mut control = [0u64; 8];
            // SAFETY: all zeros is an empty message; its slices and its control data are in this frame.
            let received = waits(ms(30), || unsafe {
                let mut message: libc::msghdr = zeroed();
                (message.msg_iov, message.msg_iovlen) = (slices.as_mut_ptr(), 2);
                if with_control {
                    message.msg_control = control.as_mut_ptr().cast();
                    message.msg_controllen = size_of_val(&control) as _;
                }
                answer(libc::recvmsg(here.as_raw_fd(), &raw mut message, libc::MSG_WAITALL))
            });
            drop(writer.join().unwrap());
            (received, first, second)
        });
        assert_eq!(results, (Ok(12), *b"onean", *b"d the o"));
    }
}
