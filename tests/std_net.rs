//! Unmodified `std::net`, pipes and processes in green threads: they wait together, on one OS thread, and every answer
//! is the one that it would be without the patch.

#![cfg(feature = "patch")]

use greenline::patch;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// A thread for each connection, which sends back what it gets.
fn echo_server() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(len @ 1..) = stream.read(&mut bytes) {
                    if stream.write_all(&bytes[..len]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn a_thread_for_each_of_500_connections() {
    patch::all();
    let address = echo_server();
    let (arrived, arrivals) = mpsc::channel();
    let clients: Vec<_> = (0..500u32)
        .map(|n| {
            let arrived = arrived.clone();
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                let (go, goes) = mpsc::channel();
                arrived.send(go).unwrap();
                // All are connected at once.
                goes.recv().unwrap();
                for k in 0..10 {
                    let number = (n * k).to_le_bytes();
                    stream.write_all(&number).unwrap();
                    let mut back = [0; 4];
                    stream.read_exact(&mut back).unwrap();
                    assert_eq!(back, number);
                }
            })
        })
        .collect();
    let all: Vec<mpsc::Sender<()>> = arrivals.iter().take(500).collect();
    all.into_iter().for_each(|go| go.send(()).unwrap());
    clients.into_iter().for_each(|client| client.join().unwrap());
}

#[test]
fn much_more_than_fits_goes_through_whole() {
    patch::all();
    const LEN: usize = 8 << 20;
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let writer =
        thread::spawn(move || here.write_all(&(0..LEN).map(|n| n as u8).collect::<Vec<_>>()).unwrap());
    let mut all = Vec::new();
    there.read_to_end(&mut all).unwrap();
    writer.join().unwrap();
    assert!(all.len() == LEN && all.iter().enumerate().all(|(n, &byte)| byte == n as u8));

    let (reader, mut writer) = std::io::pipe().unwrap();
    let lines =
        thread::spawn(move || BufReader::new(reader).lines().map(|line| line.unwrap().len()).sum::<usize>());
    for _ in 0..20_000 {
        writeln!(writer, "eleven bytes").unwrap();
    }
    drop(writer);
    assert_eq!(lines.join().unwrap(), 20_000 * 12);
}

#[test]
fn timeouts_and_modes_are_as_the_program_has_set_them() {
    patch::all();
    let address = echo_server();
    let body = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let start = Instant::now();
        assert_eq!(stream.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(start.elapsed() >= Duration::from_millis(40) && start.elapsed() < Duration::from_secs(30));
        // Set anew, and by another handle to the same socket.
        stream.try_clone().unwrap().set_read_timeout(None).unwrap();
        stream.write_all(b"ping").unwrap();
        let mut four = [0; 4];
        assert_eq!(stream.peek(&mut four).unwrap(), 4);
        stream.read_exact(&mut four).unwrap();
        assert_eq!(&four, b"ping");
        stream.set_nonblocking(true).unwrap();
        assert_eq!(stream.read(&mut four).unwrap_err().kind(), ErrorKind::WouldBlock);
        stream.set_nonblocking(false).unwrap();
        stream.write_all(b"pong").unwrap();
        stream.read_exact(&mut four).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut four).unwrap(), 0);
    };
    body();
    thread::spawn(body).join().unwrap();
}

#[test]
fn who_does_not_wait_is_told_what_is_there_now() {
    patch::all();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut there = listener.accept().unwrap().0;
    let mut bytes = [0; 10];
    let writer = thread::spawn(move || {
        there.write_all(b"one").unwrap();
        there
    });
    // Less than was asked for, after a wait: nothing more is there.
    assert_eq!(here.read(&mut bytes).unwrap(), 3);
    let mut there = writer.join().unwrap();
    here.set_nonblocking(true).unwrap();
    assert_eq!(here.read(&mut bytes).unwrap_err().kind(), ErrorKind::WouldBlock);
    there.write_all(b"three").unwrap();
    // The hub has not looked outside since.
    assert_eq!(here.read(&mut bytes).unwrap(), 5);
    here.set_nonblocking(false).unwrap();
    // As much as was asked for: there may be more, but is not.
    there.write_all(b"two").unwrap();
    thread::sleep(Duration::from_millis(5));
    assert_eq!(here.read(&mut bytes[..3]).unwrap(), 3);
    let reader = thread::spawn(move || here.read(&mut [0; 10]).unwrap());
    thread::sleep(Duration::from_millis(5));
    there.write_all(b"the end").unwrap();
    assert_eq!(reader.join().unwrap(), 7);
}

