//! The thread control blocks of one hub's green threads.
//!
//! Next: `tls/layout.rs`, what a block is to glibc.

use super::green_tls::{DETACHED, ENDED, PthreadKind};
use super::layout::{LAYOUT, layout};
use super::tcb::Tcb;
use crate::sys::current_word;
use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// Whether new green threads get blocks of their own.
static ENABLED: AtomicBool = AtomicBool::new(false);

/// Returns whether a green thread that starts now gets a block of its own.
#[inline]
pub(crate) fn is_enabled() -> bool {
    ENABLED.load(Relaxed)
}

/// From now on, each green thread that starts gets a block of its own. The caller has called `probe` successfully.
pub(crate) fn enable_per_green_tcb() {
    debug_assert!(LAYOUT.get().is_some());
    ENABLED.store(true, Relaxed);
}

pub(crate) struct TcbPool {
    os_thread_tcb: Tcb,
    idle: RefCell<Vec<Tcb>>,
}

impl TcbPool {
    /// Makes the pool of the calling OS thread.
    pub(crate) fn new() -> TcbPool {
        TcbPool { os_thread_tcb: Tcb::loaded(), idle: RefCell::default() }
    }

    #[inline(always)]
    pub(crate) fn os_thread_tcb(&self) -> Tcb {
        self.os_thread_tcb
    }

    /// Returns the block for a new green thread: a fresh one, or the OS thread's if green threads share that one.
    /// `owner` becomes the current word of the green thread, `stack` is the green thread's stack.
    ///
    /// Errors: no memory.
    #[inline]
    pub(crate) fn take(&self, owner: *const (), stack: Range<usize>, kind: PthreadKind) -> io::Result<Tcb> {
        if is_enabled() { self.take_fresh(owner, stack, kind) } else { Ok(self.os_thread_tcb) }
    }

    #[inline(never)]
    fn take_fresh(&self, owner: *const (), stack: Range<usize>, kind: PthreadKind) -> io::Result<Tcb> {
        let idle = self.idle.borrow_mut().pop();
        let layout = layout();
        // SAFETY: an idle block is a green thread's, and not loaded.
        let cleaned = idle.inspect(|&tcb| unsafe { layout.clean(tcb) });
        let tcb = cleaned.or_else(|| layout.allocate()).ok_or_else(|| {
            io::Error::new(io::ErrorKind::OutOfMemory, "no memory for a green thread's control block")
        })?;
        // SAFETY: the block is complete, and no other code knows it yet. The tid is that of the OS thread on which its
        // green thread will run.
        unsafe {
            *tcb.tid_word() = *self.os_thread_tcb.tid_word();
            layout.init_tls_words(tcb, self.os_thread_tcb);
            tcb.green_tls().init(stack, kind);
            tcb.owner_word().set(owner);
        }
        Ok(tcb)
    }

    /// Notes that the green thread of block `tcb` has ended. Takes the block back; or leaves it to the joiner, and returns the
    /// address of the futex for which joiners wait.
    ///
    /// # Safety
    /// The block is not loaded, and the green thread runs no more.
    #[inline(never)]
    pub(crate) unsafe fn end(&self, tcb: Tcb) -> Option<usize> {
        // SAFETY: a green thread's block, which is alive until it is joined.
        let state = unsafe { &tcb.green_tls().join_state };
        let futex = state.as_ptr() as usize;
        if state.load(Acquire) & DETACHED == 0 && state.fetch_or(ENDED, AcqRel) & DETACHED == 0 {
            // A joiner may have taken the block back. Only the word's address is used.
            return Some(futex);
        }
        // SAFETY: the caller upholds that the green thread has ended. It is detached, so no thread joins it.
        unsafe { self.put(tcb) };
        None
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// The green thread has ended, no thread will join it, and the block is not loaded.
    unsafe fn put(&self, tcb: Tcb) {
        // SAFETY: the caller upholds that no code uses the block.
        unsafe {
            match layout().can_be_cleaned(tcb) {
                true => self.idle.borrow_mut().push(tcb),
                false => layout().free(tcb),
            }
        }
    }
}

/// Takes back the block of a green thread that has ended and was joined or detached, on any OS thread. `pool` is that of
/// the calling OS thread's hub.
///
/// # Safety
/// The green thread has ended, no thread will join it, and the block is not loaded.
pub(crate) unsafe fn release(tcb: Tcb, pool: Option<&TcbPool>) {
    // SAFETY: the caller upholds that no code uses the block. Its owner, and so its pool, is that of this OS thread, or
    // it goes back to the C library.
    unsafe {
        match pool.filter(|_| tcb.owner_word().get() == current_word::get()) {
            Some(pool) => pool.put(tcb),
            None => layout().free(tcb),
        }
    }
}

impl Drop for TcbPool {
    fn drop(&mut self) {
        for tcb in self.idle.borrow_mut().drain(..) {
            // SAFETY: idle, and this pool's.
            unsafe { layout().free(tcb) };
        }
    }
}
