//! The hub's part in interposed calls: green threads that are threads to C, waits that any OS thread may end, and
//! calls that return early for an interrupt.
//!
//! Next: `hub/futex.rs`, waiting for a word in memory.
#![allow(unsafe_code)]

use super::fields::Hub;
use super::lifecycle::Spawn;
use super::status;
use crate::context::{Body, Context};
use crate::green::{BodyState, Interruptible};
use crate::ids::{GreenId, ParkResult, WaitReason};
use crate::stack::StackSize;
use crate::sys::stderr;
use crate::time::NEVER;
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

    /// Parks the root until no green thread is left that `pthread_create` has made. Does not unwind.
    pub(crate) fn wait_for_pthreads(&self) {
        while self.current() == GreenId::ROOT && self.pthreads.get() > 0 {
            let ticket = self.ticket();
            self.pthread_join_waiter.set(Some(ticket));
            let reason = WaitReason::For("the threads that were made here to end");
            if self.park(ticket, NEVER, reason, Interruptible::No) == ParkResult::Deadlocked {
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

    /// Reports on standard error that the root waits for the word at this address, and that no thread can change it. An
    /// interposed call must not panic; it waits in the kernel, as it would without the patch. Bypasses std and the logger,
    /// whose locks may be part of the deadlock.
    #[cold]
    pub(super) fn report_deadlock(&self, word: usize) {
        let report = self.deadlock_report(WaitReason::Futex(word), None);
        stderr::write(format!("greenline: {report}\n").as_bytes());
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

    /// Ends an interposed call early for the pending interrupt: notes it, and lets the other green threads run. (An interrupt
    /// does not unwind interposed calls. One of them returns early, once.)
    pub(crate) fn consume_interrupt(&self) {
        self.state.borrow_mut().record_mut(self.current()).interrupt_consumed = true;
        keep_errno(|| self.yield_now());
    }
}
