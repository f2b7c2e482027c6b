//! Contexts: stacks that can be resumed and suspended.
//!
//! The contract ([`Context`]) has two implementations. [`corosensei`] uses the crate of that name. [`asm`] uses the switch
//! in `arch/`, and is the one to read. The feature `asm-switch` chooses which of them the hub uses
//! ([`ActiveContext`]). The same tests run against both. A context runs *bodies*, one after the other. A body that
//! returns leaves the context idle on its warm stack, ready for the next one.
//!
//! ```text
//!   resumer's stack                       context's stack
//!   resume() ---------------------------> run_bodies(): take the body, call it
//!                                           body ... suspend() --+
//!   resume() returns <-----------------------------------------+
//!   resume() ---------------------------->  suspend() returns, the body goes on, returns
//!   resume() returns, is_idle() <-------- run_bodies(): idle, suspend, wait for the next body
//! ```
//!
//! `hub` decides which context runs next. `stack` provides the memory.
//!
//! Next: `context/contract.rs`, the contract.

mod active;
// One of the two is used, and the tests use both.
#[cfg(any(test, feature = "asm-switch"))]
mod asm;
mod contract;
#[cfg(any(test, not(feature = "asm-switch")))]
mod corosensei;
mod pool;
#[cfg(test)]
mod tests;

pub(crate) use active::ActiveContext;
pub(crate) use contract::{Body, Context};
pub(crate) use pool::ContextPool;
