//! Running closures on the hubs of other OS threads.
//!
//! Next: `hub/inbox.rs`, where a hub receives them.

use super::current_hub::current_hub;
use super::oneshot::{RemoteJoinHandle, oneshot_of_hub};
use crate::green::catch_body;
use crate::hub::{InboxHandle, with_blocking_disabled};
use std::fmt;
use std::io;
use std::panic::Location;

/// A hub, as seen from other OS threads: `Send`, `Sync` and `Clone`.
///
/// While a handle exists the hub cannot be sure that no message will ever wake it. So it waits rather than report a
/// [deadlock](crate#deadlock). Source: gevent's `loop.async_` and `run_callback_threadsafe`.
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
#[derive(Clone)]
pub struct Handle(InboxHandle);

impl Handle {
    /// Returns a handle to the hub of the calling OS thread. Makes the hub if there is none yet.
    ///
    /// # Errors
    /// No file descriptor is left to wake the hub by, or there is no memory for any stack.
    pub fn current() -> io::Result<Handle> {
        let hub = current_hub();
        // For the green threads that will be spawned through the handle.
        hub.ensure_emergency_stack()?;
        Ok(Handle(InboxHandle::new(hub)?))
    }

    /// Runs `f` in a new green thread of the hub. Any OS thread may call this. Does not block; the hub wakes up if it sleeps.
    ///
    /// # Errors
    /// The hub's OS thread has ended. `f` is in the error.
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> Result<RemoteJoinHandle<T>, HubGone<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let inbox = self.0.inbox();
        let Some((sender, handle)) = with_blocking_disabled(|| oneshot_of_hub(inbox)) else {
            return Err(HubGone(f));
        };
        // If the hub is gone by now, the body is dropped, and with it `sender`. Then the joiner gets an error.
        inbox.spawn(Box::new(move || sender.complete(catch_body(f))), Location::caller());
        Ok(handle)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("gone", &self.0.inbox().is_closed()).finish()
    }
}

/// The error of [`Handle::spawn`] if the hub's OS thread has ended. It contains the closure.
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
