//! The hub's part in interposed calls: green threads that are threads to C, waits that any OS thread may end, and
//! calls that return early for an interrupt.
//!
//! Next: `hub/futex.rs`, waiting for a word in memory.
#![allow(unsafe_code)]

use super::fields::Hub;
use super::lifecycle::Spawn;
use super::{futex, status};
use crate::context::{Body, Context};
use crate::green::BodyState;
use crate::ids::{GreenId, ParkResult, Ticket, WaitReason, WakeReason};
use crate::stack::StackSize;
use crate::sys::stderr;
use crate::time::{NEVER, Time};
use crate::tls::{PthreadKind, Tcb};

/// Calls `f`, which may switch, and keeps `errno`.
///
/// While the caller waits, the hub calls the C library, too. It does so with any thread control block loaded, and green
/// threads without one of their own share the OS thread's.
pub(crate) fn keep_errno<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: the address lies in the caller's thread control block, which is loaded again afterwards.
    unsafe {
        let errno = libc::__errno_location();
        let kept = *errno;
        let result = f();
        *errno = kept;
        result
    }
}

/// Number of calls without a switch that may return without blocking.
const POLLS_BEFORE_YIELD: u32 = 100;

impl Hub {
    /// Makes a green thread that is a thread to std and C. It gets its stack and its thread control block at once,
    /// because C wants to know at once if there is no memory for them.
    ///
    /// Errors: no memory.
    pub(crate) fn spawn_pthread(
        &self,
        size: StackSize,
        kind: PthreadKind,
        body: Body,
    ) -> std::io::Result<Tcb> {
        let (context, tcb) = self.allocate_stack_and_tcb(size, kind)?;
        self.pthreads.set(self.pthreads.get() + 1);
        // SAFETY: the context came from the pool just now, and is idle.
        unsafe { context.assign(body) };
        let spawn = Spawn { stack_size: size, ..Spawn::internal() };
        self.insert(spawn, BodyState::Running, Some((context, tcb)));
        Ok(tcb)
    }

    /// Gives back the thread control block of a green thread that has ended. The block is not loaded.
    pub(super) fn end_tcb(&self, tcb: Tcb) {
        let left = self.pthreads.get() - usize::from(tcb.is_pthread());
        self.pthreads.set(left);
        // SAFETY: the caller upholds that the block is not loaded and that its green thread runs no more.
        let futex = unsafe { self.tcbs.end(tcb) };
        if left == 0 {
            if let Some(ticket) = self.pthread_join_waiter.take() {
                self.wake(ticket);
            }
        }
        if let Some(futex) = futex {
            futex::wake(futex, usize::MAX, u32::MAX);
        }
    }

    /// Parks the root until no green thread is left that `pthread_create` has made. Does not unwind.
    pub(crate) fn wait_for_pthreads(&self) {
        while self.current() == GreenId::ROOT && self.pthreads.get() > 0 {
            let ticket = self.ticket();
            self.pthread_join_waiter.set(Some(ticket));
            let reason = WaitReason::For("the threads that were made here to end");
            if self.park(ticket, NEVER, reason, true) == ParkResult::Deadlocked {
                log::error!("{}", self.deadlock_report(reason, None));
                return;
            }
        }
    }

    /// Names the running green thread.
    pub(crate) fn rename_current(&self, name: &str) {
        let mut state = self.state.borrow_mut();
        let green = state.record_mut(self.current());
        let old = green.name.replace(Box::new(name.into()));
        if status::labels_wanted() {
            self.status.set_label(green.id, Some(name), green.spawned_at);
        }
        drop(state);
        drop(old);
    }

    /// Parks as [`park`](Hub::park) does, until any OS thread uses `ticket`.
    pub(crate) fn park_on_futex(
        &self,
        ticket: Ticket,
        deadline: Time,
        reason: WaitReason,
        shield: bool,
    ) -> ParkResult {
        let waiters = &self.futex_waiters;
        waiters.set(waiters.get() + 1);
        let result = keep_errno(|| self.park(ticket, deadline, reason, shield));
        waiters.set(waiters.get() - 1);
        result
    }

    /// Reports on standard error that the root waits for the word at this address, and that nobody can change it. An
    /// interposed call must not panic; it waits in the kernel, as it would without the patch. Bypasses std and the logger,
    /// whose locks may be part of the deadlock.
    #[cold]
    pub(super) fn report_deadlock(&self, word: usize) {
        let report = self.deadlock_report(WaitReason::Futex(word), None);
        stderr::write(format!("greenline: {report}\n").as_bytes());
    }

    /// Wakes as [`wake`](Hub::wake) does, from anywhere on this OS thread. Returns `false` if the state is in use; then
    /// the caller has to send a message.
    pub(crate) fn try_wake(&self, ticket: Ticket) -> bool {
        let Ok(mut state) = self.state.try_borrow_mut() else { return false };
        // If the ticket is stale, something else has woken the waiter, and the waiter sees that it was taken out.
        state.wake(ticket, WakeReason::Notified);
        true
    }

    /// Lets the other green threads run now and then. Call this when an interposed call returned without blocking.
    ///
    /// A program that polls in a loop may be waiting for another green thread. Beside an OS thread the other would run.
    /// Therefore, after 100 such calls without a switch, this function yields.
    pub(crate) fn yield_if_polling(&self) {
        let switches = self.status.switches();
        let (since, times) = self.nonblocking_polls.get();
        let times = if since == switches { times + 1 } else { 1 };
        self.nonblocking_polls.set((switches, times));
        if times > POLLS_BEFORE_YIELD {
            keep_errno(|| self.yield_now());
        }
    }

    /// Returns whether an interposed call has already returned early for the pending interrupt. An interrupt does not
    /// unwind interposed calls: one of them returns early, once.
    pub(crate) fn was_cut_short(&self) -> bool {
        self.is_interrupted() && self.state.borrow_mut().record_mut(self.current()).cut_short
    }

    /// Ends an interposed call early for the pending interrupt: notes it, and lets the other green threads run.
    pub(crate) fn consume_interrupt(&self) {
        self.state.borrow_mut().record_mut(self.current()).cut_short = true;
        keep_errno(|| self.yield_now());
    }
}
