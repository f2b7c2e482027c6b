//! The raw system call: number in rax, arguments in rdi, rsi, rdx, r10, r8, r9; the kernel clobbers
//! rcx and r11.
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
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], in("r9") args[5],
            out("rcx") _, out("r11") _,
            options(nostack),
        );
    }
    result
}
