//! Which hub is this OS thread's.
//!
//! The hub's address is in the word of `sys/current_word.rs`. Beside it stands a thread-local owner with a destructor,
//! which ends the hub when the OS thread ends. By then other thread-locals may be destroyed, so it resumes no green thread.
//!
//! Next: `hub/fields.rs`, the hub itself.
#![allow(unsafe_code)]

use super::fields::Hub;
use super::status;
use crate::green::prepare_panic_count;
use crate::ids::GreenId;
use crate::sys::catch::drop_ignoring_panics;
use crate::sys::current_word;
use crate::sys::tid::gettid;
use std::cell::OnceCell;
use std::mem::ManuallyDrop;
use std::ptr::from_ref;

thread_local! {
    static OWNER: OnceCell<Owner> = const { OnceCell::new() };
}

/// The word's value after the hub has ended: no second hub is made.
const ENDED: *const () = std::ptr::without_provenance(usize::MAX);

struct Owner(ManuallyDrop<Box<Hub>>);

/// Returns this OS thread's hub, if it has one.
///
/// The reference is `'static` because it is valid as long as any code of this OS thread runs that could use it. `Hub` is not
/// `Sync`, so the reference cannot be sent to another OS thread.
#[inline(always)]
pub(crate) fn try_current() -> Option<&'static Hub> {
    let hub = current_word::get();
    if hub.is_null() || hub == ENDED {
        return None;
    }
    // SAFETY: the word is neither null nor ENDED, so it points to the Owner's hub, and the Owner sets ENDED before it frees
    // that; or to a hub that is never freed.
    Some(unsafe { &*hub.cast() })
}

/// Returns this OS thread's hub.
///
/// # Panics
/// When there is none. A green thread always has one.
#[inline(always)]
pub(crate) fn expect_current() -> &'static Hub {
    try_current().expect("a green thread has a hub")
}

/// Returns whether this OS thread's hub has ended, because the OS thread ends.
pub(crate) fn has_ended() -> bool {
    current_word::get() == ENDED
}

/// Calls `f`. If there is a hub, it does not let the caller park meanwhile: what would park blocks the OS thread.
pub fn with_blocking_disabled<R>(f: impl FnOnce() -> R) -> R {
    match try_current() {
        Some(hub) => hub.with_blocking_disabled(f),
        None => f(),
    }
}

/// Makes this OS thread's hub. The caller has checked that there is none, and that none has ended.
#[cold]
pub(crate) fn make() -> &'static Hub {
    // The search unwinds a value, so it cannot be made later, when a green thread may park in a panic hook.
    if !std::thread::panicking() {
        prepare_panic_count();
    }
    let made = OWNER.try_with(|owner| {
        let hub = &**owner.get_or_init(|| Owner(ManuallyDrop::new(Box::new(Hub::new())))).0;
        set(hub);
    });
    if made.is_err() {
        // The destructor of another thread-local needs a hub, after OWNER was destroyed. Nothing ends this hub.
        current_word::set(from_ref(Box::leak(Box::new(Hub::new()))).cast());
    }
    expect_current()
}

/// Makes `hub` this OS thread's, which it stays until it is replaced, or taken out of the list by its owner.
fn set(hub: &Hub) {
    // SAFETY: the hub lies in a box, so it does not move, and its owner unregisters it before it frees it.
    unsafe { status::register(&raw const hub.status) };
    current_word::set(from_ref(hub).cast());
}

/// Replaces this OS thread's hub by `hub`, which has no owner. The old hub is left as it is.
pub(super) fn replace(hub: &'static Hub) {
    if let Some(old) = try_current() {
        status::unregister(&raw const old.status);
    }
    set(hub);
}

impl Drop for Owner {
    fn drop(&mut self) {
        status::unregister(&raw const self.0.status);
        // If this is the main OS thread, the process ends and not just an OS thread. The same holds if a green thread has
        // called `exit`: this destructor runs on its stack. Then the hub stays, for code that still runs.
        let is_main = std::process::id() == gettid() as u32;
        if is_main || self.0.current() != GreenId::ROOT {
            return;
        }
        let is_empty = self.0.close();
        current_word::set(ENDED);
        if is_empty {
            // SAFETY: this is called once, and no code finds the hub any more.
            let hub = unsafe { ManuallyDrop::take(&mut self.0) };
            drop_ignoring_panics(hub);
        }
        // Otherwise green threads are alive. They must not be resumed, because thread-locals that they may have borrowed
        // have been destroyed before this one. They are abandoned, and their stacks with them.
    }
}
