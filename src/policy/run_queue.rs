//! The run queue of a hub: the policy in use, called with as little overhead as its kind allows.
//!
//! [`Fifo`] is called directly. A custom policy is called through a pointer, and every call of it aborts the process if
//! it panics. The hub counts what is ready, so that a custom policy is polled at the same rate as [`Fifo`].
//!
//! Next: `green/mod.rs`, the record of a green thread.

use super::fifo::Fifo;
use super::traits::{Attributes, Policy, ReadyReason, StopReason};
use crate::ids::GreenId;
use crate::sys::abort::AbortOnUnwind;
use crate::time::{Clock, Time};
use std::rc::Rc;
use std::time::Duration;

/// The ready green threads of one hub.
pub(crate) enum RunQueue {
    Fifo(Fifo),
    Custom(Box<Custom>),
}

/// A policy of the program's. Its methods are not inlined: the loop would keep fewer values in registers, also with [`Fifo`].
pub(crate) struct Custom {
    policy: Box<dyn Policy>,
    /// Number of ready green threads: calls of `ready` less picks.
    len: usize,
    /// The clock, if the policy wants the time.
    clock: Option<Rc<dyn Clock>>,
    /// The green thread that was picked last, and when, until its stop is accounted for.
    running: Option<(GreenId, Time)>,
}

impl Custom {
    pub(crate) fn new(policy: Box<dyn Policy>, clock: &Rc<dyn Clock>) -> Custom {
        let clock = policy.wants_time().then(|| clock.clone());
        Custom { policy, len: 0, clock, running: None }
    }

    /// Calls the policy. A panic aborts: a ready green thread that the policy has lost would never run again.
    fn call<R>(&mut self, f: impl FnOnce(&mut dyn Policy) -> R) -> R {
        let guard = AbortOnUnwind("a policy panicked");
        let result = f(&mut *self.policy);
        guard.disarm();
        result
    }

    #[inline(never)]
    fn ready(&mut self, green: GreenId, why: ReadyReason) {
        if why == ReadyReason::Yielded {
            self.stopped(green, StopReason::Yielded);
        }
        self.len += 1;
        self.call(|policy| policy.ready(green, why));
    }

    #[inline(never)]
    fn pick(&mut self) -> Option<GreenId> {
        let picked = self.call(|policy| policy.pick())?;
        self.len = self.len.saturating_sub(1);
        self.running(picked);
        Some(picked)
    }

    /// Notes that `green` runs from now on.
    pub(crate) fn running(&mut self, green: GreenId) {
        self.running = Some((green, self.now()));
    }

    pub(crate) fn spawned(&mut self, green: GreenId, attributes: &Attributes) {
        self.call(|policy| policy.spawned(green, attributes));
    }

    fn stopped(&mut self, green: GreenId, why: StopReason) {
        let Some((_, since)) = self.running.take_if(|(running, _)| *running == green) else { return };
        let elapsed = Duration::from_nanos(self.now().saturating_sub(since));
        self.call(|policy| {
            policy.ran(green, elapsed, why);
            if why == StopReason::Finished {
                policy.gone(green);
            }
        });
    }

    fn now(&self) -> Time {
        self.clock.as_ref().map_or(0, |clock| clock.now())
    }
}

impl RunQueue {
    #[inline]
    pub(crate) fn ready(&mut self, green: GreenId, why: ReadyReason) {
        match self {
            RunQueue::Fifo(fifo) => fifo.ready(green, why),
            RunQueue::Custom(custom) => custom.ready(green, why),
        }
    }

    #[inline]
    pub(crate) fn pick(&mut self) -> Option<GreenId> {
        match self {
            RunQueue::Fifo(fifo) => fifo.pick(),
            RunQueue::Custom(custom) => custom.pick(),
        }
    }

    /// Notes a new green thread. Its attributes are the default if it has none.
    #[inline]
    pub(crate) fn spawned(&mut self, green: GreenId, attributes: Option<&Attributes>) {
        if let RunQueue::Custom(custom) = self {
            custom.spawned(green, attributes.unwrap_or(&Attributes::default()));
        }
    }

