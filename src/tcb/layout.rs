//! What is relied on of glibc, how each part of it is found, and how it is probed before it is used.
//!
//! | relied on                                               | found by                              | probed by |
//! |---------------------------------------------------------|---------------------------------------|-----------|
//! | a block with fresh storage can be had, and given back    | `_dl_allocate_tls` and its siblings    | a block is made, used, cleaned and freed |
//! | the size of `struct pthread`; the tid and the keys in it | `_thread_db_*`, made for debuggers     | the tid is this thread's; the first level of keys is where it points to |
//! | the rest of it is as good as the OS thread's             | copied; what points into itself is moved along | code runs on the block |
//! | the dtv is the block's own                               | the processor's convention             | it lists our own storage at the right address |
//! | libc's segment: malloc's cache, `errno`, the locale      | the one that `errno` lies in           | malloc works across a switch, `errno` does not leak |
//! | our thread-locals have a fixed distance from the pointer | their addresses                        | read on the new block |
//! | restartable sequences can be said to be unregistered     | `__rseq_offset`                        | written where glibc says it is |
//! | the program may load the thread pointer                  | `arch`                                 | it is |
//!
//! If any of it is not so (another C library, one linked statically, one to come), [`probe`] answers what is
//! missing, and nothing has been changed.

use super::{BLOCK, Tcb, load};
use crate::arch::thread_pointer;
use crate::hub::hub_word;
use std::ffi::{CStr, c_void};
use std::num::NonZero;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicIsize, AtomicUsize};

/// Found once for the process.
pub(super) static LAYOUT: OnceLock<Layout> = OnceLock::new();

/// Distances are from the thread pointer, unless it says otherwise.
pub(super) struct Layout {
    allocate: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    clean: unsafe extern "C" fn(*mut c_void, bool) -> *mut c_void,
    deallocate: unsafe extern "C" fn(*mut c_void, bool),
    pub(super) pthread_size: usize,
    /// A `struct pthread` as the OS thread had it, its keys forgotten.
    image: Box<[usize]>,
    /// Words of it, by index, that have to point at the same place in the new one; in the image they say where.
    own_pointers: Box<[usize]>,
    /// The word of it that is not copied, if the dtv is inside.
    dtv_word: Option<usize>,
    /// From the beginning of `struct pthread`.
    tid_at: usize,
    /// The same, for the pointers to the tables of key values.
    keys_at: usize,
    rseq_at: Option<isize>,
    pub(super) hub_at: isize,
    pub(super) block_at: isize,
}

/// What a switch needs, where it is quickest to read.
#[derive(Clone, Copy)]
pub(super) struct Offsets {
    pub(super) libc_at: isize,
    pub(super) libc_words: usize,
    pub(super) errno_at: isize,
}

static LIBC_AT: AtomicIsize = AtomicIsize::new(0);
static LIBC_WORDS: AtomicUsize = AtomicUsize::new(0);
static ERRNO_AT: AtomicIsize = AtomicIsize::new(0);

#[inline(always)]
pub(super) fn offsets() -> Offsets {
    Offsets {
        libc_at: LIBC_AT.load(Relaxed),
        libc_words: LIBC_WORDS.load(Relaxed),
        errno_at: ERRNO_AT.load(Relaxed),
    }
}

const WORD: usize = size_of::<usize>();
/// How many key values `struct pthread` itself holds, each with a sequence number, and how many tables.
const KEYS: usize = 32;

/// Looks whether green threads can have blocks of their own here, and finds out how.
///
/// Errors: why not. Nothing has been changed then.
pub(crate) fn probe() -> Result<(), &'static str> {
    static ANSWER: OnceLock<Result<(), &'static str>> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        if !thread_pointer::is_loadable() {
            return Err("the processor, or the kernel, does not let a program load the thread pointer");
        }
        // From now on glibc knows that there is more than one thread, and it is this that the image says.
        std::thread::spawn(|| ()).join().map_err(|_| "no OS thread could be made")?;
        let layout = Layout::find()?;
        layout.try_out()?;
        let _ = LAYOUT.set(layout);
        Ok(())
    })
}

fn symbol<T: Copy>(name: &CStr) -> Option<T> {
    const { assert!(size_of::<T>() == WORD) };
    // SAFETY: a name that ends in 0.
    let at = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    // SAFETY: the callers name a T that is a pointer of the symbol's type.
    (!at.is_null()).then(|| unsafe { std::mem::transmute_copy(&at) })
}

