//! Finds out where glibc keeps the parts of a thread: one function for each group of rows of the table in
//! `tls/layout.rs`.
//!
//! Next: `tls/block.rs`, which makes blocks by what is found here.

use super::green_tls;
use super::layout::{GlibcLayout, KEYS, PthreadLayout, WORD, set_prefetch_words};
use super::memory::TcbAllocator;
use crate::arch::thread_pointer;
use crate::sys::current_word;
use crate::sys::tid::gettid;
use crate::sys::tls_segments::{TlsSegment, tls_segments};
use std::ffi::{CStr, c_void};
use std::ops::Range;

const NO_BLOCKS: &str = "the C library is not glibc, or not one whose loader makes thread control blocks for others \
                         (_dl_allocate_tls)";
const NO_SIZES: &str = "the C library does not say how its struct pthread is laid out (_thread_db_*)";

/// Returns the layout, as the calling OS thread shows it. Nothing is changed.
///
/// Errors: what is not as expected.
pub(super) fn find() -> Result<GlibcLayout, &'static str> {
    let tcb = thread_pointer::get();
    let pthread = find_pthread(tcb)?;
    let errno = errno_address();
    let libc = segment_of(errno).ok_or("errno is not in a segment of thread-local storage")?;
    let green_tls = green_tls::address();
    let own = segment_of(green_tls).ok_or("this crate has no thread-local storage of its own")?;
    if own.at == libc.at || libc.len > 4096 || libc.at % WORD != 0 || libc.len % WORD != 0 {
        return Err(
            "the C library is linked statically: its thread-local storage cannot be distinguished from ours",
        );
    }
    let libc_at = distance(libc.at, tcb)..distance(libc.at + libc.len, tcb);
    check_dtv(tcb, &own)?;
    let (storage, align) = storage_size(own.len + libc.len)?;
    let current_word = current_word::address();
    set_prefetch_words([current_word, errno, tcb].map(|address| distance(address, tcb)));
    Ok(GlibcLayout {
        dl_allocate: symbol(c"_dl_allocate_tls").ok_or(NO_BLOCKS)?,
        dl_init: symbol(c"_dl_allocate_tls_init").ok_or(NO_BLOCKS)?,
        dl_deallocate: symbol(c"_dl_deallocate_tls").ok_or(NO_BLOCKS)?,
        memory: TcbAllocator::new(thread_pointer::block_size(align, storage, pthread.size)),
        pointer_offset: thread_pointer::pointer_offset(align, storage, pthread.size),
        initialised_at: find_initialised_words(tcb, libc_at.clone()),
        libc_at,
        errno_at: distance(errno, tcb),
        rseq_at: find_rseq(),
        current_word_at: distance(current_word, tcb),
        green_tls_at: distance(green_tls, tcb),
        pthread,
    })
}

/// Returns the address of symbol `name`. `T` is a pointer of the symbol's type.
fn symbol<T: Copy>(name: &CStr) -> Option<T> {
    const { assert!(size_of::<T>() == WORD) };
    // SAFETY: a CStr ends in 0.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    // SAFETY: the callers name a T that is a pointer of the symbol's type.
    (!address.is_null()).then(|| unsafe { std::mem::transmute_copy(&address) })
}

fn segment_of(address: usize) -> Option<TlsSegment> {
    tls_segments().into_iter().find(|segment| (segment.at..segment.at + segment.len).contains(&address))
}

fn distance(address: usize, from: usize) -> isize {
    address.wrapping_sub(from) as isize
}

/// Returns the address of the caller's `errno`.
pub(super) fn errno_address() -> usize {
    // SAFETY: no preconditions.
    unsafe { libc::__errno_location() as usize }
}

