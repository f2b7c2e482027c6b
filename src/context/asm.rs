//! Contexts by the switch in `arch/`: sixty lines of assembly, and this file.
//!
//! Two words make a context: the stack pointer at which it was suspended, and that of its resumer. `resume` stores the
//! resumer's stack pointer and loads the context's. `suspend` does the reverse.
//!
//! Next: `context/corosensei.rs`, the implementation that runs by default.
#![allow(unsafe_code)]

use super::contract::{Context, Header};
use crate::arch::switch::{prepare, switch};
use crate::stack::Stack;
use std::cell::Cell;
use std::ptr::NonNull;

/// A context that `arch/` switches.
#[derive(Clone, Copy)]
pub(crate) struct AsmContext(NonNull<AsmHeader>);

/// The control block. It lies at the top of the stack, above the first frame.
#[repr(C)]
struct AsmHeader {
    /// This stack's pointer, valid while the context is suspended.
    sp: Cell<usize>,
    /// The resumer's stack pointer, valid while the context runs.
    resumer: Cell<usize>,
    header: Header,
}

const _: () = assert!(size_of::<AsmHeader>() + 128 <= crate::stack::CONTEXT);

/// Runs one body after the other. It is the first function on the stack, and never returns. A context is retired by
/// forgetting its stack pointer. Nothing leaks thereby, for between two bodies no frame holds anything.
extern "C" fn run_bodies(inner: usize) -> ! {
    // SAFETY: `new` gave this address to `prepare`, and the control block outlives every frame on its stack.
    let inner = unsafe { &*(inner as *const AsmHeader) };
    loop {
        let body = inner.header.take_body().expect("a context is resumed only with a body");
        body();
        inner.header.set_idle();
        // SAFETY: the resumer waits in `resume`, which stored its stack pointer.
        unsafe { switch(inner.sp.as_ptr(), inner.resumer.get()) };
    }
}

impl AsmContext {
    fn inner(&self) -> &AsmHeader {
        // SAFETY: `new` wrote it, and every caller has promised that the context is not retired.
        unsafe { self.0.as_ref() }
    }
}

impl Context for AsmContext {
    fn new(mut stack: Stack) -> AsmContext {
        let place = stack.reserve(size_of::<AsmHeader>()).cast::<AsmHeader>();
        // SAFETY: the stack is ours and empty. `run_bodies` aborts rather than unwinds (extern "C").
        let sp = unsafe { prepare(stack.top(), run_bodies, place as usize) };
        let inner = AsmHeader { sp: Cell::new(sp), resumer: Cell::new(0), header: Header::new(stack) };
        // SAFETY: `reserve` made room for exactly this, aligned to 16.
        unsafe { place.write(inner) };
        AsmContext(NonNull::new(place).expect("a mapped address is not 0"))
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

    #[inline]
    unsafe fn resume(self) {
        let inner = self.inner();
        // SAFETY: the context is not running, so `sp` is where it was suspended, and nothing has switched to it since.
        unsafe { switch(inner.resumer.as_ptr(), inner.sp.get()) };
    }

    #[inline]
    unsafe fn suspend(self) {
        let inner = self.inner();
        // SAFETY: the context runs because its resumer waits at `resumer`.
        unsafe { switch(inner.sp.as_ptr(), inner.resumer.get()) };
    }

    unsafe fn retire(self) -> Stack {
        // SAFETY: moved out once, by the caller's promise. The memory holds plain bytes afterwards.
        unsafe { self.0.as_ptr().read() }.header.into_stack()
    }
}
