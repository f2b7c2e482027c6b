//! The hub of one OS thread: its fields, and the invariants that the files of `hub/` keep.
//!
//! Next: `hub/state.rs`, the records of the green threads.

use super::emergency_stack::EmergencyStack;
use super::inbox::Inbox;
use super::poll_interval::PollInterval;
use super::state::HubState;
use super::status::HubStatus;
use super::subscriptions::Subscriptions;
use super::trace_event::Event;
use crate::context::{ActiveContext, Context, ContextPool};
use crate::green::{BodyState, Green};
use crate::ids::{GreenId, Ticket};
use crate::policy::Fifo;
use crate::policy::RunQueue;
use crate::reactor::Reactor;
use crate::sys::sigset::Signals;
use crate::time::{Clock, MonotonicClock, Timers};
use crate::tls::{Tcb, TcbPool};
use slab::Slab;
use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::ops::Range;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

/// The hub of one OS thread.
///
/// **Invariants**, and the file that asserts each (in debug builds where it would cost a switch):
/// 1. No borrow of `state` is alive over a switch. A borrow that was would make the next one panic (`RefCell`).
/// 2. A green thread is in exactly one of: run queue, running, parked, delayed, finished. `scheduler.rs` passes over a pick
///    that is not ready; `park.rs` asserts that a green thread that parks was running.
/// 3. A green thread parks only with a ticket that it took itself; `park.rs` asserts it. With a stale ticket, `park` returns
///    at once.
/// 4. Only the loop resumes contexts of green threads, and only idle contexts are recycled; `scheduler.rs` asserts it.
/// 5. `loaded_tcb` is the thread control block that is loaded. The loop uses thread-locals only after
///    `load_os_thread_tcb`.
/// 6. `status.current()` is `GreenId::HUB` exactly while the hub's own code runs, and no code may block then; `park.rs`
///    asserts it.
///
/// The fields that every switch touches come first: after a system call few of them are in the nearest cache, so they lie
/// in few cache lines.
#[repr(C, align(64))]
pub(crate) struct Hub {
    /// The running green thread and the number of switches; other OS threads may read it.
    pub(super) status: HubStatus,
    /// Context of the running green thread; `None` for the root.
    pub(super) context: Cell<Option<ActiveContext>>,
    /// The thread control block that is loaded.
    pub(super) loaded_tcb: Cell<Tcb>,
    /// Number of green threads that wait for a descriptor.
    pub(super) fd_waiters: Cell<u32>,
    /// Work for the loop after the switch back: any of [`RECYCLE`], [`RESTORE_SIGMASK`], [`ACCOUNT`].
    pub(super) after_switch: Cell<u8>,
    /// Whether the running green thread has an interrupt to deliver.
    pub(super) interrupted: Cell<bool>,
    /// The hub shuts down: every blocking call is interrupted by a kill.
    pub(super) closing: Cell<bool>,
    /// Whether there is an observer.
    pub(super) observed: Cell<bool>,
    pub(super) poll_interval: PollInterval,
    pub(super) state: RefCell<HubState>,
    pub(super) reactor: Reactor,

    pub(super) clock: Rc<dyn Clock>,
    pub(super) pool: ContextPool,
    pub(super) tcbs: TcbPool,
    pub(super) emergency_stack: EmergencyStack,
    /// Number of green threads that `pthread_create` has made and that have not ended.
    pub(super) pthreads: Cell<usize>,
    /// The root's ticket while it waits for `pthreads` to be 0.
    pub(super) pthread_join_waiter: Cell<Option<Ticket>>,
    /// Number of green threads that wait for a word that any OS thread may change.
    pub(super) futex_waiters: Cell<u32>,
    /// Switch count at the last poll that did not wait, and number of such polls since then.
    pub(super) nonblocking_polls: Cell<(u64, u32)>,
    /// Messages of other OS threads. Empty until the first handle is made.
    pub(super) inbox: OnceCell<Arc<Inbox>>,
    pub(super) signals: Subscriptions,
    /// The OS thread's signal mask while no green thread runs that has its own; kept here while one runs.
    pub(super) sigmask: Cell<Signals>,
    pub(super) observer: RefCell<Option<Box<dyn FnMut(Event)>>>,
    /// Lines that are logged when the root next runs.
    pub(super) deferred_logs: RefCell<Vec<(log::Level, String)>>,
}

/// A hub is made on the stack of whatever code needs it first, and an OS thread's stack may be small.
const _: () = assert!(size_of::<Hub>() <= 2048);

/// `after_switch`: the body has ended; recycle its context and its thread control block.
pub(super) const RECYCLE: u8 = 1;
/// `after_switch`: account for the run to a custom policy.
pub(super) const ACCOUNT: u8 = 4;
/// `after_switch`: the green thread has its own signal mask installed; restore the OS thread's.
pub(super) const RESTORE_SIGMASK: u8 = 2;

