//! A fresh stack for `switch.s`, and the switch as Rust sees it. The pictures are in `switch.s`.
//!
//! Next: `context/asm.rs`, a context made of it.

use core::arch::{asm, global_asm};

global_asm!(include_str!("switch.s"));

unsafe extern "C" {
    #[link_name = "greenline_switch"]
    fn greenline_switch(save: *mut usize, to: usize);
    #[link_name = "greenline_enter"]
    fn greenline_enter();
}

/// Stores the stack pointer at `*save`, and goes on at the stack whose pointer is `to`. Returns when another switch
/// goes to the stored value.
///
/// # Safety
/// `to` came from [`prepare`] or was stored by a switch, and no switch has gone to it since. Its stack
/// is mapped and belongs to this OS thread. `save` is valid for a write.
#[inline]
pub(crate) unsafe fn switch(save: *mut usize, to: usize) {
    // SAFETY: the assembly needs what the caller has promised.
    unsafe { greenline_switch(save, to) }
}

/// Writes the second picture of `switch.s` below `top`, so that a switch to the returned stack pointer calls
/// `entry(arg)` on that stack.
///
/// # Safety
/// The 128 bytes below `top`, a multiple of 16, are writable and hold nothing. `entry` does not unwind.
pub(crate) unsafe fn prepare(top: usize, entry: extern "C" fn(usize) -> !, arg: usize) -> usize {
    debug_assert_eq!(top % 16, 0);
    let mut control = 0u64;
    // SAFETY: both instructions store four bytes each into `control`.
    unsafe { asm!("stmxcsr [{0}]", "fnstcw [{0} + 4]", in(reg) &raw mut control, options(nostack)) };
    let words: [usize; 9] = [
        control as usize,
        0,                                     // r15
        0,                                     // r14
        entry as *const () as usize,           // r13
        arg,                                   // r12
        0,                                     // rbx
        0,                                     // rbp
        greenline_enter as *const () as usize, // "return address"
        0,                                     // no caller above
    ];
    let sp = top - size_of_val(&words) - 8; // greenline_enter then starts with rsp a multiple of 16
    // SAFETY: the caller has promised that these bytes are writable and hold nothing.
    unsafe { (sp as *mut [usize; 9]).write(words) };
    sp
}
