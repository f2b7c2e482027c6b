//! All that differs from one CPU to the next, and nothing else.
//!
//! Every CPU has a folder with the same files, each keeping the same contract:
//!
//! | file        | contract                                                            |
//! |-------------|---------------------------------------------------------------------|
//! | `switch.s`  | the stack switch, in assembly; pictures of the stack come first      |
//! | `switch.rs` | [`prepare`](switch::prepare) a fresh stack so that a switch enters it |
//! | `prefetch.rs` | bring memory into the cache that will be needed soon                  |
//! | `syscall.rs`| the raw system call, past the C library                              |
//! | `thread_pointer.rs` | whose thread-local storage is in use                          |
//!
//! `x86_64` is the primary text; the other folders comment what differs.
//! Called by `context::own` (the switch), `green` (prefetching), `tcb` (the thread pointer), and whoever makes a system
//! call that must not be interposed.
//! Read next: `arch/x86_64/switch.s`.

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

    /// What the two sides share.
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
    fn a_prepared_stack_is_entered_with_its_argument_and_comes_back_twice() {
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
