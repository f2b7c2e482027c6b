//! The handle of a green thread: waiting for its result, ending it, asking for its state; and waiting for several.
//!
//! The names are std's. gevent's are aliases in the documentation.
//!
//! Next: `api/spawn.rs`, which makes green threads.

use crate::api::current_hub::current_hub;
use crate::green::{Completions, JoinError, Joiner, Outcome};
use crate::hub::{self, Hub, try_current};
use crate::ids::{GreenId, WaitReason, WaitResult};
use crate::time::{NEVER, Time};
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

/// A green thread, and the right to its result.
///
/// Dropping the handle detaches the green thread: it goes on, and its result is dropped when it ends. The handle belongs to
/// its OS thread, as the green thread does:
///
/// ```compile_fail
/// let handle = greenline::spawn(|| 1);
/// std::thread::spawn(move || handle.join());
/// ```
///
/// Source: `std::thread::JoinHandle`, gevent's `Greenlet`.
#[doc(alias = "Greenlet")]
pub struct JoinHandle<T> {
    id: GreenId,
    result: PhantomData<(fn() -> T, *const ())>,
}

impl<T: 'static> JoinHandle<T> {
    pub(crate) fn new(id: GreenId) -> Self {
        JoinHandle { id, result: PhantomData }
    }

    /// Blocks the caller (a green thread or the root) until this green thread has ended, and returns its result.
    ///
    /// # Errors
    /// The green thread panicked (with its payload) or was killed: [`JoinError`].
    ///
    /// # Panics
    /// If a green thread joins itself. On the root, if this green thread can never end: see
    /// [`deadlock`](crate#deadlock).
    #[doc(alias = "get")]
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        self.join_at(Location::caller())
    }

    /// Joins as [`join`](Self::join) does, for at most `timeout`. With a timeout of zero, only looks.
    ///
    /// # Errors
    /// The inner result is that of `join`. If the timeout has passed, the outer error is this handle, and the green thread
    /// goes on.
    #[track_caller]
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, JoinError>, JoinHandle<T>> {
        let hub = current_hub();
        self.join_until(hub, deadline(hub, timeout), Location::caller())
    }

    fn join_at(self, at: &'static Location<'static>) -> Result<T, JoinError> {
        self.join_until(current_hub(), NEVER, at).expect("a join without a deadline ends with a result")
    }

    fn join_until(
        self,
        hub: &Hub,
        deadline: Time,
        at: &'static Location<'static>,
    ) -> Result<Result<T, JoinError>, JoinHandle<T>> {
        loop {
            if let Some(outcome) = hub.take_outcome(self.id) {
                std::mem::forget(self);
                return Ok(unpack(outcome));
            }
            assert!(hub.current() != self.id, "a green thread cannot join itself: it would wait for ever");
            if deadline == ALREADY_EXPIRED {
                return Err(self);
            }
            let ticket = hub.ticket();
            hub.set_joiner(self.id, Joiner::One(ticket.id, ticket.epoch));
            if hub.block_at(ticket, deadline, WaitReason::Join(self.id), at) == WaitResult::Expired {
                hub.set_joiner(self.id, Joiner::None);
                return Err(self);
            }
        }
    }

    /// Returns whether [`join`](Self::join) would return at once.
    #[doc(alias = "ready")]
    pub fn is_finished(&self) -> bool {
        current_hub().is_finished(self.id)
    }

    /// Returns the id of the green thread.
    pub fn id(&self) -> GreenId {
        self.id
    }

    /// Returns the name of the green thread: the given one, or `green-N`.
    pub fn name(&self) -> Rc<str> {
        current_hub().name_of(self.id).expect("a handle keeps the record")
    }

    /// Asks the green thread to end, and does not wait for that. Returns `false` if it has ended already.
    ///
    /// The green thread unwinds at the blocking call in which it waits, or at its next one. Its destructors run, and may
    /// block. Then `join` returns [`JoinError::Killed`]. If it has not started yet, it never runs. A second kill while it
    /// unwinds does not interrupt its destructors. If code in it catches the unwind, that code may go on, and the kill is
    /// used up. A green thread that never blocks is never killed.
    ///
    /// An interposed blocking call of std (see [`patch`](crate::patch)) returns early instead, because std's own frames
    /// cannot be unwound. The unwind begins at the next blocking call of greenline.
    ///
    /// Source: gevent's `Greenlet.kill(block=False)`.
    pub fn kill(&self) -> bool {
        current_hub().kill(self.id)
    }

    /// Runs `callback` in a new green thread when this one has ended, at once if it has ended already. Several callbacks run
    /// in the order of the calls.
    ///
    /// Source: gevent's `Greenlet.link`.
    #[track_caller]
    pub fn link(&self, callback: impl FnOnce(GreenId) + 'static) {
        let id = self.id;
        current_hub().link(id, hub::entry_closure(move || callback(id)));
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        // If there is no hub, the OS thread is ending, and the record is gone.
        if let Some(hub) = try_current() {
            hub.detach(self.id);
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("id", &self.id).finish_non_exhaustive()
    }
}

