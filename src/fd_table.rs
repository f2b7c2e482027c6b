//! The process-wide table of file descriptors: the generation of each number, and the hub that watches it.
//!
//! The kernel reuses a number as soon as it is closed, perhaps on another OS thread. So a hub watches a number *and* its
//! generation. Each close, and each call that returns a new descriptor, increments the generation. A hub that watches an
//! earlier generation watches nothing.
//!
//! The hub that watches a number is notified before the number is closed, because afterwards it may be another
//! descriptor's. Until the close has returned, no hub can begin to watch the number: [`with_closing_mark`] marks it.
//!
//! The table also has the listeners that this process alone has.
//!
//! The table is an array of pages that are allocated when first needed. One atomic instruction reads or changes a word.
//!
//! Next: `tls/mod.rs`, the thread control blocks.
#![allow(unsafe_code)]

use crate::sys::at_fork;
use crate::sys::raw_mutex::Lock;
use std::os::fd::RawFd;
use std::sync::Weak;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU64};

/// Number of times that a descriptor's number was closed or opened.
pub(crate) type Generation = u32;

const PAGE: usize = 1024;
const PAGES: usize = 1024;

type Page = [AtomicU64; PAGE];

static TABLE: [AtomicPtr<Page>; PAGES] = [const { AtomicPtr::new(std::ptr::null_mut()) }; PAGES];

/// A hub, as this table knows it.
pub(crate) trait FdListener: Send + Sync {
    /// Generation `generation` of `fd` is closed. Called on any OS thread.
    fn fd_closed(&self, fd: RawFd, generation: Generation);
}

/// The hubs that watch descriptors, by number; the first has number 1.
static HUBS: Lock<Vec<Weak<dyn FdListener>>> = Lock::new(Vec::new());

// A word of the table has the generation, and the number of the hub that watches it; 0: none does.
/// Several hubs watch it.
const SEVERAL: u32 = u32::MAX;
/// It is being closed: no hub watches it or can begin to.
const CLOSING: u32 = u32::MAX - 1;

/// Why a number cannot be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchError {
    /// Another OS thread is closing it. Try again.
    Closing,
    /// It is a million or more, beyond the end of the table.
    TooLarge,
}

/// A number with its generation. The number is watched as long as the generation is current.
#[derive(Clone, Copy)]
pub(crate) struct FdGeneration {
    word: &'static AtomicU64,
    generation: Generation,
}

impl FdGeneration {
    #[inline]
    pub(crate) fn generation(self) -> Generation {
        self.generation
    }

    /// Returns whether the number was not closed since.
    #[inline]
    pub(crate) fn is_current(self) -> bool {
        unpack(self.word.load(Acquire)).0 == self.generation
    }
}

fn pack(generation: Generation, hub: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(hub)
}

fn unpack(word: u64) -> (Generation, u32) {
    ((word >> 32) as u32, word as u32)
}

/// Returns the word of a number, if its page exists.
fn existing(fd: RawFd) -> Option<&'static AtomicU64> {
    let fd = usize::try_from(fd).ok()?;
    let page = TABLE.get(fd / PAGE)?.load(Acquire);
    // SAFETY: the pointer is null or points to a page that is never freed.
    unsafe { page.as_ref() }.map(|page| &page[fd % PAGE])
}

/// Returns the word of a number. `None`: the number is a million or more.
fn word(fd: RawFd) -> Option<&'static AtomicU64> {
    if let Some(word) = existing(fd) {
        return Some(word);
    }
    let slot = TABLE.get(usize::try_from(fd).ok()? / PAGE)?;
    let page = Box::into_raw(Box::new([const { AtomicU64::new(0) }; PAGE]));
    if slot.compare_exchange(std::ptr::null_mut(), page, AcqRel, Acquire).is_err() {
        // SAFETY: the page was allocated above and is not shared.
        drop(unsafe { Box::from_raw(page) });
    }
    existing(fd)
}

