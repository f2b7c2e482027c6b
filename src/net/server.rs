//! Servers: a green thread that accepts, and one for each that it has accepted.
//!
//! Built on nothing but [`spawn`](crate::spawn()), [`JoinHandle`] and [`wait`](crate::wait): yours may be, too.

use super::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use crate::api::join::JoinHandle;
use crate::api::sleep::{sleep, yield_now};
use crate::api::spawn::Builder;
use crate::api::wait;
use crate::green::JoinError;
use slab::Slab;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long it does not accept after an error: at first, and at most. gevent's `min_delay` and `max_delay`.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// After how many that came without a wait the others run. gevent's `max_accept`.
const AT_ONCE: u32 = 100;
/// The largest message there is.
const LARGEST: usize = 1 << 16;

/// What a [`StreamServer`] accepts from.
pub trait Listener {
    /// A connection.
    type Stream;
    /// Whose it is.
    type Address;

    /// Waits for a connection.
    ///
    /// # Errors
    /// Those of accept(2).
    fn accept(&self) -> io::Result<(Self::Stream, Self::Address)>;
}

/// What a [`DatagramServer`] receives from.
pub trait Datagrams {
    /// Whose a message is.
    type Address;

    /// Waits for a message.
    ///
    /// # Errors
    /// Those of recvfrom(2).
    fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, Self::Address)>;
}

macro_rules! sources {
    ($($listener:ident: $stream:ident, $datagrams:ident, $address:ty;)*) => {$(
        impl Listener for $listener {
            type Stream = $stream;
            type Address = $address;

            fn accept(&self) -> io::Result<($stream, $address)> {
                $listener::accept(self)
            }
        }

        impl Datagrams for $datagrams {
            type Address = $address;

            fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, $address)> {
                $datagrams::recv_from(self, buffer)
            }
        }
    )*};
}
sources! {
    TcpListener: TcpStream, UdpSocket, std::net::SocketAddr;
    UnixListener: UnixStream, UnixDatagram, std::os::unix::net::SocketAddr;
}

/// Accepts connections, and calls a handler for each, in a green thread of its own. The connection is closed when the
/// handler lets go of it: by returning, by a panic, when killed.
///
/// Where accepting fails because there are no descriptors, or no memory, or the peer has gone, that is logged, and it
/// goes on after a pause: 10 ms, doubled up to a second as long as it fails. Any other error ends the server.
///
/// ```
/// use greenline::net::{StreamServer, TcpListener, TcpStream};
/// use std::io::{Read, Write};
/// use std::time::Duration;
///
/// let listener = TcpListener::bind("127.0.0.1:0").unwrap();
/// let address = listener.local_addr().unwrap();
/// let echo = |mut stream: TcpStream, _| std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
/// let server = StreamServer::new(listener, move |stream, address| drop(echo(stream, address))).start();
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
#[must_use = "it does nothing until it is started"]
pub struct StreamServer<L, F> {
    listener: L,
    handler: F,
    limit: usize,
}

impl<L, F> StreamServer<L, F>
where
    L: Listener + 'static,
    L::Stream: 'static,
    L::Address: 'static,
    F: Fn(L::Stream, L::Address) + 'static,
{
    /// One that will accept from `listener`, and call `handler`.
    pub fn new(listener: L, handler: F) -> StreamServer<L, F> {
        StreamServer { listener, handler, limit: usize::MAX }
    }

    /// While so many handlers run, it does not accept: who connects waits in the backlog.
    ///
    /// # Panics
    /// When it is zero.
    pub fn max_connections(mut self, limit: usize) -> StreamServer<L, F> {
        self.limit = checked(limit);
        self
    }

    /// Has a green thread accept from here on.
    ///
    /// # Panics
    /// As [`spawn`](crate::spawn()).
    #[track_caller]
    pub fn start(self) -> Server {
        let limit = self.limit;
        Server::start(limit, self.next())
    }

    /// Accepts in this green thread. If that is killed, or its time is over, so are the handlers.
    ///
    /// # Errors
    /// What has ended the server. Handlers go on.
    pub fn serve_forever(self) -> io::Result<()> {
        let limit = self.limit;
        Crew::default().serve_here(limit, self.next())
    }

    fn next(self) -> impl FnMut() -> io::Result<Job> {
        let (listener, handler) = (self.listener, Rc::new(self.handler));
        move || {
            let (stream, address) = listener.accept()?;
            let handler = handler.clone();
            Ok(Box::new(move || handler(stream, address)))
        }
    }
}

