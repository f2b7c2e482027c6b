//! An array that processes share.
//!
//! It is too large to be copied for each change. So there are two arrays, and the state says which one is current:
//!
//! ```text
//!   state: | current: 0 or 1 | pending |      memory: | an element | array 0 | array 1 |
//! ```
//!
//! To change all elements, a process writes the other array and makes it current. To change one element, it writes the
//! element to the place before the arrays, commits that this element is *pending*, and then copies it into the current
//! array. If it is killed before the copy, the next user of the array makes the copy.
//!
//! Next: `process/queue.rs`, messages.

use super::shared::{Monitor, Transaction};
use super::value::Plain;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// An array that processes share, and change one at a time.
///
/// Make it before the processes that use it, and give their closures a clone. If a process is killed while it changes the
/// array, the array is as it was before the change or after it.
///
/// ```
/// use greenline::process::{Array, Process};
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
pub struct Array<T> {
    monitor: Monitor<State>,
    length: usize,
    of: PhantomData<fn(T) -> T>,
}

#[derive(Clone, Copy)]
struct State {
    /// Index of the current array.
    current: usize,
    /// Index of the element that is still to be copied.
    pending: Option<usize>,
    /// Number of changes so far.
    version: u64,
}

impl<T: Plain> Array<T> {
    /// Returns an array with these elements.
    ///
    /// # Errors
    /// No memory; or the kernel has no robust lists, without which it could not survive its users.
    ///
    /// # Panics
    /// `T` must be aligned to more than 64 bytes.
    pub fn new(elements: &[T]) -> io::Result<Array<T>> {
        let array = Array::<T>::zeroed(elements.len())?;
        array.monitor.change(|state| {
            // SAFETY: `place` has checked the length, and no other code has the array yet.
            unsafe { array.place(state, 0, 0).copy_from_nonoverlapping(first(elements), elements.len()) };
        });
        Ok(array)
    }

    /// Returns an array of `length` elements whose bytes are all 0. It takes memory only where it is written to.
    ///
    /// # Errors
    /// The errors of [`new`](Array::new).
    ///
    /// # Panics
    /// As for `new`: `T` must be aligned to more than 64 bytes.
    pub fn zeroed(length: usize) -> io::Result<Array<T>> {
        assert!(align_of::<T>() <= 64, "shared memory is aligned to 64 bytes");
        let size = length.checked_mul(2).and_then(|twice| twice.checked_add(1)?.checked_mul(size_of::<T>()));
        let state = State { current: 0, pending: None, version: 0 };
        let monitor = Monitor::with_memory(state, 0, size.ok_or(io::ErrorKind::OutOfMemory)?)?;
        Ok(Array { monitor, length, of: PhantomData })
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
        self.check(index);
        // SAFETY: an element of the current array.
        self.change(|state| unsafe { self.place(state, state.current, index).read() })
    }

    /// Sets the element at `index` to `value`.
    ///
    /// # Panics
    /// There is no such element.
    pub fn set(&self, index: usize, value: T) {
        self.check(index);
        self.change(|state| self.put(state, index, value));
    }

    /// Changes the element at `index` by `f`, and returns what `f` returns. If another process changes the array while `f`
    /// runs, `f` is called again with the new element. So `f` should have no other effect.
    ///
    /// # Panics
    /// There is no such element.
    pub fn update_at<R>(&self, index: usize, mut f: impl FnMut(&mut T) -> R) -> R {
        self.check(index);
        loop {
            // SAFETY: an element of the current array.
            let (mut value, version) = self
                .change(|state| unsafe { (self.place(state, state.current, index).read(), state.version) });
            let result = f(&mut value);
            let is_stored = self.change(|state| {
                let is_same = state.version == version;
                is_same.then(|| self.put(state, index, value));
                is_same
            });
            if is_stored {
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
            let is_stored = self.change(|state| {
                let (is_same, other) = (state.version == version, 1 - state.current);
                if is_same {
                    let to = self.place(state, other, 0);
                    // SAFETY: the other array, which has as many elements.
                    unsafe { to.copy_from_nonoverlapping(first(&elements), self.length) };
                    state.current = other;
                    state.version += 1;
                }
                is_same
            });
            if is_stored {
                return result;
            }
        }
    }

    /// Returns all elements and their version.
    fn copy(&self) -> (Vec<T>, u64) {
        let mut elements = Vec::with_capacity(self.length);
        let version = self.change(|state| {
            // SAFETY: the vector has room for all elements of the current array.
            unsafe {
                let at = NonNull::new_unchecked(elements.as_mut_ptr());
                self.place(state, state.current, 0).copy_to_nonoverlapping(at, self.length);
                elements.set_len(self.length);
            }
            state.version
        });
        (elements, version)
    }

    fn check(&self, index: usize) {
        assert!(index < self.length, "there is no element {index} in an array of {}", self.length);
    }

    /// Changes the state as [`Monitor::change`] does, after copying what is pending.
    fn change<R>(&self, f: impl FnOnce(&mut Transaction<'_, State>) -> R) -> R {
        self.monitor.change(|state| {
            self.settle(state);
            f(state)
        })
    }

    /// Writes one element of the current array.
    fn put(&self, state: &mut Transaction<'_, State>, index: usize, value: T) {
        // SAFETY: nothing is pending, so the place before the arrays is free.
        unsafe { self.pending(state).write(value) };
        state.pending = Some(index);
        state.version += 1;
        state.commit();
        self.settle(state);
    }

    /// Copies the pending element, whose writer may have been killed.
    fn settle(&self, state: &mut Transaction<'_, State>) {
        if let Some(index) = state.pending.take() {
            // SAFETY: `place` and `pending` lie within the memory. A second copy does no harm.
            unsafe {
                self.place(state, state.current, index).copy_from_nonoverlapping(self.pending(state), 1)
            };
            state.commit();
        }
    }

    fn pending(&self, state: &Transaction<'_, State>) -> NonNull<T> {
        state.memory(0, size_of::<T>()).cast()
    }

    /// Returns where the element at `index` of that array is. The later elements follow.
    fn place(&self, state: &Transaction<'_, State>, array: usize, index: usize) -> NonNull<T> {
        let at = 1 + array * self.length + index;
        state.memory(at * size_of::<T>(), (self.length - index) * size_of::<T>()).cast()
    }
}

fn first<T>(elements: &[T]) -> NonNull<T> {
    NonNull::from(elements).cast()
}

impl<T> Clone for Array<T> {
    fn clone(&self) -> Array<T> {
        Array { monitor: self.monitor.clone(), length: self.length, of: PhantomData }
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.to_vec()).finish()
    }
}
