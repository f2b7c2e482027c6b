//! What is relied on of glibc, how each part of it is found, and how it is probed before it is used.
//!
//! | relied on                                               | found by                              | probed by |
//! |---------------------------------------------------------|---------------------------------------|-----------|
//! | memory can be made a block with fresh storage, and back  | `_dl_allocate_tls` and its siblings    | a block is made, used, cleaned and freed |
//! | how much memory                                          | `_dl_get_tls_static_info`              | it is more than what we know to be in it |
//! | the size of `struct pthread`; the tid and the keys in it | `_thread_db_*`, made for debuggers     | the tid is this thread's; the first level of keys is where it points to |
//! | the rest of it is as good as the OS thread's             | copied; what points into itself is moved along | code runs on the block |
//! | the dtv is the block's own                               | the processor's convention             | it lists our own storage at the right address |
//! | malloc's own thread-locals, which go along at a switch   | the words of libc's segment (where `errno` is) that change when malloc is called on a fresh block | there are few; malloc works across a switch |
//! | its others begin as in a new thread                      | copied: `__ctype_b_loc` and its like; the resolver's | `errno` stays with its block |
//! | our thread-locals have a fixed distance from the pointer | their addresses                        | read on the new block |
//! | restartable sequences can be said to be unregistered     | `__rseq_offset`                        | written where glibc says it is |
//! | the program may load the thread pointer                  | `arch`                                 | it is |
//!
//! If any of it is not so (another C library, one linked statically, one to come), [`probe`] answers what is
//! missing, and nothing has been changed.

use super::memory::TcbAllocator;
use super::{BLOCK, Tcb, load};
use crate::arch::thread_pointer;
use crate::sys::current_word;
use crate::sys::tid::gettid;
use crate::sys::tls_segments::{TlsSegment, tls_segments};
use std::ffi::{CStr, c_void};
use std::num::NonZero;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicIsize, AtomicUsize};

/// Found once for the process.
pub(super) static LAYOUT: OnceLock<GlibcLayout> = OnceLock::new();

/// Distances are from the thread pointer, unless it says otherwise.
pub(super) struct GlibcLayout {
    allocate: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    clean: unsafe extern "C" fn(*mut c_void, bool) -> *mut c_void,
    deallocate: unsafe extern "C" fn(*mut c_void, bool),
    memory: TcbAllocator,
    /// Where the thread pointer is in the memory of a block.
    place: usize,
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
    errno_at: isize,
    libc_at: isize,
    libc_words: usize,
    /// Words of libc's segment that the C library sets when a thread begins.
    seeds: Vec<isize>,
    pub(super) hub_at: isize,
    pub(super) block_at: isize,
}

/// Where malloc keeps what it knows of its thread, in libc's segment: carried along at a switch. What a switch
/// needs is kept where it is quickest to read.
static CARRIED: [AtomicIsize; MOST] = [const { AtomicIsize::new(0) }; MOST];
static CARRIED_LEN: AtomicUsize = AtomicUsize::new(0);
const MOST: usize = 4;
/// Where that is which whoever runs will ask for: `HUB`, `errno`, and the block's own address, from which that is found.
static HOT: [AtomicIsize; 3] = [const { AtomicIsize::new(0) }; 3];

#[inline(always)]
pub(super) fn carried() -> impl Iterator<Item = isize> {
    CARRIED[..CARRIED_LEN.load(Relaxed).min(MOST)].iter().map(|at| at.load(Relaxed))
}

