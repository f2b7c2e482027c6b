//! Pipes between processes: two ends, and whole messages.
//!
//! Underneath is a pair of Unix sockets. A message is its length, in four bytes, and then the value as postcard encodes it.
//! If a kill or a timeout cuts a call short, the next call goes on from there. So no message is received in halves.
//!
//! **The end of a pipe.** A receiver sees that the other end is closed when *all* copies of it are closed, and a fork
//! makes copies of both ends. The usual case:
//!
//! ```text
//!   parent: (ours, theirs) = pipe();   Process::new(move || ... theirs ...).start()
//!   parent: theirs was moved into the closure, which is dropped here: closed. Left: ours
//!   child:  has theirs, and a hidden copy of ours, on a stack that it never returns to
//! ```
//!
//! So in a process that has not made the pipe, the first use of one end closes the other. A third process that is started
//! later has a copy of `ours`, too, and never uses `theirs`. There, [`Process::closing`](super::Process::closing) closes it.
//!
//! Next: `descriptor.rs`, where `replace_by_dev_null` makes a closed end `/dev/null`.

use super::codec::{CodecError, decode, encode};
use super::descriptor::{before_deadline, replace_by_dev_null};
use greenline::internals::forks;
use greenline::io::wait_readable;
use greenline::net::UnixStream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

/// Size of a message's length in bytes.
const HEADER: usize = 4;
/// Number of bytes that are allocated at a time for a message that was only announced.
const CHUNK: usize = 1 << 16;

/// One end of a pipe. It sends messages of type `S` and receives messages of type `R`.
///
/// One green thread at a time uses an end. To send and receive at the same time, [`split`](Connection::split) it. To wait
/// for several ends, use their descriptors.
pub struct Connection<S, R> {
    pub(super) end: Arc<PipeEnd>,
    /// The received part of the next message.
    inbox: Vec<u8>,
    /// The bytes that are to be sent.
    outbox: VecDeque<u8>,
    messages: PhantomData<fn(S) -> R>,
}

/// The type of the messages in a direction that has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nothing {}

/// The end of a pipe that sends.
pub type Sender<T> = Connection<T, Nothing>;
/// The end of a pipe that receives.
pub type Receiver<T> = Connection<Nothing, T>;

/// Makes a pipe whose ends both send and receive. Give one to a [`Process`](super::Process), and keep the other:
///
/// ```
/// use greenline_process::{Process, pipe};
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

/// Makes a pipe with one direction. Returns the sender and the receiver.
///
/// # Errors
/// No descriptor is left.
///
/// Source: Python's `multiprocessing.Pipe(duplex=False)`, which returns them in the opposite order.
pub fn one_way<T>() -> io::Result<(Sender<T>, Receiver<T>)> {
    pipe()
}

impl<S, R> Connection<S, R> {
    fn new(end: Arc<PipeEnd>) -> Connection<S, R> {
        Connection { end, inbox: Vec::new(), outbox: VecDeque::new(), messages: PhantomData }
    }

    /// Splits it into a sender and a receiver. The end is closed when both are dropped.
    pub fn split(self) -> (Sender<S>, Receiver<R>) {
        let Connection { end, inbox, outbox, .. } = self;
        (Connection { outbox, ..Connection::new(end.clone()) }, Connection { inbox, ..Connection::new(end) })
    }
}

impl<S: Serialize, R> Connection<S, R> {
    /// Sends a message. Parks the running green thread while the other end has no room for it.
    ///
    /// # Errors
    /// [`BrokenPipe`](ErrorKind::BrokenPipe): the other end is closed in all processes.
    /// [`InvalidData`](ErrorKind::InvalidData): serde cannot encode the message.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires. The rest of the message is then sent before the
    /// next one.
    pub fn send(&mut self, message: &S) -> io::Result<()> {
        self.send_bytes(encode(message)?.as_slice())
    }

