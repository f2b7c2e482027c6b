//! In the place of `patch/io` if the C library is linked statically.
//!
//! Next: `patch/io/mod.rs`, for a C library that is linked dynamically.

pub(super) const COVERAGE: &[&[super::Covered]] = &[];
