//! The records of a hub's green threads, its run queue and its timers, and the transitions between states that need nothing
//! else.
//!
//! Next: `hub/scheduler.rs`.

use crate::green::{Green, GreenState, Interruptible};
use crate::ids::{GreenId, ParkResult, Ticket};
use crate::policy::{ReadyReason, RunQueue};
use crate::time::{Time, Timers};
use slab::Slab;

/// The data behind the hub's `RefCell`. No borrow lasts over a switch. Fields that a switch touches come first: see
/// [`Hub`](super::Hub).
#[repr(C)]
pub(super) struct HubState {
    pub(super) greens: Slab<Green>,
    pub(super) ready: RunQueue,
    /// Green threads that became ready since the observer was last called, if there is an observer.
    pub(super) unreported_wakes: Option<Vec<GreenId>>,
    pub(super) timers: Timers<TimerAction>,
    /// The root's ticket while it waits for `alive` to be 0.
    pub(super) join_all_waiter: Option<Ticket>,
    pub(super) next_serial: u32,
    pub(super) next_timeout: u64,
}

/// The action of a timer when it expires.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TimerAction {
    /// Ends a park: the parts of its ticket.
    Wake(GreenId, u32),
    /// Starts a delayed green thread.
    Start(GreenId),
    /// Fires a timeout.
    Interrupt(GreenId, u64),
}

impl HubState {
    /// Returns the record of `id`, if the green thread exists.
    pub(super) fn green(&mut self, id: GreenId) -> Option<&mut Green> {
        self.greens.get_mut(id.key()).filter(|green| green.id == id)
    }

    /// Returns the record of `id`, which must exist.
    pub(super) fn record_mut(&mut self, id: GreenId) -> &mut Green {
        self.green(id)
            .unwrap_or_else(|| panic!("no green thread {id} in this hub (finished, or created before fork)"))
    }

    /// Puts a green thread that was parked or delayed into the run queue.
    #[inline]
    pub(super) fn make_ready(&mut self, id: GreenId, why: ReadyReason) {
        self.ready.ready(id, why);
        if let Some(woken) = &mut self.unreported_wakes {
            woken.push(id);
        }
    }

    /// Makes a parked green thread ready. Returns `false` if the ticket is stale, or the green thread was woken already or is
    /// gone.
    #[inline]
    pub(super) fn wake(&mut self, ticket: Ticket, result: ParkResult) -> bool {
        match self.green(ticket.id) {
            Some(green) if green.epoch == ticket.epoch && green.park_result.is_none() => {
                green.park_result = Some(result);
                if let GreenState::Parked(_) = green.state {
                    green.state = GreenState::Runnable;
                    let is_expired = result == ParkResult::Expired;
                    let why = if is_expired { ReadyReason::Expired } else { ReadyReason::Woken };
                    self.make_ready(ticket.id, why);
                }
                true
            }
            _ => false,
        }
    }

    /// Updates the pending interrupt of `id`. If there is one, makes a parked or delayed green thread ready.
    pub(super) fn interrupt(&mut self, id: GreenId, now: Time) {
        let Some(green) = self.green(id) else { return };
        if !green.refresh_pending_interrupt(|| now) {
            return;
        }
        green.interrupt_consumed = false;
        match green.state {
            GreenState::Parked(Interruptible::Yes) if green.park_result.is_none() => {
                green.park_result = Some(ParkResult::Interrupted);
                green.state = GreenState::Runnable;
            }
            GreenState::Delayed => {
                green.state = GreenState::Runnable;
                self.forget_timer();
            }
            _ => return,
        }
        self.make_ready(id, ReadyReason::Woken);
    }

    /// Returns whether a timer could still do something.
    pub(super) fn is_live(greens: &Slab<Green>, action: &TimerAction) -> bool {
        let find = |id: GreenId| greens.get(id.key()).filter(|green| green.id == id);
        match *action {
            TimerAction::Wake(id, epoch) => find(id).is_some_and(|green| green.epoch == epoch),
            TimerAction::Start(id) => find(id).is_some_and(|green| green.state == GreenState::Delayed),
            TimerAction::Interrupt(id, number) => find(id).is_some_and(|green| {
                green.rare.iter().flat_map(|rare| &rare.timeouts).any(|scope| scope.number == number)
            }),
        }
    }

    /// Returns the deadline of the first timer that could do something.
    pub(super) fn next_deadline(&mut self) -> Option<Time> {
        let greens = &self.greens;
        self.timers.next_live_deadline(|action| HubState::is_live(greens, action))
    }

    /// Counts a timer as cancelled; purges cancelled timers when there are many (tombstones).
    pub(super) fn forget_timer(&mut self) {
        if self.timers.note_cancelled() {
            let greens = &self.greens;
            self.timers.purge_cancelled(|action| HubState::is_live(greens, action));
        }
    }
}
