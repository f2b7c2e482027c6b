//! A queue between processes. Any of them may put and get.
//!
//! The messages lie in a ring buffer in shared memory: see `shared/ring.rs`. The process that puts or gets a message encodes
//! or decodes it, outside of the monitor.
//!
//! Next: `codec.rs`, encoding messages.

use super::codec::{Bytes, decode, encode_into};
use super::queue_error::{GetError, PutError};
use super::shared::{Limit, Monitor, PopResult, Ring};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

/// A first-in-first-out queue that processes share. It is bounded, and can be closed.
///
/// Make it before the processes that use it, and give their closures a clone. A message is stored when
/// [`put`](Queue::put) returns, in the order of the returns over all processes. No thread sends it later. So a process that
/// has put a message may end at once, or be killed, and nothing is lost.
///
/// ```
/// use greenline_process::{Process, Queue};
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
/// Both sides park the calling green thread and no other. A call that a [`timeout`](greenline::timeout()) or a kill ends takes
/// nothing and puts nothing. If no process waits, neither side makes a system call.
///
/// Source: Python's `multiprocessing.Queue`, without its feeder thread.
pub struct Queue<T> {
    monitor: Monitor<State>,
    of: PhantomData<fn(T) -> T>,
}

#[derive(Clone, Copy)]
struct State {
    ring: Ring,
    /// Number of messages that fit.
    max_items: u64,
    closed: bool,
}

/// The condition variable of those that wait for a message.
const MESSAGE: usize = 0;
/// The condition variable of those that wait for room.
const ROOM: usize = 1;

/// Default size in bytes.
const DEFAULT_SIZE: usize = 64 << 20;

impl<T> Queue<T> {
    /// Returns a queue for as many messages as fit into 64 MiB, including their lengths. The 64 MiB are address space.
    /// Memory is used only for the messages in the queue, and freed after them.
    ///
    /// # Errors
    /// No address space, no descriptor left; or the kernel has no robust lists, without which it could not survive its
    /// users.
    pub fn new() -> io::Result<Queue<T>> {
        Queue::with_limits(usize::MAX, DEFAULT_SIZE)
    }

    /// Returns a queue for up to `items` messages, of 64 MiB in all.
    ///
    /// # Errors
    /// The errors of [`new`](Queue::new).
    ///
    /// # Panics
    /// `items` is 0.
    pub fn bounded(items: usize) -> io::Result<Queue<T>> {
        Queue::with_limits(items, DEFAULT_SIZE)
    }

    /// Returns a queue for up to `items` messages, of `bytes` in all. Each takes four bytes more than its encoding.
    ///
    /// # Errors
    /// The errors of [`new`](Queue::new).
    ///
    /// # Panics
    /// `items` is 0.
    pub fn with_limits(items: usize, bytes: usize) -> io::Result<Queue<T>> {
        assert!(items > 0, "a queue must have room for at least one message");
        let empty = State { ring: Ring::new(0..bytes), max_items: items as u64, closed: false };
        Ok(Queue { monitor: Monitor::with_memory(empty, 2, bytes)?, of: PhantomData })
    }

    /// Returns the number of messages in it. Another process may change it before the caller uses it.
    pub fn len(&self) -> usize {
        self.monitor.snapshot().ring.len() as usize
    }

    /// Returns whether it has no messages.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes it: no process can put more messages. Those that are in it can still be got. Waiting calls return an error.
    ///
    /// Source: Python's `queue.Queue.shutdown`.
    pub fn close(&self) {
        self.monitor.change(|state| {
            state.notify_all(MESSAGE);
            state.notify_all(ROOM);
            state.closed = true;
        });
    }

    /// Returns whether it was closed. It may still have messages.
    pub fn is_closed(&self) -> bool {
        self.monitor.snapshot().closed
    }
}

impl<T: Serialize> Queue<T> {
    /// Puts `value` at the end. Waits while there is no room.
    ///
    /// A large message waits until there is room for all of it. Smaller ones may overtake it meanwhile.
    ///
    /// # Errors
    /// [`PutError`]: the queue is closed; the value cannot be encoded; it is larger than the queue.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires; then nothing was put.
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_within(value, Limit::Unlimited)
    }

    /// Puts as [`put`](Queue::put) does, but waits for at most `timeout`.
    ///
    /// # Errors
    /// The errors of `put`; [`PutError::TimedOut`].
    pub fn put_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.put_within(value, Limit::timeout(timeout))
    }

    /// Puts as [`put`](Queue::put) does, without waiting.
    ///
    /// # Errors
    /// The errors of `put`; [`PutError::Full`].
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_within(value, Limit::Nonblocking)
    }

    #[inline]
    fn put_within(&self, value: T, limit: Limit) -> Result<(), PutError<T>> {
        let mut bytes = Bytes::new();
        if let Err(error) = encode_into(&value, &mut bytes) {
            return Err(PutError::Failed { value, error });
        }
        store(&self.monitor, &bytes, limit).map_err(|error| error.with(value))
    }
}

