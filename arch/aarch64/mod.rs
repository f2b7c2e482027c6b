//! aarch64, AAPCS64 calling convention.
//!
//! Next: `arch/aarch64/switch.s`, the stack switch.

pub(crate) mod prefetch;
// `context/asm.rs` uses it, under that feature and in tests.
#[cfg(any(test, feature = "asm-switch"))]
pub(crate) mod switch;
pub(crate) mod syscall;
pub(crate) mod thread_pointer;
