//! Servers: which connections they serve, which ones wait, and what ends them.

mod support;

use greenline::net::{Listener, Server, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use greenline::*;
use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::limits::exhaust_fds;
use support::sockets::{abstract_address, echo, exchange, listener};
use support::subprocess::{output, run_cases_before_main};
use support::time::{HOUR, let_others_run, wait_until};

#[test]
fn stream_server_serves_all_over_tcp_and_unix() {
    let (tcp, address) = listener();
    let tcp = Server::streams(tcp, move |stream: TcpStream, from: SocketAddr| {
        assert_eq!(stream.peer_addr().unwrap(), from);
        drop(echo(stream));
    });
    let name = abstract_address();
    let unix = UnixListener::bind_addr(&name).unwrap();
    let (tcp, unix) = (tcp.start(), Server::streams(unix, |stream, _| drop(echo(stream))).start());
    scope(|s| {
        for n in 0..300u32 {
            s.spawn(move || exchange(TcpStream::connect(address).unwrap(), &n.to_le_bytes()).unwrap());
            let name = &name;
            s.spawn(move || exchange(UnixStream::connect_addr(name).unwrap(), &n.to_le_bytes()).unwrap());
        }
    });
    wait_until(|| tcp.running() == 0 && unix.running() == 0);
    tcp.stop(HOUR).unwrap();
    unix.stop(HOUR).unwrap();
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(stats().alive, 0);
}

#[test]
fn max_handlers_limits_how_many_are_served_at_once() {
    let (listener, address) = listener();
    let (now, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (inside, inside_most) = (now.clone(), most.clone());
    let server = Server::streams(listener, move |stream, _| {
        inside.set(inside.get() + 1);
        inside_most.set(inside_most.get().max(inside.get()));
        drop(echo(stream));
        inside.set(inside.get() - 1);
    });
    let server = server.max_handlers(3).start();
    let mut first: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    first.iter_mut().for_each(|stream| exchange(stream, b"hello").unwrap());
    let mut fourth = TcpStream::connect(address).unwrap();
    fourth.set_read_timeout(Some(Duration::from_millis(30))).unwrap();
    fourth.write_all(b"me").unwrap();
    assert_eq!(fourth.read(&mut [0; 2]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(server.running(), 3);
    fourth.set_read_timeout(None).unwrap();
    first.pop();
    fourth.read_exact(&mut [0; 2]).unwrap();
    drop((first, fourth));
    scope(|s| {
        for _ in 0..30 {
            s.spawn(|| exchange(TcpStream::connect(address).unwrap(), b"hello").unwrap());
        }
    });
    assert_eq!(most.get(), 3);
    // Waits for the end of all earlier handlers, which would count among the next three.
    wait_until(|| server.running() == 0);
    // The server is full and waits for room. It can be stopped there, too.
    let full: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    wait_until(|| server.running() == 3);
    let_others_run();
    server.stop(Duration::ZERO).unwrap();
    assert_eq!(now.get(), 3, "handlers that were killed do not count down");
    full.into_iter().for_each(|mut stream| assert_eq!(stream.read(&mut [0]).unwrap(), 0));
}

#[test]
fn stop_waits_for_its_grace_and_then_kills() {
    struct Unwound(Rc<Cell<u32>>);
    impl Drop for Unwound {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let unwound = Rc::new(Cell::new(0));
    let serve = |unwound: &Rc<Cell<u32>>| {
        let (listener, address) = listener();
        let unwound = unwound.clone();
        let server = Server::streams(listener, move |stream: TcpStream, _| {
            let _unwound = Unwound(unwound.clone());
            drop(echo(stream));
        });
        (server.start(), address)
    };
    // All handlers end in time.
    let (server, address) = serve(&unwound);
    let mut clients: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
    clients.iter_mut().for_each(|client| exchange(client, b"hello").unwrap());
    let late = spawn(move || {
        let_others_run();
        clients.iter_mut().for_each(|client| exchange(client, b"still there").unwrap());
    });
    let start = Instant::now();
    server.stop(HOUR).unwrap();
    assert!(start.elapsed() < HOUR / 10 && unwound.get() == 5);
    late.join().unwrap();
    // Four handlers do not end in time.
    let (server, address) = serve(&unwound);
    let clients: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
    clients.iter().for_each(|client| exchange(client, b"hello").unwrap());
    clients[0].shutdown(Shutdown::Write).unwrap();
    let start = Instant::now();
    server.stop(Duration::from_millis(30)).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_eq!(unwound.get(), 10);
    for mut client in clients {
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn stream_server_handler_that_panics_closes_only_its_connection() {
    let (listener, address) = listener();
    let server = Server::streams(listener, |mut stream: TcpStream, _| {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        assert!(byte[0] != b'!', "as asked for");
        stream.write_all(&byte).unwrap();
        drop(echo(stream));
    });
    let server = server.max_handlers(2).start();
    let mut other = TcpStream::connect(address).unwrap();
    exchange(&mut other, b"a").unwrap();
    for _ in 0..5 {
        let mut bad = TcpStream::connect(address).unwrap();
        bad.write_all(b"!").unwrap();
        assert_eq!(bad.read(&mut [0]).unwrap(), 0);
    }
    exchange(&mut other, b"b").unwrap();
    drop(other);
    server.stop(HOUR).unwrap();
}

#[test]
fn datagram_server_answers_over_udp_and_unix() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = udp.local_addr().unwrap();
    let name = abstract_address();
    let unix = UnixDatagram::bind_addr(&name).unwrap();
    let servers = [
        Server::datagrams(udp, |socket, message, from| {
            assert_eq!(socket.send_to(&message, from).unwrap(), message.len());
        })
        .start(),
        Server::datagrams(unix, |socket, message, from| {
            sleep(Duration::from_millis(1));
            assert_eq!(socket.send_to_addr(&message, &from).unwrap(), message.len());
        })
        .max_handlers(2)
        .start(),
    ];
    let here = UdpSocket::bind("127.0.0.1:0").unwrap();
    let there = UnixDatagram::bind_addr(&abstract_address()).unwrap();
    let mut bytes = vec![0; 1 << 16];
    for len in [0, 1, 1000, 60_000] {
        let said = vec![len as u8; len];
        here.send_to(&said, address).unwrap();
        assert_eq!(here.recv(&mut bytes).unwrap(), len);
        there.send_to_addr(&said, &name).unwrap();
        assert_eq!(there.recv(&mut bytes).unwrap(), len);
        assert_eq!(bytes[..len], said);
    }
    for server in servers {
        server.stop(HOUR).unwrap();
    }
}

/// Listener whose calls of `accept` fail with the given errors in turn. For `None` it returns a connection.
struct Fails(Vec<Cell<Option<io::Error>>>, Cell<usize>);

impl Listener for Fails {
    type Stream = UnixStream;
    type Address = ();

    fn accept(&self) -> io::Result<(UnixStream, ())> {
        let at = self.1.replace(self.1.get() + 1);
        match self.0.get(at).map(Cell::take) {
            Some(Some(error)) => Err(error),
            Some(None) => Ok((UnixStream::pair()?.0, ())),
            None => Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
    }
}

#[test]
fn accept_error_that_passes_makes_the_server_pause_and_another_ends_it() {
    let error = |code| Cell::new(Some(io::Error::from_raw_os_error(code)));
    let none = || Cell::new(None);
    let fails = || {
        let errors = [error(libc::EMFILE), error(libc::ENOBUFS), none(), error(libc::ECONNABORTED), none()];
        Fails(errors.into(), Cell::new(0))
    };
    let served = Rc::new(Cell::new(0));
    for forever in [false, true] {
        served.set(0);
        let inside = served.clone();
        let server = Server::streams(fails(), move |_, ()| inside.set(inside.get() + 1));
        let start = Instant::now();
        let ended = if forever { server.serve_forever() } else { server.start().join() };
        assert_eq!(ended.unwrap_err().raw_os_error(), Some(libc::EBADF));
        // The pauses are 10 and 20 ms, and 10 ms again after a success.
        assert!(start.elapsed() >= Duration::from_millis(40), "{:?}", start.elapsed());
        let_others_run();
        assert_eq!(served.get(), 2);
    }
    let inside = served.clone();
    let server = Server::streams(fails(), move |_, ()| inside.set(inside.get() + 1)).start();
    wait_until(|| served.get() == 4);
    let_others_run();
    assert_eq!(server.stop(HOUR).unwrap_err().raw_os_error(), Some(libc::EBADF));
}

#[test]
fn serve_forever_that_is_killed_ends_its_handlers() {
    let (listener, address) = listener();
    let forever = spawn(move || Server::streams(listener, |stream, _| drop(echo(stream))).serve_forever());
    let mut client = TcpStream::connect(address).unwrap();
    exchange(&mut client, b"hello").unwrap();
    forever.kill();
    assert!(matches!(forever.join(), Err(JoinError::Killed)));
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(stats().alive, 0);
}

#[test]
fn stop_from_a_handler_ends_the_server() {
    let (listener, address) = listener();
    let slot = Rc::new(Cell::new(None::<greenline::net::Server>));
    let inside = slot.clone();
    let server = Server::streams(listener, move |stream: TcpStream, _| {
        if let Some(server) = inside.take() {
            server.stop(Duration::ZERO).unwrap();
        }
        drop(stream);
    });
    slot.set(Some(server.start()));
    let mut client = TcpStream::connect(address).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    let_others_run();
    assert_eq!(stats().alive, 0);
}

/// Case that runs in a child: it has so few descriptors that accepting fails.
fn without_descriptors() {
    static WARNINGS: AtomicU32 = AtomicU32::new(0);
    struct Says;
    impl log::Log for Says {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            println!("{}: {}", record.level(), record.args());
            WARNINGS.fetch_add(1, SeqCst);
        }
        fn flush(&self) {}
    }
    log::set_logger(&Says).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let (listener, address) = listener();
    let server = Server::streams(listener, |stream, _| drop(echo(stream))).start();
    exchange(TcpStream::connect(address).unwrap(), b"hello").unwrap();
    wait_until(|| server.running() == 0);
    // A connect of std blocks the OS thread. So the server accepts nothing before the last descriptors are taken.
    let clients = [(); 2].map(|()| std::net::TcpStream::connect(address).unwrap());
    let files = exhaust_fds(50);
    wait_until(|| WARNINGS.load(SeqCst) >= 2);
    assert_eq!(server.running(), 0);
    drop(files);
    let clients = clients.map(|client| TcpStream::from_std(client).unwrap());
    for mut client in clients {
        client.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
    }
    server.stop(HOUR).unwrap();
    println!("served in the end");
}

run_cases_before_main!(run);

/// The cases that run in a child.
fn run(case: &str) {
    match case {
        "without descriptors" => without_descriptors(),
        other => panic!("no case '{other}'"),
    }
}

#[test]
fn accept_without_descriptors_makes_the_server_pause_and_go_on() {
    let said = output("without descriptors").success();
    assert!(said.contains("WARN: a server cannot accept now, and tries again in 10ms"), "{said}");
    assert!(said.contains("tries again in 20ms"), "{said}");
    assert!(said.ends_with("served in the end\n"), "{said}");
}
