//! The loop. It runs on the root's stack, while the root is blocked.
//!
//! ```text
//!   (now and then: remote inbox, due timers) -> pick -> resume it -> put away what it left
//!                                                  |
//!                                                  +-- nobody ready: wait for the next timer or a call
//!                                                      from outside; if neither can come: deadlock
//! ```
#![allow(unsafe_code)]

use super::entry;
use super::fields::{ACCOUNT, Hub, RECYCLE, RESTORE_SIGMASK};
use super::state::{State, TimerAction};
use super::trace_event::Event;
use crate::context::{ActiveContext, Context};
use crate::green::{BodyState, Green, State as GreenState};
use crate::ids::{GreenId, WakeReason};
use crate::policy::{ReadyReason, StopReason};
use crate::stack::StackSize;
use crate::sys::abort::AbortOnUnwind;
use crate::sys::current_word;
use crate::sys::hint::unlikely;
use crate::time::{NEVER, Time};
use crate::tls;
use crate::tls::{PthreadKind, Tcb};
use std::cell::RefMut;

/// How long the hub sleeps that only another OS thread may wake, until it sees whether there is one still.
const LOOK_AGAIN: Time = 1_000_000_000;

/// Suspends `context`, on which we run.
#[inline(always)]
pub(super) fn suspend_current(context: ActiveContext) {
    // SAFETY: the hub's `context` is that of the current green thread, which was resumed by `run_one`. If a
    // generator's stack is in between, it was resumed from there, and stays suspended with it.
    unsafe { context.suspend() }
}

