//! The contract kept by the switch in `arch/`: sixty lines of assembly, and what is here.
//!
//! Two words make a context: where its stack pointer was when it was left, and where its resumer's was.
//! `resume` leaves ours in one and takes the other; `suspend` does the reverse.

use super::{Context, Job};
use crate::arch::switch::{prepare, switch};
use crate::stack::{Stack, StackSize};
use std::cell::Cell;
use std::ops::Range;
use std::ptr::NonNull;

/// A context that `arch/` switches.
#[derive(Clone, Copy)]
pub(crate) struct AsmContext(NonNull<ContextHeader>);

/// Lies at the top of the stack, above its first frame.
struct ContextHeader {
    /// This stack's pointer, valid while it is suspended.
    sp: Cell<usize>,
    /// The resumer's stack pointer, valid while this one runs.
    resumer: Cell<usize>,
    job: Cell<Option<Job>>,
    idle: Cell<bool>,
    top: usize,
    stack: Stack,
}

const _: () = assert!(size_of::<ContextHeader>() + 128 <= crate::stack::CONTEXT);

/// The first function on the stack. It never returns: a context is retired by forgetting where it was,
/// which loses nothing, for between two jobs no frame holds anything.
extern "C" fn work(inner: usize) -> ! {
    // SAFETY: the address given to `prepare`; ContextHeader outlives every frame on its stack.
    let inner = unsafe { &*(inner as *const ContextHeader) };
    loop {
        let job = inner.job.take().expect("a context is resumed only with a job");
        job();
        inner.idle.set(true);
        // SAFETY: the resumer waits in `resume`, which stored its stack pointer.
        unsafe { switch(inner.sp.as_ptr(), inner.resumer.get()) };
    }
}

impl AsmContext {
    fn inner(&self) -> &ContextHeader {
        // SAFETY: written by `new`; every caller has promised that it is not retired.
        unsafe { self.0.as_ref() }
    }
}

impl Context for AsmContext {
    fn new(mut stack: Stack) -> AsmContext {
        let place = stack.reserve(size_of::<ContextHeader>()).cast::<ContextHeader>();
        let top = stack.top();
        // SAFETY: the stack is ours and empty; `work` aborts rather than unwind (extern "C").
        let sp = unsafe { prepare(top, work, place as usize) };
        let inner = ContextHeader {
            sp: Cell::new(sp),
            resumer: Cell::new(0),
            job: Cell::new(None),
            idle: Cell::new(true),
            top,
            stack,
        };
        // SAFETY: reserved above for exactly this, aligned to 16.
        unsafe { place.write(inner) };
        AsmContext(NonNull::new(place).expect("a mapped address is not 0"))
    }

    #[inline]
    unsafe fn assign(self, job: Job) {
        assert!(self.inner().idle.get(), "a context was given a second job");
        self.inner().job.set(Some(job));
        self.inner().idle.set(false);
    }

    #[inline]
    unsafe fn resume(self) {
        let inner = self.inner();
        // SAFETY: not running, so `sp` is where it was left; nobody else has switched to it since.
        unsafe { switch(inner.resumer.as_ptr(), inner.sp.get()) };
    }

    #[inline]
    unsafe fn suspend(self) {
        let inner = self.inner();
        // SAFETY: we run because a resumer waits where `resumer` says.
        unsafe { switch(inner.sp.as_ptr(), inner.resumer.get()) };
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
        self.inner().stack.bottom()..self.inner().top
    }

    unsafe fn size(self) -> StackSize {
        self.inner().stack.size()
    }

    unsafe fn retire(self) -> Stack {
        debug_assert!(self.inner().idle.get());
        // SAFETY: moved out once, by the caller's promise; the place is plain memory afterwards.
        unsafe { self.0.as_ptr().read() }.stack
    }
}
