//! A stack that can be resumed and suspended, behind one contract with two implementations.
//!
//! [`CorosenseiContext`] does it by the corosensei crate, [`AsmContext`] by the switch in `arch/`; the feature `asm-switch`
//! chooses which of them is [`ActiveContext`], and the same tests run against both. A context runs *jobs*, one
//! after the other: a job that returns leaves the context idle on its warm stack, ready for the next.
//!
//! ```text
//!   resumer's stack                       context's stack
//!   resume() ---------------------------> work(): take the job, call it
//!                                           job ... suspend() ---+
//!   resume() returns <-----------------------------------------+
//!   resume() ---------------------------->  suspend() returns, job goes on, returns
//!   resume() returns, is_idle() <-------- work(): idle, suspend, wait for the next job
//! ```
//!
//! Leaves to others: who runs next (`hub`), where stacks come from (`stack`).
//! Called by `hub` (green threads) and `generator`. Read next: `context/asm.rs`.
#![allow(unsafe_code)]

// One of them is used; the tests use both.
#[cfg(any(test, feature = "asm-switch"))]
mod asm;
#[cfg(any(test, not(feature = "asm-switch")))]
mod corosensei;
mod pool;

use crate::stack::{Stack, StackSize};
pub(crate) use pool::ContextPool;

#[cfg(feature = "asm-switch")]
pub(crate) use asm::AsmContext as ActiveContext;
#[cfg(not(feature = "asm-switch"))]
pub(crate) use corosensei::CorosenseiContext as ActiveContext;

/// What a context runs. It must not unwind: it catches what is thrown in it.
pub(crate) type Job = Box<dyn FnOnce()>;

/// The contract. A value is the address of a context, so it is `Copy`; the context itself lies at the
/// top of its own stack, where a switch has to touch memory anyway, and lives until `retire`.
pub(crate) trait Context: Copy + 'static {
    /// Makes a context on `stack`, idle.
    fn new(stack: Stack) -> Self;

    /// Gives an idle context its next job, to begin at the next `resume`.
    ///
    /// # Safety
    /// The context was not retired, and is idle.
    unsafe fn assign(self, job: Job);

    /// Runs the context until it suspends itself or its job returns.
    ///
    /// # Safety
    /// The context was not retired, has a job, and is not running: nobody is inside its `resume`.
    unsafe fn resume(self);

    /// Leaves the context for whoever resumed it; returns when it is resumed again.
    ///
    /// # Safety
    /// The caller runs on this context's stack, or on that of a context that was resumed (directly or
    /// not) from there and stays suspended with it.
    unsafe fn suspend(self);

    /// Whether its last job has returned.
    ///
    /// # Safety
    /// The context was not retired.
    unsafe fn is_idle(self) -> bool;

    /// Where it lies: above everything else on its stack.
    fn address(self) -> usize;

    /// The addresses of its stack: from the guard page to where its frames begin.
    ///
    /// # Safety
    /// The context was not retired.
    unsafe fn bounds(self) -> std::ops::Range<usize>;

    /// The size of its stack.
    ///
    /// # Safety
    /// The context was not retired.
    unsafe fn size(self) -> StackSize;

    /// Ends an idle context and gives its stack back.
    ///
    /// # Safety
    /// The context was not retired, is idle, and is not used again.
    unsafe fn retire(self) -> Stack;
}

