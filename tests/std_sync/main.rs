//! Each lock of `std::sync` does what its documentation says: among green threads of one hub, between two hubs,
//! and between green threads and OS threads without a hub.

#![cfg(feature = "patch")]

mod barrier;
mod condvar;
mod kill;
mod mpsc;
mod mutex;
mod once;
mod placement;
mod poison;
mod rwlock;
#[path = "../support/mod.rs"]
mod support;
