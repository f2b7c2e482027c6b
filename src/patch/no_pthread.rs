//! In the place of `patch/pthread` if the C library is linked statically.
//!
//! Next: `patch/pthread/mod.rs`, for a C library that is linked dynamically.

pub(super) const COVERAGE: &[&[super::Covered]] = &[];

pub(super) fn reach_hub() -> Result<(), String> {
    support()
}

pub(super) fn support() -> Result<(), String> {
    Err("the C library is not glibc, or is linked statically".into())
}
