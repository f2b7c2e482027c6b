//! The inbox of a hub: what other OS threads have sent, and the protocol by which they end the hub's sleep.
//!
//! A sender leaves a message and, if the hub sleeps, calls its waker. No message is lost, because each side writes before it
//! reads what the other side writes, and all four accesses are sequentially consistent (an eventcount; Dekker's idiom):
//!
//! ```text
//!   hub:    asleep = true;   then read pending;   if set: do not sleep
//!   sender: pending = true;  then read asleep;    if set: call the waker
//! ```
//!
//! If both sides missed the other's write, each read would precede the other side's write: a circle. A waker that is called
//! too early is remembered by the eventfd behind it.
//!
//! Next: `hub/remote.rs`, which sends and receives.

use crate::fd_table::Generation;
use crate::ids::GreenId;
use crate::reactor::Wake;
use crate::sys::catch::drop_ignoring_panics;
use crate::sys::raw_mutex::Lock;
use std::os::fd::RawFd;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Weak};

/// The end of a hub that other OS threads hold.
pub(crate) struct Inbox {
    messages: Lock<Messages>,
    /// `messages` is not empty.
    pending: AtomicBool,
    /// The hub sleeps, or is about to.
    asleep: AtomicBool,
    /// Number of handles. While there is one, the hub does not report a deadlock.
    handles: AtomicUsize,
    waker: Arc<dyn Wake>,
}

#[derive(Default)]
struct Messages {
    list: Vec<Message>,
    /// Results of green threads that were spawned by other OS threads and may not have ended yet.
    unfinished: Vec<Weak<dyn HubGoneListener>>,
    closed: bool,
}

/// An object that learns when the hub is gone.
pub(crate) trait HubGoneListener: Send + Sync {
    fn hub_is_gone(&self);
}

/// A request of another OS thread.
pub(super) enum Message {
    Spawn {
        body: Box<dyn FnOnce() + Send>,
        spawned_at: &'static Location<'static>,
    },
    /// The parts of a [`Ticket`], which is not `Send`.
    Wake(GreenId, u32),
    FdClosed(RawFd, Generation),
}

impl Inbox {
    pub(super) fn new(waker: Arc<dyn Wake>) -> Inbox {
        Inbox {
            messages: Lock::default(),
            pending: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            handles: AtomicUsize::new(0),
            waker,
        }
    }

    /// Leaves a message. Returns it if the hub is gone. The caller has disabled blocking: the list may grow, and an
    /// allocator's locks may be patched.
    pub(super) fn put(&self, message: Message) -> Result<(), Message> {
        {
            let mut messages = self.messages.lock();
            if messages.closed {
                return Err(message);
            }
            messages.list.push(message);
        }
        self.pending.store(true, SeqCst);
        self.wake_if_sleeping();
        Ok(())
    }

    /// Takes all messages.
    pub(super) fn take_all(&self) -> Vec<Message> {
        self.pending.store(false, SeqCst);
        std::mem::take(&mut self.messages.lock().list)
    }

    /// Tells `listener` when the hub is gone. Returns `false` if it is gone already. The caller has disabled blocking.
    pub(crate) fn track(&self, listener: Weak<dyn HubGoneListener>) -> bool {
        let mut messages = self.messages.lock();
        if messages.closed {
            return false;
        }
        let unfinished = &mut messages.unfinished;
        // Amortised: the list is purged each time it has grown to twice what was left of it.
        if unfinished.len() == unfinished.capacity() {
            unfinished.retain(|listener| listener.strong_count() > 0);
            unfinished.reserve(unfinished.len() + 16);
        }
        unfinished.push(listener);
        true
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.messages.lock().closed
    }

    /// Returns whether there are messages.
    #[inline]
    pub(super) fn is_pending(&self) -> bool {
        self.pending.load(SeqCst)
    }

    pub(super) fn has_handles(&self) -> bool {
        self.handles.load(SeqCst) > 0
    }

    pub(super) fn add_handle(&self) {
        self.handles.fetch_add(1, SeqCst);
    }

    /// Counts one handle less. After the last one, a hub that waits only for handles must see that it waits in vain. The
    /// caller has disabled blocking.
    pub(super) fn remove_handle(&self) {
        if self.handles.fetch_sub(1, SeqCst) == 1 {
            self.wake_if_sleeping();
        }
    }

    /// Ends the hub's sleep. The waker writes to a descriptor by the C library, which may be patched; so the caller has
    /// disabled blocking.
    fn wake_if_sleeping(&self) {
        if self.asleep.swap(false, SeqCst) {
            if let Err(error) = self.waker.wake() {
                log::error!("a sleeping hub could not be woken: {error}");
            }
        }
    }

    /// Calls `sleep`, which the waker ends, unless there is a message by now. If only a handle could end the sleep
    /// (`needs_handle`), does not call `sleep` when no handle is left.
    pub(super) fn sleep_unless_pending(&self, needs_handle: bool, sleep: impl FnOnce()) {
        self.asleep.store(true, SeqCst);
        if !self.is_pending() && (!needs_handle || self.has_handles()) {
            sleep();
        }
        self.asleep.store(false, SeqCst);
    }

    /// Refuses messages from now on. Drops the bodies that have not started, whose joiners learn of it, and tells all
    /// listeners.
    pub(super) fn close(&self) {
        let (left, unfinished) = {
            let mut messages = self.messages.lock();
            messages.closed = true;
            (std::mem::take(&mut messages.list), std::mem::take(&mut messages.unfinished))
        };
        // The destructors of the bodies are the program's code.
        left.into_iter().for_each(drop_ignoring_panics);
        unfinished.iter().filter_map(Weak::upgrade).for_each(|listener| listener.hub_is_gone());
    }
}
