//! The crate's data about a green thread, in the green thread's own thread-local storage.
//!
//! The storage of every thread has a [`GreenTls`] at the same distance from the thread pointer. Code that has the
//! `pthread_t` of a green thread finds it there. In the storage of an OS thread it keeps its initial value.
//!
//! Next: `tls/destructors.rs`, the destructors that it lists.

use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

pub(crate) struct GreenTls {
    /// Number of the green thread, which no other thread has; 0 in the storage of an OS thread. C's locks note it as the
    /// thread id of their owner.
    pub(crate) number: Cell<u32>,
    /// [`ENDED`] and [`DETACHED`]. A futex for joiners.
    pub(crate) join_state: AtomicU32,
    /// Result of the thread, once it is known.
    pub(crate) result: Cell<Option<*mut c_void>>,
    /// Addresses of the stack's guard page and of its top.
    pub(crate) stack: Cell<(usize, usize)>,
    /// Emptied when the green thread ends. Never dropped, so that the thread-local itself has no destructor.
    pub(super) destructors: UnsafeCell<ManuallyDrop<Vec<Destructor>>>,
    /// Name given by `pthread_setname_np`.
    pub(crate) name: Cell<[u8; 16]>,
    pub(super) is_pthread: Cell<bool>,
    /// Number of destructors of thread-locals that were begun. OS threads count theirs, too.
    pub(super) tls_destructors_run: Cell<u32>,
}

/// A destructor and its argument.
pub(crate) type Destructor = (unsafe extern "C" fn(*mut c_void), *mut c_void);

/// Flag of `join_state`: the green thread has ended.
pub(crate) const ENDED: u32 = 1;
/// Flag of `join_state`: no thread will join the green thread. Set, too, if `pthread_create` has not made it.
pub(crate) const DETACHED: u32 = 2;

/// Whether a new green thread is a thread to C, as `pthread_create` makes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PthreadKind {
    NotPthread,
    Joinable,
    Detached,
}

thread_local! {
    static GREEN_TLS: GreenTls = const {
        GreenTls {
            number: Cell::new(0),
            join_state: AtomicU32::new(0),
            result: Cell::new(None),
            stack: Cell::new((0, 0)),
            destructors: UnsafeCell::new(ManuallyDrop::new(Vec::new())),
            name: Cell::new([0; 16]),
            is_pthread: Cell::new(false),
            tls_destructors_run: Cell::new(0),
        }
    };
}

/// Calls `f` with the `GreenTls` of the thread control block that is loaded: a green thread's or an OS thread's.
#[inline(always)]
pub(super) fn with_loaded<R>(f: impl FnOnce(&GreenTls) -> R) -> R {
    GREEN_TLS.with(f)
}

/// Returns the address of the `GreenTls` that is loaded.
pub(super) fn address() -> usize {
    with_loaded(|green| std::ptr::from_ref(green) as usize)
}

/// Calls `f` with the caller's `GreenTls`. Returns `None` if the caller is not a green thread that has a thread control
/// block of its own.
pub(crate) fn with_green_tls<R>(f: impl FnOnce(&GreenTls) -> R) -> Option<R> {
    with_loaded(|green| green.is_green().then(|| f(green)))
}

/// Returns whether the caller is a green thread that has a thread control block of its own.
#[inline]
pub(crate) fn is_green() -> bool {
    with_loaded(GreenTls::is_green)
}

/// Returns whether `pthread_create` has made the caller, a green thread.
pub(crate) fn is_pthread() -> bool {
    with_loaded(|green| green.is_pthread.get())
}

impl GreenTls {
    #[inline]
    pub(super) fn is_green(&self) -> bool {
        self.number.get() != 0
    }

    /// Initialises a fresh `GreenTls` for a green thread.
    pub(super) fn init(&self, stack: std::ops::Range<usize>, kind: PthreadKind) {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        // Above all thread ids of the kernel (2^22), below the bits that futexes set aside.
        self.number.set(1 << 28 | NUMBER.fetch_add(1, Relaxed) & ((1 << 28) - 1));
        self.stack.set((stack.start, stack.end));
        self.is_pthread.set(kind != PthreadKind::NotPthread);
        self.join_state.store(if kind == PthreadKind::Joinable { 0 } else { DETACHED }, Relaxed);
    }
}

/// Identifies the thread-local storage that is loaded, by the number of its green thread, and how many of its values were
/// destroyed.
///
/// Code that may have borrowed a thread-local compares this value before it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct TlsOwner(u32, u32);

impl TlsOwner {
    /// Returns the owner of the storage that is loaded.
    pub(crate) fn current() -> TlsOwner {
        with_loaded(|green| TlsOwner(green.number.get(), green.tls_destructors_run.get()))
    }
}
