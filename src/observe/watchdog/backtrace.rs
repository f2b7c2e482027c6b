//! The backtrace of an OS thread that computes. Only the thread itself can walk its stack, so it gets a signal.
//!
//! ```text
//!   the watchdog                                     the OS thread `tid`
//!   state: FREE -> tid, sends the signal  --------->  handler: tid -> TAKEN
//!                                                     walks its stack, stores the addresses
//!   reads the addresses, DONE -> FREE     <---------  TAKEN -> DONE
//! ```
//!
//! The handler may interrupt any code: the allocator, the holder of a lock. So it allocates nothing, takes no lock of this
//! crate, and writes into a static. It runs on the alternate signal stack, because the green thread's own may be nearly
//! full. The walk is the unwinder's, as for a panic. With glibc from 2.35 on, the unwinder finds its tables without a lock.
//! The watchdog, not the handler, finds the names of the addresses.
//!
//! Next: `hub/status.rs`, where the watchdog reads what a hub does.
#![allow(unsafe_code)]

use crate::arch::syscall::syscall;
use crate::hub::{keep_errno, try_current};
use crate::sys::tid::gettid;
use crate::sys::{kernel_futex, signal_chain};
use libc::{c_int, c_void, siginfo_t};
use std::ffi::CStr;
use std::mem::zeroed;
use std::ops::Range;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Once, OnceLock};
use std::time::{Duration, Instant};

/// The signal. Few programs use it, and a program without a handler for it does not notice it.
pub(super) const SIGNAL: c_int = libc::SIGURG;

/// Number of frames that are stored, the innermost.
const DEPTH: usize = 48;

/// How long the watchdog waits for the handler to begin, and then to end.
const HANDLER_TIMEOUT: Duration = Duration::from_millis(200);

const FREE: u32 = 0;
const TAKEN: u32 = u32::MAX;
const DONE: u32 = u32::MAX - 1;

/// The state of the watchdog's request: `FREE`, the id of the OS thread that is asked, `TAKEN` or `DONE`. A futex.
static STATE: AtomicU32 = AtomicU32::new(FREE);
/// Number of switches of the hub that is asked. If it has switched since, there is no backtrace.
static SWITCHES: AtomicU64 = AtomicU64::new(0);
/// The handler's result, and its length.
static FRAMES: [AtomicUsize; DEPTH] = [const { AtomicUsize::new(0) }; DEPTH];
static LEN: AtomicUsize = AtomicUsize::new(0);

/// The former action of the signal.
static FORMER: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the handler, once for the process.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The unwinder initialises itself at its first call, which a handler must not do.
        walk(None);
        // Stored before `handler` may need it.
        let _ = FORMER.set(signal_chain::current(SIGNAL));
        // SAFETY: `handler` may run anywhere at any time.
        let _ = unsafe { signal_chain::install(SIGNAL, handler, libc::SA_RESTART) };
    });
}

/// In a forked child: drops the request, which no OS thread of the child will serve.
pub(super) fn reset_after_fork() {
    STATE.store(FREE, Relaxed);
}

/// Returns the backtrace of the OS thread `tid`, a line for each frame, the innermost first. It is empty if the hub has
/// switched since `switches` was read. `None`: the OS thread did not run the handler, or must not be sent the signal.
pub(super) fn of(tid: i32, switches: u64) -> Option<Vec<String>> {
    request(tid, switches).map(|frames| frames.into_iter().flat_map(describe).collect())
}

fn request(tid: i32, switches: u64) -> Option<Vec<usize>> {
    // The program may have replaced the handler.
    if signal_chain::current(SIGNAL).sa_sigaction != handler as *const () as usize {
        return None;
    }
    // A handler may have finished after the watchdog had given up.
    let _ = STATE.compare_exchange(DONE, FREE, Acquire, Relaxed);
    SWITCHES.store(switches, Relaxed);
    STATE.compare_exchange(FREE, tid as u32, Release, Relaxed).ok()?;
    // SAFETY: no pointers. If the OS thread has ended and another one has its id, that one's handler finds another hub.
    let sent = unsafe {
        let process = libc::getpid() as usize;
        syscall(libc::SYS_tgkill, [process, tid as usize, SIGNAL as usize, 0, 0, 0])
    };
    if sent == 0 {
        wait_while(tid as u32);
    }
    if STATE.compare_exchange(tid as u32, FREE, Acquire, Relaxed).is_ok() {
        return None;
    }
    // The handler has begun. If it does not end in time, the request stays taken until it does.
    wait_while(TAKEN);
    if STATE.load(Acquire) != DONE {
        return None;
    }
    let frames = &FRAMES[..LEN.load(Relaxed)];
    let frames = frames.iter().map(|frame| frame.load(Relaxed)).collect();
    STATE.store(FREE, Relaxed);
    Some(frames)
}

