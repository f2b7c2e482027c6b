//! A queue between processes: who puts, and who gets, may be any of them.
//!
//! The messages lie in a ring of bytes in shared memory: see `shared/ring.rs`. Encoding and decoding happen in the process
//! that puts or gets, outside of the monitor.

use super::codec::{Bytes, CodecError, decode, encode};
use super::shared::{Monitor, Popped, Ring, Transaction};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A first-in-first-out queue that processes share: bounded, and closed when nothing more is to come.
///
/// Make it before the processes that use it, and let their closures have a clone. A message is stored when
/// [`put`](Queue::put) returns, and in the order of the returns, over all processes: there is no thread that would send it
/// later. So a process that has put something may end at once, or be killed, and nothing is lost.
///
/// ```
/// use greenline::process::{Process, Queue};
///
/// let queue = Queue::new().unwrap();
/// let writer = queue.clone();
/// let child = Process::new(move || {
///     for letter in ['A', 'B', 'C'] {
///         writer.put(letter).unwrap();
///     }
///     writer.close();
/// });
/// let child = child.start().unwrap();
/// assert_eq!(queue.iter().map(Result::unwrap).collect::<String>(), "ABC");
/// child.join().unwrap();
/// ```
///
/// Both sides block the green thread that calls and no other. Blocking with a [`timeout`](crate::timeout()) or being
/// killed takes nothing and puts nothing. If nobody is waited for, neither side makes a system call.
///
/// Source: Python's `multiprocessing.Queue`, without its feeder thread.
pub struct Queue<T> {
    shared: Arc<Shared>,
    of: PhantomData<fn(T) -> T>,
}

struct Shared {
    monitor: Monitor<State>,
    /// How many messages fit, and how many bytes.
    items: u64,
    bytes: usize,
}

#[derive(Clone, Copy)]
struct State {
    ring: Ring,
    closed: bool,
}

/// The gates: somebody waits for a message, or for room.
const MESSAGE: usize = 0;
const ROOM: usize = 1;

/// How many bytes fit if nobody says.
const BYTES: usize = 64 << 20;

impl<T> Queue<T> {
    /// One for as many messages as fit into 64 MiB, their lengths included. That is address space: memory is used for what
    /// is in the queue, and given back.
    ///
    /// # Errors
    /// No address space, no descriptor left; or the kernel has no robust lists, which the queue needs to bear the death of
    /// its users.
    pub fn new() -> io::Result<Queue<T>> {
        Queue::with_limits(usize::MAX, BYTES)
    }

    /// One for up to `items` messages, of 64 MiB in all.
    ///
    /// # Errors
    /// As for [`new`](Queue::new).
    ///
    /// # Panics
    /// When `items` is 0.
    pub fn bounded(items: usize) -> io::Result<Queue<T>> {
        Queue::with_limits(items, BYTES)
    }

    /// One for up to `items` messages, of `bytes` in all. Each takes four bytes more than what it is encoded to.
    ///
    /// # Errors
    /// As for [`new`](Queue::new).
    ///
    /// # Panics
    /// When `items` is 0.
    pub fn with_limits(items: usize, bytes: usize) -> io::Result<Queue<T>> {
        assert!(items > 0, "a queue for no messages is of no use");
        let empty = State { ring: Ring::new(0..bytes), closed: false };
        let monitor = Monitor::with_memory(empty, 2, bytes)?;
        let shared = Shared { monitor, items: items as u64, bytes };
        Ok(Queue { shared: Arc::new(shared), of: PhantomData })
    }

    /// How many messages are in it. Another process may change that before this one has looked.
    pub fn len(&self) -> usize {
        self.shared.monitor.snapshot().ring.count() as usize
    }

    /// Whether none is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes no more messages, from nobody. Those that are in it can still be got; who waits for more is told.
    ///
    /// Source: Python's `queue.Queue.shutdown`.
    pub fn close(&self) {
        self.shared.monitor.change(|state| {
            state.notify_all(MESSAGE);
            state.notify_all(ROOM);
            state.closed = true;
        });
    }

    /// Whether it was closed. Messages may be in it still.
    pub fn is_closed(&self) -> bool {
        self.shared.monitor.snapshot().closed
    }
}

