//! What the interposed calls for threads and locks ask of the hub: green threads that are threads to C, and parks that
//! any OS thread may end.
#![allow(unsafe_code)]

use super::fields::Hub;
use super::interpose::keep_errno;
use super::lifecycle::Spawn;
use super::{futex, status};
use crate::context::{ActiveContext, Body, Context};
use crate::green::BodyState;
use crate::ids::{ParkResult, Ticket, WaitReason, WakeReason};
use crate::stack::StackSize;
use crate::time::Time;
use crate::tls::Tcb;

impl Hub {
    /// Makes a green thread that C, or std, is told of as a thread. It has its stack and its thread control block
    /// from the beginning: that they cannot be had must be said at once.
    ///
    /// Errors: they cannot.
    pub(crate) fn spawn_pthread(&self, size: StackSize, detached: bool, job: Body) -> std::io::Result<Tcb> {
        let seat = self.allocate_stack_and_tcb(size)?;
        self.begin_pthread(seat, detached, job);
        let tcb = seat.1;
        let spawn = Spawn { stack_size: size, ..Spawn::internal() };
        self.insert(spawn, BodyState::Running, Some(seat));
        Ok(tcb)
    }

    /// Gives a seat its job, and makes it a thread to C.
    pub(super) fn begin_pthread(&self, (context, tcb): (ActiveContext, Tcb), detached: bool, job: Body) {
        self.pthreads.set(self.pthreads.get() + 1);
        // SAFETY: idle, for it came from the pool for this.
        unsafe { context.assign(job) };
        self.tcbs.begin_pthread(tcb, detached);
    }

    /// A green thread has ended and its thread control block is not loaded: takes the block back, or leaves it to a joiner.
    pub(super) fn release_tcb(&self, tcb: Tcb) {
        if tcb.is_pthread() {
            self.end_pthread();
        }
        // SAFETY: the block is not loaded, and its green thread runs no more.
        if let Some(word) = unsafe { self.tcbs.end(tcb) } {
            // A joiner on another OS thread may take the block back meanwhile. Only the word's address is used.
            futex::wake(word, usize::MAX, u32::MAX);
        }
    }

    /// A green thread that `pthread_create` has made has ended.
    fn end_pthread(&self) {
        self.pthreads.set(self.pthreads.get() - 1);
        if self.pthreads.get() == 0 {
            if let Some(ticket) = self.pthread_join_waiter.take() {
                self.wake(ticket);
            }
        }
    }

    /// Calls the current green thread `name` from now on.
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

    /// [`park`](Hub::park), for what any OS thread may end.
    pub(crate) fn park_on_futex(
        &self,
        ticket: Ticket,
        deadline: Time,
        wait: WaitReason,
        shield: bool,
    ) -> ParkResult {
        self.futex_waiters.set(self.futex_waiters.get() + 1);
        let wake = keep_errno(|| self.park(ticket, deadline, wait, shield));
        self.futex_waiters.set(self.futex_waiters.get() - 1);
        wake
    }

    /// [`wake`](Hub::wake) from anywhere on this OS thread. `false`: the state is in use, so who calls has to
    /// send a message.
    pub(crate) fn try_wake(&self, ticket: Ticket) -> bool {
        let Ok(mut state) = self.state.try_borrow_mut() else { return false };
        // A stale one has been woken by something else meanwhile, and sees that it was taken out.
        state.wake(ticket, WakeReason::Notified);
        true
    }
}