fn unpack<T: 'static>(outcome: Outcome) -> Result<T, JoinError> {
    outcome.map(|value| *value.downcast().expect("the result has the type of the handle"))
}

/// Waits for all green threads. Returns their results in the order of the handles.
///
/// [`try_join_all`] returns at the first failure instead.
///
/// # Panics
/// As [`JoinHandle::join`].
#[doc(alias = "joinall")]
#[track_caller]
pub fn join_all<T: 'static>(handles: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<Result<T, JoinError>> {
    let at = Location::caller();
    // Collected first, because an iterator that spawns must spawn all before the first wait.
    let handles: Vec<_> = handles.into_iter().collect();
    handles.into_iter().map(|handle| handle.join_at(at)).collect()
}

/// The deadline of a join that only looks.
const ALREADY_EXPIRED: Time = 0;

fn deadline(hub: &Hub, timeout: Duration) -> Time {
    if timeout.is_zero() { ALREADY_EXPIRED } else { hub.clock().after(timeout) }
}

/// Waits for all green threads, for at most `timeout` altogether. Returns, in the order of the handles, the results of those
/// that have ended, and the handles of the others. With a timeout of zero, only looks.
#[doc(alias = "joinall")]
#[track_caller]
pub fn join_all_timeout<T: 'static>(
    handles: impl IntoIterator<Item = JoinHandle<T>>,
    timeout: Duration,
) -> Vec<Result<Result<T, JoinError>, JoinHandle<T>>> {
    let (at, hub) = (Location::caller(), current_hub());
    let handles: Vec<_> = handles.into_iter().collect();
    let deadline = deadline(hub, timeout);
    handles.into_iter().map(|handle| handle.join_until(hub, deadline, at)).collect()
}

/// Waits until all green threads have returned, or until the first one has failed. Returns the values in the order of the
/// handles.
///
/// # Errors
/// The earliest failure, as soon as it is known. The other green threads go on, detached.
///
/// Source: gevent's `joinall(raise_error=True)`.
#[track_caller]
pub fn try_join_all<T: 'static>(
    handles: impl IntoIterator<Item = JoinHandle<T>>,
) -> Result<Vec<T>, JoinError> {
    let (at, mut completed) = (Location::caller(), as_completed(handles));
    let mut values: Vec<Option<T>> = completed.handles.iter().map(|_| None).collect();
    while let Some((index, result)) = completed.advance(NEVER, at) {
        values[index] = Some(result?);
    }
    Ok(values.into_iter().flatten().collect())
}

/// Waits until the first `count` green threads have ended. Returns their results in the order in which they ended, and the
/// handles of the others. Each comes with its index among `handles`.
///
/// Source: gevent's `joinall(count=...)`.
#[track_caller]
#[allow(clippy::type_complexity)]
pub fn join_first<T: 'static>(
    handles: impl IntoIterator<Item = JoinHandle<T>>,
    count: usize,
) -> (Vec<(usize, Result<T, JoinError>)>, Vec<(usize, JoinHandle<T>)>) {
    let (at, mut completed) = (Location::caller(), as_completed(handles));
    let first = (0..count).map_while(|_| completed.advance(NEVER, at)).collect();
    (first, completed.into_rest())
}