/// Returns a number for a hub, for [`watch`]. `listener` is notified when a descriptor that the hub watches is closed.
pub(crate) fn register_hub(listener: Weak<dyn FdListener>) -> u32 {
    at_fork::register(reset_after_fork);
    let mut hubs = HUBS.lock();
    let at = hubs.iter().position(|hub| hub.strong_count() == 0).unwrap_or(hubs.len());
    match hubs.get_mut(at) {
        Some(ended) => *ended = listener,
        None => hubs.push(listener),
    }
    at as u32 + 1
}

/// Makes `hub` watch `fd` from now on.
pub(crate) fn watch(fd: RawFd, hub: u32) -> Result<FdGeneration, WatchError> {
    let word = word(fd).ok_or(WatchError::TooLarge)?;
    let change = |seen| match unpack(seen) {
        (_, CLOSING) => None,
        (generation, watcher) if watcher == 0 || watcher == hub => Some(pack(generation, hub)),
        (generation, _) => Some(pack(generation, SEVERAL)),
    };
    match word.fetch_update(AcqRel, Acquire, change) {
        Ok(seen) => Ok(FdGeneration { word, generation: unpack(seen).0 }),
        Err(_) => Err(WatchError::Closing),
    }
}

/// Begins a new generation of `fd`, which was just opened or closed. Notifies the hubs that watch the old generation.
pub fn invalidate(fd: RawFd) {
    forget_listener(fd);
    let Some(word) = existing(fd) else { return };
    if unpack(word.load(Acquire)).1 != 0 {
        begin_generation(fd, word, 0);
    }
}

/// Calls [`invalidate`] for the numbers from `first` to `last`.
pub(crate) fn invalidate_range(first: u32, last: u32) {
    let (first, end) = (first as usize, (last as usize).saturating_add(1).min(PAGE * PAGES));
    for word in (first / 64..end.div_ceil(64)).filter(|&word| LISTENERS[word].load(Relaxed) != 0) {
        (first.max(word * 64)..end.min(word * 64 + 64)).for_each(|fd| forget_listener(fd as RawFd));
    }
    let mut fd = first;
    while fd < end {
        if TABLE[fd / PAGE].load(Acquire).is_null() {
            fd = (fd / PAGE + 1) * PAGE;
        } else {
            invalidate(fd as RawFd);
            fd += 1;
        }
    }
}

/// Calls `close`, which closes `fd`. Before that, notifies every hub that watches `fd`. No hub can begin to watch it until
/// `close` has returned, or the kernel has reused the number.
pub(crate) fn with_closing_mark<R>(fd: RawFd, close: impl FnOnce() -> R) -> R {
    forget_listener(fd);
    // Without a page, no hub watches any number near it. A hub that allocates the page meanwhile waits for a closed
    // descriptor, which can also happen to two OS threads that read and close by plain system calls.
    let Some(word) = existing(fd) else { return close() };
    let generation = begin_generation(fd, word, CLOSING);
    let result = close();
    let _ = word.compare_exchange(pack(generation, CLOSING), pack(generation, 0), AcqRel, Acquire);
    result
}

/// Increments the generation, sets the hub of the new one to `mark`, and notifies the hubs that watched the old one. Returns
/// the new generation.
fn begin_generation(fd: RawFd, word: &AtomicU64, mark: u32) -> Generation {
    let change = |seen| Some(pack(unpack(seen).0.wrapping_add(1), mark));
    let (Ok(seen) | Err(seen)) = word.fetch_update(AcqRel, Acquire, change);
    let (last, watcher) = unpack(seen);
    // Each hub is notified without the lock.
    let hubs = match watcher {
        0 | CLOSING => 0..0,
        SEVERAL => 0..usize::MAX,
        one => one as usize - 1..one as usize,
    };
    for at in hubs {
        let Some(hub) = HUBS.lock().get(at).map(Weak::upgrade) else { break };
        if let Some(hub) = hub {
            hub.fd_closed(fd, last);
        }
    }
    last.wrapping_add(1)
}

