//! A connection between a client and a manager.
//!
//! Next: `process/manager/handshake.rs`, the first messages on it.

use super::sys;
use crate::net::{TcpStream, UnixStream};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net;

/// A connected stream socket, Unix or TCP. Once connected, both are used by the same system calls (send, receive, shut
/// down), so one type holds either.
pub(super) type Stream = UnixStream;

/// Prepares a TCP connection: small frames are sent at once, and the kernel notices a peer that vanished silently.
pub(super) fn from_tcp(stream: TcpStream) -> io::Result<Stream> {
    stream.set_nodelay(true)?;
    sys::keep_alive(&stream)?;
    UnixStream::from_std(net::UnixStream::from(OwnedFd::from(stream.into_std()?)))
}

/// Shuts the connection down in all processes that have a copy of its descriptor.
pub(super) fn shut_down(stream: &Stream) {
    // An error means that the connection has ended already.
    let _ = stream.shutdown(std::net::Shutdown::Both);
}
