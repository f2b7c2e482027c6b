//! The implementation of contexts that the hub uses.
//!
//! Next: `context/pool.rs`, where idle contexts are kept.

#[cfg(feature = "asm-switch")]
pub(crate) use super::asm::AsmContext as ActiveContext;
#[cfg(not(feature = "asm-switch"))]
pub(crate) use super::corosensei::CorosenseiContext as ActiveContext;