/// One bit for each number on which this process has called `listen`. Of other listeners, which were inherited or came in a
/// message, another process has a duplicate.
static LISTENERS: [AtomicU64; PAGE * PAGES / 64] = [const { AtomicU64::new(0) }; PAGE * PAGES / 64];

fn listener_bit(fd: RawFd) -> Option<(&'static AtomicU64, u64)> {
    let fd = usize::try_from(fd).ok()?;
    Some((LISTENERS.get(fd / 64)?, 1 << (fd % 64)))
}

/// Notes that this process has made `fd` a listener, or a duplicate of one. This holds until the number is closed.
pub(crate) fn note_listener(fd: RawFd) {
    if let Some((word, bit)) = listener_bit(fd) {
        word.fetch_or(bit, AcqRel);
    }
}

/// Returns whether `fd` is such a listener.
pub(crate) fn is_own_listener(fd: RawFd) -> bool {
    listener_bit(fd).is_some_and(|(word, bit)| word.load(Acquire) & bit != 0)
}

fn forget_listener(fd: RawFd) {
    if let Some((word, bit)) = listener_bit(fd).filter(|(word, bit)| word.load(Acquire) & bit != 0) {
        word.fetch_and(!bit, AcqRel);
    }
}

/// Makes all numbers unwatched: the hubs are the parent's.
fn reset_after_fork() {
    // SAFETY: the child has one OS thread, and it does not hold the lock.
    unsafe { HUBS.reset_after_fork(Vec::new()) };
    for page in &TABLE {
        // SAFETY: the pointer is null or points to a page that is never freed.
        for word in unsafe { page.load(Acquire).as_ref() }.into_iter().flatten() {
            let (generation, watcher) = unpack(word.load(Acquire));
            if watcher != 0 {
                word.store(pack(generation.wrapping_add(1), 0), Release);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watch_refuses_a_number_with_a_closing_mark() {
        // No other test uses this number.
        const FD: RawFd = 900_001;
        let watch = |fd| watch(fd, 70_000);
        let before = watch(FD).ok().unwrap();
        assert!(before.is_current());
        with_closing_mark(FD, || {
            assert_eq!(watch(FD).err(), Some(WatchError::Closing));
            assert!(!before.is_current());
        });
        let after = watch(FD).ok().unwrap();
        // The number is reused before the close has returned: then the mark is gone.
        let mut next = None;
        with_closing_mark(FD, || {
            invalidate(FD);
            next = watch(FD).ok();
        });
        let next = next.unwrap();
        assert!(!after.is_current() && next.is_current(), "the mark was removed after the number was reused");
        assert_eq!(watch(FD).map(FdGeneration::generation).ok(), Some(next.generation()));
        invalidate_range(FD as u32 - 1, u32::MAX);
        assert!(!next.is_current());
        assert_eq!(watch(2_000_000).err(), Some(WatchError::TooLarge));
    }

    #[test]
    fn is_own_listener_is_true_until_the_number_is_closed() {
        // No other test uses these numbers, which lie in three words of the table.
        let numbers = [890_200, 890_250, 890_350];
        let after = |close: &dyn Fn()| {
            numbers.into_iter().for_each(note_listener);
            assert!(numbers.into_iter().all(is_own_listener) && !is_own_listener(890_201));
            close();
            numbers.map(|fd| !is_own_listener(fd))
        };
        assert_eq!(after(&|| invalidate(890_250)), [false, true, false]);
        assert_eq!(after(&|| with_closing_mark(890_350, || ())), [false, false, true]);
        assert_eq!(after(&|| invalidate_range(890_201, 890_349)), [false, true, false]);
        assert_eq!(after(&|| invalidate_range(890_200, 890_350)), [true; 3]);
        assert!(!is_own_listener(-1) && !is_own_listener(i32::MAX));
    }
}
