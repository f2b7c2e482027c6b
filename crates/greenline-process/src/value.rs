//! A value that processes share: an array of one element.
//!
//! Next: `array.rs`, many values.

use super::array::{Array, Plain};
use std::fmt;
use std::io;

/// A value that processes share, and change one at a time.
///
/// Make it before the processes that use it, and give their closures a clone. If a process is killed while it changes the
/// value, the value is as it was before the change or after it. No call blocks for longer than another needs to copy the
/// value. No call makes a system call unless the other one was stopped meanwhile.
///
/// ```
/// use greenline_process::{Process, Value};
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
    /// It has one element.
    array: Array<T>,
}

impl<T: Plain> Value<T> {
    /// Returns a shared value that is `value` at first.
    ///
    /// # Errors
    /// No memory; or the kernel has no robust lists, without which it could not survive its users.
    pub fn new(value: T) -> io::Result<Value<T>> {
        Ok(Value { array: Array::new(&[value])? })
    }

    /// Returns the current value.
    pub fn get(&self) -> T {
        self.array.get(0)
    }

    /// Sets it to `value`.
    pub fn set(&self, value: T) {
        self.array.set(0, value);
    }

    /// Sets it to `value`. Returns the value before.
    pub fn swap(&self, value: T) -> T {
        self.update(|current| std::mem::replace(current, value))
    }

    /// Changes it by `f`, and returns what `f` returns. If another process changes it while `f` runs, `f` is called again
    /// with the new value (a compare-and-swap loop). So `f` should have no other effect.
    ///
    /// Source: std's `AtomicU64::fetch_update`.
    pub fn update<R>(&self, f: impl FnMut(&mut T) -> R) -> R {
        self.array.update_at(0, f)
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Value").field(&self.get()).finish()
    }
}
