//! Sockets among green threads: bytes, errors, timeouts, kills, and which event wakes which waiter.

mod support;

use greenline::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use greenline::*;
use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use support::limits::raise_fd_limit;
use support::proc_fs::{open_fds_of, resident_kib};
use support::sockets::{
    abstract_address, echo, exchange, listener, reset_on_close, shorten_backlog, tcp_pair,
};
use support::threads::on_os_thread;
use support::time::{HANG_TIMEOUT, HOUR, let_others_run};

const SOON: Duration = Duration::from_millis(30);

/// Lock of the tests: one that counts descriptors runs alone, the others run at the same time.
static DESCRIPTORS: RwLock<()> = RwLock::new(());

/// Runs a test on an OS thread of its own, whose hub is closed when this returns.
fn on_its_own(test: impl FnOnce() + Send) {
    let ended = std::thread::scope(|s| s.spawn(test).join());
    ended.unwrap_or_else(|payload| std::panic::resume_unwind(payload));
}

/// Runs a test while no test counts descriptors.
fn shared(test: impl FnOnce() + Send) {
    let _guard = DESCRIPTORS.read().unwrap_or_else(|poison| poison.into_inner());
    on_its_own(test);
}

/// Runs a test alone. It must leave as many sockets open as there were.
fn exclusive(test: impl FnOnce() + Send) {
    let _guard = DESCRIPTORS.write().unwrap_or_else(|poison| poison.into_inner());
    on_its_own(|| {
        let before = open_sockets();
        test();
        assert_eq!(open_sockets(), before);
    });
}

/// Returns the number of open sockets. Other descriptors are not counted: a hub that ends on another OS thread may still
/// close some.
fn open_sockets() -> usize {
    open_fds_of("socket:")
}

/// Raises the limit of descriptors. Returns how many of the `wanted` pairs one test may open.
fn pairs_for(wanted: u64) -> u64 {
    wanted.min(raise_fd_limit() / 4)
}

fn exchange_fifty(mut stream: impl Read + Write) {
    for n in 0..50u32 {
        exchange(&mut stream, &n.to_le_bytes().repeat(n as usize + 1)).unwrap();
    }
}

/// Fails unless `took` is at least `limit`, and not much more even on a busy machine.
fn assert_about(took: Duration, limit: Duration) {
    assert!(took >= limit && took < limit + Duration::from_secs(20), "{took:?}, not {limit:?}");
}

fn times_out<T: std::fmt::Debug>(kind: ErrorKind, f: impl FnOnce() -> std::io::Result<T>) {
    let start = Instant::now();
    assert_eq!(f().unwrap_err().kind(), kind);
    assert_about(start.elapsed(), SOON);
}

#[test]
fn tcp_stream_and_unix_stream_echo_for_many_at_once() {
    shared(|| {
        let (tcp, address) = listener();
        let name = abstract_address();
        let unix = UnixListener::bind_addr(&name).unwrap();
        assert_eq!(unix.local_addr().unwrap().as_abstract_name(), name.as_abstract_name());
        spawn(move || tcp.incoming().for_each(|stream| drop(spawn(|| echo(stream.unwrap()).unwrap()))));
        spawn(move || unix.incoming().for_each(|stream| drop(spawn(|| echo(stream.unwrap()).unwrap()))));
        scope(|s| {
            for _ in 0..100 {
                s.spawn(|| exchange_fifty(TcpStream::connect(address).unwrap()));
                s.spawn(|| exchange_fifty(UnixStream::connect_addr(&name).unwrap()));
            }
        });
        shutdown();
    });
}

#[test]
fn unix_stream_pair_is_opened_two_thousand_times_at_once() {
    shared(|| {
        let mut ends = Vec::new();
        let echoes: Vec<_> = (0..pairs_for(2000))
            .map(|_| {
                let (here, there) = UnixStream::pair().unwrap();
                ends.push(here);
                spawn(move || echo(there).unwrap())
            })
            .collect();
        let_others_run();
        for (n, end) in ends.iter_mut().enumerate() {
            end.write_all(&n.to_le_bytes()).unwrap();
        }
        for (n, mut end) in ends.into_iter().enumerate() {
            let mut bytes = [0; size_of::<usize>()];
            end.read_exact(&mut bytes).unwrap();
            assert_eq!(usize::from_le_bytes(bytes), n);
        }
        assert!(join_all(echoes).iter().all(Result::is_ok));
    });
}

