//! What the hub keeps about its green threads, and the steps that need nothing else.

use crate::green::{Green, State as GreenState};
use crate::ids::{GreenId, Ticket, WakeReason};
use crate::policy::ReadyReason;
use crate::policy::RunQueue;
use crate::time::{Time, Timers};
use slab::Slab;

/// What is borrowed together, for a moment at a time. What a switch touches comes first: see [`Hub`](super::Hub).
#[repr(C)]
pub(super) struct State {
    /// Those that are not Finished, the root not counted.
    pub(super) alive: usize,
    pub(super) greens: Slab<Green>,
    pub(super) ready: RunQueue,
    /// Woken since the observer was last told, if there is one.
    pub(super) unreported_wakes: Option<Vec<GreenId>>,
    pub(super) timers: Timers<TimerAction>,
    /// The root, when it waits for `alive` to be 0.
    pub(super) join_all_waiter: Option<Ticket>,
    pub(super) next_serial: u32,
    pub(super) next_timeout: u64,
}

/// What a timer does when it is due.
#[derive(Clone, Copy)]
pub(super) enum TimerAction {
    /// Ends a park.
    Wake(Ticket),
    /// Starts a delayed green thread.
    Start(GreenId),
    /// Fires a timeout.
    Interrupt(GreenId, u64),
}

impl State {
    pub(super) fn green(&mut self, id: GreenId) -> Option<&mut Green> {
        self.greens.get_mut(id.key()).filter(|green| green.id == id)
    }

    pub(super) fn record_mut(&mut self, id: GreenId) -> &mut Green {
        match self.greens.get_mut(id.key()) {
            Some(green) if green.id == id => green,
            _ => panic!("green thread {id} is gone, or another process's"),
        }
    }

    /// Puts one that waited in line.
    #[inline]
    pub(super) fn make_ready(&mut self, id: GreenId, why: ReadyReason) {
        self.ready.ready(id, why);
        if let Some(woken) = &mut self.unreported_wakes {
            woken.push(id);
        }
    }

    /// Makes a parked green thread ready. The stale, the woken and the gone answer `false`.
    #[inline]
    pub(super) fn wake(&mut self, ticket: Ticket, cause: WakeReason) -> bool {
        match self.green(ticket.id) {
            Some(green) if green.epoch == ticket.epoch && green.cause == WakeReason::None => {
                green.cause = cause;
                if let GreenState::Parked { .. } = green.state {
                    green.state = GreenState::Runnable;
                    let why =
                        if cause == WakeReason::Expired { ReadyReason::Expired } else { ReadyReason::Woken };
                    self.make_ready(ticket.id, why);
                }
                true
            }
            _ => false,
        }
    }

    /// Has a look at the interrupts of `id`, and wakes it for them if it is parked or delayed.
    pub(super) fn interrupt(&mut self, id: GreenId, now: Time) {
        let Some(green) = self.green(id) else { return };
        if !green.review_interrupts(|| now) {
            return;
        }
        green.cut_short = false;
        match green.state {
            GreenState::Parked { shielded: false } if green.cause == WakeReason::None => {
                green.cause = WakeReason::Interrupted;
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

    /// Whether a timer could still do something.
    pub(super) fn is_wanted(greens: &Slab<Green>, due: &TimerAction) -> bool {
        let find = |id: GreenId| greens.get(id.key()).filter(|green| green.id == id);
        match *due {
            TimerAction::Wake(ticket) => find(ticket.id).is_some_and(|green| green.epoch == ticket.epoch),
            TimerAction::Start(id) => find(id).is_some_and(|green| green.state == GreenState::Delayed),
            TimerAction::Interrupt(id, number) => find(id).is_some_and(|green| {
                let scopes = green.extras.as_ref().map(|extras| extras.timeouts.iter());
                scopes.into_iter().flatten().any(|scope| scope.number == number)
            }),
        }
    }

    /// When the next timer that could do something is due.
    pub(super) fn next_deadline(&mut self) -> Option<Time> {
        let greens = &self.greens;
        self.timers.next_live_deadline(|due| State::is_wanted(greens, due))
    }

    pub(super) fn forget_timer(&mut self) {
        if self.timers.note_cancelled() {
            let greens = &self.greens;
            self.timers.purge_cancelled(|due| State::is_wanted(greens, due));
        }
    }
}
