//! A green thread for each delivery of a signal that is subscribed to. `signal/mod.rs` says what is promised;
//! `sys/signal_handler.rs` counts the deliveries.
//!
//! Next: `hub/green_sigmask.rs`, the signals that a green thread blocks.

use super::entry::entry_closure;
use super::fields::Hub;
use super::lifecycle::Spawn;
use super::subscriptions::Subscriber;
use crate::fd_table;
use crate::sys::constant_name::signal_name;
use crate::sys::signal_handler;
use libc::c_int;
use std::io;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Number of the next subscription. Counted for the whole process, because a forked child may hold subscriptions of its
/// parent, which are no hub's any more.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Hub {
    /// Runs `body` in a green thread for each delivery of `signal`. Returns the number to end the subscription by.
    ///
    /// Errors: no descriptor is left; the kernel has no memory; the signal is one of the C library's own.
    pub(crate) fn subscribe(
        &self,
        signal: c_int,
        body: Box<dyn Fn()>,
        subscribed_at: &'static Location<'static>,
    ) -> io::Result<u64> {
        if !self.signals.any.get() {
            let eventfd = signal_handler::eventfd()?;
            // The number may have been another descriptor's, whose close was not seen.
            fd_table::invalidate(eventfd);
            self.reactor.listen(eventfd)?;
            self.signals.any.set(true);
        }
        let seen = signal_handler::count(signal);
        if let Err(error) = signal_handler::subscribe(signal) {
            self.stop_listening_if_unused();
            return Err(error);
        }
        let number = NEXT.fetch_add(1, Relaxed);
        let subscriber = Subscriber { number, signal, seen, body: body.into(), subscribed_at };
        self.signals.list.borrow_mut().push(subscriber);
        Ok(number)
    }

    /// Ends the subscription, if it is one of this hub's.
    pub(crate) fn unsubscribe(&self, number: u64) {
        let gone = {
            let mut list = self.signals.list.borrow_mut();
            let at = list.iter().position(|subscriber| subscriber.number == number);
            at.map(|at| list.remove(at))
        };
        if let Some(subscriber) = gone {
            signal_handler::unsubscribe(subscriber.signal);
            self.stop_listening_if_unused();
            // The body is dropped here, without a borrow, because its destructor is the program's code.
        }
    }

    /// Ends all subscriptions, when the hub ends. Returns them, because the destructors of the bodies are the program's
    /// code.
    pub(super) fn end_subscriptions(&self) -> Vec<Subscriber> {
        let all = self.signals.list.take();
        all.iter().for_each(|subscriber| signal_handler::unsubscribe(subscriber.signal));
        self.stop_listening_if_unused();
        all
    }

    fn stop_listening_if_unused(&self) {
        if self.signals.any.get() && self.signals.list.borrow().is_empty() {
            self.signals.any.set(false);
            if let Ok(eventfd) = signal_handler::eventfd() {
                self.reactor.unlisten(eventfd);
            }
        }
    }

    /// Spawns a green thread for each delivery since the last call. Returns whether the loop is to look for ready green
    /// threads.
    #[inline]
    pub(super) fn spawn_signal_handlers(&self) -> bool {
        self.signals.any.get()
            && self.signals.seen_total.get() != signal_handler::total_count()
            && self.spawn_new_handlers()
    }

    #[cold]
    #[inline(never)]
    fn spawn_new_handlers(&self) -> bool {
        self.load_os_thread_tcb();
        // The total is read before the counts of each signal. A delivery in between is served now, and the next look at the
        // counts finds nothing new.
        self.signals.seen_total.set(signal_handler::total_count());
        let mut list = self.signals.list.borrow_mut();
        let due: Vec<_> =
            list.iter_mut().map(|subscriber| (subscriber.take_new(), subscriber.clone())).collect();
        drop(list);
        for (times, Subscriber { signal, body, subscribed_at, .. }) in due {
            for _ in 0..times {
                let (body, name) = (body.clone(), Some(signal_name(signal).into()));
                let spawn = Spawn { name, spawned_at: subscribed_at, ..Spawn::internal() };
                self.spawn(spawn, entry_closure(move || body()));
            }
        }
        true
    }
}
