//! A queue in a manager, first in, first out.
//!
//! Next: `process/manager/semaphore.rs`, an object that its clients hold.
//!
//! `put` returns when the message is stored in the server. So if a queue says that it is empty, it is. If a client does
//! not acknowledge a message that it was sent, the message goes back to its old position: see `session.rs`.

use super::object::{Fault, Limit, Object, Reply, Session, WaitQueue, decode};
use super::proxy::{Bytes, ManagerError, Remote, proxy};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
enum QueueRequest {
    /// Returns `Result<(), Undone>`.
    Put(Bytes, Limit),
    /// Returns `Result<Bytes, Undone>`.
    Get(Limit),
    Len,
    Close,
    IsClosed,
    /// Returns whether there was an unfinished message.
    TaskDone,
    /// Returns whether all messages were finished in time.
    Join(Limit),
}

/// The reason for which no message was put or got.
#[derive(Serialize, Deserialize)]
enum Undone {
    TimedOut,
    Closed,
}

// ---- in the server

pub(super) struct QueueObject(Rc<State>);

/// Shared with the callbacks of replies that are on their way.
#[derive(Default)]
struct State {
    messages: RefCell<VecDeque<Bytes>>,
    /// Largest number of messages; 0: no limit.
    max_len: usize,
    closed: Cell<bool>,
    /// Number of messages that were put and not yet reported as done.
    unfinished: Cell<usize>,
    putters: WaitQueue,
    getters: WaitQueue,
    joiners: WaitQueue,
}

impl QueueObject {
    pub(super) fn new(max_len: usize) -> QueueObject {
        QueueObject(Rc::new(State { max_len, ..State::default() }))
    }
}

impl Object for QueueObject {
    fn call(&self, request: &[u8], session: &Session) -> Result<Reply, Fault> {
        let state = &self.0;
        match decode(request)? {
            QueueRequest::Put(message, limit) => Reply::of(&state.put(message, session, limit)?),
            QueueRequest::Get(limit) => state.get(session, limit),
            QueueRequest::Len => Reply::of(&state.messages.borrow().len()),
            QueueRequest::Close => {
                state.closed.set(true);
                state.putters.wake();
                state.getters.wake();
                Reply::of(&())
            }
            QueueRequest::IsClosed => Reply::of(&state.closed.get()),
            QueueRequest::TaskDone => {
                let unfinished = state.unfinished.get().checked_sub(1);
                state.unfinished.set(unfinished.unwrap_or(0));
                state.joiners.wake();
                Reply::of(&unfinished.is_some())
            }
            QueueRequest::Join(limit) => {
                let all_done = || (state.unfinished.get() == 0).then_some(());
                Reply::of(&state.joiners.wait(session, limit, all_done)?.is_some())
            }
        }
    }

    fn discard(&self) {
        [&self.0.putters, &self.0.getters, &self.0.joiners].into_iter().for_each(WaitQueue::close);
    }
}

impl State {
    fn put(&self, message: Bytes, session: &Session, limit: Limit) -> Result<Result<(), Undone>, Fault> {
        let mut message = Some(message);
        let put = self.putters.wait(session, limit, || {
            if self.closed.get() {
                return Some(Err(Undone::Closed));
            }
            let mut messages = self.messages.borrow_mut();
            if self.max_len != 0 && messages.len() >= self.max_len {
                return None;
            }
            messages.extend(message.take());
            self.unfinished.set(self.unfinished.get() + 1);
            Some(Ok(()))
        })?;
        self.getters.wake();
        Ok(put.unwrap_or(Err(Undone::TimedOut)))
    }

    fn get(self: &Rc<State>, session: &Session, limit: Limit) -> Result<Reply, Fault> {
        let got = self.getters.wait(session, limit, || {
            let message = self.messages.borrow_mut().pop_front();
            message.map(Ok).or_else(|| self.closed.get().then_some(Err(Undone::Closed)))
        })?;
        self.putters.wake();
        let message = match got.unwrap_or(Err(Undone::TimedOut)) {
            Ok(message) => message,
            Err(undone) => return Reply::of(&Err::<(), _>(undone)),
        };
        let (reply, state) = (Ok::<_, Undone>(message.clone()), self.clone());
        Reply::with_ack(&reply, move |acknowledged| {
            if acknowledged.is_none() {
                state.messages.borrow_mut().push_front(message);
                state.getters.wake();
            }
        })
    }
}

// ---- the proxy

proxy! {
    /// A queue in a manager, first in, first out, for any number of putters and getters.
    ///
    /// A call waits in the server. In the client only the calling green thread waits. If that green thread or its
    /// process is killed, the call leaves the wait queue. A message that was on its way to it goes to the next getter.
    ///
    /// ```no_run
    /// use greenline::process::Manager;
    ///
    /// let manager = Manager::start()?;
    /// let queue = manager.queue::<String>(0)?;
    /// queue.put("hello".into())?;
    /// assert_eq!(queue.get()?, "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Source: Python's `Manager().Queue()` and `JoinableQueue()`; `close` is `queue.Queue.shutdown`.
    Queue<T>
}

