//! The hub: one per OS thread, made when it is first needed.
//!
//! It owns the records of its green threads and moves them between their states. When a green thread
//! blocks, it leaves its stack for the loop (`hub/scheduler.rs`); when the OS thread's own stack, the root,
//! blocks, the loop runs there.
//!
//! Holds, and asserted where cheap: no borrow of `state` is alive across a switch; a green thread is in
//! exactly one place; who parks has taken its ticket itself, and one from before its last park ends the next at once.
//!
//! | file            | is about                                              |
//! |-----------------|-------------------------------------------------------|
//! | `run.rs`        | the loop: who runs, and what is done when nobody can   |
//! | `pace.rs`       | how often the busy loop looks up                       |
//! | `ahead.rs`      | what is brought into the cache for who runs soon       |
//! | `state.rs`      | the records, the line, the timers                      |
//! | `life.rs`       | making green threads, watching them, ending them all   |
//! | `body.rs`       | from a closure to the job that a context runs          |
//! | `block.rs`      | parking, waking, yielding                              |
//! | `interrupts.rs` | kill and timeout                                       |
//! | `masks.rs`      | the signals that a green thread has blocked            |
//! | `io.rs`         | waiting for descriptors                               |
//! | `remote.rs`     | what other OS threads may ask                          |
//! | `signals.rs`    | green threads for signals                             |
//! | `local.rs`      | which hub is this OS thread's                          |
//! | `pulse.rs`      | what the watchdog may see                              |
//! | `forked.rs`     | the child of a `fork`                                  |
//! | `patched.rs`, `pthread.rs` | what interposed calls ask                   |
//! | `deadlock.rs`, `overflow.rs` | what is said when all is lost             |
//!
//! Read next: `hub/scheduler.rs`, the loop.

mod ahead;
mod at_fork;
mod current;
mod deadlock;
mod entry;
pub(crate) mod futex;
mod inbox;
mod interpose;
mod interrupts;
mod lifecycle;
mod park;
mod poll_interval;
mod pthread;
mod scheduler;
mod sigmask;
mod signals;
mod state;
pub(crate) mod status;
mod wait_fd;

use crate::context::{ActiveContext, ContextPool};
use crate::green::{BodyState, Green, SpawnSite, State as GreenState};
use crate::ids::{GreenId, Ticket};
use crate::observe::trace::Event;
use crate::policy::{Custom, Fifo, Policy, RunQueue};
use crate::reactor::Reactor;
use crate::sys::sigset::Signals;
use crate::time::{Clock, MonotonicClock, Timers};
use crate::tls::{Tcb, TcbPool};
pub(crate) use at_fork::{begin_own_life, fork, forks, is_ours_to_end, look_ahead, reset_after_fork};
pub(crate) use current::{current, current_or_init, try_current};
pub(crate) use current::{hub_in_tcb, hub_tls_address, set_hub_in_tcb};
pub(crate) use entry::{catch, drop_ignoring_panics, end, job};
pub use inbox::{Handle, HubGone, RemoteJoinHandle};
pub(crate) use inbox::{Inbox, Promise, RemoteTicket};
pub(crate) use interpose::keep_errno;
pub(crate) use lifecycle::Spawn;
use poll_interval::Pace;
use slab::Slab;
use state::{State, TimerAction};
use status::HubStatus;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
pub(crate) use wait_fd::FdWaitResult;

/// The hub of one OS thread.
///
/// What every switch touches comes first: after a system call little of it is in the nearest cache, and so it is to lie
/// in few lines.
#[repr(C, align(64))]
pub(crate) struct Hub {
    /// Who runs, and after how many switches: what the watchdog may see, too.
    pulse: HubStatus,
    /// On which context; none for the root.
    context: Cell<Option<ActiveContext>>,
    /// Which thread control block is loaded.
    loaded: Cell<Tcb>,
    /// How many wait for a descriptor.
    on_io: Cell<u32>,
    /// What the loop is to do when who runs has left its stack: [`FINISHED`], [`MASKED`], or both.
    left: Cell<u8>,
    /// Whether who runs has an interrupt to deliver.
    interrupted: Cell<bool>,
    /// The hub is ending: every blocking call is interrupted by a kill.
    closing: Cell<bool>,
    observed: Cell<bool>,
    pace: Pace,
    state: RefCell<State>,
    reactor: Reactor,

    clock: Rc<dyn Clock>,
    pool: ContextPool,
    blocks: TcbPool,
    /// An idle context, kept for when there is no memory for another; who is on it; whether it was ever made.
    reserve: Cell<Option<ActiveContext>>,
    on_reserve: Cell<GreenId>,
    has_reserve: Cell<bool>,
    /// How many green threads `pthread_create` has made that have not ended; the root, when it waits for them.
    pthreads: Cell<usize>,
    waits_for_pthreads: Cell<Option<Ticket>>,
    /// How many wait for a word that any OS thread may change.
    on_futex: Cell<u32>,
    /// After which switch who runs has asked the kernel without waiting, and how often since.
    at_once: Cell<(u64, u32)>,
    remote: inbox::InboxSlot,
    signals: signals::Subscriptions,
    /// The signals that are blocked while nobody runs who has a mask of its own; noted while one does.
    mask: Cell<Signals>,
    observer: RefCell<Option<Observer>>,
    /// What is to be logged as soon as a logger may do as it likes.
    notes: RefCell<Vec<(log::Level, String)>>,
}

