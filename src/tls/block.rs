//! Making, cleaning and freeing the thread control blocks of green threads. A block is named by its thread pointer.
//!
//! Next: `tls/memory.rs`, where their memory comes from.

use super::layout::{GlibcLayout, KEYS};
use super::tcb::Tcb;
use crate::arch::thread_pointer;
use std::ffi::c_void;
use std::num::NonZero;

impl GlibcLayout {
    /// Makes a block that is complete except for the tid, the words of [`init_tls_words`](Self::init_tls_words) and its
    /// owner. Returns `None` if there is no memory.
    pub(super) fn allocate(&self) -> Option<Tcb> {
        let memory = self.memory.take()?;
        let tcb = Tcb(NonZero::new(memory + self.pointer_offset)?);
        // SAFETY: memory of the size that the C library asks for, with the thread pointer where it expects it. It
        // allocates the dtv, and clears or fills in all storage.
        unsafe {
            if (self.dl_allocate)(tcb.address() as *mut c_void).is_null() {
                self.memory.put(memory);
                return None;
            }
            self.init_pthread(tcb);
        }
        Some(tcb)
    }

    /// Fills in the `struct pthread` and the area of restartable sequences.
    ///
    /// # Safety
    /// The block is a green thread's, and not loaded.
    unsafe fn init_pthread(&self, tcb: Tcb) {
        let pthread = self.pthread.address(tcb.address());
        let words = pthread as *mut usize;
        // SAFETY: a struct pthread has this size, and so has the image.
        unsafe {
            let dtv = self.pthread.dtv_word.map(|word| (word, words.add(word).read()));
            words.copy_from_nonoverlapping(self.pthread.image.as_ptr(), self.pthread.image.len());
            for &word in &self.pthread.own_pointers {
                *words.add(word) += pthread;
            }
            if let Some((word, dtv)) = dtv {
                words.add(word).write(dtv);
            }
            if let Some(rseq) = self.rseq_at {
                // struct rseq: cpu_id_start, cpu_id (-1 is "not registered"), rseq_cs.
                let area = tcb.at(rseq);
                (area as *mut [u32; 2]).write([0, u32::MAX]);
                ((area + 8) as *mut u64).write(0);
            }
        }
    }

    /// Copies the words of libc with which a thread begins from the block `from`.
    ///
    /// # Safety
    /// Both blocks are alive; `tcb` is a green thread's and not loaded.
    pub(super) unsafe fn init_tls_words(&self, tcb: Tcb, from: Tcb) {
        for &distance in &self.initialised_at {
            let (sink, source) = (tcb.at(distance), from.at(distance));
            // SAFETY: words of libc's segment, in both blocks.
            unsafe { *(sink as *mut usize) = *(source as *const usize) };
        }
    }

    /// Makes a used block as a new one.
    ///
    /// # Safety
    /// The block is a green thread's, not loaded, and `can_be_cleaned`.
    pub(super) unsafe fn clean(&self, tcb: Tcb) {
        // SAFETY: glibc does the same with a stack that it uses again.
        unsafe {
            self.free_keys(tcb);
            (self.dl_init)(tcb.address() as *mut c_void, true);
            self.init_pthread(tcb);
        }
    }

    /// Frees the tables for the values of keys beyond the first, which the C library allocates when needed.
    ///
    /// # Safety
    /// As for `clean`, of which it is a part.
    unsafe fn free_keys(&self, tcb: Tcb) {
        let tables = (self.pthread.address(tcb.address()) + self.pthread.keys_at) as *const *mut c_void;
        for n in 1..KEYS {
            // SAFETY: null, or a table that the C library has allocated for this block alone.
            unsafe { libc::free(*tables.add(n)) };
        }
    }

    /// Returns whether `clean` would lose nothing: no storage was allocated for a module that was loaded late.
    ///
    /// # Safety
    /// The block is a green thread's.
    pub(super) unsafe fn can_be_cleaned(&self, tcb: Tcb) -> bool {
        // SAFETY: `find` has checked where the dtv is. The second word of an entry is memory that has to be freed.
        unsafe {
            let dtv = *(tcb.at(thread_pointer::DTV) as *const *const [usize; 2]);
            let entries = (*dtv.sub(1))[0];
            (1..=entries).all(|module| (*dtv.add(module))[1] == 0)
        }
    }

    /// Gives a block back to the C library.
    ///
    /// # Safety
    /// The block is a green thread's, and no code uses it.
    pub(super) unsafe fn free(&self, tcb: Tcb) {
        // SAFETY: `allocate` has made it. The C library frees what it has allocated, and not the memory.
        unsafe {
            self.free_keys(tcb);
            (self.dl_deallocate)(tcb.address() as *mut c_void, false);
            self.memory.put(tcb.address() - self.pointer_offset);
        }
    }
}
