//! A thread control block (TCB), and loading one in the place of another.
//!
//! Next: `tls/tcb_pool.rs`, which gives green threads their blocks.

use super::green_tls::GreenTls;
use super::layout::{LAYOUT, layout, malloc_words, prefetch_words};
use crate::arch::{prefetch::prefetch, thread_pointer};
use std::cell::Cell;
use std::num::NonZero;

/// A thread control block of an OS thread or of a green thread, by its thread pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tcb(pub(super) NonZero<usize>);

impl Tcb {
    /// Returns the block that is loaded.
    #[inline(always)]
    pub(crate) fn loaded() -> Tcb {
        // SAFETY: the thread pointer is the address of a block, and so not 0.
        Tcb(unsafe { NonZero::new_unchecked(thread_pointer::get()) })
    }

    /// Prefetches what a switch to this block needs.
    #[inline(always)]
    pub(crate) fn prefetch(self) {
        for distance in malloc_words().chain(prefetch_words()) {
            prefetch::<1>(self.at(distance));
        }
    }

    /// Returns the thread pointer.
    #[inline(always)]
    pub(super) fn address(self) -> usize {
        self.0.get()
    }

    /// Returns the address at `distance` from the thread pointer.
    #[inline(always)]
    pub(super) fn at(self, distance: isize) -> usize {
        self.address().wrapping_add_signed(distance)
    }

    /// Returns the `pthread_t` of the block's thread.
    pub(crate) fn pthread(self) -> libc::pthread_t {
        layout().pthread.address(self.address()) as libc::pthread_t
    }

    /// Returns whether the block belongs to a green thread that `pthread_create` has made and that has not ended.
    pub(crate) fn is_pthread(self) -> bool {
        // SAFETY: callers ask about the block that a green thread's record names. It is the OS thread's, or belongs to
        // a green thread that has not ended.
        LAYOUT.get().is_some() && unsafe { self.green_tls() }.is_pthread.get()
    }

    /// Returns the address of the word in which the block notes the kernel's thread id.
    pub(crate) fn tid_word(self) -> *mut u32 {
        layout().pthread.tid_word(self.address())
    }

    /// Returns the block of `pthread` if that is a green thread.
    ///
    /// # Safety
    /// `pthread` belongs to a thread that was not joined and has not ended detached. C demands this of code that passes
    /// a `pthread_t` to a function.
    pub(crate) unsafe fn of_pthread(pthread: libc::pthread_t) -> Option<Tcb> {
        let size = LAYOUT.get()?.pthread.size;
        let tcb = Tcb(NonZero::new(thread_pointer::of_pthread(pthread as usize, size))?);
        // SAFETY: the storage of every thread has a GreenTls at the same place, and lives as long as its `pthread_t`.
        unsafe { tcb.green_tls().is_green().then_some(tcb) }
    }

    /// Returns the `GreenTls` in the block's storage.
    ///
    /// # Safety
    /// The block is alive for as long as the result is used.
    pub(crate) unsafe fn green_tls<'a>(self) -> &'a GreenTls {
        // SAFETY: `find` has checked that every block has its GreenTls at this distance.
        unsafe { &*(self.at(layout().green_tls_at) as *const GreenTls) }
    }

    /// Returns the block's copy of [`current_word`](crate::sys::current_word), which names the hub that has made the block.
    ///
    /// # Safety
    /// The block is alive for as long as the result is used, and no other OS thread uses the word meanwhile.
    pub(super) unsafe fn owner_word<'a>(self) -> &'a Cell<*const ()> {
        // SAFETY: `find` has checked that every block has its word at this distance.
        unsafe { &*(self.at(layout().current_word_at) as *const Cell<*const ()>) }
    }
}

/// Leaves the block `from`, which is loaded, for the block `to`, on the same OS thread.
///
/// # Safety
/// Both are alive, and `from` is loaded. The caller's frame does not use anything thread-local before and after as if
/// it were the same, because the compiler may keep its address.
#[inline(always)]
pub(crate) unsafe fn load(from: Tcb, to: Tcb) {
    // SAFETY: `probe` has found these words in every block.
    unsafe {
        for distance in malloc_words() {
            let (source, sink) = (from.at(distance) as *const usize, to.at(distance) as *mut usize);
            sink.write(source.read());
        }
        thread_pointer::set(to.address());
    }
}
