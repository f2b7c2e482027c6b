//! A value that processes share.

use super::shared::Monitor;
use std::fmt;
use std::io;
use std::sync::Arc;

/// A type whose values mean the same in all processes: plain data, without addresses in them.
///
/// It is there for integers, floats, and arrays of such. For a type of one's own:
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
/// A value of it is good in every process that was forked from the one that has made it, and in its parents: so it has no
/// references or pointers, nor anything that stands for something of one process, as a handle does. All zeros is a value of
/// it.
pub unsafe trait Plain: Copy + Send + 'static {}

macro_rules! plain {
    ($($type:ty)*) => {$(
        // SAFETY: numbers.
        unsafe impl Plain for $type {}
    )*};
}

plain!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64);

// SAFETY: of what is plain.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// A value that processes share, and change one at a time.
///
/// Make it before the processes that use it, and let their closures have a clone. A process that is killed while it changes
/// it leaves it as it was before, or after. No call blocks for longer than another needs to copy the value, and none makes a
/// system call unless that one was stopped meanwhile.
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
    monitor: Arc<Monitor<State<T>>>,
}

#[derive(Clone, Copy)]
struct State<T> {
    value: T,
    /// How often it was changed.
    version: u64,
}

impl<T: Plain> Value<T> {
    /// One that is `value` at first.
    ///
    /// # Errors
    /// No memory; or the kernel has no robust lists, which it needs to bear the death of its users.
    pub fn new(value: T) -> io::Result<Value<T>> {
        Ok(Value { monitor: Arc::new(Monitor::new(State { value, version: 0 }, 0)?) })
    }

    /// What it is now.
    pub fn get(&self) -> T {
        self.monitor.snapshot().value
    }

    /// Makes it `value`.
    pub fn set(&self, value: T) {
        self.swap(value);
    }

    /// Makes it `value`. Answers what it was before.
    pub fn swap(&self, value: T) -> T {
        self.monitor.change(|state| {
            state.version += 1;
            std::mem::replace(&mut state.value, value)
        })
    }

    /// Changes it by `f`, and answers what that answers. If another process changes it while `f` runs, `f` is called again
    /// with what it is then; so it should do nothing else.
    ///
    /// Source: std's `AtomicU64::fetch_update`.
    pub fn update<R>(&self, mut f: impl FnMut(&mut T) -> R) -> R {
        loop {
            let mut new = self.monitor.snapshot();
            // Not under the monitor: it is code of a user, and may do what it likes.
            let answer = f(&mut new.value);
            let stored = self.monitor.try_change(|state| {
                (state.version == new.version).then(|| {
                    state.value = new.value;
                    state.version += 1;
                })
            });
            if stored.is_some() {
                return answer;
            }
        }
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Value").field(&self.get()).finish()
    }
}
