//! The one loop of all input and output: try, park, try again. And polling with exponential backoff, for what the
//! kernel does not announce.
//!
//! Next: `hub/wait_fd.rs`, where a green thread parks for a descriptor.

use super::fields::Hub;
use super::futex::{self, FutexWaitResult, Waiter};
use super::interpose::keep_errno;
use crate::green::Interruptible;
use crate::ids::{Direction, ParkResult, WaitReason};
use crate::reactor::FdState;
use crate::sys::hint::unlikely;
use crate::sys::poll_now::poll_now;
use crate::time::Time;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

/// A raw answer of the kernel: not ready.
pub(crate) const EAGAIN: isize = -(libc::EAGAIN as isize);
const EINTR: isize = -(libc::EINTR as isize);

/// The effect of a kill or a timeout on a green thread that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnInterrupt {
    /// It unwinds: in calls of this crate.
    Unwind,
    /// The call ends with EINTR, once: in interposed calls, above which are frames of std or of C.
    Eintr,
}

/// Whether `fd_table` has seen everything that happened to a descriptor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracking {
    Complete,
    /// The number may have been closed and reused unseen, as by C's `fclose`.
    MayBeStale,
}

/// How [`Hub::retry`] waits.
pub(crate) struct RetryOpts<'a, L> {
    /// Returns when to give up; `None`: the program has made the descriptor non-blocking, so the call does not wait.
    /// Called at most once, when the call would have to wait.
    pub(crate) deadline: L,
    pub(crate) on_interrupt: OnInterrupt,
    pub(crate) tracking: Tracking,
    /// State of a descriptor that is known to be drained. Then the call waits before its first attempt.
    pub(crate) drained: Option<&'a FdState>,
}

/// How [`Hub::poll_with_backoff`] waits.
pub(crate) struct BackoffOpts {
    pub(crate) deadline: Time,
    pub(crate) on_interrupt: OnInterrupt,
    /// Name of what the green thread waits for, for reports.
    pub(crate) what: &'static str,
    /// A futex word that is changed and woken when the next attempt may succeed.
    pub(crate) changed: Option<&'static AtomicU32>,
}

/// Pauses of `poll_with_backoff`: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

impl Hub {
    /// Calls `attempt`, which must not block, until it returns something else than EAGAIN, and parks in between until
    /// the next edge of `fd`. Returns the last answer. It is EAGAIN if the deadline has passed, or if the call does
    /// not wait.
    ///
    /// Errors: the wait failed: `fd` was closed meanwhile (EBADF), there was an interrupt (EINTR), or the reactor
    /// cannot register `fd`.
    #[inline]
    pub(crate) fn retry<L: Fn() -> Option<Time>>(
        &self,
        fd: RawFd,
        direction: Direction,
        opts: RetryOpts<'_, L>,
        mut attempt: impl FnMut() -> isize,
    ) -> io::Result<isize> {
        let mut until = None;
        let mut in_time = true;
        if let Some(state) = opts.drained {
            until = (opts.deadline)();
            if let Some(until) = until {
                let wait = |interruptible| self.wait_state(state, fd, direction, until, interruptible);
                in_time = self.wait_with(opts.on_interrupt, wait)?;
            }
        }
        loop {
            let switches = self.status.switches();
            match attempt() {
                // After the deadline there is one more attempt: an edge may have come that was not collected yet.
                EAGAIN if in_time => {}
                EINTR if opts.on_interrupt == OnInterrupt::Unwind => continue,
                answer => return Ok(answer),
            }
            if until.is_none() {
                if opts.tracking == Tracking::MayBeStale {
                    // Once only, since it makes an edge of what is ready already, as urgent data is.
                    self.revalidate_fd(fd);
                }
                until = (opts.deadline)();
            }
            let Some(until) = until else {
                self.yield_if_polling();
                return Ok(EAGAIN);
            };
            if direction == Direction::Read && self.is_shut_down(fd) {
                return Ok(0);
            }
            in_time = self.wait_next_edge(fd, direction, switches, until, opts.on_interrupt)?;
        }
    }