#[test]
fn what_fails_fails_as_ever() {
    patch::all();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let body = move || {
        assert_eq!(TcpStream::connect(nobody).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let timeout = Duration::from_secs(30);
        let refused = TcpStream::connect_timeout(&nobody, timeout).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        // Its other end is gone: an error, and no signal that ends the process.
        let (mut here, there) = UnixStream::pair().unwrap();
        drop(there);
        assert_eq!(here.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let (reader, mut writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        // SAFETY: a number that is not open; nothing is read.
        assert_eq!(unsafe { libc::recv(987_654, std::ptr::null_mut(), 0, 0) }, -1);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EBADF));
    };
    body();
    thread::spawn(body).join().unwrap();
}

#[test]
fn a_descriptor_that_is_closed_wakes_who_waits_for_it() {
    patch::all();
    for by_an_os_thread in [false, true] {
        let (mut here, _there) = UnixStream::pair().unwrap();
        let fd = here.as_raw_fd();
        let (waits, waiting) = mpsc::channel();
        let reader = thread::spawn(move || {
            waits.send(()).unwrap();
            let answer = here.read(&mut [0; 4]);
            std::mem::forget(here);
            answer.map_err(|error| error.raw_os_error())
        });
        waiting.recv().unwrap();
        (0..10).for_each(|_| thread::yield_now());
        // SAFETY: whoever had it forgets it.
        let close = move || unsafe { libc::close(fd) };
        match by_an_os_thread {
            true => assert_eq!(greenline::thread::Thread::new(close).start().unwrap().join().unwrap(), 0),
            false => assert_eq!(close(), 0),
        }
        assert_eq!(reader.join().unwrap(), Err(Some(libc::EBADF)));
    }
}

#[test]
fn datagrams_and_unix_sockets_wait_too() {
    patch::all();
    let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let to = b.local_addr().unwrap();
    let receiver = thread::spawn(move || {
        let mut bytes = [0; 100];
        let (len, from) = b.recv_from(&mut bytes).unwrap();
        (bytes[..len].to_vec(), from)
    });
    thread::yield_now();
    a.send_to(b"datagram", to).unwrap();
    assert_eq!(receiver.join().unwrap(), (b"datagram".to_vec(), a.local_addr().unwrap()));

    let dir = std::env::temp_dir().join(format!("greenline-std-net-{}", std::process::id()));
    let listener = UnixListener::bind(&dir).unwrap();
    let server = thread::spawn(move || {
        let mut line = String::new();
        BufReader::new(listener.accept().unwrap().0).read_line(&mut line).unwrap();
        line
    });
    thread::yield_now();
    UnixStream::connect(&dir).unwrap().write_all(b"by name\n").unwrap();
    assert_eq!(server.join().unwrap(), "by name\n");
    std::fs::remove_file(&dir).unwrap();
}

#[test]
fn processes_are_read_from_together() {
    patch::all();
    let start = Instant::now();
    let all: Vec<_> = (0..10)
        .map(|n| {
            thread::spawn(move || {
                let output =
                    Command::new("sh").args(["-c", &format!("sleep 0.5; echo {n}")]).output().unwrap();
                String::from_utf8(output.stdout).unwrap().trim().parse::<u32>().unwrap()
            })
        })
        .collect();
    assert_eq!(all.into_iter().map(|one| one.join().unwrap()).sum::<u32>(), 45);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());

    // And waited for, by the green thread alone.
    let start = Instant::now();
    let all: Vec<_> = (0..10)
        .map(|n| {
            thread::spawn(move || {
                let mut child =
                    Command::new("sh").args(["-c", &format!("sleep 0.5; exit {n}")]).spawn().unwrap();
                child.wait().unwrap().code().unwrap()
            })
        })
        .collect();
    assert_eq!(all.into_iter().map(|one| one.join().unwrap()).sum::<i32>(), 45);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    let mut child = Command::new("sleep").arg("3600").spawn().unwrap();
    let id = child.id() as libc::pid_t;
    let waits = thread::spawn(move || child.wait().unwrap());
    thread::yield_now();
    // SAFETY: a child of ours, which is not waited for yet.
    assert_eq!(unsafe { libc::kill(id, libc::SIGKILL) }, 0);
    assert_eq!(waits.join().unwrap().signal(), Some(libc::SIGKILL));

    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let reader = thread::spawn(move || BufReader::new(from).lines().map(Result::unwrap).collect::<Vec<_>>());
    (0..100).for_each(|n| writeln!(to, "{n}").unwrap());
    drop(to);
    assert_eq!(reader.join().unwrap().len(), 100);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_lock_is_held_across_a_read_and_a_kill() {
    patch::all();
    let shared = Arc::new(Mutex::new(0));
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let inside = shared.clone();
    let reader = greenline::spawn(move || {
        let mut count = inside.lock().unwrap();
        let mut byte = [0];
        here.read_exact(&mut byte).unwrap();
        *count += 1;
    });
    greenline::yield_now();
    assert!(shared.try_lock().is_err());
    let others: Vec<_> = (0..10)
        .map(|_| {
            let shared = shared.clone();
            thread::spawn(move || *shared.lock().unwrap() += 1)
        })
        .collect();
    reader.kill();
    (0..10).for_each(|_| thread::yield_now());
    assert!(others.iter().all(|other| !other.is_finished()));
    there.write_all(b"x").unwrap();
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(*shared.lock().unwrap(), 11);
    assert!(reader.join().is_ok());
}

#[test]
fn names_are_looked_up_while_the_others_run() {
    use std::net::ToSocketAddrs;
    patch::all();
    let all: Vec<_> = (0..100)
        .map(|_| {
            thread::spawn(|| ("localhost", 80).to_socket_addrs().unwrap().all(|at| at.ip().is_loopback()))
        })
        .collect();
    assert!(all.into_iter().all(|one| one.join().unwrap()));
    assert!(("a name with blanks", 80).to_socket_addrs().is_err());
    let numbers = ("127.0.0.1", 80).to_socket_addrs().unwrap().next().unwrap();
    assert_eq!(numbers.to_string(), "127.0.0.1:80");
}

/// A kill does not unwind std: the call fails once, as if a signal had come, and std asks again.
#[test]
fn a_kill_leaves_a_read_of_std_alone() {
    patch::all();
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let reader = greenline::spawn(move || {
        let mut byte = [0];
        here.read_exact(&mut byte).unwrap();
        greenline::yield_now();
        unreachable!("here it is killed");
    });
    greenline::yield_now();
    assert!(reader.kill());
    greenline::yield_now();
    assert!(!reader.is_finished());
    there.write_all(b"x").unwrap();
    let end: Result<(), _> = reader.join();
    assert!(matches!(end, Err(greenline::JoinError::Killed)));
}

#[test]
fn poll_waits_for_several() {
    patch::all();
    // SAFETY: none of them.
    assert_eq!(unsafe { libc::poll(std::ptr::null_mut(), 0, 10) }, 0);
    let (a, b) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    let poll = |timeout: i32| {
        let mut fds =
            [&a.0, &b.0].map(|end| libc::pollfd { fd: end.as_raw_fd(), events: libc::POLLIN, revents: 0 });
        // SAFETY: two of them.
        let count = unsafe { libc::poll(fds.as_mut_ptr(), 2, timeout) };
        (count, fds.map(|fd| fd.revents))
    };
    assert_eq!(poll(0), (0, [0, 0]));
    assert_eq!(poll(10), (0, [0, 0]));
    let mut other = b.1.try_clone().unwrap();
    let writer = thread::spawn(move || other.write_all(b"x").unwrap());
    assert_eq!(poll(-1), (1, [0, libc::POLLIN]));
    writer.join().unwrap();
    let mut other = a.1.try_clone().unwrap();
    other.write_all(b"x").unwrap();
    assert_eq!(poll(-1), (2, [libc::POLLIN, libc::POLLIN]));
}

/// An OS thread with a hub, one green thread of which accepts and accepts.
fn hub_that_accepts(listener: TcpListener) -> greenline::Handle {
    let (say, said) = mpsc::channel();
    let hub = move || {
        say.send(greenline::Handle::current().unwrap()).unwrap();
        thread::spawn(move || while listener.accept().is_ok() {});
        greenline::join_everything();
    };
    greenline::thread::Thread::new(hub).daemon(true).start().unwrap();
    said.recv().unwrap()
}

#[test]
fn hubs_that_accept_from_one_socket_go_on() {
    patch::all();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let hubs: Vec<_> = (0..3).map(|_| hub_that_accepts(listener.try_clone().unwrap())).collect();
    for round in 0..200 {
        drop(TcpStream::connect(address).unwrap());
        for hub in &hubs {
            let asked = hub.spawn(|| ()).unwrap();
            let answer = asked.join_timeout(Duration::from_secs(20));
            assert!(answer.is_ok(), "a hub waits for a connection that another has taken, round {round}");
        }
    }
}

/// A listener that was not made here, as one that came with the process when it began: somebody else may accept from it,
/// here an OS thread past the C library.
#[test]
fn a_listener_of_others_does_not_stop_a_hub() {
    patch::all();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // SAFETY: no pointers; the number is new, and the listener's from here on.
    let listener = unsafe {
        let duplicate = libc::syscall(libc::SYS_dup, listener.as_raw_fd()) as i32;
        TcpListener::from_raw_fd(duplicate)
    };
    let (fd, over) = (listener.as_raw_fd(), Arc::new(AtomicBool::new(false)));
    let is_over = over.clone();
    let accept_all = move || {
        while !is_over.load(Relaxed) {
            let mut ready = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: one descriptor and a time, of this frame.
            unsafe {
                if libc::syscall(libc::SYS_ppoll, &raw mut ready, 1, &raw const at_once, 0, 0) > 0 {
                    libc::syscall(libc::SYS_accept4, fd, 0, 0, 0);
                }
            }
        }
    };
    greenline::thread::Thread::new(accept_all).daemon(true).start().unwrap();
    let hub = hub_that_accepts(listener);
    for round in 0..200 {
        drop(TcpStream::connect(address).unwrap());
        let answer = hub.spawn(|| ()).unwrap().join_timeout(Duration::from_secs(20));
        assert!(answer.is_ok(), "the hub waits for a connection that another has taken, round {round}");
    }
    over.store(true, Relaxed);
}

/// A datagram socket may be connected while others use it: it does not become non-blocking for them.
#[test]
fn a_datagram_socket_stays_blocking_while_it_is_connected() {
    patch::all();
    let [ours, theirs] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let (fd, over) = (ours.as_raw_fd(), Arc::new(AtomicBool::new(false)));
    let is_over = over.clone();
    let look = move || {
        let mut looks = 0;
        while !is_over.load(Relaxed) {
            // SAFETY: no pointers.
            let flags = unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_GETFL) } as i32;
            assert_eq!(flags & libc::O_NONBLOCK, 0, "after {looks} looks");
            looks += 1;
        }
        looks
    };
    let looking = greenline::thread::Thread::new(look).start().unwrap();
    let peer = theirs.local_addr().unwrap();
    (0..20_000).for_each(|_| ours.connect(peer).unwrap());
    over.store(true, Relaxed);
    assert!(looking.join().unwrap() > 0);
}

