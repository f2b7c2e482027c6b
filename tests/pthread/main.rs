//! C's threads and locks under the patch. Each green thread is a thread of its own to them, OS threads use the same
//! objects beside green threads, and what one thread alone can observe is the same as with the unpatched C library.

#![cfg(all(feature = "patch", target_env = "gnu", not(target_feature = "crt-static")))]

mod barrier;
mod c;
mod cond;
mod create_join;
mod fork;
mod identity;
mod key;
mod mutex;
mod once;
mod rwlock;
mod semaphore;
mod spin;
#[path = "../support/mod.rs"]
mod support;
