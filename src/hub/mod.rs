//! The hub: one per OS thread, made when it is first needed.
//!
//! It owns the records of its green threads and moves them between their states. When a green thread
//! blocks, it leaves its stack for the loop (`hub/run.rs`); when the OS thread's own stack, the root,
//! blocks, the loop runs there.
//!
//! Holds, and asserted where cheap: no borrow of `state` is alive across a switch; a green thread is in
//! exactly one place; every park has a ticket, a deadline, or is for ever.
//!
//! Read next: `hub/run.rs`, the loop.

mod completions;
mod deadlock;
mod local;
mod overflow;
mod remote;
mod run;

use crate::context::{Chosen, Job, Pool};
use crate::green::{
    Extras, Green, GreenId, Interrupt, Life, Outcome, State as GreenState, TimeoutScope, Watcher,
};
use crate::policy::{Fifo, Policy, Shelf, Why};
use crate::reactor::Reactor;
use crate::stack::Size;
use crate::time::{Clock, NEVER, Time, Timers};
use crate::trace::Event;
use crate::wait::{Cause, Ticket, Wait, Wake, Woken};
pub(crate) use completions::Completions;
pub(crate) use local::{existing, existing_or_new, hub};
pub use remote::{Handle, HubGone, RemoteJoinHandle};
use slab::Slab;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

/// How many times 10 ms an ending hub waits for green threads that keep swallowing kills.
const PATIENCE: u32 = 64;

/// The hub of one OS thread.
pub(crate) struct Hub {
    state: RefCell<State>,
    /// Who runs; `NOBODY` while the loop does.
    current: Cell<GreenId>,
    /// On which context; none for the root.
    context: Cell<Option<Chosen>>,
    /// Set by a body that has ended, for the loop to see.
    finished: Cell<bool>,
    /// Whether who runs has an interrupt to deliver.
    interrupted: Cell<bool>,
    /// The hub is ending: every blocking call is interrupted by a kill.
    closing: Cell<bool>,
    switches: Cell<u64>,
    pace: run::Pace,
    clock: Clock,
    pool: Pool,
    /// An idle context, kept for when there is no memory for another.
    reserve: Cell<Option<Chosen>>,
    reactor: Reactor,
    remote: remote::Inbox,
    observer: RefCell<Option<Observer>>,
    observed: Cell<bool>,
}

type Observer = Box<dyn FnMut(Event)>;

/// What is borrowed together, for a moment at a time.
struct State {
    greens: Slab<Green>,
    ready: Shelf,
    timers: Timers<Due>,
    /// Woken since the observer was last told, if there is one.
    woken: Option<Vec<GreenId>>,
    /// Those that are not Finished, the root not counted.
    alive: usize,
    /// The root, when it waits for `alive` to be 0.
    waits_for_all: Option<Ticket>,
    next_serial: u32,
    next_timeout: u64,
}

/// What a timer does when it is due.
#[derive(Clone, Copy)]
enum Due {
    /// Ends a park.
    Wake(Ticket),
    /// Starts a delayed green thread.
    Start(GreenId),
    /// Fires a timeout.
    Interrupt(GreenId),
}

/// How a green thread is to be made.
pub(crate) struct Spawn {
    pub(crate) name: Option<Rc<str>>,
    pub(crate) stack_size: Size,
    pub(crate) delay: Option<Duration>,
    pub(crate) detached: bool,
    pub(crate) spawned_at: &'static Location<'static>,
}

impl State {
    fn green(&mut self, id: GreenId) -> Option<&mut Green> {
        self.greens.get_mut(id.key()).filter(|green| green.id == id)
    }

    fn expect(&mut self, id: GreenId) -> &mut Green {
        let green = &mut self.greens[id.key()];
        debug_assert_eq!(green.id, id);
        green
    }

    /// Puts one that waited in line.
    fn make_ready(&mut self, id: GreenId, why: Why) {
        self.ready.ready(id, why);
        if let Some(woken) = &mut self.woken {
            woken.push(id);
        }
    }