impl Hub {
    /// Runs green threads until the root is picked: `true`. `false`: nobody is ready, and nothing can
    /// change that.
    #[inline(never)]
    pub(super) fn run(&self) -> bool {
        // Who is suspended counts on the loop: to leave it by an unwind would leave them, and the root, nowhere.
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
                self.load_os_thread_tcb();
                self.after_switch.set(self.after_switch.get() | ACCOUNT);
            }
            match state.ready.pick() {
                // The policy may answer it though it waits: then it waits again.
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

    /// What else there is to do beside switching, now and then.
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

    /// Runs `id` until it leaves its stack. `state` is let go of before.
    #[inline(always)]
    fn run_one(&self, id: GreenId, mut state: RefMut<'_, State>) {
        let Some(green) = state.green(id).filter(|green| green.state == GreenState::Runnable) else {
            drop(state);
            return self.note_wrong_pick(id);
        };
        let context = match green.context {
            Some(context) => context,
            None => match self.start(green) {
                Some(context) => context,
                // The reserve is in use: again later.
                None => return state.ready.ready(id, ReadyReason::Yielded),
            },
        };
        let (tcb, interrupted, record) = (green.tcb, green.interrupted, &raw const *green);
        let has_mask = green.has_mask;
        state.prefetch(record, id, (self.fd_waiters.get() > 0) | tls::is_enabled());
        drop(state);
        self.status.count_switch();
        self.interrupted.set(interrupted);
        if unlikely(self.observed.get()) {
            self.notify_run(id);
        }
        self.status.set_current(id);
        self.context.set(Some(context));
        if unlikely(has_mask) {
            self.put_on_mask(id);
        }
        if tcb != self.loaded_tcb.get() {
            // SAFETY: it is this green thread's, or home. The loop uses nothing thread-local but by `load_os_thread_tcb`.
            unsafe { tls::load(self.loaded_tcb.replace(tcb), tcb) };
        }
        // SAFETY: `begin` gave it a job, it was Runnable and so is suspended, and only this loop resumes it.
        unsafe { context.resume() };
        self.status.set_current(GreenId::HUB);
        if unlikely(self.after_switch.get() != 0) {
            let left = self.after_switch.replace(0);
            if left & ACCOUNT != 0 {
                self.account(id);
            }
            if left & RESTORE_SIGMASK != 0 {
                self.take_off_mask();
            }
            if left & RECYCLE != 0 {
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

    /// Loads the OS thread's own thread control block, if another is loaded: before the loop does anything that
    /// may use what is thread-local. Not inlined, nor may what is called afterwards be: the compiler takes it
    /// for granted that the address of a thread-local does not change within a function.
    #[inline(never)]
    pub(super) fn load_os_thread_tcb(&self) {
        let home = self.tcbs.os_thread_tcb();
        if self.loaded_tcb.get() != home {
            // SAFETY: what is loaded is loaded; home lives as long as the OS thread.
            unsafe { tls::load(self.loaded_tcb.replace(home), home) };
        }
    }

    /// Calls `f` with the OS thread's own thread control block loaded; it must not switch, nor unwind.
    pub(crate) fn with_os_thread_tcb(&self, f: impl FnOnce()) {
        /// In a function of its own: see `load_os_thread_tcb`.
        #[inline(never)]
        fn call(f: impl FnOnce()) {
            f();
        }
        let here = self.loaded_tcb.get();
        self.load_os_thread_tcb();
        call(f);
        if here != self.loaded_tcb.get() {
            // SAFETY: home is loaded; who called runs with the other, which lives.
            unsafe { tls::load(self.loaded_tcb.replace(here), here) };
        }
    }

    /// Gives a green thread its stack, on its first run and not before: until then it is a record. `None`:
    /// there is none now, try again.
    #[inline(never)]
    fn start(&self, green: &mut Green) -> Option<ActiveContext> {
        let (context, tcb) = match self.allocate_stack_and_tcb(green.stack_size, PthreadKind::NotPthread) {
            Ok(seat) => seat,
            Err(error) => return self.begin_without_stack(green, error),
        };
        let BodyState::NotStarted(job) = green.life.replace(BodyState::Running) else {
            unreachable!("who has no context has not started");
        };
        // SAFETY: what comes from the pool is idle.
        unsafe { context.assign(job) };
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
        unsafe {
            match self.tcbs.take(current_word::get(), context.bounds(), kind) {
                Ok(tcb) => Ok((context, tcb)),
                Err(error) => {
                    self.pool.put(context);
                    Err(error)
                }
            }
        }
    }

    /// A body has ended: its context can be used again, its record stays until its outcome is taken.
    #[inline(never)]
    fn recycle(&self, id: GreenId, context: ActiveContext) {
        let mut state = self.state.borrow_mut();
        let green = state.record_mut(id);
        green.context = None;
        let tcb = std::mem::replace(&mut green.tcb, self.tcbs.os_thread_tcb());
        // SAFETY: `finish` is the last thing that a job does; it has returned, and left the context idle.
        unsafe {
            assert!(context.is_idle(), "a body goes on after its end");
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

    /// There is no stack for a green thread's body: dropping it is its job, on the stack kept in reserve,
    /// and the error is its outcome. `None`: the reserve is in use, try again.
    #[cold]
    fn begin_without_stack(&self, green: &mut Green, error: std::io::Error) -> Option<ActiveContext> {
        let context = self.emergency_stack.lend(green.id)?;
        let BodyState::NotStarted(body) = green.life.replace(BodyState::Running) else {
            unreachable!("who has no context has not started");
        };
        self.defer_log(log::Level::Error, format!("green thread '{}' never runs: {error}", green.name()));
        // SAFETY: the reserve is idle.
        unsafe { context.assign(entry::unrunnable(body, error)) };
        green.context = Some(context);
        Some(context)
    }

    /// Makes ready all whose time has come. Answers whether there were any.
    fn fire_timers(&self) -> bool {
        let now = self.clock.now();
        self.poll_interval.record_clock_read(now);
        let mut state = self.state.borrow_mut();
        let mut fired = false;
        while let Some(due) = state.timers.pop_expired(now) {
            state.fire(due, now);
            fired = true;
        }
        fired
    }

    /// Nobody is ready: waits until somebody may be. `false`: nobody ever will.
    #[inline(never)]
    fn idle(&self) -> bool {
        self.load_os_thread_tcb();
        if self.spawn_signal_handlers() || self.fire_timers() {
            return true;
        }
        // A timer that nobody wants any more is no reason to wait.
        let deadline = self.state.borrow_mut().next_deadline();
        let (timeout, needs_handle) = match deadline {
            Some(deadline) => (deadline.saturating_sub(self.clock.now()), false),
            None if self.has_handles() => (NEVER, true),
            None if self.fd_waiters.get() > 0 => (NEVER, false),
            // Their end is not announced: then it is time to look again.
            None if self.others_may_wake() => (LOOK_AGAIN, false),
            // The last of either may have left a message behind.
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

impl State {
    fn fire(&mut self, action: TimerAction, now: Time) {
        match action {
            TimerAction::Wake(ticket) => {
                self.wake(ticket, WakeReason::Expired);
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
