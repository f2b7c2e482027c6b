//! `poll`, `select`, `epoll_wait` and their relatives, interposed: each answers what it answers on an OS thread that is
//! not patched, and the other green threads go on meanwhile.

#![cfg(all(feature = "patch", target_env = "gnu", not(target_feature = "crt-static")))]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use support::differential::{NOT_OPEN, answer, count_while, exclusive, ms, same, spawn_delayed, waits};

type Answer = Result<i64, i32>;

/// Bit by bit: which of `fds` are in the set.
type Bits = Vec<bool>;

struct Set(libc::fd_set);

impl Set {
    fn of(fds: &[i32]) -> Set {
        // SAFETY: all zeros is the empty set; the numbers are small.
        unsafe {
            let mut set = Set(std::mem::zeroed());
            fds.iter().for_each(|&fd| libc::FD_SET(fd, &mut set.0));
            set
        }
    }

    fn bits(&self, fds: &[i32]) -> Bits {
        // SAFETY: the numbers are small.
        fds.iter().map(|&fd| unsafe { libc::FD_ISSET(fd, &self.0) }).collect()
    }
}

/// `select` for reading and urgent data of all, and for writing to the first if `write`.
fn select(fds: &[i32], write: bool, timeout: Option<Duration>) -> (Answer, [Bits; 3], bool) {
    let (mut read, mut urgent) = (Set::of(fds), Set::of(fds));
    let mut writes = Set::of(if write { &fds[..1] } else { &[] });
    let count = fds.iter().max().unwrap() + 1;
    let whole = timeout.unwrap_or_default();
    let mut time =
        libc::timeval { tv_sec: whole.as_secs() as _, tv_usec: whole.subsec_micros() as libc::suseconds_t };
    let time_at = if timeout.is_some() { &raw mut time } else { null_mut() };
    // SAFETY: sets and a time of ours.
    let said = answer(unsafe { libc::select(count, &mut read.0, &mut writes.0, &mut urgent.0, time_at) });
    let left = Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    (said, [read.bits(fds), writes.bits(fds), urgent.bits(fds)], left < whole)
}

fn poll(fds: &[(i32, i16)], timeout: i32) -> (Answer, Vec<i16>) {
    let mut all: Vec<_> = fds.iter().map(|&(fd, events)| libc::pollfd { fd, events, revents: 0 }).collect();
    // SAFETY: so many.
    let said = answer(unsafe { libc::poll(all.as_mut_ptr(), all.len() as _, timeout) });
    (said, all.iter().map(|one| one.revents).collect())
}

#[test]
fn select_is_as_ever() {
    let _exclusive = exclusive();
    let said = same(|| {
        let (a, b) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        let fds = [a.0.as_raw_fd(), b.0.as_raw_fd()];
        let mut all = vec![select(&fds, false, Some(Duration::ZERO))];
        all.push(waits(ms(50), || select(&fds, false, Some(ms(50)))));
        all.push(select(&fds, true, None));
        let mut other = b.1.try_clone().unwrap();
        let writer = spawn_delayed(move || other.write_all(b"x").unwrap());
        all.push(waits(ms(10), || select(&fds, false, None)));
        writer.join().unwrap();
        all.push(select(&fds, true, Some(ms(60_000))));
        all.push(select(&[fds[0], NOT_OPEN], false, None));
        // SAFETY: no sets.
        unsafe {
            all.push((
                answer(libc::select(-1, null_mut(), null_mut(), null_mut(), null_mut())),
                [vec![], vec![], vec![]],
                false,
            ));
            let mut bad = libc::timeval { tv_sec: 0, tv_usec: -1 };
            all.push((
                answer(libc::select(0, null_mut(), null_mut(), null_mut(), &mut bad)),
                [vec![], vec![], vec![]],
                false,
            ));
            // More than a second of microseconds is a way to say seconds.
            let mut odd = libc::timeval { tv_sec: 0, tv_usec: 1_000_001 };
            let start = Instant::now();
            all.push((
                answer(libc::select(0, null_mut(), null_mut(), null_mut(), &mut odd)),
                [vec![], vec![], vec![]],
                start.elapsed() >= ms(1000),
            ));
        }
        // The other end is gone.
        drop(a.1);
        all.push(select(&fds[..1], false, None));
        all
    });
    assert_eq!(said.iter().map(|one| one.0).take(5).collect::<Vec<_>>(), [Ok(0), Ok(0), Ok(1), Ok(1), Ok(2)]);
    assert_eq!(said[5].0, Err(libc::EBADF));
    assert!(said[1].2 && said[4].2, "the time that is left is written back");
}