    /// Makes a parked green thread ready. The stale, the woken and the gone answer `false`.
    fn wake(&mut self, ticket: Ticket, cause: Cause) -> bool {
        match self.green(ticket.id) {
            Some(green) if green.epoch == ticket.epoch && green.cause == Cause::None => {
                green.cause = cause;
                if green.state == GreenState::Parked {
                    green.state = GreenState::Runnable;
                    let why = if cause == Cause::Expired { Why::Due } else { Why::Woken };
                    self.make_ready(ticket.id, why);
                }
                true
            }
            _ => false,
        }
    }

    /// Has a look at the interrupts of `id`, and wakes it for them if it is parked or delayed.
    fn interrupt(&mut self, id: GreenId, now: Time) {
        let Some(green) = self.green(id) else { return };
        if !green.review_interrupts(|| now) {
            return;
        }
        match green.state {
            GreenState::Parked if !green.shielded && green.cause == Cause::None => {
                green.cause = Cause::Interrupted;
                green.state = GreenState::Runnable;
            }
            GreenState::Delayed => green.state = GreenState::Runnable,
            _ => return,
        }
        self.make_ready(id, Why::Woken);
    }

    /// Whether a timer could still do something.
    fn is_wanted(greens: &Slab<Green>, due: &Due) -> bool {
        let find = |id: GreenId| greens.get(id.key()).filter(|green| green.id == id);
        match *due {
            Due::Wake(ticket) => find(ticket.id).is_some_and(|green| green.epoch == ticket.epoch),
            Due::Start(id) => find(id).is_some_and(|green| green.state == GreenState::Delayed),
            Due::Interrupt(id) => find(id)
                .is_some_and(|green| green.extras.as_ref().is_some_and(|extras| !extras.timeouts.is_empty())),
        }
    }

    /// When the next timer that could do something is due.
    fn next_deadline(&mut self) -> Option<Time> {
        let greens = &self.greens;
        self.timers.earliest_wanted(|due| State::is_wanted(greens, due))
    }

    fn forget_timer(&mut self) {
        if self.timers.forget_one() {
            let greens = &self.greens;
            self.timers.sweep(|due| State::is_wanted(greens, due));
        }
    }
}

