//! Destructors that may panic.
//!
//! Next: `sys/abort.rs`, for code that must not be left by an unwind.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Drops `value`. Its destructor may block. If it panics, the panic hook has reported that, and the panic ends here.
#[inline]
pub fn drop_ignoring_panics<V>(value: V) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        // The payload's destructor may panic as well. The payload of that panic is leaked: its destructor might, too.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(again);
        }
    }
}
