//! Sockets of `greenline::net`.

use greenline::net::{TcpListener, TcpStream};
use greenline::spawn;
use std::io::{Read, Result, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

pub(crate) fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listener();
    let there = spawn(move || listener.accept().unwrap().0);
    let here = TcpStream::connect(address).unwrap();
    (here, there.join().unwrap())
}

/// Returns an abstract Unix address that no other socket has.
pub(crate) fn abstract_address() -> UnixAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("greenline-{}-{}", std::process::id(), NEXT.fetch_add(1, SeqCst));
    UnixAddr::from_abstract_name(name).unwrap()
}

/// Sends every byte back, until the peer's end.
pub(crate) fn echo(mut stream: impl Read + Write) -> Result<()> {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            len => stream.write_all(&bytes[..len])?,
        }
    }
}

/// Sends `bytes`, which the peer must send back.
pub(crate) fn exchange(mut stream: impl Read + Write, bytes: &[u8]) -> Result<()> {
    stream.write_all(bytes)?;
    let mut answer = vec![0; bytes.len()];
    stream.read_exact(&mut answer)?;
    assert_eq!(answer, bytes);
    Ok(())
}

/// Makes the kernel reset the connection when `stream` is closed. Its port is free at once.
pub(crate) fn reset_on_close(stream: &impl AsRawFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = size_of::<libc::linger>() as libc::socklen_t;
    let (fd, level, option) = (stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER);
    // SAFETY: the pointer is to a linger, and `len` is its length.
    assert_eq!(unsafe { libc::setsockopt(fd, level, option, (&raw const linger).cast(), len) }, 0);
}

/// Makes the backlog of a listener as short as it can be.
pub(crate) fn shorten_backlog(listener: &impl AsRawFd) {
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
}