impl<T: Serialize> Queue<T> {
    /// Puts `value` at the end; waits while there is no room.
    ///
    /// A large one waits until there is room for all of it, and meanwhile others may pass it.
    ///
    /// # Errors
    /// [`PutError`]: closed; it cannot be encoded; it is larger than the queue.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires; then nothing was put.
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_by(value, |shared, bytes| shared.put(None, bytes))
    }

    /// As [`put`](Queue::put), for no longer than `timeout`.
    ///
    /// # Errors
    /// As for `put`; [`PutError::TimedOut`].
    pub fn put_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.put_by(value, |shared, bytes| shared.put(Instant::now().checked_add(timeout), bytes))
    }

    /// As [`put`](Queue::put), without waiting.
    ///
    /// # Errors
    /// As for `put`; [`PutError::Full`].
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_by(value, |shared, bytes| shared.try_put(bytes))
    }

    #[inline]
    fn put_by(
        &self,
        value: T,
        put: impl FnOnce(&Shared, &[u8]) -> Result<(), Refused>,
    ) -> Result<(), PutError<T>> {
        let bytes = match encode(&value) {
            Ok(bytes) => bytes,
            Err(error) => return Err(PutError::Codec { value, error }),
        };
        put(&self.shared, bytes.as_slice()).map_err(|refused| match refused {
            Refused::Full => PutError::Full(value),
            Refused::TimedOut => PutError::TimedOut(value),
            Refused::Closed => PutError::Closed(value),
            Refused::TooLarge { size, limit } => PutError::TooLarge { value, size, limit },
        })
    }
}

impl<T: DeserializeOwned> Queue<T> {
    /// Takes the first message; waits while there is none.
    ///
    /// # Errors
    /// [`GetError::Closed`]: there is none, and none will come. [`GetError::Codec`]: it was not put as a `T`, or its
    /// `Deserialize` refuses it; it is gone.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires; then nothing was taken.
    pub fn get(&self) -> Result<T, GetError> {
        self.shared.get(None).and_then(|bytes| Ok(decode(bytes.as_slice())?))
    }

    /// As [`get`](Queue::get), for no longer than `timeout`.
    ///
    /// # Errors
    /// As for `get`; [`GetError::TimedOut`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.shared.get(Instant::now().checked_add(timeout)).and_then(|bytes| Ok(decode(bytes.as_slice())?))
    }

    /// As [`get`](Queue::get), without waiting.
    ///
    /// # Errors
    /// As for `get`; [`GetError::Empty`].
    pub fn try_get(&self) -> Result<T, GetError> {
        self.shared.try_get().and_then(|bytes| Ok(decode(bytes.as_slice())?))
    }

    /// What [`get`](Queue::get) answers, again and again, until the queue is closed and empty.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { queue: self }
    }
}

/// Why bytes were not stored.
enum Refused {
    Full,
    TimedOut,
    Closed,
    TooLarge { size: usize, limit: usize },
}

/// What came of asking for a message.
enum Got {
    Popped(Popped),
    Closed,
}

impl Shared {
    fn put(&self, deadline: Option<Instant>, message: &[u8]) -> Result<(), Refused> {
        self.check(message)?;
        let stored = self.monitor.wait(ROOM, deadline, |state| self.store(state, message));
        stored.unwrap_or(Err(Refused::TimedOut))
    }

    fn try_put(&self, message: &[u8]) -> Result<(), Refused> {
        self.check(message)?;
        self.monitor.try_change(|state| self.store(state, message)).unwrap_or(Err(Refused::Full))
    }

    /// Whether it would fit into the empty ring.
    fn check(&self, message: &[u8]) -> Result<(), Refused> {
        let (size, longest) = (message.len(), Ring::longest(self.bytes));
        if longest.is_some_and(|limit| size <= limit) {
            return Ok(());
        }
        Err(Refused::TooLarge { size, limit: longest.unwrap_or(0) })
    }

    fn get(&self, deadline: Option<Instant>) -> Result<Bytes, GetError> {
        self.get_by(|bytes| {
            let got = self.monitor.wait(MESSAGE, deadline, |state| self.take(state, bytes));
            got.ok_or(GetError::TimedOut)
        })
    }

