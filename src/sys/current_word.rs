//! The one thread-local word that scheduling needs: the address of this OS thread's hub.
//!
//! The word is initialised by a constant and has no destructor. So reading it costs one load, works in signal handlers and
//! before `main`, and a copy of the word can be written into a green thread's own thread control block.
//!
//! Next: `hub/current.rs`, which gives the word its meaning.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ptr::null;

thread_local! {
    static WORD: Cell<*const ()> = const { Cell::new(null()) };
}

/// Returns the word of the loaded thread control block; null until `set` was called.
#[inline(always)]
pub(crate) fn get() -> *const () {
    WORD.get()
}

/// Sets the word of the loaded thread control block.
pub(crate) fn set(value: *const ()) {
    WORD.set(value);
}

/// Returns the address of the word in the loaded thread control block.
pub(crate) fn address() -> usize {
    WORD.with(|word| &raw const *word as usize)
}

/// Returns the word at `address`, in another thread control block.
///
/// # Safety
/// The caller has computed `address` from [`address`] and the distance between the two blocks. No other code uses that block
/// as long as the caller uses the word.
pub(crate) unsafe fn at<'a>(address: usize) -> &'a Cell<*const ()> {
    // SAFETY: a Cell of that type lies there, as the caller promises.
    unsafe { &*(address as *const Cell<*const ()>) }
}
