//! The observer: a function of the program that is called for every event of a hub.
//!
//! Next: `hub/deferred_log.rs`.

use super::fields::Hub;
use super::trace_event::Event;
use crate::green::catch_body;
use crate::ids::GreenId;

impl Hub {
    /// Replaces the observer.
    pub(crate) fn observe(&self, observer: Option<Box<dyn FnMut(Event)>>) {
        self.observed.set(observer.is_some());
        self.state.borrow_mut().unreported_wakes = observer.is_some().then(Vec::new);
        let old = self.observer.replace(observer);
        drop(old);
    }

    /// Calls the observer, if there is one.
    #[inline]
    pub(super) fn emit(&self, event: Event) {
        if self.observed.get() {
            self.notify_observer(event);
        }
    }

    /// Calls the observer: first for the green threads that became ready since its last call, then for `event`. Meanwhile
    /// blocking calls are refused and interposed calls are the plain system calls. An observer that panics is not called
    /// again.
    #[cold]
    #[inline(never)]
    fn notify_observer(&self, event: Event) {
        let woken = self.state.borrow_mut().unreported_wakes.as_mut().map(std::mem::take).unwrap_or_default();
        let Some(mut observer) = self.observer.take() else { return };
        let mut result = Ok(());
        self.with_blocking_disabled(|| {
            self.with_os_thread_tcb(|| {
                let events = woken.into_iter().map(Event::Ready).chain([event]);
                result = catch_body(|| events.for_each(&mut observer));
            });
        });
        match result {
            // The observer may have installed another one, or none.
            Ok(()) if self.observed.get() && self.observer.borrow().is_none() => {
                self.observer.replace(Some(observer));
            }
            Ok(()) => {}
            Err(_) => {
                self.observed.set(false);
                self.defer_log(log::Level::Error, "the observer panicked and is not called again".into());
                // Its state is unknown after the panic, so its destructor must not run.
                std::mem::forget(observer);
            }
        }
    }

    /// Reports that `id` is about to run. The observer may kill it, so its interrupt flag is read again.
    #[cold]
    #[inline(never)]
    pub(super) fn notify_run(&self, id: GreenId) {
        self.notify_observer(Event::Run(id));
        self.interrupted.set(self.state.borrow_mut().record_mut(id).interrupted);
    }
}