/// Receives messages, and calls a handler for each, in a green thread of its own: with the message, whose it is, and
/// the socket, to answer by.
///
/// ```
/// use greenline::net::{DatagramServer, UdpSocket};
/// use std::time::Duration;
///
/// let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
/// let address = socket.local_addr().unwrap();
/// let server = DatagramServer::new(socket, |socket, message, from| {
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
/// Errors are as those of a [`StreamServer`]. Source: gevent's `DatagramServer`.
#[must_use = "it does nothing until it is started"]
pub struct DatagramServer<S, F> {
    socket: S,
    handler: F,
    limit: usize,
}

impl<S, F> DatagramServer<S, F>
where
    S: Datagrams + 'static,
    S::Address: 'static,
    F: Fn(&S, Vec<u8>, S::Address) + 'static,
{
    /// One that will receive from `socket`, and call `handler`.
    pub fn new(socket: S, handler: F) -> DatagramServer<S, F> {
        DatagramServer { socket, handler, limit: usize::MAX }
    }

    /// While so many handlers run, it does not receive: messages wait in the socket, or are lost if they are too many.
    ///
    /// # Panics
    /// When it is zero.
    pub fn max_handlers(mut self, limit: usize) -> DatagramServer<S, F> {
        self.limit = checked(limit);
        self
    }

    /// As [`StreamServer::start`].
    ///
    /// # Panics
    /// As [`spawn`](crate::spawn()).
    #[track_caller]
    pub fn start(self) -> Server {
        let limit = self.limit;
        Server::start(limit, self.next())
    }

    /// As [`StreamServer::serve_forever`].
    ///
    /// # Errors
    /// What has ended the server. Handlers go on.
    pub fn serve_forever(self) -> io::Result<()> {
        let limit = self.limit;
        Crew::default().serve_here(limit, self.next())
    }

    fn next(self) -> impl FnMut() -> io::Result<Job> {
        let (shared, mut buffer) = (Rc::new((self.socket, self.handler)), vec![0; LARGEST]);
        move || {
            let (len, from) = shared.0.recv_from(&mut buffer)?;
            let (message, shared) = (buffer[..len].to_vec(), shared.clone());
            Ok(Box::new(move || shared.1(&shared.0, message, from)))
        }
    }
}

/// A call of a handler.
type Job = Box<dyn FnOnce()>;

fn checked(limit: usize) -> usize {
    assert!(limit > 0, "a server that may not serve anybody");
    limit
}

/// A server that was started. Dropping it lets it run on.
#[must_use = "a server that nobody holds cannot be stopped"]
pub struct Server {
    acceptor: JoinHandle<io::Result<()>>,
    crew: Crew,
}

impl Server {
    #[track_caller]
    fn start(limit: usize, next: impl FnMut() -> io::Result<Job> + 'static) -> Server {
        let crew = Crew::default();
        let inside = crew.clone();
        Server { acceptor: crate::api::spawn::spawn(move || inside.serve(limit, next)), crew }
    }

    /// How many handlers run.
    pub fn running(&self) -> usize {
        self.crew.0.borrow().handlers.len()
    }

    /// Accepts no more and closes the listener; waits for the handlers, for up to `grace`; kills those that are left,
    /// and waits until they have ended. Called by a handler, ends that one, too.
    ///
    /// # Errors
    /// What has ended the server before.
    pub fn stop(self, grace: Duration) -> io::Result<()> {
        self.acceptor.kill();
        let ended = ended(self.acceptor.join());
        if !self.crew.wait_until(|crew| crew.handlers.is_empty(), Instant::now().checked_add(grace)) {
            self.crew.kill();
        }
        ended
    }

    /// Waits until an error has ended the server. Handlers go on.
    ///
    /// # Errors
    /// That error.
    pub fn join(self) -> io::Result<()> {
        ended(self.acceptor.join())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("running", &self.running()).finish_non_exhaustive()
    }
}

