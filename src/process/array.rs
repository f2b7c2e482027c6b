//! An array that processes share.
//!
//! It is too large to be copied for each change, so there are two of it, of which the state says which one counts:
//!
//! ```text
//!   state: | current: 0 or 1 | pending |      memory: | an element | array 0 | array 1 |
//! ```
//!
//! To change much, the array that does not count is written, and then counts. To change one element, it is written to the
//! place before the arrays; then the state says that it is *pending* for that place in the array, and it is copied there. One
//! that is killed before it has done that leaves it to whoever comes next.

use super::shared::{Monitor, Transaction};
use super::value::Plain;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

/// An array that processes share, and change one at a time.
///
/// Make it before the processes that use it, and let their closures have a clone. A process that is killed while it changes
/// it leaves it as it was before, or after.
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
    monitor: Arc<Monitor<State>>,
    length: usize,
    of: PhantomData<fn(T) -> T>,
}

#[derive(Clone, Copy)]
struct State {
    current: usize,
    /// The element that is to be written still.
    pending: Option<usize>,
    /// How often it was changed.
    version: u64,
}

impl<T: Plain> Array<T> {
    /// One with these elements.
    ///
    /// # Errors
    /// No memory; or the kernel has no robust lists, which it needs to bear the death of its users.
    ///
    /// # Panics
    /// When `T` wants to be aligned to more than 64 bytes.
    pub fn new(elements: &[T]) -> io::Result<Array<T>> {
        let array = Array::<T>::zeroed(elements.len())?;
        array.monitor.change(|state| {
            // SAFETY: so many elements are there, and nobody else has the array yet.
            unsafe { array.place(state, 0, 0).copy_from_nonoverlapping(first(elements), elements.len()) };
        });
        Ok(array)
    }

    /// One with so many elements of which all bytes are 0. It takes memory only where it is written to.
    ///
    /// # Errors
    /// As for [`new`](Array::new).
    ///
    /// # Panics
    /// As for `new`.
    pub fn zeroed(length: usize) -> io::Result<Array<T>> {
        assert!(align_of::<T>() <= 64, "shared memory is aligned to 64 bytes");
        let size = length.checked_mul(2).and_then(|twice| twice.checked_add(1)?.checked_mul(size_of::<T>()));
        let state = State { current: 0, pending: None, version: 0 };
        let monitor = Monitor::with_memory(state, 0, size.ok_or(io::ErrorKind::OutOfMemory)?)?;
        Ok(Array { monitor: Arc::new(monitor), length, of: PhantomData })
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The element at `index`.
    ///
    /// # Panics
    /// When there is none.
    pub fn get(&self, index: usize) -> T {
        self.check(index);
        // SAFETY: an element of the array that counts.
        self.change(|state| unsafe { self.place(state, state.current, index).read() })
    }

    /// Makes the element at `index` be `value`.
    ///
    /// # Panics
    /// When there is none.
    pub fn set(&self, index: usize, value: T) {
        self.check(index);
        self.change(|state| self.put(state, index, value));
    }

    /// Changes the element at `index` by `f`, and answers what that answers. If another process changes the array while `f`
    /// runs, `f` is called again with what the element is then; so it should do nothing else.
    ///
    /// # Panics
    /// When there is none.
    pub fn update_at<R>(&self, index: usize, mut f: impl FnMut(&mut T) -> R) -> R {
        self.check(index);
        loop {
            let (mut value, version) = self.change(|state| {
                // SAFETY: an element of the array that counts.
                (unsafe { self.place(state, state.current, index).read() }, state.version)
            });
            let answer = f(&mut value);
            let stored = self.change(|state| {
                let same = state.version == version;
                same.then(|| self.put(state, index, value))
            });
            if stored.is_some() {
                return answer;
            }
        }
    }

    /// All elements, as they are at one time.
    pub fn to_vec(&self) -> Vec<T> {
        self.copy().0
    }

    /// Changes the elements by `f`, all at one time, and answers what that answers. If another process changes the array
    /// while `f` runs, `f` is called again with what it is then; so it should do nothing else, and not take long. Else have
    /// all use a [`Lock`](super::Lock).
    pub fn update<R>(&self, mut f: impl FnMut(&mut [T]) -> R) -> R {
        loop {
            let (mut elements, version) = self.copy();
            let answer = f(&mut elements);
            let stored = self.change(|state| {
                (state.version == version).then(|| {
                    let other = 1 - state.current;
                    // SAFETY: the array that does not count.
                    unsafe {
                        self.place(state, other, 0).copy_from_nonoverlapping(first(&elements), self.length)
                    };
                    state.current = other;
                    state.version += 1;
                })
            });
            if stored.is_some() {
                return answer;
            }
        }
    }

    /// All elements, and of which version.
    fn copy(&self) -> (Vec<T>, u64) {
        let mut elements = Vec::with_capacity(self.length);
        let version = self.change(|state| {
            // SAFETY: there is room for all; the array that counts has so many.
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

    /// As [`Monitor::change`], once nothing is pending.
    fn change<R>(&self, f: impl FnOnce(&mut Transaction<'_, State>) -> R) -> R {
        self.monitor.change(|state| {
            self.settle(state);
            f(state)
        })
    }

    /// Writes one element of the array that counts.
    fn put(&self, state: &mut Transaction<'_, State>, index: usize, value: T) {
        // SAFETY: nothing is pending, so the place before the arrays is nobody's.
        unsafe { self.pending(state).write(value) };
        state.pending = Some(index);
        state.version += 1;
        state.commit();
        self.settle(state);
    }

    /// Does what is pending; who had it to do may have been killed.
    fn settle(&self, state: &mut Transaction<'_, State>) {
        if let Some(index) = state.pending.take() {
            // SAFETY: two places that are there. Done twice, it does no harm.
            unsafe {
                self.place(state, state.current, index).copy_from_nonoverlapping(self.pending(state), 1)
            };
            state.commit();
        }
    }

    fn pending(&self, state: &Transaction<'_, State>) -> NonNull<T> {
        state.memory(0, size_of::<T>()).cast()
    }

    /// Where the element at `index` of that array is, and those behind it.
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
