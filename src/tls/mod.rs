//! A thread control block for each green thread, so that it is a thread of its own to std and to C.
//!
//! What a thread *is*, to code that has never heard of greenline, hangs on one register: the thread pointer.
//! It points at the thread control block; `thread_local!` values, `errno`, `thread::current()`, std's count of
//! panics and C's `pthread_self` are all found from there. So a green thread that has a block of its own, loaded
//! whenever it runs, has all of these of its own, and std never knows.
//!
//! ```text
//!   low   [ TLS of libraries | of the executable ] [ struct pthread: tid, dtv, keys, ... ]   high     (x86_64)
//!                                                  ^ thread pointer
//! ```
//!
//! Three things are not the green thread's own. The words by which malloc finds its cache and its arena are
//! carried along from block to block at each switch, so malloc goes on seeing one OS thread. `HUB`
//! ([`crate::hub`]) is planted in each block, so the hub is found from all of them. And the thread id stays the
//! OS thread's, which is what the kernel knows.
//!
//! The block is loaded by the hub's loop, straight from one green thread's to the next one's; the loop itself
//! runs with whichever was loaded last and does not care, for it uses nothing thread-local. Where it calls what
//! does, it goes home first: [`crate::hub`]'s `load_os_thread_tcb`.
//!
//! Holds: a block is loaded on one OS thread at most, and only by the hub that made it. It is not used again
//! before its green thread has ended and, if somebody may join it, was joined. Read next: `tls/layout.rs`, what
//! is relied on of glibc, and how that is probed.
#![allow(unsafe_code)]

mod destructors;
mod layout;
mod memory;

use crate::arch::{prefetch::prefetch, thread_pointer};
use crate::sys::current_word;
use crate::sys::tid::gettid;
pub(crate) use destructors::{
    Destructor, forget_key, has_tls_destructors, note_destruction, note_key, push_destructor, run_destructors,
};
pub(crate) use layout::probe;
use layout::{GlibcLayout, LAYOUT};
use std::cell::{Cell, RefCell, UnsafeCell};
use std::ffi::c_void;
use std::io;
use std::mem::ManuallyDrop;
use std::num::NonZero;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU32};

/// A thread control block, by its thread pointer: an OS thread's, or one of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tcb(NonZero<usize>);

/// What we keep about a green thread in its own thread-local storage, where anybody who has its `pthread_t`
/// finds it. In an OS thread's it stays as it is here.
pub(crate) struct GreenTls {
    /// Which green thread, counted from 1; 0 in an OS thread's.
    number: Cell<u32>,
    /// `ENDED`, `DETACHED`: a futex that joiners wait on.
    life: AtomicU32,
    /// What it returns, once that is known.
    result: Cell<Option<*mut c_void>>,
    /// From the guard page to the top.
    stack: Cell<(usize, usize)>,
    /// Emptied when it ends; never dropped, so that the thread-local needs no destructor.
    destructors: UnsafeCell<ManuallyDrop<Vec<destructors::Destructor>>>,
    /// What `pthread_setname_np` said.
    name: Cell<[u8; 16]>,
    /// Made by `pthread_create`.
    is_pthread: Cell<bool>,
    /// Counts the destructors of thread-locals that were begun; 0 while the thread lives. Of OS threads, too.
    ending: Cell<u32>,
}

/// `GreenTls::life`: it has ended.
pub(crate) const ENDED: u32 = 1;
/// `GreenTls::life`: nobody will join it.
pub(crate) const DETACHED: u32 = 2;

thread_local! {
    static BLOCK: GreenTls = const {
        GreenTls {
            number: Cell::new(0),
            life: AtomicU32::new(0),
            result: Cell::new(None),
            stack: Cell::new((0, 0)),
            destructors: UnsafeCell::new(ManuallyDrop::new(Vec::new())),
            name: Cell::new([0; 16]),
            is_pthread: Cell::new(false),
            ending: Cell::new(0),
        }
    };
}

/// Whether green threads get blocks of their own, from now on.
static WANTED: AtomicBool = AtomicBool::new(false);

