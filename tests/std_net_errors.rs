//! What goes wrong with connections, names and children of unmodified std, patched.

#![cfg(feature = "patch")]

use greenline::patch;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use support::proc_fs::open_fds;
use support::subprocess::output;

mod support;

#[path = "support/net_errors.rs"]
mod net_errors;

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listener();
    let there = greenline::spawn(move || listener.accept().unwrap().0);
    let here = TcpStream::connect(address).unwrap();
    (here, there.join().unwrap())
}

fn prepare() {
    patch::all();
}

const LOST: Duration = Duration::from_secs(30);

/// Runs `f` while another thread counts, and answers how far it came.
fn counted<T>(f: impl FnOnce() -> T) -> (T, u32) {
    let stop = Arc::new(AtomicBool::new(false));
    let inside = stop.clone();
    let counts = thread::spawn(move || {
        let mut count = 0;
        while !inside.load(SeqCst) {
            count += 1;
            thread::sleep(Duration::from_micros(100));
        }
        count
    });
    let answer = f();
    stop.store(true, SeqCst);
    (answer, counts.join().unwrap())
}

#[test]
fn names_that_do_not_exist_are_errors_and_the_others_run() {
    patch::all();
    let (stop, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let (inside, counted) = (stop.clone(), turns.clone());
    let other = thread::spawn(move || {
        while !inside.load(SeqCst) {
            counted.fetch_add(1, SeqCst);
            thread::yield_now();
        }
    });
    let (tell, told) = mpsc::channel();
    for n in 0..10 {
        let (tell, turns) = (tell.clone(), turns.clone());
        thread::spawn(move || {
            let before = turns.load(SeqCst);
            let answer = (format!("no-such-host-{n}.invalid"), 80).to_socket_addrs();
            tell.send((answer.is_err(), turns.load(SeqCst) > before)).unwrap();
        });
    }
    let all: Vec<_> = (0..10).map(|_| told.recv_timeout(LOST).expect("it never ends")).collect();
    assert!(all.iter().all(|(is_error, _)| *is_error));
    // An answer may be there before it is waited for; but hardly all of them.
    assert!(all.iter().any(|(_, others_ran)| *others_ran), "the others stood still");
    stop.store(true, SeqCst);
    other.join().unwrap();
}

#[test]
fn who_reads_is_not_fed_by_what_gets_its_number() {
    patch::all();
    let (mut old, _its_peer) = UnixStream::pair().unwrap();
    let (new, mut peer) = UnixStream::pair().unwrap();
    let fd = old.as_raw_fd();
    let reader = thread::spawn(move || {
        let told = old.read(&mut [0; 4]).map_err(|error| error.raw_os_error());
        (told, old)
    });
    (0..10).for_each(|_| thread::yield_now());
    peer.write_all(b"new").unwrap();
    // SAFETY: no pointers. The number is another socket's from here on.
    assert_eq!(unsafe { libc::dup2(new.as_raw_fd(), fd) }, fd);
    let (told, mut now) = reader.join().unwrap();
    assert_eq!(told, Err(Some(libc::EBADF)));
    let mut bytes = [0; 3];
    now.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"new");
}

#[test]
fn who_writes_does_not_go_on_with_what_gets_its_number() {
    patch::all();
    let (mut old, _its_peer) = UnixStream::pair().unwrap();
    let (new, mut peer) = UnixStream::pair().unwrap();
    let fd = old.as_raw_fd();
    // Some of it goes, and the rest waits for room.
    let writer = thread::spawn(move || {
        let told = old.write_all(&vec![1; 16 << 20]).map_err(|error| error.raw_os_error());
        (told, old)
    });
    (0..10).for_each(|_| thread::yield_now());
    assert!(!writer.is_finished());
    // SAFETY: no pointers. The number is another socket's from here on.
    assert_eq!(unsafe { libc::dup2(new.as_raw_fd(), fd) }, fd);
    let start = Instant::now();
    while !writer.is_finished() && start.elapsed() < LOST {
        thread::sleep(Duration::from_millis(1));
    }
    peer.set_nonblocking(true).unwrap();
    assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "it got what was another's");
    assert_eq!(writer.join().unwrap().0, Err(Some(libc::EBADF)));
}

/// std cannot set a time for that before it connects; C can.
#[test]
fn a_connection_is_given_up_after_the_time_that_its_socket_has() {
    patch::all();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    socket2::SockRef::from(&listener).listen(0).unwrap();
    let limit = Duration::from_millis(200);
    let connect = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_write_timeout(Some(limit)).unwrap();
        socket.connect(&address.into()).map(|()| socket)
    };
    let mut queued = Vec::new();
    let (took, count) = counted(|| {
        loop {
            let start = Instant::now();
            match connect() {
                Ok(stream) => queued.push(stream),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS));
                    break start.elapsed();
                }
            }
            assert!(queued.len() < 100);
        }
    });
    assert!(took >= limit && took < LOST && count > 3, "{took:?} {count}");
}

