//! Making green threads, and asking which one runs.
//!
//! Next: `api/sleep.rs`.

use crate::api::current_hub::current_hub;
use crate::api::join::JoinHandle;
use crate::hub::{Spawn, entry_closure};
use crate::ids::GreenId;
use crate::policy::Attributes;
use crate::stack::StackSize;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Runs `f` in a new green thread of this OS thread's hub. Returns the handle to join it by.
///
/// The new green thread does not run before the caller blocks: joins, sleeps, yields. Green threads start in the order in
/// which they were spawned. `f` need not be `Send`, because a green thread never leaves its OS thread. It gets its stack
/// ([`Builder::stack_size`]) when it first runs. Until then it is a record and the captures of `f`.
///
/// ```
/// let shared = std::rc::Rc::new(7);
/// let inside = shared.clone();
/// let handle = greenline::spawn(move || *inside * 6);
/// assert_eq!(handle.join().unwrap(), 42);
/// ```
///
/// # Panics
/// If there is no memory for any stack at all. [`Builder::spawn`] returns an error instead.
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

/// Spawns as [`spawn`] does, but the green thread becomes ready only when `delay` has passed. If it is killed before, it
/// never runs. Green threads with the same deadline start in the order of the calls.
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
    /// Returns a builder with the settings of [`spawn`](crate::spawn).
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Sets the name, for reports and panics. The default is `green-N`.
    pub fn name(mut self, name: impl Into<Rc<str>>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// Sets the stack's size in bytes. It is rounded up so that, with some 1.5 KiB for the hub, it is a power of two. The
    /// default is some 250 KiB. Only pages that are touched cost memory.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// Sets a delay before the start, as [`spawn_after`] does.
    pub fn delay(mut self, delay: Duration) -> Builder {
        self.delay = Some(delay);
        self
    }

    /// Sets the attributes by which a policy may schedule: priority, tickets, a deadline. The default policy ignores them.
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
    /// The stack size is too large. There is no memory for any stack at all. If there is memory for some stacks but not for
    /// this one, that is known only when the green thread first runs: [`JoinError::NoStack`].
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

/// Returns the running green thread, or the root. In an observer it is the hub, with the name `hub`.
///
/// Source: gevent's `getcurrent`, `std::thread::current`.
#[doc(alias = "getcurrent")]
pub fn current() -> Current {
    let hub = current_hub();
    let id = hub.current();
    let name = hub.name_of(id).unwrap_or_else(|| "hub".into());
    Current { id, name }
}

/// The running green thread or the root, as [`current`] returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    id: GreenId,
    name: Rc<str>,
}

impl Current {
    /// Returns the id.
    pub fn id(&self) -> GreenId {
        self.id
    }

    /// Returns the name: the given one, or `green-N`. The root has the name of the OS thread.
    pub fn name(&self) -> Rc<str> {
        self.name.clone()
    }

    /// Returns whether this is the root: the OS thread's own stack, in `main` or in the function of a
    /// `std::thread::spawn`.
    pub fn is_root(&self) -> bool {
        self.id == GreenId::ROOT
    }
}