/// Whether a green thread that begins now gets one.
#[inline]
pub(crate) fn is_wanted() -> bool {
    WANTED.load(Relaxed)
}

/// From now on they do. `probe` has answered that they can.
pub(crate) fn want() {
    debug_assert!(LAYOUT.get().is_some());
    WANTED.store(true, Relaxed);
}

/// The block of who calls: never one of ours in an OS thread without a hub.
pub(crate) fn own_block<R>(f: impl FnOnce(&GreenTls) -> R) -> Option<R> {
    BLOCK.with(|block| block.is_ours().then(|| f(block)))
}

/// Whether who calls has a block of its own.
#[inline]
pub(crate) fn has_own() -> bool {
    BLOCK.with(GreenTls::is_ours)
}

/// Whose thread-locals are in use, and whether some of them were destroyed since: what code that may have borrowed one
/// compares before it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct TlsOwner {
    /// 0 for the OS thread's.
    of: u32,
    destroyed: u32,
}

/// Those of who calls.
pub(crate) fn locals() -> TlsOwner {
    BLOCK.with(|block| TlsOwner { of: block.number(), destroyed: block.ending.get() })
}

/// Whether who calls was made by `pthread_create`.
pub(crate) fn is_pthread() -> bool {
    own_block(|block| block.is_pthread.get()).unwrap_or(false)
}

impl Tcb {
    /// What is loaded now.
    #[inline(always)]
    pub(crate) fn loaded() -> Tcb {
        // SAFETY: an address of something.
        Tcb(unsafe { NonZero::new_unchecked(thread_pointer::get()) })
    }

    /// Asks the processor to bring in what a switch to it needs.
    #[inline(always)]
    pub(crate) fn prefetch(self) {
        for at in layout::carried().chain(layout::hot()) {
            prefetch::<1>(self.at(at));
        }
    }

    /// The address at that distance from it.
    #[inline(always)]
    fn at(self, distance: isize) -> usize {
        self.0.get().wrapping_add_signed(distance)
    }

    /// The `pthread_t` of its thread.
    pub(crate) fn pthread(self) -> libc::pthread_t {
        thread_pointer::to_pthread(self.0.get(), layout().pthread_size) as libc::pthread_t
    }

    /// Whether it is that of a green thread that `pthread_create` has made, and that has not ended.
    pub(crate) fn is_pthread(self) -> bool {
        // SAFETY: only asked of what a record names: the OS thread's, or that of a green thread which has not ended.
        LAYOUT.get().is_some() && unsafe { self.block() }.is_pthread.get()
    }

    /// The kernel's id of its OS thread.
    ///
    /// # Safety
    /// The thread control block lives.
    pub(crate) unsafe fn tid(self) -> u32 {
        // SAFETY: the caller's.
        unsafe { layout().tid(self.0.get()) }
    }

    /// The block of a `pthread_t`, if that is a green thread of ours.
    ///
    /// # Safety
    /// `pthread` is that of a thread that has not been joined, nor ended detached: what C asks of one that
    /// gives it to a function.
    pub(crate) unsafe fn of_pthread(pthread: libc::pthread_t) -> Option<Tcb> {
        let layout = LAYOUT.get()?;
        let tcb = Tcb(NonZero::new(thread_pointer::of_pthread(pthread as usize, layout.pthread_size))?);
        // SAFETY: every thread's storage has a GreenTls at the same place, and lives as long as its pthread_t.
        unsafe { tcb.block().is_ours().then_some(tcb) }
    }

    /// # Safety
    /// The thread control block lives for as long as the answer is used.
    unsafe fn block<'a>(self) -> &'a GreenTls {
        // SAFETY: `probe` has found the GreenTls at this distance from every thread pointer.
        unsafe { &*(self.at(layout().block_at) as *const GreenTls) }
    }

    /// Its `GreenTls`, of a block of ours.
    ///
    /// # Safety
    /// As for [`of_pthread`](Tcb::of_pthread).
    pub(crate) unsafe fn green<'a>(self) -> &'a GreenTls {
        // SAFETY: the caller's.
        unsafe { self.block() }
    }
}

