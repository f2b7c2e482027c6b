//! The handlers of a server, and the loop that accepts and spawns them.
//!
//! Next: `patch/mod.rs`, how unmodified code yields.

use crate::api::join::JoinHandle;
use crate::api::sleep::{sleep, yield_now};
use crate::api::spawn::Builder;
use crate::api::wait;
use slab::Slab;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Shortest and longest pause after an error of accepting. gevent's `min_delay` and `max_delay`.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Number of connections accepted in a row before the others run. gevent's `max_accept`.
const ACCEPTS_BEFORE_YIELD: u32 = 100;

/// A call of a handler.
pub(super) type Work = Box<dyn FnOnce()>;

/// The handlers of one server.
#[derive(Clone, Default)]
pub(super) struct Handlers(Rc<RefCell<HandlerTable>>);

#[derive(Default)]
struct HandlerTable {
    handlers: Slab<JoinHandle<()>>,
    /// Tickets of those that wait for handlers to finish.
    waiting: Vec<wait::Ticket>,
}

/// Removes a handler from the table when dropped, whether it has run or was killed before.
struct RemoveOnDrop(Handlers, usize);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        let mut table = self.0.0.borrow_mut();
        let gone = table.handlers.try_remove(self.1);
        let waiting = std::mem::take(&mut table.waiting);
        drop(table);
        drop(gone);
        for ticket in waiting {
            ticket.wake();
        }
    }
}

impl Handlers {
    pub(super) fn len(&self) -> usize {
        self.0.borrow().handlers.len()
    }

    /// Calls `next` for ever, and spawns what it returns, at most `limit` at a time.
    ///
    /// Errors: those of `next` that do not pass.
    pub(super) fn serve(&self, limit: usize, mut next: impl FnMut() -> io::Result<Work>) -> io::Result<()> {
        let (mut pause, mut accepted) = (PAUSES.0, 0u32);
        loop {
            self.wait_until(|running| running < limit, None);
            match next().and_then(|work| self.spawn(work)) {
                Ok(()) => {
                    pause = PAUSES.0;
                    accepted = accepted.wrapping_add(1);
                    if accepted % ACCEPTS_BEFORE_YIELD == 0 {
                        yield_now();
                    }
                }
                Err(error) if is_transient(&error) => {
                    log::warn!("a server cannot accept now, and tries again in {pause:?}: {error}");
                    sleep(pause);
                    pause = (pause * 2).min(PAUSES.1);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// As `serve`. If it unwinds, kills the handlers.
    pub(super) fn serve_here(self, limit: usize, next: impl FnMut() -> io::Result<Work>) -> io::Result<()> {
        struct KillOnUnwind(Handlers);
        impl Drop for KillOnUnwind {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.kill();
                }
            }
        }
        let handlers = KillOnUnwind(self);
        handlers.0.serve(limit, next)
    }

    /// Errors: there is no memory for any stack.
    fn spawn(&self, work: Work) -> io::Result<()> {
        let remove = RemoveOnDrop(self.clone(), self.0.borrow().handlers.vacant_key());
        let handler = Builder::new().spawn(move || {
            let _remove = remove;
            work();
        })?;
        // No other green thread has run, so the key is still vacant.
        self.0.borrow_mut().handlers.insert(handler);
        Ok(())
    }

    /// Waits until `is_so` holds of the number of handlers. Returns `false` if the deadline has passed before.
    fn wait_until(&self, is_so: impl Fn(usize) -> bool, deadline: Option<Instant>) -> bool {
        while !is_so(self.len()) {
            let ticket = wait::ticket();
            self.0.borrow_mut().waiting.push(ticket);
            if wait::park(ticket, deadline, "handlers of a server to end") == wait::WaitResult::Expired {
                return is_so(self.len());
            }
        }
        true
    }

    /// Waits for all handlers until `deadline`. Then kills those that are left, and waits until they have finished.
    pub(super) fn end(&self, deadline: Option<Instant>) {
        if !self.wait_until(|running| running == 0, deadline) {
            self.kill();
        }
    }

    fn kill(&self) {
        for (_, handler) in &self.0.borrow().handlers {
            handler.kill();
        }
        self.wait_until(|running| running == 0, None);
    }
}

/// Returns whether accepting may succeed later, after this error.
fn is_transient(error: &io::Error) -> bool {
    const TRANSIENT: [i32; 13] = [
        // A resource of this host is exhausted.
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENOMEM,
        // One connection has failed (accept(2)).
        libc::ECONNABORTED,
        libc::ECONNREFUSED,
        libc::ECONNRESET,
        libc::EPROTO,
        libc::EPERM,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
    ];
    error.kind() == io::ErrorKind::OutOfMemory
        || error.raw_os_error().is_some_and(|code| TRANSIENT.contains(&code))
}
