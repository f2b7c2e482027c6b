//! Pipes between processes: two ends, and whole messages.
//!
//! Underneath is a pair of Unix sockets. A message is its length, in four bytes, and then what serde and postcard make of
//! the value. What was cut short, because the green thread was killed or its time was over, is taken up again by the next
//! call: so a message is never received in halves.
//!
//! **The end of a pipe.** Who receives learns that the other end is closed when *all* copies of it are, and a fork
//! makes copies of both. Follow the usual case:
//!
//! ```text
//!   parent: (ours, theirs) = pipe();   Process::new(move || ... theirs ...).start()
//!   parent: theirs was moved into the closure, which is dropped here: closed. Left: ours
//!   child:  has theirs, and a copy of ours that nobody knows of, on a stack that it never returns to
//! ```
//!
//! So the first use of one end closes the other, in a process that has not made the pipe. A third process, started
//! later, has a copy of `ours`, too, and never uses `theirs`: there it is closed by
//! [`Process::closing`](super::Process::closing).

use super::dev_null;
use crate::api::io::wait_readable;
use crate::hub::forks;
use crate::net::UnixStream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

/// The bytes of a message's length.
const HEADER: usize = 4;
/// How much room is made at a time for what was only announced.
const CHUNK: usize = 1 << 16;

/// One end of a pipe: it sends messages of type `S` and receives those of type `R`.
///
/// An end is used by one at a time; [`split`](Connection::split) it to send and receive at the same time. To wait for
/// several, use the descriptor that it borrows.
pub struct Connection<S, R> {
    end: Arc<PipeEnd>,
    /// What has come of the next message.
    inbox: Vec<u8>,
    /// What is to go, of which so much has gone.
    outbox: Vec<u8>,
    gone: usize,
    messages: PhantomData<fn(S) -> R>,
}

/// There are no messages in this direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nothing {}

/// The end of a pipe that sends.
pub type Sender<T> = Connection<T, Nothing>;
/// The end of a pipe that receives.
pub type Receiver<T> = Connection<Nothing, T>;

/// A pipe, both of whose ends send and receive. Give one to a [`Process`](super::Process), and keep the other:
///
/// ```
/// use greenline::process::{Process, pipe};
///
/// let (mut ours, mut theirs) = pipe::<u32, String>().unwrap();
/// let child = Process::new(move || {
///     while let Ok(number) = theirs.recv() {
///         theirs.send(&format!("{number} squared is {}", number * number)).unwrap();
///     }
/// });
/// let child = child.start().unwrap();
/// ours.send(&12).unwrap();
/// assert_eq!(ours.recv().unwrap(), "12 squared is 144");
/// drop(ours); // the child sees that, and ends
/// assert_eq!(child.join().unwrap(), 0);
/// ```
///
/// # Errors
/// No descriptor is left.
///
/// Source: Python's `multiprocessing.Pipe()`.
pub fn pipe<T, U>() -> io::Result<(Connection<T, U>, Connection<U, T>)> {
    let (one, other) = UnixStream::pair()?;
    let (one, other) = (Arc::new(PipeEnd::new(one)), Arc::new(PipeEnd::new(other)));
    let _ = (one.other.set(Arc::downgrade(&other)), other.other.set(Arc::downgrade(&one)));
    Ok((Connection::new(one), Connection::new(other)))
}

/// A pipe with one direction: what sends, and what receives.
///
/// # Errors
/// No descriptor is left.
///
/// Source: Python's `multiprocessing.Pipe(duplex=False)`, which answers them in the opposite order.
pub fn one_way<T>() -> io::Result<(Sender<T>, Receiver<T>)> {
    pipe()
}

impl<S, R> Connection<S, R> {
    fn new(end: Arc<PipeEnd>) -> Connection<S, R> {
        Connection { end, inbox: Vec::new(), outbox: Vec::new(), gone: 0, messages: PhantomData }
    }

    /// Two for this one: one that sends, one that receives. The end is closed when both are dropped.
    pub fn split(self) -> (Sender<S>, Receiver<R>) {
        let Connection { end, inbox, outbox, gone, .. } = self;
        (
            Connection { outbox, gone, ..Connection::new(end.clone()) },
            Connection { inbox, ..Connection::new(end) },
        )
    }