fn layout() -> &'static GlibcLayout {
    LAYOUT.get().expect("blocks are made only after a successful probe")
}

/// The blocks of one hub.
pub(crate) struct TcbPool {
    /// The OS thread's own.
    home: Tcb,
    idle: RefCell<Vec<Tcb>>,
}

impl TcbPool {
    /// For the OS thread that calls.
    pub(crate) fn new() -> TcbPool {
        TcbPool { home: Tcb::loaded(), idle: RefCell::default() }
    }

    #[inline(always)]
    pub(crate) fn os_thread_tcb(&self) -> Tcb {
        self.home
    }

    /// Returns a block for a new green thread, in which nothing was ever stored. `owner` becomes its
    /// [`current_word`](crate::sys::current_word).
    ///
    /// Errors: no memory.
    pub(crate) fn take(&self, owner: *const ()) -> io::Result<Tcb> {
        let idle = self.idle.borrow_mut().pop();
        let layout = layout();
        let tcb = match idle {
            Some(tcb) => {
                // SAFETY: it is ours, idle and not loaded.
                unsafe { layout.clean(tcb) };
                tcb
            }
            None => Tcb(layout.allocate().and_then(NonZero::new).ok_or_else(|| {
                let kind = io::ErrorKind::OutOfMemory;
                io::Error::new(kind, "no memory for a green thread's control block")
            })?),
        };
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        // SAFETY: complete, ours, and nobody else knows it yet. The id is that of the OS thread whose blocks
        // these are.
        unsafe {
            layout.set_tid(tcb.0.get(), layout.tid(self.home.0.get()));
            layout.seed(tcb, self.home);
            let block = tcb.block();
            // Above all thread ids that the kernel gives (2^22), below the bits that futexes set aside.
            block.number.set(1 << 28 | NUMBER.fetch_add(1, Relaxed) & ((1 << 28) - 1));
            current_word::set_at(tcb.at(layout.hub_at), owner);
        }
        Ok(tcb)
    }

    /// The green thread of that block is one to C as well, by `pthread_create`.
    pub(crate) fn begin_pthread(&self, tcb: Tcb, detached: bool) {
        // SAFETY: a block of ours, whose green thread has not begun.
        unsafe { tcb.block() }.begin_pthread(detached);
    }

    /// Notes where the stack of its green thread lies.
    pub(crate) fn set_stack(&self, tcb: Tcb, bounds: std::ops::Range<usize>) {
        if tcb != self.home {
            // SAFETY: a block of ours, whose green thread has not ended.
            unsafe { tcb.block() }.stack.set((bounds.start, bounds.end));
        }
    }

