//! Contexts by the crate corosensei: its `Coroutine` on our stack. The default.
//!
//! Next: `context/active.rs`, which implementation the hub uses.
#![allow(unsafe_code)]

use super::contract::{Context, Header};
use crate::arch::prefetch::CACHE_LINE;
use crate::stack::Stack;
use crate::sys::abort::AbortOnUnwind;
use corosensei::stack::StackPointer;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::cell::{Cell, UnsafeCell};
use std::mem::offset_of;
use std::ptr::{NonNull, null};

/// A context that corosensei switches.
#[derive(Clone, Copy)]
pub(crate) struct CorosenseiContext(NonNull<CorosenseiHeader>);

/// The control block. It lies at the top of the stack, above corosensei's own first words.
///
/// The fields that a switch touches come first. Together with corosensei's words they are one cache line.
#[repr(C)]
struct CorosenseiHeader {
    /// corosensei's handle for suspending, which the coroutine gets once, when it begins.
    yielder: Cell<*const Yielder<(), ()>>,
    coroutine: UnsafeCell<Coroutine<(), (), (), StackBounds>>,
    header: Header,
}

/// Bytes that corosensei keeps right below the control block: its resumer's stack pointer, and its first function.
const LINK: usize = 16;
/// Bytes reserved at the top of a stack, so that the first fields and those words are one cache line. (The top of a
/// stack is a multiple of it.)
const RESERVED: usize = size_of::<CorosenseiHeader>().next_multiple_of(CACHE_LINE) + CACHE_LINE - LINK;

const _: () = assert!(LINK + offset_of!(CorosenseiHeader, header) <= CACHE_LINE);
const _: () = assert!(RESERVED + 128 <= crate::stack::CONTEXT);

/// The bounds of a stack, as corosensei wants them. The control block owns the stack itself.
struct StackBounds {
    base: StackPointer,
    limit: StackPointer,
}

// SAFETY: base and limit bound the memory of the `Stack` in the control block, which outlives the coroutine: `retire`
// returns the stack when the coroutine is done. The page at the limit faults: `stack::install_guards` has seen to that
// before the stack was handed out. The smallest stack is larger than corosensei's minimum.
unsafe impl corosensei::stack::Stack for StackBounds {
    fn base(&self) -> StackPointer {
        self.base
    }

    fn limit(&self) -> StackPointer {
        self.limit
    }
}

/// Runs one body after the other, until it is resumed without one. It is the first function on the stack.
fn run_bodies(inner: &CorosenseiHeader, yielder: &Yielder<(), ()>) {
    inner.yielder.set(yielder);
    while let Some(body) = inner.header.take_body() {
        let guard = AbortOnUnwind("the body of a green thread unwound into the scheduler");
        body();
        guard.disarm();
        inner.header.set_idle();
        yielder.suspend(());
    }
}

impl CorosenseiContext {
    #[inline(always)]
    fn inner(&self) -> &CorosenseiHeader {
        // SAFETY: `new` wrote it, and every caller has promised that the context is not retired.
        unsafe { self.0.as_ref() }
    }
}

impl Context for CorosenseiContext {
    fn new(mut stack: Stack) -> CorosenseiContext {
        let place = stack.reserve(RESERVED).cast::<CorosenseiHeader>();
        let at = NonNull::new(place).expect("a mapped address is not 0");
        let mapped = |address: usize| StackPointer::new(address).expect("a mapped address is not 0");
        let bounds = StackBounds { base: mapped(stack.top()), limit: mapped(stack.bottom()) };
        let coroutine = Coroutine::with_stack(bounds, move |yielder, ()| {
            // SAFETY: the control block is written before the first resume, and outlives the coroutine in it.
            run_bodies(unsafe { at.as_ref() }, yielder);
        });
        let inner = CorosenseiHeader {
            yielder: Cell::new(null()),
            coroutine: UnsafeCell::new(coroutine),
            header: Header::new(stack),
        };
        // SAFETY: `reserve` made room for exactly this, aligned to 16.
        unsafe { place.write(inner) };
        CorosenseiContext(at)
    }

    #[inline(always)]
    fn address(self) -> usize {
        self.0.as_ptr() as usize
    }

    #[inline(always)]
    unsafe fn header<'a>(self) -> &'a Header {
        // SAFETY: `new` wrote it, and the caller has promised that the context is not retired meanwhile.
        unsafe { &self.0.as_ref().header }
    }

    #[inline(always)]
    unsafe fn resume(self) {
        // SAFETY: no other `resume` is in progress, so this is the only reference to the coroutine.
        let result = unsafe { &mut *self.inner().coroutine.get() }.resume(());
        debug_assert_eq!(result, CoroutineResult::Yield(()));
    }

    #[inline(always)]
    unsafe fn suspend(self) {
        // SAFETY: the yielder lives as long as the coroutine is not finished, and the coroutine is running now.
        unsafe { &*self.inner().yielder.get() }.suspend(());
    }

    unsafe fn retire(self) -> Stack {
        // SAFETY: moved out once, by the caller's promise. The memory holds plain bytes afterwards.
        let CorosenseiHeader { coroutine, header, .. } = unsafe { self.0.as_ptr().read() };
        let mut coroutine = coroutine.into_inner();
        if coroutine.started() {
            // Resumed without a body, `run_bodies` returns, and the coroutine is done. It finds no body in the bytes
            // that are still there, for `read` copies.
            coroutine.resume(());
        } else {
            coroutine.force_unwind();
        }
        header.into_stack()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::{StackAllocator, StackSize};

    #[test]
    fn new_aligns_what_a_switch_touches_to_one_cache_line() {
        let stacks = StackAllocator::default();
        let all: Vec<CorosenseiContext> =
            (0..20).map(|_| CorosenseiContext::new(stacks.take(StackSize::MIN).unwrap())).collect();
        for context in &all {
            assert_eq!((context.address() - LINK) % CACHE_LINE, 0);
        }
        // SAFETY: the contexts are idle, and are not used again.
        all.into_iter().for_each(|context| drop(unsafe { context.retire() }));
    }
}
