//! The scheduler's loop. It runs on the root's stack while the root is blocked.
//!
//! ```text
//!   (now and then: poll inbox, signals, timers, reactor) -> pick -> resume -> recycle a finished body
//!                                                             |
//!                                                             +-- run queue empty: idle until a timer or an event;
//!                                                                 if neither can come: deadlock
//! ```
//!
//! Next: `hub/park.rs`, how a green thread leaves its stack for the loop.
#![allow(unsafe_code)]

use super::entry;
use super::fields::{ACCOUNT, Hub, RECYCLE, RESTORE_SIGMASK};
use super::futex;
use super::state::{HubState, TimerAction};
use super::trace_event::Event;
use crate::context::{ActiveContext, Context};
use crate::green::{BodyState, Green, GreenState};
use crate::ids::{GreenId, ParkResult, Ticket};
use crate::policy::{ReadyReason, StopReason};
use crate::stack::StackSize;
use crate::sys::abort::AbortOnUnwind;
use crate::sys::current_word;
use crate::sys::hint::unlikely;
use crate::time::{NEVER, Time};
use crate::tls;
use crate::tls::{PthreadKind, Tcb};
use std::cell::RefMut;

/// How long the hub sleeps, in nanoseconds, when only a futex wake of another OS thread can end the sleep. Then it checks
/// again whether there is another OS thread.
const RECHECK_OS_THREADS: Time = 1_000_000_000;

/// Suspends the running green thread, whose context is `context`. Returns when the loop resumes it.
#[inline(always)]
pub(super) fn suspend_current(context: ActiveContext) {
    // SAFETY: the hub's `context` is that of the running green thread, which `run_one` has resumed. If the caller runs on a
    // generator's stack, that was resumed from this context and stays suspended with it.
    unsafe { context.suspend() }
}

impl Hub {
    /// Runs green threads until the policy picks the root; then returns `true`. Returns `false` if no green thread is ready
    /// and nothing can make one ready.
    #[inline(never)]
    pub(super) fn run(&self) -> bool {
        // An unwind must not leave the loop: suspended green threads, and the root, would never run again.
        let guard = AbortOnUnwind("a policy panicked");
        self.status.set_current(GreenId::HUB);
        if unlikely(self.after_switch.get() & ACCOUNT != 0) {
            self.after_switch.set(self.after_switch.get() & !ACCOUNT);
            self.account(GreenId::ROOT);
        }
        let alive = loop {
            if unlikely(self.poll_interval.should_poll_now()) {
                self.poll_all_sources();
            }
            let mut state = self.state.borrow_mut();
            if unlikely(state.ready.is_custom()) {
                self.prepare_custom_pick(&state);
            }
            match state.ready.pick() {
                // A policy may pick the root while the root is parked. Then the root parks again.
                Some(GreenId::ROOT) => break true,
                Some(id) => self.run_one(id, state),
                None => {
                    drop(state);
                    if !self.idle() {
                        break false;
                    }
                }
            }
        };
        self.load_os_thread_tcb();
        let mut state = self.state.borrow_mut();
        let root = state.record_mut(GreenId::ROOT);
        root.state = GreenState::Runnable;
        self.interrupted.set(root.interrupted);
        self.status.set_current(GreenId::ROOT);
        self.context.set(None);
        self.status.count_switch();
        drop(state);
        guard.disarm();
        self.emit(Event::Run(GreenId::ROOT));
        alive
    }

    /// Prepares for a custom policy: its code runs with the OS thread's own TCB, and accounts for the green thread that it
    /// picks.
    #[cold]
    #[inline(never)]
    fn prepare_custom_pick(&self, state: &HubState) {
        self.load_os_thread_tcb();
        self.after_switch.set(self.after_switch.get() | ACCOUNT);
        state.prefetch_custom(self.status.alive());
    }

    /// Polls the inbox, the signal counts, the timers, and (less often) the reactor.
    #[inline(never)]
    fn poll_all_sources(&self) {
        if self.has_messages() {
            self.load_os_thread_tcb();
            self.drain_inbox();
        }
        self.spawn_signal_handlers();
        self.fire_timers();
        if self.fd_waiters.get() > 0 && self.poll_interval.should_poll_reactor(self.status.switches()) {
            self.poll_reactor(0);
        }
    }