impl Hub {
    fn new() -> Hub {
        let mut greens = Slab::new();
        let root = greens.insert(Green {
            id: GreenId::ROOT,
            context: None,
            epoch: 0,
            state: GreenState::Runnable,
            cause: Cause::None,
            shielded: false,
            killed: false,
            interrupted: false,
            detached: true,
            stack_size: Size::DEFAULT,
            life: Life::Started,
            wait: Wait::Nothing,
            watcher: Watcher::None,
            extras: None,
            name: Some(std::thread::current().name().unwrap_or("root").into()),
            spawned_at: Location::caller(),
        });
        debug_assert_eq!(root, GreenId::ROOT.key());
        Hub {
            state: RefCell::new(State {
                greens,
                ready: Shelf::Fifo(Fifo::default()),
                timers: Timers::new(),
                woken: None,
                alive: 0,
                waits_for_all: None,
                next_serial: 1,
                next_timeout: 0,
            }),
            current: Cell::new(GreenId::ROOT),
            context: Cell::new(None),
            finished: Cell::new(false),
            interrupted: Cell::new(false),
            closing: Cell::new(false),
            switches: Cell::new(0),
            pace: run::Pace::default(),
            clock: Clock::new(),
            pool: Pool::default(),
            reserve: Cell::new(None),
            reactor: Reactor::default(),
            remote: remote::Inbox::default(),
            observer: RefCell::new(None),
            observed: Cell::new(false),
        }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(crate) fn current(&self) -> GreenId {
        self.current.get()
    }

    /// Whether a blocking call made now may be turned into a park: user code runs, not the hub's own.
    pub(crate) fn can_block(&self) -> bool {
        self.current.get() != GreenId::NOBODY && self.state.try_borrow_mut().is_ok()
    }

    // ---- making and ending -------------------------------------------------------------------------

    /// Makes a green thread that will run `job`, last in line.
    #[inline]
    pub(crate) fn spawn(&self, spawn: Spawn, job: Job) -> GreenId {
        let mut state = self.state.borrow_mut();
        let serial = state.next_serial;
        // 4,294,967,294 spawns from now a ticket of the first could be mistaken for another's.
        state.next_serial = if serial >= u32::MAX - 1 { 1 } else { serial + 1 };
        state.alive += 1;
        let entry = state.greens.vacant_entry();
        let id = GreenId::new(serial, entry.key());
        entry.insert(Green {
            id,
            context: None,
            epoch: 0,
            state: if spawn.delay.is_some() { GreenState::Delayed } else { GreenState::Runnable },
            cause: Cause::None,
            shielded: false,
            killed: false,
            interrupted: false,
            detached: spawn.detached,
            stack_size: spawn.stack_size,
            life: Life::Unstarted(job),
            wait: Wait::Nothing,
            watcher: Watcher::None,
            extras: None,
            name: spawn.name,
            spawned_at: spawn.spawned_at,
        });
        match spawn.delay {
            None => state.ready.ready(id, Why::New),
            Some(delay) => state.timers.set(self.clock.after(delay), Due::Start(id)),
        }
        drop(state);
        self.emit(Event::Spawn(id));
        id
    }

    /// Whether the current green thread was killed before its first run; the kill is thereby delivered.
    #[inline]
    pub(crate) fn killed_at_start(&self) -> bool {
        self.interrupted.get() && self.take_interrupt() == Some(Interrupt::Kill)
    }

    /// Notes what became of the current green thread's body. The last thing that its job does.
    #[inline]
    pub(crate) fn finish(&self, outcome: Outcome) {
        let id = self.current.get();
        let mut state = self.state.borrow_mut();
        state.alive -= 1;
        let green = state.expect(id);
        green.state = GreenState::Finished;
        green.life = Life::Ended(outcome);
        let watcher = std::mem::replace(&mut green.watcher, Watcher::None);
        let extras = green.extras.take();
        match watcher {
            Watcher::None => {}
            Watcher::One(id, epoch) => {
                state.wake(Ticket::new(id, epoch), Cause::Notified);
            }
            Watcher::Several(completions, index) => {
                if let Some(ticket) = completions.push(index as usize) {
                    state.wake(ticket, Cause::Notified);
                }
            }
        }
        if state.alive == 0 {
            if let Some(ticket) = state.waits_for_all.take() {
                state.wake(ticket, Cause::Notified);
            }
        }
        drop(state);
        self.finished.set(true);
        self.emit(Event::Finish(id));
        if let Some(extras) = extras {
            self.run_links(*extras);
        }
    }

    #[cold]
    fn run_links(&self, extras: Extras) {
        for job in extras.links {
            self.spawn(Spawn::internal(), job);
        }
    }

    /// Whether nobody will ask for the current green thread's outcome, and whether it may have locals.
    #[inline]
    pub(crate) fn at_end(&self) -> (bool, bool) {
        let mut state = self.state.borrow_mut();
        let green = state.expect(self.current.get());
        (green.detached, green.extras.is_some())
    }

    /// Takes the outcome of a finished green thread, and its record with it. `None`: not finished.
    #[inline]
    pub(crate) fn take_outcome(&self, id: GreenId) -> Option<Outcome> {
        let mut state = self.state.borrow_mut();
        if state.expect(id).state != GreenState::Finished {
            return None;
        }
        match state.greens.remove(id.key()).life {
            Life::Ended(outcome) => Some(outcome),
            _ => unreachable!("a finished green thread has an outcome"),
        }
    }

    /// Nobody will ask for the outcome of `id`.
    pub(crate) fn detach(&self, id: GreenId) {
        let mut state = self.state.borrow_mut();
        let gone = match state.green(id) {
            // Its outcome is dropped below, without a borrow: it may be anything.
            Some(green) if green.state == GreenState::Finished => Some(state.greens.remove(id.key())),
            Some(green) => {
                green.detached = true;
                green.watcher = Watcher::None;
                None
            }
            None => None,
        };
        drop(state);
        drop(gone);
    }

    /// Calls `job` in a green thread of its own when `id` has finished; at once if it has.
    pub(crate) fn link(&self, id: GreenId, job: Job) {
        let mut state = self.state.borrow_mut();
        let green = state.expect(id);
        if green.state != GreenState::Finished {
            green.extras().links.push(job);
            return;
        }
        drop(state);
        self.spawn(Spawn::internal(), job);
    }

    // ---- blocking and waking -----------------------------------------------------------------------

    /// A ticket for the next park of who runs.
    #[inline]
    pub(crate) fn ticket(&self) -> Ticket {
        let id = self.current.get();
        let epoch = self.state.borrow_mut().expect(id).epoch;
        Ticket::new(id, epoch)
    }

    pub(crate) fn wake(&self, ticket: Ticket) -> bool {
        self.state.borrow_mut().wake(ticket, Cause::Notified)
    }

    /// Blocks who runs until the ticket is used, the deadline passes, or an interrupt is to be delivered;
    /// a `shield`ed park is not ended by an interrupt. This is the one way to block.
    pub(crate) fn park(&self, ticket: Ticket, deadline: Time, wait: Wait, shield: bool) -> Wake {
        let id = self.current.get();
        assert!(id == ticket.id, "a ticket is good only for the green thread that took it");
        let shield = shield || std::thread::panicking();
        {
            let mut state = self.state.borrow_mut();
            let green = state.expect(id);
            debug_assert_eq!(green.state, GreenState::Runnable);
            if green.cause != Cause::None {
                // Woken before we got here.
                return green.end_park(ticket);
            }
            if !shield && (self.closing.get() || green.must_look()) {
                if self.closing.get() && id != GreenId::ROOT {
                    green.killed = true;
                }
                if green.review_interrupts(|| self.clock.now()) {
                    green.epoch = green.epoch.wrapping_add(1);
                    drop(state);
                    if self.closing.get() {
                        // Who swallows it and comes straight back must not keep the root from running.
                        self.yield_now();
                    }
                    return Wake::Interrupted;
                }
            }
            green.state = GreenState::Parked;
            green.shielded = shield;
            green.wait = wait;
            if deadline != NEVER {
                state.timers.set(deadline, Due::Wake(ticket));
            }
        }
        self.emit(Event::Park(id));
        let alive = self.switch_out();
        let mut state = self.state.borrow_mut();
        let green = state.expect(id);
        green.wait = Wait::Nothing;
        if !alive {
            green.state = GreenState::Runnable;
            green.epoch = green.epoch.wrapping_add(1);
            return Wake::Deadlocked;
        }
        let wake = green.end_park(ticket);
        if deadline != NEVER && wake != Wake::Expired {
            state.forget_timer();
        }
        wake
    }

    /// [`park`](Self::park), with interrupts delivered and a deadlock reported.
    #[track_caller]
    #[inline]
    pub(crate) fn block(&self, ticket: Ticket, deadline: Time, wait: Wait) -> Woken {
        match self.park(ticket, deadline, wait, false) {
            Wake::Notified => Woken::Notified,
            Wake::Expired => Woken::Expired,
            Wake::Interrupted => {
                self.deliver();
                Woken::Notified
            }
            Wake::Deadlocked => self.panic_deadlocked(wait),
        }
    }

    /// Lets the others run that are ready, before who runs goes on.
    #[inline(always)]
    pub(crate) fn yield_now(&self) {
        self.state.borrow_mut().ready.ready(self.current.get(), Why::Yielded);
        self.switch_out();
    }

    /// Leaves the current stack until its green thread is picked again. `false`: it is the root, and
    /// nobody ever will be.
    #[inline(always)]
    fn switch_out(&self) -> bool {
        let unwinding = crate::green::Unwinding::take();
        let alive = match self.context.get() {
            Some(context) => {
                run::leave(context);
                true
            }
            None => self.run(),
        };
        unwinding.put_back();
        alive
    }

    // ---- interrupts --------------------------------------------------------------------------------

    /// Whether an interrupt waits for who runs; see `green/interrupt.rs`.
    #[inline]
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.get()
    }

