//! What only interposed calls ask of the hub.
#![allow(unsafe_code)]

use super::fields::Hub;

/// Calls what switches. `errno` is afterwards as it was: while we wait, the hub, too, calls the C library, with
/// whichever thread control block is loaded, and green threads without one of their own share the OS thread's.
pub(crate) fn keep_errno<R>(block: impl FnOnce() -> R) -> R {
    // SAFETY: the address is that of the thread control block of who calls, which is loaded again afterwards.
    unsafe {
        let errno = libc::__errno_location();
        let kept = *errno;
        let answer = block();
        *errno = kept;
        answer
    }
}

/// How often who runs may ask without having to wait until the others run.
const OFTEN: u32 = 100;

impl Hub {
    /// Who runs has asked the kernel, and need not, or does not want to, wait for the answer. Who asks again and again may be asking
    /// after what another is to do: so now and then the others run, as they would beside an OS thread that asks.
    pub(crate) fn yield_if_polling(&self) {
        let switches = self.status.switches();
        let (since, times) = self.nonblocking_polls.get();
        let times = if since == switches { times + 1 } else { 1 };
        self.nonblocking_polls.set((switches, times));
        if times > OFTEN {
            keep_errno(|| self.yield_now());
        }
    }

    /// Whether an interposed call has already returned early for the interrupt that is pending. They are not
    /// unwound by one: they return early, once.
    pub(crate) fn was_cut_short(&self) -> bool {
        self.is_interrupted() && self.state.borrow_mut().record_mut(self.current()).cut_short
    }

    /// Notes that one does.
    pub(crate) fn cut_short(&self) {
        self.state.borrow_mut().record_mut(self.current()).cut_short = true;
    }
}
