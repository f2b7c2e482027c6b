# The stack switch for x86_64 (System V): greenline_switch(save: rdi, to: rsi).
#
# A stack that is not running, and every stack but one is not, looks like this. Addresses grow
# upwards, the stack grows downwards:
#
#          |      ...       |   frames of the caller of greenline_switch
#          +----------------+
#          | return address |   pushed by that call
#          +----------------+
#          | rbp            |
#          | rbx            |   the registers which the convention makes a function preserve;
#          | r12            |   the caller has saved all the others itself
#          | r13            |
#          | r14            |
#          | r15            |
#          +----------------+
#          | mxcsr | x87 cw |   the two floating-point control words, preserved as well
#          +----------------+  <- the stack pointer, kept in *save
#
# A fresh stack is made (by switch.rs) to look as if it had been switched away from just before the
# first instruction of greenline_enter:
#
#          +----------------+  <- top, a multiple of 16
#          | unused         |
#          | 0              |   where a return address would be: the end of every backtrace
#          +----------------+
#          | greenline_enter|   "return address"
#          +----------------+
#          | rbp = 0        |   the end of every chain of frame pointers
#          | rbx            |
#          | r12 = argument |
#          | r13 = entry    |
#          | r14            |
#          | r15            |
#          +----------------+
#          | mxcsr | x87 cw |   the creator's
#          +----------------+  <- the stack pointer that prepare() returns
#
# A running stack has no picture: its pointer is in rsp, and *save is stale.

        .text
        .p2align 4
        .globl  greenline_switch
        .hidden greenline_switch
        .type   greenline_switch, @function
greenline_switch:
        .cfi_startproc
        # Put our own registers on our own stack: the first picture, from the top down.
        push    rbp
        push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        sub     rsp, 8
        stmxcsr [rsp]
        fnstcw  [rsp + 4]

        # The switch is these two lines. Before them we are one thread of control, after them another.
        mov     [rdi], rsp
        mov     rsp, rsi

        # Take the other's registers off the other's stack, from the bottom up.
        ldmxcsr [rsp]
        fldcw   [rsp + 4]
        add     rsp, 8
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        pop     rbp
        # Not `ret`: the processor predicts a return to where this function was called from, and that
        # is hardly ever where the other stack goes on. A jump does not consult that prediction.
        pop     rcx
        jmp     rcx
        .cfi_endproc
        .size   greenline_switch, . - greenline_switch

        .p2align 4
        .globl  greenline_enter
        .hidden greenline_enter
        .type   greenline_enter, @function
greenline_enter:
        .cfi_startproc
        .cfi_undefined rip              # no caller: a backtrace ends here
        mov     rdi, r12
        call    r13                     # rsp is a multiple of 16 here, as the convention wants it
        ud2                             # the entry function never returns
        .cfi_endproc
        .size   greenline_enter, . - greenline_enter