/// Some say that they have as many descriptors as they may open, with sets that are smaller.
#[test]
fn select_does_not_look_beyond_what_was_opened() {
    let _exclusive = exclusive();
    let said = same(|| {
        let mut set = Set::of(&[]);
        let mut time = libc::timeval { tv_sec: 0, tv_usec: 20_000 };
        // SAFETY: the kernel looks no further than the size of the table of descriptors.
        answer(unsafe { libc::select(i32::MAX, &mut set.0, null_mut(), null_mut(), &mut time) })
    });
    assert_eq!(said, Ok(0));
}

#[test]
fn pselect_and_ppoll_take_other_times() {
    let _exclusive = exclusive();
    let said = same(|| {
        let (mut here, there) = UnixStream::pair().unwrap();
        let fd = there.as_raw_fd();
        let pselect = |nanos: Option<i64>| {
            let (mut set, time) = (Set::of(&[fd]), libc::timespec { tv_sec: 0, tv_nsec: nanos.unwrap_or(0) });
            let time = if nanos.is_some() { &raw const time } else { null() };
            // SAFETY: a set and a time of ours.
            let said = unsafe { libc::pselect(fd + 1, &mut set.0, null_mut(), null_mut(), time, null()) };
            (answer(said), set.bits(&[fd])[0])
        };
        let ppoll = |nanos: Option<i64>| {
            let (mut one, time) = (
                libc::pollfd { fd, events: libc::POLLIN, revents: 0 },
                libc::timespec { tv_sec: 0, tv_nsec: nanos.unwrap_or(0) },
            );
            let time = if nanos.is_some() { &raw const time } else { null() };
            // SAFETY: a descriptor and a time of ours.
            let said = unsafe { libc::ppoll(&mut one, 1, time, null()) };
            (answer(said), one.revents == libc::POLLIN)
        };
        let mut all = Vec::new();
        for nanos in [0, 20_000_000, 1_000_000_000, -1] {
            all.push((pselect(Some(nanos)), ppoll(Some(nanos))));
        }
        let writer = spawn_delayed(move || {
            here.write_all(b"x").unwrap();
            here
        });
        all.push((waits(ms(10), || pselect(None)), ppoll(None)));
        drop(writer.join().unwrap());
        all
    });
    let (none, wrong) = ((Ok(0), false), (Err(libc::EINVAL), false));
    assert_eq!(said.iter().map(|one| one.1).collect::<Vec<_>>(), [none, none, wrong, wrong, (Ok(1), true)]);
    assert_eq!(said.last().unwrap().0, (Ok(1), true));
}

#[test]
fn poll_is_as_ever() {
    let _exclusive = exclusive();
    let said = same(|| {
        let (a, b) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        let (one, two) = (a.0.as_raw_fd(), b.0.as_raw_fd());
        let mut all = vec![poll(&[(one, libc::POLLIN), (two, libc::POLLIN)], 0)];
        all.push(waits(ms(50), || poll(&[(one, libc::POLLIN), (two, 0)], 50)));
        all.push(poll(&[(one, libc::POLLIN), (NOT_OPEN, libc::POLLIN), (-5, libc::POLLIN)], -1));
        let mut other = b.1.try_clone().unwrap();
        let writer = spawn_delayed(move || other.write_all(b"x").unwrap());
        all.push(waits(ms(10), || poll(&[(one, libc::POLLIN), (two, libc::POLLRDNORM)], -1)));
        writer.join().unwrap();
        all.push(poll(&[(one, libc::POLLOUT), (two, libc::POLLIN | libc::POLLOUT)], -1));
        let end = spawn_delayed(move || drop(a.1));
        // Nothing is asked for, and that it has ended is told.
        all.push(waits(ms(10), || poll(&[(one, 0)], -1)));
        end.join().unwrap();
        all
    });
    assert_eq!(said.iter().map(|one| one.0).collect::<Vec<_>>(), [Ok(0), Ok(0), Ok(1), Ok(1), Ok(2), Ok(1)]);
    assert_eq!(said[2].1, [0, libc::POLLNVAL, 0]);
}

