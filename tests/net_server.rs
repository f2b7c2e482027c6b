//! Servers: who is served, who waits, and what ends.

mod support;

use greenline::net::{
    DatagramServer, Listener, StreamServer, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener,
    UnixStream,
};
use greenline::*;
use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::subprocess::{output, run_cases_before_main};

const LONG: Duration = Duration::from_secs(3600);

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn abstract_name(name: &str) -> UnixAddr {
    UnixAddr::from_abstract_name(format!("greenline-server-{name}-{}", std::process::id())).unwrap()
}

fn echo(mut stream: impl Read + Write) {
    let mut bytes = [0; 1024];
    while let Ok(len @ 1..) = stream.read(&mut bytes) {
        stream.write_all(&bytes[..len]).unwrap();
    }
}

fn says(mut stream: impl Read + Write, what: &[u8]) -> io::Result<()> {
    stream.write_all(what)?;
    let mut heard = vec![0; what.len()];
    stream.read_exact(&mut heard)?;
    assert_eq!(heard, what);
    Ok(())
}

fn settle() {
    for _ in 0..10 {
        yield_now();
    }
}

/// Lets the others run until it is so.
fn until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(60), "it never is so");
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn all_are_served_over_tcp_and_unix() {
    let (tcp, address) = listener();
    let tcp = StreamServer::new(tcp, move |stream: TcpStream, from: SocketAddr| {
        assert_eq!(stream.peer_addr().unwrap(), from);
        echo(stream);
    });
    let name = abstract_name("all");
    let unix = UnixListener::bind_addr(&name).unwrap();
    let (tcp, unix) = (tcp.start(), StreamServer::new(unix, |stream, _| echo(stream)).start());
    scope(|s| {
        for n in 0..300u32 {
            s.spawn(move || says(TcpStream::connect(address).unwrap(), &n.to_le_bytes()).unwrap());
            let name = &name;
            s.spawn(move || says(UnixStream::connect_addr(name).unwrap(), &n.to_le_bytes()).unwrap());
        }
    });
    until(|| tcp.running() == 0 && unix.running() == 0);
    tcp.stop(LONG).unwrap();
    unix.stop(LONG).unwrap();
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(stats().alive, 0);
}

#[test]
fn no_more_are_served_at_once_than_may_be() {
    let (listener, address) = listener();
    let (now, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (inside, inside_most) = (now.clone(), most.clone());
    let server = StreamServer::new(listener, move |stream, _| {
        inside.set(inside.get() + 1);
        inside_most.set(inside_most.get().max(inside.get()));
        echo(stream);
        inside.set(inside.get() - 1);
    });
    let server = server.max_connections(3).start();
    let mut first: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    first.iter_mut().for_each(|stream| says(stream, b"hello").unwrap());
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
            s.spawn(|| says(TcpStream::connect(address).unwrap(), b"hello").unwrap());
        }
    });
    assert_eq!(most.get(), 3);
    // The handlers of the connections before have to be gone, or they would count among the next three.
    until(|| server.running() == 0);
    // Full, and waiting for room: it is stopped there, too.
    let full: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    until(|| server.running() == 3);
    settle();
    server.stop(Duration::ZERO).unwrap();
    assert_eq!(now.get(), 3, "handlers that were killed do not count down");
    full.into_iter().for_each(|mut stream| assert_eq!(stream.read(&mut [0]).unwrap(), 0));
}

#[test]
fn a_stop_waits_for_its_grace_and_then_kills() {
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
        let server = StreamServer::new(listener, move |stream: TcpStream, _| {
            let _unwound = Unwound(unwound.clone());
            echo(stream);
        });
        (server.start(), address)
    };
    // All end in time.
    let (server, address) = serve(&unwound);
    let mut clients: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
    clients.iter_mut().for_each(|client| says(client, b"hello").unwrap());
    let late = spawn(move || {
        settle();
        clients.iter_mut().for_each(|client| says(client, b"still there").unwrap());
    });
    let start = Instant::now();
    server.stop(LONG).unwrap();
    assert!(start.elapsed() < LONG / 10 && unwound.get() == 5);
    late.join().unwrap();
    // Some do not.
    let (server, address) = serve(&unwound);
    let clients: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
    clients.iter().for_each(|client| says(client, b"hello").unwrap());
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
fn a_handler_that_panics_closes_its_connection_and_no_other() {
    let (listener, address) = listener();
    let server = StreamServer::new(listener, |mut stream: TcpStream, _| {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        assert!(byte[0] != b'!', "as asked for");
        stream.write_all(&byte).unwrap();
        echo(stream);
    });
    let server = server.max_connections(2).start();
    let mut other = TcpStream::connect(address).unwrap();
    says(&mut other, b"a").unwrap();
    for _ in 0..5 {
        let mut bad = TcpStream::connect(address).unwrap();
        bad.write_all(b"!").unwrap();
        assert_eq!(bad.read(&mut [0]).unwrap(), 0);
    }
    says(&mut other, b"b").unwrap();
    drop(other);
    server.stop(LONG).unwrap();
}

