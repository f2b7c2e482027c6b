//! An array that processes share.
//!
//! It is too large to be copied for each change. So there are two arrays, and the state says which one is current:
//!
//! ```text
//!   state: | current: 0 or 1 | pending: index, element |      memory: | array 0 | array 1 |
//! ```
//!
//! To change all elements, a process writes the other array and makes it current. To change one element, it commits that
//! the new element is *pending* (a write-ahead log of one entry). The next user of the array copies it into the current
//! array before anything else. If that user is killed before its own commit, the one after it makes the copy again.
//!
//! Next: `queue.rs`, messages.

use super::shared::{Monitor, Transaction};
use std::fmt;
use std::io;
use std::ptr::NonNull;

/// A type whose values mean the same in all processes: plain data, without addresses in them.
///
/// Integers, floats and arrays of them implement it. For another type:
///
/// ```
/// use greenline_process::{Plain, Value};
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

/// An array that processes share, and change one at a time.
///
/// Make it before the processes that use it, and give their closures a clone. If a process is killed while it changes the
/// array, the array is as it was before the change or after it.
///
/// ```
/// use greenline_process::{Array, Process};
///
/// let squares = Array::new(&[0u32; 4]).unwrap();
/// let children: Vec<_> = (0..4)
///     .map(|number| {
///         let squares = squares.clone();
///         Process::new(move || squares.set(number, (number * number) as u32)).start().unwrap()
///     })
///     .collect();
/// children.iter().for_each(|child| assert_eq!(child.join().unwrap(), 0));
/// assert_eq!(squares.to_vec(), [0, 1, 4, 9]);
/// ```
///
/// Source: Python's `multiprocessing.Array`.
#[derive(Clone)]
pub struct Array<T> {
    monitor: Monitor<State<T>>,
    length: usize,
}

#[derive(Clone, Copy)]
struct State<T> {
    /// Index of the current array.
    current: usize,
    /// Index and value of the element that is still to be copied into the current array.
    pending: Option<(usize, T)>,
    /// Number of changes so far.
    version: u64,
}

impl<T: Plain> Array<T> {
    /// Returns an array with these elements.
    ///
    /// # Errors
    /// No memory; or the kernel has no robust lists, without which it could not survive its users.
    pub fn new(elements: &[T]) -> io::Result<Array<T>> {
        let array = Array::zeroed(elements.len())?;
        array.change(|state| state.write(0, elements));
        Ok(array)
    }

    /// Returns an array of `length` elements whose bytes are all 0. It takes memory only where it is written to.
    ///
    /// # Errors
    /// The errors of [`new`](Array::new).
    pub fn zeroed(length: usize) -> io::Result<Array<T>> {
        let size = length.checked_mul(2).and_then(|twice| twice.checked_mul(size_of::<T>()));
        let state = State { current: 0, pending: None, version: 0 };
        let monitor = Monitor::with_memory(state, 0, size.ok_or(io::ErrorKind::OutOfMemory)?)?;
        Ok(Array { monitor, length })
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Returns whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Returns the element at `index`.
    ///
    /// # Panics
    /// There is no such element.
    pub fn get(&self, index: usize) -> T {
        self.look(index).0
    }

    /// Sets the element at `index` to `value`.
    ///
    /// # Panics
    /// There is no such element.
    pub fn set(&self, index: usize, value: T) {
        self.check(index);
        self.change(|state| {
            state.pending = Some((index, value));
            state.version += 1;
        });
    }

    /// Changes the element at `index` by `f`, and returns what `f` returns. If another process changes the array while `f`
    /// runs, `f` is called again with the new element. So `f` should have no other effect.
    ///
    /// # Panics
    /// There is no such element.
    pub fn update_at<R>(&self, index: usize, mut f: impl FnMut(&mut T) -> R) -> R {
        loop {
            let (mut value, version) = self.look(index);
            let result = f(&mut value);
            if self.change_if(version, |state| state.pending = Some((index, value))) {
                return result;
            }
        }
    }

    /// Returns all elements, as they are at one time.
    pub fn to_vec(&self) -> Vec<T> {
        self.copy().0
    }

    /// Changes the elements by `f`, all at one time, and returns what `f` returns. If another process changes the array
    /// while `f` runs, `f` is called again with the new elements. So `f` should have no other effect, and not take long. If
    /// it takes long, let all processes use a [`Lock`](super::Lock).
    pub fn update<R>(&self, mut f: impl FnMut(&mut [T]) -> R) -> R {
        loop {
            let (mut elements, version) = self.copy();
            let result = f(&mut elements);
            let is_stored = self.change_if(version, |state| {
                state.current = 1 - state.current;
                state.write(self.place(state.current, 0), &elements);
            });
            if is_stored {
                return result;
            }
        }
    }

    /// Returns the element at `index`, and the version of the array.
    fn look(&self, index: usize) -> (T, u64) {
        self.check(index);
        self.change(|state| {
            let place = state.memory(self.place(state.current, index), size_of::<T>());
            // SAFETY: an element of the current array.
            (unsafe { place.cast().read() }, state.version)
        })
    }

    /// Returns all elements and their version.
    fn copy(&self) -> (Vec<T>, u64) {
        let mut elements = Vec::with_capacity(self.length);
        let version = self.change(|state| {
            let array = state.memory(self.place(state.current, 0), self.length * size_of::<T>());
            // SAFETY: the vector has room for all elements of the current array.
            unsafe {
                let room = NonNull::new_unchecked(elements.as_mut_ptr());
                array.cast().copy_to_nonoverlapping(room, self.length);
                elements.set_len(self.length);
            }
            state.version
        });
        (elements, version)
    }

    fn check(&self, index: usize) {
        assert!(index < self.length, "there is no element {index} in an array of {}", self.length);
    }

    /// Changes the state as [`Monitor::change`] does, after copying what is pending. Its writer did not copy it.
    fn change<R>(&self, f: impl FnOnce(&mut Transaction<'_, State<T>>) -> R) -> R {
        self.monitor.change(|state| {
            if let Some((index, value)) = state.pending.take() {
                // Until the commit, the element is still pending. A second copy does no harm.
                state.write(self.place(state.current, index), &[value]);
            }
            f(state)
        })
    }

    /// Changes the state by `f` if the array still has that version, and returns whether it has.
    fn change_if(&self, version: u64, f: impl FnOnce(&mut Transaction<'_, State<T>>)) -> bool {
        self.change(|state| {
            let is_same = state.version == version;
            if is_same {
                state.version += 1;
                f(state);
            }
            is_same
        })
    }

    /// Returns where in the memory the element at `index` of that array is. The later elements follow.
    fn place(&self, array: usize, index: usize) -> usize {
        (array * self.length + index) * size_of::<T>()
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.to_vec()).finish()
    }
}
