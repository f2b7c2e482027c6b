//! Ending a thread from within.
//!
//! Next: `patch/pthread/pthread_join.rs`.

use crate::green::Interrupt;
use crate::patch::symbol::interpose;
use crate::tls;
use libc::c_void;

interpose! { Threads, "C-unwind";
    /// See pthread_exit(3). Unwinds to the first frame of the green thread, which finds the result noted.
    fn pthread_exit(result: *mut c_void) -> !, "C" => "unwinds the green thread"; {
        if tls::with_green_tls(|green| green.result.set(Some(result))).is_some() {
            std::panic::resume_unwind(Box::new(Interrupt::Exit));
        }
        Real::pthread_exit(result)
    }
}
