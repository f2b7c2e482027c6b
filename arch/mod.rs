//! All that differs from one CPU to the next, and nothing else.
//!
//! Every CPU has a folder with the same files, each keeping the same contract:
//!
//! | file        | contract                                                            |
//! |-------------|---------------------------------------------------------------------|
//! | `switch.s`  | the stack switch, in assembly; pictures of the stack come first      |
//! | `switch.rs` | [`prepare`](switch::prepare) a fresh stack so that a switch enters it |
//! | `syscall.rs`| the raw system call, past the C library                              |
//!
//! `x86_64` is the primary text; the other folders comment what differs.
//! Called by `context::own` (the switch) and `patch` (the system call).
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

    /// A place to note what happened on the other stack.
    static mut SEEN: usize = 0;
    static mut MAIN: usize = 0;
    static mut OTHER: usize = 0;

    extern "C" fn other(arg: usize) -> ! {
        // SAFETY: one thread runs this test; MAIN was saved by the switch that came here.
        unsafe {
            SEEN = arg;
            loop {
                switch::switch(&raw mut OTHER, MAIN);
                SEEN += 1;
            }
        }
    }

    #[test]
    fn a_prepared_stack_is_entered_with_its_argument_and_comes_back_twice() {
        let mut stack = vec![0u128; 4096];
        let top = stack.as_mut_ptr_range().end as usize;
        // SAFETY: `top` ends 64 KiB that live to the end of the test; nothing on them has a destructor.
        unsafe {
            OTHER = switch::prepare(top, other, 41);
            switch::switch(&raw mut MAIN, OTHER);
            assert_eq!(SEEN, 41);
            switch::switch(&raw mut MAIN, OTHER);
            assert_eq!(SEEN, 42);
        }
    }
}
