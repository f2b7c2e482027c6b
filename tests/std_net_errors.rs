//! Errors of connections, names and children with unmodified std, patched.

#![cfg(feature = "patch")]

use greenline::patch;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
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

/// Time limit of a call that should end early.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Runs `f` while another thread counts. Returns its result and the count.
fn counting_meanwhile<T>(f: impl FnOnce() -> T) -> (T, u32) {
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
    let result = f();
    stop.store(true, SeqCst);
    (result, counts.join().unwrap())
}

#[test]
fn to_socket_addrs_of_unknown_names_returns_errors_and_lets_others_run() {
    patch::all();
    let (stop, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let (inside, counting_meanwhile) = (stop.clone(), turns.clone());
    let other = thread::spawn(move || {
        while !inside.load(SeqCst) {
            counting_meanwhile.fetch_add(1, SeqCst);
            thread::yield_now();
        }
    });
    let (tell, result) = mpsc::channel();
    for n in 0..10 {
        let (tell, turns) = (tell.clone(), turns.clone());
        thread::spawn(move || {
            let before = turns.load(SeqCst);
            let result = (format!("no-such-host-{n}.invalid"), 80).to_socket_addrs();
            tell.send((result.is_err(), turns.load(SeqCst) > before)).unwrap();
        });
    }
    let all: Vec<_> = (0..10).map(|_| result.recv_timeout(TIME_LIMIT).expect("the look-up hangs")).collect();
    assert!(all.iter().all(|(is_error, _)| *is_error));
    // A look-up may be done before its thread waits for it, but hardly all ten.
    assert!(all.iter().any(|(_, others_ran)| *others_ran), "the others stood still");
    stop.store(true, SeqCst);
    other.join().unwrap();
}

#[test]
fn read_returns_ebadf_when_its_number_goes_to_another_socket() {
    patch::all();
    let (mut old, _its_peer) = UnixStream::pair().unwrap();
    let (new, mut peer) = UnixStream::pair().unwrap();
    let fd = old.as_raw_fd();
    let reader = thread::spawn(move || {
        let result = old.read(&mut [0; 4]).map_err(|error| error.raw_os_error());
        (result, old)
    });
    (0..10).for_each(|_| thread::yield_now());
    peer.write_all(b"new").unwrap();
    // SAFETY: no pointers. The number belongs to another socket from here on.
    assert_eq!(unsafe { libc::dup2(new.as_raw_fd(), fd) }, fd);
    let (result, mut now) = reader.join().unwrap();
    assert_eq!(result, Err(Some(libc::EBADF)));
    let mut bytes = [0; 3];
    now.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"new");
}

#[test]
fn write_all_returns_ebadf_when_its_number_goes_to_another_socket() {
    patch::all();
    let (mut old, _its_peer) = UnixStream::pair().unwrap();
    let (new, mut peer) = UnixStream::pair().unwrap();
    let fd = old.as_raw_fd();
    // A part is sent, and the rest waits for room.
    let writer = thread::spawn(move || {
        let result = old.write_all(&vec![1; 16 << 20]).map_err(|error| error.raw_os_error());
        (result, old)
    });
    (0..10).for_each(|_| thread::yield_now());
    assert!(!writer.is_finished());
    // SAFETY: no pointers. The number belongs to another socket from here on.
    assert_eq!(unsafe { libc::dup2(new.as_raw_fd(), fd) }, fd);
    let start = Instant::now();
    while !writer.is_finished() && start.elapsed() < TIME_LIMIT {
        thread::sleep(Duration::from_millis(1));
    }
    peer.set_nonblocking(true).unwrap();
    assert_eq!(
        peer.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::WouldBlock,
        "the new socket got the old one's bytes"
    );
    assert_eq!(writer.join().unwrap().0, Err(Some(libc::EBADF)));
}

