//! Errors of connections: each call returns what it would return in any program, and other green threads run meanwhile.
//!
//! Two test files include this file: one for `greenline::net`, one for std's sockets under the patch. Each has
//! `TcpListener`, `TcpStream`, `UnixStream`, and makes `listener`s and `tcp_pair`s of them. It has a `prepare` that
//! patches if needed, and a `run` for its own cases in children.

use super::support::limits::exhaust_fds;
use super::support::sockets::{reset_on_close, shorten_backlog};
use super::support::subprocess::{output, run_cases_before_main};
use super::support::threads::on_os_thread;
use super::support::time::{HANG_TIMEOUT, let_others_run};
use super::{TcpStream, UnixStream, listener, prepare, tcp_pair};
use greenline::{JoinHandle, join_all, sleep, spawn, yield_now};
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(30);

/// Another green thread, which counts once in a millisecond.
struct Other(Rc<Cell<u32>>, JoinHandle<()>);

impl Other {
    fn new() -> Other {
        let ticks = Rc::new(Cell::new(0));
        let inside = ticks.clone();
        Other(
            ticks,
            spawn(move || {
                loop {
                    inside.set(inside.get() + 1);
                    sleep(Duration::from_millis(1));
                }
            }),
        )
    }

    /// Calls `f`. Fails the test unless this green thread has counted to three meanwhile.
    fn runs_while<T>(&self, f: impl FnOnce() -> T) -> T {
        let before = self.0.get();
        let result = f();
        assert!(self.0.get() >= before + 3, "the others stood still");
        result
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.1.kill();
    }
}

#[test]
fn read_in_the_middle_of_a_message_from_a_peer_that_resets_returns_connection_reset() {
    prepare();
    let (mut here, mut there) = tcp_pair();
    reset_on_close(&there);
    let got = Rc::new(Cell::new(0));
    let inside = got.clone();
    let reader = spawn(move || {
        let mut bytes = [0; 100];
        loop {
            match here.read(&mut bytes) {
                Ok(len) => inside.set(inside.get() + len),
                // One read returns the error. The next one returns the end.
                Err(error) => return (error.kind(), here.read(&mut bytes).unwrap()),
            }
        }
    });
    there.write_all(b"half of a mess").unwrap();
    let_others_run();
    assert!(got.get() == 14 && !reader.is_finished());
    drop(there);
    assert_eq!(reader.join().unwrap(), (ErrorKind::ConnectionReset, 0));
}

#[test]
fn write_all_to_a_peer_that_resets_returns_an_error() {
    prepare();
    let (mut here, there) = tcp_pair();
    reset_on_close(&there);
    let writer = spawn(move || here.write_all(&vec![0; 64 << 20]).unwrap_err().kind());
    let_others_run();
    assert!(!writer.is_finished());
    drop(there);
    let kind = writer.join().unwrap();
    assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind:?}");
}

#[test]
fn connect_timeout_to_a_full_backlog_times_out_while_others_run() {
    prepare();
    let other = Other::new();
    let (listener, address) = listener();
    // The backlog is as short as it can be, and no call accepts from it. So the kernel stops answering.
    shorten_backlog(&listener);
    let mut queued = Vec::new();
    let start = Instant::now();
    let error = loop {
        match TcpStream::connect_timeout(&address, SOON) {
            Ok(stream) => queued.push(stream),
            Err(error) => break error,
        }
        assert!(queued.len() < 100);
    };
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() >= SOON);
    // Twenty wait at the same time.
    let start = Instant::now();
    let all = other.runs_while(|| {
        let connect = move || TcpStream::connect_timeout(&address, SOON * 10).unwrap_err().kind();
        join_all((0..20).map(|_| spawn(connect)))
    });
    assert!(all.into_iter().all(|kind| kind.unwrap() == ErrorKind::TimedOut));
    assert!(start.elapsed() >= SOON * 10 && start.elapsed() < SOON * 10 * 20, "{:?}", start.elapsed());
    // A connect without a limit succeeds when there is room: the kernel asks again after a second.
    let late = spawn(move || TcpStream::connect(address).map(drop));
    other.runs_while(|| {
        let_others_run();
        assert!(!late.is_finished());
        let taken: Vec<_> = queued.iter().map(|_| listener.accept().unwrap()).collect();
        late.join_timeout(HANG_TIMEOUT).expect("the kernel asks again").unwrap().unwrap();
        drop(taken);
    });
}

