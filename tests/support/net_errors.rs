//! What goes wrong with connections, said once for `greenline::net` and once for std's under the patch: who asks is told
//! what any program would be told, and the others run meanwhile.
//!
//! Whoever has this as a module says which `TcpListener`, `TcpStream`, `UnixStream` are meant, and `prepare`s.

use super::support::subprocess::{output, run_cases_before_main};
use super::{TcpListener, TcpStream, UnixStream, prepare};
use greenline::{JoinHandle, join_all, sleep, spawn, yield_now};
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(30);
/// What never takes so long, unless it is lost.
const LOST: Duration = Duration::from_secs(30);

/// Lets the others run until they all wait for something that is not there.
fn settle() {
    (0..10).for_each(|_| yield_now());
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listener();
    let there = spawn(move || listener.accept().unwrap().0);
    let here = TcpStream::connect(address).unwrap();
    (here, there.join().unwrap())
}

/// Its peer is told of its end by a reset.
fn reset_on_close(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = size_of::<libc::linger>() as libc::socklen_t;
    let (fd, level, option) = (stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER);
    // SAFETY: a linger, and its length.
    assert_eq!(unsafe { libc::setsockopt(fd, level, option, (&raw const linger).cast(), len) }, 0);
}

/// Somebody else, who runs all the while.
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

    /// It has run while `f` did; and long enough for that to mean something.
    fn runs_while<T>(&self, f: impl FnOnce() -> T) -> T {
        let before = self.0.get();
        let answer = f();
        assert!(self.0.get() >= before + 3, "the others stood still");
        answer
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.1.kill();
    }
}

#[test]
fn a_peer_that_resets_in_the_middle_of_a_message() {
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
                // Once it is an error; then it is over.
                Err(error) => return (error.kind(), here.read(&mut bytes).unwrap()),
            }
        }
    });
    there.write_all(b"half of a mess").unwrap();
    settle();
    assert!(got.get() == 14 && !reader.is_finished());
    drop(there);
    assert_eq!(reader.join().unwrap(), (ErrorKind::ConnectionReset, 0));
}

#[test]
fn a_peer_that_resets_in_the_middle_of_a_write() {
    prepare();
    let (mut here, there) = tcp_pair();
    reset_on_close(&there);
    let writer = spawn(move || here.write_all(&vec![0; 64 << 20]).unwrap_err().kind());
    settle();
    assert!(!writer.is_finished());
    drop(there);
    let kind = writer.join().unwrap();
    assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind:?}");
}

#[test]
fn a_connection_that_nobody_takes_times_out_while_the_others_run() {
    prepare();
    let other = Other::new();
    let (listener, address) = listener();
    // As short a queue as can be, and nobody who takes from it: the kernel does not answer any more.
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
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
    // Several wait together.
    let start = Instant::now();
    let all = other.runs_while(|| {
        let connect = move || TcpStream::connect_timeout(&address, SOON * 10).unwrap_err().kind();
        join_all((0..20).map(|_| spawn(connect)))
    });
    assert!(all.into_iter().all(|kind| kind.unwrap() == ErrorKind::TimedOut));
    assert!(start.elapsed() >= SOON * 10 && start.elapsed() < SOON * 10 * 20, "{:?}", start.elapsed());
    // And who waits without a limit is connected when there is room: the kernel asks again after a second.
    let late = spawn(move || TcpStream::connect(address).map(drop));
    other.runs_while(|| {
        settle();
        assert!(!late.is_finished());
        let taken: Vec<_> = queued.iter().map(|_| listener.accept().unwrap()).collect();
        late.join_timeout(LOST).expect("it is asked again").unwrap().unwrap();
        drop(taken);
    });
}

