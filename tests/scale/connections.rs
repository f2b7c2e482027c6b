//! Thousands of connections, with a plain std thread for each, on one OS thread; and tens of thousands one after the
//! other.
//!
//! The clients are another process, this program again, with plain std and without a hub. Therefore each process needs one
//! descriptor for a connection. If the limit of descriptors is too low, the test makes fewer connections and prints so.

use crate::support::proc_fs::{open_fds, resident_kib};
use crate::support::subprocess::command;
use crate::support::time::HANG_TIMEOUT;
use greenline::patch;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Raises the limit of descriptors to its maximum. Returns how many of `wanted` connections it allows.
fn room_for(wanted: usize) -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is in this frame.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    let room = wanted.min(limit.rlim_max.saturating_sub(200) as usize);
    if room < wanted {
        println!("only {room} connections, because of the limit of descriptors");
    }
    room
}

/// The number of connections that are served, and the OS threads that serve them.
#[derive(Default)]
struct Served {
    now: AtomicUsize,
    os_threads: Mutex<HashSet<i32>>,
}

impl Served {
    fn until_there_are(&self, count: usize) {
        let start = Instant::now();
        while self.now.load(SeqCst) != count {
            assert!(start.elapsed() < HANG_TIMEOUT, "{} and not {count} are served", self.now.load(SeqCst));
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn echo(mut stream: TcpStream) {
    let mut bytes = [0; 512];
    while let Ok(len @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..len]).is_err() {
            return;
        }
    }
}

/// Starts a server with a thread for each connection, as in the first chapter on sockets. It serves until the process
/// ends.
fn echo_server(served: Arc<Served>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, served) = (stream.unwrap(), served.clone());
            thread::spawn(move || {
                // SAFETY: no preconditions.
                served.os_threads.lock().unwrap().insert(unsafe { libc::gettid() });
                served.now.fetch_add(1, SeqCst);
                echo(stream);
                served.now.fetch_sub(1, SeqCst);
            });
        }
    });
    address
}

/// Sends one message on each connection. All are sent before the first is read.
fn use_all(streams: &mut [TcpStream], round: usize) {
    for (n, stream) in streams.iter_mut().enumerate() {
        stream.write_all(&(n + round).to_le_bytes()).unwrap();
    }
    for (n, stream) in streams.iter_mut().enumerate() {
        let mut bytes = [0; size_of::<usize>()];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(usize::from_le_bytes(bytes), n + round);
    }
}

/// The clients' process: no hub, no green threads. `case` is the server's address and the number of connections.
pub(crate) fn clients(case: &str) {
    let (address, count) = case.split_once(' ').unwrap();
    let (address, count): (SocketAddr, usize) = (address.parse().unwrap(), count.parse().unwrap());
    assert_eq!(room_for(count), count);
    let mut streams = Vec::new();
    for _ in 0..count {
        // A connection that gets a reply was accepted. Therefore the listener's queue never overflows.
        let mut stream = TcpStream::connect(address).unwrap();
        use_all(std::slice::from_mut(&mut stream), 7);
        streams.push(stream);
    }
    println!("connected");
    for (round, line) in std::io::stdin().lines().enumerate() {
        assert_eq!(line.unwrap(), "go");
        use_all(&mut streams, round);
        println!("used");
    }
}

/// Makes `count` connections, and then uses all at once, `rounds` times.
fn hold(count: usize, rounds: usize) {
    patch::all();
    let count = room_for(count);
    let served = Arc::new(Served::default());
    let address = echo_server(served.clone());
    let before = open_fds();
    let mut command = command(&format!("{address} {count}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut lines = BufReader::new(from).lines();
    let mut expect_line = |what: &str| {
        let line = lines.find(|line| line.as_ref().is_ok_and(|line| !line.starts_with("only")));
        assert_eq!(line.expect("the child has ended").unwrap(), what);
    };
    let start = Instant::now();
    expect_line("connected");
    served.until_there_are(count);
    assert!(open_fds() >= before + count);
    let connected = start.elapsed();
    for _ in 0..rounds {
        to.write_all(b"go\n").unwrap();
        expect_line("used");
    }
    println!(
        "{count} connections: made in {connected:.1?}, used {rounds} times in {:.1?}",
        start.elapsed() - connected
    );
    assert_eq!(served.now.load(SeqCst), count);
    drop(to);
    assert!(child.wait().unwrap().success());
    served.until_there_are(0);
    // SAFETY: no preconditions.
    let here = unsafe { libc::gettid() };
    assert_eq!(*served.os_threads.lock().unwrap(), HashSet::from([here]));
    drop(lines);
    assert_eq!(open_fds(), before);
}

pub(crate) fn tcp_listener_serves_5000_connections_by_threads_on_one_os_thread() {
    hold(5_000, 10);
}

pub(crate) fn tcp_stream_threads_hold_10000_idle_connections_and_then_use_all() {
    hold(10_000, 1);
}

/// Closes a connection by a reset. Otherwise each would keep its port for a minute.
fn close_at_once(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = size_of::<libc::linger>() as libc::socklen_t;
    let (fd, level, option) = (stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER);
    // SAFETY: the option is in this frame, with its length.
    assert_eq!(unsafe { libc::setsockopt(fd, level, option, (&raw const linger).cast(), len) }, 0);
}

/// `bench churn 1000000` does the same with a million connections.
pub(crate) fn tcp_listener_serves_50000_connections_in_a_row_without_a_leak() {
    patch::all();
    let served = Arc::new(Served::default());
    let address = echo_server(served.clone());
    let run = |count: usize| {
        for n in 0..count {
            let mut stream = TcpStream::connect(address).unwrap();
            use_all(std::slice::from_mut(&mut stream), n);
            close_at_once(stream);
        }
        served.until_there_are(0);
    };
    run(5_000);
    let before = (open_fds(), resident_kib());
    run(45_000);
    let after = (open_fds(), resident_kib());
    assert_eq!(after.0, before.0);
    assert!(after.1 < before.1 + (4 << 10), "{} KiB more", after.1 - before.1);
}
