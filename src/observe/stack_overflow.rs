//! Stack overflow of a green thread: reported with its name, as std does for threads.
//!
//! A touch of a guard page raises SIGSEGV. The handler runs on the alternate signal stack, because the other stack is full.
//! If the address lies in a guard page of this OS thread's hub, the handler reports which green thread ran, and aborts. It
//! passes any other fault on, unchanged, to the handler that was installed before.
//!
//! Next: `observe/watchdog/mod.rs`.
#![allow(unsafe_code)]

use crate::hub::{Hub, try_current};
use crate::stack::StackSize;
use crate::sys::{signal_chain, stderr};
use std::cell::RefCell;
use std::io::{Cursor, Write};
use std::mem::zeroed;
use std::ptr::{null, null_mut};
use std::sync::{Once, OnceLock};

/// The former actions of SIGSEGV and SIGBUS.
static FORMER: OnceLock<[libc::sigaction; 2]> = OnceLock::new();
const SIGNALS: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// The alternate signal stack of an OS thread that had none, or a smaller one. It is freed when the OS thread ends.
struct AltStack {
    _memory: Vec<u8>,
}

/// Size in bytes. The watchdog's handler, which unwinds, fits as well. std's stacks have 8 KiB, and half of it may be
/// registers.
const ALT_SIZE: usize = 64 << 10;

thread_local! {
    static ALT: RefCell<Option<AltStack>> = const { RefCell::new(None) };
}

/// Installs the handler, once for the process, and an alternate signal stack for this OS thread if it has none, or a small
/// one. (std makes one for each of its threads.)
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: `handler` may run anywhere at any time. The former actions are stored before `handler` can be called for
        // a guard page, because there is no green thread yet.
        unsafe {
            let _ = FORMER.set(SIGNALS.map(signal_chain::current));
            SIGNALS.iter().for_each(|&signal| _ = signal_chain::install(signal, handler, 0));
        }
    });
    let _ = ALT.try_with(|alt| *alt.borrow_mut() = AltStack::if_needed());
}

impl AltStack {
    fn if_needed() -> Option<AltStack> {
        // SAFETY: reads the current stack, and installs another one with the size of its memory, which AltStack owns.
        unsafe {
            let mut current: libc::stack_t = zeroed();
            if libc::sigaltstack(null(), &raw mut current) != 0
                || current.ss_flags & libc::SS_ONSTACK != 0
                || (current.ss_flags & libc::SS_DISABLE == 0 && current.ss_size >= ALT_SIZE)
            {
                return None;
            }
            let mut memory: Vec<u8> = Vec::with_capacity(ALT_SIZE);
            let stack = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: ALT_SIZE };
            (libc::sigaltstack(&raw const stack, null_mut()) == 0).then_some(AltStack { _memory: memory })
        }
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        let off = libc::stack_t { ss_sp: null_mut(), ss_flags: libc::SS_DISABLE, ss_size: ALT_SIZE };
        // SAFETY: the kernel stops using the memory before the field is dropped, which frees it.
        unsafe { libc::sigaltstack(&raw const off, null_mut()) };
    }
}

extern "C" fn handler(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo_t, because of SA_SIGINFO.
    let address = unsafe { (*info).si_addr() } as usize;
    if let Some(hub) = try_current() {
        if let Some(size) = hub.pool().stacks().overflowed_at(address) {
            report(hub, address, size);
            // SAFETY: no preconditions.
            unsafe { libc::abort() };
        }
    }
    let Some(former) = FORMER.get() else { return };
    let former = &former[usize::from(signal == libc::SIGBUS)];
    // SAFETY: `former` is the former action of this signal, and the arguments are the kernel's. If there was no handler,
    // the default is restored. It acts when the faulting instruction is executed again.
    unsafe {
        if !signal_chain::call(former, signal, info, context) {
            libc::sigaction(signal, former, null_mut());
        }
    }
}

/// Writes which stack has overflowed. Formats into a fixed buffer, because a signal handler must not allocate. A text that
/// does not fit is cut off.
fn report(hub: &Hub, address: usize, size: StackSize) {
    let mut line = Cursor::new([0; 512]);
    let kib = size.bytes() >> 10;
    let is_own = hub.stack_of_current().is_some_and(|stack| stack.contains(&address));
    // The fault has interrupted code of a green thread, so the hub's state is hardly ever borrowed.
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
    stderr::write(&line.get_ref()[..line.position() as usize]);
    stderr::write(b"\nfatal runtime error: stack overflow, aborting\n");
}
