//! Generators: the simplest coroutine, as Python's `yield` makes it.
//!
//! A generator has a stack of its own, like a green thread, but is not scheduled. It runs when its consumer asks for the next
//! value, and is suspended where it yields. If code in it blocks, the consumer blocks.
//!
//! Next: `context/mod.rs`, the stack that a generator is suspended on.
#![allow(unsafe_code)]

use crate::api::current_hub::current_hub;
use crate::context::{ActiveContext, Context};
use crate::green::{Interrupt, PanicCount, carried_by};
use crate::hub::try_current;
use crate::stack::StackSize;
use crate::sys::catch::drop_ignoring_panics;
use crate::tls;
use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

/// A closure that yields values, as an iterator.
///
/// ```
/// let mut countdown = greenline::Generator::new(|y| {
///     for n in (1..=3).rev() {
///         y.yield_(n);
///     }
/// });
/// assert_eq!(countdown.next(), Some(3));
/// assert_eq!(countdown.collect::<Vec<_>>(), [2, 1]);
/// ```
///
/// Values can be sent in as well, as by Python's `send`. Then `yield_` returns them:
///
/// ```
/// let mut average = greenline::Generator::<f64, Option<f64>>::receiving(|y| {
///     let (mut sum, mut count, mut average) = (0.0, 0.0, 0.0);
///     while let Some(number) = y.yield_(average) {
///         sum += number;
///         count += 1.0;
///         average = sum / count;
///     }
/// });
/// assert_eq!(average.next(), Some(0.0));          // runs to the first yield
/// assert_eq!(average.send(Some(10.0)), Some(10.0));
/// assert_eq!(average.send(Some(20.0)), Some(15.0));
/// assert_eq!(average.next(), None);               // sends None
/// ```
///
/// If a suspended generator is dropped, it unwinds, and its destructors run. The closure must be `'static`, because a leaked
/// generator keeps for ever what it borrowed.
///
/// Once [`patch::locks`](crate::patch::locks) was called, each green thread has its own `thread_local!` values, and a
/// suspended generator may be using one. So from then on a generator belongs to the green thread that has started it. If
/// another green thread asks it for a value, that panics. If another green thread drops it, it stays suspended, and an error
/// is logged. The same holds at the end of a thread, once the first of its thread-locals was destroyed.
///
/// Source: PEP 255 and 342.
pub struct Generator<Y: 'static, S: 'static = ()> {
    state: GeneratorState<Y, S>,
    channel: Rc<Channel<Y, S>>,
}

enum GeneratorState<Y: 'static, S: 'static> {
    New(Box<dyn FnOnce(&Yielder<Y, S>)>),
    /// Suspended at a `yield_`.
    Suspended(ActiveContext),
    /// In `resume`, or abandoned there.
    Running,
    Done,
}

/// The values that the generator and its consumer pass to each other.
struct Channel<Y, S> {
    yielded: Cell<Option<Y>>,
    sent: Cell<Option<S>>,
    panic: Cell<Option<Box<dyn Any + Send>>>,
    /// Whether the generator is being dropped.
    closing: Cell<bool>,
    context: Cell<Option<ActiveContext>>,
    /// The thread-locals with which the generator has started. Its code may have borrowed some.
    owner: Cell<tls::TlsOwner>,
    /// Number of timeouts that were open around the last `resume`.
    timeouts: Cell<usize>,
}

/// The payload of the unwind of a dropped generator.
struct Closed;

/// The inner side of a [`Generator`], by which its closure yields.
pub struct Yielder<Y: 'static, S: 'static = ()> {
    channel: Rc<Channel<Y, S>>,
}

impl<Y, S> Yielder<Y, S> {
    /// Passes `value` to the consumer and suspends the generator. Returns the value that the consumer sends.
    ///
    /// # Panics
    /// If other code than the generator's own calls it: a green thread that the generator has spawned, or an inner
    /// generator. If it is called in a [`timeout`](crate::timeout()) that the generator has opened, because the timeout
    /// would go on limiting the consumer.
    pub fn yield_(&self, value: Y) -> S {
        let here = 0u8;
        let context = self.channel.context.get().expect("a running generator has a context");
        // SAFETY: a Yielder exists only while the closure runs, so the context is not retired.
        let ours = unsafe { context.bounds() }.contains(&(&raw const here as usize));
        assert!(ours, "yield_ was called on another stack than the generator's own");
        assert!(
            current_hub().open_timeouts() <= self.channel.timeouts.get(),
            "yield_ was called in a timeout that was opened in the generator: it would limit the consumer"
        );
        if self.channel.closing.get() && !std::thread::panicking() {
            resume_unwind(Box::new(Closed));
        }
        self.channel.yielded.set(Some(value));
        let unwinding = PanicCount::take_along();
        // SAFETY: this code runs on the context's stack, as asserted above.
        unsafe { context.suspend() };
        unwinding.put_back();
        if self.channel.closing.get() {
            // This code is not unwinding: a generator that yields while it unwinds is never resumed.
            resume_unwind(Box::new(Closed));
        }
        self.channel.sent.take().expect("a value was sent before the generator was resumed")
    }
}

impl<Y: 'static> Generator<Y> {
    /// Makes a generator of `f`, which runs only when the first value is asked for.
    pub fn new(f: impl FnOnce(&Yielder<Y>) + 'static) -> Self {
        Generator::receiving(f)
    }
}