    /// For what has to be done to it in another process.
    pub(super) fn weak(&self) -> Weak<PipeEnd> {
        Arc::downgrade(&self.end)
    }
}

impl<S: Serialize, R> Connection<S, R> {
    /// Sends a message. Blocks the current green thread, and no other, while the other end has no room for it.
    ///
    /// # Errors
    /// [`BrokenPipe`](ErrorKind::BrokenPipe): the other end is closed, in all processes. [`InvalidData`](ErrorKind::InvalidData):
    /// serde cannot encode it.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires. What is left of the message then goes before
    /// the next one.
    pub fn send(&mut self, message: &S) -> io::Result<()> {
        self.enqueue(|outbox| {
            *outbox = postcard::to_extend(message, std::mem::take(outbox)).map_err(codec)?;
            Ok(())
        })
    }

    /// As [`send`](Connection::send), of bytes as they are, to be received by [`recv_bytes`](Connection::recv_bytes).
    ///
    /// # Errors
    /// As for `send`.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.enqueue(|outbox| {
            outbox.extend_from_slice(bytes);
            Ok(())
        })
    }

    /// Has `write` put a message behind what is still to go, and sends all.
    fn enqueue(&mut self, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        self.end.begin()?;
        let mut message = vec![0; HEADER];
        write(&mut message)?;
        let len = u32::try_from(message.len() - HEADER)
            .map_err(|_| io::Error::new(ErrorKind::InvalidInput, "a message of 4 GiB or more"))?;
        message[..HEADER].copy_from_slice(&len.to_le_bytes());
        if self.outbox.is_empty() {
            self.outbox = message
        } else {
            self.outbox.extend(message)
        }
        let sent = self.flush();
        // Unless we are unwound: then it goes on from there.
        (self.outbox, self.gone) = (Vec::new(), 0);
        sent
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.gone < self.outbox.len() {
            match (&self.end.stream).write(&self.outbox[self.gone..]) {
                Ok(more) => self.gone += more,
                Err(error) if is_closed(&error) => {
                    return Err(io::Error::new(ErrorKind::BrokenPipe, "the other end of the pipe is closed"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<S, R: DeserializeOwned> Connection<S, R> {
    /// Receives a message. Blocks the current green thread, and no other, until there is one.
    ///
    /// # Errors
    /// [`UnexpectedEof`](ErrorKind::UnexpectedEof): the other end is closed, in all processes, and there are no more
    /// messages; or there is half of one. [`InvalidData`](ErrorKind::InvalidData): it is no `R`.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires. What has come by then is not lost.
    pub fn recv(&mut self) -> io::Result<R> {
        let message = self.receive(usize::MAX, None)?.expect("no deadline has passed");
        decode(&message)
    }

    /// As [`recv`](Connection::recv), for no longer than `timeout`. `None`: there was no message.
    ///
    /// # Errors
    /// As for `recv`.
    pub fn recv_timeout(&mut self, timeout: Duration) -> io::Result<Option<R>> {
        let message = self.receive(usize::MAX, Instant::now().checked_add(timeout))?;
        message.as_deref().map(decode).transpose()
    }

    /// Receives a message of [`send_bytes`](Connection::send_bytes), if it has no more than `most` bytes; otherwise it stays
    /// where it is.
    ///
    /// # Errors
    /// As for [`recv`](Connection::recv); [`InvalidData`](ErrorKind::InvalidData): it is longer.
    pub fn recv_bytes(&mut self, most: usize) -> io::Result<Vec<u8>> {
        Ok(self.receive(most, None)?.expect("no deadline has passed"))
    }

    /// Waits for no longer than `timeout` until there is something to receive, if only the beginning of a message, or
    /// that the other end is closed. Answers whether there is.
    ///
    /// # Errors
    /// Those of [`wait_readable`](crate::io::wait_readable).
    pub fn poll(&mut self, timeout: Duration) -> io::Result<bool> {
        self.end.begin()?;
        self.end.wait(Instant::now().checked_add(timeout))
    }

    /// The messages, as they come, until the other end is closed.
    /// A message that cannot be decoded is an error, and the next ones follow; any other error, as of a message that broke
    /// off with its sender's end, is the last.
    pub fn incoming(&mut self) -> impl Iterator<Item = io::Result<R>> {
        let mut is_over = false;
        std::iter::from_fn(move || {
            if is_over {
                return None;
            }
            let message = self.recv();
            let error = message.as_ref().err().map(io::Error::kind);
            is_over = error.is_some_and(|kind| kind != ErrorKind::InvalidData);
            match error {
                Some(ErrorKind::UnexpectedEof) if self.inbox.is_empty() => None,
                _ => Some(message),
            }
        })
    }

    /// The bytes of the next message. `None`: the deadline has passed.
    fn receive(&mut self, most: usize, deadline: Option<Instant>) -> io::Result<Option<Vec<u8>>> {
        self.end.begin()?;
        if !self.fill(HEADER, deadline)? {
            return Ok(None);
        }
        let len = u32::from_le_bytes([self.inbox[0], self.inbox[1], self.inbox[2], self.inbox[3]]) as usize;
        if len > most {
            let text = format!("a message of {len} bytes, where {most} were expected at most");
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        if !self.fill(HEADER + len, deadline)? {
            return Ok(None);
        }
        let mut message = std::mem::take(&mut self.inbox);
        message.drain(..HEADER);
        Ok(Some(message))
    }

    /// Has `len` bytes in the inbox. `false`: the deadline has passed.
    fn fill(&mut self, len: usize, deadline: Option<Instant>) -> io::Result<bool> {
        while self.inbox.len() < len {
            if deadline.is_some() && !self.end.wait(deadline)? {
                return Ok(false);
            }
            let have = self.inbox.len();
            let mut room = vec![0; (len - have).min(CHUNK)];
            match (&self.end.stream).read(&mut room) {
                Ok(0) => return Err(self.ended()),
                Ok(more) => self.inbox.extend_from_slice(&room[..more]),
                Err(error) if is_closed(&error) => return Err(self.ended()),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn ended(&self) -> io::Error {
        let text = match self.inbox.len() {
            0 => "the other end of the pipe is closed",
            _ => "the other end of the pipe was closed in the middle of a message",
        };
        io::Error::new(ErrorKind::UnexpectedEof, text)
    }
}

impl<S, R> AsFd for Connection<S, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.stream.as_fd()
    }
}

impl<S, R> fmt::Debug for Connection<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("fd", &self.as_fd().as_raw_fd()).finish_non_exhaustive()
    }
}

/// The end of a pipe, as this process has it.
pub(super) struct PipeEnd {
    stream: UnixStream,
    other: OnceLock<Weak<PipeEnd>>,
    /// In which process it was last used, or made, counted by forks.
    used_in: AtomicU32,
    /// It was given up in this process; its descriptor is something else.
    given_up: AtomicBool,
}

impl PipeEnd {
    fn new(stream: UnixStream) -> PipeEnd {
        let (other, used_in) = (OnceLock::new(), AtomicU32::new(forks()));
        PipeEnd { stream, other, used_in, given_up: AtomicBool::new(false) }
    }

    /// Before each use. The first one in a process that has only a copy of the pipe gives the other end up.
    ///
    /// Errors: this one was given up.
    fn begin(&self) -> io::Result<()> {
        if self.given_up.load(Relaxed) {
            return Err(io::Error::new(
                ErrorKind::BrokenPipe,
                "this end of the pipe is not this process's: it has begun to use the other one, or was told to close it",
            ));
        }
        let here = forks();
        if self.used_in.swap(here, Relaxed) != here {
            if let Some(other) = self.other.get().and_then(Weak::upgrade) {
                other.give_up();
            }
        }
        Ok(())
    }

    /// Closes it in this process. It may lie on a stack that is never returned to, and it may be used nevertheless: so its
    /// number stays taken, by /dev/null.
    pub(super) fn give_up(&self) {
        if self.given_up.swap(true, Relaxed) {
            return;
        }
        if let Err(error) = dev_null::become_null(self.stream.as_raw_fd()) {
            log::warn!("the end of a pipe that is not this process's cannot be closed: {error}");
        }
    }

    /// `false`: the deadline has passed.
    fn wait(&self, deadline: Option<Instant>) -> io::Result<bool> {
        match wait_readable(&self.stream, deadline) {
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(false),
            waited => waited.map(|()| true),
        }
    }
}

/// Whether that is what a socket says whose peer is gone; who has left messages unread resets it.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

fn decode<R: DeserializeOwned>(message: &[u8]) -> io::Result<R> {
    postcard::from_bytes(message).map_err(codec)
}

fn codec(error: postcard::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