#[inline(always)]
pub(super) fn hot() -> impl Iterator<Item = isize> {
    HOT.iter().map(|at| at.load(Relaxed))
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
        let layout = GlibcLayout::find()?;
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

/// The segment in which `address` lies.
fn segment_of(address: usize) -> Option<TlsSegment> {
    tls_segments().into_iter().find(|segment| (segment.at..segment.at + segment.len).contains(&address))
}

fn distance(address: usize, from: usize) -> isize {
    address.wrapping_sub(from) as isize
}

impl GlibcLayout {
    fn find() -> Result<GlibcLayout, &'static str> {
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
        if tid != gettid() {
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
        let (hub, block) = (current_word::address(), BLOCK.with(|block| &raw const *block as usize));
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
        let (mut storage, mut align) = (0, 0);
        let info: unsafe extern "C" fn(*mut usize, *mut usize) =
            symbol(c"_dl_get_tls_static_info").ok_or(NO_BLOCKS)?;
        // SAFETY: the function of that name, which writes two words.
        unsafe { info(&raw mut storage, &raw mut align) };
        let known = ours.len + libc.len;
        if align > 64 || !(known..1 << 20).contains(&storage) {
            return Err("thread-local storage has an unlikely size, or alignment");
        }
        let size = thread_pointer::block_size(align, storage, pthread_size);
        // SAFETY: no preconditions; its answer is an address of this thread's.
        let errno = unsafe { libc::__errno_location() } as usize;
        for (hot, at) in HOT.iter().zip([hub, errno, here]) {
            hot.store(distance(at, here), Relaxed);
        }
        // SAFETY: no preconditions. The first three answer addresses of thread-locals, the last the value of one.
        let seeds = unsafe {
            let ctype = [__ctype_b_loc(), __ctype_tolower_loc(), __ctype_toupper_loc()].map(|at| at as usize);
            let resolver = __res_state() as usize;
            let words = (libc.at..libc.at + libc.len).step_by(WORD);
            let resolver = words.filter(|&at| *(at as *const usize) == resolver);
            let all = ctype.into_iter().chain(resolver);
            all.filter(|at| (libc.at..libc.at + libc.len).contains(at)).map(|at| distance(at, here)).collect()
        };
        // SAFETY: 0 if the kernel knows none; else where glibc has put the area.
        let rseq_at = unsafe {
            let size = symbol::<*const u32>(c"__rseq_size").map_or(0, |size| *size);
            symbol::<*const isize>(c"__rseq_offset").map(|offset| *offset).filter(|_| size > 0)
        };
        Ok(GlibcLayout {
            allocate: symbol(c"_dl_allocate_tls").ok_or(NO_BLOCKS)?,
            clean: symbol(c"_dl_allocate_tls_init").ok_or(NO_BLOCKS)?,
            deallocate: symbol(c"_dl_deallocate_tls").ok_or(NO_BLOCKS)?,
            memory: TcbAllocator::new(size),
            place: thread_pointer::pointer_offset(align, storage, pthread_size),
            pthread_size,
            image,
            own_pointers,
            dtv_word,
            tid_at,
            keys_at,
            rseq_at,
            errno_at: distance(errno, here),
            libc_at: distance(libc.at, here),
            libc_words: libc.len / WORD,
            seeds,
            hub_at: distance(hub, here),
            block_at: distance(block, here),
        })
    }

    /// Makes a block, and does on it what threads do.
    fn try_out(&self) -> Result<(), &'static str> {
        let home = Tcb::loaded();
        let block = self.allocate().and_then(NonZero::new).map(Tcb);
        let block = block.ok_or("there is no memory for a thread control block")?;
        // SAFETY: two whole blocks of this thread; what is done on the second is in functions of their own.
        let answer = unsafe {
            self.set_tid(block.0.get(), self.tid(home.0.get()));
            self.seed(block, home);
            // Nothing is carried yet: malloc finds itself on a thread that it does not know.
            load(home, block);
            let changed = self.changed_by_malloc(block);
            load(block, home);
            if changed.1 > MOST {
                return Err("malloc keeps more of a thread than is expected");
            }
            for (carried, &at) in CARRIED.iter().zip(&changed.0) {
                carried.store(at, Relaxed);
            }
            CARRIED_LEN.store(changed.1, Relaxed);

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
            self.clean(block);
            self.free(block.0.get());
        }
        answer
    }

    /// Calls malloc for the first time on `block`, which is loaded. Answers which words of libc's segment that has
    /// changed, and how many; the cache that malloc has made for the thread is lost.
    #[inline(never)]
    unsafe fn changed_by_malloc(&self, block: Tcb) -> ([isize; MOST], usize) {
        let word = |n: usize| self.libc_at + (n * WORD) as isize;
        // SAFETY: libc's segment in a block of ours.
        let read = |n: usize| unsafe { (block.at(word(n)) as *const usize).read_volatile() };
        let mut before = [0; 4096 / WORD];
        (0..self.libc_words).for_each(|n| before[n] = read(n));
        // SAFETY: what malloc gives, free takes.
        unsafe {
            for size in [24, 1000, 1 << 14, 1 << 20] {
                let at = libc::realloc(libc::malloc(size), size + 100);
                libc::free(std::hint::black_box(at));
                libc::free(std::hint::black_box(libc::calloc(size, 1)));
            }
        }
        let (mut changed, mut len) = ([0; MOST], 0);
        for n in (0..self.libc_words).filter(|&n| read(n) != before[n] && word(n) != self.errno_at & !7) {
            if let Some(place) = changed.get_mut(len) {
                *place = word(n);
            }
            len += 1;
        }
        (changed, len)
    }

    /// Gives a new block those thread-locals of libc that a thread begins with, as its OS thread has them.
    ///
    /// # Safety
    /// Both live; `block` is ours and not loaded.
    pub(super) unsafe fn seed(&self, block: Tcb, home: Tcb) {
        for &at in &self.seeds {
            // SAFETY: words of libc's segment, in both.
            unsafe { *(block.at(at) as *mut usize) = *(home.at(at) as *const usize) };
        }
    }

    /// A new block, complete but for the tid and what is planted.
    pub(super) fn allocate(&self) -> Option<usize> {
        let memory = self.memory.take()?;
        let at = memory + self.place;
        // SAFETY: memory of the size that the C library asks for, where it expects the thread pointer to be in it.
        // It allocates the dtv, and clears or fills in all storage.
        unsafe {
            if (self.allocate)(at as *mut c_void).is_null() {
                self.memory.put(memory);
                return None;
            }
            self.fill(at);
        }
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
    pub(super) unsafe fn clean(&self, block: Tcb) {
        let at = block.0.get();
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
        // SAFETY: it was made by `allocate`; the C library frees what it has allocated, and not the memory.
        unsafe {
            self.free_keys(at);
            (self.deallocate)(at as *mut c_void, false);
            self.memory.put(at - self.place);
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

unsafe extern "C" {
    fn __ctype_b_loc() -> *const c_void;
    fn __ctype_tolower_loc() -> *const c_void;
    fn __ctype_toupper_loc() -> *const c_void;
    fn __res_state() -> *const c_void;
}

/// Where `errno` of who calls is.
fn libc_errno() -> usize {
    // SAFETY: no preconditions.
    unsafe { libc::__errno_location() as usize }
}

/// What is expected of a fresh block. Runs on it.
#[inline(never)]
fn on_a_block(layout: &GlibcLayout, block: Tcb) -> Result<(), &'static str> {
    if libc_errno() != block.at(layout.errno_at) {
        return Err("errno is not found by the thread pointer");
    }
    // SAFETY: our own errno.
    unsafe { *libc::__errno_location() = 12 };
    let found = BLOCK.with(|block| (&raw const *block as usize, block.is_ours()));
    if found != (block.at(layout.block_at), false) {
        return Err("this crate's thread-local storage is not at a fixed place");
    }
    if current_word::address() != block.at(layout.hub_at) {
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
