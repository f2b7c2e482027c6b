//! The same tests for every driver.
//!
//! Next: `hub/wait_fd.rs`, which parks green threads for descriptors.

use super::*;
use crate::arch::syscall::syscall;
use crate::time::NEVER;
use std::cell::Cell;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A ticket of a green thread that does not exist.
fn ticket(key: usize) -> Ticket {
    Ticket::new(GreenId::new(7, key), 1)
}

/// Registers `fd`. Hub numbers are shared by the process, so each call takes one that no hub has.
fn register<D: Driver>(reactor: &ReactorOf<D>, fd: RawFd) -> &FdState {
    match reactor.register(fd, || Ok(70_000), |_| panic!("no earlier generation has waiters")) {
        Ok(Registration::Registered(state)) => state,
        _ => panic!("{fd} cannot be registered"),
    }
}

/// Looks once. Returns the tickets that were woken.
fn woken<D: Driver>(reactor: &ReactorOf<D>, timeout: Time) -> Vec<Ticket> {
    let mut woken = Vec::new();
    reactor.collect(timeout).unwrap();
    reactor.dispatch(|ticket| woken.push(ticket));
    woken
}

fn collect_waits_for_less_than_a_millisecond<D: Driver>() {
    let reactor = ReactorOf::<D>::default();
    for with_driver in [false, true] {
        if with_driver {
            reactor.waker().unwrap();
        }
        let times = (0..50).map(|_| {
            let start = Instant::now();
            reactor.collect(50_000).unwrap();
            start.elapsed()
        });
        let best = times.min().expect("there are fifty");
        assert!(best >= Duration::from_micros(50), "{best:?}");
        // If the time were rounded up to a millisecond, none of the fifty would be shorter than that.
        assert!(best < Duration::from_micros(900), "{best:?}");
    }
}

fn wake_before_collect_is_not_lost<D: Driver>() {
    let reactor = ReactorOf::<D>::default();
    reactor.waker().unwrap().wake().unwrap();
    assert_eq!(woken(&reactor, NEVER), []);
    let start = Instant::now();
    assert_eq!(woken(&reactor, 20_000_000), []);
    assert!(start.elapsed() >= Duration::from_millis(20), "one wake-up ends one wait");
}

fn dispatch_reports_an_edge_once_until_it_is_used_up<D: Driver>() {
    let reactor = ReactorOf::<D>::default();
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let state = register(&reactor, here.as_raw_fd());
    state.add_waiter(Direction::Write, ticket(1));
    state.add_waiter(Direction::Read, ticket(2));
    assert_eq!(woken(&reactor, 0), [ticket(1)], "there is room, and nothing to read");
    there.write_all(b"ab").unwrap();
    assert_eq!(woken(&reactor, NEVER), [ticket(2)]);
    let start = Instant::now();
    assert_eq!(woken(&reactor, 20_000_000), []);
    assert!(start.elapsed() >= Duration::from_millis(20), "no new edge has come");
    assert!(state.is_ready(Direction::Read));
    here.read_exact(&mut [0; 2]).unwrap();
    state.mark_not_ready(Direction::Read);
    state.add_waiter(Direction::Read, ticket(3));
    assert_eq!(woken(&reactor, 0), []);
    there.write_all(b"c").unwrap();
    assert_eq!(woken(&reactor, NEVER), [ticket(3)]);
}

fn dispatch_reports_the_end_of_a_stream_to_its_reader<D: Driver>() {
    let reactor = ReactorOf::<D>::default();
    let (here, there) = UnixStream::pair().unwrap();
    let state = register(&reactor, here.as_raw_fd());
    woken(&reactor, 0);
    state.add_waiter(Direction::Read, ticket(1));
    there.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(woken(&reactor, NEVER), [ticket(1)]);
    state.assume_not_ready(Direction::Read);
    assert!(state.is_ready(Direction::Read), "no further edge may come");
}

fn is_stale_notices_a_number_that_was_reused_unseen<D: Driver>() {
    let reactor = ReactorOf::<D>::default();
    let (here, _there) = UnixStream::pair().unwrap();
    let fd = here.as_raw_fd();
    let state = register(&reactor, fd);
    woken(&reactor, 0);
    assert!(!reactor.is_stale(fd));
    state.add_waiter(Direction::Write, ticket(1));
    assert_eq!(woken(&reactor, 0), [ticket(1)], "what is ready is an edge once more");
    let (other, _end) = UnixStream::pair().unwrap();
    // SAFETY: no pointers. Both numbers are ours.
    unsafe { syscall(libc::SYS_dup3, [other.as_raw_fd() as usize, fd as usize, 0, 0, 0, 0]) };
    assert!(reactor.is_stale(fd));
}

fn on_closed_wakes_the_waiters_of_that_generation<D: Driver>() {
    let reactor = ReactorOf::<D>::default();
    let (here, mut there) = UnixStream::pair().unwrap();
    let state = register(&reactor, here.as_raw_fd());
    let generation = state.current().unwrap();
    state.add_waiter(Direction::Read, ticket(1));
    let last = Cell::new(None);
    reactor.on_closed(here.as_raw_fd(), generation.wrapping_add(1), |ticket| last.set(Some(ticket)));
    assert_eq!(last.take(), None);
    reactor.on_closed(here.as_raw_fd(), generation, |ticket| last.set(Some(ticket)));
    assert_eq!(last.take(), Some(ticket(1)));
    assert!(reactor.state(here.as_raw_fd()).is_none());
    there.write_all(b"a").unwrap();
    assert_eq!(woken(&reactor, 0), []);
}

fn register_says_that_a_file_is_always_ready<D: Driver>() {
    let reactor = ReactorOf::<D>::default();
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let registration = reactor.register(file.as_raw_fd(), || Ok(70_000), |_| {});
    assert!(matches!(registration, Ok(Registration::AlwaysReady)));
    let closed = reactor.register(900_201, || Ok(70_000), |_| {});
    assert_eq!(closed.err().and_then(|error| error.raw_os_error()), Some(libc::EBADF));
}

fn listen_ends_a_wait_at_each_rise<D: Driver>() {
    let reactor = ReactorOf::<D>::default();
    // SAFETY: no pointers.
    let counter = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    reactor.listen(counter).unwrap();
    for _ in 0..2 {
        // SAFETY: no pointers.
        unsafe { libc::eventfd_write(counter, 1) };
        assert_eq!(woken(&reactor, NEVER), []);
    }
    reactor.unlisten(counter);
    // SAFETY: no pointers; the number is ours.
    unsafe {
        libc::eventfd_write(counter, 1);
        let start = Instant::now();
        assert_eq!(woken(&reactor, 20_000_000), []);
        assert!(start.elapsed() >= Duration::from_millis(20));
        libc::close(counter);
    }
}

macro_rules! for_each_driver {
    ($($test:ident)*) => {
        mod epoll {
            $(#[test] fn $test() { super::$test::<crate::reactor::epoll::Epoll>() })*
        }
        mod poll {
            $(#[test] fn $test() { super::$test::<crate::reactor::poll::PollFds>() })*
        }
    };
}

for_each_driver! {
    collect_waits_for_less_than_a_millisecond
    wake_before_collect_is_not_lost
    dispatch_reports_an_edge_once_until_it_is_used_up
    dispatch_reports_the_end_of_a_stream_to_its_reader
    is_stale_notices_a_number_that_was_reused_unseen
    on_closed_wakes_the_waiters_of_that_generation
    register_says_that_a_file_is_always_ready
    listen_ends_a_wait_at_each_rise
}
