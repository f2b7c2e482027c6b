//! Checks whether green threads can have thread control blocks of their own: finds the layout, makes a block, and does on
//! it what threads do.
//!
//! Next: `patch/pthread/mod.rs`, which calls this before it patches.

use super::find::{errno_address, find};
use super::green_tls;
use super::layout::{GlibcLayout, LAYOUT, MALLOC_WORDS_MAX, WORD, set_malloc_words};
use super::tcb::{Tcb, load};
use crate::arch::thread_pointer;
use crate::sys::current_word;
use std::sync::OnceLock;

/// Checks, once for the process, whether green threads can have blocks of their own.
///
/// Errors: why not. Nothing has been changed then.
pub(crate) fn probe() -> Result<(), &'static str> {
    static RESULT: OnceLock<Result<(), &'static str>> = OnceLock::new();
    *RESULT.get_or_init(|| {
        if !thread_pointer::is_loadable() {
            return Err("the processor, or the kernel, does not let a program load the thread pointer");
        }
        // From now on glibc knows that there is more than one thread. The image of struct pthread must say so.
        std::thread::spawn(|| ()).join().map_err(|_| "no OS thread could be made")?;
        let layout = find()?;
        self_test(&layout)?;
        let _ = LAYOUT.set(layout);
        Ok(())
    })
}

/// Makes a block, finds malloc's words by it, and does on it what threads do.
fn self_test(layout: &GlibcLayout) -> Result<(), &'static str> {
    let own = Tcb::loaded();
    let block = layout.allocate().ok_or("there is no memory for a thread control block")?;
    // SAFETY: two whole blocks of this thread. The second is used in functions of their own, and freed when it is not
    // loaded any more; no other code knows it.
    unsafe {
        *layout.pthread.tid_word(block.address()) = *layout.pthread.tid_word(own.address());
        layout.init_tls_words(block, own);
        let words = words_changed_by_malloc(layout, own, block);
        let result = match words.len() > MALLOC_WORDS_MAX {
            true => Err("malloc keeps more of a thread than is expected"),
            false => {
                set_malloc_words(&words);
                run_on_tcb(layout, own, block)
            }
        };
        layout.clean(block);
        layout.free(block);
        result
    }
}

/// Calls malloc for the first time on `block`. Returns which words of libc's segment have changed. The cache that malloc has
/// made for the thread is lost.
///
/// # Safety
/// Both are alive, and `own` is loaded.
unsafe fn words_changed_by_malloc(layout: &GlibcLayout, own: Tcb, block: Tcb) -> Vec<isize> {
    // SAFETY: libc's segment in a block of this thread.
    let read = |word: isize| unsafe { (block.at(word) as *const usize).read_volatile() };
    let mut words: Vec<_> = layout.libc_at.clone().step_by(WORD).map(|word| (word, read(word))).collect();
    // SAFETY: the caller upholds that both blocks are alive. No words are copied yet, so malloc sees a thread that it does
    // not know.
    unsafe {
        load(own, block);
        use_malloc();
        load(block, own);
    }
    words.retain(|&(word, before)| read(word) != before && word != layout.errno_at & !7);
    words.into_iter().map(|(word, _)| word).collect()
}

#[inline(never)]
fn use_malloc() {
    for size in [24, 1000, 1 << 14, 1 << 20] {
        // SAFETY: `free` gets what malloc has returned.
        unsafe {
            let memory = libc::realloc(libc::malloc(size), size + 100);
            libc::free(std::hint::black_box(memory));
            libc::free(std::hint::black_box(libc::calloc(size, 1)));
        }
    }
}

/// Loads `block`, checks on it what green threads rely on, and loads `own` again.
///
/// # Safety
/// Both are alive, and `own` is loaded.
unsafe fn run_on_tcb(layout: &GlibcLayout, own: Tcb, block: Tcb) -> Result<(), &'static str> {
    // SAFETY: the caller upholds that both blocks are alive. The calling thread's own errno.
    unsafe {
        let errno = *libc::__errno_location();
        *libc::__errno_location() = 11;
        load(own, block);
        let result = check_fresh_tcb(layout, block);
        load(block, own);
        let is_kept = *libc::__errno_location() == 11;
        *libc::__errno_location() = errno;
        result.and(is_kept.then_some(()).ok_or("errno does not stay with its block"))
    }
}

/// Checks what a fresh block must provide. Runs on it.
#[inline(never)]
fn check_fresh_tcb(layout: &GlibcLayout, block: Tcb) -> Result<(), &'static str> {
    if errno_address() != block.at(layout.errno_at) {
        return Err("errno is not found by the thread pointer");
    }
    // SAFETY: the caller's own errno.
    unsafe { *libc::__errno_location() = 12 };
    let own = (green_tls::address(), current_word::address());
    let expected = (block.at(layout.green_tls_at), block.at(layout.current_word_at));
    if own != expected || green_tls::is_green() {
        return Err("this crate's thread-local storage is not at a fixed place");
    }
    // SAFETY: no preconditions.
    if unsafe { libc::pthread_self() } != layout.pthread.address(block.address()) as libc::pthread_t {
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