    fn try_get(&self) -> Result<Bytes, GetError> {
        self.get_by(|bytes| self.monitor.try_change(|state| self.take(state, bytes)).ok_or(GetError::Empty))
    }

    #[inline]
    fn get_by(&self, mut get: impl FnMut(&mut Bytes) -> Result<Got, GetError>) -> Result<Bytes, GetError> {
        let mut bytes = Bytes::new();
        loop {
            match get(&mut bytes)? {
                Got::Popped(Popped::Message) => return Ok(bytes),
                Got::Popped(Popped::Needs(length)) => bytes.reserve(length),
                Got::Closed => return Err(GetError::Closed),
            }
        }
    }

    /// Stores a message at the tail. `None`: there is no room.
    #[inline]
    fn store(&self, state: &mut Transaction<'_, State>, message: &[u8]) -> Option<Result<(), Refused>> {
        if state.closed {
            return Some(Err(Refused::Closed));
        }
        if state.ring.count() == self.items || !Ring::push(state, |state| &mut state.ring, message) {
            return None;
        }
        state.notify_all(MESSAGE);
        Some(Ok(()))
    }

    /// Copies the message at the head, and takes it out. `None`: there is none.
    #[inline]
    fn take(&self, state: &mut Transaction<'_, State>, bytes: &mut Bytes) -> Option<Got> {
        let Some(popped) = Ring::pop(state, |state| &mut state.ring, bytes, Some(ROOM)) else {
            return state.closed.then_some(Got::Closed);
        };
        Ring::trim(state, |state| &mut state.ring);
        Some(Got::Popped(popped))
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Queue<T> {
        Queue { shared: self.shared.clone(), of: PhantomData }
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.monitor.snapshot();
        f.debug_struct("Queue").field("len", &state.ring.count()).field("closed", &state.closed).finish()
    }
}

/// Gets messages until the queue is closed and empty. Made by [`Queue::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    queue: &'a Queue<T>,
}

impl<T: DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = Result<T, GetError>;

    fn next(&mut self) -> Option<Result<T, GetError>> {
        match self.queue.get() {
            Err(GetError::Closed) => None,
            got => Some(got),
        }
    }
}

impl<'a, T: DeserializeOwned> IntoIterator for &'a Queue<T> {
    type Item = Result<T, GetError>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// A value was not put; it is given back.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PutError<T> {
    /// There is no room now.
    Full(T),
    /// There was no room in time.
    TimedOut(T),
    /// The queue takes no more.
    Closed(T),
    /// It cannot be encoded.
    Codec {
        /// What was to be put.
        value: T,
        /// Why it cannot.
        error: CodecError,
    },
    /// It does not fit into the queue even if that is empty.
    TooLarge {
        /// What was to be put.
        value: T,
        /// How many bytes it is encoded to.
        size: usize,
        /// How many there may be.
        limit: usize,
    },
}

impl<T> PutError<T> {
    /// What was to be put.
    pub fn into_inner(self) -> T {
        match self {
            PutError::Full(value) | PutError::TimedOut(value) | PutError::Closed(value) => value,
            PutError::Codec { value, .. } | PutError::TooLarge { value, .. } => value,
        }
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PutError::Full(_) => f.write_str("the queue is full"),
            PutError::TimedOut(_) => f.write_str("the queue was full until the timeout"),
            PutError::Closed(_) => f.write_str("the queue is closed"),
            PutError::Codec { error, .. } => error.fmt(f),
            PutError::TooLarge { size, limit, .. } => {
                write!(f, "a message of {size} bytes is too large for a queue that takes up to {limit}")
            }
        }
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PutError({self})")
    }
}

impl<T> std::error::Error for PutError<T> {}

/// No message was got.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GetError {
    /// There is none now.
    Empty,
    /// None has come in time.
    TimedOut,
    /// There is none, and none will come: the queue is closed.
    Closed,
    /// One was taken, and is lost: it cannot be decoded.
    Codec(CodecError),
}

impl From<CodecError> for GetError {
    fn from(error: CodecError) -> GetError {
        GetError::Codec(error)
    }
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GetError::Empty => f.write_str("the queue is empty"),
            GetError::TimedOut => f.write_str("the queue was empty until the timeout"),
            GetError::Closed => f.write_str("the queue is closed, and empty"),
            GetError::Codec(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for GetError {}
