//! Unmodified `std::net` and pipes in green threads: they wait together, on one OS thread, and every result is the same
//! as without the patch.

#![cfg(feature = "patch")]

mod support;

use greenline::patch;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use support::threads::{KINDS, start};

/// Starts a server with a thread for each connection, which sends back the bytes it gets.
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
fn tcp_stream_echo_by_a_thread_for_each_of_500_connections() {
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
                // All clients are connected at once.
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
fn write_all_of_more_than_the_buffer_goes_through_whole() {
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
fn set_read_timeout_and_set_nonblocking_take_effect() {
    patch::all();
    let address = echo_server();
    let body = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let start = Instant::now();
        assert_eq!(stream.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(start.elapsed() >= Duration::from_millis(40) && start.elapsed() < Duration::from_secs(30));
        // The timeout is set again, by another handle to the same socket.
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
fn read_nonblocking_sees_bytes_that_came_since_the_last_poll() {
    patch::all();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut there = listener.accept().unwrap().0;
    let mut bytes = [0; 10];
    let writer = thread::spawn(move || {
        there.write_all(b"one").unwrap();
        there
    });
    // The read waits, and returns less than it asks for. Then the socket is known to be empty.
    assert_eq!(here.read(&mut bytes).unwrap(), 3);
    let mut there = writer.join().unwrap();
    here.set_nonblocking(true).unwrap();
    assert_eq!(here.read(&mut bytes).unwrap_err().kind(), ErrorKind::WouldBlock);
    there.write_all(b"three").unwrap();
    // The hub has not polled the reactor since.
    assert_eq!(here.read(&mut bytes).unwrap(), 5);
    here.set_nonblocking(false).unwrap();
    // The read returns as much as it asks for. There may be more bytes, but there are none.
    there.write_all(b"two").unwrap();
    thread::sleep(Duration::from_millis(5));
    assert_eq!(here.read(&mut bytes[..3]).unwrap(), 3);
    let reader = thread::spawn(move || here.read(&mut [0; 10]).unwrap());
    thread::sleep(Duration::from_millis(5));
    there.write_all(b"the end").unwrap();
    assert_eq!(reader.join().unwrap(), 7);
}

#[test]
fn connect_write_and_recv_return_the_kernels_errors() {
    patch::all();
    let closed_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let body = move || {
        assert_eq!(TcpStream::connect(closed_port).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let timeout = Duration::from_secs(30);
        let refused = TcpStream::connect_timeout(&closed_port, timeout).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        // The other end is gone. The write fails, and no signal ends the process.
        let (mut here, there) = UnixStream::pair().unwrap();
        drop(there);
        assert_eq!(here.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let (reader, mut writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        // SAFETY: the number is not open; nothing is read.
        assert_eq!(unsafe { libc::recv(987_654, std::ptr::null_mut(), 0, 0) }, -1);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EBADF));
    };
    body();
    thread::spawn(body).join().unwrap();
}

#[test]
fn close_by_a_green_thread_or_an_os_thread_wakes_the_reader() {
    patch::all();
    for kind in KINDS {
        let (mut here, _there) = UnixStream::pair().unwrap();
        let fd = here.as_raw_fd();
        let (begin, begun) = mpsc::channel();
        let reader = thread::spawn(move || {
            begin.send(()).unwrap();
            let result = here.read(&mut [0; 4]);
            std::mem::forget(here);
            result.map_err(|error| error.raw_os_error())
        });
        begun.recv().unwrap();
        (0..10).for_each(|_| thread::yield_now());
        // SAFETY: the reader forgets its stream.
        start(kind, move || assert_eq!(unsafe { libc::close(fd) }, 0))();
        assert_eq!(reader.join().unwrap(), Err(Some(libc::EBADF)));
    }
}

#[test]
fn udp_recv_from_waits_for_a_datagram() {
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
}

#[test]
fn unix_accept_and_read_line_wait() {
    patch::all();
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
fn read_exact_when_killed_keeps_the_mutex_and_goes_on() {
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

/// A kill does not unwind out of std. The call fails once, as if by a signal, and std retries it.
#[test]
fn read_exact_when_killed_is_retried_by_std() {
    patch::all();
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let reader = greenline::spawn(move || {
        let mut byte = [0];
        here.read_exact(&mut byte).unwrap();
        greenline::yield_now();
        unreachable!("the kill is delivered");
    });
    greenline::yield_now();
    assert!(reader.kill());
    greenline::yield_now();
    assert!(!reader.is_finished());
    there.write_all(b"x").unwrap();
    let end: Result<(), _> = reader.join();
    assert!(matches!(end, Err(greenline::JoinError::Killed)));
}

/// Starts an OS thread with a hub, on which a green thread accepts in a loop.
fn hub_that_accepts(listener: TcpListener) -> greenline::Handle {
    let (give, take) = mpsc::channel();
    let hub = move || {
        give.send(greenline::Handle::current().unwrap()).unwrap();
        thread::spawn(move || while listener.accept().is_ok() {});
        greenline::join_everything();
    };
    greenline::thread::Thread::new(hub).daemon(true).start().unwrap();
    take.recv().unwrap()
}

#[test]
fn accept_by_three_hubs_of_one_listener_blocks_none() {
    patch::all();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let hubs: Vec<_> = (0..3).map(|_| hub_that_accepts(listener.try_clone().unwrap())).collect();
    for round in 0..200 {
        drop(TcpStream::connect(address).unwrap());
        for hub in &hubs {
            let result = hub.spawn(|| ()).unwrap().join_timeout(Duration::from_secs(20));
            assert!(result.is_ok(), "a hub waits for a connection that another has taken, round {round}");
        }
    }
}

/// The patch has not seen this listener being made, as if it was inherited when the process started. Another process may
/// accept from such a listener. Here an OS thread does, by system calls.
#[test]
fn accept_on_an_inherited_listener_does_not_block_the_hub() {
    patch::all();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // SAFETY: no pointers; the number is new, and belongs to the listener from here on.
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
            // SAFETY: the descriptor and the time are in this frame.
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
        let result = hub.spawn(|| ()).unwrap().join_timeout(Duration::from_secs(20));
        assert!(result.is_ok(), "the hub waits for a connection that another has taken, round {round}");
    }
    over.store(true, Relaxed);
}

/// A datagram socket may be connected while other threads use it. It does not become non-blocking for them meanwhile.
#[test]
fn udp_connect_leaves_the_socket_blocking() {
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
fn connect_to_a_full_unix_backlog_waits_for_the_sockets_timeout() {
    patch::all();
    let path = std::env::temp_dir().join(format!("greenline-backlog-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    // SAFETY: no pointers.
    unsafe { libc::listen(listener.as_raw_fd(), 0) };
    let _first = UnixStream::connect(&path).unwrap();
    // SAFETY: the address and the time are in this frame.
    let result = unsafe {
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
        let (give, take) = mpsc::channel();
        thread::spawn(move || give.send(connect()).unwrap());
        let result = take.recv_timeout(Duration::from_secs(20));
        libc::close(socket);
        result
    };
    std::fs::remove_file(&path).unwrap();
    assert_eq!(result, Ok(Some(libc::EAGAIN)), "the kernel's error");
}

#[test]
fn read_is_cut_short_by_each_of_three_timeouts() {
    patch::all();
    let (reader, mut writer) = std::io::pipe().unwrap();
    // If the read is not cut short, this ends it.
    let late = greenline::spawn(move || {
        thread::sleep(Duration::from_secs(20));
        writer.write_all(&[0; 8]).unwrap();
    });
    for _ in 0..3 {
        let mut byte = 0u8;
        let result = greenline::timeout(Duration::ZERO, || {
            // SAFETY: the byte is in this frame.
            let result = unsafe { libc::read(reader.as_raw_fd(), (&raw mut byte).cast(), 1) };
            (result, std::io::Error::last_os_error().raw_os_error())
        });
        assert_eq!(result, Ok((-1, Some(libc::EINTR))));
    }
    late.kill();
}
