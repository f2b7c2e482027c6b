//! What other OS threads may ask of a hub: to run something, and to wake somebody.
//!
//! They leave a message in the inbox and, if the hub sleeps, end its sleep. No message is lost, because
//! each side writes before it reads what the other writes, and all four are sequentially consistent:
//!
//! ```text
//!   hub:    asleep = true;   then look: pending?   yes: do not sleep
//!   sender: pending = true;  then look: asleep?    yes: call the waker
//! ```
//!
//! Were both to miss the other, each read would precede the other's write, in a circle. A waker called too
//! early is remembered by the event counter behind it.

use super::{Hub, Spawn, catch, current, drop_ignoring_panics, job, with_blocking_disabled};
use crate::context::Body;
use crate::fd_table::Generation;
use crate::green::JoinError;
use crate::ids::{GreenId, Ticket, WaitReason, WakeReason};
use crate::sys::raw_mutex::Lock;
use crate::time::NEVER;
use std::cell::OnceCell;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The hub's side. Empty until the first handle is made.
#[derive(Default)]
pub(super) struct InboxSlot(OnceCell<Arc<Inbox>>);

pub(crate) struct Inbox {
    messages: Lock<Messages>,
    /// `messages` is not empty.
    pending: AtomicBool,
    /// The hub sleeps, or is about to.
    asleep: AtomicBool,
    handles: AtomicUsize,
    waker: Arc<mio::Waker>,
}

#[derive(Default)]
struct Messages {
    list: Vec<Message>,
    /// What was spawned from outside and may not have ended yet.
    open: Vec<Weak<dyn HubGoneListener>>,
    closed: bool,
}

/// To be told that the hub is gone.
trait HubGoneListener: Send + Sync {
    fn hub_is_gone(&self);
}

impl Messages {
    fn keep(&mut self, packet: Weak<dyn HubGoneListener>) {
        // Amortised: the list is looked through each time it has grown to twice what is left of it.
        if self.open.len() == self.open.capacity() {
            self.open.retain(|packet| packet.strong_count() > 0);
            self.open.reserve(self.open.len() + 16);
        }
        self.open.push(packet);
    }
}

enum Message {
    Spawn { body: Box<dyn FnOnce() + Send>, spawned_at: &'static Location<'static> },
    Wake(GreenId, u32),
    Closed(RawFd, Generation),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while these are held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inbox {
    /// Answers the message when the hub is gone.
    fn send(&self, message: Message) -> Result<(), Message> {
        // The list may grow, and with it call an allocator, whose locks may be patched.
        with_blocking_disabled(|| self.put(message))
    }

    fn put(&self, message: Message) -> Result<(), Message> {
        {
            let mut messages = self.messages.lock();
            if messages.closed {
                return Err(message);
            }
            messages.list.push(message);
        }
        self.pending.store(true, SeqCst);
        self.rouse();
        Ok(())
    }

    /// Ends a park, from any OS thread. `false`: the hub is gone.
    pub(crate) fn wake(&self, ticket: Ticket) -> bool {
        self.send(Message::Wake(ticket.id, ticket.epoch)).is_ok()
    }

    /// That generation of a descriptor was closed, on any OS thread.
    pub(crate) fn closed(&self, fd: RawFd, generation: Generation) {
        match super::try_current().filter(|hub| hub.can_block() && hub.remote.is(self)) {
            Some(hub) => hub.fd_closed(fd, generation),
            None => drop(self.send(Message::Closed(fd, generation))),
        }
    }

    fn rouse(&self) {
        if self.asleep.swap(false, SeqCst) {
            // It writes to a descriptor: past the patch, if that is what it has.
            if let Err(error) = with_blocking_disabled(|| self.waker.wake()) {
                log::error!("a sleeping hub could not be woken: {error}");
            }
        }
    }
}

impl InboxSlot {
    fn is(&self, shared: &Inbox) -> bool {
        self.0.get().is_some_and(|ours| std::ptr::eq(&raw const **ours, shared))
    }

    /// Whether there are messages.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        self.0.get().is_some_and(|shared| shared.pending.load(SeqCst))
    }

    /// Whether somebody outside could still send one.
    pub(super) fn has_handles(&self) -> bool {
        self.0.get().is_some_and(|shared| shared.handles.load(SeqCst) > 0)
    }

