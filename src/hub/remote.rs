//! Requests of other OS threads to a hub: run a closure, wake a green thread, close a descriptor.
//!
//! Next: `api/oneshot.rs`, the result of a closure that runs on another OS thread.

use super::current::{try_current, with_blocking_disabled};
use super::entry::entry_closure;
use super::fields::Hub;
use super::inbox::{Inbox, Message};
use super::lifecycle::Spawn;
use crate::fd_table::{FdListener, Generation};
use crate::ids::GreenId;
use crate::ids::Ticket;
use std::io;
use std::os::fd::RawFd;
use std::panic::Location;
use std::sync::Arc;

/// Returns this OS thread's hub, if the inbox is its own and it may be called directly.
fn hub_of(inbox: &Inbox) -> Option<&'static Hub> {
    let owns = |hub: &Hub| hub.inbox.get().is_some_and(|own| std::ptr::eq(&raw const **own, inbox));
    try_current().filter(|hub| hub.can_block() && owns(hub))
}

impl Inbox {
    fn send(&self, message: Message) -> Result<(), Message> {
        with_blocking_disabled(|| self.put(message))
    }

    /// Makes the green thread of `ticket` ready, from any OS thread. Returns `false` if its hub is gone.
    pub(crate) fn wake(&self, ticket: Ticket) -> bool {
        match hub_of(self) {
            Some(hub) => {
                hub.wake(ticket);
                true
            }
            None => self.send(Message::Wake(ticket.id, ticket.epoch)).is_ok(),
        }
    }

    /// Runs `body` in a new green thread of the hub. If the hub is gone, drops `body`.
    pub(crate) fn spawn(&self, body: Box<dyn FnOnce() + Send>, spawned_at: &'static Location<'static>) {
        let _ = self.send(Message::Spawn { body, spawned_at });
    }
}

impl FdListener for Inbox {
    fn fd_closed(&self, fd: RawFd, generation: Generation) {
        match hub_of(self) {
            Some(hub) => hub.fd_closed(fd, generation),
            None => drop(self.send(Message::FdClosed(fd, generation))),
        }
    }
}

impl Hub {
    /// Returns what other OS threads reach this hub by. Creates it if there is none yet.
    ///
    /// Errors: no file descriptor is left to wake the hub by.
    pub(crate) fn inbox(&self) -> io::Result<&Arc<Inbox>> {
        if let Some(inbox) = self.inbox.get() {
            return Ok(inbox);
        }
        let waker = self.reactor.waker()?;
        Ok(self.inbox.get_or_init(|| Arc::new(Inbox::new(waker))))
    }

    /// Returns whether other OS threads have sent messages.
    #[inline]
    pub(super) fn has_messages(&self) -> bool {
        self.inbox.get().is_some_and(|inbox| inbox.is_pending())
    }

    /// Does what other OS threads have asked for.
    #[cold]
    #[inline(never)]
    pub(super) fn drain_inbox(&self) {
        let Some(inbox) = self.inbox.get() else { return };
        for message in inbox.take_all() {
            match message {
                Message::Spawn { body, spawned_at } => {
                    self.spawn(Spawn { spawned_at, ..Spawn::internal() }, entry_closure(body));
                }
                Message::FdClosed(fd, generation) => self.fd_closed(fd, generation),
                Message::Wake(id, epoch) => _ = self.wake(Ticket::new(id, epoch)),
            }
        }
    }

    /// Refuses messages of other OS threads from now on; their joiners learn that the hub is gone.
    pub(crate) fn close_inbox(&self) {
        if let Some(inbox) = self.inbox.get() {
            inbox.close();
        }
    }
}

/// A counted reference to an inbox: while it exists, the hub waits rather than report a deadlock.
pub(crate) struct InboxHandle(Arc<Inbox>);

impl InboxHandle {
    /// Errors: no file descriptor is left to wake the hub by.
    pub(crate) fn new(hub: &Hub) -> io::Result<InboxHandle> {
        let inbox = hub.inbox()?.clone();
        inbox.add_handle();
        Ok(InboxHandle(inbox))
    }

    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.0
    }
}

impl Clone for InboxHandle {
    fn clone(&self) -> InboxHandle {
        self.0.add_handle();
        InboxHandle(self.0.clone())
    }
}

impl Drop for InboxHandle {
    fn drop(&mut self) {
        with_blocking_disabled(|| self.0.remove_handle());
    }
}

/// A ticket that any OS thread may use.
pub struct RemoteTicket {
    inbox: Arc<Inbox>,
    id: GreenId,
    epoch: u32,
}

impl RemoteTicket {
    /// Takes a ticket for the next park of the running green thread.
    ///
    /// Errors: no file descriptor is left to wake the hub by.
    pub(crate) fn new(hub: &Hub) -> io::Result<RemoteTicket> {
        let (inbox, Ticket { id, epoch, .. }) = (hub.inbox()?.clone(), hub.ticket());
        Ok(RemoteTicket { inbox, id, epoch })
    }

    /// Makes the green thread ready, if it is still in that park.
    pub fn wake(&self) {
        self.inbox.wake(Ticket::new(self.id, self.epoch));
    }
}
