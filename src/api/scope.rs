//! Green threads that borrow from the stack of who spawned them.
//!
//! What makes it sound: [`scope`] does not return, nor unwind, before the last of its green threads has done
//! with its closure, whatever else happens: handles dropped or leaked, panics on either side, a kill of the
//! owner, a hub that ends, a deadlock. A green thread's closure counts itself out by a destructor, after
//! everything it borrowed. If the owner cannot wait, because its green threads can never end, the process
//! aborts.
#![allow(unsafe_code)]

use crate::api::current_hub::current_hub;
use crate::api::join::JoinHandle;
use crate::green::catch_body;
use crate::green::{Interrupt, JoinError, carried_by};
use crate::ids::{GreenId, ParkResult, Ticket, WaitReason};
use crate::sys::abort::AbortOnUnwind;
use crate::sys::catch::drop_ignoring_panics;
use crate::time::NEVER;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::rc::Rc;

/// How often the green threads of a scope are killed that is deadlocked, before the process gives up.
const KILLS: u32 = 64;

/// Calls `f` with a scope in which green threads may borrow what outlives the scope, and waits for all of
/// them before it returns.
///
/// Killed or out of time inside of `f` or while it waits, the owner kills the scope's green threads, and unwinds
/// when they have ended.
///
/// # Panics
/// When `f` does, after the green threads have ended. When one of them panicked and was not joined.
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
/// Nothing that lives shorter can be borrowed:
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
    let guard = AbortOnUnwind("a scope would be left before its green threads have ended");
    if matches!(&result, Err(payload) if carried_by(&**payload).is_some()) {
        // The owner is being killed, or is out of time: so are its own.
        scope.kill_all();
    }
    let ended = scope.wait_for_all(Location::caller());
    guard.disarm();
    match (result, ended) {
        (Err(payload), _) => resume_unwind(payload),
        (_, Ended::Interrupted(interrupt)) => resume_unwind(Box::new(interrupt)),
        (_, Ended::Deadlocked(report)) => panic!("{report}"),
        (Ok(_), _) if scope.data.panicked.get() => panic!("a scoped green thread panicked"),
        (Ok(value), Ended::ByItself) => value,
    }
}

/// How the waiting for a scope's green threads ended.
enum Ended {
    ByItself,
    /// The owner was interrupted meanwhile.
    Interrupted(Interrupt),
    /// They could not end, until they were killed.
    Deadlocked(String),
}

/// Where green threads may borrow from: see [`scope`].
#[derive(Debug)]
pub struct Scope<'scope, 'env: 'scope> {
    data: Rc<ScopeData>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

#[derive(Debug, Default)]
struct ScopeData {
    /// Closures not done with.
    running: Cell<usize>,
    /// The owner, when it waits.
    owner: Cell<Option<Ticket>>,
    /// Every green thread of the scope, to be killed with the owner.
    spawned: RefCell<Vec<GreenId>>,
    /// They are being killed: so is whoever joins them.
    killed: Cell<bool>,
    /// One panicked, and nobody joined it.
    panicked: Cell<bool>,
}

/// What a green thread of a scope leaves for who joins it.
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

/// Counts a closure out when dropped.
struct CountOut(Rc<ScopeData>);

impl Drop for CountOut {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        if self.0.running.get() == 0 {
            if let Some(owner) = self.0.owner.take() {
                owner.wake();
            }
        }
    }
}

/// A closure and what must outlive all it borrows: fields are dropped in this order.
struct Body<F, T> {
    f: F,
    packet: Rc<Packet<T>>,
    count_out: CountOut,
}

impl<F: FnOnce() -> T, T> Body<F, T> {
    fn run(self) {
        let Body { f, packet, count_out } = self;
        packet.result.set(Some(catch_body(f)));
        // The value may be ours to drop, and its destructor may panic; it is not to skip the counting.
        drop_ignoring_panics(packet);
        drop(count_out);
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
        let body = Body { f, packet: packet.clone(), count_out: CountOut(self.data.clone()) };
        let body: Box<dyn FnOnce() + 'scope> = Box::new(move || body.run());
        // SAFETY: the closure is run or dropped before `scope` returns, for `wait_for_all` waits until
        // CountOut says so, and CountOut is the last of it to be dropped. What remains of the green thread
        // after that borrows nothing: its locals and its unit result are 'static.
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

    /// Waits until the last of them has done with its closure. An interrupt of the owner is passed on to them,
    /// each time one comes.
    fn wait_for_all(&self, at: &'static Location<'static>) -> Ended {
        let hub = current_hub();
        let mut ended = Ended::ByItself;
        let mut deadlocks = 0;
        while self.data.running.get() > 0 {
            let ticket = hub.ticket();
            self.data.owner.set(Some(ticket));
            let wait = WaitReason::For("the green threads of a scope to end");
            match hub.park(ticket, NEVER, wait, false) {
                ParkResult::Notified | ParkResult::Expired => {}
                ParkResult::Interrupted => {
                    self.kill_all();
                    if let Some(interrupt) = hub.take_interrupt() {
                        // A kill goes before the end of a time.
                        if !matches!(ended, Ended::Interrupted(Interrupt::Kill)) {
                            ended = Ended::Interrupted(interrupt);
                        }
                    }
                }
                ParkResult::Deadlocked => {
                    let report = hub.deadlock_report(wait, Some(at));
                    deadlocks += 1;
                    if deadlocks > KILLS {
                        eprintln!("{report}\nthe green threads of a scope cannot be ended; aborting");
                        std::process::abort();
                    }
                    self.kill_all();
                    if matches!(ended, Ended::ByItself) {
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

/// The handle of a scope's green thread. Dropping it detaches from it; the scope still waits.
///
/// Source: `std::thread::ScopedJoinHandle`.
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<()>,
    packet: Rc<Packet<T>>,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// As [`JoinHandle::join`].
    ///
    /// # Errors
    /// It panicked or was killed.
    ///
    /// # Panics
    /// As [`JoinHandle::join`].
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        self.handle.join()?;
        self.packet.result.take().expect("its body has run")
    }

    /// As [`JoinHandle::is_finished`].
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// As [`JoinHandle::id`].
    pub fn id(&self) -> GreenId {
        self.handle.id()
    }

    /// As [`JoinHandle::kill`].
    pub fn kill(&self) -> bool {
        self.handle.kill()
    }
}

impl<T> std::fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScopedJoinHandle").field("id", &self.id()).finish_non_exhaustive()
    }
}
