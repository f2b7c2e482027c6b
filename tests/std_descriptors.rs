//! Descriptors of all kinds in green threads, messages by them, and numbers that are used again: as on an OS thread that
//! is not patched.

#![cfg(all(feature = "patch", target_env = "gnu", not(target_feature = "crt-static")))]

mod support;

use std::ffi::CString;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::mem::zeroed;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::ptr::null_mut;
use std::thread;
use std::time::{Duration, Instant};
use support::differential::{answer, exclusive, ms, same, spawn_delayed, waits};

type Answer = Result<i64, i32>;

/// What the kernel has just made.
fn owned(fd: RawFd) -> File {
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: open, and nobody else's.
    unsafe { File::from_raw_fd(fd) }
}

#[test]
fn timers_counters_and_watches_are_read_from() {
    let _exclusive = exclusive();
    let said = same(|| {
        let mut eight = [0; 8];
        // SAFETY: no pointers; a time of ours.
        let mut timer = unsafe {
            let timer = owned(libc::timerfd_create(libc::CLOCK_MONOTONIC, 0));
            let mut time: libc::itimerspec = zeroed();
            time.it_value.tv_nsec = 30_000_000;
            assert_eq!(libc::timerfd_settime(timer.as_raw_fd(), 0, &time, null_mut()), 0);
            timer
        };
        waits(ms(30), || timer.read_exact(&mut eight).unwrap());
        let expired = u64::from_ne_bytes(eight);

        // SAFETY: no pointers.
        let mut counter = owned(unsafe { libc::eventfd(0, 0) });
        let mut other = counter.try_clone().unwrap();
        let writer = spawn_delayed(move || other.write_all(&7u64.to_ne_bytes()).unwrap());
        waits(ms(10), || counter.read_exact(&mut eight).unwrap());
        writer.join().unwrap();
        let counted = u64::from_ne_bytes(eight);
        // Full: who adds waits until it is read.
        counter.write_all(&(u64::MAX - 1).to_ne_bytes()).unwrap();
        let mut other = counter.try_clone().unwrap();
        let reader = spawn_delayed(move || other.read_exact(&mut [0; 8]).unwrap());
        waits(ms(10), || counter.write_all(&1u64.to_ne_bytes()).unwrap());
        reader.join().unwrap();
        // By C's functions.
        counter.read_exact(&mut eight).unwrap();
        let (fd, mut value) = (counter.as_raw_fd(), 0);
        // SAFETY: the descriptor is open, and there is room for a value.
        unsafe {
            let writer = spawn_delayed(move || assert_eq!(libc::eventfd_write(fd, 5), 0));
            waits(ms(10), || assert_eq!(libc::eventfd_read(fd, &mut value), 0));
            writer.join().unwrap();
            assert_eq!((value, libc::eventfd_read(-1, &mut value)), (5, -1));
        }

        let dir = std::env::temp_dir().join(format!(
            "greenline-{}-{:?}",
            std::process::id(),
            thread::current().id()
        ));
        std::fs::create_dir_all(&dir).unwrap();
        let path = CString::new(dir.as_os_str().as_bytes()).unwrap();
        // SAFETY: a path of ours.
        let mut watch = unsafe {
            let watch = owned(libc::inotify_init1(0));
            assert!(libc::inotify_add_watch(watch.as_raw_fd(), path.as_ptr(), libc::IN_CREATE) >= 0);
            watch
        };
        let file = dir.join("made");
        let maker = spawn_delayed(move || File::create(file).map(drop).unwrap());
        let mut event = [0; 512];
        let len = waits(ms(10), || watch.read(&mut event).unwrap());
        maker.join().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        (expired, counted, len)
    });
    assert_eq!((said.0, said.1), (1, 7));
}

/// Both ends of a terminal: it cannot be asked not to wait, and is asked by `poll` first.
#[test]
fn a_terminal_is_read_from() {
    let _exclusive = exclusive();
    let said = same(|| {
        let (mut master, mut slave) = (-1, -1);
        // SAFETY: rooms of ours.
        let made = unsafe { libc::openpty(&mut master, &mut slave, null_mut(), null_mut(), null_mut()) };
        assert_eq!(made, 0);
        let (mut master, mut slave) = (owned(master), owned(slave));
        let mut other = master.try_clone().unwrap();
        let typist = spawn_delayed(move || other.write_all(b"a line\n").unwrap());
        let mut line = [0; 64];
        let len = waits(ms(10), || slave.read(&mut line).unwrap());
        typist.join().unwrap();
        let mut echo = [0; 8];
        master.read_exact(&mut echo).unwrap();
        let mut other = slave.try_clone().unwrap();
        let program = spawn_delayed(move || other.write_all(b"out").unwrap());
        let mut out = [0; 3];
        waits(ms(10), || master.read_exact(&mut out).unwrap());
        program.join().unwrap();
        (line[..len].to_vec(), echo, out)
    });
    assert_eq!(said, (b"a line\n".to_vec(), *b"a line\r\n", *b"out"));
}

