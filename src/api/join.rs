//! The handle of a green thread: to wait for what it returns, to end it, to ask after it; and waiting for
//! several.
//!
//! Names are std's; gevent's are in the docs as aliases.

use crate::api::current_hub::current_hub;
use crate::green::{Completions, JoinError, Joiner, Outcome};
use crate::hub::{self, Hub, try_current};
use crate::ids::{GreenId, WaitReason, WaitResult};
use crate::time::{NEVER, Time};
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

/// A green thread, and the right to what it returns.
///
/// Dropping the handle detaches: the green thread goes on, and what it returns is dropped when it ends. The
/// handle belongs to its OS thread, as the green thread does:
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

    /// Blocks the current green thread (or the root) until this one has ended, and answers what it returned.
    ///
    /// # Errors
    /// It panicked (with its payload) or was killed: [`JoinError`].
    ///
    /// # Panics
    /// When a green thread joins itself. On the root, when this can never end: see
    /// [`deadlock`](crate#deadlock).
    #[doc(alias = "get")]
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        match self.join_until(current_hub(), NEVER) {
            Ok(result) => result,
            Err(_) => unreachable!("a deadline that does not come has passed"),
        }
    }

    /// As [`join`](Self::join), for no longer than `timeout`. Zero only looks.
    ///
    /// # Errors
    /// The inner result is that of `join`. The outer error is this handle: the time is over, the green
    /// thread runs on.
    #[track_caller]
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, JoinError>, JoinHandle<T>> {
        let hub = current_hub();
        self.join_until(hub, deadline(hub, timeout))
    }

    #[track_caller]
    fn join_until(self, hub: &Hub, deadline: Time) -> Result<Result<T, JoinError>, JoinHandle<T>> {
        loop {
            if let Some(outcome) = hub.take_outcome(self.id) {
                std::mem::forget(self);
                return Ok(unpack(outcome));
            }
            assert!(hub.current() != self.id, "a green thread cannot join itself: it would wait for ever");
            if deadline == PAST {
                return Err(self);
            }
            let ticket = hub.ticket();
            hub.set_joiner(self.id, Joiner::One(ticket.id, ticket.epoch));
            if hub.block(ticket, deadline, WaitReason::Join(self.id)) == WaitResult::Expired {
                hub.set_joiner(self.id, Joiner::None);
                return Err(self);
            }
        }
    }

    /// Whether [`join`](Self::join) would answer at once.
    #[doc(alias = "ready")]
    pub fn is_finished(&self) -> bool {
        current_hub().is_finished(self.id)
    }

    /// Which green thread it is.
    pub fn id(&self) -> GreenId {
        self.id
    }

    /// The name it was given, or `green-N`.
    pub fn name(&self) -> Rc<str> {
        current_hub().name_of(self.id).expect("a handle keeps the record")
    }

    /// Asks the green thread to end; does not wait for it. Answers `false` when it has ended already.
    ///
    /// At the blocking call it is in, or at its next, the green thread unwinds: its destructors run (they may
    /// block), and `join` answers [`JoinError::Killed`]. Killed before its first run, it never runs. A second
    /// kill while it unwinds does not break into its destructors. Code in it that catches the unwind may go
    /// on; the kill is then used up. A green thread that never blocks is never killed.
    ///
    /// A blocking call of std that is interposed (see [`patch`](crate::patch)) returns early instead, since
    /// std's own frames cannot be unwound; the unwind begins at the next blocking call of greenline.
    ///
    /// Source: gevent's `Greenlet.kill(block=False)`.
    pub fn kill(&self) -> bool {
        current_hub().kill(self.id)
    }

    /// Runs `callback` in a new green thread when this one has ended; at once if it has. Several run in the
    /// order in which they were given.
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
        // No hub: the OS thread is ending, and its records went before us.
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
    match outcome {
        Outcome::Returned(value) => Ok(*value.downcast().expect("a body returns what its handle says")),
        Outcome::Panicked(payload) => Err(JoinError::Panicked(payload)),
        Outcome::Killed => Err(JoinError::Killed),
        Outcome::NoStack(error) => Err(JoinError::NoStack(error)),
    }
}