    /// Calls `sleep`, which the waker ends, unless there is a message by now; or, if it `needs_handle` to end
    /// ever, nobody left who could send one.
    pub(super) fn asleep_while(&self, needs_handle: bool, sleep: impl FnOnce()) {
        let Some(shared) = self.0.get() else { return sleep() };
        shared.asleep.store(true, SeqCst);
        if !shared.pending.load(SeqCst) && (!needs_handle || self.has_handles()) {
            sleep();
        }
        shared.asleep.store(false, SeqCst);
    }

    /// No message is taken any more; bodies that were not begun are dropped, and their joiners told.
    pub(super) fn close(&self) {
        if let Some(shared) = self.0.get() {
            let (left, open) = {
                let mut messages = shared.messages.lock();
                messages.closed = true;
                (std::mem::take(&mut messages.list), std::mem::take(&mut messages.open))
            };
            // Bodies that were never begun; their destructors are the user's.
            left.into_iter().for_each(drop_ignoring_panics);
            // And those that were, and will not end.
            open.iter().filter_map(Weak::upgrade).for_each(|packet| packet.hub_is_gone());
        }
    }
}

impl Hub {
    /// What other OS threads reach this hub by, made if need be.
    ///
    /// Errors: no file descriptor is left to wake the hub by.
    pub(crate) fn inbox(&self) -> io::Result<&Arc<Inbox>> {
        if let Some(shared) = self.remote.0.get() {
            return Ok(shared);
        }
        let waker = self.reactor().waker()?;
        Ok(self.remote.0.get_or_init(|| {
            Arc::new(Inbox {
                messages: Lock::default(),
                pending: AtomicBool::new(false),
                asleep: AtomicBool::new(false),
                handles: AtomicUsize::new(0),
                waker,
            })
        }))
    }

    /// Takes in what other OS threads have sent.
    #[cold]
    #[inline(never)]
    pub(super) fn take_in(&self) {
        let Some(shared) = self.remote.0.get() else { return };
        shared.pending.store(false, SeqCst);
        let messages = std::mem::take(&mut shared.messages.lock().list);
        for message in messages {
            match message {
                Message::Spawn { body, spawned_at } => {
                    let job: Body = job(body);
                    self.spawn(Spawn { spawned_at, ..Spawn::internal() }, job);
                }
                Message::Closed(fd, generation) => self.fd_closed(fd, generation),
                Message::Wake(id, epoch) => {
                    let ticket = Ticket::new(id, epoch);
                    self.state.borrow_mut().wake(ticket, WakeReason::Notified);
                }
            }
        }
    }
}

/// A hub, as seen from other OS threads: `Send`, `Sync` and `Clone`.
///
/// While a handle exists the hub cannot be sure that nothing will ever wake it, so it waits rather than
/// report a [deadlock](crate#deadlock). Source: gevent's `loop.async_` and `run_callback_threadsafe`.
///
/// ```
/// let handle = greenline::Handle::current().unwrap();
/// let other = std::thread::spawn(move || {
///     let name = || std::thread::current().name().map(str::to_owned);
///     handle.spawn(move || name()).unwrap().join().unwrap()
/// });
/// // The hub runs while its root is blocked.
/// while !other.is_finished() {
///     greenline::sleep(std::time::Duration::from_millis(1));
/// }
/// assert_eq!(other.join().unwrap().as_deref(), std::thread::current().name());
/// ```
pub struct Handle(Arc<Inbox>);

impl Handle {
    /// A handle to the hub of the OS thread that calls, which is made if need be.
    ///
    /// # Errors
    /// No file descriptor is left to wake the hub by, or no memory for any stack.
    pub fn current() -> io::Result<Handle> {
        let hub = current();
        // For what will be spawned by it.
        hub.ensure_reserve()?;
        let shared = hub.inbox()?;
        shared.handles.fetch_add(1, SeqCst);
        Ok(Handle(shared.clone()))
    }