#[test]
fn a_terminal_is_written_to_though_nobody_reads_yet() {
    let _exclusive = exclusive();
    same(|| {
        const LEN: usize = 200_000;
        let (mut master, mut slave) = (-1, -1);
        // SAFETY: rooms of ours.
        unsafe {
            assert_eq!(libc::openpty(&mut master, &mut slave, null_mut(), null_mut(), null_mut()), 0);
            let mut raw: libc::termios = zeroed();
            libc::cfmakeraw(&mut raw);
            assert_eq!(libc::tcsetattr(slave, libc::TCSANOW, &raw), 0);
        }
        let (mut master, mut slave) = (owned(master), owned(slave));
        let bytes: Vec<u8> = (0..LEN).map(|n| (n % 251) as u8).collect();
        let expected = bytes.clone();
        let program = thread::spawn(move || {
            slave.write_all(&bytes).unwrap();
            slave
        });
        let mut all = vec![0; LEN];
        master.read_exact(&mut all).unwrap();
        assert!(all == expected);
        program.join().unwrap();
    });
}

/// Messages of one slice each.
fn messages<'a>(slices: &'a mut [libc::iovec]) -> Vec<libc::mmsghdr> {
    let of = |slice: &'a mut libc::iovec| {
        // SAFETY: all zeros is a message without anything.
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
    // SAFETY: so many messages, with room for a byte each.
    let said = answer(unsafe {
        libc::recvmmsg(socket.as_raw_fd(), all.as_mut_ptr(), count as _, flags as _, time_at)
    });
    let left = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
    (said, bytes, left < whole)
}

fn sendmmsg(socket: RawFd, bytes: &[u8], each: usize) -> (Answer, Vec<u32>) {
    let mut slices: Vec<_> = bytes
        .chunks(each)
        .map(|piece| libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() })
        .collect();
    let mut all = messages(&mut slices);
    // SAFETY: so many messages.
    let said = answer(unsafe { libc::sendmmsg(socket, all.as_mut_ptr(), all.len() as _, 0) });
    (said, all.iter().map(|one| one.msg_len).collect())
}

#[test]
fn several_messages_by_one_call() {
    let _exclusive = exclusive();
    let said = same(|| {
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
        // All that were asked for.
        all.push(waits(ms(20), || recvmmsg(&here, 2, 0, None)));
        writer.join().unwrap();
        // The clock is looked at after a message, and not before.
        let other = there.try_clone().unwrap();
        let writer = spawn_delayed(move || other.send(b"f").unwrap());
        all.push(waits(ms(10), || recvmmsg(&here, 2, 0, Some(ms(1)))));
        writer.join().unwrap();
        there.send(b"g").unwrap();
        there.send(b"h").unwrap();
        all.push(recvmmsg(&here, 2, 0, Some(Duration::from_secs(60))));
        // A timeout of the socket's ends the wait; with something in hand, that is the answer.
        here.set_read_timeout(Some(ms(30))).unwrap();
        all.push(waits(ms(30), || recvmmsg(&here, 2, 0, None)));
        there.send(b"i").unwrap();
        all.push(waits(ms(30), || recvmmsg(&here, 2, 0, None)));
        (sent, all)
    });
    assert_eq!(said.0, (Ok(3), vec![1, 1, 1]));
    let counts: Vec<Answer> = said.1.iter().map(|one| one.0).collect();
    let again = Err(libc::EAGAIN);
    assert_eq!(counts, [Ok(2), Ok(1), again, Ok(2), Ok(1), Ok(2), again, Ok(1)]);
    assert!(said.1[5].2);
}

