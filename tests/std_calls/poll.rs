//! `poll`, `select`, `epoll_wait` and their variants, interposed: each returns what it returns on an OS thread that is
//! not patched, and other green threads run meanwhile.

use crate::support::differential::{
    NOT_OPEN, answer, count_while, exclusive, ms, same, spawn_delayed, waits,
};
use crate::support::threads::{Green, KINDS, Os, start};
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

type Answer = Result<i64, i32>;

/// For each descriptor, whether it is in the set.
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

/// Calls `select` for reading and urgent data of all descriptors, and for writing to the first if `write` is set. Returns
/// the result, the sets, and whether the call has reduced the time.
fn select(fds: &[i32], write: bool, timeout: Option<Duration>) -> (Answer, [Bits; 3], bool) {
    let (mut read, mut urgent) = (Set::of(fds), Set::of(fds));
    let mut writes = Set::of(if write { &fds[..1] } else { &[] });
    let count = fds.iter().max().unwrap() + 1;
    let whole = timeout.unwrap_or_default();
    let mut time =
        libc::timeval { tv_sec: whole.as_secs() as _, tv_usec: whole.subsec_micros() as libc::suseconds_t };
    let time_at = if timeout.is_some() { &raw mut time } else { null_mut() };
    // SAFETY: the sets and the time are in this frame.
    let results = answer(unsafe { libc::select(count, &mut read.0, &mut writes.0, &mut urgent.0, time_at) });
    let left = Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    (results, [read.bits(fds), writes.bits(fds), urgent.bits(fds)], left < whole)
}

fn poll(fds: &[(i32, i16)], timeout: i32) -> (Answer, Vec<i16>) {
    let mut all: Vec<_> = fds.iter().map(|&(fd, events)| libc::pollfd { fd, events, revents: 0 }).collect();
    // SAFETY: the descriptors are as many as their vector is long.
    let results = answer(unsafe { libc::poll(all.as_mut_ptr(), all.len() as _, timeout) });
    (results, all.iter().map(|one| one.revents).collect())
}

