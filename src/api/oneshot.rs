//! A result that crosses OS threads once (a oneshot channel): one side completes it, the other joins.
//!
//! Next: `api/handle.rs`, which runs closures on other OS threads' hubs.

use super::current_hub::current_hub;
use crate::green::JoinError;
use crate::hub::{HubGoneListener, Inbox, InboxHandle, try_current};
use crate::ids::{GreenId, Ticket, WaitReason};
use crate::time::NEVER;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

struct Oneshot<T> {
    state: Mutex<OneshotState<T>>,
    /// Notified for joiners without a hub.
    completed: Condvar,
}

struct OneshotState<T> {
    /// The first result. If the joiner has taken it, later ones replace it, and no code reads them.
    result: Option<Result<T, JoinError>>,
    /// The joiner, if it is a green thread: its hub, and the parts of its ticket, which is not `Send`.
    waiter: Option<(InboxHandle, GreenId, u32)>,
}

impl<T> Oneshot<T> {
    fn lock(&self) -> MutexGuard<'_, OneshotState<T>> {
        // No code panics while it holds this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes the result, unless there is one.
    fn complete(&self, result: impl FnOnce() -> Result<T, JoinError>) {
        let mut state = self.lock();
        if state.result.is_some() {
            return;
        }
        state.result = Some(result());
        let waiter = state.waiter.take();
        drop(state);
        self.completed.notify_all();
        if let Some((hub, id, epoch)) = waiter {
            hub.inbox().wake(Ticket::new(id, epoch));
        }
    }
}

impl<T: Send> HubGoneListener for Oneshot<T> {
    fn hub_is_gone(&self) {
        self.complete(|| Err(JoinError::HubGone));
    }
}

/// The side that completes the result. Dropping it completes the result with an error.
pub(crate) struct OneshotSender<T> {
    oneshot: Arc<Oneshot<T>>,
    /// The inbox of the hub that runs the body, if it is a green thread of another OS thread.
    inbox: Option<Arc<Inbox>>,
}

/// Makes a result for an OS thread that will complete it.
pub(crate) fn oneshot<T>() -> (OneshotSender<T>, RemoteJoinHandle<T>) {
    let state = Mutex::new(OneshotState { result: None, waiter: None });
    let oneshot = Arc::new(Oneshot { state, completed: Condvar::new() });
    (OneshotSender { oneshot: oneshot.clone(), inbox: None }, RemoteJoinHandle(oneshot))
}

/// Makes a result for a green thread of the hub that `inbox` belongs to. `None`: that hub is gone.
pub(super) fn oneshot_of_hub<T: Send + 'static>(
    inbox: &Arc<Inbox>,
) -> Option<(OneshotSender<T>, RemoteJoinHandle<T>)> {
    let (mut sender, handle) = oneshot();
    let listener: Weak<Oneshot<T>> = Arc::downgrade(&handle.0);
    if !inbox.track(listener) {
        return None;
    }
    sender.inbox = Some(inbox.clone());
    Some((sender, handle))
}

impl<T> OneshotSender<T> {
    pub(crate) fn complete(self, result: Result<T, JoinError>) {
        self.oneshot.complete(|| result);
    }
}

impl<T> Drop for OneshotSender<T> {
    fn drop(&mut self) {
        let is_gone = || self.inbox.as_ref().is_some_and(|inbox| inbox.is_closed());
        self.oneshot.complete(|| Err(if is_gone() { JoinError::HubGone } else { JoinError::Killed }));
    }
}

/// Joins a green thread from outside its hub. Dropping the handle detaches the green thread.
pub struct RemoteJoinHandle<T>(Arc<Oneshot<T>>);

impl<T> RemoteJoinHandle<T> {
    /// Waits for the green thread to end. On an OS thread that has a hub, blocks the calling green thread. On another one,
    /// blocks the OS thread.
    ///
    /// # Errors
    /// The green thread panicked or was killed, or its hub is gone: [`JoinError`].
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        self.join_by(park_until(None, Location::caller()))
    }

    /// Joins as [`join`](Self::join) does, for at most `timeout`. With a timeout of zero, only looks.
    ///
    /// # Errors
    /// The inner result is that of `join`. If the timeout has passed, the outer error is this handle, and the green thread
    /// goes on.
    #[track_caller]
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, JoinError>, RemoteJoinHandle<T>> {
        let until = Instant::now().checked_add(timeout);
        self.wait(until, park_until(until, Location::caller())).ok_or(self)
    }

    /// Joins as `join` does. `park` parks with the ticket that it gets.
    pub(crate) fn join_by(self, park: impl Fn(Ticket)) -> Result<T, JoinError> {
        self.wait(None, park).expect("a wait without a deadline ends with a result")
    }

    /// Waits for the result until `until`. `park` parks until then, with the ticket that it gets.
    fn wait(&self, until: Option<Instant>, park: impl Fn(Ticket)) -> Option<Result<T, JoinError>> {
        let is_over = || until.is_some_and(|until| until <= Instant::now());
        let hub = try_current().filter(|hub| hub.can_block());
        let hub = hub.and_then(|hub| Some((hub, InboxHandle::new(hub).ok()?)));
        loop {
            let ticket = hub.as_ref().map(|(hub, handle)| (hub.ticket(), handle));
            let mut state = self.0.lock();
            if state.result.is_some() || is_over() {
                let (result, stale) = (state.result.take(), state.waiter.take());
                drop(state);
                // Dropped without the lock, because the destructor of its handle may wake a hub.
                drop(stale);
                return result;
            }
            if let Some((ticket, handle)) = ticket {
                state.waiter = Some((handle.clone(), ticket.id, ticket.epoch));
                drop(state);
                park(ticket);
            } else if let Some(until) = until {
                let left = until.saturating_duration_since(Instant::now());
                drop(self.0.completed.wait_timeout(state, left));
            } else {
                drop(self.0.completed.wait(state));
            }
        }
    }

    /// Returns whether `join` would return at once.
    pub fn is_finished(&self) -> bool {
        self.0.lock().result.is_some()
    }
}

/// Returns a function that parks with a ticket until `until`. `at` is the place of the call, for reports.
fn park_until(until: Option<Instant>, at: &'static Location<'static>) -> impl Fn(Ticket) {
    move |ticket| {
        let hub = current_hub();
        let deadline = until.map_or(NEVER, |until| hub.clock().at(until));
        hub.block_at(ticket, deadline, WaitReason::For("a green thread of another hub"), at);
    }
}

impl<T> Drop for RemoteJoinHandle<T> {
    fn drop(&mut self) {
        // A joiner that was interrupted does not wait any more. Its hub must not wait for a message to it.
        let waiter = self.0.lock().waiter.take();
        drop(waiter);
    }
}

impl<T> fmt::Debug for RemoteJoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteJoinHandle").field("finished", &self.is_finished()).finish()
    }
}
