//! A lock between processes that is not lost with its holder.

use super::shared::{ExitFd, Monitor, ProcessId, Transaction};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A lock that processes share: held by one at a time, for as long as it likes.
///
/// Make it before the processes that use it, and let their closures have a clone. Who waits for it blocks the green thread
/// that calls and no other; if it is free, no system call is made. It is not a thread's but a green thread's, who would wait
/// for ever to take it twice.
///
/// ```
/// use greenline::process::{Lock, Process};
///
/// let lock = Lock::new().unwrap();
/// let inside = lock.clone();
/// let child = Process::new(move || {
///     std::mem::forget(inside.lock()); // and dies with it
/// });
/// child.start().unwrap().join().unwrap();
/// assert!(lock.lock().was_abandoned());
/// assert!(!lock.lock().was_abandoned());
/// ```
///
/// When the process that holds it ends, however it does, one that waits has it next, and can see that by
/// [`was_abandoned`](LockGuard::was_abandoned): what the lock guards may be half done.
///
/// Source: Python's `multiprocessing.Lock`, which stays locked when its holder is killed.
#[derive(Clone)]
pub struct Lock {
    monitor: Arc<Monitor<State>>,
}

#[derive(Clone, Copy)]
struct State {
    holder: Option<ProcessId>,
}

const GATE: usize = 0;

/// The lock is held, until this is dropped. Made by [`Lock::lock`].
#[must_use = "dropped, it is released"]
pub struct LockGuard<'a> {
    lock: &'a Lock,
    holder: ProcessId,
    abandoned: bool,
}

impl Lock {
    /// One that is free.
    ///
    /// # Errors
    /// No memory, no descriptor left; or the kernel has no robust lists, which it needs to bear the death of its users.
    pub fn new() -> io::Result<Lock> {
        Ok(Lock { monitor: Arc::new(Monitor::new(State { holder: None }, 1)?) })
    }

    /// Takes it; waits while another has it.
    ///
    /// That its holder was killed is not noticed while this process has no descriptor left to watch it by.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires; then it was not taken.
    pub fn lock(&self) -> LockGuard<'_> {
        self.lock_until(None).expect("there is no deadline")
    }

    /// As [`lock`](Lock::lock), for no longer than `timeout`.
    pub fn lock_timeout(&self, timeout: Duration) -> Option<LockGuard<'_>> {
        self.lock_until(Instant::now().checked_add(timeout))
    }

    /// Takes it if it is free, or if its holder has ended.
    pub fn try_lock(&self) -> Option<LockGuard<'_>> {
        let attempt = Attempt::new();
        let mut taken = self.monitor.try_change(|state| attempt.take(state));
        if taken.is_none() && attempt.watch().is_some() {
            taken = self.monitor.try_change(|state| attempt.take(state));
        }
        taken.map(|abandoned| LockGuard { lock: self, holder: attempt.by, abandoned })
    }

    fn lock_until(&self, deadline: Option<Instant>) -> Option<LockGuard<'_>> {
        let attempt = Attempt::new();
        let abandoned =
            self.monitor.wait_beside(GATE, deadline, || attempt.watch(), |state| attempt.take(state))?;
        Some(LockGuard { lock: self, holder: attempt.by, abandoned })
    }

    /// Whether somebody has it.
    pub fn is_locked(&self) -> bool {
        self.monitor.snapshot().holder.is_some()
    }
}

/// One that wants the lock.
struct Attempt {
    by: ProcessId,
    /// Who had it when we last looked, if another process did.
    holder: Cell<Option<ProcessId>>,
    /// By what we see its end.
    end: RefCell<Option<ExitFd>>,
}

impl Attempt {
    fn new() -> Attempt {
        Attempt { by: ProcessId::current(), holder: Cell::new(None), end: RefCell::new(None) }
    }

    /// Takes it if it is free, or if its holder is known to have ended: `true`.
    #[inline]
    fn take(&self, state: &mut Transaction<'_, State>) -> Option<bool> {
        let abandoned = match state.holder {
            None => false,
            Some(holder) if self.has_ended(holder) => true,
            Some(holder) => {
                self.holder.set(Some(holder).filter(|&holder| holder != self.by));
                return None;
            }
        };
        state.holder = Some(self.by);
        Some(abandoned)
    }

    fn has_ended(&self, holder: ProcessId) -> bool {
        self.end.borrow().as_ref().is_some_and(|end| end.of() == holder && end.has_come())
    }

    /// The descriptor to see the holder's end by, if it is another process.
    fn watch(&self) -> Option<RawFd> {
        let holder = self.holder.get()?;
        let mut end = self.end.borrow_mut();
        if end.as_ref().is_none_or(|end| end.of() != holder) {
            *end = holder.end().ok();
        }
        end.as_ref().map(ExitFd::as_raw_fd)
    }
}

impl<'a> LockGuard<'a> {
    /// Whether the process that held it before has ended without releasing it.
    pub fn was_abandoned(&self) -> bool {
        self.abandoned
    }

    /// What it is a guard of.
    pub(super) fn lock(&self) -> &'a Lock {
        self.lock
    }
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        // In a child that was forked meanwhile this is a copy, and the lock is its parent's.
        if self.holder == ProcessId::current() {
            self.lock.monitor.change(|state| {
                state.notify_all(GATE);
                state.holder = None;
            });
        }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("locked", &self.is_locked()).finish()
    }
}

impl fmt::Debug for LockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard").field("was_abandoned", &self.abandoned).finish()
    }
}
