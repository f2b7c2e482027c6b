//! The green threads that wait for results (leader/followers).
//!
//! On each OS thread one waiter, the **leader**, waits for the condition that all processes share. The others, its
//! **followers**, are woken by the green thread that collects their results, or become the next leader. So a message wakes
//! the leaders and the follower that it is for, however many followers there are.
//!
//! Next: `pool/dispatcher.rs`, which collects results and wakes the waiters.

use super::batch::Batch;
use greenline::internals::{RemoteTicket, hub_address};
use std::collections::BTreeMap;

/// An OS thread: the address of its hub.
type OsThread = usize;

/// The address of a batch. Only one green thread at a time waits for a batch.
type BatchAddress = usize;

/// A green thread that may wait, from the point of view of that green thread.
pub(super) struct Waiter<'a> {
    /// The batch whose results the waiter waits for. `None` stands for a change of the shared state: space for a chunk, or
    /// the end of the workers. No green thread could wake a follower for that.
    batch: Option<&'a Batch>,
    os_thread: OsThread,
    /// Whether it is registered as a leader.
    pub(super) leads: bool,
}

/// All green threads that wait.
#[derive(Default)]
pub(super) struct Waiters {
    /// The OS thread of each leader.
    leaders: Vec<OsThread>,
    followers: BTreeMap<BatchAddress, (OsThread, RemoteTicket)>,
}

impl Waiter<'_> {
    pub(super) fn new(batch: Option<&Batch>) -> Waiter<'_> {
        Waiter { batch, os_thread: hub_address(), leads: false }
    }
}

impl Waiters {
    /// Returns whether the OS thread of the waiter has a leader.
    fn has_leader(&self, waiter: &Waiter<'_>) -> bool {
        self.leaders.contains(&waiter.os_thread)
    }

    /// Makes the waiter a leader or a follower. Results of its batch wake a follower, by its ticket. A waiter without a batch
    /// or a ticket becomes a leader beside others.
    pub(super) fn register(&mut self, waiter: &mut Waiter<'_>, ticket: Option<RemoteTicket>) {
        match (waiter.batch, ticket) {
            (Some(batch), Some(ticket)) if self.has_leader(waiter) => {
                self.followers.insert(address(batch), (waiter.os_thread, ticket));
            }
            _ => {
                self.leaders.push(waiter.os_thread);
                waiter.leads = true;
            }
        }
    }

    pub(super) fn unregister(&mut self, waiter: &mut Waiter<'_>) {
        if std::mem::take(&mut waiter.leads) {
            let at = self.leaders.iter().position(|&os_thread| os_thread == waiter.os_thread);
            at.map(|at| self.leaders.swap_remove(at));
        } else if let Some(batch) = waiter.batch {
            self.followers.remove(&address(batch));
        }
    }

    /// If the waiter's OS thread has no leader, wakes a follower there, which becomes the leader.
    pub(super) fn promote_follower(&self, waiter: &Waiter<'_>) {
        if !self.has_leader(waiter) {
            let next = self.followers.values().find(|(os_thread, _)| *os_thread == waiter.os_thread);
            next.inspect(|(_, ticket)| ticket.wake());
        }
    }

    /// Wakes the follower that waits for that batch.
    pub(super) fn wake(&self, batch: &Batch) {
        self.followers.get(&address(batch)).inspect(|(_, ticket)| ticket.wake());
    }

    pub(super) fn wake_all(&self) {
        self.followers.values().for_each(|(_, ticket)| ticket.wake());
    }
}

fn address(batch: &Batch) -> BatchAddress {
    std::ptr::from_ref(batch) as BatchAddress
}