#[cfg(test)]
mod tests {
    use super::{Context, asm::AsmContext, corosensei::CorosenseiContext};
    use crate::stack::{StackAllocator, StackSize};
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    /// The same tests for each implementation.
    macro_rules! contract {
        ($($name:ident),*) => {
            mod coro_keeps_it { $(#[test] fn $name() { super::$name::<super::CorosenseiContext>() })* }
            mod own_keeps_it { $(#[test] fn $name() { super::$name::<super::AsmContext>() })* }
        };
    }
    contract!(
        runs_jobs_one_after_the_other,
        hundreds_interleave,
        nests,
        keeps_live_floats,
        catches_a_panic_on_its_own_stack,
        suspends_from_a_context_resumed_inside
    );

    fn runs_jobs_one_after_the_other<C: Context>() {
        let stacks = StackAllocator::default();
        let log: Rc<RefCell<Vec<u32>>> = Rc::default();
        // SAFETY: resumed only with a job, never while running, retired once.
        unsafe {
            let context = C::new(stacks.take(StackSize::DEFAULT).unwrap());
            assert!(context.is_idle());
            for n in 0..3 {
                let inside = log.clone();
                context.assign(Box::new(move || {
                    let here = 0u8;
                    inside.borrow_mut().push(n * 10);
                    assert!(context.bounds().contains(&(&raw const here as usize)));
                    context.suspend();
                    inside.borrow_mut().push(n * 10 + 1);
                }));
                context.resume();
                assert!(!context.is_idle());
                log.borrow_mut().push(n * 10 + 5);
                context.resume();
                assert!(context.is_idle());
            }
            drop(context.retire());
        }
        assert_eq!(*log.borrow(), [0, 5, 1, 10, 15, 11, 20, 25, 21]);
        assert_eq!(stacks.made(), 1);
    }

    fn hundreds_interleave<C: Context>() {
        let stacks = StackAllocator::default();
        let sum = Rc::new(Cell::new(0));
        // SAFETY: as above.
        unsafe {
            let all: Vec<C> = (0..300)
                .map(|n| {
                    let context = C::new(stacks.take(StackSize::MIN).unwrap());
                    let sum = sum.clone();
                    context.assign(Box::new(move || {
                        for round in 0..10 {
                            sum.set(sum.get() + n * round);
                            context.suspend();
                        }
                    }));
                    context
                })
                .collect();
            for _ in 0..11 {
                all.iter().for_each(|context| context.resume());
            }
            assert!(all.iter().all(|context| context.is_idle()));
            all.into_iter().for_each(|context| drop(context.retire()));
        }
        assert_eq!(sum.get(), (0..300).sum::<i32>() * 45);
    }

    fn nests<C: Context>() {
        fn depth<C: Context>(stacks: &Rc<StackAllocator>, left: u32) -> u32 {
            if left == 0 {
                return 0;
            }
            let answer = Rc::new(Cell::new(0));
            // SAFETY: as above.
            unsafe {
                let context = C::new(stacks.take(StackSize::DEFAULT).unwrap());
                let (inside, stacks) = (answer.clone(), stacks.clone());
                context.assign(Box::new(move || inside.set(depth::<C>(&stacks, left - 1) + 1)));
                context.resume();
                drop(context.retire());
            }
            answer.get()
        }
        assert_eq!(depth::<C>(&Rc::default(), 20), 20);
    }

    fn suspends_from_a_context_resumed_inside<C: Context>() {
        let stacks = Rc::new(StackAllocator::default());
        let log: Rc<RefCell<Vec<&str>>> = Rc::default();
        // SAFETY: the inner context suspends the outer one, from which it was resumed.
        unsafe {
            let outer = C::new(stacks.take(StackSize::DEFAULT).unwrap());
            let (stacks, inside) = (stacks.clone(), log.clone());
            outer.assign(Box::new(move || {
                let inner = C::new(stacks.take(StackSize::DEFAULT).unwrap());
                let deep = inside.clone();
                inner.assign(Box::new(move || {
                    deep.borrow_mut().push("inner");
                    outer.suspend();
                    deep.borrow_mut().push("inner again");
                    inner.suspend();
                    deep.borrow_mut().push("inner ends");
                }));
                inner.resume();
                inside.borrow_mut().push("outer again");
                inner.resume();
                drop(inner.retire());
            }));
            outer.resume();
            log.borrow_mut().push("main");
            outer.resume();
            assert!(outer.is_idle());
            drop(outer.retire());
        }
        assert_eq!(*log.borrow(), ["inner", "main", "inner again", "outer again", "inner ends"]);
    }

    fn catches_a_panic_on_its_own_stack<C: Context>() {
        let stacks = StackAllocator::default();
        let caught = Rc::new(Cell::new(false));
        // SAFETY: as above.
        unsafe {
            let context = C::new(stacks.take(StackSize::DEFAULT).unwrap());
            let inside = caught.clone();
            context.assign(Box::new(move || {
                let thrown = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(7u8)));
                inside.set(thrown.unwrap_err().is::<u8>());
            }));
            context.resume();
            drop(context.retire());
        }
        assert!(caught.get());
    }

    /// Values that the compiler keeps in vector registers survive a switch.
    fn keeps_live_floats<C: Context>() {
        let stacks = StackAllocator::default();
        // SAFETY: as above.
        unsafe {
            let context = C::new(stacks.take(StackSize::DEFAULT).unwrap());
            context.assign(Box::new(move || {
                let third = std::hint::black_box(1.0f64) / std::hint::black_box(3.0);
                context.suspend();
                assert_eq!(third, std::hint::black_box(1.0f64) / std::hint::black_box(3.0));
            }));
            context.resume();
            let ninth = std::hint::black_box(1.0f64) / std::hint::black_box(9.0);
            context.resume();
            assert_eq!(ninth, std::hint::black_box(1.0f64) / std::hint::black_box(9.0));
            drop(context.retire());
        }
    }
}