/// Waits for all of them: what each returned, in the order of the handles.
///
/// For one failure to end the waiting, see [`try_join_all`].
///
/// # Panics
/// As [`JoinHandle::join`].
#[doc(alias = "joinall")]
#[track_caller]
pub fn join_all<T: 'static>(handles: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<Result<T, JoinError>> {
    // Collected first: an iterator that spawns as it goes has to spawn all before we wait for one.
    let handles: Vec<_> = handles.into_iter().collect();
    let mut results = Vec::with_capacity(handles.len());
    for handle in handles {
        results.push(handle.join());
    }
    results
}

/// The deadline of who only looks.
const PAST: Time = 0;

fn deadline(hub: &Hub, timeout: Duration) -> Time {
    if timeout.is_zero() { PAST } else { hub.clock().after(timeout) }
}

/// Waits for all of them, but no longer than `timeout` for all together. In the order of the handles: what
/// became of those that have ended, and the handles of the others. Zero only looks.
#[doc(alias = "joinall")]
#[track_caller]
pub fn join_all_timeout<T: 'static>(
    handles: impl IntoIterator<Item = JoinHandle<T>>,
    timeout: Duration,
) -> Vec<Result<Result<T, JoinError>, JoinHandle<T>>> {
    let handles: Vec<_> = handles.into_iter().collect();
    let hub = current_hub();
    let deadline = deadline(hub, timeout);
    let mut results = Vec::with_capacity(handles.len());
    for handle in handles {
        results.push(handle.join_until(hub, deadline));
    }
    results
}

/// Waits for all of them to return, or for the first that does not: values in the order of the handles.
///
/// # Errors
/// The earliest failure, as soon as it is known. The others run on, detached.
///
/// Source: gevent's `joinall(raise_error=True)`.
#[track_caller]
pub fn try_join_all<T: 'static>(
    handles: impl IntoIterator<Item = JoinHandle<T>>,
) -> Result<Vec<T>, JoinError> {
    let mut completed = as_completed(handles);
    let mut values: Vec<Option<T>> = Vec::new();
    values.resize_with(completed.left, || None);
    while let Some((index, result)) = completed.advance(NEVER) {
        values[index] = Some(result?);
    }
    Ok(values.into_iter().flatten().collect())
}

/// Waits for the first `count` of them to end. Answers what became of those, each with its place among the
/// handles, in the order in which they ended; and the handles of the others, with theirs.
///
/// Source: gevent's `joinall(count=...)`.
#[track_caller]
#[allow(clippy::type_complexity)]
pub fn join_first<T: 'static>(
    handles: impl IntoIterator<Item = JoinHandle<T>>,
    count: usize,
) -> (Vec<(usize, Result<T, JoinError>)>, Vec<(usize, JoinHandle<T>)>) {
    let mut completed = as_completed(handles);
    let mut first = Vec::with_capacity(count.min(completed.left));
    while first.len() < count {
        match completed.advance(NEVER) {
            Some(one) => first.push(one),
            None => break,
        }
    }
    (first, completed.into_rest())
}

/// What becomes of them, as they end: an iterator that blocks for the next. Each item carries its place
/// among the handles. Those that have ended before the call come first, in the order of the handles.
///
/// The handles that are left when the iterator is dropped are detached;
/// [`into_rest`](AsCompleted::into_rest) keeps them.
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

/// Made by [`as_completed`].
#[derive(Debug)]
pub struct AsCompleted<T: 'static> {
    handles: Vec<Option<JoinHandle<T>>>,
    completions: Rc<Completions>,
    left: usize,
}

impl<T: 'static> AsCompleted<T> {
    /// As `next`, for no longer than `timeout`: `None` means that the time is over, or that none is left.
    #[track_caller]
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<(usize, Result<T, JoinError>)> {
        self.advance(current_hub().clock().after(timeout))
    }

    #[track_caller]
    fn advance(&mut self, deadline: Time) -> Option<(usize, Result<T, JoinError>)> {
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
            if hub.block(ticket, deadline, WaitReason::For("one of several green threads to end"))
                == WaitResult::Expired
            {
                return None;
            }
        };
        self.left -= 1;
        let handle = self.handles[index].take().expect("each completes once");
        let outcome = hub.take_outcome(handle.id).expect("it said that it has ended");
        std::mem::forget(handle);
        Some((index, unpack(outcome)))
    }

    /// The handles of those that have not been answered, with their places.
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
        self.advance(NEVER)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Kills all of them, then waits until they have ended, cleanup included. Those that have not begun never
/// run. Answers what became of each, in the order of the handles.
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
    for handle in &handles {
        handle.kill();
    }
    join_all(handles)
}
