//! Files, by std and by C, patched: what is read, written, locked and copied is the same as by an OS thread that is not
//! patched, and other green threads run meanwhile.

#![cfg(feature = "patch")]
#![allow(clippy::incompatible_msrv)] // newer versions of std make these calls, too

mod copy;
mod lock;
mod open;
mod read_write;
#[path = "../support/mod.rs"]
mod support;

support::subprocess::run_cases_before_main!(lock::hold_lock);