/// What is more than fits goes through whole, by each of the calls.
#[test]
fn much_is_sent_whole() {
    let _exclusive = exclusive();
    const PIECE: usize = 1 << 20;
    type Send = fn(RawFd, &[u8]) -> i64;
    let sends: [Send; 3] = [
        |fd, bytes| {
            let slices: Vec<_> = bytes
                .chunks(bytes.len() / 3 + 1)
                .map(|piece| libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() })
                .collect();
            // SAFETY: so many slices.
            answer(unsafe { libc::writev(fd, slices.as_ptr(), slices.len() as _) }).unwrap()
        },
        |fd, bytes| {
            let mut slices: Vec<_> = bytes
                .chunks(bytes.len() / 3 + 1)
                .map(|piece| libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() })
                .collect();
            // SAFETY: a message of so many slices.
            answer(unsafe {
                let mut message: libc::msghdr = zeroed();
                (message.msg_iov, message.msg_iovlen) = (slices.as_mut_ptr(), slices.len() as _);
                libc::sendmsg(fd, &message, 0)
            })
            .unwrap()
        },
        |fd, bytes| {
            let (said, lengths) = sendmmsg(fd, bytes, bytes.len() / 3 + 1);
            assert_eq!(said, Ok(3));
            lengths.into_iter().map(i64::from).sum()
        },
    ];
    // The first is for pipes, too.
    for (send, by_pipe) in sends.into_iter().map(|send| (send, false)).chain([(sends[0], true)]) {
        same(move || {
            let (here, mut there) = match by_pipe {
                true => {
                    // SAFETY: room for two.
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
fn a_message_is_whole_whatever_is_asked_for() {
    let _exclusive = exclusive();
    let said = same(|| {
        let (here, there) = UnixDatagram::pair().unwrap();
        here.send(b"one").unwrap();
        here.send(b"another").unwrap();
        let mut bytes = [0; 10];
        // SAFETY: ten bytes of ours.
        let mut receive = || unsafe {
            answer(libc::recv(there.as_raw_fd(), bytes.as_mut_ptr().cast(), 10, libc::MSG_WAITALL))
        };
        (receive(), receive())
    });
    assert_eq!(said, (Ok(3), Ok(7)));
}

#[test]
fn all_of_a_message_is_waited_for() {
    let _exclusive = exclusive();
    for with_control in [false, true] {
        let said = same(move || {
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
            // SAFETY: all zeros is a message without anything; its slices are ours, and what is for control data.
            let got = waits(ms(30), || unsafe {
                let mut message: libc::msghdr = zeroed();
                (message.msg_iov, message.msg_iovlen) = (slices.as_mut_ptr(), 2);
                if with_control {
                    message.msg_control = control.as_mut_ptr().cast();
                    message.msg_controllen = size_of_val(&control) as _;
                }
                answer(libc::recvmsg(here.as_raw_fd(), &raw mut message, libc::MSG_WAITALL))
            });
            drop(writer.join().unwrap());
            (got, first, second)
        });
        assert_eq!(said, (Ok(12), *b"onean", *b"d the o"));
    }
}

/// Has so much to send that it waits to be closed until the other end is read from, for a minute at most. How much.
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
fn to_close_what_lingers_waits_until_all_is_sent() {
    let _exclusive = exclusive();
    for replaced in [false, true] {
        let said = same(move || {
            let (here, mut there, sent) = lingering();
            let reader = spawn_delayed(move || there.read_to_end(&mut Vec::new()).unwrap());
            let fd = here.into_raw_fd();
            // SAFETY: it is ours, and given away.
            let closed = waits(ms(15), || unsafe {
                if replaced {
                    answer(libc::dup2(2, fd)).map(|new| new - i64::from(fd))
                } else {
                    answer(libc::close(fd))
                }
            });
            if replaced {
                // SAFETY: ours, and not used again.
                unsafe { libc::close(fd) };
            }
            (closed, reader.join().unwrap() == sent)
        });
        assert_eq!(said, (Ok(0), true));
    }
}

#[test]
fn the_number_of_what_lingers_is_free() {
    let _exclusive = exclusive();
    let (here, mut there, sent) = lingering();
    let fd = here.as_raw_fd();
    let closer = thread::spawn(move || drop(here));
    while thread::spawn(move || is_open(fd)).join().unwrap() {
        thread::yield_now();
    }
    // SAFETY: no pointers; they are new, and ours.
    let mut counters: Vec<File> = (0..100).map(|_| unsafe { owned(libc::eventfd(0, 0)) }).collect();
    let counter =
        counters.iter().position(|counter| counter.as_raw_fd() == fd).expect("the lowest are given out");
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

/// Past the C library.
fn raw_close(fd: RawFd) {
    // SAFETY: the callers have forgotten it.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_close, fd), 0);
    }
}

/// Closes `fd` where nobody sees it, and calls `make`, whose first descriptor has its number then.
fn in_the_place_of<T>(fd: RawFd, make: impl FnOnce() -> T) -> T {
    // All numbers below are taken.
    let mut taken = vec![File::open("/dev/null").unwrap()];
    while taken[taken.len() - 1].as_raw_fd() < fd {
        taken.push(File::open("/dev/null").unwrap());
    }
    raw_close(fd);
    make()
}

/// Makes what is read from, and then what is written to.
type Make = fn() -> (RawFd, RawFd);

fn pair(make: impl FnOnce(*mut RawFd) -> i64) -> (RawFd, RawFd) {
    let mut fds = [0; 2];
    assert_eq!(make(fds.as_mut_ptr()), 0);
    (fds[0], fds[1])
}

/// What was known of a number that was closed where nobody saw it is not taken for what is known of the next; nor is
/// who waited for it told of the next one's news.
#[test]
fn a_number_is_used_again() {
    let _exclusive = exclusive();
    // SAFETY: room for two, or no pointers.
    let makes: [(&str, Make); 5] = unsafe {
        [
            ("socketpair", || pair(|fds| libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, fds).into())),
            ("pipe2", || pair(|fds| libc::pipe2(fds, 0).into())),
            ("pipe", || pair(|fds| libc::pipe(fds).into())),
            // Nobody sees these made.
            ("a system call", || pair(|fds| libc::syscall(libc::SYS_pipe2, fds, 0))),
            ("eventfd", || {
                let counter = libc::eventfd(0, 0);
                (counter, libc::dup(counter))
            }),
        ]
    };
    for (name, make) in makes {
        for has_waiter in [false, true] {
            let (fd, _peer) = well_known();
            let waiter = has_waiter.then(|| {
                set_timeout(fd, 0);
                let waiter = thread::spawn(move || receive(fd));
                thread::sleep(ms(5));
                waiter
            });
            let (reads, writes) = in_the_place_of(fd, make);
            assert_eq!(reads, fd, "{name}");
            let reader = thread::spawn(move || if name == "socketpair" { receive(fd) } else { read(fd) });
            thread::sleep(ms(10));
            assert!(!reader.is_finished(), "{name}: it does not wait");
            let bytes = NUMBER.to_ne_bytes();
            // SAFETY: eight bytes.
            assert_eq!(answer(unsafe { libc::write(writes, bytes.as_ptr().cast(), 8) }), Ok(8));
            assert_eq!(reader.join().unwrap(), Ok(NUMBER), "{name}");
            if let Some(waiter) = waiter {
                assert_eq!(waiter.join().unwrap(), Err(libc::EBADF), "{name}");
            }
            // SAFETY: both are ours.
            unsafe { assert_eq!((libc::close(reads), libc::close(writes)), (0, 0)) };
        }
    }
}

/// A socket of which the settings are noted, and that it is drained; and its peer.
fn well_known() -> (RawFd, UnixStream) {
    let (old, peer) = UnixStream::pair().unwrap();
    let fd = old.into_raw_fd();
    set_timeout(fd, 1000);
    assert_eq!(receive(fd), Err(libc::EAGAIN));
    (fd, peer)
}

fn set_timeout(fd: RawFd, micros: libc::suseconds_t) {
    let time = libc::timeval { tv_sec: 0, tv_usec: micros };
    let (at, len) = ((&raw const time).cast(), size_of_val(&time) as u32);
    // SAFETY: a time of ours.
    assert_eq!(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, at, len) }, 0);
}

const NUMBER: i64 = 0x0807_0605_0403_0201;

/// Eight bytes, or the error.
fn receive(fd: RawFd) -> Answer {
    let mut number = 0i64;
    // SAFETY: room for eight.
    answer(unsafe { libc::recv(fd, (&raw mut number).cast(), 8, 0) }).map(|_| number)
}

fn read(fd: RawFd) -> Answer {
    let mut number = 0i64;
    // SAFETY: room for eight.
    answer(unsafe { libc::read(fd, (&raw mut number).cast(), 8) }).map(|_| number)
}

/// A duplicate has a number that was another's.
#[test]
fn a_duplicate_takes_a_number() {
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
        let (fd, _peer) = well_known();
        assert_eq!(in_the_place_of(fd, || dup(socket)), fd);
        let reader = thread::spawn(move || receive(fd));
        thread::sleep(ms(5));
        assert!(!reader.is_finished());
        (&sender).write_all(&NUMBER.to_ne_bytes()).unwrap();
        assert_eq!(reader.join().unwrap(), Ok(NUMBER));
        // SAFETY: it is ours.
        unsafe { libc::close(fd) };
    }
}

/// A descriptor that comes with a message has a number that was another's.
#[test]
fn a_descriptor_comes_with_a_message() {
    let _exclusive = exclusive();
    let (fd, _peer) = well_known();
    let (here, there) = UnixStream::pair().unwrap();
    let (sent, mut sender) = UnixStream::pair().unwrap();
    let mut control = [0u64; 4];
    let mut byte = [0u8; 1];
    let mut slice = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: a message with room for control data, which is written and read as the macros say.
    let came = unsafe {
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
        assert_eq!(in_the_place_of(fd, || libc::recvmsg(here.as_raw_fd(), &mut message, 0)), 1);
        libc::CMSG_DATA(libc::CMSG_FIRSTHDR(&message)).cast::<RawFd>().read_unaligned()
    };
    drop(sent);
    assert_eq!(came, fd);
    // SAFETY: it came with the message.
    let mut came = unsafe { UnixStream::from_raw_fd(came) };
    let reader = thread::spawn(move || {
        let mut three = [0; 3];
        came.read_exact(&mut three).unwrap();
        three
    });
    thread::sleep(ms(5));
    sender.write_all(b"new").unwrap();
    assert_eq!(&reader.join().unwrap(), b"new");
}

/// Whole ranges are closed: in a child, for it would close this process's own.
#[test]
fn ranges_are_closed() {
    let _exclusive = exclusive();
    let (mut old, _peer) = UnixStream::pair().unwrap();
    // A range of its own, which nobody else has numbers in.
    let fd = 700;
    // SAFETY: nobody else has the number.
    unsafe { assert_eq!(libc::dup2(old.as_raw_fd(), fd), fd) };
    let waiter = thread::spawn(move || {
        let mut byte = 0u8;
        // SAFETY: room for one.
        answer(unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, 0) })
    });
    thread::sleep(ms(5));
    // Not closed: only marked.
    // SAFETY: numbers that are this test's.
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

