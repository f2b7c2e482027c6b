//! Servers: one green thread accepts, and each connection or message gets a green thread of its own.
//!
//! They are built on [`spawn`](crate::spawn()), [`JoinHandle`] and [`wait`](crate::wait) alone, as other servers can be.
//!
//! Next: `net/handlers.rs`, the loop that accepts.

use super::handlers::{Handlers, Work};
use super::listener::{Datagrams, Listener};
use crate::api::join::JoinHandle;
use crate::api::spawn::spawn;
use crate::green::JoinError;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Size of the largest datagram, in bytes.
const LARGEST_DATAGRAM: usize = 1 << 16;

/// A server that has not been started. [`Server::streams`] and [`Server::datagrams`] make one.
#[must_use = "a server does nothing until it is started"]
pub struct ServerBuilder {
    next: Box<dyn FnMut() -> io::Result<Work>>,
    limit: usize,
}

impl ServerBuilder {
    fn new(next: impl FnMut() -> io::Result<Work> + 'static) -> ServerBuilder {
        ServerBuilder { next: Box::new(next), limit: usize::MAX }
    }

    /// Sets the maximum number of handlers that run at a time. While so many run, the server does not accept. Further
    /// connections wait in the backlog. Further messages wait in the socket, and are lost if there are too many.
    ///
    /// # Panics
    /// If `limit` is zero.
    pub fn max_handlers(mut self, limit: usize) -> ServerBuilder {
        assert!(limit > 0, "a server needs at least one handler");
        self.limit = limit;
        self
    }

    /// Starts the server: a new green thread accepts.
    ///
    /// # Panics
    /// As [`spawn`](crate::spawn()).
    #[track_caller]
    pub fn start(self) -> Server {
        let handlers = Handlers::default();
        let inside = handlers.clone();
        Server { acceptor: spawn(move || inside.serve(self.limit, self.next)), handlers }
    }

    /// Accepts in the calling green thread. If a kill or a timeout unwinds that, the handlers are killed, too.
    ///
    /// # Errors
    /// The error that ended the server. Handlers go on running.
    pub fn serve_forever(self) -> io::Result<()> {
        Handlers::default().serve_here(self.limit, self.next)
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("max_handlers", &self.limit).finish_non_exhaustive()
    }
}

/// A running server. Dropping it does not stop it.
#[must_use = "a server whose handle is dropped cannot be stopped"]
pub struct Server {
    acceptor: JoinHandle<io::Result<()>>,
    handlers: Handlers,
}

impl Server {
    /// Makes a server that accepts connections, and calls `handler` for each in a green thread of its own. A connection is
    /// closed when its handler drops it: by returning, by a panic, or when it is killed.
    ///
    /// If accepting fails because descriptors or memory are exhausted, or because the peer has gone, the server logs that
    /// and accepts again after a pause. The pause is 10 ms, and doubles up to a second as long as accepting fails. Any
    /// other error ends the server.
    ///
    /// ```
    /// use greenline::net::{Server, TcpListener, TcpStream};
    /// use std::io::{Read, Write};
    /// use std::time::Duration;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    /// let address = listener.local_addr().unwrap();
    /// let echo = |mut stream: TcpStream, _| std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
    /// let server = Server::streams(listener, move |stream, address| drop(echo(stream, address))).start();
    ///
    /// let mut stream = TcpStream::connect(address).unwrap();
    /// stream.write_all(b"hello").unwrap();
    /// stream.shutdown(std::net::Shutdown::Write).unwrap();
    /// let mut said = String::new();
    /// stream.read_to_string(&mut said).unwrap();
    /// assert_eq!(said, "hello");
    /// server.stop(Duration::from_secs(1)).unwrap();
    /// ```
    ///
    /// Source: gevent's `StreamServer`.
    #[doc(alias = "StreamServer")]
    pub fn streams<L, F>(listener: L, handler: F) -> ServerBuilder
    where
        L: Listener + 'static,
        L::Stream: 'static,
        L::Address: 'static,
        F: Fn(L::Stream, L::Address) + 'static,
    {
        let handler = Rc::new(handler);
        ServerBuilder::new(move || {
            let (stream, address) = listener.accept()?;
            let handler = handler.clone();
            Ok(Box::new(move || handler(stream, address)))
        })
    }

    /// Makes a server that receives messages, and calls `handler` for each in a green thread of its own. The handler gets
    /// the socket to reply by, the message, and the address of the sender. Errors are handled as by `streams`.
    ///
    /// ```
    /// use greenline::net::{Server, UdpSocket};
    /// use std::time::Duration;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    /// let address = socket.local_addr().unwrap();
    /// let server = Server::datagrams(socket, |socket, message, from| {
    ///     socket.send_to(&message, from).unwrap();
    /// });
    /// let server = server.start();
    /// let here = UdpSocket::bind("127.0.0.1:0").unwrap();
    /// here.send_to(b"hello", address).unwrap();
    /// let mut echo = [0; 5];
    /// here.recv(&mut echo).unwrap();
    /// assert_eq!(&echo, b"hello");
    /// server.stop(Duration::from_secs(1)).unwrap();
    /// ```
    ///
    /// Source: gevent's `DatagramServer`.
    #[doc(alias = "DatagramServer")]
    pub fn datagrams<S, F>(socket: S, handler: F) -> ServerBuilder
    where
        S: Datagrams + 'static,
        S::Address: 'static,
        F: Fn(&S, Vec<u8>, S::Address) + 'static,
    {
        let (shared, mut buffer) = (Rc::new((socket, handler)), vec![0; LARGEST_DATAGRAM]);
        ServerBuilder::new(move || {
            let (len, from) = shared.0.recv_from(&mut buffer)?;
            let (message, shared) = (buffer[..len].to_vec(), shared.clone());
            Ok(Box::new(move || shared.1(&shared.0, message, from)))
        })
    }

    /// Returns the number of handlers that run.
    pub fn running(&self) -> usize {
        self.handlers.len()
    }

    /// Stops the server. First it stops accepting and closes the listener. Then it waits for the handlers, for up to
    /// `grace`. Then it kills those that are left, and waits until they have finished. If a handler calls this, that
    /// handler is killed as well.
    ///
    /// # Errors
    /// The error that had ended the server before.
    pub fn stop(self, grace: Duration) -> io::Result<()> {
        let handlers = self.handlers.clone();
        self.acceptor.kill();
        let result = self.join();
        handlers.end(Instant::now().checked_add(grace));
        result
    }

    /// Waits until an error ends the server. Handlers go on running.
    ///
    /// # Errors
    /// The error that ended it.
    pub fn join(self) -> io::Result<()> {
        match self.acceptor.join() {
            Ok(result) => result,
            Err(JoinError::Killed) => Ok(()),
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("running", &self.running()).finish_non_exhaustive()
    }
}
