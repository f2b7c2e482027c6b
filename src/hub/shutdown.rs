//! The end of a hub: waiting for all green threads, killing them, and abandoning those that are left.
//!
//! Next: `hub/forked_child.rs`.

use super::entry;
use super::fields::Hub;
use crate::green::{Green, Interruptible};
use crate::ids::{GreenId, ParkResult, Ticket, WaitReason, WaitResult};
use crate::sys::catch::drop_ignoring_panics;
use crate::time::Time;
use std::time::Duration;

/// Number of times that an ending hub waits for green threads that catch every kill, and how long each time.
const KILL_RETRIES: u32 = 64;
const KILL_RETRY_TIME: Duration = Duration::from_millis(10);

impl Hub {
    /// Ends the hub with its OS thread. Joiners on other OS threads learn that the hub is gone. Returns `false` if green
    /// threads are alive; then nothing is dropped that could run their code.
    pub(super) fn close(&self) -> bool {
        self.close_inbox();
        let subscribers = self.end_subscriptions();
        if self.has_no_green_threads() {
            drop_ignoring_panics(subscribers);
            entry::drop_locals_of_root();
            self.observe(None);
            let finished: Vec<Green> = {
                let (ids, mut state) = (self.ids(), self.state.borrow_mut());
                ids.into_iter().map(|id| state.greens.remove(id.key())).collect()
            };
            drop_ignoring_panics(finished);
        }
        let alive = self.status.alive();
        if alive > 0 {
            log::warn!(
                "an OS thread has ended with {alive} green threads alive; they are abandoned: \
                 greenline::shutdown() would have unwound them"
            );
        }
        self.pool.clear();
        alive == 0
    }

    /// Returns the ids of all green threads.
    fn ids(&self) -> Vec<GreenId> {
        let state = self.state.borrow();
        state.greens.iter().map(|(_, green)| green.id).filter(|&id| id != GreenId::ROOT).collect()
    }

    /// Returns a ticket of the root that is used when no green thread is alive. `None`: none is alive now.
    fn join_all_ticket(&self) -> Option<Ticket> {
        let ticket = self.ticket();
        let is_any_alive = !self.has_no_green_threads();
        is_any_alive.then(|| *self.state.borrow_mut().join_all_waiter.insert(ticket))
    }

    /// Parks the root until no green thread is alive. Returns `false` if the deadline passes before.
    ///
    /// Panics: on a green thread.
    #[track_caller]
    pub(crate) fn join_everything(&self, deadline: Time) -> bool {
        assert!(
            self.current() == GreenId::ROOT,
            "only the root can wait for all green threads: this one would wait for itself"
        );
        while let Some(ticket) = self.join_all_ticket() {
            let result = self.block(ticket, deadline, WaitReason::For("all green threads to end"));
            if result == WaitResult::Expired {
                return false;
            }
        }
        true
    }

    /// Kills all green threads and waits until they have ended, so that their destructors have run. Abandons green threads
    /// that catch every kill, and their stacks. Only for the root.
    pub(crate) fn shut_down(&self) {
        for id in self.ids() {
            self.kill(id);
        }
        self.closing.set(true);
        let mut retries = 0;
        while let Some(ticket) = self.join_all_ticket() {
            let deadline = self.clock.after(KILL_RETRY_TIME);
            let reason = WaitReason::For("all green threads to end");
            match self.park(ticket, deadline, reason, Interruptible::No) {
                ParkResult::Notified => {}
                ParkResult::Expired if retries < KILL_RETRIES => retries += 1,
                ParkResult::Expired | ParkResult::Interrupted | ParkResult::Deadlocked => {
                    let alive = self.status.alive();
                    log::error!("{alive} green threads do not end when killed; they are abandoned");
                    break;
                }
            }
        }
        self.closing.set(false);
    }
}