/// A number may be large: it costs a page of a table, and no more. Beyond what the table holds, it is said so.
#[test]
fn large_numbers() {
    let _exclusive = exclusive();
    // SAFETY: rooms of ours.
    let most = unsafe {
        let mut limit: libc::rlimit = zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        limit.rlim_max.min(1_000_000)
    };
    let large = most as RawFd - 1;
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let (mut here, there) = UnixStream::pair().unwrap();
    // SAFETY: nobody else has the number.
    unsafe { assert_eq!(libc::dup2(there.as_raw_fd(), large), large) };
    let before = resident();
    let reader = thread::spawn(move || {
        let mut byte = 0u8;
        // SAFETY: room for one.
        answer(unsafe { libc::recv(large, (&raw mut byte).cast(), 1, 0) })
    });
    thread::sleep(ms(5));
    assert!(!reader.is_finished());
    // A record of each number below it would be more than 100 bytes.
    assert!(resident().saturating_sub(before) < 50 * large as usize + (4 << 20));
    here.write_all(b"x").unwrap();
    assert_eq!(reader.join().unwrap(), Ok(1));
    // SAFETY: as above.
    unsafe { libc::close(large) };
}

/// One OS thread closes what another one begins to wait for, again and again: whoever waits ends.
#[test]
fn closed_as_somebody_begins_to_wait() {
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
                let mut byte = 0u8;
                // SAFETY: room for one.
                answer(unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, 0) })
            });
            reader.join().unwrap()
        });
        let reader = reader.start().unwrap();
        gone.recv().unwrap();
        for _ in 0..rounds * 7 % 200 {
            std::hint::spin_loop();
        }
        // SAFETY: nobody else has it.
        assert_eq!(unsafe { libc::close(fd) }, 0);
        // Closed before it was asked, or while it waited; or another test has the number: then its peer is not ours.
        drop(there);
        assert!(matches!(reader.join().unwrap(), Err(libc::EBADF | libc::ENOTSOCK) | Ok(_)));
    }
}