#[test]
fn messages_are_answered_over_udp_and_unix() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = udp.local_addr().unwrap();
    let name = abstract_name("messages");
    let unix = UnixDatagram::bind_addr(&name).unwrap();
    let servers = [
        DatagramServer::new(udp, |socket, message, from| {
            assert_eq!(socket.send_to(&message, from).unwrap(), message.len());
        })
        .start(),
        DatagramServer::new(unix, |socket, message, from| {
            sleep(Duration::from_millis(1));
            assert_eq!(socket.send_to_addr(&message, &from).unwrap(), message.len());
        })
        .max_handlers(2)
        .start(),
    ];
    let here = UdpSocket::bind("127.0.0.1:0").unwrap();
    let there = UnixDatagram::bind_addr(&abstract_name("messages-client")).unwrap();
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
        server.stop(LONG).unwrap();
    }
}

/// Fails in turn with what it was given, and has connections in between.
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
fn errors_that_pass_make_it_pause_and_others_end_it() {
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
        let server = StreamServer::new(fails(), move |_, ()| inside.set(inside.get() + 1));
        let start = Instant::now();
        let ended = if forever { server.serve_forever() } else { server.start().join() };
        assert_eq!(ended.unwrap_err().raw_os_error(), Some(libc::EBADF));
        // 10 and 20 ms; 10 once more after a success.
        assert!(start.elapsed() >= Duration::from_millis(40), "{:?}", start.elapsed());
        settle();
        assert_eq!(served.get(), 2);
    }
    let inside = served.clone();
    let server = StreamServer::new(fails(), move |_, ()| inside.set(inside.get() + 1)).start();
    until(|| served.get() == 4);
    settle();
    assert_eq!(server.stop(LONG).unwrap_err().raw_os_error(), Some(libc::EBADF));
}

#[test]
fn a_server_that_serves_forever_ends_its_handlers_when_killed() {
    let (listener, address) = listener();
    let forever = spawn(move || StreamServer::new(listener, |stream, _| echo(stream)).serve_forever());
    let mut client = TcpStream::connect(address).unwrap();
    says(&mut client, b"hello").unwrap();
    forever.kill();
    assert!(matches!(forever.join(), Err(JoinError::Killed)));
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(stats().alive, 0);
}

#[test]
fn a_handler_may_stop_its_server() {
    let (listener, address) = listener();
    let slot = Rc::new(Cell::new(None::<greenline::net::Server>));
    let inside = slot.clone();
    let server = StreamServer::new(listener, move |stream: TcpStream, _| {
        if let Some(server) = inside.take() {
            server.stop(Duration::ZERO).unwrap();
        }
        drop(stream);
    });
    slot.set(Some(server.start()));
    let mut client = TcpStream::connect(address).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    settle();
    assert_eq!(stats().alive, 0);
}

/// The case that runs in a child: this program again, with so few descriptors that accepting fails.
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
    let server = StreamServer::new(listener, |stream, _| echo(stream)).start();
    says(TcpStream::connect(address).unwrap(), b"hello").unwrap();
    until(|| server.running() == 0);
    // std's block the OS thread: so nobody accepts before the last descriptors have gone.
    let clients = [(); 2].map(|()| std::net::TcpStream::connect(address).unwrap());
    let mut rest = Vec::new();
    let limit = libc::rlimit { rlim_cur: 50, rlim_max: 50 };
    // SAFETY: a valid limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    while let Ok(file) = std::fs::File::open("/dev/null") {
        rest.push(file);
    }
    until(|| WARNINGS.load(SeqCst) >= 2);
    assert_eq!(server.running(), 0);
    rest.clear();
    let clients = clients.map(|client| TcpStream::from_std(client).unwrap());
    for mut client in clients {
        client.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
    }
    server.stop(LONG).unwrap();
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
fn without_descriptors_a_server_waits_and_goes_on() {
    let said = output("without descriptors").success();
    assert!(said.contains("WARN: a server cannot accept for now, and goes on in 10ms"), "{said}");
    assert!(said.contains("goes on in 20ms"), "{said}");
    assert!(said.ends_with("served in the end\n"), "{said}");
}