    /// Its green thread has ended. Takes the block back; or, if somebody may join it, leaves the block to the joiner. In the
    /// latter case returns the address of the futex that joiners wait on: the caller wakes them all.
    ///
    /// # Safety
    /// The block is not loaded, and the green thread runs no more.
    #[inline(never)]
    #[must_use]
    pub(crate) unsafe fn end(&self, tcb: Tcb) -> Option<usize> {
        // SAFETY: a block of ours; until it is joined, somebody may look at it.
        let (life, is_pthread) = unsafe { (&tcb.block().life, tcb.block().is_pthread.get()) };
        if !is_pthread || life.fetch_or(ENDED, AcqRel) & DETACHED != 0 {
            // SAFETY: the caller's, and nobody may join it.
            unsafe { self.put(tcb) };
            None
        } else {
            // From here on a joiner may take it back. Only the word's address is used.
            Some(life.as_ptr() as usize)
        }
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// Its green thread has ended, is not joined any more, and the block is not loaded.
    pub(crate) unsafe fn put(&self, tcb: Tcb) {
        // SAFETY: the caller's.
        if unsafe { layout().can_be_cleaned(tcb.0.get()) } {
            self.idle.borrow_mut().push(tcb);
        } else {
            // SAFETY: the same.
            unsafe { free(tcb) };
        }
    }
}

/// Takes back the block of a green thread that has ended and was joined or detached, on any OS thread. `pool` is the pool of
/// the calling OS thread's hub, if it has one, and takes the block if it has made it.
///
/// # Safety
/// As for [`TcbPool::put`].
pub(crate) unsafe fn take_back(tcb: Tcb, pool: Option<&TcbPool>) {
    // SAFETY: the caller's.
    unsafe {
        let made_by = current_word::get_at(tcb.at(layout().hub_at));
        match pool.filter(|_| made_by == current_word::get()) {
            Some(pool) => pool.put(tcb),
            None => free(tcb),
        }
    }
}

/// Gives a block back to the C library.
///
/// # Safety
/// As for [`TcbPool::put`].
unsafe fn free(tcb: Tcb) {
    // SAFETY: the caller's.
    unsafe { layout().free(tcb.0.get()) };
}

impl Drop for TcbPool {
    fn drop(&mut self) {
        for tcb in self.idle.borrow_mut().drain(..) {
            // SAFETY: idle, and ours.
            unsafe { free(tcb) };
        }
    }
}

/// Leaves the block `from`, which is loaded, for the block `to`, on the same OS thread.
///
/// # Safety
/// Both live; `from` is loaded. The caller's frame does not use anything thread-local before and after as if it
/// were the same: the compiler may keep its address.
#[inline(always)]
pub(crate) unsafe fn load(from: Tcb, to: Tcb) {
    // SAFETY: `probe` has found these words in every block.
    unsafe {
        for at in layout::carried() {
            let (source, sink) = (from.at(at) as *const usize, to.at(at) as *mut usize);
            sink.write(source.read());
        }
        thread_pointer::set(to.0.get());
    }
}

impl GreenTls {
    #[inline]
    fn is_ours(&self) -> bool {
        self.number.get() != 0
    }

    /// What tells it from all other threads, where C wants a thread id that is its own.
    pub(crate) fn number(&self) -> u32 {
        self.number.get()
    }

    /// The word that joiners wait on.
    pub(crate) fn life(&self) -> &AtomicU32 {
        &self.life
    }

    pub(crate) fn result(&self) -> Option<*mut c_void> {
        self.result.get()
    }

    pub(crate) fn set_result(&self, result: *mut c_void) {
        self.result.set(Some(result));
    }

    /// Where its stack lies: the guard page, and the top.
    pub(crate) fn stack(&self) -> (usize, usize) {
        self.stack.get()
    }

    pub(crate) fn name(&self) -> [u8; 16] {
        self.name.get()
    }

    pub(crate) fn set_name(&self, name: [u8; 16]) {
        self.name.set(name);
    }

    /// It was made by `pthread_create`, and can be joined unless it is detached.
    fn begin_pthread(&self, detached: bool) {
        self.is_pthread.set(true);
        self.life.store(if detached { DETACHED } else { 0 }, Relaxed);
    }
}

/// The kernel's id of this OS thread has changed: it is the only one of a forked child.
pub(crate) fn renew_tid() {
    if has_own() {
        // SAFETY: a block of ours, loaded; no preconditions.
        unsafe { layout().set_tid(Tcb::loaded().0.get(), gettid() as u32) };
    }
}

/// What C's mutexes note as their owner when who runs takes them.
pub(crate) fn mutex_owner_tid() -> Option<i32> {
    let layout = LAYOUT.get()?;
    let own = own_block(GreenTls::number);
    // SAFETY: the block that is loaded.
    Some(own.unwrap_or_else(|| unsafe { layout.tid(Tcb::loaded().0.get()) }) as i32)
}

/// The thread id that C's mutexes know their owner by, while `f` runs: the green thread's own.
pub(crate) fn with_green_tid<R>(f: impl FnOnce() -> R) -> R {
    let Some(number) = own_block(GreenTls::number) else { return f() };
    let (layout, here) = (layout(), Tcb::loaded());
    // SAFETY: a block of ours, loaded; the kernel does not read the word, and `f` does not switch.
    unsafe {
        let tid = layout.tid(here.0.get());
        layout.set_tid(here.0.get(), number);
        let answer = f();
        layout.set_tid(here.0.get(), tid);
        answer
    }
}
