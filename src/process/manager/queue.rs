//! A queue: what a manager is most wanted for.
//!
//! First in, first out over all who put, and put returns when the message is stored, so a queue that says that it is
//! empty is. A message that was handed to a client that does not confirm it goes back to where it was: see `session.rs`.

use super::error::ManagerError;
use super::line::{Limit, Line};
use super::proxy::{Remote, proxy};
use super::session::{Answer, Session, Stop};
use super::store::Object;
use super::wire::{self, Bytes, Kind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    /// Gives [`Put`].
    Put(Bytes, Limit),
    /// Gives [`Get`].
    Get(Limit),
    Len,
    Close,
    IsClosed,
    /// Gives whether there was one to be done.
    TaskDone,
    /// Gives whether all were done in time.
    Join(Limit),
}

#[derive(Serialize, Deserialize)]
enum Put {
    Stored,
    Full,
    Closed,
}

#[derive(Serialize, Deserialize)]
enum Get {
    Got(Bytes),
    Empty,
    Closed,
}

// ---- in the server

/// Shared with answers that are under way.
pub(super) struct Server(Rc<State>);

#[derive(Default)]
struct State {
    messages: RefCell<VecDeque<Bytes>>,
    /// 0: without a limit.
    room: usize,
    closed: Cell<bool>,
    /// How many were put and are not done.
    undone: Cell<u64>,
    putters: Line,
    getters: Line,
    joiners: Line,
}

impl Server {
    pub(super) fn new(room: u64) -> Server {
        let room = usize::try_from(room).unwrap_or(0);
        Server(Rc::new(State { room, ..State::default() }))
    }
}

impl Object for Server {
    fn kind(&self) -> Kind {
        Kind::Queue
    }

    fn call(&self, call: &[u8], session: &Session) -> Result<Answer, Stop> {
        let state = &self.0;
        Ok(match wire::call(call)? {
            Call::Put(message, limit) => Answer::of(&state.put(message, session, limit)?),
            Call::Get(limit) => state.get(session, limit)?,
            Call::Len => Answer::of(&(state.messages.borrow().len() as u64)),
            Call::Close => Answer::of(&state.close()),
            Call::IsClosed => Answer::of(&state.closed.get()),
            Call::TaskDone => Answer::of(&state.task_done()),
            Call::Join(limit) => {
                let all_done = || (state.undone.get() == 0).then_some(());
                Answer::of(&state.joiners.wait(session, limit, all_done)?.is_some())
            }
        })
    }

    fn discard(&self) {
        self.0.putters.close();
        self.0.getters.close();
        self.0.joiners.close();
    }
}

impl State {
    fn put(&self, message: Bytes, session: &Session, limit: Limit) -> Result<Put, Stop> {
        let mut message = Some(message);
        let put = self.putters.wait(session, limit, || {
            if self.closed.get() {
                return Some(Put::Closed);
            }
            let mut messages = self.messages.borrow_mut();
            if self.room != 0 && messages.len() >= self.room {
                return None;
            }
            messages.extend(message.take());
            self.undone.set(self.undone.get() + 1);
            Some(Put::Stored)
        })?;
        self.getters.wake();
        Ok(put.unwrap_or(Put::Full))
    }

    fn get(self: &Rc<State>, session: &Session, limit: Limit) -> Result<Answer, Stop> {
        let got = self.getters.wait(session, limit, || {
            let message = self.messages.borrow_mut().pop_front();
            message.map(Get::Got).or_else(|| self.closed.get().then_some(Get::Closed))
        })?;
        self.putters.wake();
        let got = got.unwrap_or(Get::Empty);
        let answer = Answer::of(&got);
        let Get::Got(message) = got else { return Ok(answer) };
        let state = self.clone();
        Ok(answer.settled_by(move |taken| {
            if taken.is_none() {
                state.messages.borrow_mut().push_front(message);
                state.getters.wake();
            }
        }))
    }

    fn task_done(&self) -> bool {
        let Some(undone) = self.undone.get().checked_sub(1) else { return false };
        self.undone.set(undone);
        self.joiners.wake();
        true
    }

    fn close(&self) {
        self.closed.set(true);
        self.putters.wake();
        self.getters.wake();
    }
}

// ---- the proxy

proxy! {
    /// A queue that a manager holds: first in, first out, whoever puts and whoever gets.
    ///
    /// A call waits in the server, and here only the green thread that has made it. Killing that one, or its process,
    /// takes it out of the line; a message on its way to it goes to the next.
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
    Queue<T>, Kind::Queue
}

