//! Thousands of connections, a plain std thread for each, on one OS thread; and tens of thousands one after the other.
//!
//! The clients are another process, this program again, by plain std without a hub: so each process needs one
//! descriptor for a connection. Where it may not have as many as are wanted, there are fewer, and it is said so.

#![cfg(feature = "patch")]

mod support;

use greenline::patch;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use support::proc_fs::{open_fds, resident_kib};
use support::subprocess::{command, run_cases_before_main};

const LOST: Duration = Duration::from_secs(100);

/// One test at a time, for they count descriptors.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Raises the limit of descriptors to what may be had. Answers how many of `wanted` connections that is enough for.
fn room_for(wanted: usize) -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a limit to be written, and to be read.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    let room = wanted.min(limit.rlim_max.saturating_sub(200) as usize);
    if room < wanted {
        println!("only {room} connections, for no more descriptors may be had");
    }
    room
}

/// What is known of who serves.
#[derive(Default)]
struct Served {
    now: AtomicUsize,
    os_threads: Mutex<HashSet<i32>>,
}

impl Served {
    fn until_there_are(&self, count: usize) {
        let start = Instant::now();
        while self.now.load(SeqCst) != count {
            assert!(start.elapsed() < LOST, "{} and not {count} are served", self.now.load(SeqCst));
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

/// A thread for each connection, as in the first chapter on sockets. It serves until the process ends.
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

/// One message on each of them, all on their way before the first is read.
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
fn clients(case: &str) {
    let (address, count) = case.split_once(' ').unwrap();
    let (address, count): (SocketAddr, usize) = (address.parse().unwrap(), count.parse().unwrap());
    assert_eq!(room_for(count), count);
    let mut streams = Vec::new();
    for _ in 0..count {
        // One that is answered was accepted: so the listener's queue never runs over.
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

run_cases_before_main!(clients);

/// `count` connections are held, and then all used at once, `rounds` times.
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
    let mut says = |what: &str| {
        let line = lines.find(|line| line.as_ref().is_ok_and(|line| !line.starts_with("only")));
        assert_eq!(line.expect("it has ended").unwrap(), what);
    };
    let start = Instant::now();
    says("connected");
    served.until_there_are(count);
    assert!(open_fds() >= before + count);
    let connected = start.elapsed();
    for _ in 0..rounds {
        to.write_all(b"go\n").unwrap();
        says("used");
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

#[test]
fn five_thousand_connections_are_served_by_threads_on_one_os_thread() {
    let _alone = alone();
    hold(5_000, 10);
}

#[test]
fn ten_thousand_idle_connections_are_held_and_then_all_used() {
    let _alone = alone();
    hold(10_000, 1);
}

/// Closed by a reset, or each would keep its port for a minute after its end.
fn close_at_once(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = size_of::<libc::linger>() as libc::socklen_t;
    let (fd, level, option) = (stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER);
    // SAFETY: a linger, and its length.
    assert_eq!(unsafe { libc::setsockopt(fd, level, option, (&raw const linger).cast(), len) }, 0);
}

/// A million of them is `bench churn 1000000`.
#[test]
fn fifty_thousand_connections_in_a_row_leave_nothing() {
    let _alone = alone();
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
