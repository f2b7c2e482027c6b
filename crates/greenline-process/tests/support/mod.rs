//! Helpers of these tests, beside those in `tests/support` of the workspace.

#![allow(dead_code, unused_imports, unused_macros)] // each test program uses a part

pub(crate) mod kill_stress;
pub(crate) mod trials;

#[path = "../../../../tests/support/hang_guard.rs"]
pub(crate) mod hang_guard;
#[path = "../../../../tests/support/limits.rs"]
pub(crate) mod limits;
#[path = "../../../../tests/support/proc_fs.rs"]
pub(crate) mod proc_fs;
#[path = "../../../../tests/support/random.rs"]
pub(crate) mod random;
#[path = "../../../../tests/support/sockets.rs"]
pub(crate) mod sockets;
#[path = "../../../../tests/support/subprocess.rs"]
pub(crate) mod subprocess;
#[path = "../../../../tests/support/threads.rs"]
pub(crate) mod threads;
#[path = "../../../../tests/support/time.rs"]
pub(crate) mod time;
