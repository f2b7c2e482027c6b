//! The end of a hub: waiting for all green threads, killing them, and abandoning those that are left.
//!
//! Next: `hub/forked_child.rs`.

use super::entry;
use super::fields::Hub;
use crate::green::Green;
use crate::ids::{GreenId, ParkResult, WaitReason, WaitResult};
use crate::sys::catch::drop_ignoring_panics;
use crate::time::{NEVER, Time};
use std::time::Duration;

/// How many times 10 ms an ending hub waits for green threads that keep swallowing kills.
const KILL_RETRIES: u32 = 64;

impl Hub {
    /// Ends the hub with its OS thread: what was left undone is told to who joins it from outside, what can be
    /// dropped is. `false`: green threads are alive, and nothing was dropped that could run code of theirs.
    pub(super) fn close(&self) -> bool {
        self.close_inbox();
        let subscribers = self.end_subscriptions();
        let alive = self.state.borrow().alive;
        if alive == 0 {
            drop_ignoring_panics(subscribers);
            entry::drop_locals_of_root();
            self.observe(None);
            let left: Vec<Green> = {
                let mut state = self.state.borrow_mut();
                let ids: Vec<GreenId> = state.greens.iter().map(|(_, green)| green.id).collect();
                let done = ids.into_iter().filter(|&id| id != GreenId::ROOT);
                done.map(|id| state.greens.remove(id.key())).collect()
            };
            drop_ignoring_panics(left);
        }
        let alive = self.state.borrow().alive;
        if alive > 0 {
            log::warn!(
                "an OS thread has ended with {alive} green threads alive; they are abandoned: \
                 greenline::shutdown() would have unwound them"
            );
        }
        self.pool.clear();
        alive == 0
    }

    /// TcbPool the root until no green thread is alive, or the deadline.
    ///
    /// Panics: on a green thread.
    #[track_caller]
    pub(crate) fn join_everything(&self, deadline: Time) -> bool {
        assert!(
            self.current() == GreenId::ROOT,
            "only the root can wait for all green threads: this one would wait for itself"
        );
        loop {
            let ticket = self.ticket();
            {
                let mut state = self.state.borrow_mut();
                if state.alive == 0 {
                    return true;
                }
                state.join_all_waiter = Some(ticket);
            }
            if self.block(ticket, deadline, WaitReason::For("all green threads to end"))
                == WaitResult::Expired
            {
                return false;
            }
        }
    }

    /// TcbPool the root until no green thread is left that `pthread_create` has made. Does not unwind.
    pub(crate) fn wait_for_pthreads(&self) {
        while self.current() == GreenId::ROOT && self.pthreads.get() > 0 {
            let ticket = self.ticket();
            self.pthread_join_waiter.set(Some(ticket));
            let wait = WaitReason::For("the threads that were made here to end");
            if self.park(ticket, NEVER, wait, true) == ParkResult::Deadlocked {
                log::error!("{}", self.deadlock_report(wait, None));
                return;
            }
        }
    }

    /// Kills all green threads and waits until they have ended: their destructors have run. Those that
    /// swallow every kill are left where they are, and their stacks with them. For the root.
    pub(crate) fn shut_down(&self) {
        let everyone: Vec<GreenId> = {
            let state = self.state.borrow();
            state.greens.iter().map(|(_, green)| green.id).filter(|&id| id != GreenId::ROOT).collect()
        };
        for id in everyone {
            self.kill(id);
        }
        self.closing.set(true);
        let mut waited = 0;
        loop {
            let ticket = self.ticket();
            {
                let mut state = self.state.borrow_mut();
                if state.alive == 0 {
                    break;
                }
                state.join_all_waiter = Some(ticket);
            }
            let patience = self.clock.after(Duration::from_millis(10));
            match self.park(ticket, patience, WaitReason::For("all green threads to end"), true) {
                ParkResult::Notified => {}
                ParkResult::Expired if waited < KILL_RETRIES => waited += 1,
                ParkResult::Expired | ParkResult::Interrupted | ParkResult::Deadlocked => {
                    log::error!(
                        "{} green threads do not end when killed; they are abandoned",
                        self.stats().alive
                    );
                    break;
                }
            }
        }
        self.closing.set(false);
    }
}
