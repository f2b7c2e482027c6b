//! An echo server in plain std with a thread for each connection. Patched, these threads are green threads, on one OS
//! thread for each hub. All hubs listen at the same address (`SO_REUSEPORT`), and the kernel distributes the connections.
//!
//! Run with: `cargo run --release --example echo_server -- [ADDR] [--hubs N]`
//!
//! A client is `nc 127.0.0.1 7007`. Ctrl-C stops the server: it closes the connections and prints the totals.

use greenline::{signal, thread::Thread};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Instant;

static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
static OPEN: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// Returns one of several listeners at the same address.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

/// Starts a thread for each connection. It contains nothing of green threads.
fn serve(listener: TcpListener) {
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => drop(std::thread::spawn(move || {
                OPEN.fetch_add(1, Relaxed);
                // An error ends the connection, too: the client may have reset it.
                let _ = echo(stream);
                OPEN.fetch_sub(1, Relaxed);
            })),
            Err(error) => {
                // A passing error: there may be no descriptor left.
                eprintln!("accept: {error}");
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
    }
}

fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    CONNECTIONS.fetch_add(1, Relaxed);
    let mut bytes = [0; 8192];
    loop {
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            len => {
                stream.write_all(&bytes[..len])?;
                BYTES.fetch_add(len as u64, Relaxed);
            }
        }
    }
}

fn run(address: SocketAddr, hubs: usize) -> std::io::Result<()> {
    let start = Instant::now();
    let first = listen(address)?;
    // If the port was 0, the kernel has chosen one.
    let address = first.local_addr()?;
    let (stop, stopped) = mpsc::channel();
    let _ctrl_c = signal::handle(signal::SIGINT, move || _ = stop.send(()))?;
    std::thread::spawn(move || serve(first));
    for _ in 1..hubs {
        let listener = listen(address)?;
        // A real OS thread. It is a daemon: the end of `main` does not wait for it. Its first `spawn` creates its hub.
        let body = move || greenline::spawn(move || serve(listener)).join();
        drop(Thread::new(body).name("hub").daemon(true).start()?);
    }
    println!("listening on {address}, {hubs} {}; Ctrl-C stops", if hubs == 1 { "hub" } else { "hubs" });
    let _ = stopped.recv();
    println!(
        "\nstopped after {:.1?}: {} connections, {} of them still open, {} bytes sent back",
        start.elapsed(),
        CONNECTIONS.load(Relaxed),
        OPEN.load(Relaxed),
        BYTES.load(Relaxed)
    );
    Ok(())
}

fn main() {
    let (address, hubs) = arguments().unwrap_or_else(|wrong| {
        eprintln!("{wrong}\nusage: echo_server [ADDR] [--hubs N]    (default: 127.0.0.1:7007 and 1)");
        std::process::exit(2);
    });
    greenline::patch::all();
    if let Err(error) = run(address, hubs) {
        eprintln!("echo_server at {address}: {error}");
        std::process::exit(1);
    }
}

fn arguments() -> Result<(SocketAddr, usize), String> {
    let (mut address, mut hubs) = (None, 1);
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        if argument == "--hubs" {
            let number = given.next().ok_or("--hubs needs a number")?;
            hubs = number
                .parse()
                .ok()
                .filter(|&hubs| hubs > 0)
                .ok_or(format!("--hubs needs a positive number, not '{number}'"))?;
        } else if address.is_none() {
            address = Some(
                argument
                    .parse()
                    .map_err(|_| format!("'{argument}' is not an address such as 127.0.0.1:7007"))?,
            );
        } else {
            return Err(format!("unexpected argument '{argument}'"));
        }
    }
    Ok((address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7007))), hubs))
}