#[test]
fn what_cannot_be_reached_is_said_at_once() {
    prepare();
    // TCP goes to one, and not to many: the kernel needs no network to know.
    for nowhere in ["224.0.0.1:80", "255.255.255.255:80"] {
        let nowhere: SocketAddr = nowhere.parse().unwrap();
        let all = [
            spawn(move || TcpStream::connect(nowhere)),
            spawn(move || TcpStream::connect_timeout(&nowhere, LOST)),
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
fn a_name_that_does_not_exist_is_an_error_soon() {
    prepare();
    let looked_up = spawn(|| TcpStream::connect("no-such-host.invalid:80").map(drop));
    let answer = looked_up.join_timeout(LOST).expect("it never ends").unwrap();
    assert!(answer.is_err());
}

#[test]
fn a_slow_reader_holds_up_its_writer_and_nobody_else() {
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
fn each_half_is_closed_by_itself() {
    prepare();
    let (mut here, mut there) = tcp_pair();
    let answers = spawn(move || {
        let mut all = String::new();
        here.read_to_string(&mut all).unwrap();
        assert_eq!(here.read(&mut [0]).unwrap(), 0);
        settle();
        here.write_all(all.to_uppercase().as_bytes()).unwrap();
    });
    there.write_all(b"the question").unwrap();
    settle();
    there.shutdown(Shutdown::Write).unwrap();
    assert_eq!(there.write(b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
    let mut answer = String::new();
    there.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "THE QUESTION");
    answers.join().unwrap();

    // Who waits to read while its own half is shut is told that it is the end.
    let (here, _there) = UnixStream::pair().unwrap();
    let shuts = here.try_clone().unwrap();
    let reader = spawn(move || (&here).read(&mut [0]).unwrap());
    settle();
    shuts.shutdown(Shutdown::Both).unwrap();
    assert_eq!(reader.join().unwrap(), 0);
}

#[test]
fn a_handler_that_panics_ends_its_own_connection() {
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
fn a_descriptor_that_is_closed_wakes_who_writes_to_it() {
    prepare();
    for by_an_os_thread in [false, true] {
        let (mut here, there) = UnixStream::pair().unwrap();
        let raw = here.as_raw_fd();
        let writer = spawn(move || {
            let answer = here.write_all(&vec![0; 16 << 20]);
            std::mem::forget(here);
            answer.map_err(|error| error.raw_os_error())
        });
        settle();
        assert!(!writer.is_finished());
        // SAFETY: whoever had it forgets it.
        let close = move || unsafe { libc::close(raw) };
        let closed = match by_an_os_thread {
            true => greenline::thread::Thread::new(close).start().unwrap().join().unwrap(),
            false => close(),
        };
        assert_eq!(closed, 0);
        let told = writer.join_timeout(LOST).expect("it waits for what is no more").unwrap();
        assert_eq!(told, Err(Some(libc::EBADF)));
        drop(there);
    }
}

#[test]
fn a_write_to_who_has_gone_is_an_error() {
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
    // Who writes while its reader goes.
    let (mut here, there) = UnixStream::pair().unwrap();
    let writer = spawn(move || here.write_all(&vec![0; 16 << 20]).unwrap_err().kind());
    settle();
    assert!(!writer.is_finished());
    drop(there);
    assert_eq!(writer.join().unwrap(), ErrorKind::BrokenPipe);
}

/// In a child, for the limit is the process's.
fn without_descriptors() {
    prepare();
    let other = Other::new();
    let (listener, address) = listener();
    // All that the hub and the client need is there by now.
    let mut waiting = TcpStream::connect(address).unwrap();
    drop(listener.accept().unwrap());
    assert_eq!(waiting.read(&mut [0]).unwrap(), 0);
    let server = spawn(move || {
        let refused = listener.accept().unwrap_err();
        // Again and again, until there is room: no connection is lost by that.
        let taken = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) => assert_eq!(error.raw_os_error(), refused.raw_os_error()),
            }
            sleep(Duration::from_millis(1));
        };
        (refused, taken)
    });
    settle();
    let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    // SAFETY: a valid limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    let mut rest = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        rest.push(file);
    }
    rest.pop();
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"hello").unwrap();
    other.runs_while(|| sleep(SOON * 3));
    assert!(!server.is_finished());
    rest.clear();
    let (refused, mut taken) = server.join().unwrap();
    assert_eq!(refused.raw_os_error(), Some(libc::EMFILE));
    let mut bytes = [0; 5];
    taken.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
}

run_cases_before_main!(run_case);

/// Runs a case in a child: the one of this file, or one of the including file's.
fn run_case(case: &str) {
    match case {
        "without descriptors" => without_descriptors(),
        other => super::run(other),
    }
}

#[test]
fn without_descriptors_accept_says_so_and_goes_on_later() {
    output("without descriptors").success();
}