fn ended(acceptor: Result<io::Result<()>, JoinError>) -> io::Result<()> {
    match acceptor {
        Ok(ended) => ended,
        Err(JoinError::Killed) => Ok(()),
        Err(error) => Err(io::Error::other(error.to_string())),
    }
}

/// The handlers of a server.
#[derive(Clone, Default)]
struct Crew(Rc<RefCell<Roll>>);

#[derive(Default)]
struct Roll {
    /// `None` only while it is being spawned.
    handlers: Slab<Option<JoinHandle<()>>>,
    /// Who waits for some to end.
    waiting: Vec<wait::Ticket>,
}

/// Strikes a handler off when dropped: whether it has run, or was killed before.
struct CountOut(Crew, usize);

impl Drop for CountOut {
    fn drop(&mut self) {
        let mut roll = self.0.0.borrow_mut();
        let gone = roll.handlers.try_remove(self.1);
        let waiting = std::mem::take(&mut roll.waiting);
        drop(roll);
        drop(gone);
        for ticket in waiting {
            ticket.wake();
        }
    }
}

impl Crew {
    fn serve(&self, limit: usize, mut next: impl FnMut() -> io::Result<Job>) -> io::Result<()> {
        let (mut pause, mut accepted) = (PAUSES.0, 0u32);
        loop {
            self.wait_until(|roll| roll.handlers.len() < limit, None);
            match next().and_then(|job| self.spawn(job)) {
                Ok(()) => {
                    pause = PAUSES.0;
                    accepted = accepted.wrapping_add(1);
                    if accepted % AT_ONCE == 0 {
                        yield_now();
                    }
                }
                Err(error) if passes(&error) => {
                    log::warn!("a server cannot accept for now, and goes on in {pause:?}: {error}");
                    sleep(pause);
                    pause = (pause * 2).min(PAUSES.1);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// `serve`, with the handlers ended if it unwinds.
    fn serve_here(self, limit: usize, next: impl FnMut() -> io::Result<Job>) -> io::Result<()> {
        struct KillOnUnwind(Crew);
        impl Drop for KillOnUnwind {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.kill();
                }
            }
        }
        let crew = KillOnUnwind(self);
        crew.0.serve(limit, next)
    }

    /// Errors: there is no memory for any stack.
    fn spawn(&self, job: Job) -> io::Result<()> {
        let key = self.0.borrow_mut().handlers.insert(None);
        let count_out = CountOut(self.clone(), key);
        let handler = Builder::new().spawn(move || {
            let _count_out = count_out;
            job();
        })?;
        // It has not run yet.
        self.0.borrow_mut().handlers[key] = Some(handler);
        Ok(())
    }

    /// Waits until `is_so`; answers `false` when the deadline has passed before.
    fn wait_until(&self, is_so: impl Fn(&Roll) -> bool, deadline: Option<Instant>) -> bool {
        while !is_so(&self.0.borrow()) {
            let ticket = wait::ticket();
            self.0.borrow_mut().waiting.push(ticket);
            if wait::park(ticket, deadline, "handlers of a server to end") == wait::WaitResult::Expired {
                return is_so(&self.0.borrow());
            }
        }
        true
    }

    /// Kills all, and waits until they have ended.
    fn kill(&self) {
        for handler in self.0.borrow().handlers.iter().filter_map(|(_, handler)| handler.as_ref()) {
            handler.kill();
        }
        self.wait_until(|roll| roll.handlers.is_empty(), None);
    }
}

/// Whether it is worth going on after this error.
fn passes(error: &io::Error) -> bool {
    const PASSING: [i32; 13] = [
        // Too little of something, here.
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENOMEM,
        // Something is wrong with one connection, or was: accept(2).
        libc::ECONNABORTED,
        libc::ECONNREFUSED,
        libc::ECONNRESET,
        libc::EPROTO,
        libc::EPERM,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
    ];
    error.kind() == io::ErrorKind::OutOfMemory
        || error.raw_os_error().is_some_and(|code| PASSING.contains(&code))
}