    /// Runs `f` in a new green thread of the hub, whichever OS thread calls. Does not block; the hub wakes up
    /// if it sleeps.
    ///
    /// # Errors
    /// The hub's OS thread has ended. `f` is in the error.
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> Result<RemoteJoinHandle<T>, HubGone<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let packet = Arc::new(Packet { state: Mutex::new(PacketState::default()), done: Condvar::new() });
        {
            let packet: Arc<dyn HubGoneListener> = packet.clone();
            let weak = Arc::downgrade(&packet);
            let keep = || {
                let mut messages = self.0.messages.lock();
                if !messages.closed {
                    messages.keep(weak);
                }
                messages.closed
            };
            // As in `send`.
            if with_blocking_disabled(keep) {
                return Err(HubGone(f));
            }
        }
        let completer = Completer { packet: Some(packet.clone()), shared: self.0.clone() };
        let body = Box::new(move || completer.complete(catch(f)));
        // Refused since we looked, the body is dropped, and the joiner told that the hub is gone.
        let _ = self.0.send(Message::Spawn { body, spawned_at: Location::caller() });
        Ok(RemoteJoinHandle(packet))
    }
}

impl Clone for Handle {
    fn clone(&self) -> Handle {
        self.0.handles.fetch_add(1, SeqCst);
        Handle(self.0.clone())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The last one: a hub that waits only for us has to see that it waits in vain.
        if self.0.handles.fetch_sub(1, SeqCst) == 1 {
            self.0.rouse();
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("gone", &self.0.messages.lock().closed).finish()
    }
}

/// The hub's OS thread has ended; what was to run there comes back.
pub struct HubGone<F>(pub F);

impl<F> fmt::Debug for HubGone<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HubGone(..)")
    }
}

impl<F> fmt::Display for HubGone<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the hub is gone: its OS thread has ended")
    }
}

impl<F> std::error::Error for HubGone<F> {}

struct Packet<T> {
    state: Mutex<PacketState<T>>,
    done: Condvar,
}

struct PacketState<T> {
    result: Option<Result<T, JoinError>>,
    /// There was a result; it may have been taken.
    completed: bool,
    /// A green thread that joins, in its own hub. Others wait for `done`.
    waiter: Option<(Handle, GreenId, u32)>,
}

impl<T> Default for PacketState<T> {
    fn default() -> Self {
        PacketState { result: None, completed: false, waiter: None }
    }
}

/// Tells the joiner, in any case.
struct Completer<T> {
    packet: Option<Arc<Packet<T>>>,
    shared: Arc<Inbox>,
}

impl<T> Completer<T> {
    fn complete(mut self, result: Result<T, JoinError>) {
        if let Some(packet) = self.packet.take() {
            packet.complete(result);
        }
    }
}

impl<T> Drop for Completer<T> {
    fn drop(&mut self) {
        if let Some(packet) = self.packet.take() {
            let gone = self.shared.messages.lock().closed;
            packet.complete(Err(if gone { JoinError::HubGone } else { JoinError::Killed }));
        }
    }
}

impl<T> Packet<T> {
    fn complete(&self, result: Result<T, JoinError>) {
        let waiter = {
            let mut state = lock(&self.state);
            if state.completed {
                return;
            }
            state.completed = true;
            state.result = Some(result);
            state.waiter.take()
        };
        self.done.notify_all();
        if let Some((handle, id, epoch)) = waiter {
            let _ = handle.0.send(Message::Wake(id, epoch));
        }
    }
}

impl<T> Packet<T> {
    /// Blocks the OS thread; may end for no reason.
    fn wait_for_done<'a>(
        &self,
        state: MutexGuard<'a, PacketState<T>>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, PacketState<T>> {
        match until.map(|until| until.saturating_duration_since(Instant::now())) {
            None => self.done.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(left) => self.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
        }
    }
}

impl<T: Send> HubGoneListener for Packet<T> {
    fn hub_is_gone(&self) {
        self.complete(Err(JoinError::HubGone));
    }
}

/// A ticket that can be used from any OS thread.
pub(crate) struct RemoteTicket {
    hub: Arc<Inbox>,
    id: GreenId,
    epoch: u32,
}

impl RemoteTicket {
    /// For the next park of the current green thread.
    ///
    /// Errors: no file descriptor is left to wake the hub by.
    pub(crate) fn new(hub: &Hub) -> io::Result<RemoteTicket> {
        let (hub, Ticket { id, epoch, .. }) = (hub.inbox()?.clone(), hub.ticket());
        Ok(RemoteTicket { hub, id, epoch })
    }

