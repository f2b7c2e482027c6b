//! Generators: the simplest coroutine, as Python's `yield` makes it.
//!
//! A generator has a stack of its own, like a green thread, but nobody schedules it: it runs when its next
//! value is asked for, on behalf of who asks, and waits where it yields. It may block like any other code,
//! and then blocks the green thread that asked.
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
/// Values can be sent in as well, as by Python's `send`; `yield_` answers them:
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
/// Dropped half-way, it unwinds from where it waits, and its destructors run. The closure must be `'static`:
/// a generator that is leaked keeps for ever what it borrowed.
///
/// Once [`patch::locks`](crate::patch::locks) was called, each green thread has `thread_local!` values of its own,
/// and the code of a generator may be in the middle of using one. So from then on it belongs to the green thread that
/// has begun it: to ask it from another panics, and dropped by another it is left suspended, with an error in the
/// log. The same holds at the end of a thread, once the first of its thread-locals was destroyed. Source: PEP 255 and 342.
pub struct Generator<Y: 'static, S: 'static = ()> {
    stage: Stage<Y, S>,
    link: Rc<Link<Y, S>>,
}

enum Stage<Y: 'static, S: 'static> {
    New(Box<dyn FnOnce(&Yielder<Y, S>)>),
    /// Suspended at a `yield_`.
    Waiting(ActiveContext),
    /// Inside of `resume`, or abandoned there.
    Running,
    Done,
}

/// What the two sides hand each other.
struct Link<Y, S> {
    out: Cell<Option<Y>>,
    sent: Cell<Option<S>>,
    panic: Cell<Option<Box<dyn Any + Send>>>,
    closing: Cell<bool>,
    context: Cell<Option<ActiveContext>>,
    /// The thread-locals of who began it: they may be borrowed in it.
    owner: Cell<tls::TlsOwner>,
    /// How many timeouts were open around who resumed.
    timeouts: Cell<usize>,
}

/// What the unwind of a dropped generator carries.
struct Closed;

/// The inside of a [`Generator`]: what its closure yields by.
pub struct Yielder<Y: 'static, S: 'static = ()> {
    link: Rc<Link<Y, S>>,
}

impl<Y, S> Yielder<Y, S> {
    /// Hands `value` out and waits; answers what is sent in.
    ///
    /// # Panics
    /// When it is not called by the generator's own code: by a green thread that the generator has spawned,
    /// say, or by a generator inside of it. When it is called inside of a [`timeout`](crate::timeout()) that
    /// the generator has opened: it would go on limiting whoever runs then.
    pub fn yield_(&self, value: Y) -> S {
        let here = 0u8;
        let context = self.link.context.get().expect("a generator that runs has a context");
        // SAFETY: a Yielder cannot be had but inside of the closure, so the context is not retired.
        let ours = unsafe { context.bounds() }.contains(&(&raw const here as usize));
        assert!(ours, "yield_ was called on another stack than the generator's own");
        assert!(
            current_hub().open_timeouts() <= self.link.timeouts.get(),
            "yield_ was called inside of a timeout that was opened in the generator: it would limit others"
        );
        if self.link.closing.get() && !std::thread::panicking() {
            resume_unwind(Box::new(Closed));
        }
        self.link.out.set(Some(value));
        let unwinding = PanicCount::take_along();
        // SAFETY: we are on its stack, as was just looked at.
        unsafe { context.suspend() };
        unwinding.put_back();
        if self.link.closing.get() {
            // Not while unwinding: then `drop` has given us up, and never comes back here.
            resume_unwind(Box::new(Closed));
        }
        self.link.sent.take().expect("who resumes has sent")
    }
}

impl<Y: 'static> Generator<Y> {
    /// Makes a generator of `f`. Nothing runs until the first value is asked for.
    pub fn new(f: impl FnOnce(&Yielder<Y>) + 'static) -> Self {
        Generator::receiving(f)
    }
}

impl<Y: 'static, S: 'static> Generator<Y, S> {
    /// As [`new`](Generator::new), for a generator that is sent values.
    pub fn receiving(f: impl FnOnce(&Yielder<Y, S>) + 'static) -> Self {
        let link = Link {
            out: Cell::new(None),
            sent: Cell::new(None),
            panic: Cell::new(None),
            closing: Cell::new(false),
            context: Cell::new(None),
            owner: Cell::default(),
            timeouts: Cell::new(0),
        };
        Generator { stage: Stage::New(Box::new(f)), link: Rc::new(link) }
    }