/// What `dl_iterate_phdr` says of one segment of thread-local storage, in the calling thread.
struct Segment {
    at: usize,
    len: usize,
    module: usize,
}

/// The segment in which `address` lies.
fn segment_of(address: usize) -> Option<Segment> {
    struct Search(usize, Option<Segment>);
    unsafe extern "C" fn each(info: *mut libc::dl_phdr_info, _: usize, out: *mut c_void) -> i32 {
        // SAFETY: the loader's answer is valid during the call; `out` is the Search below.
        unsafe {
            let (info, search) = (&*info, &mut *out.cast::<Search>());
            for n in 0..info.dlpi_phnum as usize {
                let header = &*info.dlpi_phdr.add(n);
                let (at, len) = (info.dlpi_tls_data as usize, header.p_memsz as usize);
                if header.p_type == libc::PT_TLS && at != 0 && (at..at + len).contains(&search.0) {
                    search.1 = Some(Segment { at, len, module: info.dlpi_tls_modid });
                    return 1;
                }
            }
        }
        0
    }
    let mut search = Search(address, None);
    // SAFETY: `each` gets the Search and nothing else does.
    unsafe { libc::dl_iterate_phdr(Some(each), (&raw mut search).cast()) };
    search.1
}

fn distance(address: usize, from: usize) -> isize {
    address.wrapping_sub(from) as isize
}

impl Layout {
    fn find() -> Result<Layout, &'static str> {
        const NO_BLOCKS: &str = "the C library is not glibc, or not one whose loader makes thread control blocks \
                                 for others (_dl_allocate_tls)";
        const NO_SIZES: &str = "the C library does not say how its struct pthread is laid out (_thread_db_*)";
        let here = thread_pointer::get();
        // A field of struct pthread, as libthread_db is told of it: size in bits, count, offset.
        let field = |name| symbol::<*const [u32; 3]>(name).ok_or(NO_SIZES);
        // SAFETY: constants of the C library, of these types.
        let (pthread_size, tid_at, keys_at) = unsafe {
            (
                *symbol::<*const u32>(c"_thread_db_sizeof_pthread").ok_or(NO_SIZES)? as usize,
                (*field(c"_thread_db_pthread_tid")?)[2] as usize,
                (*field(c"_thread_db_pthread_specific")?)[2] as usize,
            )
        };
        if pthread_size % WORD != 0 || pthread_size > 1 << 16 || keys_at + KEYS * WORD > pthread_size {
            return Err("the C library's struct pthread has an unlikely size");
        }
        let pthread = thread_pointer::to_pthread(here, pthread_size);
        // SAFETY: our own, which lives as long as we do.
        let mut image: Box<[usize]> =
            unsafe { std::slice::from_raw_parts(pthread as *const usize, pthread_size / WORD).into() };
        // SAFETY: in the same, as far as we know; looked at below.
        let tid = unsafe { *((pthread + tid_at) as *const i32) };
        // SAFETY: no preconditions.
        if i64::from(tid) != unsafe { libc::syscall(libc::SYS_gettid) } as i64 {
            return Err("the thread id is not where the C library says it is");
        }
        // The keys' values: a table inside, which the first of the pointers to tables points at.
        let inside = image[keys_at / WORD].wrapping_sub(pthread);
        if inside.checked_add(KEYS * 2 * WORD).is_none_or(|end| end > pthread_size) {
            return Err("the values of the C library's keys are not where it says they are");
        }
        image[inside / WORD..][..KEYS * 2].fill(0);
        image[keys_at / WORD + 1..][..KEYS - 1].fill(0);

        let dtv_word = (here as isize + thread_pointer::DTV - pthread as isize)
            .try_into()
            .ok()
            .filter(|&at: &usize| at < pthread_size)
            .map(|at| at / WORD);
        let range = pthread..pthread + pthread_size;
        let own_pointers: Box<[usize]> = (0..image.len()).filter(|&n| range.contains(&image[n])).collect();
        for &n in &own_pointers {
            image[n] -= pthread;
        }