    /// Accounts for `green`, which has left its stack, unless a `ready` has done so already.
    #[cold]
    pub(crate) fn stopped(&mut self, green: GreenId, why: StopReason) {
        if let RunQueue::Custom(custom) = self {
            custom.stopped(green, why);
        }
    }

    /// Returns whether code of the program chooses.
    #[inline]
    pub(crate) fn is_custom(&self) -> bool {
        matches!(self, RunQueue::Custom(_))
    }

    /// Returns the number of ready green threads.
    pub(crate) fn len(&self) -> usize {
        match self {
            RunQueue::Fifo(fifo) => fifo.len(),
            RunQueue::Custom(custom) => custom.len,
        }
    }

    /// Returns the green threads that run after so many more picks, where [`Fifo`] chooses and a prefetch is worth its
    /// cost. If `cold`, the stacks of all of them are likely to be far away.
    #[inline]
    pub(crate) fn peek<const N: usize>(&self, ahead: [usize; N], cold: bool) -> [Option<GreenId>; N] {
        match self {
            RunQueue::Fifo(fifo) => fifo.peek_cold(ahead, cold),
            RunQueue::Custom(_) => [None; N],
        }
    }

    /// Returns the green thread that a custom policy picks after `ahead` more picks, if the policy knows it.
    pub(crate) fn peek_custom(&self, ahead: usize) -> Option<GreenId> {
        match self {
            RunQueue::Fifo(_) => None,
            RunQueue::Custom(custom) => custom.policy.peek(ahead),
        }
    }

    /// Installs `new`, and gives it the ready green threads in the old policy's order. Returns the old policy, whose
    /// destructor may be any code.
    pub(crate) fn replace(&mut self, mut new: Custom) -> RunQueue {
        while let Some(green) = self.pick() {
            new.ready(green, ReadyReason::Yielded);
        }
        std::mem::replace(self, RunQueue::Custom(Box::new(new)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::time::Instant;

    /// A clock that the test advances.
    #[derive(Default)]
    struct ManualClock(Cell<Time>);

    impl Clock for ManualClock {
        fn now(&self) -> Time {
            self.0.get()
        }
        fn at(&self, _: Instant) -> Time {
            unreachable!("a run queue has no deadlines")
        }
    }

    type Stops = Rc<RefCell<Vec<(u64, StopReason)>>>;

    struct Account(Fifo, Stops);

    impl Policy for Account {
        fn ready(&mut self, green: GreenId, why: ReadyReason) {
            self.0.ready(green, why);
        }
        fn pick(&mut self) -> Option<GreenId> {
            self.0.pick()
        }
        fn ran(&mut self, _: GreenId, elapsed: Duration, why: StopReason) {
            self.1.borrow_mut().push((elapsed.as_nanos() as u64, why));
        }
        fn wants_time(&self) -> bool {
            true
        }
    }

    #[test]
    fn custom_policy_gets_elapsed_time_of_the_hubs_clock_once_per_run() {
        let (clock, stops) = (Rc::new(ManualClock::default()), Stops::default());
        let shared: Rc<dyn Clock> = clock.clone();
        let mut queue = RunQueue::Fifo(Fifo::default());
        let green = GreenId::new(1, 1);
        queue.ready(green, ReadyReason::New);
        queue.replace(Custom::new(Box::new(Account(Fifo::default(), stops.clone())), &shared));
        for (nanos, why) in [(5, StopReason::Yielded), (7, StopReason::Parked), (9, StopReason::Finished)] {
            assert_eq!((queue.len(), queue.pick(), queue.len()), (1, Some(green), 0));
            clock.0.set(clock.0.get() + nanos);
            match why {
                StopReason::Yielded => queue.ready(green, ReadyReason::Yielded),
                StopReason::Parked => {
                    queue.stopped(green, why);
                    queue.ready(green, ReadyReason::Woken);
                }
                _ => queue.stopped(green, why),
            }
            queue.stopped(green, StopReason::Parked);
        }
        assert_eq!(
            *stops.borrow(),
            [(5, StopReason::Yielded), (7, StopReason::Parked), (9, StopReason::Finished)]
        );
    }
}