    /// Sends `value` to the `yield_` where the generator waits, and runs it to the next. `None`: it has ended.
    ///
    /// # Panics
    /// When the generator does. When it has not begun, so that no `yield_` waits: `next` begins it. When it is
    /// running: it asks itself. When there is no memory for its stack. When another green thread has begun it, and
    /// has thread-locals of its own.
    pub fn send(&mut self, value: S) -> Option<Y> {
        assert!(
            !matches!(self.stage, Stage::New(_)),
            "a value was sent to a generator that has not begun: call next() first"
        );
        self.resume(Some(value))
    }

    fn resume(&mut self, value: Option<S>) -> Option<Y> {
        let context = match std::mem::replace(&mut self.stage, Stage::Running) {
            Stage::Waiting(context) if self.link.owner.get() != tls::TlsOwner::current() => {
                self.stage = Stage::Waiting(context);
                panic!(
                    "a generator was asked for a value by another thread than began it, or at that one's end"
                );
            }
            Stage::Waiting(context) => {
                self.link.sent.set(value);
                context
            }
            Stage::New(f) => match current_hub().pool().take(StackSize::DEFAULT) {
                Ok(context) => self.begin(context, f),
                Err(error) => {
                    self.stage = Stage::New(f);
                    panic!("a generator cannot run: {error}");
                }
            },
            Stage::Done => {
                self.stage = Stage::Done;
                return None;
            }
            Stage::Running => panic!("a generator was asked for a value while it runs"),
        };
        self.link.timeouts.set(current_hub().open_timeouts());
        // SAFETY: it has a job and is suspended: it was Waiting, or is fresh.
        if !unsafe { run(context) } {
            self.stage = Stage::Waiting(context);
            return self.link.out.take();
        }
        self.stage = Stage::Done;
        // SAFETY: idle, and the only one to have it forgets it.
        unsafe { current_hub().pool().put(context) };
        if let Some(payload) = self.link.panic.take() {
            resume_unwind(payload);
        }
        None
    }

    fn begin(&self, context: ActiveContext, f: Box<dyn FnOnce(&Yielder<Y, S>)>) -> ActiveContext {
        self.link.context.set(Some(context));
        self.link.owner.set(tls::TlsOwner::current());
        let yielder = Yielder { link: self.link.clone() };
        let job = Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(|| f(&yielder)));
            if let Err(payload) = result {
                if !payload.is::<Closed>() {
                    yielder.link.panic.set(Some(payload));
                }
            }
        });
        // SAFETY: what comes from the pool is idle.
        unsafe { context.assign(job) };
        context
    }
}

/// Resumes `context`; answers whether its job has ended.
///
/// # Safety
/// That of `Context::resume`.
unsafe fn run(context: ActiveContext) -> bool {
    let unwinding = PanicCount::take_along();
    // SAFETY: the caller's promise.
    let idle = unsafe {
        context.resume();
        context.is_idle()
    };
    unwinding.put_back();
    idle
}

impl<Y: 'static, S: Default + 'static> Iterator for Generator<Y, S> {
    type Item = Y;

    /// Runs to the next `yield_`, which answers the default value of `S`.
    fn next(&mut self) -> Option<Y> {
        self.resume(Some(S::default()))
    }
}

impl<Y, S> Drop for Generator<Y, S> {
    fn drop(&mut self) {
        let Stage::Waiting(context) = std::mem::replace(&mut self.stage, Stage::Done) else { return };
        if try_current().is_none() {
            // The OS thread is ending: its code cannot run any more. The stack stays mapped.
            return;
        }
        if self.link.owner.get() != tls::TlsOwner::current() {
            log::error!(
                "a generator is dropped by another thread than began it, or at that one's end; it is left suspended"
            );
            return;
        }
        self.link.closing.set(true);
        // SAFETY: it is suspended; it ends, or (its destructors yield) is left as it is for ever.
        unsafe {
            if run(context) {
                current_hub().pool().put(context);
            } else {
                log::error!("a dropped generator yields in a destructor; it is left suspended");
            }
        }
        let Some(thrown) = self.link.panic.take() else { return };
        if carried_by(&*thrown) == Some(Interrupt::Kill) {
            // Meant for who drops it, who was blocked in it: to be delivered where that may unwind.
            current_hub().kill(current_hub().current());
        }
        // A panic in its destructors was reported by the panic hook, and goes no further: we may unwind.
        drop_ignoring_panics(thrown);
    }
}

impl<Y, S> fmt::Debug for Generator<Y, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::New(_) => "new",
            Stage::Waiting(_) => "waiting",
            Stage::Running => "running",
            Stage::Done => "done",
        };
        f.debug_struct("Generator").field("stage", &stage).finish()
    }
}

impl<Y, S> fmt::Debug for Yielder<Y, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yielder").finish_non_exhaustive()
    }
}
