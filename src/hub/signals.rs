//! Signals: who subscribes to which, and a green thread for each that has come. See `signal.rs` for what is promised,
//! and `signal/handler.rs` for who counts.

use super::{Hub, Spawn, job};
use crate::signal::{handler, name};
use libc::c_int;
use std::cell::{Cell, RefCell};
use std::io;
use std::panic::Location;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The subscriptions of one hub.
#[derive(Default)]
pub(super) struct Subscriptions {
    list: RefCell<Vec<Subscriber>>,
    /// Whether there are any: then there is something to look for, and the reactor listens to the bell.
    any: Cell<bool>,
    /// How often any signal had come when it was last looked.
    looked: Cell<u32>,
}

#[derive(Clone)]
pub(super) struct Subscriber {
    number: u64,
    signal: c_int,
    /// How often it had come when it was last looked.
    seen: u32,
    body: Rc<dyn Fn()>,
    at: &'static Location<'static>,
}

impl Subscriber {
    /// How often it has come since this was last asked.
    fn take(&mut self) -> u32 {
        let now = handler::delivered(self.signal);
        now.wrapping_sub(std::mem::replace(&mut self.seen, now))
    }
}

/// Of the whole process, for in the child of a fork there may be subscriptions left that are nobody's.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Hub {
    /// Has `body` run for each signal of the kind. Answers what to end that by.
    ///
    /// Errors: no descriptor is left; no memory in the kernel; the signal is the C library's own.
    pub(crate) fn subscribe(
        &self,
        signal: c_int,
        body: Box<dyn Fn()>,
        at: &'static Location<'static>,
    ) -> io::Result<u64> {
        if !self.signals.any.get() {
            self.reactor().listen(handler::bell()?, true)?;
            self.signals.any.set(true);
        }
        let seen = handler::delivered(signal);
        if let Err(error) = handler::subscribe(signal) {
            self.listen_no_more();
            return Err(error);
        }
        let number = NEXT.fetch_add(1, Relaxed);
        let subscriber = Subscriber { number, signal, seen, body: body.into(), at };
        self.signals.list.borrow_mut().push(subscriber);
        Ok(number)
    }

    /// Ends that subscription, if it is one of ours.
    pub(crate) fn unsubscribe(&self, number: u64) {
        let gone = {
            let mut list = self.signals.list.borrow_mut();
            let at = list.iter().position(|subscriber| subscriber.number == number);
            at.map(|at| list.remove(at))
        };
        if let Some(subscriber) = gone {
            handler::unsubscribe(subscriber.signal);
            self.listen_no_more();
            // What it has captured may do anything when it is dropped, here and without a borrow.
        }
    }

    /// Ends them all, with the hub. Answers what they have captured.
    pub(super) fn end_subscriptions(&self) -> Vec<Subscriber> {
        let all = self.signals.list.take();
        all.iter().for_each(|subscriber| handler::unsubscribe(subscriber.signal));
        self.listen_no_more();
        all
    }

    /// Leaves the bell alone when nobody subscribes.
    fn listen_no_more(&self) {
        if self.signals.any.get() && self.signals.list.borrow().is_empty() {
            self.signals.any.set(false);
            if let Ok(bell) = handler::bell() {
                let _ = self.reactor().listen(bell, false); // at worst it wakes us for nothing
            }
        }
    }

    /// Makes a green thread for each signal that has come. Answers whether to look who is ready now. For the loop.
    #[inline]
    pub(super) fn take_signals(&self) -> bool {
        self.signals.any.get() && self.signals.looked.get() != handler::any() && self.spawn_for_signals()
    }

    #[cold]
    #[inline(never)]
    fn spawn_for_signals(&self) -> bool {
        self.load_os_thread_tcb();
        // Before the counts of each: what comes in between is seen now, and looked for in vain the next time.
        self.signals.looked.set(handler::any());
        let mut list = self.signals.list.borrow_mut();
        let due: Vec<_> = list.iter_mut().map(|subscriber| (subscriber.take(), subscriber.clone())).collect();
        drop(list);
        for (times, Subscriber { signal, body, at, .. }) in due {
            for _ in 0..times {
                let (body, name) = (body.clone(), Some(name(signal).into()));
                self.spawn(Spawn { name, spawned_at: at, ..Spawn::internal() }, job(move || body()));
            }
        }
        true
    }
}