    /// Returns whether `fd` is shut down for reading, though the kernel has answered EAGAIN: it does so for datagrams and
    /// SEQPACKET sockets if the call may not wait, and returns 0 otherwise. The reactor has seen the end before it is asked.
    #[inline]
    pub(crate) fn is_shut_down(&self, fd: RawFd) -> bool {
        let has_ended = self.reactor.state(fd).is_some_and(|state| state.has_ended(Direction::Read));
        unlikely(has_ended) && poll_now(fd, libc::POLLRDHUP) & libc::POLLRDHUP != 0
    }

    /// Parks until the next edge of `fd`, which the kernel has just said is not ready. Returns `false` if the deadline
    /// has passed. `switches` is the hub's switch count before the kernel was asked.
    ///
    /// Errors: as for `retry`.
    #[inline(never)]
    pub(crate) fn wait_next_edge(
        &self,
        fd: RawFd,
        direction: Direction,
        switches: u64,
        deadline: Time,
        on_interrupt: OnInterrupt,
    ) -> io::Result<bool> {
        if let Some(state) = self.reactor.state(fd) {
            state.mark_not_ready(direction);
        }
        if unlikely(self.status.switches() != switches) {
            // The handler of a signal has parked since. The hub may have collected an edge, which is no longer marked.
            return Ok(true);
        }
        self.wait_with(on_interrupt, |interruptible| self.wait_fd(fd, direction, deadline, interruptible))
    }

    /// Calls `wait`, which parks for a descriptor. Returns `false` if the deadline has passed.
    ///
    /// Errors: as for `retry`.
    #[inline]
    fn wait_with(
        &self,
        on_interrupt: OnInterrupt,
        wait: impl FnOnce(Interruptible) -> io::Result<ParkResult>,
    ) -> io::Result<bool> {
        let wait = || wait(self.interruptible(on_interrupt));
        match if on_interrupt == OnInterrupt::Eintr { keep_errno(wait) } else { wait() }? {
            ParkResult::Notified => Ok(true),
            ParkResult::Expired => Ok(false),
            ParkResult::Interrupted => self.end_interrupted(on_interrupt).map(|()| true),
            ParkResult::Deadlocked => unreachable!("a descriptor may always become ready"),
        }
    }

    /// Calls `attempt`, which must not block, until it returns something else than EAGAIN, or until the deadline, and
    /// parks in between, longer each time. Returns the last answer.
    ///
    /// Errors: there was an interrupt (EINTR).
    pub(crate) fn poll_with_backoff(
        &'static self,
        opts: &BackoffOpts,
        mut attempt: impl FnMut() -> isize,
    ) -> io::Result<isize> {
        let &BackoffOpts { deadline, on_interrupt, what, changed } = opts;
        let mut pause = FIRST_PAUSE;
        loop {
            let seen = changed.map(|word| word.load(SeqCst));
            match attempt() {
                EAGAIN if self.clock.now() < deadline => {}
                EINTR if on_interrupt == OnInterrupt::Unwind => continue,
                answer => return Ok(answer),
            }
            let until = deadline.min(self.clock.after(pause));
            pause = (pause * 2).min(LONGEST_PAUSE);
            let interruptible = self.interruptible(on_interrupt);
            let is_interrupted = keep_errno(|| match changed {
                Some(word) => {
                    let waiter = Waiter::Green { hub: self, deadline: until, interruptible };
                    let is_unchanged = || Some(word.load(SeqCst)) == seen;
                    futex::wait(waiter, word.as_ptr() as usize, u32::MAX, is_unchanged)
                        == FutexWaitResult::Interrupted
                }
                None => {
                    let ticket = self.ticket();
                    // After a signal the next attempt may succeed: SIGCHLD tells that a child has ended.
                    self.reactor.add_signal_waiter(ticket);
                    let result = self.park(ticket, until, WaitReason::For(what), interruptible);
                    self.reactor.remove_signal_waiter(ticket);
                    result == ParkResult::Interrupted
                }
            });
            if is_interrupted {
                self.end_interrupted(on_interrupt)?;
            }
        }
    }

