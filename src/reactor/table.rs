//! A table by descriptor number, in pages that are made when first needed: a number may be as large as a million, and
//! most are small.

use std::os::fd::RawFd;

const PAGE: usize = 64;

/// What is kept of each number. What was never asked for by `entry` is not there, or as `Default` makes it.
pub(super) struct Table<T> {
    pages: Vec<Option<Box<[T]>>>,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { pages: Vec::new() }
    }
}

impl<T: Default> Table<T> {
    /// Page, and place in it.
    fn at(fd: RawFd) -> Option<(usize, usize)> {
        let fd = usize::try_from(fd).ok()?;
        Some((fd / PAGE, fd % PAGE))
    }

    #[inline]
    pub(super) fn get(&self, fd: RawFd) -> Option<&T> {
        let (page, at) = Self::at(fd)?;
        self.pages.get(page)?.as_deref().map(|page| &page[at])
    }

    #[inline]
    pub(super) fn get_mut(&mut self, fd: RawFd) -> Option<&mut T> {
        let (page, at) = Self::at(fd)?;
        self.pages.get_mut(page)?.as_deref_mut().map(|page| &mut page[at])
    }

    /// That of `fd`, made if need be.
    ///
    /// # Panics
    /// Where `fd` is negative.
    pub(super) fn entry(&mut self, fd: RawFd) -> &mut T {
        let (page, at) = Self::at(fd).expect("what is open has a number from 0");
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        &mut self.pages[page].get_or_insert_with(new_page)[at]
    }
}

/// On the heap from the start: an array that is moved there would lie on the stack first, and whoever waits for a
/// descriptor would have room for it, page by page, on a stack that needs one.
#[cold]
fn new_page<T: Default>() -> Box<[T]> {
    (0..PAGE).map(|_| T::default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_number_costs_a_page() {
        let mut table = Table::<u64>::default();
        assert_eq!((table.get(-1), table.get(5)), (None, None));
        *table.entry(1_000_000) = 7;
        assert_eq!((table.get(1_000_000), table.get(1_000_001)), (Some(&7), Some(&0)));
        assert_eq!(table.get(5), None);
        assert_eq!(table.get_mut(i32::MAX), None);
        assert_eq!(table.pages.iter().flatten().count(), 1);
        assert!(table.pages.len() <= 1_000_000 / PAGE + 1);
    }
}
