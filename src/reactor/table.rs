//! A table by descriptor number, in pages that are made when first needed: a number may be as large as a million, and
//! most are small. What was made stays where it is.

use std::cell::OnceCell;
use std::os::fd::RawFd;

/// Entries a page, pages a chapter, chapters.
const PAGE: usize = 64;
const CHAPTER: usize = 1024;
const CHAPTERS: usize = 16;

type Page<T> = Box<[T; PAGE]>;
type Chapter<T> = Box<[OnceCell<Page<T>>; CHAPTER]>;

/// What is kept of each number. What was never asked for by `entry` is not there, or as `Default` makes it.
pub(super) struct Table<T>([OnceCell<Chapter<T>>; CHAPTERS]);

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table([const { OnceCell::new() }; CHAPTERS])
    }
}

impl<T: Default> Table<T> {
    #[inline]
    pub(super) fn get(&self, fd: RawFd) -> Option<&T> {
        let fd = usize::try_from(fd).ok()?;
        let chapter = self.0.get(fd / PAGE / CHAPTER)?.get()?;
        chapter[fd / PAGE % CHAPTER].get().map(|page| &page[fd % PAGE])
    }

    /// That of `fd`, made if need be; `None` if it is beyond the table.
    pub(super) fn entry(&self, fd: RawFd) -> Option<&T> {
        let at = usize::try_from(fd).ok()?;
        let chapter = self.0.get(at / PAGE / CHAPTER)?.get_or_init(new);
        Some(&chapter[at / PAGE % CHAPTER].get_or_init(new)[at % PAGE])
    }
}

/// On the heap from the start: an array that is moved there would lie on the stack first, and whoever waits for a
/// descriptor would have room for it, page by page, on a stack that needs one.
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
    fn a_large_number_costs_a_page() {
        let table = Table::<Cell<u64>>::default();
        assert!(table.get(-1).is_none() && table.get(5).is_none());
        table.entry(1_000_000).unwrap().set(7);
        assert_eq!(table.get(1_000_000), Some(&Cell::new(7)));
        assert_eq!(table.get(1_000_001), Some(&Cell::new(0)));
        assert!(table.get(5).is_none() && table.get(i32::MAX).is_none());
        assert!(table.entry(-1).is_none() && table.entry(i32::MAX).is_none());
        let pages = table.0.iter().flat_map(OnceCell::get).flat_map(|chapter| chapter.iter());
        assert_eq!(pages.flat_map(OnceCell::get).count(), 1);
    }
}