/// Returns an iterator over the results in the order in which the green threads end. `next` blocks until the next one has
/// ended. Each result comes with its index among `handles`. Green threads that have ended before the call come first, in the
/// order of the handles.
///
/// Dropping the iterator detaches the green threads that are left. [`into_rest`](AsCompleted::into_rest) returns their
/// handles.
///
/// ```
/// use std::time::Duration;
/// let all = [30, 10, 20].map(|ms| greenline::spawn(move || {
///     greenline::sleep(Duration::from_millis(ms));
///     ms
/// }));
/// let order: Vec<u64> = greenline::as_completed(all).map(|(_, result)| result.unwrap()).collect();
/// assert_eq!(order, [10, 20, 30]);
/// ```
#[doc(alias = "iwait")]
pub fn as_completed<T: 'static>(handles: impl IntoIterator<Item = JoinHandle<T>>) -> AsCompleted<T> {
    let hub = current_hub();
    let completions = Rc::new(Completions::default());
    let handles: Vec<_> = handles.into_iter().map(Some).collect();
    for (index, handle) in handles.iter().flatten().enumerate() {
        if !hub.set_joiner(handle.id, Joiner::Several(completions.clone(), index as u32)) {
            completions.push(index);
        }
    }
    AsCompleted { left: handles.len(), handles, completions }
}

/// The iterator of [`as_completed`].
#[derive(Debug)]
pub struct AsCompleted<T: 'static> {
    /// The handle of each green thread whose result was not returned yet.
    handles: Vec<Option<JoinHandle<T>>>,
    completions: Rc<Completions>,
    /// Number of results not returned yet.
    left: usize,
}

impl<T: 'static> AsCompleted<T> {
    /// Returns the next result as `next` does, but waits for at most `timeout`. `None`: the timeout has passed, or no green
    /// thread is left.
    #[track_caller]
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<(usize, Result<T, JoinError>)> {
        self.advance(current_hub().clock().after(timeout), Location::caller())
    }

    fn advance(
        &mut self,
        deadline: Time,
        at: &'static Location<'static>,
    ) -> Option<(usize, Result<T, JoinError>)> {
        if self.left == 0 {
            return None;
        }
        let hub = current_hub();
        let index = loop {
            if let Some(index) = self.completions.pop() {
                break index;
            }
            let ticket = hub.ticket();
            self.completions.wait_by(ticket);
            let wait = WaitReason::For("one of several green threads to end");
            if hub.block_at(ticket, deadline, wait, at) == WaitResult::Expired {
                return None;
            }
        };
        self.left -= 1;
        let handle = self.handles[index].take().expect("a green thread completes once");
        let outcome = hub.take_outcome(handle.id).expect("a completed green thread has finished");
        std::mem::forget(handle);
        Some((index, unpack(outcome)))
    }

    /// Returns the handles of the green threads whose results were not returned, each with its index.
    pub fn into_rest(self) -> Vec<(usize, JoinHandle<T>)> {
        let hub = current_hub();
        let rest = self.handles.into_iter().enumerate();
        let rest = rest.filter_map(|(index, handle)| Some((index, handle?)));
        rest.inspect(|(_, handle)| {
            hub.set_joiner(handle.id, Joiner::None);
        })
        .collect()
    }
}

impl<T: 'static> Iterator for AsCompleted<T> {
    type Item = (usize, Result<T, JoinError>);

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        self.advance(NEVER, Location::caller())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Kills all green threads, and waits until they have ended, their destructors included. A green thread that has not started
/// never runs. Returns the results in the order of the handles.
///
/// ```
/// let all: Vec<_> = (0..3).map(|_| greenline::spawn(|| greenline::sleep(std::time::Duration::MAX))).collect();
/// greenline::yield_now();
/// assert!(greenline::kill_all(all).iter().all(|end| matches!(end, Err(greenline::JoinError::Killed))));
/// ```
#[doc(alias = "killall")]
#[track_caller]
pub fn kill_all<T: 'static>(handles: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<Result<T, JoinError>> {
    let handles: Vec<_> = handles.into_iter().collect();
    handles.iter().for_each(|handle| _ = handle.kill());
    join_all(handles)
}