    /// Sends bytes as [`send`](Connection::send) sends a message, without encoding them. The other end receives them by
    /// [`recv_bytes`](Connection::recv_bytes).
    ///
    /// # Errors
    /// The errors of `send`.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.end.begin()?;
        let len = u32::try_from(bytes.len())
            .map_err(|_| io::Error::new(ErrorKind::InvalidInput, "a message must be smaller than 4 GiB"))?;
        self.outbox.reserve_exact(HEADER + bytes.len());
        self.outbox.extend(len.to_le_bytes());
        self.outbox.extend(bytes);
        let sent = self.flush();
        // Not reached if `flush` unwinds. Then the next call goes on from there.
        self.outbox = VecDeque::new();
        sent
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            match (&self.end.stream).write(self.outbox.as_slices().0) {
                Ok(sent) => drop(self.outbox.drain(..sent)),
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
    /// Receives a message. Parks the running green thread until there is one.
    ///
    /// # Errors
    /// [`UnexpectedEof`](ErrorKind::UnexpectedEof): the other end is closed in all processes, and there is no message, or
    /// only a part of one. [`InvalidData`](ErrorKind::InvalidData): the message is no `R`.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires. The received part of a message is not lost.
    pub fn recv(&mut self) -> io::Result<R> {
        Ok(decode(&self.recv_bytes(usize::MAX)?)?)
    }

    /// Receives as [`recv`](Connection::recv) does, but waits for at most `timeout`. If there is no message by then, returns
    /// `None`.
    ///
    /// # Errors
    /// The errors of `recv`.
    pub fn recv_timeout(&mut self, timeout: Duration) -> io::Result<Option<R>> {
        let message = self.receive(usize::MAX, Instant::now().checked_add(timeout))?;
        Ok(message.as_deref().map(decode).transpose()?)
    }

    /// Receives a message of [`send_bytes`](Connection::send_bytes) if it has at most `most` bytes. A longer one stays to be
    /// received.
    ///
    /// # Errors
    /// The errors of [`recv`](Connection::recv); [`InvalidData`](ErrorKind::InvalidData): it is longer.
    pub fn recv_bytes(&mut self, most: usize) -> io::Result<Vec<u8>> {
        Ok(self.receive(most, None)?.expect("a wait without a deadline ends with a message"))
    }

    /// Waits for at most `timeout` until at least a part of a message has come, or the other end is closed. Returns whether
    /// that is so.
    ///
    /// # Errors
    /// The errors of [`wait_readable`](greenline::io::wait_readable).
    pub fn poll(&mut self, timeout: Duration) -> io::Result<bool> {
        self.end.begin()?;
        self.end.wait(Instant::now().checked_add(timeout))
    }

    /// Returns an iterator over the messages, until the other end is closed. A message that cannot be decoded is an error,
    /// after which the next ones follow. Any other error is the last item, such as that a sender has ended in the middle of
    /// a message.
    pub fn incoming(&mut self) -> impl Iterator<Item = io::Result<R>> {
        let mut is_over = false;
        std::iter::from_fn(move || {
            if is_over {
                return None;
            }
            let message = self.recv();
            let error = message.as_ref().err().map(io::Error::kind);
            is_over = error.is_some_and(|kind| kind != ErrorKind::InvalidData);
            let is_end = error == Some(ErrorKind::UnexpectedEof) && self.inbox.is_empty();
            (!is_end).then_some(message)
        })
    }

    /// Receives the bytes of the next message. If the deadline has passed, returns `None`.
    fn receive(&mut self, most: usize, deadline: Option<Instant>) -> io::Result<Option<Vec<u8>>> {
        self.end.begin()?;
        if !self.fill(HEADER, deadline)? {
            return Ok(None);
        }
        let len = u32::from_le_bytes([self.inbox[0], self.inbox[1], self.inbox[2], self.inbox[3]]) as usize;
        if len > most {
            let text = format!("a message of {len} bytes is longer than {most}");
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        if !self.fill(HEADER + len, deadline)? {
            return Ok(None);
        }
        let mut message = std::mem::take(&mut self.inbox);
        message.drain(..HEADER);
        Ok(Some(message))
    }

    /// Receives until the inbox has `len` bytes. If the deadline has passed, returns `false`.
    fn fill(&mut self, len: usize, deadline: Option<Instant>) -> io::Result<bool> {
        while self.inbox.len() < len {
            if deadline.is_some() && !self.end.wait(deadline)? {
                return Ok(false);
            }
            let have = self.inbox.len();
            let mut room = vec![0; (len - have).min(CHUNK)];
            match (&self.end.stream).read(&mut room) {
                Ok(more @ 1..) => self.inbox.extend_from_slice(&room[..more]),
                Err(error) if !is_closed(&error) => return Err(error),
                _ => {
                    let text = match have {
                        0 => "the other end of the pipe is closed",
                        _ => "the other end of the pipe was closed in the middle of a message",
                    };
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
                }
            }
        }
        Ok(true)
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

/// One end of a pipe, as this process has it.
pub(super) struct PipeEnd {
    stream: UnixStream,
    other: OnceLock<Weak<PipeEnd>>,
    /// Number of forks before the process that has last used it, or made it.
    used_in: AtomicU32,
    /// It was closed in this process. Its descriptor is `/dev/null`.
    given_up: AtomicBool,
}

impl PipeEnd {
    fn new(stream: UnixStream) -> PipeEnd {
        let (other, used_in) = (OnceLock::new(), AtomicU32::new(forks()));
        PipeEnd { stream, other, used_in, given_up: AtomicBool::new(false) }
    }

    /// Runs before each use. In a process that has a copy of the pipe, the first use of one end gives up the other.
    ///
    /// Errors: this end was given up.
    fn begin(&self) -> io::Result<()> {
        if self.given_up.load(Relaxed) {
            return Err(io::Error::new(
                ErrorKind::BrokenPipe,
                "this end of the pipe is closed in this process, which uses the other end or has closed this one",
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

    /// Closes it in this process. It may lie on a stack that is never returned to, and code may still use it. So its number
    /// stays in use, for `/dev/null`.
    pub(super) fn give_up(&self) {
        if self.given_up.swap(true, Relaxed) {
            return;
        }
        if let Err(error) = replace_by_dev_null(self.stream.as_raw_fd()) {
            log::warn!("a pipe's unused end cannot be closed: {error}");
        }
    }

    /// Waits until it is readable. If the deadline has passed, returns `false`.
    fn wait(&self, deadline: Option<Instant>) -> io::Result<bool> {
        before_deadline(wait_readable(&self.stream, deadline))
    }
}

/// Returns whether the error says that the other end is closed. If it has left messages unread, the socket is reset.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

impl From<CodecError> for io::Error {
    fn from(error: CodecError) -> io::Error {
        io::Error::new(ErrorKind::InvalidData, error)
    }
}
