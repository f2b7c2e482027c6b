//! x86_64, System V calling convention.
//!
//! Next: `arch/x86_64/switch.s`, the stack switch.

pub(crate) mod prefetch;
// `context/asm.rs` uses it, under that feature and in tests.
#[cfg(any(test, feature = "asm-switch"))]
pub(crate) mod switch;
pub(crate) mod syscall;
pub(crate) mod thread_pointer;
