//! The composition root: makes this OS thread's hub when the program first needs it, and installs what reports on hubs.
//!
//! The hub's own code uses `hub/current.rs` and does not know the reports. Only the functions that a program calls come
//! through here.
//!
//! Next: `hub/current.rs`.

use crate::hub::{self, Hub};
use crate::observe::{panic_hook, stack_overflow, watchdog};

/// Returns this OS thread's hub. Makes it if there is none yet.
///
/// # Panics
/// When the OS thread is ending and its hub is gone.
#[inline(always)]
pub(crate) fn current_hub() -> &'static Hub {
    match hub::try_current() {
        Some(hub) => hub,
        None => make(),
    }
}

/// Returns this OS thread's hub. Makes it if there is none yet. `None`: the OS thread is ending and its hub is gone.
pub(crate) fn current_or_init() -> Option<&'static Hub> {
    (!hub::has_ended()).then(current_hub)
}

#[cold]
fn make() -> &'static Hub {
    assert!(!hub::has_ended(), "this OS thread is ending: its hub is gone, and green threads with it");
    stack_overflow::install();
    panic_hook::install();
    // The watchdog starts before there is a hub: while there is none, nothing parks.
    watchdog::start_by_itself();
    hub::make()
}