    /// Makes the green thread ready again, if it is still in that park.
    pub(crate) fn wake(&self) {
        let ticket = Ticket::new(self.id, self.epoch);
        match super::try_current().filter(|hub| hub.can_block() && hub.remote.is(&self.hub)) {
            Some(hub) => hub.wake(ticket),
            None => self.hub.wake(ticket),
        };
    }
}

/// To keep a result for who joins from another OS thread.
pub(crate) struct Promise<T>(Option<Arc<Packet<T>>>);

impl<T> Promise<T> {
    pub(crate) fn new() -> (Promise<T>, RemoteJoinHandle<T>) {
        let packet = Arc::new(Packet { state: Mutex::new(PacketState::default()), done: Condvar::new() });
        (Promise(Some(packet.clone())), RemoteJoinHandle(packet))
    }

    pub(crate) fn keep(mut self, result: Result<T, JoinError>) {
        if let Some(packet) = self.0.take() {
            packet.complete(result);
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if let Some(packet) = self.0.take() {
            packet.complete(Err(JoinError::Killed));
        }
    }
}

/// Joins a green thread from outside its hub. Dropping it detaches.
pub struct RemoteJoinHandle<T>(Arc<Packet<T>>);

impl<T> RemoteJoinHandle<T> {
    /// Waits for the green thread to end. On an OS thread that has a hub, the hub goes on meanwhile;
    /// otherwise the OS thread blocks.
    ///
    /// # Errors
    /// It panicked, was killed, or its hub is gone: [`JoinError`].
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        let at = Location::caller();
        self.join_by(|ticket| {
            current().block_at(ticket, NEVER, WaitReason::For("a green thread of another hub"), at);
        })
    }

    /// As [`join`](Self::join), for no longer than `timeout`. Zero only looks.
    ///
    /// # Errors
    /// The inner result is that of `join`. The outer error is this handle: the time is over, the green thread runs on.
    #[track_caller]
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, JoinError>, RemoteJoinHandle<T>> {
        let at = Location::caller();
        let until = Instant::now().checked_add(timeout);
        let park = |ticket| {
            let hub = current();
            let deadline = until.map_or(NEVER, |until| hub.clock().at(until));
            hub.block_at(ticket, deadline, WaitReason::For("a green thread of another hub"), at);
        };
        self.wait(until, park).ok_or(self)
    }

    /// `park` parks by the ticket that it is given.
    pub(crate) fn join_by(self, park: impl Fn(Ticket)) -> Result<T, JoinError> {
        self.wait(None, park).expect("no deadline has passed")
    }

    /// Waits for the result, until that time. `park` parks until then, by the ticket that it is given.
    fn wait(&self, until: Option<Instant>, park: impl Fn(Ticket)) -> Option<Result<T, JoinError>> {
        let is_over = || until.is_some_and(|until| until <= Instant::now());
        let here = super::try_current().filter(|hub| hub.can_block());
        match here.map(|hub| (hub, Handle::current())) {
            Some((hub, Ok(handle))) => loop {
                let ticket = hub.ticket();
                {
                    let mut state = lock(&self.0.state);
                    if state.result.is_some() || is_over() {
                        let (result, stale) = (state.result.take(), state.waiter.take());
                        drop(state);
                        // A handle, whose destructor may have to tell the hub.
                        drop(stale);
                        return result;
                    }
                    state.waiter = Some((handle.clone(), ticket.id, ticket.epoch));
                }
                park(ticket);
            },
            _ => {
                let mut state = lock(&self.0.state);
                while state.result.is_none() && !is_over() {
                    state = self.0.wait_for_done(state, until);
                }
                state.result.take()
            }
        }
    }

    /// Whether `join` would answer at once.
    pub fn is_finished(&self) -> bool {
        lock(&self.0.state).result.is_some()
    }
}

impl<T> Drop for RemoteJoinHandle<T> {
    fn drop(&mut self) {
        // A joiner that was interrupted waits no more, and its hub need not wait for our message.
        let waiter = lock(&self.0.state).waiter.take();
        drop(waiter);
    }
}

impl<T> fmt::Debug for RemoteJoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteJoinHandle").field("finished", &self.is_finished()).finish()
    }
}
