//! Scopes: green threads that borrow from the stack of their owner.
//!
//! A scope is sound because [`scope`] neither returns nor unwinds before the closure of its last green thread is gone. This
//! holds if handles are dropped or leaked, if either side panics, if the owner is killed, if the hub ends, and in a deadlock.
//! A destructor counts each closure down, after everything that it borrowed. If the owner cannot wait, because its green
//! threads can never end, the process aborts.
//!
//! Next: `api/local.rs`.
#![allow(unsafe_code)]

use crate::api::current_hub::current_hub;
use crate::api::join::JoinHandle;
use crate::green::{Interrupt, Interruptible, JoinError, carried_by, catch_body};
use crate::ids::{GreenId, ParkResult, Ticket, WaitReason};
use crate::sys::abort::AbortOnUnwind;
use crate::sys::catch::drop_ignoring_panics;
use crate::time::NEVER;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::rc::Rc;

/// Number of times that the green threads of a deadlocked scope are killed before the process aborts.
const KILL_RETRIES: u32 = 64;

/// Calls `f` with a scope whose green threads may borrow values that outlive the scope. Waits for all of them before it
/// returns.
///
/// The caller is the owner of the scope. If the owner is killed, or its timeout fires, in `f` or in the wait, it kills the
/// scope's green threads, and unwinds when they have ended.
///
/// # Panics
/// If `f` panics, after the green threads have ended. If a green thread panicked and was not joined.
///
/// ```
/// let mut numbers = [1, 2, 3];
/// greenline::scope(|s| {
///     for n in &mut numbers {
///         s.spawn(move || *n *= 10);
///     }
/// });
/// assert_eq!(numbers, [10, 20, 30]);
/// ```
///
/// A value that does not outlive the scope cannot be borrowed:
///
/// ```compile_fail
/// greenline::scope(|s| {
///     let inner = 1;
///     s.spawn(|| assert_eq!(inner, 1));
/// });
/// ```
///
/// Source: `std::thread::scope`.
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope { data: Rc::default(), scope: PhantomData, env: PhantomData };
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    // From here to `disarm` nothing may unwind.
    let guard = AbortOnUnwind("a scope was left before its green threads had ended");
    if matches!(&result, Err(payload) if carried_by(&**payload).is_some()) {
        // The owner is being killed, or its timeout has fired.
        scope.kill_all();
    }
    let ended = scope.wait_for_all(Location::caller());
    guard.disarm();
    match (result, ended) {
        (Err(payload), _) => resume_unwind(payload),
        (_, Ended::Interrupted(interrupt)) => resume_unwind(Box::new(interrupt)),
        (_, Ended::Deadlocked(report)) => panic!("{report}"),
        (Ok(_), _) if scope.data.panicked.get() => panic!("a scoped green thread panicked"),
        (Ok(value), Ended::ByThemselves) => value,
    }
}

/// How the green threads of a scope ended.
enum Ended {
    ByThemselves,
    /// The owner was interrupted, and they were killed.
    Interrupted(Interrupt),
    /// They were deadlocked, and were killed. The report says so.
    Deadlocked(String),
}

/// A scope, in which green threads may borrow: see [`scope`].
#[derive(Debug)]
pub struct Scope<'scope, 'env: 'scope> {
    data: Rc<ScopeData>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

#[derive(Debug, Default)]
struct ScopeData {
    /// Number of closures that are not gone.
    running: Cell<usize>,
    /// The owner's ticket while it waits.
    owner: Cell<Option<Ticket>>,
    /// The green threads of the scope. They are killed with the owner.
    spawned: RefCell<Vec<GreenId>>,
    /// Whether the green threads are being killed. Then a new one is killed at once.
    killed: Cell<bool>,
    /// Whether a green thread panicked and was not joined.
    panicked: Cell<bool>,
}

/// The result of a scope's green thread, shared with its handle.
struct Packet<T> {
    result: Cell<Option<Result<T, JoinError>>>,
    data: Rc<ScopeData>,
}

impl<T> Drop for Packet<T> {
    fn drop(&mut self) {
        if let Some(Err(JoinError::Panicked(_))) = self.result.get_mut() {
            self.data.panicked.set(true);
        }
    }
}

/// Counts a closure down when dropped, and wakes the owner after the last one.
struct DecrementOnDrop(Rc<ScopeData>);