/// std cannot set this timeout before it connects. C can.
#[test]
fn connect_gives_up_after_the_sockets_timeout() {
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
    let (took, count) = counting_meanwhile(|| {
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
    assert!(took >= limit && took < TIME_LIMIT && count > 3, "{took:?} {count}");
}

#[test]
fn connect_of_a_connected_stream_returns_eisconn() {
    patch::all();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connect_twice = move || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let connect = || socket.connect(&address.into()).map_err(|error| error.raw_os_error());
        [connect(), connect(), connect()]
    };
    let is_connected = Err(Some(libc::EISCONN));
    assert_eq!(thread::spawn(connect_twice).join().unwrap(), [Ok(()), is_connected, is_connected]);
}

#[test]
fn connect_to_a_closed_port_is_refused_each_time() {
    patch::all();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let connect = move || TcpStream::connect(address).map(drop).map_err(|error| error.kind());
    let refused = Err(ErrorKind::ConnectionRefused);
    assert_eq!([connect(), thread::spawn(connect).join().unwrap()], [refused, refused]);
}

/// Spawns a thread that receives from `from`, lets it wait, and calls `end`. Returns what it received, at once and again.
fn received_when(from: &socket2::Socket, end: impl FnOnce()) -> [Result<usize, ErrorKind>; 2] {
    let receive = |from: socket2::Socket| move || (&from).read(&mut [0; 9]).map_err(|error| error.kind());
    let waits = thread::spawn(receive(from.try_clone().unwrap()));
    thread::sleep(Duration::from_millis(5));
    assert!(!waits.is_finished());
    end();
    [waits.join().unwrap(), thread::spawn(receive(from.try_clone().unwrap())).join().unwrap()]
}

#[test]
fn recv_of_a_datagram_socket_ends_when_it_is_shut_down() {
    use socket2::{Domain, Socket, Type};
    patch::all();
    let udp = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    udp.bind(&any.into()).unwrap();
    udp.connect(&udp.local_addr().unwrap()).unwrap();
    assert_eq!(received_when(&udp, || udp.shutdown(Shutdown::Both).unwrap()), [Ok(0); 2], "UDP");
    for kind in [Type::DGRAM, Type::SEQPACKET] {
        let (own, _peer) = Socket::pair(Domain::UNIX, kind, None).unwrap();
        assert_eq!(
            received_when(&own, || own.shutdown(Shutdown::Read).unwrap()),
            [Ok(0); 2],
            "{kind:?}, own end"
        );
    }
    let (own, peer) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    assert_eq!(received_when(&own, || peer.shutdown(Shutdown::Write).unwrap()), [Ok(0); 2], "the peer's end");
}

#[test]
fn recvmsg_of_a_datagram_socket_that_is_shut_down_writes_no_name_and_no_control_data() {
    patch::all();
    let (own, _peer) = socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::DGRAM, None).unwrap();
    let fd = own.as_raw_fd();
    let waits = thread::spawn(move || {
        let (mut name, mut control) = ([0u64; 16], [u64::MAX; 8]);
        // SAFETY: all zeros is an empty message.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        (message.msg_name, message.msg_namelen) = (name.as_mut_ptr().cast(), 128);
        (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), 64);
        // SAFETY: the name and the control data are in this frame.
        let got = unsafe { libc::recvmsg(fd, &raw mut message, 0) };
        (got, message.msg_namelen, message.msg_controllen)
    });
    thread::sleep(Duration::from_millis(5));
    own.shutdown(Shutdown::Read).unwrap();
    assert_eq!(waits.join().unwrap(), (0, 0, 0));
}

#[test]
fn recv_timeout_of_thousands_of_years_waits() {
    patch::all();
    let (mut here, mut there) = UnixStream::pair().unwrap();
    there.set_read_timeout(Some(Duration::from_secs(1 << 40))).unwrap();
    let reader = thread::spawn(move || there.read(&mut [0]).map_err(|error| error.kind()));
    thread::sleep(Duration::from_millis(5));
    assert!(!reader.is_finished());
    here.write_all(b"x").unwrap();
    assert_eq!(reader.join().unwrap(), Ok(1));
}

