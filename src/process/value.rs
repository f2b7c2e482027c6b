//! A value that processes share.
//!
//! Next: `process/array.rs`, many values.

use super::shared::Monitor;
use std::fmt;
use std::io;

/// A type whose values mean the same in all processes: plain data, without addresses in them.
///
/// Integers, floats and arrays of them implement it. For another type:
///
/// ```
/// use greenline::process::{Plain, Value};
///
/// #[derive(Clone, Copy)]
/// struct Point {
///     x: f64,
///     y: f64,
/// }
/// // SAFETY: numbers only.
/// unsafe impl Plain for Point {}
///
/// let point = Value::new(Point { x: 1.0, y: 2.0 }).unwrap();
/// point.update(|point| point.x += point.y);
/// assert_eq!(point.get().x, 3.0);
/// ```
///
/// # Safety
/// A value is valid in every process that was forked from the one that has made it, and in its parents. So it has no
/// references or pointers, and no handles to what belongs to one process. All zeros are a valid value.
pub unsafe trait Plain: Copy + Send + 'static {}

macro_rules! plain {
    ($($type:ty)*) => {$(
        // SAFETY: numbers only.
        unsafe impl Plain for $type {}
    )*};
}

plain!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64);

// SAFETY: the elements are plain.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// A value that processes share, and change one at a time.
///
/// Make it before the processes that use it, and give their closures a clone. If a process is killed while it changes the
/// value, the value is as it was before the change or after it. No call blocks for longer than another needs to copy the
/// value. No call makes a system call unless the other one was stopped meanwhile.
///
/// ```
/// use greenline::process::{Process, Value};
///
/// let count = Value::new(0u64).unwrap();
/// let inside = count.clone();
/// let child = Process::new(move || inside.update(|count| *count += 2)).start().unwrap();
/// count.update(|count| *count += 1);
/// child.join().unwrap();
/// assert_eq!(count.get(), 3);
/// ```
///
/// Source: Python's `multiprocessing.Value`, of which `value += 1` needs a lock.
#[derive(Clone)]
pub struct Value<T> {
    monitor: Monitor<State<T>>,
}

#[derive(Clone, Copy)]
struct State<T> {
    value: T,
    /// Number of changes so far.
    version: u64,
}

impl<T: Plain> Value<T> {
    /// Returns a shared value that is `value` at first.
    ///
    /// # Errors
    /// No memory; or the kernel has no robust lists, without which it could not survive its users.
    pub fn new(value: T) -> io::Result<Value<T>> {
        Ok(Value { monitor: Monitor::new(State { value, version: 0 }, 0)? })
    }

    /// Returns the current value.
    pub fn get(&self) -> T {
        self.monitor.snapshot().value
    }

    /// Sets it to `value`.
    pub fn set(&self, value: T) {
        self.swap(value);
    }

    /// Sets it to `value`. Returns the value before.
    pub fn swap(&self, value: T) -> T {
        self.monitor.change(|state| {
            state.version += 1;
            std::mem::replace(&mut state.value, value)
        })
    }

    /// Changes it by `f`, and returns what `f` returns. If another process changes it while `f` runs, `f` is called again
    /// with the new value (a compare-and-swap loop). So `f` should have no other effect.
    ///
    /// Source: std's `AtomicU64::fetch_update`.
    pub fn update<R>(&self, mut f: impl FnMut(&mut T) -> R) -> R {
        loop {
            let State { mut value, version } = self.monitor.snapshot();
            // Outside of the monitor, because it is code of a user.
            let result = f(&mut value);
            let stored = self.monitor.try_change(|state| {
                (state.version == version).then(|| **state = State { value, version: version + 1 })
            });
            if stored.is_some() {
                return result;
            }
        }
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Value").field(&self.get()).finish()
    }
}