impl<Y: 'static, S: 'static> Generator<Y, S> {
    /// Makes a generator as [`new`](Generator::new) does, to which values can be sent.
    pub fn receiving(f: impl FnOnce(&Yielder<Y, S>) + 'static) -> Self {
        let channel = Channel {
            yielded: Cell::new(None),
            sent: Cell::new(None),
            panic: Cell::new(None),
            closing: Cell::new(false),
            context: Cell::new(None),
            owner: Cell::default(),
            timeouts: Cell::new(0),
        };
        Generator { state: GeneratorState::New(Box::new(f)), channel: Rc::new(channel) }
    }

    /// Sends `value` to the `yield_` at which the generator is suspended, and runs it to the next one. Returns `None` if it has
    /// ended.
    ///
    /// # Panics
    /// If the generator panics. If it has not started, so that no `yield_` waits: `next` starts it. If it is running, because
    /// it asks itself. If there is no memory for its stack. If another green thread with its own thread-locals has started
    /// it.
    pub fn send(&mut self, value: S) -> Option<Y> {
        assert!(
            !matches!(self.state, GeneratorState::New(_)),
            "a value was sent to a generator that has not started: call next() first"
        );
        self.resume(Some(value))
    }

    fn resume(&mut self, value: Option<S>) -> Option<Y> {
        let context = match std::mem::replace(&mut self.state, GeneratorState::Running) {
            GeneratorState::Suspended(context) if self.channel.owner.get() != tls::TlsOwner::current() => {
                self.state = GeneratorState::Suspended(context);
                panic!(
                    "a generator was resumed by another thread than the one that started it, or by a thread that is ending"
                );
            }
            GeneratorState::Suspended(context) => {
                self.channel.sent.set(value);
                context
            }
            GeneratorState::New(f) => match current_hub().pool().take(StackSize::DEFAULT) {
                Ok(context) => self.start(context, f),
                Err(error) => {
                    self.state = GeneratorState::New(f);
                    panic!("a generator cannot run: {error}");
                }
            },
            GeneratorState::Done => {
                self.state = GeneratorState::Done;
                return None;
            }
            GeneratorState::Running => panic!("a generator was resumed while it runs"),
        };
        self.channel.timeouts.set(current_hub().open_timeouts());
        // SAFETY: it has a body, and is suspended: it was Suspended, or has just been assigned.
        if !unsafe { run(context) } {
            self.state = GeneratorState::Suspended(context);
            return self.channel.yielded.take();
        }
        self.state = GeneratorState::Done;
        if let Some(payload) = self.channel.panic.take() {
            resume_unwind(payload);
        }
        None
    }

    fn start(&self, context: ActiveContext, f: Box<dyn FnOnce(&Yielder<Y, S>)>) -> ActiveContext {
        self.channel.context.set(Some(context));
        self.channel.owner.set(tls::TlsOwner::current());
        let yielder = Yielder { channel: self.channel.clone() };
        let body = Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(|| f(&yielder)));
            if let Err(payload) = result {
                if !payload.is::<Closed>() {
                    yielder.channel.panic.set(Some(payload));
                }
            }
        });
        // SAFETY: a context from the pool is idle.
        unsafe { context.assign(body) };
        context
    }
}

/// Resumes `context`. Returns whether its body has ended; then the context is retired.
///
/// # Safety
/// As for `Context::resume`. If the body has ended, the caller does not use the context any more.
unsafe fn run(context: ActiveContext) -> bool {
    let unwinding = PanicCount::take_along();
    // SAFETY: the caller's.
    unsafe { context.resume() };
    unwinding.put_back();
    // SAFETY: the context was not retired. If it is idle, the caller's was the last reference to it.
    unsafe {
        let idle = context.is_idle();
        if idle {
            current_hub().pool().put(context);
        }
        idle
    }
}

impl<Y: 'static, S: Default + 'static> Iterator for Generator<Y, S> {
    type Item = Y;

    /// Runs to the next `yield_`. The one at which the generator is suspended returns the default value of `S`.
    fn next(&mut self) -> Option<Y> {
        self.resume(Some(S::default()))
    }
}

impl<Y, S> Drop for Generator<Y, S> {
    fn drop(&mut self) {
        let GeneratorState::Suspended(context) = std::mem::replace(&mut self.state, GeneratorState::Done)
        else {
            return;
        };
        if try_current().is_none() {
            // The OS thread is ending, so the generator's code cannot run any more. The stack stays mapped.
            return;
        }
        if self.channel.owner.get() != tls::TlsOwner::current() {
            log::error!(
                "a generator is dropped by a thread that has not started it, or that is ending; it stays suspended"
            );
            return;
        }
        self.channel.closing.set(true);
        // SAFETY: it is suspended. It ends, or, if a destructor of its yields, stays suspended for ever.
        unsafe {
            if !run(context) {
                log::error!("a dropped generator yields in a destructor; it stays suspended");
            }
        }
        let Some(thrown) = self.channel.panic.take() else { return };
        if carried_by(&*thrown) == Some(Interrupt::Kill) {
            // The kill was meant for the green thread that drops the generator, and that was blocked in it. A new kill
            // unwinds it where it may unwind.
            current_hub().kill(current_hub().current());
        }
        // The panic hook has reported a panic of a destructor. It ends here, because this code may be unwinding.
        drop_ignoring_panics(thrown);
    }
}

impl<Y, S> fmt::Debug for Generator<Y, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            GeneratorState::New(_) => "new",
            GeneratorState::Suspended(_) => "suspended",
            GeneratorState::Running => "running",
            GeneratorState::Done => "done",
        };
        f.debug_struct("Generator").field("state", &state).finish()
    }
}

impl<Y, S> fmt::Debug for Yielder<Y, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yielder").finish_non_exhaustive()
    }
}
