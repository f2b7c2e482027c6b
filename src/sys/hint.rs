//! What is likely, said to the compiler: so that what runs at every switch lies in few lines of the cache. After a system
//! call little of it is in the nearest one, and each line that is jumped over costs as much as one that is used.

/// `condition`, and that it is mostly false.
#[inline(always)]
pub(crate) fn unlikely(condition: bool) -> bool {
    if condition {
        cold();
    }
    condition
}

/// The way that leads here is seldom taken. (`std::hint::cold_path` is of Rust 1.95.)
#[cold]
#[inline(always)]
fn cold() {}
