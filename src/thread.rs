//! Real OS threads, also after [`patch::threads`](crate::patch::threads): for what has to run on another core, or
//! blocks where nothing can be patched.
//!
//! `std::thread::spawn` makes an OS thread, too, until it is patched, and from then on makes a green thread where
//! a hub is.

use crate::green::{JoinError, Wait};
use crate::hub::{Hub, Promise, RemoteJoinHandle, catch};
use crate::time::NEVER;
use std::cell::Cell;
use std::io;

thread_local! {
    /// Set while an OS thread is being made, so that this one is not patched.
    static MAKING: Cell<bool> = const { Cell::new(false) };
}

/// Whether who calls is making an OS thread.
// it is the patch that asks
#[cfg_attr(
    not(all(feature = "patch", target_env = "gnu", not(target_feature = "crt-static"))),
    allow(dead_code)
)]
pub(crate) fn is_making_one() -> bool {
    MAKING.get()
}

/// An OS thread that is to be made.
///
/// ```
/// let doubled = greenline::thread::Thread::new(|| 21 * 2).name("doubler").start().unwrap();
/// // Others run here meanwhile.
/// assert_eq!(doubled.join().unwrap(), 42);
/// ```
///
/// Source: Python's `threading.Thread`, whose counterpart under gevent is `monkey.get_original`.
#[must_use = "it does nothing until it is started"]
pub struct Thread<F> {
    f: F,
    name: Option<String>,
}

impl<F, T> Thread<F>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    /// One that will run `f`.
    pub fn new(f: F) -> Thread<F> {
        Thread { f, name: None }
    }

    /// The name, in panics and for debuggers. It must not contain a 0.
    pub fn name(mut self, name: impl Into<String>) -> Thread<F> {
        self.name = Some(name.into());
        self
    }

    /// Makes the OS thread and has it run.
    ///
    /// When `f` has returned it can be joined. If green threads were made there by `std::thread::spawn`, the OS thread
    /// goes on for as long as they do, for threads outlive who has made them; others are abandoned, as the crate's
    /// front page says.
    ///
    /// # Errors
    /// There are too many already, or there is no memory for its stack.
    ///
    /// # Panics
    /// When the name contains a 0.
    pub fn start(self) -> io::Result<JoinHandle<T>> {
        let mut builder = std::thread::Builder::new();
        if let Some(name) = self.name {
            builder = builder.name(name);
        }
        let (promise, handle) = Promise::new();
        let f = self.f;
        let outer = MAKING.replace(true);
        let made = builder.spawn(move || run(f, promise));
        MAKING.set(outer);
        made.map(|_| JoinHandle(handle))
    }
}

/// The whole life of the OS thread.
fn run<T>(f: impl FnOnce() -> T, promise: Promise<T>) {
    promise.keep(catch(f));
    if let Some(hub) = crate::hub::existing() {
        hub.wait_for_pthreads();
    }
}

/// An OS thread that was started, and the right to what it returns. Dropping it detaches.
#[derive(Debug)]
pub struct JoinHandle<T>(RemoteJoinHandle<T>);

impl<T> JoinHandle<T> {
    /// Waits for the OS thread to end. Blocks the current green thread and no other; where there is no hub, the
    /// OS thread.
    ///
    /// # Errors
    /// It panicked: [`JoinError::Panicked`].
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        self.0.join()
    }

    /// Whether `join` would answer at once.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// [`join`](Self::join), not ended by kill or timeout: for interposed calls.
    // it is the patch that asks
    #[cfg_attr(
        not(all(feature = "patch", target_env = "gnu", not(target_feature = "crt-static"))),
        allow(dead_code)
    )]
    pub(crate) fn join_shielded(self, hub: &Hub) -> Result<T, JoinError> {
        self.0.join_by(|ticket| {
            hub.park(ticket, NEVER, Wait::For("an OS thread to end"), true);
        })
    }
}