/// Waits until the state is another one, for a limited time.
fn wait_while(state: u32) {
    let started = Instant::now();
    while STATE.load(Acquire) == state && started.elapsed() < HANDLER_TIMEOUT {
        kernel_futex::wait(&STATE, state, Some(HANDLER_TIMEOUT / 4));
    }
}

extern "C" fn handler(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    if STATE.compare_exchange(gettid() as u32, TAKEN, AcqRel, Relaxed).is_ok() {
        keep_errno(|| {
            // The hub may have switched since. In the middle of a switch there is no stack to walk.
            let switches = SWITCHES.load(Relaxed);
            let hub = try_current().filter(|hub| hub.is_same_time_slice(switches));
            let len = hub.map_or(0, |hub| walk(hub.stack_of_current()));
            LEN.store(len, Relaxed);
        });
        STATE.store(DONE, Release);
        kernel_futex::wake_one(&STATE);
        return;
    }
    // The signal is the program's, or the watchdog's and too late. A handler of SIGURG must bear one without a reason.
    if let Some(former) = FORMER.get() {
        // SAFETY: sigaction has returned `former`, and the arguments are the kernel's.
        unsafe { signal_chain::call(former, signal, info, context) };
    }
}

/// A walk up the stack, from callee to caller.
struct StackWalk {
    /// The green thread's stack. The walk ends with it, because beyond it is the hub's loop. `None`: the root, whose walk
    /// ends with the OS thread's stack.
    stack: Option<Range<usize>>,
    /// Whether the walk has reached `stack`. A generator's stack may come first.
    on_stack: bool,
    /// Whether the walk has reached the interrupted frame, beyond the handler's own frames. The backtrace begins there.
    begun: bool,
    /// Number of frames stored so far.
    len: usize,
}

/// The unwinder's type. See "DWARF exception handling", the Itanium C++ ABI.
#[repr(C)]
struct UnwindContext(c_void);

type UnwindTrace = extern "C" fn(*mut UnwindContext, *mut c_void) -> c_int;

// SAFETY: std links to the unwinder, and these are its signatures.
unsafe extern "C" {
    fn _Unwind_Backtrace(trace: UnwindTrace, argument: *mut c_void) -> c_int;
    fn _Unwind_GetIPInfo(context: *mut UnwindContext, interrupted: *mut c_int) -> usize;
    fn _Unwind_GetCFA(context: *mut UnwindContext) -> usize;
}

/// Stores the frames of the calling OS thread. Returns their number. `stack` is that of its green thread, if one runs.
fn walk(stack: Option<Range<usize>>) -> usize {
    let mut walk = StackWalk { stack, on_stack: false, begun: false, len: 0 };
    // SAFETY: `step` expects a StackWalk as `argument`.
    unsafe { _Unwind_Backtrace(step, (&raw mut walk).cast()) };
    walk.len
}

/// Stores one frame. Returns 0 if the walk goes on.
extern "C" fn step(context: *mut UnwindContext, argument: *mut c_void) -> c_int {
    // SAFETY: `walk` has passed it.
    let walk = unsafe { &mut *argument.cast::<StackWalk>() };
    let mut interrupted = 0;
    // SAFETY: the unwinder's context, and a word of this frame.
    let (at, frame) = unsafe { (_Unwind_GetIPInfo(context, &raw mut interrupted), _Unwind_GetCFA(context)) };
    let on_stack = walk.stack.as_ref().is_none_or(|stack| stack.contains(&frame));
    if at == 0 || walk.len == DEPTH || (walk.on_stack && !on_stack) {
        return 1;
    }
    walk.begun |= interrupted != 0;
    if walk.begun {
        walk.on_stack |= on_stack;
        // In the interrupted frame the address is that of the instruction. In callers it is the return address.
        FRAMES[walk.len].store(at - usize::from(interrupted == 0), Relaxed);
        walk.len += 1;
    }
    0
}

/// Returns the names and lines of an address: several, if functions are inlined into each other.
fn describe(address: usize) -> Vec<String> {
    let mut lines = Vec::new();
    // `resolve` subtracts one, because it expects a return address.
    #[cfg(feature = "backtrace")]
    backtrace::resolve(std::ptr::without_provenance_mut(address + 1), |symbol| {
        let Some(name) = symbol.name() else { return };
        let mut line = format!("{name:#}");
        if let (Some(file), Some(number)) = (symbol.filename(), symbol.lineno()) {
            line += &format!(" at {}:{number}", file.display());
        }
        lines.push(line);
    });
    if lines.is_empty() {
        lines.push(describe_by_file(address));
    }
    lines
}

/// Returns the file of an address and the offset in it, and the function if that has a dynamic symbol.
fn describe_by_file(address: usize) -> String {
    // SAFETY: all zeros is a valid Dl_info. dladdr takes any address. Its names live as long as the file is loaded.
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