impl Hub {
    pub(super) fn new() -> Hub {
        let tcbs = TcbPool::new();
        let name: Rc<str> = std::thread::current().name().unwrap_or("root").into();
        let mut greens = Slab::new();
        let mut root =
            Green::new(GreenId::ROOT, tcbs.os_thread_tcb(), BodyState::Running, Location::caller());
        root.detached = true;
        root.name = Some(Box::new(name.clone()));
        let root = greens.insert(root);
        debug_assert_eq!(root, GreenId::ROOT.key());
        Hub {
            state: RefCell::new(HubState {
                greens,
                ready: RunQueue::Fifo(Fifo::default()),
                timers: Timers::new(),
                unreported_wakes: None,
                join_all_waiter: None,
                next_serial: 1,
                next_timeout: 0,
            }),
            status: HubStatus::new(&name),
            context: Cell::new(None),
            after_switch: Cell::new(0),
            interrupted: Cell::new(false),
            closing: Cell::new(false),
            poll_interval: PollInterval::default(),
            clock: Rc::new(MonotonicClock::new()),
            pool: ContextPool::default(),
            loaded_tcb: Cell::new(tcbs.os_thread_tcb()),
            tcbs,
            emergency_stack: EmergencyStack::new(),
            reactor: Reactor::default(),
            pthreads: Cell::new(0),
            pthread_join_waiter: Cell::new(None),
            futex_waiters: Cell::new(0),
            fd_waiters: Cell::new(0),
            nonblocking_polls: Cell::new((0, 0)),
            inbox: OnceCell::new(),
            signals: Subscriptions::default(),
            sigmask: Cell::new(Signals::default()),
            observer: RefCell::new(None),
            observed: Cell::new(false),
            deferred_logs: RefCell::default(),
        }
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn tcbs(&self) -> &TcbPool {
        &self.tcbs
    }

    pub(crate) fn pool(&self) -> &ContextPool {
        &self.pool
    }

    pub(crate) fn reactor(&self) -> &Reactor {
        &self.reactor
    }

    pub(crate) fn status(&self) -> &HubStatus {
        &self.status
    }

    /// Returns the running green thread; `GreenId::HUB` while the loop runs.
    #[inline(always)]
    pub(crate) fn current(&self) -> GreenId {
        self.status.current()
    }

    /// Returns whether a green thread runs and the hub has made exactly `switches` switches. For a signal handler on the
    /// hub's OS thread.
    pub(crate) fn is_same_time_slice(&self, switches: u64) -> bool {
        self.status.switches() == switches && self.current() != GreenId::HUB
    }

    /// Returns whether a blocking call made now may park: user code runs, not the hub's own. (A signal handler may have
    /// interrupted the hub's own code.)
    pub(crate) fn can_block(&self) -> bool {
        self.current() != GreenId::HUB
            && self.state.try_borrow_mut().is_ok()
            && self.reactor.is_reentrant_safe()
    }

    /// Calls `f` as if no green thread ran: blocking calls are refused, interposed calls are the plain system calls.
    pub(crate) fn with_blocking_disabled<R>(&self, f: impl FnOnce() -> R) -> R {
        /// `f` may unwind.
        struct EnableOnDrop<'a>(&'a Hub, GreenId, Option<ActiveContext>);
        impl Drop for EnableOnDrop<'_> {
            fn drop(&mut self) {
                self.0.status.set_current(self.1);
                self.0.context.set(self.2);
            }
        }
        let _enable = EnableOnDrop(self, self.current(), self.context.replace(None));
        self.status.set_current(GreenId::HUB);
        f()
    }

    /// Returns the addresses of the running green thread's stack; `None` for the root and for the loop.
    #[allow(unsafe_code)]
    pub(crate) fn stack_of_current(&self) -> Option<Range<usize>> {
        // SAFETY: the context of the running green thread is not retired; the loop keeps this invariant.
        self.context.get().map(|context| unsafe { context.bounds() })
    }

    /// Makes sure of a stack on which a body is dropped that has no stack of its own.
    ///
    /// Errors: there is no memory for it.
    #[inline]
    pub(crate) fn ensure_emergency_stack(&self) -> io::Result<()> {
        self.emergency_stack.ensure(&self.pool)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.emergency_stack.release(&self.pool);
    }
}

#[cfg(test)]
mod tests {
    use crate::api::current_hub::current_hub;
    use crate::api::{sleep::sleep, spawn::spawn};
    use std::panic::{catch_unwind, resume_unwind};
    use std::time::Duration;

    #[test]
    fn with_blocking_disabled_of_a_function_that_unwinds_enables_blocking() {
        let green = spawn(|| {
            let unwinds = || current_hub().with_blocking_disabled(|| resume_unwind(Box::new(())));
            assert!(catch_unwind(unwinds).is_err());
            assert!(current_hub().can_block());
            sleep(Duration::from_millis(1));
        });
        green.join().unwrap();
    }
}