#[test]
fn select_returns_ready_sets_and_the_remaining_time() {
    let _exclusive = exclusive();
    let results = same(|| {
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
        // SAFETY: there are no sets; the times are in this frame.
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
            // `select` accepts more than a second in the microseconds.
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
    assert_eq!(
        results.iter().map(|one| one.0).take(5).collect::<Vec<_>>(),
        [Ok(0), Ok(0), Ok(1), Ok(1), Ok(2)]
    );
    assert_eq!(results[5].0, Err(libc::EBADF));
    assert!(results[1].2 && results[4].2, "`select` writes the remaining time back");
}

/// Some programs pass the limit of descriptors as the count, with sets that are smaller.
#[test]
fn select_with_a_count_beyond_the_open_descriptors_ignores_them() {
    let _exclusive = exclusive();
    let results = same(|| {
        let mut set = Set::of(&[]);
        let mut time = libc::timeval { tv_sec: 0, tv_usec: 20_000 };
        // SAFETY: the kernel looks no further than the size of the table of descriptors.
        answer(unsafe { libc::select(i32::MAX, &mut set.0, null_mut(), null_mut(), &mut time) })
    });
    assert_eq!(results, Ok(0));
}

#[test]
fn pselect_and_ppoll_use_their_timespec() {
    let _exclusive = exclusive();
    let results = same(|| {
        let (mut here, there) = UnixStream::pair().unwrap();
        let fd = there.as_raw_fd();
        let pselect = |nanos: Option<i64>| {
            let (mut set, time) = (Set::of(&[fd]), libc::timespec { tv_sec: 0, tv_nsec: nanos.unwrap_or(0) });
            let time = if nanos.is_some() { &raw const time } else { null() };
            // SAFETY: the set and the time are in this frame.
            let results = unsafe { libc::pselect(fd + 1, &mut set.0, null_mut(), null_mut(), time, null()) };
            (answer(results), set.bits(&[fd])[0])
        };
        let ppoll = |nanos: Option<i64>| {
            let (mut one, time) = (
                libc::pollfd { fd, events: libc::POLLIN, revents: 0 },
                libc::timespec { tv_sec: 0, tv_nsec: nanos.unwrap_or(0) },
            );
            let time = if nanos.is_some() { &raw const time } else { null() };
            // SAFETY: the descriptor and the time are in this frame.
            let results = unsafe { libc::ppoll(&mut one, 1, time, null()) };
            (answer(results), one.revents == libc::POLLIN)
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
    assert_eq!(
        results.iter().map(|one| one.1).collect::<Vec<_>>(),
        [none, none, wrong, wrong, (Ok(1), true)]
    );
    assert_eq!(results.last().unwrap().0, (Ok(1), true));
}

#[test]
fn poll_returns_ready_descriptors_and_errors() {
    let _exclusive = exclusive();
    let results = same(|| {
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
        // The call asks for no event. It returns POLLHUP all the same.
        all.push(waits(ms(10), || poll(&[(one, 0)], -1)));
        end.join().unwrap();
        all
    });
    assert_eq!(
        results.iter().map(|one| one.0).collect::<Vec<_>>(),
        [Ok(0), Ok(0), Ok(1), Ok(1), Ok(2), Ok(1)]
    );
    assert_eq!(results[2].1, [0, libc::POLLNVAL, 0]);
}

#[test]
fn poll_of_two_sockets_waits_for_either() {
    let _exclusive = exclusive();
    // SAFETY: there are no descriptors.
    assert_eq!(unsafe { libc::poll(null_mut(), 0, 10) }, 0);
    let (a, b) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    let fds = [(a.0.as_raw_fd(), libc::POLLIN), (b.0.as_raw_fd(), libc::POLLIN)];
    assert_eq!(poll(&fds, 0), (Ok(0), vec![0, 0]));
    assert_eq!(poll(&fds, 10), (Ok(0), vec![0, 0]));
    let mut other = b.1.try_clone().unwrap();
    let writer = thread::spawn(move || other.write_all(b"x").unwrap());
    assert_eq!(poll(&fds, -1), (Ok(1), vec![0, libc::POLLIN]));
    writer.join().unwrap();
    (&a.1).write_all(b"x").unwrap();
    assert_eq!(poll(&fds, -1), (Ok(2), vec![libc::POLLIN, libc::POLLIN]));
}

/// Events that the call does not ask for do not end its wait, and do not keep the hub busy.
#[test]
fn poll_ignores_events_it_does_not_wait_for_without_spinning() {
    let _exclusive = exclusive();
    let (mut here, there) = UnixStream::pair().unwrap();
    here.write_all(b"bytes to read").unwrap();
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let waiter = thread::spawn(move || {
        let before = greenline::stats().switches;
        assert_eq!(
            poll(&[(there.as_raw_fd(), libc::POLLPRI), (file.as_raw_fd(), libc::POLLPRI)], 100).0,
            Ok(0)
        );
        assert!(greenline::stats().switches - before < 20, "the hub spins");
        // The bytes can still be read.
        let mut bytes = [0; 6];
        let mut there = there;
        there.read_exact(&mut bytes).unwrap();
        bytes
    });
    assert_eq!(&waiter.join().unwrap(), b"bytes ");
}

/// Returns an epoll instance with the descriptors in it, each with its index as its data.
fn epoll(fds: &[i32], flags: i32) -> OwnedFd {
    // SAFETY: the descriptor was just made.
    let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
    for (at, &fd) in fds.iter().enumerate() {
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | flags) as u32, u64: at as u64 };
        // SAFETY: the event is in this frame.
        let added = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) };
        assert_eq!(added, 0);
    }
    epoll
}

/// Returns the result, and the sorted data of the ready descriptors.
fn epoll_wait(epoll: i32, timeout: i32) -> (Answer, Vec<u64>) {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
    // SAFETY: there is room for eight events.
    let results = answer(unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 8, timeout) });
    let mut ready: Vec<u64> =
        events.iter().take(results.unwrap_or(0) as usize).map(|event| event.u64).collect();
    ready.sort_unstable();
    (results, ready)
}

/// A program that polls in a loop waits for another green thread. The loop ends only if other green threads run.
#[test]
fn poll_read_and_waitpid_in_a_loop_let_others_run() {
    let _exclusive = exclusive();
    let (mut here, mut there) = UnixStream::pair().unwrap();
    there.write_all(b"x").unwrap();
    let fd = here.as_raw_fd();
    let reader = thread::spawn(move || here.read_exact(&mut [0]).map(|()| here).unwrap());
    let is_readable = |millis| {
        let mut fds = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
        // SAFETY: the descriptor is in this frame.
        unsafe { libc::poll(fds.as_mut_ptr(), 1, millis) == 1 }
    };
    // Until the socket is drained, each call returns at once.
    while is_readable(60_000) && !reader.is_finished() {}
    let mut here = reader.join().unwrap();
    // Until a byte comes, no call returns an event.
    let writer = thread::spawn(move || there.write_all(b"xy").map(|()| there).unwrap());
    while !is_readable(0) {}
    let _there = writer.join().unwrap();
    here.read_exact(&mut [0; 2]).unwrap();
    // Loops of other calls end, too.
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
fn epoll_wait_returns_level_and_edge_triggered_events() {
    let _exclusive = exclusive();
    for flags in [0, libc::EPOLLET] {
        let results = same(move || {
            let (a, b) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
            let set = epoll(&[a.0.as_raw_fd(), b.0.as_raw_fd()], flags);
            let set = set.as_raw_fd();
            let mut all = vec![epoll_wait(set, 0)];
            all.push(waits(ms(50), || epoll_wait(set, 50)));
            for round in 0..3 {
                let mut other = b.1.try_clone().unwrap();
                let writer = spawn_delayed(move || other.write_all(b"x").unwrap());
                // A level-triggered descriptor stays ready. An edge-triggered one becomes ready again.
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
            // After it was read to the end, it is not ready.
            for end in [&a.0, &b.0] {
                end.set_nonblocking(true).unwrap();
                while (&*end).read(&mut [0; 8]).is_ok() {}
            }
            all.push(waits(ms(30), || epoll_wait(set, 30)));
            // SAFETY: the event and the times are in this frame.
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
                    .map(|results| (results, vec![])),
                );
            }
            all
        });
        assert_eq!(results[2], (Ok(1), vec![1]));
        assert_eq!(results[3].0, Ok(if flags == 0 { 1 } else { 0 }));
        let errors = results[results.len() - 5..].iter().map(|one| one.0);
        let invalid = Err(libc::EINVAL);
        assert!(errors.eq([invalid, Err(libc::EBADF), invalid, invalid, Ok(0)]), "{results:?}");
    }
}

