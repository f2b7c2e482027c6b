//! The parts of every interposed function: the macro that defines it beside its row of the coverage table and beside the
//! C library's own function, the plain system call, and the conversion of the kernel's answer to C's `errno` convention.
//!
//! Next: `patch/io/read_write.rs`, the functions that most programs call.

#![allow(unsafe_code)]

use crate::arch::syscall::syscall;
use libc::{c_int, c_long};

/// Defines a family of interposed functions, each with its row of the coverage table.
///
/// `fn NAME(ARGUMENTS) -> RESULT, "CALLED BY" => "WHEN PATCHED"; { BODY }` becomes the C library's symbol `NAME`, whose
/// result is that of `BODY`, and a row of the family's `COVERAGE`. `Real::NAME` is the C library's own function, which a
/// body calls when there is nothing to interpose. A body is short: code of more than a few lines is a function of its own
/// above it. All bodies may do what is unsafe, by the contract of the C library's function. `KIND, "C-unwind";` at the
/// beginning defines functions that may unwind.
macro_rules! interpose {
    ($kind:ident, $abi:literal; $($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)?,
        $called_by:expr => $when_patched:expr; $body:block)+) => {
        pub(crate) const COVERAGE: &[$crate::patch::kind::Covered] = &[$($crate::patch::kind::Covered {
            symbol: stringify!($name),
            kind: $crate::patch::kind::Kind::$kind,
            called_by: $called_by,
            when_patched: $when_patched,
        }),+];

        /// The C library's own functions of these names.
        pub(crate) struct Real;

        #[allow(dead_code, non_snake_case, reason = "some are not needed; the names are the C library's")]
        impl Real {
            $(
                /// Calls the C library's function.
                ///
                /// # Safety
                /// As the C library's function.
                pub(crate) unsafe fn $name($($arg: $type),*) $(-> $result)? {
                    use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};
                    static AT: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());
                    let mut at = AT.load(Relaxed);
                    if at.is_null() {
                        at = $crate::patch::symbol::find_real(concat!(stringify!($name), "\0"));
                        AT.store(at, Relaxed);
                    }
                    // SAFETY: the C library's function of that name has this type. The caller upholds its contract.
                    unsafe {
                        let real: unsafe extern "C-unwind" fn($($type),*) $(-> $result)? =
                            std::mem::transmute(at);
                        real($($arg),*)
                    }
                }
            )+
        }

        $(
            $(#[$meta])*
            ///
            /// # Safety
            /// As the C library's function of this name.
            #[unsafe(no_mangle)]
            #[allow(unused_unsafe)]
            pub(crate) unsafe extern $abi fn $name($($arg: $type),*) $(-> $result)? {
                // SAFETY: the caller upholds the contract of the C library's function.
                unsafe { $body }
            }
        )+
    };
    ($kind:ident; $($functions:tt)+) => {
        $crate::patch::symbol::interpose! { $kind, "C"; $($functions)+ }
    };
}
pub(super) use interpose;

/// Returns the address of the C library's function of this name, which ends in a 0 byte. `dlsym` looks for it in the
/// objects behind this one (`RTLD_NEXT`).
///
/// # Panics
/// If there is none. A lock, for example, could do nothing else.
#[cold]
pub(super) fn find_real(name: &str) -> *mut () {
    // glibc has conditions of an older layout, for programs from before 2003, which `dlsym` may find.
    let is_old = name.starts_with("pthread_cond_") && name != "pthread_cond_clockwait\0";
    // SAFETY: the names end in 0.
    let found = unsafe {
        match is_old && cfg!(target_arch = "x86_64") {
            true => libc::dlvsym(libc::RTLD_NEXT, name.as_ptr().cast(), c"GLIBC_2.3.2".as_ptr()),
            false => libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast()),
        }
    };
    assert!(!found.is_null(), "the C library has no {}", name.trim_end_matches('\0'));
    found.cast()
}

/// Calls the kernel, past the C library. Returns its result, or an error number negated.
///
/// # Safety
/// As the system call.
#[inline]
pub(super) unsafe fn kernel<const N: usize>(number: c_long, args: [usize; N]) -> isize {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&args);
    // SAFETY: the caller upholds the contract of the system call.
    unsafe { syscall(number, all) }
}

/// Returns error number `number` as a raw answer of the kernel.
pub(super) const fn failed(number: c_int) -> isize {
    -number as isize
}

/// A result type of C's functions that report errors by -1 and `errno`.
pub(super) trait CResult {
    fn from_raw(answer: isize) -> Self;
}

impl CResult for isize {
    #[inline]
    fn from_raw(answer: isize) -> isize {
        answer
    }
}

impl CResult for c_int {
    #[inline]
    fn from_raw(answer: isize) -> c_int {
        answer as c_int
    }
}

/// Converts a raw answer: an error number is stored in `errno`, and the result is -1.
#[inline]
pub(super) fn with_errno<R: CResult>(answer: isize) -> R {
    R::from_raw(if (-4095..0).contains(&answer) { store_errno(answer) } else { answer })
}

#[cold]
fn store_errno(answer: isize) -> isize {
    set_errno(-answer as c_int);
    -1
}

pub(super) fn set_errno(number: c_int) {
    // SAFETY: the address is the calling thread's own.
    unsafe { *libc::__errno_location() = number };
}

/// The check of a function that C calls when it is compiled with `_FORTIFY_SOURCE`. Aborts if `len` bytes would not
/// fit into `room` bytes.
pub(super) fn assert_room(len: usize, room: usize) {
    if len > room {
        // SAFETY: no preconditions.
        unsafe { libc::abort() };
    }
}