#[test]
fn a_child_that_a_signal_kills_says_by_which() {
    patch::all();
    let all: Vec<_> = [libc::SIGKILL, libc::SIGTERM, libc::SIGSEGV]
        .map(|signal| {
            thread::spawn(move || {
                let script = format!("echo before; ulimit -c 0; kill -{signal} $$; echo after");
                let output = Command::new("sh").args(["-c", &script]).output().unwrap();
                assert_eq!(output.stdout, b"before\n");
                assert_eq!((output.status.signal(), output.status.code()), (Some(signal), None));
            })
        })
        .into();
    all.into_iter().for_each(|one| one.join().unwrap());
    // Killed while it is waited for, and while its output is read.
    let (ended, count) = counted(|| {
        let mut command = Command::new("sleep");
        let child = command.arg("3600").stdout(std::process::Stdio::piped()).spawn().unwrap();
        let id = child.id() as i32;
        let waits = thread::spawn(move || child.wait_with_output().unwrap().status.signal());
        thread::sleep(Duration::from_millis(20));
        // SAFETY: a child of ours, which is not waited for yet.
        assert_eq!(unsafe { libc::kill(id, libc::SIGKILL) }, 0);
        waits.join().unwrap()
    });
    assert!(ended == Some(libc::SIGKILL) && count > 3, "{ended:?} {count}");
    let missing = Command::new("/no/such/program").spawn().unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[test]
fn a_pipe_that_nobody_reads_any_more_breaks() {
    patch::all();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let writes = thread::spawn(move || writer.write_all(&vec![0; 4 << 20]).unwrap_err().kind());
    (0..10).for_each(|_| thread::yield_now());
    assert!(!writes.is_finished());
    drop(reader);
    assert_eq!(writes.join().unwrap(), ErrorKind::BrokenPipe);
    // The child does not read what it is sent.
    let mut child = Command::new("true").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let broken = thread::spawn(move || stdin.write_all(&vec![0; 4 << 20]).unwrap_err().kind());
    assert_eq!(broken.join().unwrap(), ErrorKind::BrokenPipe);
    assert!(child.wait().unwrap().success());
}

fn run(case: &str) {
    match case {
        "stops with a thousand readers" => stops_with_readers(),
        "writes with the default" => {
            patch::all();
            // SAFETY: the signal as a program in C has it.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
            let broken = thread::spawn(|| {
                let (mut here, there) = UnixStream::pair().unwrap();
                drop(there);
                here.write(b"x").unwrap_err().kind()
            });
            assert_eq!(broken.join().unwrap(), ErrorKind::BrokenPipe);
            let mut child = Command::new("true").stdin(std::process::Stdio::piped()).spawn().unwrap();
            let mut writer = child.stdin.take().unwrap();
            assert!(child.wait().unwrap().success());
            drop(thread::spawn(move || writer.write_all(b"x")).join());
            unreachable!("the signal ends it");
        }
        "ends by main" => {
            // Green threads in std's calls end with the process, whatever they wait for.
            patch::all();
            let ends: Vec<_> = (0..100).map(|_| UnixStream::pair().unwrap()).collect();
            for (mut here, there) in ends {
                thread::spawn(move || {
                    let _there = there;
                    here.read(&mut [0])
                });
            }
            thread::yield_now();
        }
        _ => unreachable!("there is no case '{case}'"),
    }
}

/// A read of std is not unwound: it fails once, as if by a signal, and then it is for the program to end.
fn stops_with_readers() {
    static ENDED: AtomicU32 = AtomicU32::new(0);
    struct Counts;
    impl Drop for Counts {
        fn drop(&mut self) {
            ENDED.fetch_add(1, SeqCst);
        }
    }
    patch::all();
    // What the hub needs is there by now.
    let (mut here, there) = UnixStream::pair().unwrap();
    let first = thread::spawn(move || here.read(&mut [0]).unwrap());
    thread::yield_now();
    drop(there);
    assert_eq!(first.join().unwrap(), 0);
    let before = open_fds();
    let mut peers = Vec::new();
    for n in 0..1000 {
        let (mut here, there) = UnixStream::pair().unwrap();
        // Some have their peer with them.
        let there = if n % 2 == 0 {
            Some(there)
        } else {
            peers.push(there);
            None
        };
        let reads = move || {
            let (_counts, _there) = (Counts, there);
            assert_eq!(here.read(&mut [0]).unwrap_err().kind(), ErrorKind::Interrupted);
            // The next of greenline's own calls unwinds.
            greenline::sleep(Duration::from_secs(3600));
            unreachable!("it was killed");
        };
        if n % 3 == 0 { drop(thread::spawn(reads)) } else { drop(greenline::spawn(reads)) }
    }
    (0..10).for_each(|_| thread::yield_now());
    assert_eq!(ENDED.load(SeqCst), 0);
    let start = Instant::now();
    greenline::shutdown();
    assert_eq!(ENDED.load(SeqCst), 1000);
    assert!(start.elapsed() < LOST / 2, "{:?}", start.elapsed());
    assert_eq!(greenline::stats().alive, 0);
    drop(peers);
    assert_eq!(open_fds(), before);
}

#[test]
fn a_hub_that_stops_ends_a_thousand_readers_and_closes_all() {
    output("stops with a thousand readers").success();
}

/// A socket of std's never brings the signal about; a pipe does, where the program has left it as it is in C.
#[test]
fn the_signal_of_broken_pipes_comes_when_it_would_without_us() {
    let output = output("writes with the default");
    assert_eq!(output.code, -libc::SIGPIPE, "{output:#?}");
}

#[test]
fn a_program_ends_with_its_main_whoever_waits() {
    output("ends by main").success();
}
