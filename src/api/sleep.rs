//! Letting time pass, and letting others run.

use crate::api::current_hub::current_hub;
use crate::hub::Hub;
use crate::ids::{GreenId, WaitReason, WaitResult};
use crate::time::Time;
use std::time::{Duration, Instant};

/// Lets all that are ready run before this green thread goes on. Timers and IO are not starved by one that
/// does nothing else.
///
/// Unwinds when the green thread is killed or a timeout around it fires. Source: gevent's `sleep(0)`.
#[inline(always)]
pub fn yield_now() {
    let hub = current_hub();
    hub.yield_now();
    if hub.is_interrupted() {
        hub.throw_pending_interrupt();
    }
}

/// Blocks the current green thread (or the root) for `duration`, and no other. Zero is [`yield_now`].
///
/// Those whose time is up together wake in the order in which they went to sleep. Precise to the kernel's
/// timer slack, some 50 microseconds, when the OS thread is otherwise idle. A duration too long to count (584
/// years) is for ever.
///
/// Unwinds when the green thread is killed or a timeout around it fires. Source: gevent's `sleep`.
#[track_caller]
pub fn sleep(duration: Duration) {
    if duration.is_zero() {
        return yield_now();
    }
    let hub = current_hub();
    until(hub, hub.clock().after(duration));
}

/// Blocks the current green thread (or the root) until `deadline`. One that has passed is [`yield_now`].
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
        // An observer, or a panic hook: then it is the OS thread that sleeps.
        return std::thread::sleep(Duration::from_nanos(deadline.saturating_sub(hub.clock().now())));
    }
    // Nobody has the ticket.
    while hub.block(hub.ticket(), deadline, WaitReason::Sleep) != WaitResult::Expired {}
}