/// What is not asked for does not end the wait; nor does it keep the hub busy.
#[test]
fn what_is_not_waited_for_costs_nothing() {
    let _exclusive = exclusive();
    let (mut here, there) = UnixStream::pair().unwrap();
    here.write_all(b"nobody reads this").unwrap();
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let waiter = thread::spawn(move || {
        let before = greenline::stats().switches;
        assert_eq!(
            poll(&[(there.as_raw_fd(), libc::POLLPRI), (file.as_raw_fd(), libc::POLLPRI)], 100).0,
            Ok(0)
        );
        assert!(greenline::stats().switches - before < 20, "it spins");
        // And who reads it is not kept from that.
        let mut bytes = [0; 6];
        let mut there = there;
        there.read_exact(&mut bytes).unwrap();
        bytes
    });
    assert_eq!(&waiter.join().unwrap(), b"nobody");
}

/// An epoll instance with some descriptors in it, each with its place as its data.
fn epoll(fds: &[i32], flags: i32) -> OwnedFd {
    // SAFETY: it was just made.
    let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
    for (at, &fd) in fds.iter().enumerate() {
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | flags) as u32, u64: at as u64 };
        // SAFETY: an event of ours.
        let added = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) };
        assert_eq!(added, 0);
    }
    epoll
}

/// Which are ready.
fn epoll_wait(epoll: i32, timeout: i32) -> (Answer, Vec<u64>) {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
    // SAFETY: room for eight.
    let said = answer(unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 8, timeout) });
    let mut ready: Vec<u64> = events.iter().take(said.unwrap_or(0) as usize).map(|event| event.u64).collect();
    ready.sort_unstable();
    (said, ready)
}