impl Drop for DecrementOnDrop {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        if self.0.running.get() == 0 {
            if let Some(owner) = self.0.owner.take() {
                owner.wake();
            }
        }
    }
}

/// A closure, and the values that must outlive its borrows. The fields are dropped in this order.
struct Body<F, T> {
    f: F,
    packet: Rc<Packet<T>>,
    decrement: DecrementOnDrop,
}

impl<F: FnOnce() -> T, T> Body<F, T> {
    fn run(self) {
        let Body { f, packet, decrement } = self;
        packet.result.set(Some(catch_body(f)));
        // If this is the last reference, the value is dropped here. Its destructor may panic.
        drop_ignoring_panics(packet);
        drop(decrement);
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Runs `f` in a green thread of the scope.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        let packet = Rc::new(Packet { result: Cell::new(None), data: self.data.clone() });
        self.data.running.set(self.data.running.get() + 1);
        let body = Body { f, packet: packet.clone(), decrement: DecrementOnDrop(self.data.clone()) };
        let body: Box<dyn FnOnce() + 'scope> = Box::new(move || body.run());
        // SAFETY: the closure is run or dropped before `scope` returns, because `wait_for_all` waits until the count is
        // zero, and DecrementOnDrop is dropped last. The rest of the green thread borrows nothing: its locals and its unit
        // result are 'static.
        let body: Box<dyn FnOnce() + 'static> = unsafe { std::mem::transmute(body) };
        let handle = crate::api::spawn::spawn(body);
        let mut spawned = self.data.spawned.borrow_mut();
        if spawned.len() > 64 && spawned.len() > 2 * self.data.running.get() {
            let hub = current_hub();
            spawned.retain(|&id| hub.is_alive(id));
        }
        spawned.push(handle.id());
        drop(spawned);
        if self.data.killed.get() {
            handle.kill();
        }
        ScopedJoinHandle { handle, packet, scope: PhantomData }
    }

    /// Waits until the last closure is gone. Each time the owner is interrupted, kills the green threads.
    fn wait_for_all(&self, at: &'static Location<'static>) -> Ended {
        let hub = current_hub();
        let mut ended = Ended::ByThemselves;
        let mut deadlocks = 0;
        while self.data.running.get() > 0 {
            let ticket = hub.ticket();
            self.data.owner.set(Some(ticket));
            let wait = WaitReason::For("the green threads of a scope to end");
            match hub.park(ticket, NEVER, wait, Interruptible::Yes) {
                ParkResult::Notified | ParkResult::Expired => {}
                ParkResult::Interrupted => {
                    self.kill_all();
                    if let Some(interrupt) = hub.take_interrupt() {
                        // A kill takes precedence over a timeout.
                        if !matches!(ended, Ended::Interrupted(Interrupt::Kill)) {
                            ended = Ended::Interrupted(interrupt);
                        }
                    }
                }
                ParkResult::Deadlocked => {
                    let report = hub.deadlock_report(wait, Some(at));
                    deadlocks += 1;
                    if deadlocks > KILL_RETRIES {
                        eprintln!("{report}\nthe green threads of a scope cannot be ended; aborting");
                        std::process::abort();
                    }
                    self.kill_all();
                    if matches!(ended, Ended::ByThemselves) {
                        ended = Ended::Deadlocked(report);
                    }
                }
            }
        }
        ended
    }

    fn kill_all(&self) {
        self.data.killed.set(true);
        let hub = current_hub();
        for &id in self.data.spawned.borrow().iter() {
            hub.kill(id);
        }
    }
}

/// The handle of a scope's green thread. If it is dropped, the scope still waits for the green thread.
///
/// Source: `std::thread::ScopedJoinHandle`.
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<()>,
    packet: Rc<Packet<T>>,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Joins as [`JoinHandle::join`] does.
    ///
    /// # Errors
    /// The green thread panicked or was killed.
    ///
    /// # Panics
    /// As [`JoinHandle::join`].
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        self.handle.join()?;
        self.packet.result.take().expect("a joined green thread has run its body")
    }

    /// Returns whether `join` would return at once.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Returns the id of the green thread.
    pub fn id(&self) -> GreenId {
        self.handle.id()
    }

    /// Kills the green thread as [`JoinHandle::kill`] does.
    pub fn kill(&self) -> bool {
        self.handle.kill()
    }
}

impl<T> std::fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScopedJoinHandle").field("id", &self.id()).finish_non_exhaustive()
    }
}