#[test]
fn a_full_backlog_is_waited_for_as_long_as_the_socket_says() {
    patch::all();
    let path = std::env::temp_dir().join(format!("greenline-backlog-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    // SAFETY: no pointers.
    unsafe { libc::listen(listener.as_raw_fd(), 0) };
    let _first = UnixStream::connect(&path).unwrap();
    // SAFETY: an address that is filled in, and a time.
    let said = unsafe {
        let socket = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        let limit = libc::timeval { tv_sec: 0, tv_usec: 50_000 };
        let len = size_of::<libc::timeval>() as libc::socklen_t;
        let limit = (&raw const limit).cast();
        assert_eq!(libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_SNDTIMEO, limit, len), 0);
        let mut to: libc::sockaddr_un = std::mem::zeroed();
        to.sun_family = libc::AF_UNIX as _;
        for (to, from) in to.sun_path.iter_mut().zip(path.to_str().unwrap().bytes()) {
            *to = from as _;
        }
        let connect = move || {
            let len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
            match libc::connect(socket, (&raw const to).cast(), len) {
                0 => None,
                _ => std::io::Error::last_os_error().raw_os_error(),
            }
        };
        let (say, said) = mpsc::channel();
        thread::spawn(move || say.send(connect()).unwrap());
        let said = said.recv_timeout(Duration::from_secs(20));
        libc::close(socket);
        said
    };
    std::fs::remove_file(&path).unwrap();
    assert_eq!(said, Ok(Some(libc::EAGAIN)), "as the kernel has it");
}

#[test]
fn each_timeout_cuts_a_call_short() {
    patch::all();
    let (reader, mut writer) = std::io::pipe().unwrap();
    // So that nothing hangs for ever.
    let late = greenline::spawn(move || {
        thread::sleep(Duration::from_secs(20));
        writer.write_all(&[0; 8]).unwrap();
    });
    for _ in 0..3 {
        let mut byte = 0u8;
        let said = greenline::timeout(Duration::ZERO, || {
            // SAFETY: a byte of ours.
            let said = unsafe { libc::read(reader.as_raw_fd(), (&raw mut byte).cast(), 1) };
            (said, std::io::Error::last_os_error().raw_os_error())
        });
        assert_eq!(said, Ok((-1, Some(libc::EINTR))));
    }
    late.kill();
}
