//! A table by descriptor number, with two levels of pages that are made when first needed. A number may be as large as
//! a million, but most are small. An entry that was made stays where it is. Unlike the table in `fd_table.rs`, it
//! belongs to one OS thread and holds any type.
//!
//! Next: `hub/wait_fd.rs`, which parks green threads for descriptors.

use std::cell::OnceCell;
use std::os::fd::RawFd;

/// Entries of a page, pages of a directory, directories.
const PAGE: usize = 64;
const DIRECTORY: usize = 1024;
const DIRECTORIES: usize = 16;

type Page<T> = Box<[T; PAGE]>;
type Directory<T> = Box<[OnceCell<Page<T>>; DIRECTORY]>;

/// An entry that was never asked for by `entry` does not exist, or is as `Default` makes it.
pub(super) struct Table<T>([OnceCell<Directory<T>>; DIRECTORIES]);

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table([const { OnceCell::new() }; DIRECTORIES])
    }
}

impl<T: Default> Table<T> {
    #[inline]
    pub(super) fn get(&self, fd: RawFd) -> Option<&T> {
        let fd = usize::try_from(fd).ok()?;
        let directory = self.0.get(fd / PAGE / DIRECTORY)?.get()?;
        directory[fd / PAGE % DIRECTORY].get().map(|page| &page[fd % PAGE])
    }

    /// Returns the entry of `fd`, made at the first call. `None`: `fd` is beyond the table.
    pub(super) fn entry(&self, fd: RawFd) -> Option<&T> {
        let at = usize::try_from(fd).ok()?;
        let directory = self.0.get(at / PAGE / DIRECTORY)?.get_or_init(new);
        Some(&directory[at / PAGE % DIRECTORY].get_or_init(new)[at % PAGE])
    }
}

/// Makes an array on the heap from the start. An array that is moved there would lie on the stack first, and would cost
/// each green thread that waits for a descriptor some pages of stack.
#[cold]
fn new<T: Default, const N: usize>() -> Box<[T; N]> {
    let all: Box<[T]> = (0..N).map(|_| T::default()).collect();
    all.try_into().unwrap_or_else(|_| unreachable!("there are as many"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn entry_of_a_large_number_makes_one_page() {
        let table = Table::<Cell<u64>>::default();
        assert!(table.get(-1).is_none() && table.get(5).is_none());
        table.entry(1_000_000).unwrap().set(7);
        assert_eq!(table.get(1_000_000), Some(&Cell::new(7)));
        assert_eq!(table.get(1_000_001), Some(&Cell::new(0)));
        assert!(table.get(5).is_none() && table.get(i32::MAX).is_none());
        assert!(table.entry(-1).is_none() && table.entry(i32::MAX).is_none());
        let pages = table.0.iter().flat_map(OnceCell::get).flat_map(|directory| directory.iter());
        assert_eq!(pages.flat_map(OnceCell::get).count(), 1);
    }
}