impl<T: Serialize + DeserializeOwned> Queue<T> {
    /// Appends `value`. Waits while the queue is full, and returns when the server has stored the value.
    ///
    /// # Errors
    /// [`PutError::Closed`], with `value`; a [`ManagerError`].
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_within(value, None)
    }

    /// Appends `value`. Waits while the queue is full, at most for `timeout`.
    ///
    /// # Errors
    /// As for `put`; [`PutError::Full`], with `value`.
    pub fn put_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.put_within(value, Some(timeout))
    }

    /// Appends `value`, unless the queue is full.
    ///
    /// # Errors
    /// As for `put_timeout`.
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_within(value, Some(Duration::ZERO))
    }

    fn put_within(&self, value: T, limit: Limit) -> Result<(), PutError<T>> {
        match Bytes::of(&value).and_then(|bytes| self.remote.call(&QueueRequest::Put(bytes, limit))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Undone::TimedOut)) => Err(PutError::Full(value)),
            Ok(Err(Undone::Closed)) => Err(PutError::Closed(value)),
            Err(error) => Err(PutError::Manager(error)),
        }
    }

    /// Takes the first message. Waits while the queue is empty.
    ///
    /// # Errors
    /// [`GetError::Closed`] if the queue is closed and empty; a [`ManagerError`]. If that is `Codec`, the message is of
    /// another type, was taken, and is lost.
    pub fn get(&self) -> Result<T, GetError> {
        self.get_within(None)
    }

    /// Takes the first message. Waits while the queue is empty, at most for `timeout`.
    ///
    /// # Errors
    /// As for `get`; [`GetError::Empty`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_within(Some(timeout))
    }

    /// Takes the first message, unless the queue is empty.
    ///
    /// # Errors
    /// As for `get_timeout`.
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_within(Some(Duration::ZERO))
    }

    fn get_within(&self, limit: Limit) -> Result<T, GetError> {
        match self.remote.call::<Result<Bytes, Undone>>(&QueueRequest::Get(limit))? {
            Ok(message) => Ok(message.decode()?),
            Err(Undone::TimedOut) => Err(GetError::Empty),
            Err(Undone::Closed) => Err(GetError::Closed),
        }
    }

    /// Returns an iterator that takes messages until the queue is closed and empty, or the manager is gone.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.get().ok())
    }

    /// Returns the number of messages, without those on their way to a getter.
    ///
    /// # Errors
    /// [`ManagerError`].
    #[doc(alias = "qsize")]
    pub fn len(&self) -> Result<usize, ManagerError> {
        self.remote.call(&QueueRequest::Len)
    }

    /// Returns whether the queue has no messages.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn is_empty(&self) -> Result<bool, ManagerError> {
        Ok(self.len()? == 0)
    }

    /// Closes the queue. All calls of `put` fail from now on, also those that wait. `get` still returns the messages in
    /// the queue.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn close(&self) -> Result<(), ManagerError> {
        self.remote.call(&QueueRequest::Close)
    }

    /// Returns whether the queue is closed.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn is_closed(&self) -> Result<bool, ManagerError> {
        self.remote.call(&QueueRequest::IsClosed)
    }
}

impl<T> Queue<T> {
    /// Reports that the work for one message is done. Returns `false` if all messages were reported before: more reports
    /// than messages.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn task_done(&self) -> Result<bool, ManagerError> {
        self.remote.call(&QueueRequest::TaskDone)
    }

    /// Waits until all messages that were put were reported as [done](Queue::task_done).
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn join(&self) -> Result<(), ManagerError> {
        self.remote.call::<bool>(&QueueRequest::Join(None)).map(drop)
    }

    /// Waits as [`join`](Queue::join) does, at most for `timeout`. Returns whether all messages were reported as done.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, ManagerError> {
        self.remote.call(&QueueRequest::Join(Some(timeout)))
    }
}

/// The reason for which no message was put.
#[derive(Debug)]
pub enum PutError<T> {
    /// The queue stayed full until the timeout. Contains the value.
    Full(T),
    /// The queue is closed. Contains the value.
    Closed(T),
    /// The call to the manager failed.
    Manager(ManagerError),
}

/// The reason for which no message was got.
#[derive(Debug)]
pub enum GetError {
    /// The queue stayed empty until the timeout.
    Empty,
    /// The queue is closed and empty.
    Closed,
    /// The call to the manager failed.
    Manager(ManagerError),
}

impl From<ManagerError> for GetError {
    fn from(error: ManagerError) -> GetError {
        GetError::Manager(error)
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PutError::Full(_) => f.write_str("the queue stayed full until the timeout"),
            PutError::Closed(_) => f.write_str("the queue is closed"),
            PutError::Manager(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GetError::Empty => f.write_str("the queue stayed empty until the timeout"),
            GetError::Closed => f.write_str("the queue is closed and empty"),
            GetError::Manager(error) => error.fmt(f),
        }
    }
}

impl<T: fmt::Debug> std::error::Error for PutError<T> {}

impl std::error::Error for GetError {}
