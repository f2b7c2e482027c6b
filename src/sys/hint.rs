//! Branch hints for the compiler. They keep the code of a switch in few cache lines: after a system call little of it is in
//! the nearest cache, and a line that is jumped over costs as much as a line that is used.
//!
//! Next: `sys/page.rs`.

/// Returns `condition`, which is mostly false.
#[inline(always)]
pub(crate) fn unlikely(condition: bool) -> bool {
    if condition {
        cold();
    }
    condition
}

/// A path that calls this is seldom taken. (`std::hint::cold_path` is of Rust 1.95.)
#[cold]
#[inline(always)]
fn cold() {}
