//! Green-thread-local storage: each green thread has its own value of a key.
//!
//! Next: `hub/info.rs`, which finds the values in the record.
//!
//! Source: gevent's `local.local`, in the shape of `std::thread_local!`.

use crate::api::current_hub::current_or_init;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::ptr::from_ref;
use std::rc::Rc;

/// A key with a value per green thread, declared by [`green_local!`](crate::green_local).
///
/// A value is made at the green thread's first use. It is dropped when the green thread ends, even if its handle is kept. A
/// green thread drops its values on its own stack, in the order in which they were made. The root, the OS thread's own stack,
/// has values, too. They live as long as its hub.
pub struct LocalKey<T: 'static> {
    init: fn() -> T,
}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    pub const fn new(init: fn() -> T) -> Self {
        LocalKey { init }
    }

    /// Calls `f` with the running green thread's value. Makes the value first if there is none.
    ///
    /// `f` may block. The value stays alive while `f` uses it.
    ///
    /// # Panics
    /// If the OS thread is ending and its hub is gone: see [`try_with`](Self::try_with).
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.try_with(f).expect("a green_local was used after its hub had ended")
    }

    /// Calls `f` as [`with`](Self::with) does, but does not panic.
    ///
    /// # Errors
    /// The OS thread is ending and its hub is gone.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let Some(hub) = current_or_init() else { return Err(AccessError(())) };
        // Each key is a static of its own, and not of size zero. So it has an address of its own.
        let key = from_ref(self).cast::<()>();
        // A value is made without a borrow, because `init` may block, or use other locals.
        let value = hub.local(key).unwrap_or_else(|| hub.set_local(key, Rc::new((self.init)())));
        let value = value.downcast::<T>().expect("a key's address belongs to one type");
        Ok(f(&value))
    }
}

impl<T: Copy + 'static> LocalKey<Cell<T>> {
    /// Returns the running green thread's value.
    pub fn get(&'static self) -> T {
        self.with(Cell::get)
    }

    /// Sets the running green thread's value.
    pub fn set(&'static self, value: T) {
        self.with(|cell| cell.set(value));
    }
}

impl<T: 'static> LocalKey<RefCell<T>> {
    /// Calls `f` with the running green thread's value, borrowed. While `f` blocks, the value stays borrowed.
    ///
    /// # Panics
    /// If the value is borrowed mutably already.
    pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Calls `f` with the running green thread's value, borrowed mutably.
    ///
    /// # Panics
    /// If the value is borrowed already.
    pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

/// The OS thread is ending. Its hub is gone, and with it the values of its green threads.
#[derive(Debug)]
pub struct AccessError(());

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this OS thread is ending and its hub is gone")
    }
}

impl std::error::Error for AccessError {}

/// Declares keys with a value per green thread, with the syntax of `std::thread_local!`.
///
/// The green threads of a hub share the `thread_local!` values of their OS thread. They do not share these.
///
/// ```
/// use std::cell::Cell;
/// greenline::green_local! {
///     static STEPS: Cell<u32> = Cell::new(0);
/// }
///
/// let step = || {
///     for _ in 0..3 {
///         STEPS.set(STEPS.get() + 1);
///         greenline::yield_now();
///     }
///     STEPS.get()
/// };
/// let both = greenline::join_all([greenline::spawn(step), greenline::spawn(step)]);
/// assert!(both.into_iter().all(|steps| steps.unwrap() == 3));
/// assert_eq!(STEPS.get(), 0);
/// ```
#[macro_export]
macro_rules! green_local {
    () => {};
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr; $($rest:tt)*) => {
        $crate::green_local!($(#[$attr])* $vis static $name: $t = $init);
        $crate::green_local!($($rest)*);
    };
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr) => {
        $(#[$attr])* $vis static $name: $crate::LocalKey<$t> = {
            fn init() -> $t { $init }
            $crate::LocalKey::new(init)
        };
    };
}
