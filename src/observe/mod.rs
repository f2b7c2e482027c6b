//! Reports on hubs: panics, stack overflows, hubs that do not switch.
//!
//! Next: `observe/panic_hook.rs`.

pub(crate) mod panic_hook;
pub(crate) mod stack_overflow;
pub mod watchdog;
