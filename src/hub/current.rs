//! Which hub is this OS thread's: the only thread-local that scheduling needs.
//!
//! It is one constant-initialised word without a destructor, so that reading it costs one load, works in
//! signal handlers and before `main`, and can be planted in a green thread's own thread control block.
//! Beside it stands an owner with a destructor, which ends the hub when the OS thread ends; by then other
//! thread-locals may be gone, so it resumes no green thread.
#![allow(unsafe_code)]

use super::{Hub, status};
use crate::ids::GreenId;
use std::cell::{Cell, OnceCell};
use std::mem::ManuallyDrop;
use std::ptr::null;

thread_local! {
    static HUB: Cell<*const Hub> = const { Cell::new(null()) };
    static OWNER: OnceCell<Owner> = const { OnceCell::new() };
}

/// What `HUB` says once the hub was ended: it is not made a second time.
const ENDED: *const Hub = std::ptr::without_provenance(usize::MAX);

/// Where the loaded thread control block keeps its `HUB`.
pub(crate) fn hub_tls_address() -> usize {
    HUB.with(|word| &raw const *word as usize)
}

/// Writes `hub` where another thread control block keeps its `HUB`.
///
/// # Safety
/// `word` is such a place, and nobody else uses it now.
pub(crate) unsafe fn set_hub_in_tcb(word: usize, hub: *const Hub) {
    // SAFETY: a Cell of that type, by the caller's promise.
    unsafe { (*(word as *const Cell<*const Hub>)).set(hub) };
}

/// What is written there.
///
/// # Safety
/// As for `plant`.
pub(crate) unsafe fn hub_in_tcb(word: usize) -> *const Hub {
    // SAFETY: the caller's.
    unsafe { (*(word as *const Cell<*const Hub>)).get() }
}

struct Owner(ManuallyDrop<Box<Hub>>);

/// This OS thread's hub, made if need be.
///
/// The reference is called `'static` because it is good for as long as any code of this OS thread runs
/// that could use it; it must not be sent to another (`Hub` is not `Sync`, so it cannot be).
///
/// # Panics
/// When the OS thread is ending and its hub is gone.
#[inline(always)]
pub(crate) fn current() -> &'static Hub {
    let hub = HUB.get();
    if hub.is_null() || hub == ENDED {
        return make();
    }
    // SAFETY: not null and not ENDED, so it points into the Owner, which sets ENDED before it frees; or to a hub that is
    // never freed.
    unsafe { &*hub }
}

/// This OS thread's hub, if it has one.
#[inline]
pub(crate) fn try_current() -> Option<&'static Hub> {
    let hub = HUB.get();
    if hub.is_null() || hub == ENDED {
        return None;
    }
    // SAFETY: as in `hub`.
    Some(unsafe { &*hub })
}

/// This OS thread's hub, made if need be; `None` when it was ended already.
pub(crate) fn current_or_init() -> Option<&'static Hub> {
    (HUB.get() != ENDED).then(current)
}

#[cold]
fn make() -> &'static Hub {
    assert!(HUB.get() != ENDED, "this OS thread is ending: its hub is gone, and green threads with it");
    crate::observe::stack_overflow::install();
    crate::observe::panic_hook::install();
    // Later it may be in a panic hook that somebody parks.
    if !std::thread::panicking() {
        crate::green::prepare_panic_count();
    }
    // Now, for while there is no hub nothing parks.
    crate::observe::watchdog::start_by_itself();
    let made = OWNER.try_with(|owner| {
        let hub = &**owner.get_or_init(|| Owner(ManuallyDrop::new(Box::new(Hub::new())))).0;
        // SAFETY: in its box it does not move, and its owner takes it out first of all.
        unsafe { status::list(&raw const hub.pulse) };
        HUB.set(hub);
    });
    if made.is_err() {
        // A destructor of another thread-local came too late for an owner. Then nobody ends this hub.
        HUB.set(Box::leak(Box::new(Hub::new())));
    }
    current()
}

/// Has another hub in the place of this OS thread's, which nobody owns, and which is left as it is.
pub(super) fn replace(hub: &'static Hub) {
    if let Some(before) = try_current() {
        status::take_out(&raw const before.pulse);
    }
    // SAFETY: it is never dropped.
    unsafe { status::list(&raw const hub.pulse) };
    HUB.set(hub);
}

impl Drop for Owner {
    fn drop(&mut self) {
        status::take_out(&raw const self.0.pulse);
        // The process is ending and not just a thread, if this is the main one. The same where `exit` was
        // called on a green thread: we stand on its stack. Then the hub stays, for code that still runs.
        // SAFETY: both calls have no preconditions.
        let is_main = unsafe { libc::getpid() == libc::syscall(libc::SYS_gettid) as i32 };
        if is_main || self.0.current() != GreenId::ROOT {
            return;
        }
        let nobody_left = self.0.close();
        HUB.set(ENDED);
        if nobody_left {
            // SAFETY: once, and nobody finds it any more.
            let hub = unsafe { ManuallyDrop::take(&mut self.0) };
            super::drop_ignoring_panics(hub);
        }
        // Otherwise green threads are alive, and must not be resumed: thread-locals that they may have
        // borrowed have been destroyed before us. They are left where they are, and their stacks with them.
    }
}