/// Finds `struct pthread`, and the tid and the keys in it.
fn find_pthread(tcb: usize) -> Result<PthreadLayout, &'static str> {
    // A field of struct pthread, as libthread_db reads it: size in bits, count, offset.
    let field = |name| symbol::<*const [u32; 3]>(name).ok_or(NO_SIZES);
    // SAFETY: constants of the C library, of these types.
    let (size, tid_at, keys_at) = unsafe {
        (
            *symbol::<*const u32>(c"_thread_db_sizeof_pthread").ok_or(NO_SIZES)? as usize,
            (*field(c"_thread_db_pthread_tid")?)[2] as usize,
            (*field(c"_thread_db_pthread_specific")?)[2] as usize,
        )
    };
    if size % WORD != 0 || size > 1 << 16 || keys_at + KEYS * WORD > size {
        return Err("the C library's struct pthread has an unlikely size");
    }
    let pthread = thread_pointer::to_pthread(tcb, size);
    // SAFETY: the calling thread's own struct pthread, which lives as long as the thread.
    let mut image: Box<[usize]> =
        unsafe { std::slice::from_raw_parts(pthread as *const usize, size / WORD).into() };
    // SAFETY: a word of the same struct.
    let tid = unsafe { *((pthread + tid_at) as *const i32) };
    if tid != gettid() {
        return Err("the thread id is not where the C library says it is");
    }
    // The keys' values: a table inside, to which the first of the pointers to tables points.
    let inside = image[keys_at / WORD].wrapping_sub(pthread);
    if inside.checked_add(KEYS * 2 * WORD).is_none_or(|end| end > size) {
        return Err("the values of the C library's keys are not where it says they are");
    }
    image[inside / WORD..][..KEYS * 2].fill(0);
    image[keys_at / WORD + 1..][..KEYS - 1].fill(0);

    let range = pthread..pthread + size;
    let own_pointers: Box<[usize]> = (0..image.len()).filter(|&n| range.contains(&image[n])).collect();
    own_pointers.iter().for_each(|&n| image[n] -= pthread);
    let dtv_at = distance(tcb.wrapping_add_signed(thread_pointer::DTV), pthread);
    let dtv_word = usize::try_from(dtv_at).ok().filter(|&at| at < size).map(|at| at / WORD);
    Ok(PthreadLayout { size, tid_at, keys_at, image, own_pointers, dtv_word })
}

/// Checks that the dtv of the calling thread lists `own`, the crate's storage. The dtv is one word in the block; it
/// points to an entry of two words for each module.
fn check_dtv(tcb: usize, own: &TlsSegment) -> Result<(), &'static str> {
    // SAFETY: the processor's convention for where the dtv is; glibc's for how long it is.
    let is_listed = unsafe {
        let dtv = *(tcb.wrapping_add_signed(thread_pointer::DTV) as *const *const [usize; 2]);
        let entries = (*dtv.sub(1))[0];
        own.module <= entries && (*dtv.add(own.module))[0] == own.at
    };
    is_listed.then_some(()).ok_or("the table of thread-local storage (the dtv) is not where it is expected")
}

/// Returns size and alignment of the static thread-local storage, of which `known` bytes are known.
fn storage_size(known: usize) -> Result<(usize, usize), &'static str> {
    let (mut storage, mut align) = (0, 0);
    let info: unsafe extern "C" fn(*mut usize, *mut usize) =
        symbol(c"_dl_get_tls_static_info").ok_or(NO_BLOCKS)?;
    // SAFETY: the function of that name, which writes two words.
    unsafe { info(&raw mut storage, &raw mut align) };
    if align > 64 || !(known..1 << 20).contains(&storage) {
        return Err("thread-local storage has an unlikely size, or alignment");
    }
    Ok((storage, align))
}

/// Finds those of libc's words that the C library sets when a thread begins: the pointers to the tables of character
/// classes, and the pointer to the resolver's state.
fn find_initialised_words(tcb: usize, libc_at: Range<isize>) -> Box<[isize]> {
    // SAFETY: no preconditions. The first three return addresses of thread-locals, the last one the value of one.
    let (ctype, resolver) = unsafe {
        let ctype = [__ctype_b_loc(), __ctype_tolower_loc(), __ctype_toupper_loc()];
        (ctype.map(|address| address as usize), __res_state() as usize)
    };
    let is_initialised = |&at: &isize| {
        let word = tcb.wrapping_add_signed(at);
        // SAFETY: a word of the calling thread's own storage.
        ctype.contains(&word) || unsafe { *(word as *const usize) } == resolver
    };
    libc_at.step_by(WORD).filter(is_initialised).collect()
}

unsafe extern "C" {
    fn __ctype_b_loc() -> *const c_void;
    fn __ctype_tolower_loc() -> *const c_void;
    fn __ctype_toupper_loc() -> *const c_void;
    fn __res_state() -> *const c_void;
}

/// Returns where glibc has put the area of restartable sequences; `None` if the kernel has none.
fn find_rseq() -> Option<isize> {
    // SAFETY: constants of the C library, of these types.
    unsafe {
        let size = symbol::<*const u32>(c"__rseq_size").map_or(0, |size| *size);
        symbol::<*const isize>(c"__rseq_offset").map(|offset| *offset).filter(|_| size > 0)
    }
}
