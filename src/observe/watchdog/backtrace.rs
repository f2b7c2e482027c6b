//! The backtrace of an OS thread that computes. Only it can walk its own stack, so it is sent a signal.
//!
//! ```text
//!   the watchdog                                     the OS thread `tid`
//!   state: FREE -> tid, sends the signal  --------->  handler: tid -> TAKEN
//!                                                     walks its stack, writes the addresses down
//!   reads the addresses, DONE -> FREE     <---------  TAKEN -> DONE
//! ```
//!
//! The handler runs in the middle of anything: of the allocator, of a lock's owner. So it allocates nothing and
//! takes no lock of ours, and writes into a place that is there already. It runs on the alternate signal
//! stack, for the green thread's own may be nearly full. The walk is the unwinder's, as for a panic; with glibc from
//! 2.35 on that finds its tables without a lock. What the addresses mean is found out by the watchdog.

use crate::arch::syscall::syscall;
use crate::hub::try_current;
use crate::sys::kernel_futex;
use crate::sys::tid::gettid;
use libc::{c_int, c_void, siginfo_t};
use std::ffi::CStr;
use std::mem::zeroed;
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Once, OnceLock};
use std::time::{Duration, Instant};

/// Few programs use it, and who has no handler for it does not notice it.
pub(super) const SIGNAL: c_int = libc::SIGURG;

/// How many frames are written down: the innermost.
const DEPTH: usize = 48;

/// How long the watchdog waits for the handler to begin, and then to end.
const PATIENCE: Duration = Duration::from_millis(200);

/// What the watchdog and the handler hand each other.
struct Slip {
    /// `FREE`, the id of the OS thread that is asked, `TAKEN`, `DONE`. A futex.
    state: AtomicU32,
    /// Who is asked is to answer only if its hub has switched this often.
    switches: AtomicU64,
    frames: [AtomicUsize; DEPTH],
    len: AtomicUsize,
}

const FREE: u32 = 0;
const TAKEN: u32 = u32::MAX;
const DONE: u32 = u32::MAX - 1;

static SLIP: Slip = Slip {
    state: AtomicU32::new(FREE),
    switches: AtomicU64::new(0),
    frames: [const { AtomicUsize::new(0) }; DEPTH],
    len: AtomicUsize::new(0),
};

/// What handled the signal before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the handler, once for the process.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // What the unwinder does only the first time is not for a handler.
        Walk::new(None).up();
        // SAFETY: sigaction with a valid action; `handler` has the signature that SA_SIGINFO wants.
        unsafe {
            let mut before: libc::sigaction = zeroed();
            libc::sigaction(SIGNAL, std::ptr::null(), &raw mut before);
            let _ = BEFORE.set(before);
            let mut action: libc::sigaction = zeroed();
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            action.sa_sigaction = handler as *const () as usize;
            libc::sigaction(SIGNAL, &raw const action, null_mut());
        }
    });
}

/// In the child of a fork nobody answers what was asked in the parent.
pub(super) fn forget() {
    SLIP.state.store(FREE, Relaxed);
}

/// The backtrace of the OS thread `tid`, a line for each frame, the innermost first. `None`: it did not answer,
/// or there is no asking it. Empty: it has switched meanwhile.
pub(super) fn of(tid: i32, switches: u64) -> Option<Vec<String>> {
    ask(tid, switches).map(|frames| frames.into_iter().flat_map(describe).collect())
}

fn ask(tid: i32, switches: u64) -> Option<Vec<usize>> {
    if !is_ours() {
        return None;
    }
    // Somebody may have answered when nobody waited any more.
    let _ = SLIP.state.compare_exchange(DONE, FREE, Acquire, Relaxed);
    SLIP.switches.store(switches, Relaxed);
    SLIP.state.compare_exchange(FREE, tid as u32, Release, Relaxed).ok()?;
    // SAFETY: no pointers. If the OS thread has ended, and its id is another's now, that one finds that its hub
    // was not meant.
    let sent = unsafe {
        let process = libc::getpid() as usize;
        syscall(libc::SYS_tgkill, [process, tid as usize, SIGNAL as usize, 0, 0, 0])
    };
    if sent == 0 {
        wait_while(tid as u32);
    }
    if SLIP.state.compare_exchange(tid as u32, FREE, Acquire, Relaxed).is_ok() {
        return None;
    }
    // It has begun. If it does not come to an end either, the slip is not used again before it does.
    wait_while(TAKEN);
    if SLIP.state.load(Acquire) != DONE {
        return None;
    }
    let frames = SLIP.frames[..SLIP.len.load(Relaxed)].iter().map(|frame| frame.load(Relaxed)).collect();
    SLIP.state.store(FREE, Relaxed);
    Some(frames)
}

/// Waits until the state is another, and not for ever.
fn wait_while(state: u32) {
    let begun = Instant::now();
    while SLIP.state.load(Acquire) == state && begun.elapsed() < PATIENCE {
        kernel_futex::wait(&SLIP.state, state, Some(PATIENCE / 4));
    }
}

/// Whether the signal is still handled here: the program may have put its own handler in our place.
fn is_ours() -> bool {
    // SAFETY: asks.
    unsafe {
        let mut now: libc::sigaction = zeroed();
        libc::sigaction(SIGNAL, std::ptr::null(), &raw mut now);
        now.sa_sigaction == handler as *const () as usize
    }
}