    /// Returns whether an interrupt may end a park: it may not if an interposed call has already returned early for it.
    #[inline]
    pub(crate) fn interruptible(&self, on_interrupt: OnInterrupt) -> Interruptible {
        let is_consumed = || self.state.borrow_mut().record_mut(self.current()).interrupt_consumed;
        match on_interrupt == OnInterrupt::Eintr && self.is_interrupted() && is_consumed() {
            true => Interruptible::No,
            false => Interruptible::Yes,
        }
    }

    /// Ends a wait for a pending interrupt: throws it, or returns EINTR after the others have run.
    #[cold]
    pub(crate) fn end_interrupted(&self, on_interrupt: OnInterrupt) -> io::Result<()> {
        match on_interrupt {
            OnInterrupt::Unwind => {
                self.throw_pending_interrupt();
                Ok(())
            }
            OnInterrupt::Eintr => {
                self.consume_interrupt();
                Err(io::Error::from_raw_os_error(libc::EINTR))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(unsafe_code)]

    use super::*;
    use crate::api::current_hub::current_hub;
    use crate::api::sleep::sleep;
    use crate::sys::tid::gettid;
    use crate::time::NEVER;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::thread;

    #[test]
    fn poll_with_backoff_tries_again_after_a_signal() {
        extern "C" fn handler(_: libc::c_int) {}
        // SAFETY: the handler does nothing.
        unsafe { libc::signal(libc::SIGWINCH, handler as *const () as libc::sighandler_t) };
        let (hub, tid) = (current_hub(), gettid());
        let sender = thread::spawn(move || {
            for _ in 0..100 {
                thread::sleep(Duration::from_millis(2));
                // SAFETY: no pointers.
                unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), tid, libc::SIGWINCH) };
            }
        });
        let mut times = Vec::new();
        let what = "a test";
        let opts = BackoffOpts { deadline: NEVER, on_interrupt: OnInterrupt::Unwind, what, changed: None };
        let result = hub.poll_with_backoff(&opts, || {
            times.push(hub.clock().now());
            if times.len() < 30 { EAGAIN } else { 7 }
        });
        assert_eq!(result.unwrap(), 7);
        sender.join().unwrap();
        // By now each pause would have its full length.
        let mut pauses = times.windows(2).skip(10).map(|pair| pair[1] - pair[0]);
        assert!(pauses.any(|pause| pause < LONGEST_PAUSE.as_nanos() as Time), "{times:?}");
    }

    #[test]
    fn retry_sees_an_edge_that_is_collected_while_an_attempt_returns() {
        let hub = current_hub();
        let (mut here, there) = UnixStream::pair().unwrap();
        let fd = there.as_raw_fd();
        let until = |millis| hub.clock().after(Duration::from_millis(millis));
        let registers = hub.wait_fd(fd, Direction::Read, until(1), Interruptible::Yes);
        assert_eq!(registers.unwrap(), ParkResult::Expired);
        let deadline = until(500);
        let opts = RetryOpts {
            deadline: || Some(deadline),
            on_interrupt: OnInterrupt::Unwind,
            tracking: Tracking::Complete,
            drained: None,
        };
        let mut attempts = 0;
        let answer = hub.retry(fd, Direction::Read, opts, || {
            attempts += 1;
            if attempts > 1 {
                return 7;
            }
            // As the handler of a signal that comes at the end of the system call, and parks.
            here.write_all(b"x").unwrap();
            sleep(Duration::from_millis(1));
            EAGAIN
        });
        assert_eq!(answer.unwrap(), 7);
        assert!(hub.clock().now() < deadline);
    }
}
