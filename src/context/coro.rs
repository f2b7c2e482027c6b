//! The contract kept by corosensei: its `Coroutine` on our stack. The default.

use super::{Context, Job};
use crate::abort::AbortOnUnwind;
use crate::stack::{Size, Stack};
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::ptr::{NonNull, null};

/// A context that corosensei switches.
#[derive(Clone, Copy)]
pub(crate) struct Coro(NonNull<Inner>);

/// Lies at the top of the stack, above corosensei's own first words.
struct Inner {
    coroutine: UnsafeCell<Coroutine<(), (), (), Stack>>,
    /// corosensei's handle for suspending, which it hands out once, when the coroutine begins.
    yielder: Cell<*const Yielder<(), ()>>,
    job: Cell<Option<Job>>,
    idle: Cell<bool>,
    bounds: (usize, usize),
    size: Size,
}

const _: () = assert!(size_of::<Inner>() + 128 <= crate::stack::CONTEXT);

/// The first and last function on the stack: one job after the other, until resumed with none.
fn work(inner: &Inner, yielder: &Yielder<(), ()>) {
    inner.yielder.set(yielder);
    while let Some(job) = inner.job.take() {
        let guard = AbortOnUnwind("a job unwound");
        job();
        guard.disarm();
        inner.idle.set(true);
        yielder.suspend(());
    }
}

impl Coro {
    fn inner(&self) -> &Inner {
        // SAFETY: written by `new`; every caller has promised that it is not retired.
        unsafe { self.0.as_ref() }
    }
}

impl Context for Coro {
    fn new(mut stack: Stack) -> Coro {
        let (bottom, size) = (stack.bottom(), stack.size());
        let place = stack.reserve(size_of::<Inner>()).cast::<Inner>();
        let at = NonNull::new(place).expect("a mapped address is not 0");
        let top = stack.top();
        let coroutine = Coroutine::with_stack(stack, move |yielder, ()| {
            // SAFETY: Inner was written before the first resume and outlives the coroutine in it.
            work(unsafe { at.as_ref() }, yielder);
        });
        let inner = Inner {
            coroutine: UnsafeCell::new(coroutine),
            yielder: Cell::new(null()),
            job: Cell::new(None),
            idle: Cell::new(true),
            bounds: (bottom, top),
            size,
        };
        // SAFETY: reserved above for exactly this, aligned to 16.
        unsafe { place.write(inner) };
        Coro(at)
    }

    #[inline]
    unsafe fn assign(self, job: Job) {
        assert!(self.inner().idle.get(), "a context was given a second job");
        self.inner().job.set(Some(job));
        self.inner().idle.set(false);
    }

    #[inline(always)]
    unsafe fn resume(self) {
        // SAFETY: nobody else is inside `resume`, so this is the only reference to the coroutine.
        let result = unsafe { &mut *self.inner().coroutine.get() }.resume(());
        debug_assert_eq!(result, CoroutineResult::Yield(()));
    }

    #[inline(always)]
    unsafe fn suspend(self) {
        // SAFETY: the yielder lives as long as the coroutine is not finished; it is running now.
        unsafe { &*self.inner().yielder.get() }.suspend(());
    }

    #[inline]
    unsafe fn is_idle(self) -> bool {
        self.inner().idle.get()
    }

    #[inline(always)]
    fn address(self) -> usize {
        self.0.as_ptr() as usize
    }

    unsafe fn bounds(self) -> Range<usize> {
        self.inner().bounds.0..self.inner().bounds.1
    }

    unsafe fn size(self) -> Size {
        self.inner().size
    }

    unsafe fn retire(self) -> Stack {
        debug_assert!(self.inner().idle.get());
        // SAFETY: moved out once, by the caller's promise; the place is plain memory afterwards.
        let mut coroutine = unsafe { self.0.as_ptr().read() }.coroutine.into_inner();
        if coroutine.started() {
            // Resumed with no job: `work` returns, and the coroutine is done. It finds no job in the
            // bytes that are still there, for `read` copies.
            coroutine.resume(());
            coroutine.into_stack()
        } else {
            coroutine.force_unwind();
            coroutine.into_stack()
        }
    }
}
