//! The raw system call: number in x8, arguments in x0 to x5, the result in x0.
//!
//! Next: `sys/kernel_futex.rs`, a system call made by it.

use core::arch::asm;

/// Makes a system call without the C library. Returns the kernel's result, or a negated error number (-4095 to -1).
/// Does not touch `errno`.
///
/// # Safety
/// The pointers among the arguments are valid for what the kernel does with them.
#[inline]
pub unsafe fn syscall(number: libc::c_long, args: [usize; 6]) -> isize {
    let result;
    // SAFETY: the registers are those of the convention above; memory is assumed to be written.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") args[0] => result,
            in("x1") args[1], in("x2") args[2], in("x3") args[3], in("x4") args[4], in("x5") args[5],
            options(nostack),
        );
    }
    result
}
