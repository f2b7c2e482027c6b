//! In place of `patch/io` where there is no glibc that is linked dynamically.

pub(super) const COVERAGE: &[&[super::Covered]] = &[];
