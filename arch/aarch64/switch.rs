//! A fresh stack for `switch.s`, and the switch as Rust sees it. As in `x86_64/switch.rs`; the picture is
//! in `switch.s`.
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

/// Writes a fresh picture below `top`, so that a switch to the returned stack pointer calls `entry(arg)` on that stack.
///
/// # Safety
/// The 176 bytes below `top`, a multiple of 16, are writable and hold nothing. `entry` does not unwind.
pub(crate) unsafe fn prepare(top: usize, entry: extern "C" fn(usize) -> !, arg: usize) -> usize {
    debug_assert_eq!(top % 16, 0);
    let mut words = [0usize; 22];
    words[1] = greenline_enter as *const () as usize; // x30
    words[2] = arg; // x19
    words[3] = entry as *const () as usize; // x20
    // SAFETY: reads a register.
    unsafe { asm!("mrs {0}, fpcr", out(reg) words[20], options(nomem, nostack, preserves_flags)) };
    let sp = top - size_of_val(&words);
    // SAFETY: the caller has promised that these bytes are writable and hold nothing.
    unsafe { (sp as *mut [usize; 22]).write(words) };
    sp
}
