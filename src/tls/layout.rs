//! The parts of glibc that the crate relies on, how each is found, and how it is checked before it is used.
//!
//! | relied on                                               | found by                              | checked by |
//! |---------------------------------------------------------|---------------------------------------|-----------|
//! | memory can be made a block with fresh storage, and back  | `_dl_allocate_tls` and its siblings    | a block is made, used, cleaned and freed |
//! | how much memory                                          | `_dl_get_tls_static_info`              | it is more than the storage that is known |
//! | the size of `struct pthread`; the tid and the keys in it | `_thread_db_*`, made for debuggers     | the tid is this thread's; the first level of keys is where it points to |
//! | the rest of it is as good as the OS thread's             | copied; pointers into itself are moved along | code runs on the block |
//! | the dtv is the block's own                               | the processor's convention             | it lists the crate's storage at the right address |
//! | malloc's own thread-locals, which go along at a switch   | the words of libc's segment (where `errno` is) that change when malloc is called on a fresh block | there are few; malloc works across a switch |
//! | its others begin as in a new thread                      | copied: `__ctype_b_loc` and its like; the resolver's | `errno` stays with its block |
//! | the crate's thread-locals have a fixed distance from the pointer | their addresses                | read on the new block |
//! | restartable sequences can be noted as unregistered       | `__rseq_offset`                        | written where glibc says it is |
//! | the program may load the thread pointer                  | `arch`                                 | asked of the processor and the kernel |
//!
//! If any of it does not hold (another C library, one linked statically, a later one), `probe` returns what is missing,
//! and nothing has been changed.
//!
//! Next: `tls/find.rs`, which fills in the layout.

use super::memory::TcbAllocator;
use crate::arch::thread_pointer;
use std::ffi::c_void;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicIsize, AtomicUsize};

pub(super) const WORD: usize = size_of::<usize>();
/// Number of key values in `struct pthread` itself, each with a sequence number, and number of pointers to tables.
pub(super) const KEYS: usize = 32;

/// Found once for the process.
pub(super) static LAYOUT: OnceLock<GlibcLayout> = OnceLock::new();

/// # Panics
/// If `probe` has not succeeded. No green thread has a block then.
pub(super) fn layout() -> &'static GlibcLayout {
    LAYOUT.get().expect("blocks are made only after a successful probe")
}

/// Where glibc keeps the parts of a thread. Fields that end in `_at` are distances from the thread pointer.
pub(super) struct GlibcLayout {
    /// The loader's functions that make, clean and free blocks.
    pub(super) dl_allocate: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    pub(super) dl_init: unsafe extern "C" fn(*mut c_void, bool) -> *mut c_void,
    pub(super) dl_deallocate: unsafe extern "C" fn(*mut c_void, bool),
    pub(super) memory: TcbAllocator,
    /// Offset of the thread pointer in the memory of a block.
    pub(super) pointer_offset: usize,
    pub(super) pthread: PthreadLayout,
    /// libc's segment of thread-local storage, as whole words.
    pub(super) libc_at: Range<isize>,
    /// Words of it that the C library sets when a thread begins.
    pub(super) initialised_at: Box<[isize]>,
    pub(super) errno_at: isize,
    pub(super) rseq_at: Option<isize>,
    pub(super) current_word_at: isize,
    pub(super) green_tls_at: isize,
}

/// glibc's `struct pthread`. The fields `tid_at` and `keys_at` are offsets from its beginning.
pub(super) struct PthreadLayout {
    pub(super) size: usize,
    pub(super) tid_at: usize,
    /// Place of the pointers to the tables of key values.
    pub(super) keys_at: usize,
    /// The OS thread's `struct pthread`, with its key values removed.
    pub(super) image: Box<[usize]>,
    /// Indices of the words that point into the same `struct pthread`; in `image` they are offsets.
    pub(super) own_pointers: Box<[usize]>,
    /// Index of the word that holds the dtv, if it is inside. It is not copied.
    pub(super) dtv_word: Option<usize>,
}

impl PthreadLayout {
    /// Returns the address of the `struct pthread` of thread pointer `tcb`.
    pub(super) fn address(&self, tcb: usize) -> usize {
        thread_pointer::to_pthread(tcb, self.size)
    }

    /// Returns the address of the word in which the block notes the kernel's thread id. `find` has checked it.
    pub(super) fn tid_word(&self, tcb: usize) -> *mut u32 {
        (self.address(tcb) + self.tid_at) as *mut u32
    }
}

/// Most words that malloc may keep of a thread.
pub(super) const MALLOC_WORDS_MAX: usize = 4;
/// Words in which malloc keeps its cache and arena, in libc's segment. A switch copies them to the next block. They
/// stand in statics because a switch reads them fastest there.
static MALLOC_WORDS: [AtomicIsize; MALLOC_WORDS_MAX] = [const { AtomicIsize::new(0) }; MALLOC_WORDS_MAX];
static MALLOC_WORDS_LEN: AtomicUsize = AtomicUsize::new(0);
/// Words that the next green thread will read: the current word, `errno`, and the block's own address, by which both are
/// found.
static PREFETCH_WORDS: [AtomicIsize; 3] = [const { AtomicIsize::new(0) }; 3];

#[inline(always)]
pub(super) fn malloc_words() -> impl Iterator<Item = isize> {
    let len = MALLOC_WORDS_LEN.load(Relaxed).min(MALLOC_WORDS_MAX);
    MALLOC_WORDS[..len].iter().map(|distance| distance.load(Relaxed))
}

pub(super) fn set_malloc_words(distances: &[isize]) {
    MALLOC_WORDS.iter().zip(distances).for_each(|(word, &distance)| word.store(distance, Relaxed));
    MALLOC_WORDS_LEN.store(distances.len(), Relaxed);
}

#[inline(always)]
pub(super) fn prefetch_words() -> impl Iterator<Item = isize> {
    PREFETCH_WORDS.iter().map(|distance| distance.load(Relaxed))
}

pub(super) fn set_prefetch_words(distances: [isize; 3]) {
    PREFETCH_WORDS.iter().zip(distances).for_each(|(word, distance)| word.store(distance, Relaxed));
}
