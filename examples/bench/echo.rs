//! Servers that send back what they get, for the load client to drive.

use crate::measure::{emit, status_kb};
use crate::usage;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::{Duration, Instant};

/// One green thread for each connection, by greenline's own sockets.
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

/// The same by two hubs, on two OS threads. One accepts, and keeps every other connection.
pub(crate) fn serve_by_two(port: usize) {
    let listener = bind(port, |port| greenline::net::TcpListener::bind(("127.0.0.1", port)));
    let (tell, told) = std::sync::mpsc::channel();
    let other = greenline::thread::Thread::new(move || {
        let handle = greenline::Handle::current().expect("there are descriptors left");
        tell.send(handle).expect("it is waited for");
        loop {
            greenline::wait::park(greenline::wait::ticket(), None, "nothing: others run here");
        }
    });
    let _other = other.name("second hub").start().expect("there is room for an OS thread");
    let there = told.recv().expect("it tells before all else");
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

/// One thread for each connection, all of it std's, patched.
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
        Err(_) => usage(&format!("{port} is no port")),
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

/// One connection after the other, each with one message there and back, and what is left of them: every tenth by TCP, the
/// others by a Unix socket, which the kernel makes in a fraction of the time. As many as a tenth of all go before, so that
/// what is kept to be used again is there.
pub(crate) fn churn(n: usize) {
    greenline::patch::all();
    let tcp = bind(0, |port| TcpListener::bind(("127.0.0.1", port)));
    let address = tcp.local_addr().expect("it is bound");
    std::thread::spawn(move || tcp.incoming().for_each(serve_one));
    let name = format!("greenline-churn-{}", std::process::id());
    let name = SocketAddr::from_abstract_name(name).expect("it is short");
    let unix = UnixListener::bind_addr(&name).expect("nobody else has the name");
    std::thread::spawn(move || unix.incoming().for_each(serve_one));
    let connect = |n| {
        if n % 10 > 0 {
            return exchange(UnixStream::connect_addr(&name).expect("it is listened to"));
        }
        let stream = TcpStream::connect(address).expect("it is listened to");
        // A reset: otherwise each would keep its port for a minute, and there are 28,000.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("it is a socket");
        exchange(stream);
    };
    let left = || {
        // Those who were closed last have not ended yet.
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
    stream.write_all(b"message").expect("it is read from");
    stream.read_exact(&mut [0; 7]).expect("it is answered");
}
