// The stack switch for aarch64 (AAPCS64): greenline_switch(save: x0, to: x1).
// Read x86_64/switch.s first; this comments what differs.
//
// The return address is in a register (x30), not on the stack, so it is saved like the others. A
// stack that is not running:
//
//          |      ...       |   frames of the caller of greenline_switch
//          +----------------+
//          | fpcr | unused  |   the floating-point control register
//          | d14 | d15      |   the low halves of v8 to v15 are preserved
//          | d12 | d13      |
//          | d10 | d11      |
//          | d8  | d9       |
//          | x27 | x28      |
//          | x25 | x26      |
//          | x23 | x24      |
//          | x21 | x22      |
//          | x19 | x20      |
//          | x29 | x30      |   frame pointer, return address
//          +----------------+  <- the stack pointer, kept in *save; 176 bytes
//
// A fresh stack is the same with x19 = argument, x20 = entry, x29 = 0, x30 = greenline_enter, and
// the creator's fpcr.

        .text
        .p2align 4
        .globl  greenline_switch
        .hidden greenline_switch
        .type   greenline_switch, %function
greenline_switch:
        .cfi_startproc
        sub     sp, sp, #176
        stp     x29, x30, [sp, #0]
        stp     x19, x20, [sp, #16]
        stp     x21, x22, [sp, #32]
        stp     x23, x24, [sp, #48]
        stp     x25, x26, [sp, #64]
        stp     x27, x28, [sp, #80]
        stp     d8,  d9,  [sp, #96]
        stp     d10, d11, [sp, #112]
        stp     d12, d13, [sp, #128]
        stp     d14, d15, [sp, #144]
        mrs     x9, fpcr
        str     x9, [sp, #160]

        mov     x9, sp                  // sp cannot be stored directly
        str     x9, [x0]
        mov     sp, x1

        ldp     x29, x30, [sp, #0]
        ldp     x19, x20, [sp, #16]
        ldp     x21, x22, [sp, #32]
        ldp     x23, x24, [sp, #48]
        ldp     x25, x26, [sp, #64]
        ldp     x27, x28, [sp, #80]
        ldp     d8,  d9,  [sp, #96]
        ldp     d10, d11, [sp, #112]
        ldp     d12, d13, [sp, #128]
        ldp     d14, d15, [sp, #144]
        ldr     x9, [sp, #160]
        msr     fpcr, x9
        add     sp, sp, #176
        br      x30                     // not ret: as on x86_64
        .cfi_endproc
        .size   greenline_switch, . - greenline_switch

        .p2align 4
        .globl  greenline_enter
        .hidden greenline_enter
        .type   greenline_enter, %function
greenline_enter:
        .cfi_startproc
        .cfi_undefined x30              // no caller: a backtrace ends here
        mov     x0, x19
        blr     x20
        brk     #1                      // the entry function never returns
        .cfi_endproc
        .size   greenline_enter, . - greenline_enter
