//! Echo servers for the load client, and many short connections.

use crate::usage;
use greenline_bench::{emit, status_kb};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::{Duration, Instant};

/// Serves each connection by one green thread, with the sockets of `greenline::net`.
pub(crate) fn serve(port: usize) {
    let listener = bind(port, |port| greenline::net::TcpListener::bind(("127.0.0.1", port)));
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                drop(greenline::spawn(move || echo(stream)));
            }
            Err(error) => eprintln!("accept: {error}"),
        }
    }
}

/// Serves by two hubs, on two OS threads. One hub accepts, and gives every other connection to the second one.
pub(crate) fn serve_by_two(port: usize) {
    let listener = bind(port, |port| greenline::net::TcpListener::bind(("127.0.0.1", port)));
    let (sender, receiver) = std::sync::mpsc::channel();
    let other = greenline::thread::Thread::new(move || {
        let handle = greenline::Handle::current().expect("there are descriptors left");
        sender.send(handle).expect("the receiver exists");
        loop {
            greenline::wait::park(greenline::wait::ticket(), None, "nothing: others run here");
        }
    });
    let _other = other.name("second hub").start().expect("an OS thread");
    let there = receiver.recv().expect("the second hub sends its handle first");
    for (nth, stream) in listener.incoming().enumerate() {
        match stream {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                if nth % 2 == 0 {
                    drop(greenline::spawn(move || echo(stream)));
                } else if there.spawn(move || echo(stream)).is_err() {
                    return;
                }
            }
            Err(error) => eprintln!("accept: {error}"),
        }
    }
}

/// Serves each connection by one thread of std, with the sockets of std, patched.
pub(crate) fn serve_std(port: usize) {
    greenline::patch::all();
    let listener = bind(port, |port| TcpListener::bind(("127.0.0.1", port)));
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                drop(std::thread::spawn(move || echo(stream)));
            }
            Err(error) => eprintln!("accept: {error}"),
        }
    }
}

fn bind<L>(port: usize, bind: impl FnOnce(u16) -> std::io::Result<L>) -> L {
    match u16::try_from(port).map(bind) {
        Ok(Ok(listener)) => listener,
        Ok(Err(error)) => usage(&format!("port {port}: {error}")),
        Err(_) => usage(&format!("{port} is not a port")),
    }
}

fn echo(mut stream: impl Read + Write) {
    let mut bytes = [0; 1024];
    while let Ok(len @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..len]).is_err() {
            return;
        }
    }
}

/// Makes one connection after the other, each for one message and its answer, and measures which resources they leave.
/// Every tenth connection is by TCP. The others are by Unix sockets, which the kernel creates in a fraction of the time. A
/// tenth of all go before the measurement, to fill the caches of reused objects.
pub(crate) fn churn(n: usize) {
    greenline::patch::all();
    let tcp = bind(0, |port| TcpListener::bind(("127.0.0.1", port)));
    let address = tcp.local_addr().expect("the listener is bound");
    std::thread::spawn(move || tcp.incoming().for_each(serve_one));
    let name = format!("greenline-churn-{}", std::process::id());
    let name = SocketAddr::from_abstract_name(name).expect("the name is short");
    let unix = UnixListener::bind_addr(&name).expect("no other socket has the name");
    std::thread::spawn(move || unix.incoming().for_each(serve_one));
    let connect = |n| {
        if n % 10 > 0 {
            return exchange(UnixStream::connect_addr(&name).expect("the listener exists"));
        }
        let stream = TcpStream::connect(address).expect("the listener exists");
        // Closes by a reset. Otherwise each connection would keep its port for a minute, and there are 28,000 ports.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("the option is valid");
        exchange(stream);
    };
    let left = || {
        // The servers of the last connections have not ended yet.
        std::thread::sleep(Duration::from_millis(10));
        let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        (descriptors as f64, status_kb("VmRSS:") as f64)
    };
    (0..n / 10).for_each(connect);
    let (before, start) = (left(), Instant::now());
    (0..n).for_each(connect);
    let took = start.elapsed().as_nanos() as f64 / n as f64;
    let after = left();
    let (descriptors, grown) = (after.0 - before.0, after.1 - before.1);
    emit(&[("churn", took, "ns"), ("descriptors_left", descriptors, "of them"), ("grown", grown, "KiB")]);
}

fn serve_one<S: Read + Write + Send + 'static>(stream: std::io::Result<S>) {
    let stream = stream.expect("there are descriptors left");
    std::thread::spawn(move || echo(stream));
}

fn exchange(mut stream: impl Read + Write) {
    stream.write_all(b"message").expect("the server reads");
    stream.read_exact(&mut [0; 7]).expect("the server answers");
}
