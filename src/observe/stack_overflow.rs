//! A green thread that overflows its stack: said by name, as std does for threads.
//!
//! The touch of a guard page is a SIGSEGV. Our handler, on the alternate signal stack (for the other one is
//! full), looks whether the address lies in a guard of this OS thread's hub. If so it says who it was and
//! aborts. Any other fault goes to the handler that was there before ours, unchanged.
#![allow(unsafe_code)]

use crate::hub::try_current;
use crate::sys::stderr;
use std::cell::RefCell;
use std::io::Write;
use std::mem::zeroed;
use std::ptr::null_mut;
use std::sync::{Once, OnceLock};

/// What handled these signals before.
struct Before {
    segv: libc::sigaction,
    bus: libc::sigaction,
}

static BEFORE: OnceLock<Before> = OnceLock::new();

/// The alternate stack of an OS thread that had none, or a small one; unmapped when the OS thread ends.
struct AltStack(*mut libc::c_void);

/// Room for the watchdog's handler as well, which unwinds. std's have 8 KiB, and half of it may be registers.
const ALT_SIZE: usize = 64 << 10;

thread_local! {
    static ALT: RefCell<Option<AltStack>> = const { RefCell::new(None) };
}

/// Installs the handler, once for the process, and an alternate stack for this OS thread if it has none, or a
/// small one (std makes one for each of its threads).
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: sigaction with a valid action; `handler` has the signature that SA_SIGINFO wants. The
        // old actions are kept before the new ones can be called for a guard of ours: there is none yet.
        unsafe {
            let mut before = Before { segv: zeroed(), bus: zeroed() };
            libc::sigaction(libc::SIGSEGV, std::ptr::null(), &raw mut before.segv);
            libc::sigaction(libc::SIGBUS, std::ptr::null(), &raw mut before.bus);
            let _ = BEFORE.set(before);
            let mut action: libc::sigaction = zeroed();
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            action.sa_sigaction = handler as *const () as usize;
            for signal in [libc::SIGSEGV, libc::SIGBUS] {
                libc::sigaction(signal, &raw const action, null_mut());
            }
        }
    });
    let _ = ALT.try_with(|alt| *alt.borrow_mut() = AltStack::if_needed());
}

impl AltStack {
    fn if_needed() -> Option<AltStack> {
        // SAFETY: asks, maps, and installs a mapping of the size it says.
        unsafe {
            let mut current: libc::stack_t = zeroed();
            if libc::sigaltstack(std::ptr::null(), &raw mut current) != 0
                || current.ss_flags & libc::SS_ONSTACK != 0
                || (current.ss_flags & libc::SS_DISABLE == 0 && current.ss_size >= ALT_SIZE)
            {
                return None;
            }
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let at = libc::mmap(null_mut(), ALT_SIZE, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            if at == libc::MAP_FAILED {
                return None;
            }
            let stack = libc::stack_t { ss_sp: at, ss_flags: 0, ss_size: ALT_SIZE };
            if libc::sigaltstack(&raw const stack, null_mut()) != 0 {
                libc::munmap(at, ALT_SIZE);
                return None;
            }
            Some(AltStack(at))
        }
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        // SAFETY: taken out of use before it is unmapped.
        unsafe {
            let off = libc::stack_t { ss_sp: null_mut(), ss_flags: libc::SS_DISABLE, ss_size: ALT_SIZE };
            libc::sigaltstack(&raw const off, null_mut());
            libc::munmap(self.0, ALT_SIZE);
        }
    }
}

/// Formats into a fixed buffer: a signal handler must not allocate.
struct Line {
    bytes: [u8; 512],
    len: usize,
}

impl Write for Line {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        let n = text.len().min(self.bytes.len() - self.len);
        self.bytes[self.len..self.len + n].copy_from_slice(&text[..n]);
        self.len += n;
        Ok(text.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

extern "C" fn handler(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid siginfo_t for SA_SIGINFO.
    let address = unsafe { (*info).si_addr() } as usize;
    if let Some(hub) = try_current() {
        if let Some(size) = hub.pool().stacks().overflowed_at(address) {
            let mut line = Line { bytes: [0; 512], len: 0 };
            let kib = size.bytes() >> 10;
            let is_own = hub.stack_of_current().is_some_and(|stack| stack.contains(&address));
            // What it interrupted was a green thread's code, so hardly ever is the state borrowed.
            let named = is_own
                && hub.describe_current(|name, id, origin| {
                    let _ = match name {
                        Some(name) => write!(line, "\ngreen thread '{name}' has overflowed its stack"),
                        None => write!(line, "\ngreen thread 'green-{id}' has overflowed its stack"),
                    };
                    let _ = write!(line, " ({kib} KiB; {origin})");
                });
            if !named {
                let whose = if is_own { "green thread" } else { "generator" };
                let _ = write!(line, "\na {whose} has overflowed its stack ({kib} KiB)");
            }
            let _ = line.write_all(b"\nfatal runtime error: stack overflow, aborting\n");
            stderr::write(&line.bytes[..line.len]);
            // SAFETY: no preconditions.
            unsafe {
                libc::abort();
            }
        }
    }
    pass_on(signal, info, context);
}

/// Does what would have been done without us.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(before) = BEFORE.get() else { return };
    let action = if signal == libc::SIGBUS { &before.bus } else { &before.segv };
    // SAFETY: what sigaction answered, and what we were called with. Where there was no handler the default is put
    // back, and acts when the faulting instruction is executed again.
    unsafe {
        if !crate::sys::signal_chain::call(action, signal, info, context) {
            libc::sigaction(signal, &raw const *action, null_mut());
        }
    }
}
