//! The parts that differ between processors, and nothing else.
//!
//! Every processor has a folder with the same files, and each file keeps the same contract:
//!
//! | file        | contract                                                            |
//! |-------------|---------------------------------------------------------------------|
//! | `switch.s`  | the stack switch, in assembly; pictures of the stack come first      |
//! | `switch.rs` | [`prepare`](switch::prepare) a fresh stack so that a switch enters it |
//! | `prefetch.rs` | brings memory into the cache before it is needed                       |
//! | `syscall.rs`| the raw system call, past the C library                              |
//! | `thread_pointer.rs` | the address from which thread-local storage is found          |
//!
//! `x86_64` is the primary text. The other folders comment only what differs. `context/asm.rs` uses the switch, `hub` the
//! prefetching, `tls` the thread pointer, and every system call that must not be interposed uses `syscall`.
//!
//! Next: `arch/x86_64/switch.s`, the stack switch.

#[cfg(target_arch = "aarch64")]
#[path = "aarch64/mod.rs"]
mod cpu;
#[cfg(target_arch = "x86_64")]
#[path = "x86_64/mod.rs"]
mod cpu;

#[allow(unused_imports)] // each is there for one feature
pub(crate) use cpu::*;

#[cfg(test)]
mod tests {
    use super::switch;

    use std::cell::Cell;

    /// State that both stacks see.
    struct Shared {
        seen: Cell<usize>,
        main: Cell<usize>,
        other: Cell<usize>,
    }

    extern "C" fn other(shared: usize) -> ! {
        // SAFETY: the test's own value, which outlives every switch here.
        let shared = unsafe { &*(shared as *const Shared) };
        loop {
            shared.seen.set(shared.seen.get() + 1);
            // SAFETY: `main` was stored by the switch that came here.
            unsafe { switch::switch(shared.other.as_ptr(), shared.main.get()) };
        }
    }

    #[test]
    fn switch_enters_a_prepared_stack_with_its_argument_twice() {
        let mut stack = vec![0u128; 4096];
        let top = stack.as_mut_ptr_range().end as usize;
        let shared = Shared { seen: Cell::new(40), main: Cell::new(0), other: Cell::new(0) };
        // SAFETY: `top` ends 64 KiB that live to the end of the test; nothing on them has a destructor.
        unsafe {
            shared.other.set(switch::prepare(top, other, &raw const shared as usize));
            switch::switch(shared.main.as_ptr(), shared.other.get());
            assert_eq!(shared.seen.get(), 41);
            switch::switch(shared.main.as_ptr(), shared.other.get());
            assert_eq!(shared.seen.get(), 42);
        }
    }
}