#[test]
fn local_addr_and_peer_addr_are_those_of_std() {
    shared(|| {
        let (listener, address) = listener();
        let there = spawn(move || listener.accept().unwrap());
        let here = TcpStream::connect(address).unwrap();
        let (there, from) = there.join().unwrap();
        assert_eq!(here.peer_addr().unwrap(), address);
        assert_eq!(from, here.local_addr().unwrap());
        assert_eq!(there.peer_addr().unwrap(), from);

        let folder = std::env::temp_dir().join(format!("greenline-net-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, other) = (folder.join("listener"), folder.join("datagrams"));
        let unix = UnixListener::bind(&path).unwrap();
        let there = spawn(move || unix.accept().unwrap());
        let here = UnixStream::connect(&path).unwrap();
        assert_eq!(here.peer_addr().unwrap().as_pathname(), Some(path.as_path()));
        assert!(here.local_addr().unwrap().is_unnamed());
        assert!(there.join().unwrap().1.is_unnamed());
        let named = UnixDatagram::bind(&other).unwrap();
        let unnamed = UnixDatagram::unbound().unwrap();
        unnamed.send_to(b"1", &other).unwrap();
        assert!(named.recv_from(&mut [0; 9]).unwrap().1.is_unnamed());
        named.send_to(b"2", &other).unwrap();
        let (len, from) = named.peek_from(&mut [0; 9]).unwrap();
        assert_eq!((len, from.as_pathname()), (1, Some(other.as_path())));
        assert_eq!(UnixListener::bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn udp_socket_and_unix_datagram_send_and_recv() {
    shared(|| {
        let (one, two) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let (at_one, at_two) = (one.local_addr().unwrap(), two.local_addr().unwrap());
        let answers = spawn(move || {
            let mut bytes = [0; 100];
            for _ in 0..100 {
                let (len, from) = two.recv_from(&mut bytes).unwrap();
                assert_eq!(from, at_one);
                two.send_to(&bytes[..len], from).unwrap();
            }
        });
        one.connect(at_two).unwrap();
        assert_eq!(one.peer_addr().unwrap(), at_two);
        for n in 0..100u8 {
            one.send(&[n; 3]).unwrap();
            let mut bytes = [0; 2];
            assert_eq!(one.peek(&mut bytes).unwrap(), 2);
            assert_eq!(one.recv(&mut bytes).unwrap(), 2);
            assert_eq!(bytes, [n; 2]);
        }
        answers.join().unwrap();
        assert!(one.send_to(b"", &[][..] as &[SocketAddr]).is_err());
        one.set_broadcast(true).unwrap();
        assert!(one.broadcast().unwrap());

        let (here, there) = UnixDatagram::pair().unwrap();
        let echo = spawn(move || {
            let mut bytes = [0; 10];
            let len = there.recv(&mut bytes).unwrap();
            there.send(&bytes[..len]).unwrap();
        });
        here.send(b"hello").unwrap();
        let mut bytes = [0; 10];
        assert_eq!(here.recv(&mut bytes).unwrap(), 5);
        echo.join().unwrap();
    });
}

/// Only the next call returns the error. The one after that waits. The test runs alone, because no other socket may get
/// the port meanwhile.
#[test]
fn udp_socket_recv_after_a_refusal_returns_the_error_once_and_then_waits() {
    exclusive(|| {
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let here = UdpSocket::bind("127.0.0.1:0").unwrap();
        here.connect(nobody).unwrap();
        here.set_read_timeout(Some(SOON)).unwrap();
        times_out(ErrorKind::WouldBlock, || here.recv(&mut [0; 10]));
        for _ in 0..3 {
            here.send(b"anybody?").unwrap();
            assert_eq!(here.recv(&mut [0; 10]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            times_out(ErrorKind::WouldBlock, || here.recv(&mut [0; 10]));
        }
        let back = UdpSocket::bind(nobody).unwrap();
        back.send_to(b"me", here.local_addr().unwrap()).unwrap();
        assert_eq!(here.recv(&mut [0; 10]).unwrap(), 2);
    });
}

#[test]
fn set_read_timeout_expired_returns_would_block() {
    shared(|| {
        let ticks = Rc::new(Cell::new(0));
        let inside = ticks.clone();
        let ticker = spawn(move || {
            loop {
                inside.set(inside.get() + 1);
                sleep(Duration::from_millis(1));
            }
        });
        let mut bytes = [0; 10];
        let (mut here, mut there) = tcp_pair();
        assert_eq!(here.read_timeout().unwrap(), None);
        assert_eq!(here.set_read_timeout(Some(Duration::ZERO)).unwrap_err().kind(), ErrorKind::InvalidInput);
        here.set_read_timeout(Some(SOON)).unwrap();
        times_out(ErrorKind::WouldBlock, || here.read(&mut bytes));
        times_out(ErrorKind::WouldBlock, || here.try_clone().unwrap().peek(&mut bytes));
        there.write_all(b"now").unwrap();
        assert_eq!(here.read(&mut bytes).unwrap(), 3);
        here.set_write_timeout(Some(SOON)).unwrap();
        let start = Instant::now();
        assert_eq!(here.write_all(&vec![0; 64 << 20]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_about(start.elapsed(), SOON);

        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_read_timeout(Some(SOON)).unwrap();
        times_out(ErrorKind::WouldBlock, || udp.recv_from(&mut bytes));
        let (mut unix, _other) = UnixStream::pair().unwrap();
        unix.set_read_timeout(Some(SOON)).unwrap();
        times_out(ErrorKind::WouldBlock, || unix.read(&mut bytes));
        times_out(ErrorKind::TimedOut, || io::wait_readable(&unix, Some(Instant::now() + SOON)));
        io::wait_writable(&unix, Some(Instant::now())).unwrap();
        assert!(ticks.get() > 5, "{}", ticks.get());
        kill_all([ticker]);
    });
}

#[test]
fn set_read_timeout_expired_returns_the_bytes_that_have_come() {
    shared(|| {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        here.set_read_timeout(Some(SOON)).unwrap();
        let reader = spawn(move || here.read(&mut [0; 10]).unwrap());
        let_others_run();
        // The bytes come, and the time passes, before the hub notices either.
        there.write_all(b"there").unwrap();
        let start = Instant::now();
        while start.elapsed() < SOON * 2 {
            std::hint::spin_loop();
        }
        assert_eq!(reader.join().unwrap(), 5);
    });
}

#[test]
fn connect_without_a_listener_is_refused() {
    exclusive(|| {
        let (listener, address) = listener();
        drop(listener);
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let timed = TcpStream::connect_timeout(&address, HOUR);
        assert_eq!(timed.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let none = UnixStream::connect_addr(&abstract_address());
        assert_eq!(none.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let none: &[SocketAddr] = &[];
        assert_eq!(TcpStream::connect(none).unwrap_err().kind(), ErrorKind::InvalidInput);
        let zero = TcpStream::connect_timeout(&address, Duration::ZERO);
        assert_eq!(zero.unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn connect_to_a_full_tcp_backlog_ends_by_timeout_or_kill() {
    exclusive(|| {
        let (listener, address) = listener();
        shorten_backlog(&listener);
        let mut queued = Vec::new();
        let error = loop {
            match TcpStream::connect_timeout(&address, SOON) {
                Ok(stream) => queued.push(stream),
                Err(error) => break error,
            }
            assert!(queued.len() < 100);
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        times_out(ErrorKind::TimedOut, || TcpStream::connect_timeout(&address, SOON));
        assert!(timeout(SOON, || TcpStream::connect(address)).is_err());
        let connecting = spawn(move || drop(TcpStream::connect(address)));
        let_others_run();
        assert!(!connecting.is_finished());
        connecting.kill();
        assert!(matches!(connecting.join(), Err(JoinError::Killed)));
    });
}

#[test]
fn connect_to_a_full_unix_backlog_waits_for_room() {
    exclusive(|| {
        let name = abstract_address();
        let listener = UnixListener::bind_addr(&name).unwrap();
        shorten_backlog(&listener);
        let connected = Rc::new(Cell::new(0));
        let connecting: Vec<_> = (0..10)
            .map(|_| {
                let (name, connected) = (name.clone(), connected.clone());
                spawn(move || {
                    let stream = UnixStream::connect_addr(&name).unwrap();
                    connected.set(connected.get() + 1);
                    stream
                })
            })
            .collect();
        let_others_run();
        assert!(connected.get() < 10);
        let killed = spawn(move || drop(UnixStream::connect_addr(&name)));
        let_others_run();
        killed.kill();
        assert!(matches!(killed.join(), Err(JoinError::Killed)));
        let accepted: Vec<_> = (0..10).map(|_| listener.accept().unwrap()).collect();
        assert_eq!(join_all(connecting).into_iter().filter(Result::is_ok).count(), 10);
        drop(accepted);
    });
}

/// The kernel does not notify a Unix socket that is not connected when its peer has room again.
#[test]
fn send_to_a_full_unix_datagram_waits_for_room() {
    shared(|| {
        let name = abstract_address();
        let there = UnixDatagram::bind_addr(&name).unwrap();
        let fills = UnixDatagram::unbound().unwrap();
        fills.set_write_timeout(Some(SOON)).unwrap();
        let mut sent = 0u32;
        let error = loop {
            match fills.send_to_addr(&sent.to_le_bytes(), &name) {
                Ok(_) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let connected = UnixDatagram::unbound().unwrap();
        connected.connect_addr(&name).unwrap();
        let one = UnixDatagram::unbound().unwrap();
        let senders = [
            spawn(move || assert_eq!(one.send_to_addr(&[0; 4], &name).unwrap(), 4)),
            spawn(move || assert_eq!(connected.send(&[0; 4]).unwrap(), 4)),
        ];
        let_others_run();
        let before = stats().switches;
        sleep(SOON * 2);
        // The senders retry with pauses, although epoll reports room after each refusal.
        assert!(stats().switches - before < 200, "{}", stats().switches - before);
        assert!(senders.iter().all(|sender| !sender.is_finished()));
        for n in 0..sent {
            let mut bytes = [0; 4];
            there.recv(&mut bytes).unwrap();
            assert_eq!(u32::from_le_bytes(bytes), n);
        }
        assert!(join_all(senders).iter().all(Result::is_ok));
        assert_eq!(there.recv(&mut [0; 10]).unwrap() + there.recv(&mut [0; 10]).unwrap(), 8);
    });
}

#[test]
fn shutdown_of_one_direction_leaves_the_other_open() {
    fn half(mut here: impl Read + Write + 'static, mut there: impl Read + Write, end: impl FnOnce()) {
        let reader = spawn(move || {
            let mut all = Vec::new();
            here.read_to_end(&mut all).unwrap();
            // A read after the end returns the end again.
            assert_eq!(here.read(&mut [0; 10]).unwrap(), 0);
            here.write_all(&all).unwrap();
        });
        let_others_run();
        there.write_all(b"all of it").unwrap();
        end();
        let mut back = String::new();
        there.read_to_string(&mut back).unwrap();
        assert_eq!(back, "all of it");
        reader.join().unwrap();
    }
    shared(|| {
        let (here, there) = tcp_pair();
        let end = there.try_clone().unwrap();
        half(here, there, move || end.shutdown(Shutdown::Write).unwrap());
        let (here, there) = UnixStream::pair().unwrap();
        let end = there.try_clone().unwrap();
        half(here, there, move || end.shutdown(Shutdown::Write).unwrap());
    });
}

/// The end may come together with the last bytes, and these may not fill the buffer.
#[test]
fn read_returns_bytes_and_the_end_that_come_together() {
    shared(|| {
        for wait_first in [false, true] {
            let (here, mut there) = tcp_pair();
            let reader = spawn(move || {
                let (mut all, mut bytes, mut here) = (Vec::new(), [0; 3], here);
                loop {
                    match here.read(&mut bytes).unwrap() {
                        0 => return all,
                        len => all.extend_from_slice(&bytes[..len]),
                    }
                }
            });
            if wait_first {
                let_others_run();
            }
            there.write_all(b"abcde").unwrap();
            drop(there);
            assert_eq!(reader.join().unwrap(), b"abcde");
        }
    });
}

/// A read ends before urgent data. So a short read does not mean that the socket is empty.
#[test]
fn read_returns_the_bytes_after_urgent_data() {
    shared(|| {
        for wait_first in [false, true] {
            let (here, mut there) = tcp_pair();
            let reader = spawn(move || {
                let (mut all, mut bytes, mut here) = (Vec::new(), [0; 100], here);
                while all.len() < 6 {
                    let len = here.read(&mut bytes).unwrap();
                    assert!(len > 0);
                    all.extend_from_slice(&bytes[..len]);
                }
                here.write_all(b"!").unwrap();
                all
            });
            if wait_first {
                let_others_run();
            }
            there.write_all(b"abc").unwrap();
            // SAFETY: the pointer is to one byte.
            let sent = unsafe { libc::send(there.as_raw_fd(), b"x".as_ptr().cast(), 1, libc::MSG_OOB) };
            assert_eq!(sent, 1);
            there.write_all(b"def").unwrap();
            there.read_exact(&mut [0]).unwrap();
            assert_eq!(reader.join().unwrap(), b"abcdef");
        }
    });
}

/// On a Unix socket, a read ends before a message with descriptors, too.
#[test]
fn read_returns_the_bytes_after_scm_rights() {
    shared(|| {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let (open, _) = UnixStream::pair().unwrap();
        let reader = spawn(move || {
            let (mut all, mut bytes) = (Vec::new(), [0; 100]);
            while all.len() < 7 {
                let len = here.read(&mut bytes).unwrap();
                all.extend_from_slice(&bytes[..len]);
            }
            all
        });
        let_others_run();
        there.write_all(b"abc").unwrap();
        let mut control = [0u64; 8];
        // SAFETY: the message has one byte and one descriptor, and `control` has room for it.
        unsafe {
            let mut byte = b'x';
            let mut slice = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = &raw mut slice;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(4) as _;
            let head = libc::CMSG_FIRSTHDR(&raw const message);
            (*head).cmsg_level = libc::SOL_SOCKET;
            (*head).cmsg_type = libc::SCM_RIGHTS;
            (*head).cmsg_len = libc::CMSG_LEN(4) as _;
            libc::CMSG_DATA(head).cast::<RawFd>().write_unaligned(open.as_raw_fd());
            assert_eq!(libc::sendmsg(there.as_raw_fd(), &raw const message, 0), 1);
        }
        there.write_all(b"def").unwrap();
        assert_eq!(reader.join().unwrap(), b"abcxdef");
    });
}

#[test]
fn read_from_a_peer_that_resets_returns_connection_reset() {
    shared(|| {
        let (mut here, there) = tcp_pair();
        reset_on_close(&there);
        let reader = spawn(move || here.read(&mut [0; 10]).unwrap_err().kind());
        let_others_run();
        assert!(!reader.is_finished());
        drop(there);
        assert_eq!(reader.join().unwrap(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn accept_of_a_peer_that_has_reset_succeeds() {
    shared(|| {
        let (listener, address) = listener();
        let early = TcpStream::connect(address).unwrap();
        let from = early.local_addr().unwrap();
        reset_on_close(&early);
        drop(early);
        let (mut stream, address) = listener.accept().unwrap();
        assert_eq!(address, from);
        assert_eq!(stream.read(&mut [0; 10]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn write_to_a_closed_peer_returns_an_error_and_raises_no_sigpipe() {
    fn write_on(mut stream: impl Write, vectored: bool) -> ErrorKind {
        loop {
            let bytes = [0; 1000];
            let wrote =
                if vectored { stream.write_vectored(&[IoSlice::new(&bytes)]) } else { stream.write(&bytes) };
            if let Err(error) = wrote {
                return error.kind();
            }
            yield_now();
        }
    }
    shared(|| {
        // SAFETY: no handler. With the default of a program in C, SIGPIPE would end this process.
        let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        for vectored in [false, true] {
            let (here, there) = tcp_pair();
            drop(there);
            let kind = write_on(here, vectored);
            assert!(matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{kind:?}");
            let (here, there) = UnixStream::pair().unwrap();
            drop(there);
            assert_eq!(write_on(here, vectored), ErrorKind::BrokenPipe);
        }
        // SAFETY: restores the former handler.
        unsafe { libc::signal(libc::SIGPIPE, before) };
    });
}

#[test]
fn write_all_waits_for_a_slow_reader() {
    fn slowly(mut here: impl Read, mut there: impl Write + 'static) {
        const ALL: usize = 8 << 20;
        let done = Rc::new(Cell::new(false));
        let inside = done.clone();
        let writer = spawn(move || {
            let bytes: Vec<u8> = (0..ALL).map(|n| (n / 7) as u8).collect();
            there.write_all(&bytes).unwrap();
            inside.set(true);
        });
        let_others_run();
        assert!(!done.get());
        let mut got = 0;
        let mut bytes = vec![0; 10_000];
        loop {
            let len = here.read(&mut bytes).unwrap();
            if len == 0 {
                break;
            }
            assert!((got..got + len).zip(&bytes).all(|(n, &byte)| byte == (n / 7) as u8));
            got += len;
            yield_now();
        }
        assert_eq!(got, ALL);
        writer.join().unwrap();
    }
    shared(|| {
        let (here, there) = tcp_pair();
        slowly(here, there);
        let (here, there) = UnixStream::pair().unwrap();
        slowly(here, there);
    });
}

#[test]
fn read_vectored_and_write_vectored_keep_the_order() {
    shared(|| {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let reader = spawn(move || {
            let (mut one, mut two) = ([0; 2], [0; 10]);
            let len = here.read_vectored(&mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)]);
            (len.unwrap(), one, two)
        });
        let_others_run();
        let slices = [IoSlice::new(b"abc"), IoSlice::new(b""), IoSlice::new(b"de")];
        assert_eq!(there.write_vectored(&slices).unwrap(), 5);
        assert_eq!(reader.join().unwrap(), (5, *b"ab", *b"cde\0\0\0\0\0\0\0"));
    });
}

#[test]
fn read_by_several_green_threads_gives_each_byte_to_one() {
    shared(|| {
        let (here, mut there) = UnixStream::pair().unwrap();
        let here = Rc::new(here);
        let got = Rc::new(RefCell::new(Vec::new()));
        let readers: Vec<_> = (0..20)
            .map(|_| {
                let (here, got) = (here.clone(), got.clone());
                spawn(move || {
                    let mut bytes = [0; 1];
                    while (&*here).read(&mut bytes).unwrap() > 0 {
                        got.borrow_mut().push(bytes[0]);
                        yield_now();
                    }
                })
            })
            .collect();
        let_others_run();
        for n in 0..200u8 {
            there.write_all(&[n]).unwrap();
            if n % 13 == 0 {
                let_others_run();
            }
        }
        drop(there);
        assert!(join_all(readers).iter().all(Result::is_ok));
        let mut got = got.take();
        got.sort_unstable();
        assert_eq!(got, (0..200).collect::<Vec<u8>>());
    });
}

#[test]
fn shutdown_here_and_on_another_os_thread_wakes_the_waiters() {
    shared(|| {
        for remote in [false, true] {
            let (here, _there) = tcp_pair();
            let here = Arc::new(here);
            let inside = here.clone();
            let reader = spawn(move || (&*inside).read(&mut [0; 10]).unwrap());
            let_others_run();
            assert!(!reader.is_finished());
            let end = move || here.shutdown(Shutdown::Read).unwrap();
            if remote {
                on_os_thread(end)
            } else {
                end()
            }
            assert_eq!(reader.join().unwrap(), 0);

            let (listener, _) = listener();
            let listener = Arc::new(listener);
            let inside = listener.clone();
            let acceptor = spawn(move || inside.accept().unwrap_err().kind());
            let_others_run();
            assert!(!acceptor.is_finished());
            let end = move || {
                // SAFETY: no pointers.
                assert_eq!(unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RD) }, 0);
            };
            if remote {
                on_os_thread(end)
            } else {
                end()
            }
            assert_eq!(acceptor.join().unwrap(), ErrorKind::InvalidInput);
        }
    });
}

/// Number of a descriptor, which does not keep it open.
struct Raw(RawFd);

impl std::os::fd::AsFd for Raw {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        // SAFETY: not upheld on purpose: the tests close the descriptor while it is borrowed.
        unsafe { std::os::fd::BorrowedFd::borrow_raw(self.0) }
    }
}

#[test]
fn close_makes_wait_readable_return_ebadf() {
    exclusive(|| {
        for remote in [false, true] {
            let (here, there) = UnixStream::pair().unwrap();
            let raw = here.as_raw_fd();
            let waiters: Vec<_> = (0..3)
                .map(|n| {
                    spawn(move || match n {
                        0 => io::wait_readable(Raw(raw), Some(Instant::now() + HOUR)),
                        _ => io::wait_readable(Raw(raw), None),
                    })
                })
                .collect();
            let_others_run();
            if remote {
                on_os_thread(move || drop(here))
            } else {
                drop(here)
            }
            for waiter in join_all(waiters) {
                assert_eq!(waiter.unwrap().unwrap_err().raw_os_error(), Some(libc::EBADF));
            }
            drop(there);
        }
    });
}

/// Another OS thread closes the descriptor and reuses its number before this hub notices. The old waiter is woken, although
/// another one waits for the new socket.
#[test]
fn close_makes_wait_readable_return_ebadf_though_the_fd_number_is_reused() {
    exclusive(|| {
        let (here, there) = UnixStream::pair().unwrap();
        let raw = here.as_raw_fd();
        let old = spawn(move || io::wait_readable(Raw(raw), None));
        let_others_run();
        let (give, take) = std::sync::mpsc::channel();
        let other = greenline::thread::Thread::new(move || {
            drop(here);
            let (new, peer) = UnixStream::pair().unwrap();
            assert!(new.as_raw_fd() == raw || peer.as_raw_fd() == raw);
            give.send((new, peer)).unwrap();
        });
        let other = other.start().unwrap();
        // Blocks the OS thread, so that the hub does not notice.
        let (mut new, mut peer) = take.recv().unwrap();
        new.set_read_timeout(Some(SOON)).unwrap();
        peer.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(new.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(peer.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let told = old.join_timeout(HANG_TIMEOUT).expect("it still waits for the closed socket");
        assert_eq!(told.unwrap().unwrap_err().raw_os_error(), Some(libc::EBADF));
        other.join().unwrap();
        drop(there);
    });
}

/// greenline is not notified when std closes a socket, whose number is reused.
#[test]
fn wait_readable_on_sockets_of_std_works_though_fd_numbers_are_reused() {
    exclusive(|| {
        for n in 0..100 {
            let (here, mut there) = std::os::unix::net::UnixStream::pair().unwrap();
            let waiter = spawn(move || {
                io::wait_readable(&here, Some(Instant::now() + HANG_TIMEOUT)).unwrap();
                let mut bytes = [0; 1];
                (&here).read_exact(&mut bytes).unwrap();
                bytes[0]
            });
            let_others_run();
            there.write_all(&[n]).unwrap();
            assert_eq!(waiter.join().unwrap(), n);
        }
    });
}

#[test]
fn wait_readable_returns_at_once_for_a_file_and_ebadf_for_a_closed_fd() {
    shared(|| {
        let file = std::fs::File::open("/proc/self/status").unwrap();
        io::wait_readable(&file, None).unwrap();
        io::wait_writable(&file, None).unwrap();
        let never = Raw(1 << 30);
        assert_eq!(io::wait_readable(never, None).unwrap_err().raw_os_error(), Some(libc::EBADF));
    });
}

#[test]
fn fd_number_that_is_reused_never_wakes_the_old_waiter() {
    exclusive(|| {
        for n in 0..2000u32 {
            let (mut here, there) = UnixStream::pair().unwrap();
            let waiter = spawn(move || here.read(&mut [0; 1]).map(drop));
            yield_now();
            if n % 3 == 0 {
                yield_now();
            }
            waiter.kill();
            if n % 2 == 0 {
                // The waiter's socket is closed during its unwind. Its peer is closed before that or after it.
                drop(there);
                assert!(matches!(waiter.join(), Err(JoinError::Killed)));
            } else {
                assert!(matches!(waiter.join(), Err(JoinError::Killed)));
                let (mut new, mut peer) = UnixStream::pair().unwrap();
                let reader = spawn(move || {
                    let mut byte = [0];
                    new.read_exact(&mut byte).unwrap();
                    byte[0]
                });
                yield_now();
                assert!(!reader.is_finished());
                peer.write_all(&[n as u8]).unwrap();
                assert_eq!(reader.join().unwrap(), n as u8);
            }
        }
    });
}

#[test]
fn kill_and_timeout_unwind_from_every_socket_call_and_close_the_sockets() {
    exclusive(|| {
        let ends: Vec<fn()> = vec![
            || drop(listener().0.accept()),
            || drop(UnixListener::bind_addr(&abstract_address()).unwrap().accept()),
            || {
                let (mut here, _there) = tcp_pair();
                drop(here.read(&mut [0; 1]));
            },
            || {
                let (mut here, _there) = UnixStream::pair().unwrap();
                drop(here.read(&mut [0; 1]));
            },
            || {
                let (mut here, _there) = UnixStream::pair().unwrap();
                drop(here.write_all(&vec![0; 8 << 20]));
            },
            || drop(UdpSocket::bind("127.0.0.1:0").unwrap().recv_from(&mut [0; 1])),
            || {
                let (here, _there) = UnixDatagram::pair().unwrap();
                drop(here.recv(&mut [0; 1]));
            },
        ];
        for end in ends {
            let waits = move || {
                let (_kept, _too) = UnixStream::pair().unwrap();
                end();
            };
            let waiter = spawn(waits);
            let_others_run();
            waiter.kill();
            assert!(matches!(waiter.join(), Err(JoinError::Killed)));
            assert!(timeout(SOON, waits).is_err());
        }
    });
}

#[test]
fn accept_of_a_unix_listener_that_is_shut_down_returns_einval() {
    shared(|| {
        let address =
            std::os::unix::net::SocketAddr::from_abstract_name(format!("shut{}", std::process::id()))
                .unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let number = listener.as_raw_fd();
        let accept =
            spawn(move || [(); 2].map(|()| listener.accept().map(|(stream, _)| stream.into_raw_fd())));
        let_others_run();
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::shutdown(number, libc::SHUT_RD) }, 0);
        for accepted in accept.join().unwrap() {
            assert_eq!(accepted.unwrap_err().raw_os_error(), Some(libc::EINVAL));
        }
    });
}

#[test]
fn shutdown_of_the_hub_unwinds_a_thousand_readers_and_closes_all() {
    exclusive(|| {
        let count = pairs_for(1000);
        let unwound = Arc::new(AtomicU32::new(0));
        struct Count(Arc<AtomicU32>);
        impl Drop for Count {
            fn drop(&mut self) {
                self.0.fetch_add(1, SeqCst);
            }
        }
        let mut ends = Vec::new();
        for _ in 0..count {
            let (mut here, there) = UnixStream::pair().unwrap();
            ends.push(there);
            let count = Count(unwound.clone());
            drop(spawn(move || {
                let _count = count;
                drop(here.read(&mut [0; 1]));
            }));
        }
        let_others_run();
        assert_eq!(unwound.load(SeqCst), 0);
        shutdown();
        assert_eq!(u64::from(unwound.load(SeqCst)), count);
    });
}

#[test]
fn unix_stream_between_two_hubs_carries_bytes_and_moves() {
    shared(|| {
        let (mut here, there) = UnixStream::pair().unwrap();
        let (give, take) = std::sync::mpsc::channel::<UnixStream>();
        let other = greenline::thread::Thread::new(move || {
            let mut there = there;
            for n in 0..500u32 {
                let mut bytes = [0; 4];
                there.read_exact(&mut bytes).unwrap();
                assert_eq!(u32::from_le_bytes(bytes), n);
                there.write_all(&bytes).unwrap();
            }
            give.send(there).unwrap();
        });
        let other = other.start().unwrap();
        for n in 0..500u32 {
            here.write_all(&n.to_le_bytes()).unwrap();
            let mut bytes = [0; 4];
            here.read_exact(&mut bytes).unwrap();
            assert_eq!(u32::from_le_bytes(bytes), n);
        }
        other.join().unwrap();
        // One hub has waited for this socket. Now another does.
        let mut there = take.recv().unwrap();
        let reader = spawn(move || {
            let mut byte = [0];
            there.read_exact(&mut byte).unwrap();
            byte[0]
        });
        let_others_run();
        assert!(!reader.is_finished());
        here.write_all(&[9]).unwrap();
        assert_eq!(reader.join().unwrap(), 9);
    });
}

#[test]
fn read_by_two_hubs_shares_one_socket() {
    shared(|| {
        let (here, mut there) = UnixStream::pair().unwrap();
        let here = Arc::new(here);
        let read_all = |here: Arc<UnixStream>| {
            move || {
                let (mut sum, mut bytes) = (0u64, [0; 1]);
                while (&*here).read(&mut bytes).unwrap() > 0 {
                    sum += u64::from(bytes[0]);
                }
                sum
            }
        };
        let threads: Vec<_> =
            (0..2).map(|_| greenline::thread::Thread::new(read_all(here.clone())).start().unwrap()).collect();
        let reader = spawn(read_all(here.clone()));
        for n in 0..2000u64 {
            there.write_all(&[n as u8]).unwrap();
            if n % 50 == 0 {
                let_others_run();
            }
        }
        drop(there);
        let sum = reader.join().unwrap() + threads.into_iter().map(|t| t.join().unwrap()).sum::<u64>();
        assert_eq!(sum, (0..2000u64).map(|n| u64::from(n as u8)).sum());
    });
}

#[test]
fn accept_by_several_hubs_shares_one_listener() {
    shared(|| {
        let (listener, address) = listener();
        let listener = Arc::new(listener);
        let accepted = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (listener, accepted) = (listener.clone(), accepted.clone());
                let serve = move || {
                    let mut streams = Vec::new();
                    while let Ok((stream, _)) = listener.accept() {
                        accepted.fetch_add(1, SeqCst);
                        streams.push(spawn(|| echo(stream).unwrap()));
                    }
                    drop(join_all(streams));
                };
                greenline::thread::Thread::new(serve).start().unwrap()
            })
            .collect();
        scope(|s| {
            for _ in 0..60 {
                s.spawn(|| exchange_fifty(TcpStream::connect(address).unwrap()));
            }
        });
        assert_eq!(accepted.load(SeqCst), 60);
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RD) }, 0);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn into_std_and_from_std_keep_the_socket() {
    shared(|| {
        let (here, mut there) = UnixStream::pair().unwrap();
        let mut here = here.into_std().unwrap();
        there.write_all(b"1").unwrap();
        here.read_exact(&mut [0]).unwrap();
        let mut here = UnixStream::from_std(here).unwrap();
        let reader = spawn(move || {
            here.read_exact(&mut [0]).unwrap();
            here
        });
        let_others_run();
        there.write_all(b"2").unwrap();
        let here = reader.join().unwrap();
        let raw = here.into_raw_fd();
        // SAFETY: `into_raw_fd` has given the ownership away.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let mut here = UnixStream::from_std(fd.into()).unwrap();
        let (listener, _) = listener();
        let listener = listener.into_std().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = spawn(move || listener.try_clone().unwrap().accept().unwrap());
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        assert!(stream.nodelay().unwrap() && stream.take_error().unwrap().is_none());
        accepted.join().unwrap();
        // One handle is blocking, so all of them are. The others still yield.
        let clone = here.try_clone().unwrap();
        let blocking = clone.into_std().unwrap();
        let reader = spawn(move || here.read(&mut [0; 10]).unwrap());
        let_others_run();
        there.write_all(b"333").unwrap();
        assert_eq!(reader.join().unwrap(), 3);
        drop(blocking);
    });
}

#[test]
fn unix_stream_pair_closed_a_hundred_thousand_times_leaks_nothing() {
    fn once() {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let reader = spawn(move || here.read_exact(&mut [0]).unwrap());
        yield_now();
        there.write_all(b"1").unwrap();
        reader.join().unwrap();
    }
    exclusive(|| {
        (0..10_000).for_each(|_| once());
        let before = resident_kib();
        (0..90_000).for_each(|_| once());
        let (listener, address) = listener();
        let acceptor = spawn(move || listener.incoming().for_each(|stream| drop(stream.unwrap())));
        for _ in 0..2000 {
            let mut stream = TcpStream::connect(address).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        }
        kill_all([acceptor]);
        let grown = resident_kib().saturating_sub(before);
        assert!(grown < 8 << 10, "{grown} KiB more");
    });
}

#[test]
fn wait_readable_with_urgent_data_pending_does_not_spin() {
    shared(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let here = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        // SAFETY: the pointer is to one byte.
        let sent = unsafe { libc::send(there.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
        assert_eq!(sent, 1);
        let waits = spawn(move || io::wait_readable(&here, None).unwrap());
        let before = stats().switches;
        sleep(SOON);
        assert!(stats().switches - before < 20, "the waiter spins");
        there.write_all(b".").unwrap();
        waits.join().unwrap();
    });
}