        let errno = libc_errno();
        let libc = segment_of(errno).ok_or("errno is not in a segment of thread-local storage")?;
        let (hub, block) = (hub_word(), BLOCK.with(|block| &raw const *block as usize));
        let ours = segment_of(block).ok_or("this crate has no thread-local storage of its own")?;
        if ours.at == libc.at || libc.len > 4096 || libc.at % WORD != 0 || libc.len % WORD != 0 {
            return Err(
                "the C library is linked statically: its thread-local storage cannot be told from ours",
            );
        }
        // SAFETY: the dtv of this thread: one word in the block, and an entry of two words for each module.
        let listed = unsafe {
            let dtv = *(here.wrapping_add_signed(thread_pointer::DTV) as *const *const [usize; 2]);
            let entries = (*dtv.sub(1))[0];
            ours.module <= entries && (*dtv.add(ours.module))[0] == ours.at
        };
        if !listed {
            return Err("the table of thread-local storage (the dtv) is not where it is expected");
        }
        LIBC_AT.store(distance(libc.at, here), Relaxed);
        LIBC_WORDS.store(libc.len / WORD, Relaxed);
        ERRNO_AT.store(distance(errno, here), Relaxed);
        // SAFETY: 0 if the kernel knows none; else where glibc has put the area.
        let rseq_at = unsafe {
            let size = symbol::<*const u32>(c"__rseq_size").map_or(0, |size| *size);
            symbol::<*const isize>(c"__rseq_offset").map(|offset| *offset).filter(|_| size > 0)
        };
        Ok(Layout {
            allocate: symbol(c"_dl_allocate_tls").ok_or(NO_BLOCKS)?,
            clean: symbol(c"_dl_allocate_tls_init").ok_or(NO_BLOCKS)?,
            deallocate: symbol(c"_dl_deallocate_tls").ok_or(NO_BLOCKS)?,
            pthread_size,
            image,
            own_pointers,
            dtv_word,
            tid_at,
            keys_at,
            rseq_at,
            hub_at: distance(hub, here),
            block_at: distance(block, here),
        })
    }

    /// Makes a block, and does on it what threads do.
    fn try_out(&self) -> Result<(), &'static str> {
        let home = Tcb::loaded();
        let block = self.allocate().and_then(NonZero::new).map(Tcb);
        let block = block.ok_or("there is no memory for a thread control block")?;
        // SAFETY: two whole blocks of this thread; what is done on the second is in a function of its own.
        let answer = unsafe {
            self.set_tid(block.0.get(), self.tid(home.0.get()));
            let kept = *libc::__errno_location();
            *libc::__errno_location() = 11;
            load(home, block);
            let answer = on_a_block(self, block);
            load(block, home);
            let back = *libc::__errno_location() == 11;
            *libc::__errno_location() = kept;
            answer.and(back.then_some(()).ok_or("errno does not stay with its block"))
        };
        // SAFETY: not loaded any more, and ours.
        unsafe {
            self.clean(block.0.get());
            self.free(block.0.get());
        }
        answer
    }

    /// A new block, complete but for the tid and what is planted.
    pub(super) fn allocate(&self) -> Option<usize> {
        // SAFETY: no memory given: it is to be allocated.
        let at = unsafe { (self.allocate)(std::ptr::null_mut()) } as usize;
        if at == 0 {
            return None;
        }
        // SAFETY: made just now.
        unsafe { self.fill(at) };
        Some(at)
    }

    /// Fills in the `struct pthread` and what else is not thread-local storage.
    ///
    /// # Safety
    /// The block is ours, and not loaded.
    unsafe fn fill(&self, at: usize) {
        let pthread = thread_pointer::to_pthread(at, self.pthread_size);
        let words = pthread as *mut usize;
        // SAFETY: a struct pthread has this size, and the image too.
        unsafe {
            let dtv = self.dtv_word.map(|word| words.add(word).read());
            words.copy_from_nonoverlapping(self.image.as_ptr(), self.image.len());
            for &word in &self.own_pointers {
                *words.add(word) += pthread;
            }
            if let (Some(word), Some(dtv)) = (self.dtv_word, dtv) {
                words.add(word).write(dtv);
            }
            if let Some(rseq) = self.rseq_at {
                // struct rseq: cpu_id_start, cpu_id: -1 is "not registered"; rseq_cs.
                let area = at.wrapping_add_signed(rseq);
                (area as *mut [u32; 2]).write([0, u32::MAX]);
                ((area + 8) as *mut u64).write(0);
            }
        }
    }

    /// Makes a used block as a new one.
    ///
    /// # Safety
    /// The block is ours, not loaded, and `can_be_cleaned`.
    pub(super) unsafe fn clean(&self, at: usize) {
        // SAFETY: what glibc does with a stack that it uses again.
        unsafe {
            self.free_keys(at);
            (self.clean)(at as *mut c_void, true);
            self.fill(at);
        }
    }

    /// Frees the tables for the values of keys beyond the first, which the C library allocates when needed.
    ///
    /// # Safety
    /// As for `clean`, of which it is a part.
    unsafe fn free_keys(&self, at: usize) {
        let tables = (thread_pointer::to_pthread(at, self.pthread_size) + self.keys_at) as *const *mut c_void;
        for n in 1..KEYS {
            // SAFETY: null, or a table that it has allocated for this block alone.
            unsafe { libc::free(*tables.add(n)) };
        }
    }

    /// Whether `clean` would lose nothing: no storage was allocated for a module that was loaded late.
    ///
    /// # Safety
    /// The block is ours.
    pub(super) unsafe fn can_be_cleaned(&self, at: usize) -> bool {
        // SAFETY: the dtv, as `find` has probed it; the second word of an entry is what has to be freed.
        unsafe {
            let dtv = *(at.wrapping_add_signed(thread_pointer::DTV) as *const *const [usize; 2]);
            let entries = (*dtv.sub(1))[0];
            (1..=entries).all(|module| (*dtv.add(module))[1] == 0)
        }
    }

    /// # Safety
    /// The block is ours, and nobody uses it.
    pub(super) unsafe fn free(&self, at: usize) {
        // SAFETY: it came from `_dl_allocate_tls`, without memory of ours.
        unsafe {
            self.free_keys(at);
            (self.deallocate)(at as *mut c_void, true);
        }
    }

    /// # Safety
    /// A block, ours or an OS thread's, alive.
    pub(super) unsafe fn tid(&self, at: usize) -> u32 {
        let pthread = thread_pointer::to_pthread(at, self.pthread_size);
        // SAFETY: the caller's.
        unsafe { *((pthread + self.tid_at) as *const u32) }
    }

    /// # Safety
    /// The block is ours.
    pub(super) unsafe fn set_tid(&self, at: usize, tid: u32) {
        let pthread = thread_pointer::to_pthread(at, self.pthread_size);
        // SAFETY: the caller's.
        unsafe { *((pthread + self.tid_at) as *mut u32) = tid };
    }
}

