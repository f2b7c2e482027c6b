//! The functions and handles that a program uses; `lib.rs` re-exports them.
//!
//! Next: `api/spawn.rs`.

pub(crate) mod generator;
pub mod io;
pub(crate) mod join;
pub(crate) mod local;
pub(crate) mod policy;
pub(crate) mod scope;
pub(crate) mod sleep;
pub(crate) mod spawn;
pub(crate) mod timeout;
pub mod wait;
