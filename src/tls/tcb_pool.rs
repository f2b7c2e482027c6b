//! The thread control blocks of one hub's green threads.
//!
//! Next: `tls/layout.rs`, what a block is to glibc.

use super::green_tls::{DETACHED, ENDED, PthreadKind};
use super::layout::{LAYOUT, layout};
use super::tcb::Tcb;
use crate::sys::current_word;
use std::cell::RefCell;
use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};

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

/// Meaning of a green thread's end to C.
pub(crate) enum Ended {
    NotPthread,
    /// A thread that nobody joins.
    Detached,
    /// A thread that can be joined. The joiners wait for the futex at this address.
    Joinable {
        futex: usize,
    },
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
        let tcb = match idle {
            Some(tcb) => {
                // SAFETY: it is a green thread's, idle and not loaded.
                unsafe { layout.clean(tcb.address()) };
                tcb
            }
            None => Tcb(layout.allocate().and_then(NonZero::new).ok_or_else(|| {
                let kind = io::ErrorKind::OutOfMemory;
                io::Error::new(kind, "no memory for a green thread's control block")
            })?),
        };
        // SAFETY: the block is complete, and nobody else knows it yet. The tid is that of the OS thread on which its
        // green thread will run.
        unsafe {
            tcb.set_tid(self.os_thread_tcb.tid());
            layout.init_tls_words(tcb.address(), self.os_thread_tcb.address());
            tcb.green_tls().init(stack, kind);
            current_word::at(tcb.owner_word()).set(owner);
        }
        Ok(tcb)
    }

    /// Notes that the green thread of block `tcb` has ended. Takes the block back, or leaves it to the joiner.
    ///
    /// # Safety
    /// The block is not loaded, and the green thread runs no more.
    #[inline(never)]
    pub(crate) unsafe fn end(&self, tcb: Tcb) -> Ended {
        // SAFETY: a green thread's block, which is alive until it is joined.
        let green = unsafe { tcb.green_tls() };
        let ended = if !green.is_pthread.get() {
            Ended::NotPthread
        } else if green.join_state.fetch_or(ENDED, AcqRel) & DETACHED != 0 {
            Ended::Detached
        } else {
            // From here on a joiner may take the block back. Only the word's address is used.
            return Ended::Joinable { futex: green.join_state.as_ptr() as usize };
        };
        // SAFETY: the caller upholds that the green thread has ended; nobody may join it.
        unsafe { self.put(tcb) };
        ended
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// The green thread has ended, nobody will join it, and the block is not loaded.
    unsafe fn put(&self, tcb: Tcb) {
        // SAFETY: the caller upholds that nobody uses the block.
        if unsafe { layout().can_be_cleaned(tcb.address()) } {
            self.idle.borrow_mut().push(tcb);
        } else {
            // SAFETY: the same.
            unsafe { layout().free(tcb.address()) };
        }
    }
}

/// Takes back the block of a green thread that has ended and was joined or detached, on any OS thread. `pool` is that of
/// the calling OS thread's hub.
///
/// # Safety
/// The green thread has ended, nobody will join it, and the block is not loaded.
pub(crate) unsafe fn release(tcb: Tcb, pool: Option<&TcbPool>) {
    // SAFETY: the caller upholds that nobody uses the block. Its owner, and so its pool, is that of this OS thread, or
    // it goes back to the C library.
    unsafe {
        match pool.filter(|_| current_word::at(tcb.owner_word()).get() == current_word::get()) {
            Some(pool) => pool.put(tcb),
            None => layout().free(tcb.address()),
        }
    }
}

impl Drop for TcbPool {
    fn drop(&mut self) {
        for tcb in self.idle.borrow_mut().drain(..) {
            // SAFETY: idle, and this pool's.
            unsafe { layout().free(tcb.address()) };
        }
    }
}