/// Where `errno` of who calls is.
fn libc_errno() -> usize {
    // SAFETY: no preconditions.
    unsafe { libc::__errno_location() as usize }
}

/// What is expected of a fresh block. Runs on it.
#[inline(never)]
fn on_a_block(layout: &Layout, block: Tcb) -> Result<(), &'static str> {
    if libc_errno() != block.0.get().wrapping_add_signed(ERRNO_AT.load(Relaxed)) {
        return Err("errno is not found by the thread pointer");
    }
    // SAFETY: our own errno.
    unsafe { *libc::__errno_location() = 12 };
    let found = BLOCK.with(|block| (&raw const *block as usize, block.is_ours()));
    if found != (block.0.get().wrapping_add_signed(layout.block_at), false) {
        return Err("this crate's thread-local storage is not at a fixed place");
    }
    if hub_word() != block.0.get().wrapping_add_signed(layout.hub_at) {
        return Err("this crate's thread-local storage is not at a fixed place");
    }
    // SAFETY: no preconditions.
    if unsafe { libc::pthread_self() } != thread_pointer::to_pthread(block.0.get(), layout.pthread_size) as _
    {
        return Err("pthread_self is not found by the thread pointer");
    }
    // Larger than malloc's cache of this thread holds, and smaller.
    for size in [16, 200, 1 << 12, 1 << 20] {
        let memory = vec![1u8; size];
        if std::hint::black_box(&memory).iter().any(|&byte| byte != 1) {
            return Err("memory allocated on a block of ours does not hold what was written");
        }
    }
    if std::thread::panicking() || std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(1))).is_ok()
    {
        return Err("unwinding does not work on a block of ours");
    }
    Ok(())
}
