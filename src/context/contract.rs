//! The contract of a context: what an implementation does, and what it shares with the others.
//!
//! Next: `context/asm.rs`, the implementation by the switch in `arch/`.
#![allow(unsafe_code)]

use crate::stack::{Stack, StackSize};
use std::cell::Cell;

/// The function of a green thread. It must not unwind: it catches every panic of its own.
pub(crate) type Body = Box<dyn FnOnce()>;

/// The control block of a context, as far as all implementations need it.
#[repr(C)]
pub(crate) struct Header {
    body: Cell<Option<Body>>,
    idle: Cell<bool>,
    stack: Stack,
}

impl Header {
    pub(super) fn new(stack: Stack) -> Header {
        Header { body: Cell::new(None), idle: Cell::new(true), stack }
    }

    /// Takes the body that the next `resume` runs.
    #[inline]
    pub(super) fn take_body(&self) -> Option<Body> {
        self.body.take()
    }

    /// Notes that the body has returned.
    #[inline]
    pub(super) fn set_idle(&self) {
        self.idle.set(true);
    }

    pub(super) fn into_stack(self) -> Stack {
        debug_assert!(self.idle.get());
        self.stack
    }
}

/// A context. A value is the address of its control block, so it is `Copy`. The control block lies at the top of the
/// context's own stack, where a switch touches memory anyway, and lives until `retire`.
///
/// The hub names the implementation that it uses, [`ActiveContext`](super::ActiveContext), and is not generic. The trait
/// is the contract for another one.
pub(crate) trait Context: Copy + 'static {
    /// Makes a context on `stack`. It is idle.
    fn new(stack: Stack) -> Self;

    /// Returns the address of the control block. It lies above everything else on the stack.
    fn address(self) -> usize;

    /// Returns what all implementations keep.
    ///
    /// # Safety
    /// The context is not retired as long as the reference is used.
    unsafe fn header<'a>(self) -> &'a Header;

    /// Runs the context until it suspends itself or its body returns.
    ///
    /// # Safety
    /// The context is not retired, has a body, and is not running: no `resume` of it is in progress.
    unsafe fn resume(self);

    /// Suspends the context and goes on with its resumer. Returns when the context is resumed again.
    ///
    /// # Safety
    /// The caller runs on this context's stack, or on the stack of a context that was resumed (directly or not) from
    /// there and stays suspended with it.
    unsafe fn suspend(self);

    /// Ends an idle context and returns its stack.
    ///
    /// # Safety
    /// The context is not retired, is idle, and is not used again.
    unsafe fn retire(self) -> Stack;

    /// Gives an idle context the body that the next `resume` begins.
    ///
    /// # Safety
    /// The context is not retired, and is idle.
    #[inline]
    unsafe fn assign(self, body: Body) {
        // SAFETY: the caller's promise.
        let header = unsafe { self.header() };
        assert!(header.idle.get(), "a context that is not idle was given another body");
        header.body.set(Some(body));
        header.idle.set(false);
    }

    /// Returns whether the last body has returned.
    ///
    /// # Safety
    /// The context is not retired.
    #[inline]
    unsafe fn is_idle(self) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.header() }.idle.get()
    }

    /// Returns the addresses of the stack: from the guard page to the first frame.
    ///
    /// # Safety
    /// The context is not retired.
    unsafe fn bounds(self) -> std::ops::Range<usize> {
        // SAFETY: the caller's promise.
        let stack = unsafe { &self.header().stack };
        stack.bottom()..stack.top()
    }

    /// Returns the size of the stack.
    ///
    /// # Safety
    /// The context is not retired.
    unsafe fn size(self) -> StackSize {
        // SAFETY: the caller's promise.
        unsafe { self.header() }.stack.size()
    }
}
