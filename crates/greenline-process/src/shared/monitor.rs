//! **The one way to block between processes** (a monitor): a state, changed by one process at a time, and condition
//! variables.
//!
//! ```text
//!   the mapping: | mutex | current: 0 or 1 | state 0 | state 1 | has_waiters, a word for each condvar | memory ... |
//! ```
//!
//! *A transaction* works on a copy of the state. To commit, it writes the copy over the state that is not current, and then
//! makes that one current by one store. A process that is killed before the store leaves the old state, and one that is
//! killed after it the new state. The kernel opens the mutex, and the next process goes on. The `memory` after the states
//! is for data that is too large to be copied. It is changed only where the current state says that nothing is.
//!
//! *A wait* is a transaction that is not possible yet. The waiter finds that, still holding the mutex, sets the condition
//! variable's `has_waiters`, and then parks. A transaction that makes others possible [notifies](Transaction::notify_all)
//! the condition variable: if it has waiters, all of them are woken, and it has none any more. They find the mutex locked
//! until the transaction is committed. Then each tries again, and waits again if it still cannot go on.
//!
//! Waiters are notified *before* the commit. If the process is killed in between, they wake up and find nothing, which is
//! harmless. With the opposite order they would sleep forever next to available data. For the same reason `has_waiters` is
//! reset only after all were woken. Because nothing is notified unless it has waiters, no process makes a system call as
//! long as no process waits.
//!
//! Next: `shared/mutex.rs`, the mutex that survives its holder.

use super::condvar::CondVar;
use super::mapping::Mapping;
use super::mutex::{Guard, Mutex};
use super::process_id::ExitWatch;
use super::robust_list;
use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut, Range};
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// A state `S` that processes share; a handle to it. The state must mean the same in all of them: it has no addresses of
/// allocated memory, and no descriptors that were opened after the fork.
#[derive(Clone)]
pub(crate) struct Monitor<S>(Arc<Inner<S>>);

struct Inner<S> {
    mapping: Mapping,
    condvars: Box<[CondVar]>,
    /// Offset in the mapping at which the memory beside the state begins.
    memory_at: usize,
    state: PhantomData<S>,
}

// SAFETY: only the holder of the mutex uses the states. The rest is an address and descriptors.
unsafe impl<S: Send> Send for Inner<S> {}
// SAFETY: the same.
unsafe impl<S: Send> Sync for Inner<S> {}

/// The first part of the mapping.
#[repr(C)]
struct Header<S> {
    mutex: Mutex,
    /// Index of the current state.
    current: AtomicU32,
    states: [UnsafeCell<MaybeUninit<S>>; 2],
}

/// Least alignment of the memory beside the state: a cache line.
const ALIGNMENT: usize = 64;

/// Time limit of a call.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    /// It returns at once.
    Nonblocking,
    Until(Instant),
    Unlimited,
}

impl Limit {
    /// Returns the limit of a call that waits for at most `timeout`.
    pub(crate) fn timeout(timeout: Duration) -> Limit {
        Instant::now().checked_add(timeout).map_or(Limit::Unlimited, Limit::Until)
    }
}

impl<S: Copy> Monitor<S> {
    /// Returns a monitor with that many condition variables.
    ///
    /// Errors: no memory, no descriptor left; the kernel cannot open the locks of processes that die.
    pub(crate) fn new(initial: S, condvars: usize) -> io::Result<Monitor<S>> {
        Monitor::with_memory(initial, condvars, 0)
    }

    /// Returns a monitor with `size` bytes of memory beside its state. They are zeros, and aligned to 64 bytes, or
    /// as the state if that needs more.
    ///
    /// Errors: those of `new`.
    pub(crate) fn with_memory(initial: S, condvars: usize, size: usize) -> io::Result<Monitor<S>> {
        robust_list::check_support()?;
        // The kernel's pages have at least 4096 bytes.
        const { assert!(align_of::<Header<S>>() <= 4096, "a mapping begins at a page") };
        let words = condvars * size_of::<AtomicU32>();
        let memory_at = (size_of::<Header<S>>() + words).next_multiple_of(ALIGNMENT.max(align_of::<S>()));
        let size = memory_at.checked_add(size).ok_or(io::ErrorKind::OutOfMemory)?;
        let condvars = (0..condvars).map(|_| CondVar::new()).collect::<io::Result<_>>()?;
        let inner = Inner { mapping: Mapping::shared(size)?, condvars, memory_at, state: PhantomData };
        let monitor = Monitor(Arc::new(inner));
        // SAFETY: no other code has it yet. The zeros of the rest are a free mutex, index 0, and no waiters.
        unsafe { (*monitor.header().states[0].get()).write(initial) };
        Ok(monitor)
    }

