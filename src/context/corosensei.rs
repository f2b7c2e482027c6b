//! The contract kept by corosensei: its `Coroutine` on our stack. The default.

use super::{Context, Job};
use crate::stack::{Stack, StackSize};
use crate::sys::abort::AbortOnUnwind;
use corosensei::stack::StackPointer;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::cell::{Cell, UnsafeCell};
use std::mem::offset_of;
use std::ops::Range;
use std::ptr::{NonNull, null};

/// A context that corosensei switches.
#[derive(Clone, Copy)]
pub(crate) struct CorosenseiContext(NonNull<ContextHeader>);

/// Lies at the top of the stack, above corosensei's own first words.
///
/// What a switch touches comes first, and is one line of the cache together with those.
#[repr(C)]
struct ContextHeader {
    /// corosensei's handle for suspending, which it hands out once, when the coroutine begins.
    yielder: Cell<*const Yielder<(), ()>>,
    coroutine: UnsafeCell<Coroutine<(), (), (), StackBounds>>,
    job: Cell<Option<Job>>,
    idle: Cell<bool>,
    stack: Stack,
}

/// The size of a line of the cache.
const LINE: usize = 64;
/// What corosensei keeps right below us: where its resumer's stack pointer is, and its first function.
const LINK: usize = 16;
/// What is taken off a stack for us: so much that with those words our first ones are one line. (Where a stack begins is a
/// multiple of it.)
const RESERVED: usize = size_of::<ContextHeader>().next_multiple_of(LINE) + LINE - LINK;

const _: () = assert!(LINK + offset_of!(ContextHeader, job) <= LINE);
const _: () = assert!(RESERVED + 128 <= crate::stack::CONTEXT);

/// What corosensei is told of a stack, which ContextHeader keeps.
struct StackBounds {
    base: StackPointer,
    limit: StackPointer,
}

// SAFETY: base and limit bound memory that the `Stack` in ContextHeader owns, which outlives the coroutine: `retire` gives it back
// when that is done. The page at the limit faults (`stack::install_guards` has done that, or the stack is not handed out);
// the least size is beyond corosensei's.
unsafe impl corosensei::stack::Stack for StackBounds {
    fn base(&self) -> StackPointer {
        self.base
    }

    fn limit(&self) -> StackPointer {
        self.limit
    }
}

/// The first and last function on the stack: one job after the other, until resumed with none.
fn work(inner: &ContextHeader, yielder: &Yielder<(), ()>) {
    inner.yielder.set(yielder);
    while let Some(job) = inner.job.take() {
        let guard = AbortOnUnwind("a job unwound");
        job();
        guard.disarm();
        inner.idle.set(true);
        yielder.suspend(());
    }
}

impl CorosenseiContext {
    fn inner(&self) -> &ContextHeader {
        // SAFETY: written by `new`; every caller has promised that it is not retired.
        unsafe { self.0.as_ref() }
    }
}

impl Context for CorosenseiContext {
    fn new(mut stack: Stack) -> CorosenseiContext {
        let place = stack.reserve(RESERVED).cast::<ContextHeader>();
        let at = NonNull::new(place).expect("a mapped address is not 0");
        let mapped = |address: usize| StackPointer::new(address).expect("a mapped address is not 0");
        let lent = StackBounds { base: mapped(stack.top()), limit: mapped(stack.bottom()) };
        let coroutine = Coroutine::with_stack(lent, move |yielder, ()| {
            // SAFETY: ContextHeader was written before the first resume and outlives the coroutine in it.
            work(unsafe { at.as_ref() }, yielder);
        });
        let inner = ContextHeader {
            coroutine: UnsafeCell::new(coroutine),
            yielder: Cell::new(null()),
            job: Cell::new(None),
            idle: Cell::new(true),
            stack,
        };
        // SAFETY: reserved above for exactly this, aligned to 16.
        unsafe { place.write(inner) };
        CorosenseiContext(at)
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
        let stack = &self.inner().stack;
        stack.bottom()..stack.top()
    }

    unsafe fn size(self) -> StackSize {
        self.inner().stack.size()
    }

    unsafe fn retire(self) -> Stack {
        debug_assert!(self.inner().idle.get());
        // SAFETY: moved out once, by the caller's promise; the place is plain memory afterwards.
        let ContextHeader { coroutine, stack, .. } = unsafe { self.0.as_ptr().read() };
        let mut coroutine = coroutine.into_inner();
        if coroutine.started() {
            // Resumed with no job: `work` returns, and the coroutine is done. It finds no job in the
            // bytes that are still there, for `read` copies.
            coroutine.resume(());
        } else {
            coroutine.force_unwind();
        }
        stack
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::StackAllocator;

    #[test]
    fn what_a_switch_touches_is_one_line() {
        let stacks = StackAllocator::default();
        let all: Vec<CorosenseiContext> =
            (0..20).map(|_| CorosenseiContext::new(stacks.take(StackSize::MIN).unwrap())).collect();
        for context in &all {
            assert_eq!((context.address() - LINK) % LINE, 0);
        }
        // SAFETY: idle, and not used again.
        all.into_iter().for_each(|context| drop(unsafe { context.retire() }));
    }
}
