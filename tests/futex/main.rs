//! Raw futexes under the patch: results, counts and order of wakeups are the kernel's. Green threads of one hub or of
//! several, and OS threads without a hub, wait for the same words.

#![cfg(all(feature = "patch", target_env = "gnu", not(target_feature = "crt-static")))]

mod call;
mod contention;
mod shared;
#[path = "../support/mod.rs"]
mod support;
mod wait;
mod wake;