#[test]
fn command_output_and_wait_return_the_signal_that_killed_the_child() {
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
    // The signal comes while a green thread waits for the child and reads its output.
    let (ended, count) = counting_meanwhile(|| {
        let mut command = Command::new("sleep");
        let child = command.arg("3600").stdout(std::process::Stdio::piped()).spawn().unwrap();
        let id = child.id() as i32;
        let waits = thread::spawn(move || child.wait_with_output().unwrap().status.signal());
        thread::sleep(Duration::from_millis(20));
        // SAFETY: the child was not waited for yet.
        assert_eq!(unsafe { libc::kill(id, libc::SIGKILL) }, 0);
        waits.join().unwrap()
    });
    assert!(ended == Some(libc::SIGKILL) && count > 3, "{ended:?} {count}");
    let missing = Command::new("/no/such/program").spawn().unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[test]
fn write_all_to_a_pipe_without_a_reader_returns_broken_pipe() {
    patch::all();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let writes = thread::spawn(move || writer.write_all(&vec![0; 4 << 20]).unwrap_err().kind());
    (0..10).for_each(|_| thread::yield_now());
    assert!(!writes.is_finished());
    drop(reader);
    assert_eq!(writes.join().unwrap(), ErrorKind::BrokenPipe);
    // The child does not read its stdin.
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
            // SAFETY: the default action of the signal is what a program in C has.
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
            unreachable!("the signal ends the process");
        }
        "ends by main" => {
            // Green threads in std's calls end with the process.
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

/// A kill does not unwind out of a read of std. The read fails once, as if by a signal. Then the program may end.
fn stops_with_readers() {
    static ENDED: AtomicU32 = AtomicU32::new(0);
    struct Counts;
    impl Drop for Counts {
        fn drop(&mut self) {
            ENDED.fetch_add(1, SeqCst);
        }
    }
    patch::all();
    // This makes the descriptors that the hub needs.
    let (mut here, there) = UnixStream::pair().unwrap();
    let first = thread::spawn(move || here.read(&mut [0]).unwrap());
    thread::yield_now();
    drop(there);
    assert_eq!(first.join().unwrap(), 0);
    let before = open_fds();
    let mut peers = Vec::new();
    for n in 0..1000 {
        let (mut here, there) = UnixStream::pair().unwrap();
        // Every second one owns its peer.
        let there = if n % 2 == 0 {
            Some(there)
        } else {
            peers.push(there);
            None
        };
        let reads = move || {
            let (_counts, _there) = (Counts, there);
            assert_eq!(here.read(&mut [0]).unwrap_err().kind(), ErrorKind::Interrupted);
            // The next call of greenline itself unwinds.
            greenline::sleep(Duration::from_secs(3600));
            unreachable!("the kill is delivered");
        };
        if n % 3 == 0 { drop(thread::spawn(reads)) } else { drop(greenline::spawn(reads)) }
    }
    (0..10).for_each(|_| thread::yield_now());
    assert_eq!(ENDED.load(SeqCst), 0);
    let start = Instant::now();
    greenline::shutdown();
    assert_eq!(ENDED.load(SeqCst), 1000);
    assert!(start.elapsed() < TIME_LIMIT / 2, "{:?}", start.elapsed());
    assert_eq!(greenline::stats().alive, 0);
    drop(peers);
    assert_eq!(open_fds(), before);
}

#[test]
fn shutdown_ends_a_thousand_readers_and_closes_their_descriptors() {
    output("stops with a thousand readers").success();
}

/// A write to a socket of std never raises the signal. A write to a pipe raises it, if the program has its default action.
#[test]
fn write_to_a_broken_pipe_raises_sigpipe_only_without_std_sockets() {
    let output = output("writes with the default");
    assert_eq!(output.code, -libc::SIGPIPE, "{output:#?}");
}

#[test]
fn main_that_returns_ends_a_hundred_readers() {
    output("ends by main").success();
}
