//! Sleeping and yielding.
//!
//! Next: `api/io.rs`, waiting for descriptors.

use crate::api::current_hub::current_hub;
use crate::hub::Hub;
use crate::ids::{GreenId, WaitReason, WaitResult};
use crate::time::Time;
use std::time::{Duration, Instant};

/// Lets all ready green threads run before the caller goes on. A green thread that only yields does not starve timers and
/// descriptors.
///
/// Unwinds if the green thread is killed or a timeout around it fires. Source: gevent's `sleep(0)`.
#[inline(always)]
pub fn yield_now() {
    let hub = current_hub();
    hub.yield_now();
    if hub.is_interrupted() {
        hub.throw_pending_interrupt();
    }
}

/// Blocks only the caller (a green thread or the root) for `duration`. If `duration` is zero, calls [`yield_now`].
///
/// Green threads with the same deadline wake in the order in which they went to sleep. If the OS thread is otherwise idle, the
/// precision is the kernel's timer slack, some 50 microseconds. A duration beyond 584 years is for ever.
///
/// Unwinds if the green thread is killed or a timeout around it fires. Source: gevent's `sleep`.
#[track_caller]
pub fn sleep(duration: Duration) {
    if duration.is_zero() {
        return yield_now();
    }
    let hub = current_hub();
    until(hub, hub.clock().after(duration));
}

/// Blocks the caller (a green thread or the root) until `deadline`. If `deadline` has passed, calls [`yield_now`].
#[track_caller]
pub fn sleep_until(deadline: Instant) {
    let hub = current_hub();
    let time = hub.clock().at(deadline);
    if time <= hub.clock().now() {
        return yield_now();
    }
    until(hub, time);
}

#[track_caller]
fn until(hub: &Hub, deadline: Time) {
    if hub.current() == GreenId::HUB {
        // An observer or a panic hook calls. So the OS thread sleeps.
        return std::thread::sleep(Duration::from_nanos(deadline.saturating_sub(hub.clock().now())));
    }
    // No other code has the ticket.
    while hub.block(hub.ticket(), deadline, WaitReason::Sleep) != WaitResult::Expired {}
}
