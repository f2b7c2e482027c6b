//! A queue in a manager, first in, first out.
//!
//! Next: `manager/semaphore.rs`, an object that its clients hold.
//!
//! `put` returns when the message is stored in the server. So if a queue says that it is empty, it is. If a client does
//! not acknowledge a message that it was sent, the message goes back to its old position: see `session.rs`.

use super::object::{Limit, NO_WAIT, Object, Reply, Session, WaitQueue, decode};
use super::proxy::{Bytes, ManagerError, Remote, proxy};
use crate::queue_error;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
enum QueueRequest {
    /// Returns whether the message was put, which it is not if the queue is closed, or `None` if the limit expired first.
    Put(Bytes, Limit),
    /// Returns the message, as `Result<Bytes, bool>`. `Err(true)`: the queue is closed and empty. `Err(false)`: the limit
    /// expired first. The reply is no longer than the request of `Put` was, so each message that was put can be got.
    Get(Limit),
    Len,
    Close,
    IsClosed,
    /// Returns whether there was an unfinished message.
    TaskDone,
    /// Returns whether all messages were finished in time.
    Join(Limit),
}

// ---- in the server

/// Shared with the callbacks of replies that are on their way.
#[derive(Default)]
pub(super) struct QueueObject {
    /// By the order in which they were put.
    messages: RefCell<BTreeMap<u64, Bytes>>,
    /// Number of messages that were put so far.
    put: Cell<u64>,
    /// Largest number of messages; 0: no limit.
    max_len: usize,
    closed: Cell<bool>,
    /// Number of messages that were put and not yet reported as done.
    unfinished: Cell<usize>,
    putters: WaitQueue,
    getters: WaitQueue,
    joiners: WaitQueue,
}

impl Object for QueueObject {
    fn call(self: Rc<Self>, request: &[u8], session: &Session) -> Result<Reply, ManagerError> {
        match decode(request)? {
            QueueRequest::Put(message, limit) => Reply::of(&self.put(message, session, limit)?),
            QueueRequest::Get(limit) => self.get(session, limit),
            QueueRequest::Len => Reply::of(&self.messages.borrow().len()),
            QueueRequest::Close => {
                self.closed.set(true);
                self.putters.wake();
                Reply::of(&self.getters.wake())
            }
            QueueRequest::IsClosed => Reply::of(&self.closed.get()),
            QueueRequest::TaskDone => {
                let unfinished = self.unfinished.get().checked_sub(1);
                self.unfinished.set(unfinished.unwrap_or(0));
                self.joiners.wake();
                Reply::of(&unfinished.is_some())
            }
            QueueRequest::Join(limit) => {
                let all_done = || (self.unfinished.get() == 0).then_some(());
                Reply::of(&self.joiners.wait(session, limit, all_done)?.is_some())
            }
        }
    }

    fn discard(&self) {
        [&self.putters, &self.getters, &self.joiners].into_iter().for_each(WaitQueue::close);
    }
}

impl QueueObject {
    pub(super) fn new(max_len: usize) -> QueueObject {
        QueueObject { max_len, ..QueueObject::default() }
    }

    fn put(&self, message: Bytes, session: &Session, limit: Limit) -> Result<Option<bool>, ManagerError> {
        let mut message = Some(message);
        let put = self.putters.wait(session, limit, || {
            if self.closed.get() {
                return Some(false);
            }
            let mut messages = self.messages.borrow_mut();
            if self.max_len != 0 && messages.len() >= self.max_len {
                return None;
            }
            messages.extend(message.take().map(|message| (self.put.get(), message)));
            self.put.set(self.put.get() + 1);
            self.unfinished.set(self.unfinished.get() + 1);
            Some(true)
        })?;
        self.getters.wake();
        Ok(put)
    }

    fn get(self: Rc<Self>, session: &Session, limit: Limit) -> Result<Reply, ManagerError> {
        let got = self.getters.wait(session, limit, || {
            let message = self.messages.borrow_mut().pop_first();
            (message.is_some() || self.closed.get()).then_some(message)
        })?;
        self.putters.wake();
        let Some(Some((number, message))) = got else { return Reply::of(&Err::<(), _>(got.is_some())) };
        Reply::with_ack(&Ok::<_, bool>(message.clone()), move |acknowledged| {
            if acknowledged.is_none() {
                self.messages.borrow_mut().insert(number, message);
                self.getters.wake();
            }
        })
    }
}

// ---- the proxy

/// The reason for which no message was put. It has the value.
pub type PutError<T> = queue_error::PutError<T, ManagerError>;

/// The reason for which no message was got.
pub type GetError = queue_error::GetError<ManagerError>;

proxy! {
    /// A queue in a manager, first in, first out, for any number of putters and getters.
    ///
    /// A call waits in the server. In the client only the calling green thread waits. If that green thread or its
    /// process is killed, the call leaves the wait queue. A message that was on its way to it goes to the next getter.
    ///
    /// ```no_run
    /// use greenline_process::Manager;
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
    /// [`PutError::Closed`]; [`PutError::Failed`], with the [`ManagerError`].
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_within(value, None)
    }

    /// Appends `value`. Waits while the queue is full, at most for `timeout`.
    ///
    /// # Errors
    /// As for `put`; [`PutError::TimedOut`].
    pub fn put_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.put_within(value, Some(timeout))
    }

    /// Appends `value`, unless the queue is full.
    ///
    /// # Errors
    /// As for `put`; [`PutError::Full`].
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_within(value, NO_WAIT)
    }

    fn put_within(&self, value: T, limit: Limit) -> Result<(), PutError<T>> {
        match Bytes::of(&value).and_then(|bytes| self.remote.call(&QueueRequest::Put(bytes, limit))) {
            Ok(Some(true)) => Ok(()),
            Ok(Some(false)) => Err(PutError::Closed(value)),
            Ok(None) if limit == NO_WAIT => Err(PutError::Full(value)),
            Ok(None) => Err(PutError::TimedOut(value)),
            Err(error) => Err(PutError::Failed { value, error }),
        }
    }

    /// Takes the first message. Waits while the queue is empty.
    ///
    /// # Errors
    /// [`GetError::Closed`] if the queue is closed and empty; [`GetError::Failed`], with the [`ManagerError`]. If that is
    /// `Codec`, the message is of another type, was taken, and is lost.
    pub fn get(&self) -> Result<T, GetError> {
        self.get_within(None)
    }

    /// Takes the first message. Waits while the queue is empty, at most for `timeout`.
    ///
    /// # Errors
    /// As for `get`; [`GetError::TimedOut`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_within(Some(timeout))
    }

    /// Takes the first message, unless the queue is empty.
    ///
    /// # Errors
    /// As for `get`; [`GetError::Empty`].
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_within(NO_WAIT)
    }

    fn get_within(&self, limit: Limit) -> Result<T, GetError> {
        match self.remote.call::<Result<Bytes, bool>>(&QueueRequest::Get(limit))? {
            Ok(message) => Ok(message.decode()?),
            Err(true) => Err(GetError::Closed),
            Err(false) if limit == NO_WAIT => Err(GetError::Empty),
            Err(false) => Err(GetError::TimedOut),
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