unsafe extern "C" {
    // Some versions of libc do not declare it for this platform.
    fn epoll_pwait2(
        epoll: i32,
        events: *mut libc::epoll_event,
        most: i32,
        timeout: *const libc::timespec,
        mask: *const libc::sigset_t,
    ) -> i32;
}

/// Two green threads wait for one instance, and one waits for an instance that is nested in others.
#[test]
fn epoll_wait_by_two_threads_and_in_nested_instances_wakes_each() {
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
    // The nesting is as deep as the kernel allows. The reactor cannot register the outermost one, so the patch polls it.
    for _ in 0..4 {
        chain.push(epoll(&[chain.last().unwrap().as_raw_fd()], 0));
    }
    let outermost = chain.last().unwrap().as_raw_fd();
    let waiter = thread::spawn(move || waits(ms(10), || epoll_wait(outermost, -1)));
    thread::sleep(ms(20));
    (&deep.1).write_all(b"x").unwrap();
    assert_eq!(waiter.join().unwrap(), (Ok(1), vec![0]));
}

/// Another green thread or an OS thread closes the descriptors, and the number is used again before the waiter runs.
#[test]
fn close_wakes_epoll_wait_poll_and_select() {
    let _exclusive = exclusive();
    for kind in KINDS {
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
            // SAFETY: the test owns both numbers.
            unsafe {
                assert_eq!((libc::close(fd), libc::close(read)), (0, 0));
                // The new descriptor is ready to read.
                assert_eq!(libc::dup2(replace, fd), fd);
            }
        };
        (&other.1).write_all(b"x").unwrap();
        match kind {
            Os => start(Os, close)(),
            Green => close(),
        }
        assert_eq!(waiter.join().unwrap(), Err(libc::EBADF));
        assert_eq!(polls.join().unwrap(), (Ok(1), vec![libc::POLLNVAL]));
        assert_eq!(selects.join().unwrap(), Err(libc::EBADF));
        // SAFETY: dup2 has made the descriptor.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
}

/// A program compiled with `_FORTIFY_SOURCE` makes these calls in place of `poll` and `ppoll`.
#[test]
fn poll_chk_and_ppoll_chk_wait() {
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
    let results = same(|| {
        let (here, _there) = UnixStream::pair().unwrap();
        let mut one = libc::pollfd { fd: here.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let time = libc::timespec { tv_sec: 0, tv_nsec: 30_000_000 };
        let room = size_of_val(&one);
        // SAFETY: the descriptor is in this frame, and `room` is its size.
        unsafe {
            [
                waits(ms(30), || answer(__poll_chk(&mut one, 1, 30, room))),
                waits(ms(30), || answer(__ppoll_chk(&mut one, 1, &time, null(), room))),
            ]
        }
    });
    assert_eq!(results, [Ok(0), Ok(0)]);
}

/// An event loop of another crate runs in a green thread. Its peers are green threads, too.
#[test]
fn epoll_wait_by_mio_serves_20_clients_in_a_green_thread() {
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

    // The loop's timeout, and its waker in an OS thread.
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
        // If it was dropped here, the event would be lost.
        waker
    });
    let wakes = wakes.start().unwrap();
    thread::sleep(ms(80));
    go.send(()).unwrap();
    assert_eq!(waits.join().unwrap(), [7]);
    drop(wakes.join().unwrap());
}

/// A kill ends such a wait once, as a signal does, without an unwind.
#[test]
fn kill_makes_poll_select_and_epoll_wait_return_eintr() {
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

/// The server waits for its listener and its connections by `select`, and then accepts and reads, as servers in C do.
#[test]
fn select_in_a_server_serves_10_clients() {
    let _exclusive = exclusive();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let mut open: Vec<TcpStream> = Vec::new();
        let mut served = 0;
        while served < 10 {
            let mut fds = vec![listener.as_raw_fd()];
            fds.extend(open.iter().map(|stream| stream.as_raw_fd()));
            let (results, [read, ..], _) = select(&fds, false, Some(Duration::from_secs(60)));
            assert!(results.unwrap() > 0);
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
