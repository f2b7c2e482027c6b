//! In place of `patch/pthread` where there is no glibc that is linked dynamically.

use super::{Covered, Unsupported};

pub(super) const COVERAGE: &[&[Covered]] = &[];

pub(super) fn reach_hub() -> Result<(), Unsupported> {
    support()
}

pub(super) fn support() -> Result<(), Unsupported> {
    Err(Unsupported::new("the C library is not glibc, or is linked statically"))
}