impl<T: DeserializeOwned> Queue<T> {
    /// Takes the first message. Waits while there is none.
    ///
    /// # Errors
    /// [`GetError::Closed`]: there is no message, and none will come. [`GetError::Failed`]: the message was not put as a `T`,
    /// or its `Deserialize` refuses it. It is lost.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires; then nothing was taken.
    pub fn get(&self) -> Result<T, GetError> {
        self.get_within(Limit::Unlimited)
    }

    /// Gets as [`get`](Queue::get) does, but waits for at most `timeout`.
    ///
    /// # Errors
    /// The errors of `get`; [`GetError::TimedOut`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_within(Limit::timeout(timeout))
    }

    /// Gets as [`get`](Queue::get) does, without waiting.
    ///
    /// # Errors
    /// The errors of `get`; [`GetError::Empty`].
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_within(Limit::Nonblocking)
    }

    #[inline]
    fn get_within(&self, limit: Limit) -> Result<T, GetError> {
        let mut bytes = Bytes::new();
        take(&self.monitor, limit, &mut bytes)?;
        Ok(decode(&bytes)?)
    }

    /// Returns an iterator that [gets](Queue::get) messages until the queue is closed and empty.
    pub fn iter(&self) -> impl Iterator<Item = Result<T, GetError>> + '_ {
        self
    }
}

/// Stores a message at the tail.
fn store(monitor: &Monitor<State>, message: &[u8], limit: Limit) -> Result<(), PutError<()>> {
    let stored = monitor.wait(ROOM, limit, |state| {
        let longest = Ring::max_message(state.ring.size());
        if longest.is_none_or(|longest| message.len() > longest) {
            let (size, limit) = (message.len(), longest.unwrap_or(0));
            return Some(Err(PutError::TooLarge { value: (), size, limit }));
        }
        if state.closed {
            return Some(Err(PutError::Closed(())));
        }
        if state.ring.len() == state.max_items || !Ring::push(state, |state| &mut state.ring, message) {
            return None;
        }
        state.notify_all(MESSAGE);
        Some(Ok(()))
    });
    stored.unwrap_or(Err(match limit {
        Limit::Nonblocking => PutError::Full(()),
        _ => PutError::TimedOut(()),
    }))
}

/// Moves the message at the head to `bytes`, an empty buffer.
fn take(monitor: &Monitor<State>, limit: Limit, bytes: &mut Bytes) -> Result<(), GetError> {
    loop {
        let taken = monitor.wait(MESSAGE, limit, |state| {
            let Some(popped) = Ring::pop(state, |state| &mut state.ring, bytes, Some(ROOM)) else {
                return state.closed.then_some(Err(GetError::Closed));
            };
            Ring::trim(state, |state| &mut state.ring);
            Some(Ok(popped))
        });
        match taken {
            Some(Ok(PopResult::Message)) => return Ok(()),
            // The buffer is allocated outside of the monitor.
            Some(Ok(PopResult::NeedsBuffer(size))) => *bytes = Bytes::from_vec(vec![0; size]),
            Some(Err(error)) => return Err(error),
            None if matches!(limit, Limit::Nonblocking) => return Err(GetError::Empty),
            None => return Err(GetError::TimedOut),
        }
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Queue<T> {
        Queue { monitor: self.monitor.clone(), of: PhantomData }
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.monitor.snapshot();
        f.debug_struct("Queue").field("len", &state.ring.len()).field("closed", &state.closed).finish()
    }
}

/// Gets messages until the queue is closed and empty: `for message in &queue`.
impl<T: DeserializeOwned> Iterator for &Queue<T> {
    type Item = Result<T, GetError>;

    fn next(&mut self) -> Option<Result<T, GetError>> {
        match self.get() {
            Err(GetError::Closed) => None,
            got => Some(got),
        }
    }
}
