//! Functions that concern this OS thread's hub as a whole: joining everything, shutting down, its policy, statistics.
//!
//! Next: `hub/shutdown.rs`.

use crate::api::current_hub::current_hub;
use crate::hub::Stats;
use crate::ids::GreenId;
use crate::policy::Policy;
use crate::time::NEVER;
use std::time::Duration;

/// Blocks the root until all green threads of its hub have ended, detached ones included.
///
/// # Panics
/// If a green thread calls it, which would wait for itself. If the green threads can never end: see
/// [deadlock](crate#deadlock).
///
/// Source: gevent's `wait()` without arguments.
#[track_caller]
pub fn join_everything() {
    current_hub().join_everything(NEVER);
}

/// Waits as [`join_everything`] does, for at most `timeout`. Returns whether all green threads have ended.
///
/// # Panics
/// As [`join_everything`].
#[track_caller]
pub fn join_everything_timeout(timeout: Duration) -> bool {
    let hub = current_hub();
    hub.join_everything(hub.clock().after(timeout))
}

/// Kills all green threads of this hub, and waits until they have ended, so that their destructors have run. If a green
/// thread catches every kill for some two thirds of a second, it is abandoned, and an error is logged.
///
/// # Panics
/// If a green thread calls it, which would wait for itself.
#[track_caller]
pub fn shutdown() {
    let hub = current_hub();
    assert!(hub.current() == GreenId::ROOT, "only the root can shut its hub down");
    hub.shut_down();
}

/// Makes `policy` choose which green thread of this OS thread's hub runs next, from now on.
///
/// The hub first calls [`Policy::spawned`] for each green thread that is alive, the root included. Then it calls
/// [`Policy::ready`] for those that are ready, in the order in which the policy before would have run them.
///
/// The policy before is dropped, in the calling green thread.
pub fn install_policy(policy: impl Policy + 'static) {
    current_hub().install(Box::new(policy));
}

/// Returns what this OS thread's hub has done so far.
pub fn stats() -> Stats {
    current_hub().stats()
}