#[test]
fn connect_to_an_unreachable_address_returns_an_error_at_once() {
    prepare();
    // TCP has no multicast or broadcast. The kernel refuses both without a network.
    for nowhere in ["224.0.0.1:80", "255.255.255.255:80"] {
        let nowhere: SocketAddr = nowhere.parse().unwrap();
        let all = [
            spawn(move || TcpStream::connect(nowhere)),
            spawn(move || TcpStream::connect_timeout(&nowhere, HANG_TIMEOUT)),
        ];
        for error in join_all(all) {
            let error = error.unwrap().unwrap_err();
            assert_eq!(
                (error.kind(), error.raw_os_error()),
                (ErrorKind::NetworkUnreachable, Some(libc::ENETUNREACH))
            );
        }
    }
    let (listener, address) = listener();
    drop(listener);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn connect_to_an_unknown_name_returns_an_error() {
    prepare();
    let lookup = spawn(|| TcpStream::connect("no-such-host.invalid:80").map(drop));
    let result = lookup.join_timeout(HANG_TIMEOUT).expect("the lookup hangs").unwrap();
    assert!(result.is_err());
}

#[test]
fn write_all_to_a_slow_reader_blocks_only_the_writer() {
    prepare();
    const ALL: usize = 8 << 20;
    let other = Other::new();
    let (mut here, mut there) = tcp_pair();
    let done = Rc::new(Cell::new(false));
    let inside = done.clone();
    let all: Vec<u8> = (0..ALL).map(|n| (n / 5) as u8).collect();
    let writer = spawn(move || {
        there.write_all(&all).unwrap();
        inside.set(true);
    });
    other.runs_while(|| sleep(SOON * 3));
    assert!(!done.get());
    let (mut got, mut bytes) = (0, vec![0; 64 << 10]);
    other.runs_while(|| {
        loop {
            let len = here.read(&mut bytes).unwrap();
            if len == 0 {
                break;
            }
            assert!((got..got + len).zip(&bytes).all(|(n, &byte)| byte == (n / 5) as u8));
            got += len;
            sleep(Duration::from_micros(500));
        }
    });
    assert!(got == ALL && done.get());
    writer.join().unwrap();
}

#[test]
fn shutdown_closes_each_half_by_itself() {
    prepare();
    let (mut here, mut there) = tcp_pair();
    let answers = spawn(move || {
        let mut all = String::new();
        here.read_to_string(&mut all).unwrap();
        assert_eq!(here.read(&mut [0]).unwrap(), 0);
        let_others_run();
        here.write_all(all.to_uppercase().as_bytes()).unwrap();
    });
    there.write_all(b"the question").unwrap();
    let_others_run();
    there.shutdown(Shutdown::Write).unwrap();
    assert_eq!(there.write(b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
    let mut answer = String::new();
    there.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "THE QUESTION");
    answers.join().unwrap();

    // A read that waits while its own half is shut down returns the end.
    let (here, _there) = UnixStream::pair().unwrap();
    let shuts = here.try_clone().unwrap();
    let reader = spawn(move || (&here).read(&mut [0]).unwrap());
    let_others_run();
    shuts.shutdown(Shutdown::Both).unwrap();
    assert_eq!(reader.join().unwrap(), 0);
}

#[test]
fn tcp_stream_of_a_handler_that_panics_is_closed_and_no_other() {
    prepare();
    let (listener, address) = listener();
    let server = spawn(move || {
        let handlers: Vec<_> = (0..6)
            .map(|_| {
                let (mut stream, _) = listener.accept().unwrap();
                spawn(move || {
                    let mut byte = [0];
                    while stream.read(&mut byte).unwrap() > 0 {
                        assert!(byte[0] != b'!', "as asked for");
                        stream.write_all(&byte).unwrap();
                    }
                })
            })
            .collect();
        join_all(handlers).iter().filter(|handler| handler.is_err()).count()
    });
    let mut clients: Vec<_> = (0..6).map(|_| TcpStream::connect(address).unwrap()).collect();
    for bad in clients.iter_mut().step_by(2) {
        bad.write_all(b"!").unwrap();
        assert_eq!(bad.read(&mut [0]).unwrap(), 0);
    }
    for good in clients.iter_mut().skip(1).step_by(2) {
        good.write_all(b"a").unwrap();
        assert_eq!(good.read(&mut [0]).unwrap(), 1);
    }
    drop(clients);
    assert_eq!(server.join().unwrap(), 3);
}

#[test]
fn close_makes_write_all_return_ebadf() {
    prepare();
    for remote in [false, true] {
        let (mut here, there) = UnixStream::pair().unwrap();
        let raw = here.as_raw_fd();
        let writer = spawn(move || {
            let answer = here.write_all(&vec![0; 16 << 20]);
            std::mem::forget(here);
            answer.map_err(|error| error.raw_os_error())
        });
        let_others_run();
        assert!(!writer.is_finished());
        // SAFETY: the writer forgets the socket that owns the descriptor.
        let close = move || unsafe { libc::close(raw) };
        assert_eq!(if remote { on_os_thread(close) } else { close() }, 0);
        let result =
            writer.join_timeout(HANG_TIMEOUT).expect("it still waits for the closed socket").unwrap();
        assert_eq!(result, Err(Some(libc::EBADF)));
        drop(there);
    }
}

#[test]
fn write_all_to_a_closed_peer_returns_an_error() {
    prepare();
    let (mut here, there) = tcp_pair();
    drop(there);
    let error = loop {
        match here.write_all(b"anybody?") {
            Ok(()) => yield_now(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    // The reader closes during the write.
    let (mut here, there) = UnixStream::pair().unwrap();
    let writer = spawn(move || here.write_all(&vec![0; 16 << 20]).unwrap_err().kind());
    let_others_run();
    assert!(!writer.is_finished());
    drop(there);
    assert_eq!(writer.join().unwrap(), ErrorKind::BrokenPipe);
}

/// Case that runs in a child, because the limit of descriptors belongs to the process.
fn without_descriptors() {
    prepare();
    let other = Other::new();
    let (listener, address) = listener();
    // The hub and the client have opened all the descriptors that they need.
    let mut waiting = TcpStream::connect(address).unwrap();
    drop(listener.accept().unwrap());
    assert_eq!(waiting.read(&mut [0]).unwrap(), 0);
    let server = spawn(move || {
        let refused = listener.accept().unwrap_err();
        // The server accepts again and again until there is room. No connection is lost.
        let taken = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) => assert_eq!(error.raw_os_error(), refused.raw_os_error()),
            }
            sleep(Duration::from_millis(1));
        };
        (refused, taken)
    });
    let_others_run();
    let mut files = exhaust_fds(64);
    files.pop();
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"hello").unwrap();
    other.runs_while(|| sleep(SOON * 3));
    assert!(!server.is_finished());
    files.clear();
    let (refused, mut taken) = server.join().unwrap();
    assert_eq!(refused.raw_os_error(), Some(libc::EMFILE));
    let mut bytes = [0; 5];
    taken.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
}

run_cases_before_main!(run_case);

/// The cases that run in a child: the one of this file, and those of the including file.
fn run_case(case: &str) {
    match case {
        "without descriptors" => without_descriptors(),
        other => super::run(other),
    }
}

#[test]
fn accept_without_descriptors_returns_emfile_and_succeeds_later() {
    output("without descriptors").success();
}