/// It is made on the stack of whoever needs it first, which may be as small as an OS thread's can be.
const _: () = assert!(size_of::<Hub>() <= 2048);

/// Its body has ended.
const FINISHED: u8 = 1;
/// The policy is told of its stop.
const ACCOUNT: u8 = 4;
/// It has a mask of its own, which is in the place of the OS thread's.
const MASKED: u8 = 2;

type Observer = Box<dyn FnMut(Event)>;

/// How many notes are kept until the root logs them; the others are lost.
const NOTES: usize = 32;

impl Hub {
    fn new() -> Hub {
        let blocks = TcbPool::new();
        let name: Rc<str> = std::thread::current().name().unwrap_or("root").into();
        let mut greens = Slab::new();
        let mut root =
            Green::new(GreenId::ROOT, blocks.os_thread_tcb(), BodyState::Running, Location::caller());
        root.detached = true;
        root.name = Some(Box::new(name.clone()));
        let root = greens.insert(root);
        debug_assert_eq!(root, GreenId::ROOT.key());
        Hub {
            state: RefCell::new(State {
                greens,
                ready: RunQueue::Fifo(Fifo::default()),
                timers: Timers::new(),
                woken: None,
                alive: 0,
                waits_for_all: None,
                next_serial: 1,
                next_timeout: 0,
            }),
            pulse: HubStatus::new(&name),
            context: Cell::new(None),
            left: Cell::new(0),
            interrupted: Cell::new(false),
            closing: Cell::new(false),
            pace: Pace::default(),
            clock: Rc::new(MonotonicClock::new()),
            pool: ContextPool::default(),
            loaded: Cell::new(blocks.os_thread_tcb()),
            blocks,
            reserve: Cell::new(None),
            on_reserve: Cell::new(GreenId::HUB),
            has_reserve: Cell::new(false),
            reactor: Reactor::default(),
            pthreads: Cell::new(0),
            waits_for_pthreads: Cell::new(None),
            on_futex: Cell::new(0),
            on_io: Cell::new(0),
            at_once: Cell::new((0, 0)),
            remote: inbox::InboxSlot::default(),
            signals: signals::Subscriptions::default(),
            mask: Cell::new(Signals::default()),
            observer: RefCell::new(None),
            observed: Cell::new(false),
            notes: RefCell::default(),
        }
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn blocks(&self) -> &TcbPool {
        &self.blocks
    }

    pub(crate) fn pool(&self) -> &ContextPool {
        &self.pool
    }

    /// Who runs; `NOBODY` while the loop does.
    #[inline(always)]
    pub(crate) fn current(&self) -> GreenId {
        self.pulse.current()
    }

    /// Whether somebody runs, and has since the hub has switched so often. For a signal handler on its OS thread.
    pub(crate) fn is_same_time_slice(&self, switches: u64) -> bool {
        self.pulse.switches() == switches && self.current() != GreenId::HUB
    }

    /// Whether a blocking call made now may be turned into a park: user code runs, not the hub's own. (The hub's own may
    /// have been interrupted by the handler of a signal.)
    pub(crate) fn can_block(&self) -> bool {
        self.current() != GreenId::HUB
            && self.state.try_borrow_mut().is_ok()
            && self.reactor.is_reentrant_safe()
    }

    pub(crate) fn local(&self, key: *const ()) -> Option<Rc<dyn Any>> {
        self.state.borrow_mut().expect(self.current()).extras.as_ref()?.locals.get(key)
    }

    pub(crate) fn set_local(&self, key: *const (), value: Rc<dyn Any>) -> Rc<dyn Any> {
        self.state.borrow_mut().expect(self.current()).extras().locals.set(key, value.clone());
        value
    }

    pub(crate) fn take_local(&self) -> Option<Rc<dyn Any>> {
        self.state.borrow_mut().expect(self.current()).extras.as_mut()?.locals.take_first()
    }

    pub(crate) fn install(&self, policy: Box<dyn Policy>) {
        let mut policy = Custom::new(policy, &self.clock);
        let mut state = self.state.borrow_mut();
        for (_, green) in state.greens.iter().filter(|(_, green)| green.state != GreenState::Finished) {
            let attributes = green.extras.as_ref().and_then(|extras| extras.attributes);
            policy.spawned(green.id, &attributes.unwrap_or_default());
        }
        let old = state.ready.replace(policy);
        state.ready.running(self.current());
        drop(state);
        self.left.set(self.left.get() | ACCOUNT);
        drop(old);
    }

    pub(crate) fn observe(&self, observer: Option<Observer>) {
        self.observed.set(observer.is_some());
        self.state.borrow_mut().woken = observer.is_some().then(Vec::new);
        let old = self.observer.replace(observer);
        drop(old);
    }

    /// Tells the observer, if there is one.
    #[inline]
    fn emit(&self, event: Event) {
        if self.observed.get() {
            self.tell(event);
        }
    }

    /// Calls the observer, during which nobody is running: blocking calls are refused, interposed ones are the
    /// plain system calls. One that panics is not called again.
    #[cold]
    #[inline(never)]
    fn tell(&self, event: Event) {
        let woken = self.state.borrow_mut().woken.as_mut().map(std::mem::take).unwrap_or_default();
        let Some(mut observer) = self.observer.take() else { return };
        let mut told = Ok(());
        self.with_blocking_disabled(|| {
            self.with_os_thread_tcb(|| {
                told = catch(|| woken.into_iter().map(Event::Ready).chain([event]).for_each(&mut observer));
            });
        });
        match told {
            // Unless it has put another in its place.
            Ok(()) if self.observed.get() && self.observer.borrow().is_none() => {
                self.observer.replace(Some(observer));
            }
            Ok(()) => {}
            Err(_) => {
                self.observed.set(false);
                self.note(log::Level::Error, "the observer panicked; it is called no more".into());
                // It may be anything by now.
                std::mem::forget(observer);
            }
        }
    }

    /// Calls `f` while nobody runs: blocking calls are refused, interposed ones are the plain system calls.
    pub(crate) fn with_blocking_disabled<R>(&self, f: impl FnOnce() -> R) -> R {
        let (id, context) = (self.current(), self.context.replace(None));
        self.pulse.set_current(GreenId::HUB);
        let answer = f();
        self.pulse.set_current(id);
        self.context.set(context);
        answer
    }

    /// No message of another OS thread is taken any more; who waits for what was sent is told that the hub is gone.
    pub(crate) fn close_inbox(&self) {
        self.remote.close();
    }

    /// Has `text` logged when the root next runs: a logger may block, or ask who runs.
    #[cold]
    fn note(&self, level: log::Level, text: String) {
        let mut notes = self.notes.borrow_mut();
        // Where something goes wrong a thousand times, memory may be what is short.
        if notes.len() < NOTES {
            notes.push((level, text));
        }
    }

    #[inline]
    fn flush_notes(&self) {
        if !self.notes.borrow().is_empty() {
            let notes = self.notes.take();
            notes.into_iter().for_each(|(level, text)| log::log!(level, "{text}"));
        }
    }

    pub(crate) fn name_of(&self, id: GreenId) -> Option<Rc<str>> {
        self.state.borrow_mut().green(id).map(|green| green.name())
    }

    /// Tells `say` who runs: name, id, where it was spawned. For the fault handler: allocates nothing,
    /// and answers `false` when the state is in use.
    pub(crate) fn describe_current(&self, say: impl FnOnce(Option<&str>, GreenId, SpawnSite)) -> bool {
        let Ok(state) = self.state.try_borrow() else { return false };
        let Some(green) = state.greens.get(self.current().key()) else { return false };
        say(green.name.as_ref().map(|name| &***name), green.id, green.origin());
        true
    }

    /// Ends the hub with its OS thread: what was left undone is told to who joins it from outside, what can be
    /// dropped is. `false`: green threads are alive, and nothing was dropped that could run code of theirs.
    fn close(&self) -> bool {
        self.remote.close();
        let subscribers = self.end_subscriptions();
        let alive = self.state.borrow().alive;
        if alive == 0 {
            drop_ignoring_panics(subscribers);
            entry::drop_locals_of_root();
            self.observe(None);
            let left: Vec<Green> = {
                let mut state = self.state.borrow_mut();
                let ids: Vec<GreenId> = state.greens.iter().map(|(_, green)| green.id).collect();
                let done = ids.into_iter().filter(|&id| id != GreenId::ROOT);
                done.map(|id| state.greens.remove(id.key())).collect()
            };
            drop_ignoring_panics(left);
        }
        let alive = self.state.borrow().alive;
        if alive > 0 {
            log::warn!(
                "an OS thread has ended with {alive} green threads alive; they are abandoned: \
                 greenline::shutdown() would have unwound them"
            );
        }
        self.pool.clear();
        alive == 0
    }

    /// Whether there are no green threads: then nobody is kept from running by a root that does not block.
    pub(crate) fn has_no_green_threads(&self) -> bool {
        self.state.borrow().alive == 0
    }

    pub(crate) fn stats(&self) -> Stats {
        let state = self.state.borrow();
        Stats {
            switches: self.pulse.switches(),
            alive: state.alive,
            stacks: self.pool.stacks().high_water_mark(),
        }
    }
}

/// [`Hub::with_blocking_disabled`], where there may be no hub.
pub(crate) fn with_blocking_disabled<R>(f: impl FnOnce() -> R) -> R {
    match try_current() {
        Some(hub) => hub.with_blocking_disabled(f),
        None => f(),
    }
}

/// What this OS thread's hub has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Switches into a green thread or back into the root.
    pub switches: u64,
    /// Green threads that have not ended, whether they have started or not.
    pub alive: usize,
    /// Stacks ever made. They are used again and again, so this is how many were in use at once.
    pub stacks: usize,
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} switches, {} green threads alive, {} stacks made",
            self.switches, self.alive, self.stacks
        )
    }
}