/// Who asks again and again does so in vain, unless the others run meanwhile.
#[test]
fn who_asks_in_a_loop_lets_the_others_run() {
    let _exclusive = exclusive();
    let (mut here, mut there) = UnixStream::pair().unwrap();
    there.write_all(b"x").unwrap();
    let fd = here.as_raw_fd();
    let reader = thread::spawn(move || here.read_exact(&mut [0]).map(|()| here).unwrap());
    let is_readable = |millis| {
        let mut fds = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
        // SAFETY: one descriptor, of this frame.
        unsafe { libc::poll(fds.as_mut_ptr(), 1, millis) == 1 }
    };
    // Until it is drained there is always an answer.
    while is_readable(60_000) && !reader.is_finished() {}
    let mut here = reader.join().unwrap();
    // Until something comes there is never one.
    let writer = thread::spawn(move || there.write_all(b"xy").map(|()| there).unwrap());
    while !is_readable(0) {}
    let _there = writer.join().unwrap();
    here.read_exact(&mut [0; 2]).unwrap();
    // Nor is there by other calls.
    let flag = || {
        let set = Arc::new(AtomicBool::new(false));
        let to_set = set.clone();
        (set, thread::spawn(move || to_set.store(true, Relaxed)))
    };
    here.set_nonblocking(true).unwrap();
    let (set, other) = flag();
    while !set.load(Relaxed) {
        assert_eq!(here.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    other.join().unwrap();
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let (set, other) = flag();
    while !set.load(Relaxed) {
        assert!(child.try_wait().unwrap().is_none());
    }
    other.join().unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn epoll_is_as_ever() {
    let _exclusive = exclusive();
    for flags in [0, libc::EPOLLET] {
        let said = same(move || {
            let (a, b) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
            let set = epoll(&[a.0.as_raw_fd(), b.0.as_raw_fd()], flags);
            let set = set.as_raw_fd();
            let mut all = vec![epoll_wait(set, 0)];
            all.push(waits(ms(50), || epoll_wait(set, 50)));
            for round in 0..3 {
                let mut other = b.1.try_clone().unwrap();
                let writer = spawn_delayed(move || other.write_all(b"x").unwrap());
                // Level-triggered, it stays ready; edge-triggered, it is so anew.
                all.push(if round == 0 || flags != 0 {
                    waits(ms(10), || epoll_wait(set, -1))
                } else {
                    epoll_wait(set, -1)
                });
                writer.join().unwrap();
                all.push(if flags == 0 { epoll_wait(set, 60_000) } else { epoll_wait(set, 20) });
            }
            (&a.1).write_all(b"x").unwrap();
            all.push(epoll_wait(set, -1));
            // Read, and it is ready no more.
            for end in [&a.0, &b.0] {
                end.set_nonblocking(true).unwrap();
                while (&*end).read(&mut [0; 8]).is_ok() {}
            }
            all.push(waits(ms(30), || epoll_wait(set, 30)));
            // SAFETY: room for one; a time of ours.
            unsafe {
                let mut event = libc::epoll_event { events: 0, u64: 0 };
                let wrong = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000_000 };
                let short = libc::timespec { tv_sec: 0, tv_nsec: 20_000_000 };
                all.extend(
                    [
                        answer(libc::epoll_wait(set, &mut event, 0, -1)),
                        answer(libc::epoll_wait(NOT_OPEN, &mut event, 1, -1)),
                        answer(libc::epoll_wait(a.0.as_raw_fd(), &mut event, 1, -1)),
                        answer(epoll_pwait2(set, &mut event, 1, &wrong, null())),
                        answer(epoll_pwait2(set, &mut event, 1, &short, null())),
                    ]
                    .map(|said| (said, vec![])),
                );
            }
            all
        });
        assert_eq!(said[2], (Ok(1), vec![1]));
        assert_eq!(said[3].0, Ok(if flags == 0 { 1 } else { 0 }));
        let errors = said[said.len() - 5..].iter().map(|one| one.0);
        let invalid = Err(libc::EINVAL);
        assert!(errors.eq([invalid, Err(libc::EBADF), invalid, invalid, Ok(0)]), "{said:?}");
    }
}

unsafe extern "C" {
    // libc has no declaration of it for this platform in all its versions.
    fn epoll_pwait2(
        epoll: i32,
        events: *mut libc::epoll_event,
        most: i32,
        timeout: *const libc::timespec,
        mask: *const libc::sigset_t,
    ) -> i32;
}

/// Two loops by one instance, and one by an instance within another.
#[test]
fn several_wait_by_one_instance() {
    let _exclusive = exclusive();
    let pairs: Vec<_> = (0..2).map(|_| UnixStream::pair().unwrap()).collect();
    let fds: Vec<i32> = pairs.iter().map(|pair| pair.0.as_raw_fd()).collect();
    let inner = epoll(&fds, libc::EPOLLONESHOT);
    let inner_fd = inner.as_raw_fd();
    let both: Vec<_> = (0..2).map(|_| thread::spawn(move || epoll_wait(inner_fd, -1))).collect();
    thread::sleep(ms(10));
    (&pairs[0].1).write_all(b"x").unwrap();
    while !both.iter().any(|one| one.is_finished()) {
        thread::sleep(ms(1));
    }
    (&pairs[1].1).write_all(b"x").unwrap();
    let mut ready: Vec<u64> = both.into_iter().flat_map(|one| one.join().unwrap().1).collect();
    ready.sort_unstable();
    assert_eq!(ready, [0, 1]);

    let deep = UnixStream::pair().unwrap();
    let first = epoll(&[deep.0.as_raw_fd()], 0);
    let mut chain = vec![first];
    // As deep as the kernel lets it be without us: what it does not let us wait for is looked at.
    for _ in 0..4 {
        chain.push(epoll(&[chain.last().unwrap().as_raw_fd()], 0));
    }
    let outermost = chain.last().unwrap().as_raw_fd();
    let waiter = thread::spawn(move || waits(ms(10), || epoll_wait(outermost, -1)));
    thread::sleep(ms(20));
    (&deep.1).write_all(b"x").unwrap();
    assert_eq!(waiter.join().unwrap(), (Ok(1), vec![0]));
}

/// Closed by another green thread, and by an OS thread; and the number is used again before the waiter runs.
#[test]
fn closed_while_waiting() {
    let _exclusive = exclusive();
    for by_an_os_thread in [false, true] {
        let (pair, other) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        let fd = std::os::fd::IntoRawFd::into_raw_fd(epoll(&[pair.0.as_raw_fd()], 0));
        let waiter = thread::spawn(move || epoll_wait(fd, -1).0);
        let read = std::os::fd::IntoRawFd::into_raw_fd(pair.0);
        let (polls, selects) = (
            thread::spawn(move || poll(&[(read, libc::POLLIN)], -1)),
            thread::spawn(move || select(&[read], false, None).0),
        );
        thread::sleep(ms(10));
        let replace = other.0.as_raw_fd();
        let close = move || {
            // SAFETY: nobody else has them.
            unsafe {
                assert_eq!((libc::close(fd), libc::close(read)), (0, 0));
                // Ready to read, were it asked.
                assert_eq!(libc::dup2(replace, fd), fd);
            }
        };
        (&other.1).write_all(b"x").unwrap();
        if by_an_os_thread {
            greenline::thread::Thread::new(close).start().unwrap().join().unwrap();
        } else {
            close();
        }
        assert_eq!(waiter.join().unwrap(), Err(libc::EBADF));
        assert_eq!(polls.join().unwrap(), (Ok(1), vec![libc::POLLNVAL]));
        assert_eq!(selects.join().unwrap(), Err(libc::EBADF));
        // SAFETY: dup2 has made it.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
}

/// Calls that C's checks put in the place of others, as a program compiled with `_FORTIFY_SOURCE` makes them.
#[test]
fn checked_calls_wait_too() {
    let _exclusive = exclusive();
    unsafe extern "C" {
        fn __poll_chk(fds: *mut libc::pollfd, count: libc::nfds_t, timeout: i32, room: usize) -> i32;
        fn __ppoll_chk(
            fds: *mut libc::pollfd,
            count: libc::nfds_t,
            timeout: *const libc::timespec,
            mask: *const libc::sigset_t,
            room: usize,
        ) -> i32;
    }
    let said = same(|| {
        let (here, _there) = UnixStream::pair().unwrap();
        let mut one = libc::pollfd { fd: here.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let time = libc::timespec { tv_sec: 0, tv_nsec: 30_000_000 };
        let room = size_of_val(&one);
        // SAFETY: one descriptor, in so much room.
        unsafe {
            [
                waits(ms(30), || answer(__poll_chk(&mut one, 1, 30, room))),
                waits(ms(30), || answer(__ppoll_chk(&mut one, 1, &time, null(), room))),
            ]
        }
    });
    assert_eq!(said, [Ok(0), Ok(0)]);
}

/// Somebody else's event loop, in a green thread; its peers are green threads, too.
#[test]
fn mio_runs_in_a_green_thread() {
    let _exclusive = exclusive();
    let mut loop_ = mio::Poll::new().unwrap();
    let mut listener = mio::net::TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let interest = mio::Interest::READABLE;
    loop_.registry().register(&mut listener, mio::Token(0), interest).unwrap();
    let server = thread::spawn(move || {
        let (mut events, mut streams, mut echoed) = (mio::Events::with_capacity(16), Vec::new(), 0);
        while echoed < 20 * 10 {
            loop_.poll(&mut events, None).unwrap();
            for event in &events {
                if event.token() == mio::Token(0) {
                    while let Ok((mut stream, _)) = listener.accept() {
                        loop_
                            .registry()
                            .register(&mut stream, mio::Token(streams.len() + 1), interest)
                            .unwrap();
                        streams.push(stream);
                    }
                    continue;
                }
                let stream: &mut mio::net::TcpStream = &mut streams[event.token().0 - 1];
                let mut bytes = [0; 64];
                loop {
                    match stream.read(&mut bytes) {
                        Ok(0) => break,
                        Ok(len) => {
                            stream.write_all(&bytes[..len]).unwrap();
                            echoed += len;
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
    });
    let clients: Vec<_> = (0..20u8)
        .map(|n| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                for k in 0..10 {
                    stream.write_all(&[n ^ k]).unwrap();
                    let mut back = [0];
                    stream.read_exact(&mut back).unwrap();
                    assert_eq!(back, [n ^ k]);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|one| one.join().unwrap());
    server.join().unwrap();

    // Its timeout, and its waker from an OS thread.
    let mut loop_ = mio::Poll::new().unwrap();
    let waker = mio::Waker::new(loop_.registry(), mio::Token(7)).unwrap();
    let waits = thread::spawn(move || {
        let mut events = mio::Events::with_capacity(4);
        let (_, count) = count_while(|| loop_.poll(&mut events, Some(ms(50))).unwrap());
        assert!(events.is_empty() && count > 3, "{count}");
        loop_.poll(&mut events, None).unwrap();
        events.iter().map(|event| event.token().0).collect::<Vec<_>>()
    });
    let (go, gone) = mpsc::channel();
    let wakes = greenline::thread::Thread::new(move || {
        gone.recv().unwrap();
        waker.wake().unwrap();
        // Dropped, it would take the event back.
        waker
    });
    let wakes = wakes.start().unwrap();
    thread::sleep(ms(80));
    go.send(()).unwrap();
    assert_eq!(waits.join().unwrap(), [7]);
    drop(wakes.join().unwrap());
}

/// A kill ends such a wait once, as a signal would, and nobody is unwound.
#[test]
fn a_kill_is_an_interruption() {
    let _exclusive = exclusive();
    let (here, _there) = UnixStream::pair().unwrap();
    let fd = here.as_raw_fd();
    let set = epoll(&[fd], 0);
    let set = set.as_raw_fd();
    let calls: [fn(i32, i32) -> Answer; 3] = [
        |fd, _| poll(&[(fd, libc::POLLIN)], -1).0,
        |fd, _| select(&[fd], false, None).0,
        |_, set| epoll_wait(set, -1).0,
    ];
    for call in calls {
        let waiter = greenline::spawn(move || call(fd, set));
        greenline::yield_now();
        assert!(waiter.kill());
        assert_eq!(waiter.join().unwrap(), Err(libc::EINTR));
    }
}

/// A listener that is waited for by `poll` and then asked: as many a server in C does it.
#[test]
fn a_server_by_select() {
    let _exclusive = exclusive();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let mut open: Vec<TcpStream> = Vec::new();
        let mut served = 0;
        while served < 10 {
            let mut fds = vec![listener.as_raw_fd()];
            fds.extend(open.iter().map(|stream| stream.as_raw_fd()));
            let (said, [read, ..], _) = select(&fds, false, Some(Duration::from_secs(60)));
            assert!(said.unwrap() > 0);
            for at in (0..open.len()).rev().filter(|at| read[at + 1]) {
                let mut byte = [0];
                if open[at].read(&mut byte).unwrap() == 0 {
                    open.swap_remove(at);
                    served += 1;
                } else {
                    open[at].write_all(&byte).unwrap();
                }
            }
            if read[0] {
                open.push(listener.accept().unwrap().0);
            }
        }
    });
    let clients: Vec<_> = (0..10u8)
        .map(|n| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(&[n]).unwrap();
                let mut back = [0];
                stream.read_exact(&mut back).unwrap();
                assert_eq!(back, [n]);
            })
        })
        .collect();
    clients.into_iter().for_each(|one| one.join().unwrap());
    server.join().unwrap();
}