    /// Runs `id` until it leaves its stack. Ends the borrow of `state` before the switch.
    #[inline(always)]
    fn run_one(&self, id: GreenId, mut state: RefMut<'_, HubState>) {
        let Some(green) = state.green(id).filter(|green| green.state == GreenState::Runnable) else {
            drop(state);
            return self.note_wrong_pick(id);
        };
        let context = match green.context {
            Some(context) => context,
            None => match self.start(green) {
                Some(context) => context,
                // Another green thread uses the emergency stack: try again later.
                None => return state.ready.ready(id, ReadyReason::Yielded),
            },
        };
        let (tcb, interrupted, record) = (green.tcb, green.interrupted, &raw const *green);
        let has_mask = green.has_mask;
        let is_cold = (self.fd_waiters.get() > 0) | tls::is_enabled();
        state.prefetch(record, id, is_cold, self.status.alive());
        drop(state);
        self.status.count_switch();
        self.interrupted.set(interrupted);
        if unlikely(self.observed.get()) {
            self.notify_run(id);
        }
        self.status.set_current(id);
        self.context.set(Some(context));
        if unlikely(has_mask) {
            self.install_sigmask(id);
        }
        self.load_tcb(tcb);
        // SAFETY: `start` has given the context a body. The state was Runnable, so the context is suspended. Only this loop
        // resumes contexts of green threads.
        unsafe { context.resume() };
        self.status.set_current(GreenId::HUB);
        if unlikely(self.after_switch.get() != 0) {
            let work = self.after_switch.replace(0);
            if work & ACCOUNT != 0 {
                self.account(id);
            }
            if work & RESTORE_SIGMASK != 0 {
                self.sigmask.get().block();
            }
            if work & RECYCLE != 0 {
                self.recycle(id, context);
            }
        }
    }

    /// Accounts for `id`, which has stopped running, to a custom policy.
    #[cold]
    fn account(&self, id: GreenId) {
        let mut state = self.state.borrow_mut();
        let finished = state.record_mut(id).state == GreenState::Finished;
        state.ready.stopped(id, if finished { StopReason::Finished } else { StopReason::Parked });
    }

    #[cold]
    fn note_wrong_pick(&self, id: GreenId) {
        self.defer_log(log::Level::Warn, format!("the policy picked green thread {id}, which is not ready"));
    }

    /// Loads a thread control block that lives, if another one is loaded.
    #[inline(always)]
    fn load_tcb(&self, tcb: Tcb) {
        if tcb != self.loaded_tcb.get() {
            // SAFETY: `loaded_tcb` is the loaded block, as an invariant. `tcb` is a green thread's or the OS thread's, and
            // lives. The loop uses thread-locals only after `load_os_thread_tcb`.
            unsafe { tls::load(self.loaded_tcb.replace(tcb), tcb) };
        }
    }

    /// Loads the OS thread's own thread control block, if another one is loaded. The loop calls this before any code that may
    /// use thread-locals.
    ///
    /// Not inlined, and the code that uses thread-locals must not be inlined into the caller: the compiler assumes that the
    /// address of a thread-local does not change within a function.
    #[inline(never)]
    pub(super) fn load_os_thread_tcb(&self) {
        self.load_tcb(self.tcbs.os_thread_tcb());
    }

    /// Calls `f` with the OS thread's own thread control block loaded. `f` must not switch or unwind.
    pub(crate) fn with_os_thread_tcb(&self, f: impl FnOnce()) {
        /// A function of its own, because of the compiler's assumption: see `load_os_thread_tcb`.
        #[inline(never)]
        fn call(f: impl FnOnce()) {
            f();
        }
        let here = self.loaded_tcb.get();
        self.load_os_thread_tcb();
        call(f);
        self.load_tcb(here);
    }

    /// Gives a green thread its stack, at its first run; until then it is only a record. If there is no memory, the green
    /// thread runs on the emergency stack, where it only drops its body, and its outcome is the error. `None`: another green
    /// thread uses the emergency stack; try again later.
    #[inline(never)]
    fn start(&self, green: &mut Green) -> Option<ActiveContext> {
        let (context, tcb, error) =
            match self.allocate_stack_and_tcb(green.stack_size, PthreadKind::NotPthread) {
                Ok((context, tcb)) => (context, tcb, None),
                Err(error) => (self.emergency_stack.lend(green.id)?, green.tcb, Some(error)),
            };
        let BodyState::NotStarted(mut body) = green.body.replace(BodyState::Running) else {
            unreachable!("a green thread without a context has not started");
        };
        if let Some(error) = error {
            self.defer_log(log::Level::Error, format!("green thread '{}' never runs: {error}", green.name()));
            body = entry::drop_body(body, error);
        }
        // SAFETY: contexts in the pool are idle, and so is the emergency stack when it is lent.
        unsafe { context.assign(body) };
        green.context = Some(context);
        green.tcb = tcb;
        Some(context)
    }