extern "C" fn handler(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let state = &SLIP.state;
    if state.compare_exchange(gettid() as u32, TAKEN, AcqRel, Relaxed).is_ok() {
        // SAFETY: the address is this thread's own.
        let errno = unsafe { *libc::__errno_location() };
        // It may have moved on. In the midst of a switch there is no stack to walk.
        let switches = SLIP.switches.load(Relaxed);
        let hub = try_current().filter(|hub| hub.is_same_time_slice(switches));
        let len = hub.map_or(0, |hub| Walk::new(hub.stack_of_current()).up());
        SLIP.len.store(len, Relaxed);
        state.store(DONE, Release);
        let args =
            [state.as_ptr() as usize, (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize, 1, 0, 0, 0];
        // SAFETY: a word of ours; and errno, put back.
        unsafe {
            syscall(libc::SYS_futex, args);
            *libc::__errno_location() = errno;
        }
        return;
    }
    // It may be one of ours that came too late; a SIGURG for no reason is what every handler of it has to bear.
    if let Some(before) = BEFORE.get() {
        // SAFETY: what sigaction answered, and what we were called with.
        unsafe { crate::sys::signal_chain::call(before, signal, info, context) };
    }
}

/// A walk up the stack, from callee to caller.
struct Walk {
    /// The green thread's stack: the walk ends with it, for beyond it is the hub's loop. The root has all.
    stack: Option<Range<usize>>,
    /// Whether we are there already: a generator's stack may come first.
    on_stack: bool,
    /// Whether we are where the backtrace begins: at what was interrupted, beyond the handler's own frames.
    begun: bool,
    len: usize,
}

/// The unwinder's own. See "DWARF exception handling", the Itanium C++ ABI.
#[repr(C)]
struct UnwindContext(c_void);

type UnwindTrace = extern "C" fn(*mut UnwindContext, *mut c_void) -> c_int;

// SAFETY: std links to the unwinder, and these are its signatures.
unsafe extern "C" {
    fn _Unwind_Backtrace(trace: UnwindTrace, argument: *mut c_void) -> c_int;
    fn _Unwind_GetIPInfo(context: *mut UnwindContext, interrupted: *mut c_int) -> usize;
    fn _Unwind_GetCFA(context: *mut UnwindContext) -> usize;
}

impl Walk {
    fn new(stack: Option<Range<usize>>) -> Walk {
        Walk { stack, on_stack: false, begun: false, len: 0 }
    }

    /// Answers how many frames were written down.
    fn up(mut self) -> usize {
        // SAFETY: `step` takes it that `argument` is a Walk.
        unsafe { _Unwind_Backtrace(step, (&raw mut self).cast()) };
        self.len
    }
}

/// Writes down one frame. 0: go on.
extern "C" fn step(context: *mut UnwindContext, argument: *mut c_void) -> c_int {
    // SAFETY: given by `up`.
    let walk = unsafe { &mut *argument.cast::<Walk>() };
    let mut interrupted = 0;
    // SAFETY: the unwinder's context, and a word of ours.
    let (at, frame) = unsafe { (_Unwind_GetIPInfo(context, &raw mut interrupted), _Unwind_GetCFA(context)) };
    let on_stack = walk.stack.as_ref().is_none_or(|stack| stack.contains(&frame));
    if at == 0 || walk.len == DEPTH || (walk.on_stack && !on_stack) {
        return 1;
    }
    walk.begun |= interrupted != 0;
    if walk.begun {
        walk.on_stack |= on_stack;
        // Where it was interrupted, the address is that of the instruction; in callers it is where they will go on.
        SLIP.frames[walk.len].store(at - usize::from(interrupted == 0), Relaxed);
        walk.len += 1;
    }
    0
}

/// The names and lines of an address: several, where functions are inlined into each other.
#[cfg(feature = "backtrace")]
fn describe(address: usize) -> Vec<String> {
    let mut lines = Vec::new();
    // It takes one off, for it takes it for a return address.
    backtrace::resolve(std::ptr::without_provenance_mut(address + 1), |symbol| {
        let Some(name) = symbol.name() else { return };
        let mut line = format!("{name:#}");
        if let (Some(file), Some(number)) = (symbol.filename(), symbol.lineno()) {
            line += &format!(" at {}:{number}", file.display());
        }
        lines.push(line);
    });
    if lines.is_empty() { vec![describe_by_file(address)] } else { lines }
}

#[cfg(not(feature = "backtrace"))]
fn describe(address: usize) -> Vec<String> {
    vec![describe_by_file(address)]
}

/// In which file an address is, how far from its beginning, and in which function if that has a dynamic symbol.
fn describe_by_file(address: usize) -> String {
    // SAFETY: all zeroes is a Dl_info; dladdr takes any address, and its names live as long as the file is loaded.
    unsafe {
        let mut info: libc::Dl_info = zeroed();
        if libc::dladdr(std::ptr::without_provenance(address), &raw mut info) == 0 || info.dli_fname.is_null()
        {
            return format!("{address:#x}");
        }
        let file = CStr::from_ptr(info.dli_fname).to_string_lossy();
        let offset = address - info.dli_fbase as usize;
        if info.dli_sname.is_null() {
            return format!("{file}+{offset:#x}");
        }
        let name = CStr::from_ptr(info.dli_sname).to_string_lossy();
        format!("{file}+{offset:#x} ({name})")
    }
}