    /// Throws the interrupt that is pending, unless we unwind already.
    #[cold]
    pub(crate) fn deliver(&self) {
        if let Some(interrupt) = self.take_interrupt() {
            std::panic::resume_unwind(Box::new(interrupt));
        }
    }

    fn take_interrupt(&self) -> Option<Interrupt> {
        if std::thread::panicking() {
            return None;
        }
        let mut state = self.state.borrow_mut();
        let green = state.expect(self.current.get());
        let interrupt = if green.killed {
            green.killed = false;
            Some(Interrupt::Kill)
        } else {
            let scopes = green.extras.as_mut().map(|extras| extras.timeouts.iter_mut());
            let due = scopes.into_iter().flatten().filter(|scope| scope.is_pending());
            due.min_by_key(|scope| scope.deadline).map(|scope| {
                scope.delivered = true;
                Interrupt::Timeout(scope.number)
            })
        };
        self.interrupted.set(green.review_interrupts(|| self.clock.now()));
        interrupt
    }

    /// Asks `id` to end. `false`: it has already.
    pub(crate) fn kill(&self, id: GreenId) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(green) = state.green(id).filter(|green| green.state != GreenState::Finished) else {
            return false;
        };
        green.killed = true;
        if id == self.current.get() {
            self.interrupted.set(true);
        }
        state.interrupt(id, 0);
        true
    }

    /// Enters a timeout: answers its number.
    pub(crate) fn enter_timeout(&self, after: Duration) -> u64 {
        let deadline = self.clock.after(after);
        let mut state = self.state.borrow_mut();
        let number = state.next_timeout;
        state.next_timeout += 1;
        let id = self.current.get();
        // No time at all is over at once: it is delivered at the next blocking call, whatever the clock says.
        let fired = after.is_zero();
        let green = state.expect(id);
        green.extras().timeouts.push(TimeoutScope { number, deadline, fired, delivered: false });
        if fired {
            green.interrupted = true;
            self.interrupted.set(true);
        } else if deadline != NEVER {
            state.timers.set(deadline, Due::Interrupt(id));
        }
        number
    }

    /// Leaves a timeout, fired or not.
    pub(crate) fn leave_timeout(&self, number: u64) {
        let mut state = self.state.borrow_mut();
        let green = state.expect(self.current.get());
        let mut fired = true;
        if let Some(extras) = &mut green.extras {
            if let Some(at) = extras.timeouts.iter().rposition(|scope| scope.number == number) {
                let scope = extras.timeouts.remove(at);
                fired = scope.fired || scope.deadline == NEVER;
            }
        }
        self.interrupted.set(green.review_interrupts(|| self.clock.now()));
        if !fired {
            state.forget_timer();
        }
    }

    // ---- green_local -------------------------------------------------------------------------------

    pub(crate) fn local(&self, key: *const ()) -> Option<Rc<dyn Any>> {
        self.state.borrow_mut().expect(self.current.get()).extras.as_ref()?.locals.get(key)
    }

    pub(crate) fn set_local(&self, key: *const (), value: Rc<dyn Any>) -> Rc<dyn Any> {
        self.state.borrow_mut().expect(self.current.get()).extras().locals.set(key, value.clone());
        value
    }

    pub(crate) fn take_local(&self) -> Option<Rc<dyn Any>> {
        self.state.borrow_mut().expect(self.current.get()).extras.as_mut()?.locals.take_first()
    }

    // ---- watching ----------------------------------------------------------------------------------

    /// Has `watcher` told when `id` finishes; `false` if it has already.
    pub(crate) fn watch(&self, id: GreenId, watcher: Watcher) -> bool {
        let mut state = self.state.borrow_mut();
        let green = state.expect(id);
        green.watcher = watcher;
        green.state != GreenState::Finished
    }

    pub(crate) fn is_finished(&self, id: GreenId) -> bool {
        self.state.borrow_mut().expect(id).state == GreenState::Finished
    }

    pub(crate) fn is_alive(&self, id: GreenId) -> bool {
        let mut state = self.state.borrow_mut();
        state.green(id).is_some_and(|green| green.state != GreenState::Finished)
    }

    /// Blocks the root until no green thread is alive, or the deadline.
    ///
    /// Panics: on a green thread.
    #[track_caller]
    pub(crate) fn join_everything(&self, deadline: Time) -> bool {
        assert!(
            self.current.get() == GreenId::ROOT,
            "only the root can wait for all green threads: this one would wait for itself"
        );
        loop {
            let ticket = self.ticket();
            {
                let mut state = self.state.borrow_mut();
                if state.alive == 0 {
                    return true;
                }
                state.waits_for_all = Some(ticket);
            }
            if self.block(ticket, deadline, Wait::For("all green threads to end")) == Woken::Expired {
                return false;
            }
        }
    }

    pub(crate) fn install(&self, policy: Box<dyn Policy>) {
        self.state.borrow_mut().ready.replace(policy);
    }

    pub(crate) fn observe(&self, observer: Option<Observer>) {
        self.observed.set(observer.is_some());
        self.state.borrow_mut().woken = observer.is_some().then(Vec::new);
        *self.observer.borrow_mut() = observer;
    }

    /// Tells the observer, if there is one.
    #[inline]
    fn emit(&self, event: Event) {
        if self.observed.get() {
            self.tell(event);
        }
    }

    #[cold]
    fn tell(&self, event: Event) {
        let woken = self.state.borrow_mut().woken.as_mut().map(std::mem::take).unwrap_or_default();
        if let Ok(mut observer) = self.observer.try_borrow_mut() {
            if let Some(observer) = observer.as_mut() {
                woken.into_iter().map(Event::Ready).chain([event]).for_each(observer);
            }
        }
    }

    pub(crate) fn name_of(&self, id: GreenId) -> Option<Rc<str>> {
        self.state.borrow_mut().green(id).map(|green| green.name())
    }

    /// Tells `say` who runs: name, id, where it was spawned. For the fault handler: allocates nothing,
    /// and answers `false` when the state is in use.
    fn describe_current(&self, say: impl FnOnce(Option<&str>, GreenId, &Location<'_>)) -> bool {
        let Ok(state) = self.state.try_borrow() else { return false };
        let Some(green) = state.greens.get(self.current.get().key()) else { return false };
        say(green.name.as_deref(), green.id, green.spawned_at);
        true
    }

    pub(crate) fn stats(&self) -> Stats {
        let state = self.state.borrow();
        Stats { switches: self.switches.get(), alive: state.alive, stacks: self.pool.stacks().made() }
    }

    /// Kills all green threads and waits until they have ended: their destructors have run. Those that
    /// swallow every kill are left where they are, and their stacks with them. For the root.
    pub(crate) fn shut_down(&self) {
        let everyone: Vec<GreenId> = {
            let state = self.state.borrow();
            state.greens.iter().map(|(_, green)| green.id).filter(|&id| id != GreenId::ROOT).collect()
        };
        for id in everyone {
            self.kill(id);
        }
        self.closing.set(true);
        let mut waited = 0;
        loop {
            let ticket = self.ticket();
            {
                let mut state = self.state.borrow_mut();
                if state.alive == 0 {
                    break;
                }
                state.waits_for_all = Some(ticket);
            }
            let patience = self.clock.after(Duration::from_millis(10));
            match self.park(ticket, patience, Wait::For("all green threads to end"), true) {
                Wake::Notified => {}
                Wake::Expired if waited < PATIENCE => waited += 1,
                Wake::Expired | Wake::Interrupted | Wake::Deadlocked => {
                    log::error!(
                        "{} green threads do not end when killed; they are abandoned",
                        self.stats().alive
                    );
                    break;
                }
            }
        }
        self.closing.set(false);
    }
}

impl Green {
    /// Whether a blocking call has to ask for interrupts: one is pending, or a timeout may be due.
    #[inline]
    fn must_look(&self) -> bool {
        self.interrupted || self.extras.as_ref().is_some_and(|extras| !extras.timeouts.is_empty())
    }

    /// The epoch of `ticket` is over: answers how it ended.
    #[inline]
    fn end_park(&mut self, ticket: Ticket) -> Wake {
        debug_assert_eq!(self.epoch, ticket.epoch);
        self.epoch = self.epoch.wrapping_add(1);
        match std::mem::replace(&mut self.cause, Cause::None) {
            Cause::Notified | Cause::None => Wake::Notified,
            Cause::Expired => Wake::Expired,
            Cause::Interrupted => Wake::Interrupted,
        }
    }
}

impl Spawn {
    /// One that nobody holds a handle to, made by the hub itself.
    fn internal() -> Spawn {
        Spawn {
            name: None,
            stack_size: Size::DEFAULT,
            delay: None,
            detached: true,
            spawned_at: Location::caller(),
        }
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