    /// Returns a stack and a thread control block for a new green thread.
    #[inline]
    pub(super) fn allocate_stack_and_tcb(
        &self,
        size: StackSize,
        kind: PthreadKind,
    ) -> std::io::Result<(ActiveContext, Tcb)> {
        let context = self.pool.take(size)?;
        // SAFETY: the context came from the pool just now, and is idle.
        let tcb = unsafe {
            let tcb = self.tcbs.take(current_word::get(), context.bounds(), kind);
            tcb.inspect_err(|_| self.pool.put(context))?
        };
        Ok((context, tcb))
    }

    /// Frees the context and the thread control block of `id`, whose body has ended. Its record stays until its outcome is
    /// taken.
    #[inline(never)]
    fn recycle(&self, id: GreenId, context: ActiveContext) {
        let mut state = self.state.borrow_mut();
        let green = state.record_mut(id);
        green.context = None;
        let tcb = std::mem::replace(&mut green.tcb, self.tcbs.os_thread_tcb());
        // SAFETY: the body has called `finish` and then returned, so the context is idle; the assertion checks it.
        unsafe {
            assert!(context.is_idle(), "a green thread's body continued after it had finished");
            if !self.emergency_stack.give_back(id, context) {
                self.pool.put(context);
            }
        }
        let gone = green.detached.then(|| state.greens.remove(id.key()));
        drop(state);
        if tcb != self.tcbs.os_thread_tcb() {
            self.load_os_thread_tcb();
            self.end_tcb(tcb);
        }
        drop(gone);
        self.emit(Event::Finish(id));
    }

    /// Gives back the thread control block of a green thread that has ended. The block is not loaded.
    fn end_tcb(&self, tcb: Tcb) {
        let left = self.pthreads.get() - usize::from(tcb.is_pthread());
        self.pthreads.set(left);
        // SAFETY: the caller upholds that the block is not loaded and that its green thread runs no more.
        let futex = unsafe { self.tcbs.end(tcb) };
        if left == 0 {
            self.pthread_join_waiter.take().map(|ticket| self.wake(ticket));
        }
        if let Some(futex) = futex {
            futex::wake(futex, usize::MAX, u32::MAX);
        }
    }

    /// Performs the actions of all expired timers. Returns whether there were any.
    fn fire_timers(&self) -> bool {
        let now = self.clock.now();
        self.poll_interval.record_clock_read(now);
        let mut state = self.state.borrow_mut();
        let mut fired = false;
        while let Some(action) = state.timers.pop_expired(now) {
            state.fire(action, now);
            fired = true;
        }
        fired
    }

    /// The run queue is empty: waits for a timer or an event. Returns `false` if neither can come.
    #[inline(never)]
    fn idle(&self) -> bool {
        self.load_os_thread_tcb();
        if self.spawn_signal_handlers() || self.fire_timers() {
            return true;
        }
        // Cancelled timers do not count.
        let deadline = self.state.borrow_mut().next_deadline();
        let (timeout, needs_handle) = match deadline {
            Some(deadline) => (deadline.saturating_sub(self.clock.now()), false),
            None if self.inbox.get().is_some_and(|inbox| inbox.has_handles()) => (NEVER, true),
            None if self.fd_waiters.get() > 0 => (NEVER, false),
            // The end of an OS thread is not announced, so the hub checks again after a while.
            None if self.others_may_wake() => (RECHECK_OS_THREADS, false),
            // The last handle, or the last OS thread, may have left a message.
            None if self.has_messages() => (0, false),
            None => return false,
        };
        if self.has_messages() {
            self.drain_inbox();
        } else if timeout > 0 {
            match self.inbox.get() {
                Some(inbox) => inbox.sleep_unless_pending(needs_handle, || self.poll_reactor(timeout)),
                None => self.poll_reactor(timeout),
            }
        }
        true
    }
}

impl HubState {
    fn fire(&mut self, action: TimerAction, now: Time) {
        match action {
            TimerAction::Wake(id, epoch) => {
                self.wake(Ticket::new(id, epoch), ParkResult::Expired);
            }
            TimerAction::Start(id) => {
                if let Some(green) = self.green(id).filter(|green| green.state == GreenState::Delayed) {
                    green.state = GreenState::Runnable;
                    self.make_ready(id, ReadyReason::Expired);
                }
            }
            TimerAction::Interrupt(id, _) => self.interrupt(id, now),
        }
    }
}
