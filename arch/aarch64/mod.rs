//! aarch64, AAPCS64 calling convention.
pub(crate) mod prefetch;
// The one user is `context::own`, which is there for that feature and for tests.
#[cfg(any(test, feature = "own-switch"))]
pub(crate) mod switch;
pub(crate) mod syscall;
#[cfg(all(feature = "patch", target_env = "gnu", not(target_feature = "crt-static")))]
pub(crate) mod thread_pointer;
