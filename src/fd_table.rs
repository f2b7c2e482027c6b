//! What is known of file descriptors, for the whole process: which hub watches one, and how often its number was
//! given back.
//!
//! A number is used again as soon as it is closed, by another OS thread even. So whoever watches a descriptor
//! watches a number *and* its generation, which each close, and each call that makes one, counts up. A watcher of an
//! earlier generation is nobody's.
//!
//! Whoever watches a number is told before it is closed, for afterwards it may be another's already. Until it *is*
//! closed, nobody can begin to watch it anew: [`closing`] marks it.
//!
//! Beside that: which are listeners that this process has made, and nobody else has.
//!
//! The table is an array of pages that are made when first needed; a word is read or changed by one instruction.

#![allow(unsafe_code)]

use crate::sys::at_fork;
use crate::sys::raw_mutex::Lock;
use std::os::fd::RawFd;
use std::sync::Weak;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU64};

/// How often a number was given back.
pub(crate) type Generation = u32;

const PAGE: usize = 1024;
const PAGES: usize = 1024;

type Page = [AtomicU64; PAGE];

static TABLE: [AtomicPtr<Page>; PAGES] = [const { AtomicPtr::new(std::ptr::null_mut()) }; PAGES];

/// A hub, as this table sees it.
pub(crate) trait FdListener: Send + Sync {
    /// Generation `generation` of `fd` is closed. Called on any OS thread.
    fn fd_closed(&self, fd: RawFd, generation: Generation);
}

/// The hubs that watch descriptors, by number; the first has number 1.
static HUBS: Lock<Vec<Weak<dyn FdListener>>> = Lock::new(Vec::new());

/// A word of the table: the generation, and the hub that watches this one. `SEVERAL` do; 0: none.
const SEVERAL: u32 = u32::MAX;
/// Nobody watches it, or may begin to: it is just being closed.
const CLOSING: u32 = u32::MAX - 1;

/// Why a number is not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchError {
    /// It is just being closed, by another OS thread. Look again.
    Closing,
    /// It is beyond what the table holds, a million.
    TooLarge,
}

/// A number that is watched, as long as it is current.
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

    /// Whether the number was not given back since.
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

/// The word of a number, if there is one by now.
fn existing(fd: RawFd) -> Option<&'static AtomicU64> {
    let fd = usize::try_from(fd).ok()?;
    let page = TABLE.get(fd / PAGE)?.load(Acquire);
    // SAFETY: null, or a page that is never given back.
    unsafe { page.as_ref() }.map(|page| &page[fd % PAGE])
}

/// The word of a number. `None`: it is beyond what the table holds, a million.
fn word(fd: RawFd) -> Option<&'static AtomicU64> {
    if let Some(word) = existing(fd) {
        return Some(word);
    }
    let slot = TABLE.get(usize::try_from(fd).ok()? / PAGE)?;
    let page = Box::into_raw(Box::new([const { AtomicU64::new(0) }; PAGE]));
    if slot.compare_exchange(std::ptr::null_mut(), page, AcqRel, Acquire).is_err() {
        // SAFETY: made above, and nobody has seen it.
        drop(unsafe { Box::from_raw(page) });
    }
    existing(fd)
}

/// Gives a hub its number, for [`watch`]: `listener` is told when a descriptor of the hub is closed.
pub(crate) fn register_hub(listener: Weak<dyn FdListener>) -> u32 {
    at_fork::register(reset_after_fork);
    let mut hubs = HUBS.lock();
    let free = hubs.iter().position(|hub| hub.strong_count() == 0);
    match free {
        Some(at) => {
            hubs[at] = listener;
            at as u32 + 1
        }
        None => {
            hubs.push(listener);
            hubs.len() as u32
        }
    }
}

/// `hub` watches this number from now on.
pub(crate) fn watch(fd: RawFd, hub: u32) -> Result<FdGeneration, WatchError> {
    let word = word(fd).ok_or(WatchError::TooLarge)?;
    let mut seen = word.load(Acquire);
    loop {
        let (generation, watcher) = unpack(seen);
        let watcher = match watcher {
            CLOSING => return Err(WatchError::Closing),
            0 => hub,
            same if same == hub => hub,
            _ => SEVERAL,
        };
        match word.compare_exchange_weak(seen, pack(generation, watcher), AcqRel, Acquire) {
            Ok(_) => return Ok(FdGeneration { word, generation }),
            Err(now) => seen = now,
        }
    }
}

/// The number was just given out, or is given back: whoever watches it watches what is no more, and is told.
pub(crate) fn forget(fd: RawFd) {
    forget_listener(fd);
    let Some(word) = existing(fd) else { return };
    if unpack(word.load(Acquire)).1 != 0 {
        begin_generation(fd, word, 0);
    }
}

