//! x86_64, System V calling convention.
pub(crate) mod prefetch;
// The one user is `context::own`, which is there for that feature and for tests.
#[cfg(any(test, feature = "asm-switch"))]
pub(crate) mod switch;
pub(crate) mod syscall;
#[cfg_attr(not(feature = "patch"), allow(dead_code))] // but for `get`
pub(crate) mod thread_pointer;