impl<T: Serialize + DeserializeOwned> Queue<T> {
    /// Puts `value` at the end, when there is room; returns when it is stored there.
    ///
    /// # Errors
    /// [`PutError::Closed`], with `value`; a [`ManagerError`].
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_within(value, None)
    }

    /// As [`put`](Self::put), if there is room within `timeout`.
    ///
    /// # Errors
    /// As for `put`; [`PutError::Full`], with `value`.
    pub fn put_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.put_within(value, Some(timeout))
    }

    /// As [`put`](Self::put), if there is room now.
    ///
    /// # Errors
    /// As for `put_timeout`.
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_within(value, Some(Duration::ZERO))
    }

    fn put_within(&self, value: T, limit: Limit) -> Result<(), PutError<T>> {
        let put = Bytes::of(&value).and_then(|bytes| self.remote.call(&Call::Put(bytes, limit)));
        match put {
            Ok(Put::Stored) => Ok(()),
            Ok(Put::Full) => Err(PutError::Full(value)),
            Ok(Put::Closed) => Err(PutError::Closed(value)),
            Err(error) => Err(PutError::Manager(error)),
        }
    }

    /// Takes the first message, when there is one.
    ///
    /// # Errors
    /// [`GetError::Closed`]: it is closed, and empty; a [`ManagerError`]. When that is `Codec`, a message of another
    /// type was taken, and is lost.
    pub fn get(&self) -> Result<T, GetError> {
        self.get_within(None)
    }

    /// As [`get`](Self::get), if one comes within `timeout`.
    ///
    /// # Errors
    /// As for `get`; [`GetError::Empty`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_within(Some(timeout))
    }

    /// As [`get`](Self::get), if there is one now.
    ///
    /// # Errors
    /// As for `get_timeout`.
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_within(Some(Duration::ZERO))
    }

    fn get_within(&self, limit: Limit) -> Result<T, GetError> {
        let is_message = |got: &Get| matches!(got, Get::Got(_));
        match self.remote.take(&Call::Get(limit), is_message)? {
            Get::Got(bytes) => Ok(bytes.decode()?),
            Get::Empty => Err(GetError::Empty),
            Get::Closed => Err(GetError::Closed),
        }
    }

    /// The messages, as they come, until it is closed and empty, or the manager is gone.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.get().ok())
    }

    /// How many messages there are. One that is on its way to who gets it is not counted.
    ///
    /// # Errors
    /// [`ManagerError`].
    #[doc(alias = "qsize")]
    pub fn len(&self) -> Result<usize, ManagerError> {
        self.remote.call(&Call::Len).map(|len: u64| len as usize)
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn is_empty(&self) -> Result<bool, ManagerError> {
        Ok(self.len()? == 0)
    }

    /// From now on nothing is put, and who waits to is told; what is there can be got still.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn close(&self) -> Result<(), ManagerError> {
        self.remote.call(&Call::Close)
    }

    /// Whether it was closed.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn is_closed(&self) -> Result<bool, ManagerError> {
        self.remote.call(&Call::IsClosed)
    }
}

impl<T> Queue<T> {
    /// Says that what was put once, and got, is done. Answers `false` if nothing was left to be done: more was said to be
    /// done than was put.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn task_done(&self) -> Result<bool, ManagerError> {
        self.remote.call(&Call::TaskDone)
    }

    /// Waits until all that was put was said to be [done](Queue::task_done).
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn join(&self) -> Result<(), ManagerError> {
        self.remote.call::<bool>(&Call::Join(None)).map(drop)
    }

    /// As [`join`](Queue::join), for no longer than `timeout`. Answers whether all was done.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, ManagerError> {
        self.remote.call(&Call::Join(Some(timeout)))
    }
}

/// Why nothing was put.
#[derive(Debug)]
pub enum PutError<T> {
    /// There was no room in time. The value is given back.
    Full(T),
    /// The queue was closed. The value is given back.
    Closed(T),
    /// The manager could not be asked.
    Manager(ManagerError),
}

/// Why nothing was got.
#[derive(Debug)]
pub enum GetError {
    /// No message came in time.
    Empty,
    /// The queue was closed, and no message is left.
    Closed,
    /// The manager could not be asked.
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
            PutError::Full(_) => f.write_str("the queue has had no room in time"),
            PutError::Closed(_) => f.write_str("the queue was closed"),
            PutError::Manager(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GetError::Empty => f.write_str("no message came in time"),
            GetError::Closed => f.write_str("the queue was closed, and is empty"),
            GetError::Manager(error) => error.fmt(f),
        }
    }
}

impl<T: fmt::Debug> std::error::Error for PutError<T> {}

impl std::error::Error for GetError {}
