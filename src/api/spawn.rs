//! Making green threads.

use crate::api::current_hub::current_hub;
use crate::api::join::JoinHandle;
use crate::hub::{Spawn, entry_closure};
use crate::ids::GreenId;
use crate::policy::Attributes;
use crate::stack::StackSize;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Runs `f` in a new green thread of this OS thread's hub, and answers the handle to join it by.
///
/// Nothing runs until the caller blocks: joins, sleeps, yields. Green threads start in the order in which
/// they were spawned. `f` need not be `Send`: a green thread never leaves its OS thread. It gets its stack
/// ([`Builder::stack_size`]) when it first runs; until then it is a record and what `f` has captured.
///
/// ```
/// let shared = std::rc::Rc::new(7);
/// let inside = shared.clone();
/// let handle = greenline::spawn(move || *inside * 6);
/// assert_eq!(handle.join().unwrap(), 42);
/// ```
///
/// # Panics
/// When there is no memory for any stack at all; [`Builder::spawn`] answers an error instead.
///
/// Source: gevent's `spawn`.
#[track_caller]
#[inline]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    start(f, Spawn::new()).unwrap_or_else(refused)
}

/// As [`spawn`], but the green thread becomes ready only when `delay` is over. It can be killed before, and
/// then never runs. Equal times start in the order of the calls.
///
/// Source: gevent's `spawn_later`.
#[doc(alias = "spawn_later")]
#[track_caller]
pub fn spawn_after<F, T>(delay: Duration, f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    start(f, Spawn { delay: Some(delay), ..Spawn::new() }).unwrap_or_else(refused)
}

#[inline]
fn start<F, T>(f: F, spawn: Spawn) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    let hub = current_hub();
    hub.ensure_emergency_stack()?;
    Ok(JoinHandle::new(hub.spawn(spawn, entry_closure(f))))
}

#[cold]
#[track_caller]
fn refused<T>(error: io::Error) -> JoinHandle<T> {
    panic!("failed to spawn a green thread: {error}")
}

/// Chooses the name, the stack size and the delay of a green thread.
///
/// ```
/// let work = greenline::Builder::new().name("work1").stack_size(1 << 20).spawn(|| {
///     assert_eq!(&*greenline::current().name(), "work1");
/// });
/// work.unwrap().join().unwrap();
/// ```
///
/// Source: `std::thread::Builder`.
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until spawn"]
pub struct Builder {
    name: Option<Rc<str>>,
    stack_size: Option<usize>,
    delay: Option<Duration>,
    attributes: Option<Attributes>,
}

impl Builder {
    /// Like [`spawn`](crate::spawn), until told otherwise.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// The name, in reports and panics. `green-N` if there is none.
    pub fn name(mut self, name: impl Into<Rc<str>>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// The stack's size in bytes, rounded up so that, with some 1.5 KiB for the hub, it is a power of two. Some
    /// 250 KiB if not said. Only what is touched costs memory.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// Starts it only after this time, as [`spawn_after`].
    pub fn delay(mut self, delay: Duration) -> Builder {
        self.delay = Some(delay);
        self
    }

    /// Sets what a policy may schedule it by: priority, tickets, a deadline. The default policy ignores it.
    ///
    /// ```
    /// use greenline::{Builder, policy::Attributes};
    /// let urgent = Attributes { priority: 10, ..Attributes::default() };
    /// Builder::new().attributes(urgent).spawn(|| ()).unwrap().join().unwrap();
    /// ```
    pub fn attributes(mut self, attributes: Attributes) -> Builder {
        self.attributes = Some(attributes);
        self
    }

    /// Spawns the green thread.
    ///
    /// # Errors
    /// The stack size is too large to be had. There is no memory for any stack at all; if there is for some,
    /// but not for this one, that is known when the green thread first runs: [`JoinError::NoStack`].
    ///
    /// [`JoinError::NoStack`]: crate::JoinError::NoStack
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let stack_size = match self.stack_size {
            Some(bytes) => StackSize::for_usable(bytes)?,
            None => StackSize::DEFAULT,
        };
        let Builder { name, delay, attributes, .. } = self;
        start(f, Spawn { name, stack_size, delay, attributes, ..Spawn::new() })
    }
}

/// Who is running: a green thread, or the root. In an observer it is nobody: the hub.
///
/// Source: gevent's `getcurrent`, `std::thread::current`.
#[doc(alias = "getcurrent")]
pub fn current() -> Current {
    let hub = current_hub();
    let id = hub.current();
    let name = hub.name_of(id).unwrap_or_else(|| "hub".into());
    Current { id, name }
}

/// What [`current`] answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    id: GreenId,
    name: Rc<str>,
}

impl Current {
    /// Its id.
    pub fn id(&self) -> GreenId {
        self.id
    }

    /// Its name: as it was given, or `green-N`; the OS thread's for the root.
    pub fn name(&self) -> Rc<str> {
        self.name.clone()
    }

    /// Whether it is the root: the OS thread's own stack, in `main` or in the function of a
    /// `std::thread::spawn`.
    pub fn is_root(&self) -> bool {
        self.id == GreenId::ROOT
    }
}
