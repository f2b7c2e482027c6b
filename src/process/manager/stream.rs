//! A connection, and what accepts them: one type each for Unix sockets and TCP.

use super::sys;
use crate::net::{self, TcpListener, TcpStream, UnixListener, UnixStream};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    /// A TCP connection: small frames go at once, and a peer that vanished without a word is noticed.
    pub(super) fn tcp(stream: TcpStream) -> io::Result<Stream> {
        stream.set_nodelay(true)?;
        sys::keep_alive(&stream)?;
        Ok(Stream::Tcp(stream))
    }

    /// Ends it for whoever has a copy of it.
    pub(super) fn shut_down(&self) {
        // It may have ended already.
        let _ = match self {
            Stream::Unix(stream) => stream.shutdown(std::net::Shutdown::Both),
            Stream::Tcp(stream) => stream.shutdown(std::net::Shutdown::Both),
        };
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Tcp(stream) => stream.as_fd(),
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => (&*stream).read(buffer),
            Stream::Tcp(stream) => (&*stream).read(buffer),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => (&*stream).write(bytes),
            Stream::Tcp(stream) => (&*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a server accepts from.
#[derive(Debug)]
pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Unix(listener) => listener.as_fd(),
            Listener::Tcp(listener) => listener.as_fd(),
        }
    }
}

impl net::Listener for Listener {
    type Stream = Stream;
    type Address = ();

    fn accept(&self) -> io::Result<(Stream, ())> {
        match self {
            Listener::Unix(listener) => listener.accept().map(|(stream, _)| (Stream::Unix(stream), ())),
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                Ok((Stream::tcp(stream)?, ()))
            }
        }
    }
}
