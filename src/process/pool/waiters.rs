//! The green threads that wait for results (leader/followers).
//!
//! On each OS thread one waiter, the **leader**, waits for the condition that all processes share. The others, its
//! **followers**, are woken by the green thread that collects their results, or become the next leader. So a message wakes
//! the leaders and the follower that it is for, however many followers there are.
//!
//! Next: `process/pool/dispatcher.rs`, which collects results and wakes the waiters.

use super::batch::Batch;
use crate::api::current_hub::current_hub;
use crate::hub::RemoteTicket;
use std::collections::BTreeMap;

/// An OS thread: the address of its hub.
type OsThread = usize;

/// The address of a batch. Only one green thread at a time waits for a batch.
type BatchAddress = usize;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Unregistered,
    Leader,
    Follower,
}

/// A green thread that may wait, from the point of view of that green thread.
pub(super) struct Waiter<'a> {
    /// The batch whose results the waiter waits for. `None` stands for a change of the shared state: space for a chunk, or the end of the workers.
    /// Nobody could wake a follower for that, so the waiter becomes a leader beside others.
    batch: Option<&'a Batch>,
    os_thread: OsThread,
    role: Role,
}

/// All green threads that wait.
#[derive(Default)]
pub(super) struct Waiters {
    /// The OS thread of each leader.
    leaders: Vec<OsThread>,
    followers: BTreeMap<BatchAddress, Follower>,
}

struct Follower {
    os_thread: OsThread,
    ticket: RemoteTicket,
}

impl Waiter<'_> {
    pub(super) fn new(batch: Option<&Batch>) -> Waiter<'_> {
        Waiter { batch, os_thread: std::ptr::from_ref(current_hub()) as OsThread, role: Role::Unregistered }
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }
}

impl Waiters {
    /// Returns whether the waiter would be registered as a leader now.
    pub(super) fn would_lead(&self, waiter: &Waiter<'_>) -> bool {
        waiter.batch.is_none() || !self.leaders.contains(&waiter.os_thread)
    }

    /// Makes the waiter a leader or a follower. A follower needs a `ticket`. Without one, the waiter stays unregistered.
    pub(super) fn register(&mut self, waiter: &mut Waiter<'_>, ticket: Option<RemoteTicket>) {
        if self.would_lead(waiter) {
            self.leaders.push(waiter.os_thread);
            waiter.role = Role::Leader;
        } else if let (Some(batch), Some(ticket)) = (waiter.batch, ticket) {
            self.followers.insert(address(batch), Follower { os_thread: waiter.os_thread, ticket });
            waiter.role = Role::Follower;
        }
    }

    pub(super) fn unregister(&mut self, waiter: &mut Waiter<'_>) {
        match std::mem::replace(&mut waiter.role, Role::Unregistered) {
            Role::Unregistered => {}
            Role::Leader => {
                let at = self.leaders.iter().position(|&os_thread| os_thread == waiter.os_thread);
                at.map(|at| self.leaders.swap_remove(at));
            }
            Role::Follower => _ = waiter.batch.and_then(|batch| self.followers.remove(&address(batch))),
        }
    }

    /// If the waiter's OS thread has no leader, wakes a follower there, which becomes the leader.
    pub(super) fn promote_follower(&self, waiter: &Waiter<'_>) {
        if !self.leaders.contains(&waiter.os_thread) {
            let next = self.followers.values().find(|follower| follower.os_thread == waiter.os_thread);
            next.inspect(|follower| follower.ticket.wake());
        }
    }

    /// Wakes the follower that waits for that batch.
    pub(super) fn wake(&self, batch: &Batch) {
        self.followers.get(&address(batch)).inspect(|follower| follower.ticket.wake());
    }

    pub(super) fn wake_all(&self) {
        self.followers.values().for_each(|follower| follower.ticket.wake());
    }
}

fn address(batch: &Batch) -> BatchAddress {
    std::ptr::from_ref(batch) as BatchAddress
}