/// [`forget`], for the numbers from `first` to `last`.
pub(crate) fn forget_range(first: u32, last: u32) {
    let (first, end) = (first as usize, (last as usize).saturating_add(1).min(PAGE * PAGES));
    for word in (first / 64..end.div_ceil(64)).filter(|&word| LISTENERS[word].load(Relaxed) != 0) {
        (first.max(word * 64)..end.min(word * 64 + 64)).for_each(|fd| forget_listener(fd as RawFd));
    }
    let mut fd = first;
    while fd < end {
        if TABLE[fd / PAGE].load(Acquire).is_null() {
            fd = (fd / PAGE + 1) * PAGE;
        } else {
            forget(fd as RawFd);
            fd += 1;
        }
    }
}

/// Calls `close`, which gives the number back. Whoever watches it is told before; nobody can begin to watch it until
/// `close` has returned, or the number was given out again.
pub(crate) fn closing<R>(fd: RawFd, close: impl FnOnce() -> R) -> R {
    forget_listener(fd);
    // Where there is no page, nobody watches any number near it. Who makes it meanwhile waits for what is closed, as
    // two OS threads may that read and close by plain system calls.
    let Some(word) = existing(fd) else { return close() };
    let generation = begin_generation(fd, word, CLOSING);
    let answer = close();
    let _ = word.compare_exchange(pack(generation, CLOSING), pack(generation, 0), AcqRel, Acquire);
    answer
}

/// Counts the generation up and tells who has watched the last one. Answers the new one, of which `mark` is noted.
fn begin_generation(fd: RawFd, word: &AtomicU64, mark: u32) -> Generation {
    let mut seen = word.load(Acquire);
    let (last, watcher) = loop {
        let (last, watcher) = unpack(seen);
        match word.compare_exchange_weak(seen, pack(last.wrapping_add(1), mark), AcqRel, Acquire) {
            Ok(_) => break (last, watcher),
            Err(now) => seen = now,
        }
    };
    // One at a time, and told without the lock.
    let hubs = match watcher {
        0 | CLOSING => 0..0,
        SEVERAL => 0..usize::MAX,
        one => one as usize - 1..one as usize,
    };
    for at in hubs {
        let hub = match HUBS.lock().get(at) {
            Some(hub) => hub.upgrade(),
            None => break,
        };
        if let Some(hub) = hub {
            hub.fd_closed(fd, last);
        }
    }
    last.wrapping_add(1)
}

/// Of which numbers this process has called `listen`, a bit each. Of other listeners, which came with it when it began or
/// in a message, another process has a duplicate.
static LISTENERS: [AtomicU64; PAGE * PAGES / 64] = [const { AtomicU64::new(0) }; PAGE * PAGES / 64];

fn listener_bit(fd: RawFd) -> Option<(&'static AtomicU64, u64)> {
    let fd = usize::try_from(fd).ok()?;
    Some((LISTENERS.get(fd / 64)?, 1 << (fd % 64)))
}

/// The number was made a listener by this process, or is a duplicate of one; until it is given back.
pub(crate) fn note_listener(fd: RawFd) {
    if let Some((word, bit)) = listener_bit(fd) {
        word.fetch_or(bit, AcqRel);
    }
}

/// Whether it was.
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
    // SAFETY: the one OS thread of the child, which is not in here otherwise.
    unsafe { HUBS.reset_after_fork(Vec::new()) };
    for page in &TABLE {
        // SAFETY: null, or a page that is never given back.
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
    fn nobody_begins_to_watch_what_is_being_closed() {
        // A number that no other test has.
        const FD: RawFd = 900_001;
        let watch = |fd| watch(fd, 70_000);
        let before = watch(FD).ok().unwrap();
        assert!(before.is_current());
        closing(FD, || {
            assert_eq!(watch(FD).err(), Some(WatchError::Closing));
            assert!(!before.is_current());
        });
        let after = watch(FD).ok().unwrap();
        // Given out again before the close has returned: then it is the next one's.
        let mut next = None;
        closing(FD, || {
            forget(FD);
            next = watch(FD).ok();
        });
        let next = next.unwrap();
        assert!(!after.is_current() && next.is_current(), "the mark was put back over the new watcher");
        assert_eq!(watch(FD).map(FdGeneration::generation).ok(), Some(next.generation()));
        forget_range(FD as u32 - 1, u32::MAX);
        assert!(!next.is_current());
        assert_eq!(watch(2_000_000).err(), Some(WatchError::TooLarge));
    }

    #[test]
    fn a_listener_is_ours_until_its_number_is_given_back() {
        // Numbers that no other test has, in three words of the table.
        let numbers = [890_200, 890_250, 890_350];
        let given_back = |give_back: &dyn Fn()| {
            numbers.into_iter().for_each(note_listener);
            assert!(numbers.into_iter().all(is_own_listener) && !is_own_listener(890_201));
            give_back();
            numbers.map(|fd| !is_own_listener(fd))
        };
        assert_eq!(given_back(&|| forget(890_250)), [false, true, false]);
        assert_eq!(given_back(&|| closing(890_350, || ())), [false, false, true]);
        assert_eq!(given_back(&|| forget_range(890_201, 890_349)), [false, true, false]);
        assert_eq!(given_back(&|| forget_range(890_200, 890_350)), [true; 3]);
        assert!(!is_own_listener(-1) && !is_own_listener(i32::MAX));
    }
}