    /// Returns a copy of the state.
    pub(crate) fn snapshot(&self) -> S {
        *self.lock()
    }

    /// Changes the state by `f`. If `f` unwinds, nothing has changed.
    ///
    /// While `f` runs, no process can use the monitor. So `f` should be short. It must not block, use another monitor, or
    /// run code of a user.
    #[inline]
    pub(crate) fn change<R>(&self, f: impl FnOnce(&mut Transaction<'_, S>) -> R) -> R {
        let mut transaction = self.lock();
        let result = f(&mut transaction);
        transaction.commit();
        result
    }

    /// Changes the state as [`change`](Monitor::change) does, if `f` can. If `f` returns `None`, nothing has changed.
    #[inline]
    pub(crate) fn try_change<R>(&self, f: impl FnOnce(&mut Transaction<'_, S>) -> Option<R>) -> Option<R> {
        let mut transaction = self.lock();
        let result = f(&mut transaction)?;
        transaction.commit();
        Some(result)
    }

    /// Tries as [`try_change`](Monitor::try_change) does. If `f` cannot, registers the caller as a waiter of `condvar`.
    #[inline]
    pub(crate) fn try_change_or_register<R>(
        &self,
        condvar: usize,
        f: impl FnOnce(&mut Transaction<'_, S>) -> Option<R>,
    ) -> Option<R> {
        self.try_change(|transaction| {
            let result = f(transaction);
            if result.is_none() {
                self.has_waiters(condvar).store(1, Relaxed);
            }
            result
        })
    }

    /// Waits at `condvar` until `f` can. If the limit is over and `f` still cannot, returns `None`. Parks the running green
    /// thread.
    ///
    /// Unwinds when the green thread is killed or a timeout around it fires, but never after `f` could.
    #[inline]
    pub(crate) fn wait<R>(
        &self,
        condvar: usize,
        limit: Limit,
        mut f: impl FnMut(&mut Transaction<'_, S>) -> Option<R>,
    ) -> Option<R> {
        self.wait_watching(condvar, limit, |transaction, _| f(transaction))
    }

    /// Waits as [`wait`](Monitor::wait) does. `f` may also ask `watch` whether a process has exited, and is called again
    /// when it has.
    #[inline]
    pub(crate) fn wait_watching<R>(
        &self,
        condvar: usize,
        limit: Limit,
        mut f: impl FnMut(&mut Transaction<'_, S>, &mut ExitWatch) -> Option<R>,
    ) -> Option<R> {
        let deadline = if let Limit::Until(deadline) = limit { Some(deadline) } else { None };
        let mut is_over = matches!(limit, Limit::Nonblocking);
        let mut watch = ExitWatch::default();
        loop {
            let result = match is_over {
                true => self.try_change(|transaction| f(transaction, &mut watch)),
                false => self.try_change_or_register(condvar, |transaction| f(transaction, &mut watch)),
            };
            if result.is_some() {
                return result;
            }
            if watch.end_look() {
                continue;
            }
            if is_over {
                return None;
            }
            is_over = !self.0.condvars[condvar].wait(deadline, watch.as_raw_fd());
        }
    }

    /// Waits without a limit as [`wait`](Monitor::wait) does, for what is expected soon (spin-then-park).
    pub(crate) fn wait_spinning<R>(
        &self,
        condvar: usize,
        mut f: impl FnMut(&mut Transaction<'_, S>) -> Option<R>,
    ) -> R {
        loop {
            if let Some(result) = self.try_change_or_register(condvar, &mut f) {
                return result;
            }
            self.spin_then_park(condvar, None, None);
        }
    }

    /// Waits until `condvar` was notified since this OS thread last registered as a waiter, or until `beside` is readable.
    /// If the deadline has passed, returns `false`. The caller must look again. May spin before it parks.
    pub(crate) fn spin_then_park(
        &self,
        condvar: usize,
        deadline: Option<Instant>,
        beside: Option<RawFd>,
    ) -> bool {
        // `Transaction::notify_all` resets the word after the wake-up.
        let is_notified = || self.has_waiters(condvar).load(Acquire) == 0;
        self.0.condvars[condvar].spin_then_wait(is_notified, deadline, beside)
    }

    #[inline]
    fn lock(&self) -> Transaction<'_, S> {
        let header = self.header();
        let guard = header.mutex.lock();
        let state = header.states[header.current.load(Relaxed) as usize].get();
        // SAFETY: this OS thread holds the mutex. The current state was written before it was made current.
        Transaction { state: unsafe { (*state).assume_init() }, monitor: self, _guard: guard }
    }

    fn header(&self) -> &Header<S> {
        // SAFETY: the mapping begins with it, at a page; `memory_at` leaves room for it. Zeros are a valid header.
        unsafe { self.0.mapping.start.cast().as_ref() }
    }

    /// Returns the word that is 1 if the condition variable may have waiters. Only the holder of the mutex changes it.
    fn has_waiters(&self, condvar: usize) -> &AtomicU32 {
        assert!(condvar < self.0.condvars.len(), "there is no condition variable {condvar}");
        // SAFETY: a word for each condition variable follows the header, whose size is a multiple of its alignment.
        unsafe { self.0.mapping.start.cast::<Header<S>>().add(1).cast::<AtomicU32>().add(condvar).as_ref() }
    }

    /// Returns where `size` bytes of the memory beside the state begin.
    ///
    /// # Panics
    /// There is less memory.
    #[inline]
    pub(crate) fn memory(&self, at: usize, size: usize) -> NonNull<u8> {
        let memory = self.0.mapping.size - self.0.memory_at;
        assert!(size <= memory && at <= memory - size, "{size} bytes at {at} of a memory of {memory}");
        // SAFETY: within the mapping, by the assertion.
        unsafe { self.0.mapping.start.add(self.0.memory_at + at) }
    }
}

impl<S: Copy + fmt::Debug> fmt::Debug for Monitor<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

/// A transaction. It derefs to its copy of the state.
pub(crate) struct Transaction<'a, S: Copy> {
    state: S,
    monitor: &'a Monitor<S>,
    _guard: Guard<'a>,
}

impl<S: Copy> Transaction<'_, S> {
    /// Wakes all waiters of `condvar`. They look again after the commit. Returns whether it may have had any.
    #[inline]
    pub(crate) fn notify_all(&self, condvar: usize) -> bool {
        let word = self.monitor.has_waiters(condvar);
        let has_waiters = word.load(Relaxed) != 0;
        if has_waiters {
            self.monitor.0.condvars[condvar].notify_all();
            // If the process is killed between the two, the waiters were woken in vain.
            word.store(0, Release);
        }
        has_waiters
    }

    /// Copies `values` to the memory beside the state, from byte `at`. Where the current state says that something is, the
    /// memory must stay as it is until the commit, which may never come.
    ///
    /// # Panics
    /// There is less memory.
    #[inline]
    pub(crate) fn write<T: Copy>(&self, at: usize, values: &[T]) {
        let size = size_of_val(values);
        let memory = self.memory(at, size);
        // SAFETY: `memory` has checked the size, and the mutex is held.
        unsafe { memory.copy_from_nonoverlapping(NonNull::from(values).cast(), size) };
    }

    /// Reads the memory beside the state.
    ///
    /// # Panics
    /// There is less memory.
    #[inline]
    pub(crate) fn read(&self, at: usize, bytes: &mut [u8]) {
        let memory = self.memory(at, bytes.len());
        // SAFETY: `memory` has checked the length; the bytes are zeros or were written; the mutex is held.
        unsafe { memory.copy_to_nonoverlapping(NonNull::from(&mut *bytes).cast(), bytes.len()) };
    }

    /// Returns where `size` bytes of the memory begin.
    ///
    /// # Panics
    /// There is less memory.
    #[inline]
    pub(crate) fn memory(&self, at: usize, size: usize) -> NonNull<u8> {
        self.monitor.memory(at, size)
    }

    /// Frees the whole pages in `range` of the memory. They are zeros afterwards.
    pub(crate) fn free_pages(&self, range: Range<usize>) {
        let start = self.monitor.0.memory_at;
        self.monitor.0.mapping.free_pages(start + range.start..start + range.end);
    }

    /// Commits what was changed so far. Only a caller that goes on to change memory of which the old state spoke needs
    /// this.
    #[inline]
    pub(crate) fn commit(&self) {
        let header = self.monitor.header();
        let other = 1 - header.current.load(Relaxed);
        // SAFETY: the mutex is held, and this state is not the current one.
        unsafe { (*header.states[other as usize].get()).write(self.state) };
        // Release: earlier writes, to the memory as well, are visible to every process that sees this index.
        header.current.store(other, Release);
    }
}

impl<S: Copy> Deref for Transaction<'_, S> {
    type Target = S;

    #[inline]
    fn deref(&self) -> &S {
        &self.state
    }
}

impl<S: Copy> DerefMut for Transaction<'_, S> {
    #[inline]
    fn deref_mut(&mut self) -> &mut S {
        &mut self.state
    }
}
